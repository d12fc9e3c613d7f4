/**
 * High-resolution timers (kernel/hrtimer.c): each CPU's local timer is set to
 * the earliest of its hrtimers, one of which is the tick.
 *
 * Lock order:
 *
 *     hrtimer_bases.lock (one for each CPU)
 *       nothing
 *
 * ia64 has no high-resolution timers: the tick runs those that are due.
 *
 * Differs from Linux: a sorted list stands for the red-black tree, since there
 * are few; all callbacks run in the timer interrupt without the lock; time is
 * in cycles.
 */
import {
  charge,
  charge_cycles,
  enter,
  ksym,
  leave,
  set_local_timer,
  type Steps,
} from "../arch/asm.ts";
import { CacheLine } from "../arch/hw/line.ts";
import type { Kernel } from "./kernel.ts";
import {
  list_add_tail,
  list_del_init,
  list_empty,
  list_entry,
  list_first_entry,
  ListHead,
} from "./lib/list.ts";
import {
  is_free_ticket_lock,
  spin_lock,
  spin_lock_irqsave,
  spin_lock_now,
  spin_unlock,
  spin_unlock_irqrestore,
  spin_unlock_now,
  Spinlock,
} from "./locking/spinlock.ts";
import { schedule } from "./sched/sched.ts";
import { wake_up_process } from "./sched/wakeup.ts";
import { TASK_RUNNING, TASK_UNINTERRUPTIBLE, type Thread } from "./thread.ts";
import { ktime_get, ktime_get_now } from "./timekeeping.ts";

const HRTIMER_INTERRUPT = ksym("hrtimer_interrupt");
const HRTIMER_RUN_QUEUES = ksym("hrtimer_run_queues");
const HRTIMER_START = ksym("hrtimer_start");
const HRTIMER_CANCEL = ksym("hrtimer_cancel");
const HRTIMER_NANOSLEEP = ksym("hrtimer_nanosleep");
const TICK_PROGRAM_EVENT = ksym("tick_program_event");

/** No time: never. */
export const KTIME_MAX = Infinity;
/** Shortest time the local timer can be set to, cycles. */
const MIN_DELTA_CYCLES = 1000;

/** One timer. */
export class Hrtimer {
  /** When it fires, cycles. Guarded by the base's lock while queued. */
  expires = 0;
  /** Where it is queued; `null` = not queued. */
  base: HrtimerBase | null = null;
  readonly node: ListHead<Hrtimer>;

  /** @param func Called in the timer interrupt; returns whether to queue it again. */
  constructor(readonly func: (t: Thread, timer: Hrtimer) => Steps<boolean>) {
    this.node = new ListHead<Hrtimer>(this);
  }
}

/** One CPU's timers. */
export class HrtimerBase {
  readonly lock: Spinlock;
  /** By expiry, then by queueing. Guarded by lock. */
  readonly active: ListHead<Hrtimer> = new ListHead<Hrtimer>();
  /** What the local timer is set to, cycles. Own CPU only. */
  expires_next = KTIME_MAX;
  /** The interrupt is looking at the timers, and will program the next event. */
  in_interrupt = false;

  constructor(k: Kernel, readonly cpu: number) {
    const line = new CacheLine(k.machine.engine.cpus[cpu].node);
    this.lock = new Spinlock(k, "hrtimer_bases.lock", line);
  }
}

function this_base(t: Thread): HrtimerBase {
  return t.k.tick.hrtimer_bases.get(t.cpu.id);
}

/** Sets the local timer to `expires`; soon, if that is past. Reads the clock. */
function* tick_program_event(t: Thread, expires: number): Steps {
  if (t.k.arch === "ia64") return; // its timer is the tick
  enter(t, TICK_PROGRAM_EVENT);
  charge(t, 30);
  this_base(t).expires_next = expires;
  if (expires === KTIME_MAX) {
    set_local_timer(t, KTIME_MAX);
  } else {
    program_event(t, expires, yield* ktime_get(t));
  }
  leave(t);
}

/** {@linkcode tick_program_event} in a section; `expires` is a time. Plain. */
function tick_program_event_now(t: Thread, expires: number): void {
  enter(t, TICK_PROGRAM_EVENT);
  charge(t, 30);
  this_base(t).expires_next = expires;
  program_event(t, expires, ktime_get_now(t));
  leave(t);
}

function program_event(t: Thread, expires: number, now: number): void {
  charge_cycles(t, t.k.machine.spec.irq.ackCycles); // a local APIC register
  set_local_timer(t, Math.max(expires, now + MIN_DELTA_CYCLES));
}

function enqueue(t: Thread, base: HrtimerBase, timer: Hrtimer): void {
  charge(t, 30);
  let after = base.active.prev;
  while (
    after !== base.active && list_entry(after).expires > timer.expires
  ) {
    charge(t, 5);
    after = after.prev;
  }
  list_add_tail(timer.node, after.next);
  timer.base = base;
}

function dequeue(t: Thread, timer: Hrtimer): void {
  charge(t, 20);
  list_del_init(timer.node);
  timer.base = null;
}

function first_expiry(base: HrtimerBase): number {
  return list_empty(base.active)
    ? KTIME_MAX
    : list_first_entry(base.active).expires;
}

/** When this CPU's first timer is due, cycles; `KTIME_MAX` = there is none. Plain: an unlocked look. */
export function hrtimer_next_event(t: Thread): number {
  return first_expiry(this_base(t));
}

/** Has `timer`, not queued elsewhere, fire on this CPU at `expires`. Context: any. */
export function* hrtimer_start(
  t: Thread,
  timer: Hrtimer,
  expires: number,
): Steps {
  enter(t, HRTIMER_START);
  charge(t, 30);
  if (timer.base !== null && timer.base !== this_base(t)) {
    yield* hrtimer_cancel(t, timer);
  }
  const base = this_base(t);
  const flags = yield* spin_lock_irqsave(t, base.lock);
  if (timer.base !== null) dequeue(t, timer);
  timer.expires = expires;
  enqueue(t, base, timer);
  const next = first_expiry(base);
  if (next !== base.expires_next && !base.in_interrupt) {
    yield* tick_program_event(t, next);
  }
  yield* spin_unlock_irqrestore(t, base.lock, flags);
  leave(t);
}

/** Takes `timer` off. @returns Whether it was queued. Context: any. */
export function* hrtimer_cancel(t: Thread, timer: Hrtimer): Steps<boolean> {
  enter(t, HRTIMER_CANCEL);
  charge(t, 15);
  const base = timer.base;
  let queued = false;
  if (base !== null) {
    const flags = yield* spin_lock_irqsave(t, base.lock);
    queued = timer.base === base;
    if (queued) dequeue(t, timer);
    const next = first_expiry(base);
    if (
      queued && base === this_base(t) && next !== base.expires_next &&
      !base.in_interrupt
    ) {
      yield* tick_program_event(t, next);
    }
    yield* spin_unlock_irqrestore(t, base.lock, flags);
  }
  leave(t);
  return queued;
}

/** Moves `timer`, not queued, forward by whole periods until it is after `now`. */
export function hrtimer_forward(
  timer: Hrtimer,
  now: number,
  period: number,
): void {
  if (now < timer.expires) return;
  timer.expires += (Math.floor((now - timer.expires) / period) + 1) * period;
}

/** The local timer's handler: runs what is due and sets the timer anew. */
export function* hrtimer_interrupt(t: Thread): Steps {
  enter(t, HRTIMER_INTERRUPT);
  charge(t, 40);
  const base = this_base(t);
  const now = yield* ktime_get(t);
  base.in_interrupt = true;
  base.expires_next = KTIME_MAX;
  yield* run_due(t, base, now);
  base.in_interrupt = false;
  yield* spin_unlock(t, base.lock);
  const next = first_expiry(base);
  if (next !== KTIME_MAX) yield* tick_program_event(t, next);
  leave(t);
}

/** Whether `timer` is all that is queued on this CPU, and nobody has the base's lock. Plain. */
export function is_only_hrtimer(t: Thread, timer: Hrtimer): boolean {
  const { active, lock } = this_base(t);
  return active.next === timer.node && active.prev === timer.node &&
    is_free_ticket_lock(lock);
}

/**
 * {@linkcode hrtimer_interrupt} in a section, for the one timer that is queued
 * and is to be queued again. `func` is its function, plain. Plain.
 */
export function hrtimer_interrupt_now(
  t: Thread,
  func: (t: Thread, timer: Hrtimer) => void,
): void {
  enter(t, HRTIMER_INTERRUPT);
  charge(t, 40);
  const base = this_base(t);
  const now = ktime_get_now(t);
  base.in_interrupt = true;
  base.expires_next = KTIME_MAX;
  spin_lock_now(t, base.lock);
  while (first_expiry(base) <= now) {
    const timer = list_first_entry(base.active);
    dequeue(t, timer);
    spin_unlock_now(t, base.lock);
    func(t, timer);
    spin_lock_now(t, base.lock);
    enqueue(t, base, timer);
  }
  base.in_interrupt = false;
  spin_unlock_now(t, base.lock);
  tick_program_event_now(t, first_expiry(base));
  leave(t);
}

/** {@linkcode hrtimer_interrupt} without high-resolution timers. Context: the tick. */
export function* hrtimer_run_queues(t: Thread, now: number): Steps {
  enter(t, HRTIMER_RUN_QUEUES);
  charge(t, 10);
  const base = this_base(t);
  if (!list_empty(base.active)) {
    yield* run_due(t, base, now);
    yield* spin_unlock(t, base.lock);
  }
  leave(t);
}

/** Runs the timers that are due by `now`. Locks: takes base.lock and returns with it. */
function* run_due(t: Thread, base: HrtimerBase, now: number): Steps {
  yield* spin_lock(t, base.lock);
  while (first_expiry(base) <= now) {
    const timer = list_first_entry(base.active);
    dequeue(t, timer);
    yield* spin_unlock(t, base.lock);
    const again = yield* timer.func(t, timer);
    yield* spin_lock(t, base.lock);
    if (again && timer.base === null) enqueue(t, base, timer);
  }
}

/** Sleeps for `cycles`. Context: process. */
export function* nanosleep_cycles(t: Thread, cycles: number): Steps {
  enter(t, HRTIMER_NANOSLEEP);
  charge(t, 60);
  let fired = false;
  const timer = new Hrtimer(function* (irq) {
    fired = true;
    yield* wake_up_process(irq, t);
    return false;
  });
  const now = yield* ktime_get(t);
  t.wchan = "hrtimer_nanosleep";
  t.state = TASK_UNINTERRUPTIBLE;
  yield* hrtimer_start(t, timer, now + cycles);
  while (!fired) {
    yield* schedule(t);
    if (!fired) t.state = TASK_UNINTERRUPTIBLE;
  }
  t.state = TASK_RUNNING;
  t.wchan = null;
  leave(t);
}

/**
 * Sleeps for `us` microseconds.
 *
 * Context: process.
 *
 * Linux: hrtimer_nanosleep() of kernel/hrtimer.c.
 *
 * @example
 * ```ts
 * import { boot, ktime_get, usleep } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const us = boot().run(function* (t) {
 *   const start = yield* ktime_get(t);
 *   yield* usleep(t, 50);
 *   return t.machine.toNs((yield* ktime_get(t)) - start) / 1000;
 * });
 * assert(us >= 50 && us < 70);
 * ```
 */
export function usleep(t: Thread, us: number): Steps {
  return nanosleep_cycles(t, t.k.machine.toCycles(us * 1000));
}
