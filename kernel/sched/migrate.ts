/**
 * Which CPUs a thread may run on, and moving it (set_cpus_allowed_ptr() and the
 * migration threads of kernel/sched.c).
 *
 * Differs from Linux: there are no migration threads. A queued thread is moved
 * by the caller; a running one moves itself, and another running one is moved
 * when it next gives way, by whoever runs after it.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  local_irq_restore,
  local_irq_save,
  type Steps,
} from "../../arch/asm.ts";
import { EINVAL, err, type Errno } from "../lib/errno.ts";
import {
  complete_all,
  Completion,
  wait_for_completion,
} from "../locking/completion.ts";
import { spin_lock, spin_unlock } from "../locking/spinlock.ts";
import type { Thread } from "../thread.ts";
import { activate_task, deactivate_task } from "./runqueue.ts";
import { cpu_allowed, schedule } from "./sched.ts";
import { resched, sched_balance_fork, task_rq_lock } from "./wakeup.ts";

const SET_CPUS_ALLOWED_PTR = ksym("set_cpus_allowed_ptr");
const __MIGRATE_TASK = ksym("__migrate_task");

/**
 * Binds `p` to CPU numbers `cpus`; `null` = all. On return it does not run
 * anywhere else.
 *
 * Context: process; waits for `p` to give way if it runs on the wrong CPU.
 *
 * Linux: set_cpus_allowed_ptr() of kernel/sched.c.
 *
 * @returns 0, or -EINVAL if none of the CPUs is online.
 *
 * @example
 * ```ts
 * import { boot, set_cpus_allowed, smp_processor_id } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const cpu = boot().run(function* (t) {
 *   assertEquals(yield* set_cpus_allowed(t, t, [6]), 0);
 *   return smp_processor_id(t);
 * });
 * assertEquals(cpu, 6);
 * ```
 */
export function* set_cpus_allowed(
  t: Thread,
  p: Thread,
  cpus: readonly number[] | null,
): Steps<0 | Errno> {
  enter(t, SET_CPUS_ALLOWED_PTR);
  charge(t, 40);
  if (cpus !== null && !cpus.some((cpu) => t.k.cpu_online.has(cpu))) {
    leave(t);
    return err(EINVAL);
  }
  const flags = local_irq_save(t);
  const rq = yield* task_rq_lock(t, p);
  p.cpus_allowed = cpus;
  const wrong = !cpu_allowed(p, rq.cpu);
  const running = rq.curr === p;
  const queued = wrong && p.on_rq && !running;
  let waiting: Completion | null = null;
  if (queued) deactivate_task(t, rq, p);
  if (wrong && running && p !== t.task) {
    const { movers } = t.k.sched;
    waiting = movers.get(p) ?? new Completion(t.k, "migration_req.done");
    movers.set(p, waiting);
    yield* resched(t, rq);
  }
  yield* spin_unlock(t, rq.lock);
  if (queued) yield* put_elsewhere(t, p);
  local_irq_restore(t, flags);
  if (waiting !== null) yield* wait_for_completion(t, waiting);
  else if (wrong && p === t) yield* schedule(t);
  leave(t);
  return 0;
}

/** Queues `p`, runnable and on no queue, where it may run. Context: interrupts off. */
function* put_elsewhere(t: Thread, p: Thread): Steps {
  enter(t, __MIGRATE_TASK);
  charge(t, 60);
  for (;;) {
    p.cpu = t.k.machine.engine.cpus[sched_balance_fork(t, p)];
    const rq = t.k.sched.rqs[p.cpu.id];
    yield* spin_lock(t, rq.lock);
    const good = cpu_allowed(p, rq.cpu);
    if (good) {
      activate_task(t, rq, p);
      yield* resched(t, rq);
    }
    yield* spin_unlock(t, rq.lock);
    if (good) break;
  }
  leave(t);
}

/**
 * After a switch from `prev`: puts `moving` on another CPU's queue, and tells
 * who waited for `prev` to leave this one.
 */
export function* finish_migration(
  t: Thread,
  prev: Thread,
  moving: Thread | null,
): Steps {
  if (moving !== null) {
    const flags = local_irq_save(t);
    yield* put_elsewhere(t, moving);
    local_irq_restore(t, flags);
  }
  const waiting = t.k.sched.movers.get(prev);
  if (waiting !== undefined) {
    t.k.sched.movers.delete(prev);
    yield* complete_all(t, waiting);
  }
}
