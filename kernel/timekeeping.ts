/**
 * The time of day and jiffies (kernel/time/timekeeping.c, kernel/timer.c).
 *
 * Time is in cycles since power-on, as the clock source gives it; Linux has
 * nanoseconds. `ktime_get()` reads the clock source, which on the default
 * machine is one HPET that serves one CPU at a time: about 0.7 us a read, and
 * CPUs that an interrupt wakes together queue for it.
 *
 * Differs from Linux: jiffies start at 0, not five minutes before they wrap,
 * and never wrap. There is no wall clock and no clock adjustment, so
 * do_timer() only counts.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  read_clocksource,
  read_clocksource_now,
  type Steps,
  touch_write,
} from "../arch/asm.ts";
import {
  read_seqbegin,
  read_seqbegin_now,
  read_seqend_now,
  read_seqretry,
  seq_is_even,
  write_seqlock,
  write_sequnlock,
} from "./locking/seqlock.ts";
import type { Thread } from "./thread.ts";

const KTIME_GET = ksym("ktime_get");
const GETNSTIMEOFDAY = ksym("getnstimeofday");
const READ_CLOCK = ksym("clocksource_read");
const TICK_DO_UPDATE_JIFFIES64 = ksym("tick_do_update_jiffies64");

/**
 * Monotonic time, cycles.
 *
 * Context: any. Reads the clock source.
 *
 * Linux: kernel/hrtimer.c.
 *
 * @example
 * ```ts
 * import { boot, ktime_get, usleep } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const ms = boot().run(function* (t) {
 *   const start = yield* ktime_get(t);
 *   yield* usleep(t, 2000);
 *   return t.machine.toNs((yield* ktime_get(t)) - start) / 1e6;
 * });
 * assertEquals(Math.round(ms), 2);
 * ```
 */
export function* ktime_get(t: Thread): Steps<number> {
  enter(t, KTIME_GET);
  charge(t, 20);
  const { xtime_lock } = t.k.tick;
  let now: number;
  let seq: number;
  do {
    seq = yield* read_seqbegin(t, xtime_lock);
    now = yield* getnstimeofday(t);
  } while (yield* read_seqretry(t, xtime_lock, seq));
  leave(t);
  return now;
}

/** Its own read section lies inside that of ktime_get(), as in Linux. */
function* getnstimeofday(t: Thread): Steps<number> {
  enter(t, GETNSTIMEOFDAY);
  charge(t, 20);
  const { xtime_lock } = t.k.tick;
  let now: number;
  let seq: number;
  do {
    seq = yield* read_seqbegin(t, xtime_lock);
    enter(t, READ_CLOCK);
    now = yield* read_clocksource(t);
    leave(t);
    charge(t, 12);
  } while (yield* read_seqretry(t, xtime_lock, seq));
  leave(t);
  return now;
}

/**
 * Whether a section may read the clock: each CPU has one to itself, and nobody
 * sets it now. Plain.
 */
export function clock_is_at_hand(t: Thread): boolean {
  return !t.k.machine.spec.clocksource.shared &&
    seq_is_even(t.k.tick.xtime_lock);
}

/** {@linkcode ktime_get} in a section. Plain. */
export function ktime_get_now(t: Thread): number {
  const { xtime_lock } = t.k.tick;
  enter(t, KTIME_GET);
  charge(t, 20);
  read_seqbegin_now(t, xtime_lock);
  enter(t, GETNSTIMEOFDAY);
  charge(t, 20);
  read_seqbegin_now(t, xtime_lock);
  enter(t, READ_CLOCK);
  const now = read_clocksource_now(t);
  leave(t);
  charge(t, 12);
  read_seqend_now(t, xtime_lock);
  leave(t);
  read_seqend_now(t, xtime_lock);
  leave(t);
  return now;
}

/** Counts the ticks that have passed by `now`. Context: interrupts off. Locks: xtime_lock. */
export function* tick_do_update_jiffies64(t: Thread, now: number): Steps {
  enter(t, TICK_DO_UPDATE_JIFFIES64);
  charge(t, 10);
  const tick = t.k.tick;
  // A quick look without the lock.
  if (now - tick.last_jiffies_update >= tick.periodCycles) {
    yield* write_seqlock(t, tick.xtime_lock);
    const passed = now - tick.last_jiffies_update;
    if (passed >= tick.periodCycles) {
      const ticks = Math.floor(passed / tick.periodCycles);
      charge(t, ticks > 1 ? 120 : 80); // do_timer(), update_wall_time()
      touch_write(t, tick.xtime_lock.line);
      tick.last_jiffies_update += ticks * tick.periodCycles;
      tick.jiffies += ticks;
    }
    yield* write_sequnlock(t, tick.xtime_lock);
  }
  leave(t);
}

/**
 * Jiffies of `ms` milliseconds, rounded up.
 *
 * Linux: kernel/time.c.
 *
 * @example
 * ```ts
 * import { boot, msecs_to_jiffies } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const [hz, jiffies] = boot().run(function* (t) {
 *   return [t.machine.spec.kernel.hz, msecs_to_jiffies(t, 1000)];
 * });
 * assertEquals(jiffies, hz);
 * ```
 */
export function msecs_to_jiffies(t: Thread, ms: number): number {
  return Math.ceil(ms * t.k.machine.spec.kernel.hz / 1000);
}
