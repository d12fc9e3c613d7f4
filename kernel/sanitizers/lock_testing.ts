/** Small kernels with sanitizers on, for tests of those that watch locks and cells. */
import { assertThrows } from "@std/assert";
import type { Steps } from "../../arch/asm.ts";
import { kthread_bind, kthread_create, kthread_join } from "../kthread.ts";
import type { VmOptions } from "../mm/vm_testing.ts";
import { wake_up_process } from "../sched/wakeup.ts";
import type { KernelRun } from "../testing.ts";
import type { Thread } from "../thread.ts";
import { runUnder } from "./found_testing.ts";
import { SanitizerReport } from "./report.ts";

/** {@linkcode runVm} on two CPUs, watched by `name`. */
export function watched<T>(
  name: string,
  main: (t: Thread) => Steps<T>,
  options: VmOptions = {},
): KernelRun<T> {
  return runUnder(name, main, { cpus: 2, pages: 64, ...options });
}

/** What `name` finds in `main`. */
export function foundBy(
  name: string,
  main: (t: Thread) => Steps<unknown>,
  options: VmOptions = {},
): SanitizerReport {
  const report = assertThrows(
    () => void watched(name, main, options),
    SanitizerReport,
  );
  if (report.sanitizer !== name) throw report;
  return report;
}

/** Starts `fn` as a thread of CPU number `cpu` alone. */
export function* startOn(
  t: Thread,
  cpu: number,
  fn: (self: Thread) => Steps<unknown>,
): Steps<Thread> {
  const p = yield* kthread_create(t, fn, `test/${cpu}`);
  kthread_bind(p, cpu);
  yield* wake_up_process(t, p);
  return p;
}

/** Runs `fns[i]` on CPU number i, all at once, to their ends. */
export function* onEachCpu(
  t: Thread,
  ...fns: readonly ((self: Thread) => Steps<unknown>)[]
): Steps {
  const threads: Thread[] = [];
  for (let cpu = 0; cpu < fns.length; cpu++) {
    threads.push(yield* startOn(t, cpu, fns[cpu]));
  }
  for (const p of threads) yield* kthread_join(t, p);
}

/** Runs `fn` on CPU number `cpu` to its end. */
export function* runOn(
  t: Thread,
  cpu: number,
  fn: (self: Thread) => Steps<unknown>,
): Steps {
  yield* kthread_join(t, yield* startOn(t, cpu, fn));
}
