/** What the exercises of Xen's frontends share: their initcall, and a plain run of one part. */
import type { Steps } from "../../arch/asm.ts";
import { BUG } from "../../kernel/bug.ts";
import { xenbus_init } from "../../kernel/drivers/xen/xen_devices.ts";
import { kthread_join, kthread_run } from "../../kernel/kthread.ts";
import { cond_resched } from "../../kernel/sched/sched.ts";
import type { Thread } from "../../kernel/thread.ts";
import type { Initcall } from "../host_door.ts";
import type { Part } from "./part.ts";

/** Brings xenbus and its drivers up, where there is Xen. */
export const XENBUS_INITCALL: Initcall = {
  name: "xenbus_probe_init",
  *fn(t: Thread): Steps {
    if (t.k.xen !== null) yield* xenbus_init(t);
  },
};

/** Runs `part` alone, `ops` operations of each task. Context: process. */
export function* run_exercise(t: Thread, part: Part, ops: number): Steps {
  const reason = yield* part.prepare(t);
  if (reason !== null) BUG(t, reason);
  const tasks: Thread[] = [];
  for (let id = 0; id < part.tasks; id++) {
    tasks.push(
      yield* kthread_run(t, function* (p) {
        for (let i = 0; i < ops; i++) {
          yield* part.step(p, id);
          yield* cond_resched(p);
        }
      }, `${part.name}/${id}`),
    );
  }
  for (let id = 0; id < tasks.length; id++) yield* kthread_join(t, tasks[id]);
  yield* part.finish(t);
}
