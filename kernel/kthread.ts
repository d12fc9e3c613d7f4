/**
 * Kernel threads: made, bound, stopped, waited for (kernel/kthread.c,
 * kernel/fork.c, kernel/exit.c).
 *
 * Differs from Linux: there is no kthreadd; the caller makes the thread itself,
 * and does not sleep for it, so that this works before the scheduler has other
 * threads, and in interrupts. A new thread sleeps until woken first, and is
 * placed then. There is no stack or task_struct to allocate; what copy_process()
 * costs is charged. kthread_join() does not exist in Linux.
 */
import { charge, enter, ksym, leave, type Steps } from "../arch/asm.ts";
import type { StepIterator } from "../arch/sim/steps.ts";
import { BUG } from "./bug.ts";
import type { Kernel } from "./kernel.ts";
import {
  complete_all,
  Completion,
  wait_for_completion,
} from "./locking/completion.ts";
import {
  Rwlock,
  write_lock_irqsave,
  write_unlock_irqrestore,
} from "./locking/rwlock.ts";
import { schedule, schedule_tail } from "./sched/sched.ts";
import { wake_up_process } from "./sched/wakeup.ts";
import { TASK_DEAD, TASK_UNINTERRUPTIBLE, Thread } from "./thread.ts";

const KTHREAD_CREATE = ksym("kthread_create");
const KTHREAD = ksym("kthread");
const KTHREAD_STOP = ksym("kthread_stop");
const COPY_PROCESS = ksym("copy_process");
const DO_EXIT = ksym("do_exit");
const CHILD_RIP = ksym("child_rip");

/** What a thread does; what it returns is for {@linkcode kthread_join}. */
export type ThreadFunction = (t: Thread) => Steps<unknown>;

/** What the kernel knows of threads as a whole: `Sched.kthreads`. */
export class Kthreads {
  readonly tasklist_lock: Rwlock;
  /** Done when the thread has ended; threads made by kthread_create() have one. */
  readonly exited: WeakMap<Thread, Completion> = new WeakMap();

  constructor(k: Kernel) {
    this.tasklist_lock = new Rwlock(k, "tasklist_lock");
  }
}

/**
 * Makes a thread called `name` that will run `fn` when it is first woken.
 *
 * Context: any. Locks: tasklist_lock.
 *
 * Linux: kernel/kthread.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   kthread_bind,
 *   kthread_create,
 *   kthread_join,
 *   smp_processor_id,
 *   wake_up_process,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const cpu = boot().run(function* (t) {
 *   const p = yield* kthread_create(t, function* (self) {
 *     return smp_processor_id(self);
 *   }, "where");
 *   kthread_bind(p, 5);
 *   yield* wake_up_process(t, p);
 *   return yield* kthread_join(t, p);
 * });
 * assertEquals(cpu, 5);
 * ```
 */
export function* kthread_create(
  t: Thread,
  fn: ThreadFunction,
  name: string,
): Steps<Thread> {
  enter(t, KTHREAD_CREATE);
  const sched = t.k.sched;
  const p = fork_thread(t, name);
  p.state = TASK_UNINTERRUPTIBLE;
  begin_with_kthread(p, fn);
  const { tasklist_lock, exited } = sched.kthreads;
  exited.set(p, new Completion(t.k, "vfork_done"));
  const flags = yield* write_lock_irqsave(t, tasklist_lock);
  p.pid = sched.next_pid++;
  sched.threads.add(p);
  sched.newborn.add(p);
  yield* write_unlock_irqrestore(t, tasklist_lock, flags);
  leave(t);
  return p;
}

/** The part of copy_process() that idle threads share. The copy has no pid yet. */
export function fork_thread(t: Thread, name: string): Thread {
  enter(t, COPY_PROCESS);
  charge(t, 6000);
  const p = new Thread(t.k, name, false);
  p.cpu = t.cpu;
  p.domid = t.domid;
  p.stack[0] = CHILD_RIP;
  p.preempt_count = 2; // schedule()'s, and the runqueue lock's
  leave(t);
  return p;
}

/**
 * {@linkcode kthread_create}, and wakes it.
 *
 * Linux: kernel/kthread.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   charge,
 *   kthread_join,
 *   kthread_run,
 *   Thread,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const cpus = boot().run(function* (t) {
 *   const threads: Thread[] = [];
 *   for (let i = 0; i < 4; i++) {
 *     threads.push(
 *       yield* kthread_run(t, function* (self) {
 *         charge(self, 1_000_000);
 *         return self.cpu.id;
 *       }, `worker/${i}`),
 *     );
 *   }
 *   const seen = [];
 *   for (const p of threads) seen.push(yield* kthread_join(t, p));
 *   return seen;
 * });
 * assertEquals(new Set(cpus).size, 4); // each on a CPU of its own
 * ```
 */
export function* kthread_run(
  t: Thread,
  fn: ThreadFunction,
  name: string,
): Steps<Thread> {
  const p = yield* kthread_create(t, fn, name);
  yield* wake_up_process(t, p);
  return p;
}

/**
 * Binds `p`, which has not run yet, to CPU number `cpu`.
 *
 * Linux: kernel/kthread.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   kthread_bind,
 *   kthread_create,
 *   kthread_join,
 *   wake_up_process,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const cpu = boot().run(function* (t) {
 *   const p = yield* kthread_create(t, function* (self) {
 *     return self.cpu.id;
 *   }, "bound");
 *   kthread_bind(p, 3);
 *   yield* wake_up_process(t, p);
 *   return yield* kthread_join(t, p);
 * });
 * assertEquals(cpu, 3);
 * ```
 */
export function kthread_bind(p: Thread, cpu: number): void {
  p.cpus_allowed = [cpu];
  p.cpu = p.k.machine.engine.cpus[cpu];
}

/**
 * Whether somebody asked `t` to end.
 *
 * Linux: kernel/kthread.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   kthread_run,
 *   kthread_should_stop,
 *   kthread_stop,
 *   msleep,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const turns = boot().run(function* (t) {
 *   const p = yield* kthread_run(t, function* (self) {
 *     let n = 0;
 *     for (; !kthread_should_stop(self); n++) yield* msleep(self, 10);
 *     return n;
 *   }, "poller");
 *   yield* msleep(t, 200);
 *   return yield* kthread_stop(t, p);
 * });
 * assert(Number(turns) > 3);
 * ```
 */
export function kthread_should_stop(t: Thread): boolean {
  return t.should_stop;
}

/**
 * Asks `p` to end, wakes it and waits.
 *
 * Context: process.
 *
 * Linux: kernel/kthread.c.
 *
 * @returns What its function returned.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   kthread_run,
 *   kthread_should_stop,
 *   kthread_stop,
 *   msleep,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const result = boot().run(function* (t) {
 *   const p = yield* kthread_run(t, function* (self) {
 *     while (!kthread_should_stop(self)) yield* msleep(self, 20);
 *     return "done";
 *   }, "daemon");
 *   yield* msleep(t, 50);
 *   return yield* kthread_stop(t, p);
 * });
 * assertEquals(result, "done");
 * ```
 */
export function* kthread_stop(t: Thread, p: Thread): Steps<unknown> {
  enter(t, KTHREAD_STOP);
  charge(t, 30);
  p.should_stop = true;
  yield* wake_up_process(t, p);
  const result = yield* kthread_join(t, p);
  leave(t);
  return result;
}

/**
 * Waits for the end of `p`.
 *
 * Context: process.
 *
 * @returns What its function returned.
 *
 * @example
 * ```ts
 * import { boot, kthread_join, kthread_run, msleep } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const result = boot().run(function* (t) {
 *   const p = yield* kthread_run(t, function* (self) {
 *     yield* msleep(self, 5);
 *     return 42;
 *   }, "answer");
 *   return yield* kthread_join(t, p);
 * });
 * assertEquals(result, 42);
 * ```
 */
export function* kthread_join(t: Thread, p: Thread): Steps<unknown> {
  const exited = t.k.sched.kthreads.exited.get(p);
  if (exited === undefined) {
    throw new TypeError(
      `Cannot join a thread as kthread_create() must have made it: current value is "${p.name}"`,
    );
  }
  yield* wait_for_completion(t, exited);
  return p.exit_code;
}

/**
 * Lets `p` begin with Linux's kthread(), in three pieces: its start, `fn`, and its
 * end, one after the other (`Context.afterwards`).
 */
function begin_with_kthread(p: Thread, fn: ThreadFunction): void {
  p.gen = kthread_start(p)[Symbol.iterator]();
  p.afterwards = () => {
    // As in Linux: one that is stopped before it ever ran does not run.
    if (p.should_stop) return kthread_end(p, undefined);
    p.afterwards = (result) => kthread_end(p, result);
    return fn(p)[Symbol.iterator]();
  };
}

/** The start of kthread(). What follows runs in its frame. */
function* kthread_start(t: Thread): Steps {
  enter(t, KTHREAD);
  charge(t, 40);
  yield* schedule_tail(t);
}

function kthread_end(t: Thread, result: unknown): StepIterator {
  t.afterwards = null;
  t.exit_code = result;
  return do_exit(t)[Symbol.iterator]();
}

/** Ends the thread that runs. */
export function* do_exit(t: Thread): Steps<never> {
  enter(t, DO_EXIT);
  charge(t, 2500);
  t.k.sanitizers?.threadExit(t);
  if (t.preempt_count !== 0) {
    BUG(t, `${t.name} exited with preempt_count ${t.preempt_count}`);
  }
  const { threads, kthreads } = t.k.sched;
  const flags = yield* write_lock_irqsave(t, kthreads.tasklist_lock);
  threads.delete(t);
  yield* write_unlock_irqrestore(t, kthreads.tasklist_lock, flags);
  yield* complete_all(t, kthreads.exited.get(t)!);
  t.state = TASK_DEAD;
  yield* schedule(t);
  return BUG(t, `${t.name} ran after its end`);
}
