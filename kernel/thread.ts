/**
 * task_struct and thread_info: what the kernel knows of one flow of control.
 *
 * Differs from Linux: an interrupt handler has a `Thread` of its own, one for
 * each CPU and nesting level, instead of borrowing the interrupted one's; so
 * `in_interrupt()` asks what kind of thread runs. Its `task` is the thread that
 * Linux would call `current`.
 */
import { MachineContext } from "../arch/asm.ts";
import { ZERO_CYCLES } from "../arch/sim/cycles.ts";
import { ListHead } from "./lib/list.ts";
import type { FsStruct } from "./fs/fs_struct.ts";
import type { Kernel } from "./kernel.ts";
import type { PteScratch } from "./mm/pte_run.ts";

/** Thread states (include/linux/sched.h). */
export const TASK_RUNNING = 0;
/** Sleeps; signals would wake it too, if there were any. */
export const TASK_INTERRUPTIBLE = 1;
/** Sleeps until what it waits for has come. */
export const TASK_UNINTERRUPTIBLE = 2;
/** Has ended. */
export const TASK_DEAD = 64;

/**
 * One thread, or an interrupt handler while it runs. Kernel functions take the
 * one that calls them as `t`.
 *
 * Linux: struct task_struct of include/linux/sched.h.
 *
 * @example
 * ```ts
 * import { boot, charge, type Steps, Thread } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * function* whoami(t: Thread): Steps<string> {
 *   charge(t, 20);
 *   return `${t.name}/${t.pid} on CPU ${t.cpu.id}`;
 * }
 * assertEquals(boot().run(whoami), "init/1 on CPU 0");
 * ```
 */
export class Thread extends MachineContext {
  /** Process number; 0 for idle threads and interrupt contexts. */
  pid = 0;
  /** `TASK_*`. */
  state: number = TASK_RUNNING;
  /** Depth of preempt_disable(); 0 = may be preempted and may move. */
  preempt_count = 0;
  /** Depth of rcu_read_lock(). */
  rcu_read_depth = 0;
  /** Depth of local_bh_disable(). */
  softirq_count = 0;
  /** The thread that `current` means: itself, or what a handler interrupted. */
  declare task: Thread;
  /** CPUs it may run on, by number; `null` = all. */
  cpus_allowed: readonly number[] | null = null;
  /**
   * On its runqueue, while runnable and not running. Guarded by the queue's lock.
   *
   * @internal
   */
  declare readonly run_list: ListHead<Thread>;
  /**
   * Whether it is on a runqueue or running. Guarded by the queue's lock.
   *
   * @internal
   */
  on_rq = false;
  /**
   * When it last began to ask for a lock, cycles; for lock statistics.
   *
   * @internal
   */
  lockWaitSince: number = ZERO_CYCLES;
  /** Set by kthread_stop(). */
  should_stop = false;
  /** What the thread function returned. */
  exit_code: unknown = undefined;
  /** What it sleeps on, for reports; `null` = it does not sleep. */
  wchan: string | null = null;
  /**
   * Xen domain in whose name it makes hypercalls: 1 = the guest, 0 = back ends.
   *
   * @internal
   */
  domid = 1;
  /**
   * Its root and working directory; `null` = pid 1's (CLONE_FS).
   *
   * @internal
   */
  fs: FsStruct | null = null;
  /**
   * Page-table operations of this thread, reused; `null` before the first.
   *
   * @internal
   */
  ptes: PteScratch | null = null;
  /**
   * What the race sanitizer remembers of it.
   *
   * @internal
   */
  shadow: unknown = null;
  /**
   * What the lockdep sanitizer remembers of it: the locks it holds.
   *
   * @internal
   */
  held: unknown = null;
  /**
   * Depth of do_softirq(), as `softirq_count` also counts local_bh_disable().
   *
   * @internal
   */
  softirq_context = 0;

  /** The kernel that it is a thread of. */
  declare readonly k: Kernel;

  /** A thread that has not started; kthread_create() makes one that can. */
  constructor(k: Kernel, name: string, isInterrupt: boolean) {
    super(k.machine, name, isInterrupt);
    this.k = k;
    this.task = this;
    this.run_list = new ListHead<Thread>(this);
  }
}

/**
 * Whether `t` is an interrupt handler, or runs softirqs.
 *
 * Linux: include/linux/hardirq.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   in_interrupt,
 *   smp_call_function_single,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const seen: boolean[] = [];
 * boot().run(function* (t) {
 *   seen.push(in_interrupt(t));
 *   yield* smp_call_function_single(
 *     t,
 *     1,
 *     (irq) => {
 *       seen.push(in_interrupt(irq));
 *     },
 *     null,
 *     true,
 *   );
 * });
 * assertEquals(seen, [false, true]);
 * ```
 */
export function in_interrupt(t: Thread): boolean {
  return t.isInterrupt || t.softirq_count > 0;
}

/**
 * Whether `t` may not sleep.
 *
 * Linux: include/linux/hardirq.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   in_atomic,
 *   spin_lock,
 *   spin_unlock,
 *   Spinlock,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const atomic = boot().run(function* (t) {
 *   const lock = new Spinlock(t.k, "my_lock");
 *   yield* spin_lock(t, lock);
 *   const inside = in_atomic(t); // may not sleep now
 *   yield* spin_unlock(t, lock);
 *   return [inside, in_atomic(t)];
 * });
 * assertEquals(atomic, [true, false]);
 * ```
 */
export function in_atomic(t: Thread): boolean {
  return t.isInterrupt || t.preempt_count > 0 || t.softirq_count > 0;
}

/**
 * Keeps `t` on this CPU and running. Plain.
 *
 * Linux: include/linux/preempt.h.
 *
 * @example
 * ```ts
 * import { boot, preempt_disable, preempt_enable } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const counts = boot().run(function* (t) {
 *   preempt_disable(t);
 *   preempt_disable(t); // nests
 *   const inside = t.preempt_count;
 *   preempt_enable(t);
 *   preempt_enable(t);
 *   return [inside, t.preempt_count];
 * });
 * assertEquals(counts, [2, 0]);
 * ```
 */
export function preempt_disable(t: Thread): void {
  t.preempt_count++;
}

/**
 * Ends {@linkcode preempt_disable}. Plain: if a switch is due it happens at the
 * next `cond_resched()`, `schedule()` or return from interrupt.
 *
 * Linux: include/linux/preempt.h.
 *
 * @example
 * ```ts
 * import { boot, preempt_disable, preempt_enable } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const count = boot().run(function* (t) {
 *   preempt_disable(t);
 *   preempt_enable(t);
 *   return t.preempt_count;
 * });
 * assertEquals(count, 0);
 * ```
 */
export function preempt_enable(t: Thread): void {
  t.preempt_count--;
}

/**
 * Number of the CPU that `t` runs on; stable only while preemption is off.
 *
 * Linux: include/linux/smp.h.
 *
 * @example
 * ```ts
 * import { boot, smp_processor_id } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(
 *   boot().run(function* (t) {
 *     return smp_processor_id(t);
 *   }),
 *   0,
 * );
 * ```
 */
export function smp_processor_id(t: Thread): number {
  return t.cpu.id;
}

/**
 * {@linkcode preempt_disable}, then the CPU's number.
 *
 * Linux: include/linux/smp.h.
 *
 * @example
 * ```ts
 * import { boot, charge, get_cpu, put_cpu } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const cpu = get_cpu(t);
 *   charge(t, 100); // stays on this CPU
 *   assertEquals(cpu, t.cpu.id);
 *   put_cpu(t);
 * });
 * ```
 */
export function get_cpu(t: Thread): number {
  preempt_disable(t);
  return t.cpu.id;
}

/**
 * Ends {@linkcode get_cpu}.
 *
 * Linux: include/linux/smp.h.
 *
 * @example
 * ```ts
 * import { boot, get_cpu, put_cpu } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const count = boot().run(function* (t) {
 *   get_cpu(t);
 *   put_cpu(t);
 *   return t.preempt_count;
 * });
 * assertEquals(count, 0);
 * ```
 */
export function put_cpu(t: Thread): void {
  preempt_enable(t);
}
