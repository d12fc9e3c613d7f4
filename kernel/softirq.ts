/**
 * Softirqs, and tasklets on top of them (kernel/softirq.c): work that interrupts
 * leave for later, done with interrupts on when the outermost one returns.
 *
 * Differs from Linux: ksoftirqd is made for a CPU when there is first more work
 * than irq_exit() will do, or a softirq is raised outside interrupts.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  local_irq_disable,
  local_irq_enable,
  local_irq_restore,
  local_irq_save,
  may_run_section,
  type Steps,
} from "../arch/asm.ts";
import { BUG_ON } from "./bug.ts";
import type { Kernel } from "./kernel.ts";
import { kthread_bind, kthread_create } from "./kthread.ts";
import { PerCpu } from "./percpu.ts";
import { cond_resched, schedule } from "./sched/sched.ts";
import { wake_up_process } from "./sched/wakeup.ts";
import {
  in_interrupt,
  preempt_disable,
  preempt_enable,
  TASK_INTERRUPTIBLE,
  TASK_RUNNING,
  type Thread,
} from "./thread.ts";

/** Softirq numbers, in the order in which they run. */
export const HI_SOFTIRQ = 0;
export const TIMER_SOFTIRQ = 1;
export const TASKLET_SOFTIRQ = 5;
export const RCU_SOFTIRQ = 8;
const NR_SOFTIRQS = 9;

/** Rounds that one irq_exit() does before it leaves the rest to ksoftirqd. */
const MAX_SOFTIRQ_RESTART = 10;

const __DO_SOFTIRQ = ksym("__do_softirq");
const KSOFTIRQD = ksym("ksoftirqd");
const TASKLET_ACTION = ksym("tasklet_action");
const LOCAL_BH_ENABLE = ksym("local_bh_enable");

/** What a softirq does. Context: softirq, interrupts on. */
export type SoftirqAction = (t: Thread) => Steps;

/** The usual case of a softirq, as a part of a section: see `may_run_section()` of `arch/asm.ts`. */
export interface SoftirqAtHand {
  /** Whether this is the usual case. Plain: changes nothing, charges nothing. */
  may(t: Thread): boolean;
  /** What the softirq does then. Plain. */
  run(t: Thread): void;
}

/** Softirq state of one kernel. */
export class Softirqs {
  /** Pending bits of each CPU; changed by that CPU alone, interrupts off. */
  readonly pending: Int32Array;
  /** Times each softirq has run, by `cpu * NR_SOFTIRQS + nr`. */
  readonly counts: Uint32Array;
  readonly actions: (SoftirqAction | null)[] = new Array(NR_SOFTIRQS)
    .fill(null);
  /** Usual cases of the actions that have one. */
  readonly at_hand: (SoftirqAtHand | null)[] = new Array(NR_SOFTIRQS)
    .fill(null);
  /** Each CPU's ksoftirqd, once there is one. */
  readonly ksoftirqd: (Thread | null)[];
  readonly tasklets: PerCpu<Tasklet[]>;

  constructor(readonly k: Kernel) {
    const n = k.machine.nrCpus;
    this.pending = new Int32Array(n);
    this.counts = new Uint32Array(n * NR_SOFTIRQS);
    this.ksoftirqd = new Array(n).fill(null);
    this.tasklets = new PerCpu(k, () => []);
    this.actions[TASKLET_SOFTIRQ] = tasklet_action;
  }

  /** Times softirq `nr` has run on `cpu`. */
  count(cpu: number, nr: number): number {
    return this.counts[cpu * NR_SOFTIRQS + nr];
  }
}

/**
 * Work to be done soon by the CPU that asked.
 *
 * Linux: include/linux/interrupt.h.
 *
 * @example
 * ```ts
 * import { boot, msleep, Tasklet, tasklet_schedule } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * let runs = 0;
 * boot().run(function* (t) {
 *   const tasklet = new Tasklet(function* () {
 *     runs++;
 *   });
 *   yield* tasklet_schedule(t, tasklet);
 *   yield* tasklet_schedule(t, tasklet); // is scheduled already
 *   yield* msleep(t, 20);
 * });
 * assertEquals(runs, 1);
 * ```
 */
export class Tasklet {
  /** Scheduled and not yet started (TASKLET_STATE_SCHED). */
  scheduled = false;
  /** A tasklet that is not scheduled. */
  constructor(readonly func: (t: Thread) => Steps) {}
}

/** Sets softirqs up. The vector is static in Linux: initcalls before this may fill it in. */
export function softirq_init(t: Thread): void {
  softirqs(t.k);
}

function softirqs(k: Kernel): Softirqs {
  return k.softirq ??= new Softirqs(k);
}

/** Says what softirq `nr` does, and in the usual case. */
export function open_softirq(
  k: Kernel,
  nr: number,
  action: SoftirqAction,
  at_hand: SoftirqAtHand | null = null,
): void {
  softirqs(k).actions[nr] = action;
  softirqs(k).at_hand[nr] = at_hand;
}

/** Whether this CPU has softirqs to run. */
export function local_softirq_pending(t: Thread): boolean {
  return t.k.softirq.pending[t.cpu.id] !== 0;
}

/** Marks softirq `nr` pending here. Plain. Context: interrupt, or softirqs off. */
export function __raise_softirq_irqoff(t: Thread, nr: number): void {
  charge(t, 3);
  t.k.softirq.pending[t.cpu.id] |= 1 << nr;
}

/** Marks softirq `nr` pending here, and sees to it that it runs. Context: interrupts off. */
export function* raise_softirq_irqoff(t: Thread, nr: number): Steps {
  __raise_softirq_irqoff(t, nr);
  if (!in_interrupt(t)) yield* wakeup_softirqd(t);
}

/** {@linkcode raise_softirq_irqoff} in any context. */
export function* raise_softirq(t: Thread, nr: number): Steps {
  const flags = local_irq_save(t);
  yield* raise_softirq_irqoff(t, nr);
  local_irq_restore(t, flags);
}

/** Keeps softirqs off this CPU. Plain. */
export function local_bh_disable(t: Thread): void {
  charge(t, 2);
  t.softirq_count++;
}

/** Ends {@linkcode local_bh_disable}; runs what has become pending. */
export function* local_bh_enable(t: Thread): Steps {
  charge(t, 4);
  if (t.softirq_count === 1 && !t.isInterrupt && local_softirq_pending(t)) {
    enter(t, LOCAL_BH_ENABLE);
    t.softirq_count = 0;
    yield* do_softirq(t);
    leave(t);
    return;
  }
  t.softirq_count--;
}

/** Runs pending softirqs, unless in one. Context: outermost interrupt's end, or process. */
export function* do_softirq(t: Thread): Steps {
  if (t.softirq_count > 0) return;
  preempt_disable(t);
  const flags = local_irq_save(t);
  if (local_softirq_pending(t)) yield* __do_softirq(t);
  local_irq_restore(t, flags);
  preempt_enable(t);
}

/** Context: interrupts off; they are on while actions run. */
function* __do_softirq(t: Thread): Steps {
  enter(t, __DO_SOFTIRQ);
  const softirq = t.k.softirq;
  const cpu = t.cpu.id;
  t.softirq_count++;
  t.softirq_context++;
  charge(t, 12);
  for (let round = 0; round < MAX_SOFTIRQ_RESTART; round++) {
    const pending = softirq.pending[cpu];
    if (pending === 0) break;
    softirq.pending[cpu] = 0;
    local_irq_enable(t);
    for (let nr = 0; nr < NR_SOFTIRQS; nr++) {
      charge(t, 3);
      if ((pending & (1 << nr)) !== 0) yield* run_action(t, softirq, nr);
    }
    local_irq_disable(t);
  }
  if (softirq.pending[cpu] !== 0) yield* wakeup_softirqd(t);
  t.softirq_context--;
  t.softirq_count--;
  leave(t);
}

/**
 * {@linkcode do_softirq} in a section, if all that is pending is the usual case.
 *
 * @returns Whether it was; `false` = nothing has been done.
 */
export function do_softirq_at_hand(t: Thread): boolean {
  if (!pending_at_hand(t)) return false;
  const { pending, at_hand, counts } = t.k.softirq;
  const cpu = t.cpu.id;
  preempt_disable(t);
  const flags = local_irq_save(t);
  enter(t, __DO_SOFTIRQ);
  t.softirq_count++;
  t.softirq_context++;
  charge(t, 12);
  const bits = pending[cpu];
  pending[cpu] = 0;
  local_irq_enable(t);
  for (let nr = 0; nr < NR_SOFTIRQS; nr++) {
    charge(t, 3);
    if ((bits & (1 << nr)) === 0) continue;
    counts[cpu * NR_SOFTIRQS + nr]++;
    at_hand[nr]!.run(t);
  }
  local_irq_disable(t);
  t.softirq_context--;
  t.softirq_count--;
  leave(t);
  local_irq_restore(t, flags);
  preempt_enable(t);
  return true;
}

function pending_at_hand(t: Thread): boolean {
  const { pending, at_hand } = t.k.softirq;
  const bits = pending[t.cpu.id];
  if (t.softirq_count > 0 || !may_run_section(t)) return false;
  for (let nr = 0; nr < NR_SOFTIRQS; nr++) {
    if ((bits & (1 << nr)) !== 0 && !(at_hand[nr]?.may(t) ?? false)) {
      return false;
    }
  }
  return true;
}

function* run_action(t: Thread, softirq: Softirqs, nr: number): Steps {
  const action = softirq.actions[nr];
  softirq.counts[t.cpu.id * NR_SOFTIRQS + nr]++;
  if (action === null) return;
  const depth = t.preempt_count;
  yield* action(t);
  BUG_ON(
    t,
    t.preempt_count !== depth,
    `softirq ${nr} left preempt_count at ${t.preempt_count}, it was ${depth}`,
  );
}

/** Lets ksoftirqd do the rest. Context: interrupts off. */
function* wakeup_softirqd(t: Thread): Steps {
  const cpu = t.cpu.id;
  const { ksoftirqd } = t.k.softirq;
  let daemon = ksoftirqd[cpu];
  if (daemon === null) {
    daemon = yield* kthread_create(t, run_ksoftirqd, `ksoftirqd/${cpu}`);
    kthread_bind(daemon, cpu);
    ksoftirqd[cpu] = daemon;
  }
  yield* wake_up_process(t, daemon);
}

function* run_ksoftirqd(t: Thread): Steps<never> {
  enter(t, KSOFTIRQD);
  for (;;) {
    if (local_softirq_pending(t)) {
      yield* do_softirq(t);
      yield* cond_resched(t);
      continue;
    }
    const flags = local_irq_save(t);
    t.state = TASK_INTERRUPTIBLE;
    // Whoever raises one from here on finds the state set, and wakes us.
    if (local_softirq_pending(t)) t.state = TASK_RUNNING;
    local_irq_restore(t, flags);
    if (t.state !== TASK_RUNNING) yield* schedule(t);
  }
}

/**
 * Has `tasklet` run here once, soon.
 *
 * Context: any.
 *
 * Linux: kernel/softirq.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   complete,
 *   Completion,
 *   Tasklet,
 *   tasklet_schedule,
 *   wait_for_completion,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const cpus = boot().run(function* (t) {
 *   const done = new Completion(t.k, "done");
 *   const tasklet = new Tasklet((irq) => complete(irq, done));
 *   yield* tasklet_schedule(t, tasklet);
 *   yield* wait_for_completion(t, done);
 *   return tasklet.scheduled;
 * });
 * assertEquals(cpus, false);
 * ```
 */
export function* tasklet_schedule(t: Thread, tasklet: Tasklet): Steps {
  charge(t, 10);
  if (tasklet.scheduled) return;
  tasklet.scheduled = true;
  const flags = local_irq_save(t);
  t.k.softirq.tasklets.get(t.cpu.id).push(tasklet);
  yield* raise_softirq_irqoff(t, TASKLET_SOFTIRQ);
  local_irq_restore(t, flags);
}

function* tasklet_action(t: Thread): Steps {
  enter(t, TASKLET_ACTION);
  const queue = t.k.softirq.tasklets.get(t.cpu.id);
  for (let left = queue.length; left > 0; left--) {
    charge(t, 12);
    const tasklet = queue.shift()!;
    tasklet.scheduled = false;
    yield* tasklet.func(t);
  }
  leave(t);
}
