/**
 * Timers in jiffies (kernel/timer.c), and sleeping by them.
 *
 * Lock order:
 *
 *     TimerBase.lock (one for each CPU)
 *       nothing
 *
 * Differs from Linux: a CPU's timers are one list sorted by expiry, where Linux
 * cascades through five wheels. Finding the next timer is a look at the first,
 * charged as Linux's search through the slots of the wheel; adding one walks back
 * from the last, where Linux takes constant time. Kernels here have a handful of
 * timers.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  read_line,
  type Steps,
} from "../arch/asm.ts";
import { CacheLine } from "../arch/hw/line.ts";
import { BUG_ON } from "./bug.ts";
import { smp_send_reschedule } from "./ipi.ts";
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
  spin_lock_irq,
  spin_lock_irq_now,
  spin_lock_irqsave,
  spin_unlock_irq,
  spin_unlock_irq_now,
  spin_unlock_irqrestore,
  Spinlock,
} from "./locking/spinlock.ts";
import { PerCpu } from "./percpu.ts";
import { schedule } from "./sched/sched.ts";
import { wake_up_process } from "./sched/wakeup.ts";
import { open_softirq, type SoftirqAtHand, TIMER_SOFTIRQ } from "./softirq.ts";
import {
  in_interrupt,
  TASK_INTERRUPTIBLE,
  TASK_UNINTERRUPTIBLE,
  type Thread,
} from "./thread.ts";
import { msecs_to_jiffies } from "./timekeeping.ts";

const INIT_TIMERS = ksym("init_timers");
const MOD_TIMER = ksym("mod_timer");
const DEL_TIMER = ksym("del_timer");
const DEL_TIMER_SYNC = ksym("del_timer_sync");
const GET_NEXT_TIMER_INTERRUPT = ksym("get_next_timer_interrupt");
const RUN_TIMER_SOFTIRQ = ksym("run_timer_softirq");
const SCHEDULE_TIMEOUT = ksym("schedule_timeout");
const MSLEEP = ksym("msleep");

/** Jiffies to the next timer where there is none. */
export const NEXT_TIMER_MAX_DELTA = (1 << 30) - 1;
/** Timeout that never comes. */
export const MAX_SCHEDULE_TIMEOUT = Infinity;

/**
 * `struct timer_list`.
 *
 * Linux: struct timer_list of include/linux/timer.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   complete,
 *   Completion,
 *   mod_timer,
 *   Timer,
 *   wait_for_completion,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const fired = boot().run(function* (t) {
 *   const done = new Completion(t.k, "done");
 *   const timer = new Timer((irq) => complete(irq, done));
 *   const due = t.k.tick.jiffies + 3;
 *   yield* mod_timer(t, timer, due);
 *   yield* wait_for_completion(t, done);
 *   return t.k.tick.jiffies - due;
 * });
 * assert(fired >= 0);
 * ```
 */
export class Timer {
  /** Jiffies. Guarded by base.lock while pending. */
  expires = 0;
  /**
   * Whose list it is or was on.
   *
   * @internal
   */
  base: TimerBase | null = null;
  /** Its link in a CPU's list; empty = not pending. */
  readonly entry: ListHead<Timer>;

  /**
   * A timer that is not pending.
   *
   * @param func Called in softirq context, interrupts on.
   */
  constructor(readonly func: (t: Thread, timer: Timer) => Steps) {
    this.entry = new ListHead<Timer>(this);
  }
}

/** One CPU's timers. */
export class TimerBase {
  readonly lock: Spinlock;
  // Guarded by lock.
  /** By expiry, then by adding. */
  readonly timers: ListHead<Timer> = new ListHead<Timer>();
  /** Whose function runs now. */
  running_timer: Timer | null = null;

  constructor(k: Kernel, readonly cpu: number) {
    const line = new CacheLine(k.machine.engine.cpus[cpu].node);
    this.lock = new Spinlock(k, "base->lock", line);
  }
}

/** Timers of one kernel. */
export class Timers {
  readonly bases: PerCpu<TimerBase>;
  constructor(k: Kernel) {
    this.bases = new PerCpu(k, (cpu) => new TimerBase(k, cpu));
  }
}

/** Brings timers up. */
export function init_timers(t: Thread): void {
  enter(t, INIT_TIMERS);
  charge(t, 200);
  t.k.timers = new Timers(t.k);
  open_softirq(t.k, TIMER_SOFTIRQ, run_timer_softirq, NO_TIMER_DUE);
  leave(t);
}

/**
 * Whether `timer` waits: an unlocked look.
 *
 * Linux: include/linux/timer.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   del_timer,
 *   mod_timer,
 *   Timer,
 *   timer_pending,
 * } from "@vmaplab/vmaplab";
 * import { assert, assertFalse } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const timer = new Timer(function* () {});
 *   assertFalse(timer_pending(timer));
 *   yield* mod_timer(t, timer, t.k.tick.jiffies + 100);
 *   assert(timer_pending(timer));
 *   yield* del_timer(t, timer);
 * });
 * ```
 */
export function timer_pending(timer: Timer): boolean {
  return !list_empty(timer.entry);
}

/** Locks the base that `timer` belongs to; its CPU's, if to none. */
function* lock_timer_base(
  t: Thread,
  timer: Timer,
): Steps<{ base: TimerBase; flags: boolean }> {
  for (;;) {
    const base = timer.base ?? t.k.timers.bases.get(t.cpu.id);
    const flags = yield* spin_lock_irqsave(t, base.lock);
    if (timer.base === null || timer.base === base) return { base, flags };
    yield* spin_unlock_irqrestore(t, base.lock, flags);
  }
}

/** Queues by expiry. Locks: base.lock held. */
function internal_add_timer(t: Thread, base: TimerBase, timer: Timer): void {
  charge(t, 25);
  const head = base.timers;
  let after = head.prev;
  while (after !== head && list_entry(after).expires > timer.expires) {
    charge(t, 5);
    after = after.prev;
  }
  list_add_tail(timer.entry, after.next);
  timer.base = base;
}

/**
 * Has `timer`, pending or not, fire at jiffy `expires` on this CPU.
 *
 * Linux: kernel/timer.c.
 *
 * @returns Whether it was pending.
 *
 * @example
 * ```ts
 * import { boot, del_timer, mod_timer, Timer } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const pending = boot().run(function* (t) {
 *   const timer = new Timer(function* () {});
 *   const first = yield* mod_timer(t, timer, t.k.tick.jiffies + 100);
 *   const second = yield* mod_timer(t, timer, t.k.tick.jiffies + 200);
 *   yield* del_timer(t, timer);
 *   return [first, second];
 * });
 * assertEquals(pending, [false, true]);
 * ```
 */
export function mod_timer(
  t: Thread,
  timer: Timer,
  expires: number,
): Steps<boolean> {
  return mod_timer_on(t, timer, expires, t.cpu.id);
}

function* mod_timer_on(
  t: Thread,
  timer: Timer,
  expires: number,
  cpu: number,
): Steps<boolean> {
  enter(t, MOD_TIMER);
  charge(t, 30);
  let { base, flags } = yield* lock_timer_base(t, timer);
  const pending = timer_pending(timer);
  if (pending) list_del_init(timer.entry);
  // One that is running stays with its CPU, so that del_timer_sync() finds it.
  if (base.cpu !== cpu && base.running_timer !== timer) {
    timer.base = null;
    yield* spin_unlock_irqrestore(t, base.lock, flags);
    base = t.k.timers.bases.get(cpu);
    flags = yield* spin_lock_irqsave(t, base.lock);
  }
  timer.expires = expires;
  internal_add_timer(t, base, timer);
  yield* spin_unlock_irqrestore(t, base.lock, flags);
  leave(t);
  return pending;
}

/**
 * Starts `timer`, which is not pending and whose `expires` is set.
 *
 * Linux: kernel/timer.c.
 *
 * @example
 * ```ts
 * import { add_timer, boot, msleep, Timer } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * let count = 0;
 * boot().run(function* (t) {
 *   const timer = new Timer(function* () {
 *     count++;
 *   });
 *   timer.expires = t.k.tick.jiffies + 2;
 *   yield* add_timer(t, timer);
 *   yield* msleep(t, 50);
 * });
 * assertEquals(count, 1);
 * ```
 */
export function* add_timer(t: Thread, timer: Timer): Steps {
  BUG_ON(t, timer_pending(timer), "add_timer() of a pending timer");
  yield* mod_timer_on(t, timer, timer.expires, t.cpu.id);
}

/** {@linkcode add_timer} on CPU number `cpu`, which is told if it sleeps without a tick. */
export function* add_timer_on(t: Thread, timer: Timer, cpu: number): Steps {
  BUG_ON(t, timer_pending(timer), "add_timer_on() of a pending timer");
  yield* mod_timer_on(t, timer, timer.expires, cpu);
  if (cpu === t.cpu.id) return;
  const rq = t.k.sched.rqs[cpu]; // wake_up_idle_cpu()
  if (rq.curr !== rq.idle) return;
  rq.need_resched = true;
  if (!rq.polling) yield* smp_send_reschedule(t, cpu);
}

/**
 * Takes `timer` off; it may be running.
 *
 * Linux: kernel/timer.c.
 *
 * @returns Whether it was pending.
 *
 * @example
 * ```ts
 * import { boot, del_timer, mod_timer, Timer } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const pending = boot().run(function* (t) {
 *   const timer = new Timer(function* () {});
 *   yield* mod_timer(t, timer, t.k.tick.jiffies + 100);
 *   return [yield* del_timer(t, timer), yield* del_timer(t, timer)];
 * });
 * assertEquals(pending, [true, false]);
 * ```
 */
export function* del_timer(t: Thread, timer: Timer): Steps<boolean> {
  enter(t, DEL_TIMER);
  charge(t, 12);
  let pending = false;
  if (timer_pending(timer)) {
    const { base, flags } = yield* lock_timer_base(t, timer);
    pending = timer_pending(timer);
    if (pending) list_del_init(timer.entry);
    yield* spin_unlock_irqrestore(t, base.lock, flags);
  }
  leave(t);
  return pending;
}

/**
 * Takes `timer` off and waits until its function, if running, is done.
 *
 * Context: not in interrupts; holds no lock that the function takes.
 *
 * Linux: kernel/timer.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   del_timer_sync,
 *   mod_timer,
 *   Timer,
 *   timer_pending,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const pending = boot().run(function* (t) {
 *   const timer = new Timer(function* () {});
 *   yield* mod_timer(t, timer, t.k.tick.jiffies + 100);
 *   yield* del_timer_sync(t, timer); // its function does not run from here on
 *   return timer_pending(timer);
 * });
 * assertEquals(pending, false);
 * ```
 */
export function* del_timer_sync(t: Thread, timer: Timer): Steps<boolean> {
  enter(t, DEL_TIMER_SYNC);
  BUG_ON(t, in_interrupt(t), "del_timer_sync() in an interrupt");
  for (;;) {
    const { base, flags } = yield* lock_timer_base(t, timer);
    const running = base.running_timer === timer;
    const pending = timer_pending(timer);
    if (!running && pending) list_del_init(timer.entry);
    yield* spin_unlock_irqrestore(t, base.lock, flags);
    if (!running) {
      leave(t);
      return pending;
    }
    // The pause of Linux's loop; not cpu_relax(), which would park on whatever
    // was loaded before.
    yield* read_line(t, base.lock.slock.line);
  }
}

/** One slot of the wheel's search: address, load, prefetch, two compares, step. */
const SLOT_INSTRUCTIONS = 6;

/**
 * Slots that __next_timer_interrupt() of Linux looks at, a jiffy each, before
 * it finds `next`. Where that is far off, it finds the timer of vmstat_update()
 * first, which every CPU has and which runs once a second: half a second away
 * on average.
 */
function slots_searched(t: Thread, now: number, next: number): number {
  const ahead = next - now + 1;
  return Math.max(1, Math.min(ahead, t.machine.spec.kernel.hz >> 1));
}

/** Jiffy of this CPU's next timer. Context: interrupts off. */
export function* get_next_timer_interrupt(
  t: Thread,
  now: number,
): Steps<number> {
  enter(t, GET_NEXT_TIMER_INTERRUPT);
  charge(t, 40); // the comparison with hrtimer_get_next_event(), too
  const base = t.k.timers.bases.get(t.cpu.id);
  const flags = yield* spin_lock_irqsave(t, base.lock);
  const next = list_empty(base.timers)
    ? now + NEXT_TIMER_MAX_DELTA
    : list_first_entry(base.timers).expires;
  charge(t, SLOT_INSTRUCTIONS * slots_searched(t, now, next));
  yield* spin_unlock_irqrestore(t, base.lock, flags);
  leave(t);
  return next;
}

/** Runs what is due. Context: softirq. */
function* run_timer_softirq(t: Thread): Steps {
  enter(t, RUN_TIMER_SOFTIRQ);
  charge(t, 20);
  const base = t.k.timers.bases.get(t.cpu.id);
  yield* spin_lock_irq(t, base.lock);
  while (!list_empty(base.timers)) {
    const timer = list_first_entry(base.timers);
    charge(t, 20);
    if (timer.expires > t.k.tick.jiffies) break;
    list_del_init(timer.entry);
    base.running_timer = timer;
    yield* spin_unlock_irq(t, base.lock);
    yield* timer.func(t, timer);
    yield* spin_lock_irq(t, base.lock);
    base.running_timer = null;
  }
  yield* spin_unlock_irq(t, base.lock);
  leave(t);
}

/** {@linkcode run_timer_softirq} that finds nothing due. */
const NO_TIMER_DUE: SoftirqAtHand = {
  may(t) {
    const { timers, lock } = t.k.timers.bases.get(t.cpu.id);
    return is_free_ticket_lock(lock) &&
      (list_empty(timers) ||
        list_first_entry(timers).expires > t.k.tick.jiffies);
  },
  run(t) {
    enter(t, RUN_TIMER_SOFTIRQ);
    charge(t, 20);
    const { timers, lock } = t.k.timers.bases.get(t.cpu.id);
    spin_lock_irq_now(t, lock);
    if (!list_empty(timers)) charge(t, 20);
    spin_unlock_irq_now(t, lock);
    leave(t);
  },
};

/**
 * Sleeps for `timeout` jiffies, or until woken. The caller has set its state.
 *
 * Context: process.
 *
 * Linux: kernel/timer.c.
 *
 * @returns Jiffies left; 0 = timed out.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   kthread_run,
 *   schedule_timeout,
 *   TASK_UNINTERRUPTIBLE,
 *   wake_up_process,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const left = boot().run(function* (t) {
 *   yield* kthread_run(t, (self) => wake_up_process(self, t), "waker");
 *   t.state = TASK_UNINTERRUPTIBLE;
 *   return yield* schedule_timeout(t, 100);
 * });
 * assert(left > 90); // woken early
 * ```
 */
export function* schedule_timeout(t: Thread, timeout: number): Steps<number> {
  enter(t, SCHEDULE_TIMEOUT);
  t.k.sanitizers?.mightSleep(t, "schedule_timeout");
  charge(t, 20);
  if (timeout === MAX_SCHEDULE_TIMEOUT) {
    yield* schedule(t);
    leave(t);
    return timeout;
  }
  const expires = t.k.tick.jiffies + timeout;
  const timer = new Timer(function* (irq) {
    yield* wake_up_process(irq, t);
  });
  yield* mod_timer(t, timer, expires);
  yield* schedule(t);
  yield* del_timer_sync(t, timer);
  leave(t);
  return Math.max(0, expires - t.k.tick.jiffies);
}

/**
 * {@linkcode schedule_timeout}, not to be woken by signals.
 *
 * Linux: kernel/timer.c.
 *
 * @example
 * ```ts
 * import { boot, schedule_timeout_uninterruptible } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const left = boot().run((t) => schedule_timeout_uninterruptible(t, 2));
 * assertEquals(left, 0);
 * ```
 */
export function schedule_timeout_uninterruptible(
  t: Thread,
  timeout: number,
): Steps<number> {
  t.state = TASK_UNINTERRUPTIBLE;
  return schedule_timeout(t, timeout);
}

/**
 * {@linkcode schedule_timeout}, to be woken by signals too, of which there are
 * none.
 *
 * Linux: kernel/timer.c.
 *
 * @example
 * ```ts
 * import { boot, schedule_timeout_interruptible } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const left = boot().run((t) => schedule_timeout_interruptible(t, 2));
 * assertEquals(left, 0);
 * ```
 */
export function schedule_timeout_interruptible(
  t: Thread,
  timeout: number,
): Steps<number> {
  t.state = TASK_INTERRUPTIBLE;
  return schedule_timeout(t, timeout);
}

/**
 * Sleeps for at least `ms` milliseconds.
 *
 * Context: process.
 *
 * Linux: kernel/timer.c.
 *
 * @example
 * ```ts
 * import { boot, ktime_get, msleep } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const ms = boot().run(function* (t) {
 *   const start = yield* ktime_get(t);
 *   yield* msleep(t, 20);
 *   return t.machine.toNs((yield* ktime_get(t)) - start) / 1e6;
 * });
 * assert(ms >= 20 && ms < 40);
 * ```
 */
export function* msleep(t: Thread, ms: number): Steps {
  enter(t, MSLEEP);
  t.wchan = "msleep";
  let left = msecs_to_jiffies(t, ms) + 1;
  while (left > 0) left = yield* schedule_timeout_uninterruptible(t, left);
  t.wchan = null;
  leave(t);
}
