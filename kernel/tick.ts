/**
 * The tick, and doing without it while idle (kernel/time/tick-sched.c and
 * tick-common.c of 2.6.28, CONFIG_NO_HZ and CONFIG_HIGH_RES_TIMERS on).
 *
 * Each CPU's tick is an hrtimer that fires HZ times a second; CPUs are shifted
 * against each other over half a period. One of them, whoever has the do_timer
 * duty, counts jiffies; it drops the duty when it goes idle, and the next tick
 * anywhere takes it up. An idle CPU stops its tick until its next timer is due,
 * or for good if it has none: a machine that is idle is quiet.
 *
 * How often an interrupt of an idle CPU reads the clock source is what makes
 * TLB flushes of idle CPUs dear, so this follows 2.6.28 to the letter. With the
 * tick stopped, `irq_enter()` reads it twice (tick_nohz_stop_idle() ends the
 * idle time, tick_nohz_update_jiffies() catches up on jiffies) and `irq_exit()`
 * once (tick_nohz_start_idle()), and again if the timer must be set anew. 2.6.27
 * does the same. tick_nohz_kick_tick() is switched off in 2.6.28 (ae99286b4f1b).
 * A reschedule interrupt does none of this: it has no irq_enter() on x86.
 *
 * ia64 has neither and ticks all the time (ia64_time.ts); the functions here hand
 * on to it.
 *
 * Left out: the low-resolution mode, broadcast, the softlockup watchdog, the
 * idle load balancer (select_nohz_load_balancer()).
 */
import {
  charge,
  enter,
  irqs_disabled,
  ksym,
  leave,
  local_irq_disable,
  local_irq_enable,
  local_irq_restore,
  local_irq_save,
  type Steps,
} from "../arch/asm.ts";
import { CacheLine } from "../arch/hw/line.ts";
import { BUG_ON } from "./bug.ts";
import {
  Hrtimer,
  hrtimer_cancel,
  hrtimer_forward,
  hrtimer_start,
  HrtimerBase,
} from "./hrtimer.ts";
import {
  ia64_cpu_local_tick,
  ia64_resume_ticks,
  ia64_skip_ticks,
} from "./ia64_time.ts";
import type { Kernel } from "./kernel.ts";
import { read_seqbegin, read_seqretry, Seqlock } from "./locking/seqlock.ts";
import { __get_cpu_var, PerCpu } from "./percpu.ts";
import {
  nohz_cpu_clear,
  nohz_cpu_set,
  rcu_batch_unseen,
  rcu_check_callbacks,
  rcu_needs_cpu,
  rcu_pending,
} from "./rcu.ts";
import { need_resched, scheduler_tick } from "./sched/sched.ts";
import {
  __raise_softirq_irqoff,
  local_softirq_pending,
  TIMER_SOFTIRQ,
} from "./softirq.ts";
import type { Thread } from "./thread.ts";
import { ktime_get, tick_do_update_jiffies64 } from "./timekeeping.ts";
import { get_next_timer_interrupt, NEXT_TIMER_MAX_DELTA } from "./timer.ts";

const TICK_INIT = ksym("tick_init");
const TICK_SETUP_SCHED_TIMER = ksym("tick_setup_sched_timer");
export const TICK_SCHED_TIMER = ksym("tick_sched_timer");
export const UPDATE_PROCESS_TIMES = ksym("update_process_times");
const TICK_CHECK_IDLE = ksym("tick_check_idle");
const TICK_NOHZ_STOP_SCHED_TICK = ksym("tick_nohz_stop_sched_tick");
const TICK_NOHZ_RESTART_SCHED_TICK = ksym("tick_nohz_restart_sched_tick");

/** Nobody counts jiffies: everybody who did is idle. */
export const TICK_DO_TIMER_NONE = -1;

/** One CPU's tick. All fields belong to that CPU, interrupts off. */
export class TickSched {
  readonly sched_timer: Hrtimer = new Hrtimer(tick_sched_timer);
  /** Started: the CPU is up. */
  active = false;
  /** In the idle loop. */
  inidle = false;
  tick_stopped = false;
  /** When the tick would have come, had it not been stopped, cycles. (ia64: when it comes.) */
  idle_tick = 0;
  /** Counts as idle now, since idle_entrytime. */
  idle_active = false;
  idle_entrytime = 0;
  /** Time spent idle, cycles. */
  idle_sleeptime = 0;
  /** Times the tick was to be stopped, and was. */
  idle_calls = 0;
  idle_sleeps = 0;
}

/**
 * Ticks, jiffies and local timers of one kernel.
 *
 * Linux: kernel/time/tick-sched.c.
 *
 * @example
 * ```ts
 * import { boot, msleep } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const jiffies = boot().run(function* (t) {
 *   const { tick } = t.k;
 *   const start = tick.jiffies;
 *   yield* msleep(t, 100);
 *   return tick.jiffies - start;
 * });
 * assert(jiffies >= 10);
 * ```
 */
export class Tick {
  /** A tick, cycles. */
  readonly periodCycles: number;
  /** Guards the three below, which lie on its line. */
  readonly xtime_lock: Seqlock;
  /** Ticks since boot; look at it where Linux reads `jiffies`. */
  jiffies = 0;
  /** When jiffies last went up, cycles. */
  last_jiffies_update = 0;
  /** CPU that counts jiffies. Unlocked. */
  do_timer_cpu: number = TICK_DO_TIMER_NONE;
  /**
   * Each CPU's tick.
   *
   * @internal
   */
  readonly sched: PerCpu<TickSched>;
  /**
   * Each CPU's high-resolution timers.
   *
   * @internal
   */
  readonly hrtimer_bases: PerCpu<HrtimerBase>;

  /** Made by tick_init(). */
  constructor(k: Kernel) {
    const { clockHz, kernel } = k.machine.spec;
    this.periodCycles = Math.round(clockHz / kernel.hz);
    this.xtime_lock = new Seqlock(k, "xtime_lock", new CacheLine(0));
    this.sched = new PerCpu(k, () => new TickSched());
    this.hrtimer_bases = new PerCpu(k, (cpu) => new HrtimerBase(k, cpu));
  }
}

/** Brings timekeeping and ticks up; no CPU ticks yet. */
export function tick_init(t: Thread): void {
  enter(t, TICK_INIT);
  charge(t, 100);
  const tick = new Tick(t.k);
  tick.last_jiffies_update = t.cpu.clock;
  t.k.tick = tick;
  leave(t);
}

/** Starts this CPU's tick. Context: process, at the CPU's start. */
export function* tick_setup_sched_timer(t: Thread): Steps {
  enter(t, TICK_SETUP_SCHED_TIMER);
  charge(t, 80);
  const tick = t.k.tick;
  const ts = __get_cpu_var(t, tick.sched);
  if (t.k.arch === "ia64") {
    ia64_cpu_local_tick(t, ts);
    leave(t);
    return;
  }
  const now = yield* ktime_get(t);
  const shift = Math.floor(tick.periodCycles / 2 / t.k.cpu_possible.weight);
  const timer = ts.sched_timer;
  timer.expires = tick.last_jiffies_update + shift * t.cpu.id;
  hrtimer_forward(timer, now, tick.periodCycles);
  if (tick.do_timer_cpu === TICK_DO_TIMER_NONE) tick.do_timer_cpu = t.cpu.id;
  ts.active = true;
  yield* hrtimer_start(t, timer, timer.expires);
  leave(t);
}

/** The tick itself. Context: timer interrupt. */
function* tick_sched_timer(t: Thread, timer: Hrtimer): Steps<boolean> {
  enter(t, TICK_SCHED_TIMER);
  charge(t, 20);
  const tick = t.k.tick;
  const cpu = t.cpu.id;
  const now = yield* ktime_get(t);
  // A CPU that went idle has dropped the duty: take it.
  if (tick.do_timer_cpu === TICK_DO_TIMER_NONE) tick.do_timer_cpu = cpu;
  if (tick.do_timer_cpu === cpu) yield* tick_do_update_jiffies64(t, now);
  yield* update_process_times(t);
  hrtimer_forward(timer, now, tick.periodCycles);
  leave(t);
  return true;
}

/** What every tick does. Context: timer interrupt. */
export function* update_process_times(t: Thread): Steps {
  enter(t, UPDATE_PROCESS_TIMES);
  charge(t, 60); // account_process_tick(), run_posix_cpu_timers()
  __raise_softirq_irqoff(t, TIMER_SOFTIRQ); // run_local_timers()
  if (yield* rcu_pending(t)) rcu_check_callbacks(t);
  yield* scheduler_tick(t);
  leave(t);
}

/** An interrupt ends this CPU's idleness for now. Context: irq_enter(), on an idle CPU. */
export function* tick_check_idle(t: Thread): Steps {
  enter(t, TICK_CHECK_IDLE);
  charge(t, 10);
  const ts = __get_cpu_var(t, t.k.tick.sched);
  yield* tick_nohz_stop_idle(t, ts);
  if (ts.tick_stopped) yield* tick_nohz_update_jiffies(t);
  leave(t);
}

function* tick_nohz_stop_idle(t: Thread, ts: TickSched): Steps {
  charge(t, 4);
  if (!ts.idle_active) return;
  const now = yield* ktime_get(t);
  ts.idle_sleeptime += now - ts.idle_entrytime;
  ts.idle_active = false;
  charge(t, 20); // sched_clock_idle_wakeup_event()
}

function* tick_nohz_update_jiffies(t: Thread): Steps {
  yield* nohz_cpu_clear(t);
  const now = yield* ktime_get(t);
  yield* tick_do_update_jiffies64(t, now);
}

function* tick_nohz_start_idle(t: Thread, ts: TickSched): Steps {
  const now = yield* ktime_get(t);
  if (ts.idle_active) ts.idle_sleeptime += now - ts.idle_entrytime;
  ts.idle_entrytime = now;
  ts.idle_active = true;
  charge(t, 20); // sched_clock_idle_sleep_event()
}

/**
 * Stops the tick of this idle CPU, or puts its end off, until its next timer is
 * due; leaves it alone if that is the next tick, or RCU needs it.
 *
 * @param inidle Called by the idle loop; `false` = by irq_exit().
 */
export function* tick_nohz_stop_sched_tick(t: Thread, inidle: boolean): Steps {
  if (t.k.arch === "ia64") {
    ia64_skip_ticks(t);
    return;
  }
  enter(t, TICK_NOHZ_STOP_SCHED_TICK);
  charge(t, 20);
  const flags = local_irq_save(t);
  const ts = __get_cpu_var(t, t.k.tick.sched);
  if (ts.active && (inidle || ts.inidle)) {
    ts.inidle = true;
    yield* tick_nohz_start_idle(t, ts);
    if (!need_resched(t) && !local_softirq_pending(t)) {
      yield* stop_tick(t, ts);
    }
  }
  local_irq_restore(t, flags);
  leave(t);
}

/** Context: interrupts off. */
function* stop_tick(t: Thread, ts: TickSched): Steps {
  BUG_ON(t, !irqs_disabled(t), "tick stopped with interrupts on");
  const tick = t.k.tick;
  ts.idle_calls++;
  charge(t, 40);
  let seq: number;
  let last_update: number;
  let last_jiffies: number;
  do {
    seq = yield* read_seqbegin(t, tick.xtime_lock);
    last_update = tick.last_jiffies_update;
    last_jiffies = tick.jiffies;
  } while (yield* read_seqretry(t, tick.xtime_lock, seq));
  const next_jiffies = yield* get_next_timer_interrupt(t, last_jiffies);
  let delta = next_jiffies - last_jiffies;
  if (yield* rcu_needs_cpu(t)) delta = 1;
  if (!ts.tick_stopped && delta === 1) return;
  if (delta < 1) {
    // Overdue: the next tick, which is on or is put back on, runs it. (Linux
    // raises the softirq here, which has ksoftirqd run it.)
    delta = 1;
    if (!ts.tick_stopped) return;
  }
  if (tick.do_timer_cpu === t.cpu.id) tick.do_timer_cpu = TICK_DO_TIMER_NONE;
  if (delta > 1) {
    yield* nohz_cpu_set(t);
    if (rcu_batch_unseen(t)) {
      yield* nohz_cpu_clear(t);
      delta = 1;
    }
  }
  if (!ts.tick_stopped) {
    ts.idle_tick = ts.sched_timer.expires;
    ts.tick_stopped = true;
  }
  ts.idle_sleeps++;
  if (delta >= NEXT_TIMER_MAX_DELTA) {
    yield* hrtimer_cancel(t, ts.sched_timer);
    return;
  }
  const expires = last_update + delta * tick.periodCycles;
  const timer = ts.sched_timer;
  if (timer.base !== null && timer.expires === expires) return;
  yield* hrtimer_start(t, timer, expires);
}

/** This CPU leaves the idle loop: the tick goes on where it would be by now. */
export function* tick_nohz_restart_sched_tick(t: Thread): Steps {
  if (t.k.arch === "ia64") {
    ia64_resume_ticks(t);
    return;
  }
  enter(t, TICK_NOHZ_RESTART_SCHED_TICK);
  charge(t, 20);
  local_irq_disable(t);
  const tick = t.k.tick;
  const ts = __get_cpu_var(t, tick.sched);
  yield* tick_nohz_stop_idle(t, ts);
  ts.inidle = false;
  if (ts.tick_stopped) {
    const now = yield* ktime_get(t);
    yield* tick_do_update_jiffies64(t, now);
    yield* nohz_cpu_clear(t);
    ts.tick_stopped = false;
    const timer = ts.sched_timer;
    yield* hrtimer_cancel(t, timer);
    timer.expires = ts.idle_tick;
    hrtimer_forward(timer, now, tick.periodCycles);
    yield* hrtimer_start(t, timer, timer.expires);
  }
  local_irq_enable(t);
  leave(t);
}
