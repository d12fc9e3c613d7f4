/**
 * The tick of ia64 (arch/ia64/kernel/time.c of 2.6.26-28): an interrupt of the
 * CPU's own interval timer (ar.itc, cr.itm) HZ times a second, whether it is
 * idle or not. There are no clock events yet, so no CONFIG_NO_HZ, no
 * high-resolution timers, and an interrupt of an idle CPU reads no clock.
 * CPU 0 counts jiffies; hrtimers run in the tick that finds them due.
 *
 * Differs from Linux: the ticks of an idle CPU that would find nothing to do are
 * skipped, so that a machine at rest leaves the host alone, and a deadlock is
 * seen as one. What they would have brought about comes free of charge:
 * jiffies are caught up with, and RCU does not wait for such a CPU (Linux waits
 * for its next tick). What is missing is the time they take, some microseconds
 * of HZ parts of a second of a CPU that has nothing else to do.
 *
 * All but timer_interrupt() is plain and costs no virtual time.
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
import {
  hrtimer_next_event,
  hrtimer_run_queues,
  KTIME_MAX,
} from "./hrtimer.ts";
import { list_empty, list_first_entry } from "./lib/list.ts";
import { rcu_wants_tick } from "./rcu.ts";
import type { Thread } from "./thread.ts";
import { type Tick, type TickSched, update_process_times } from "./tick.ts";
import { tick_do_update_jiffies64 } from "./timekeeping.ts";

const TIMER_INTERRUPT = ksym("timer_interrupt");

/** CPU that counts jiffies: `time_keeper_id`. */
const TIME_KEEPER = 0;

/** When this CPU first ticks after `now`, cycles: at `ts.idle_tick`, or whole periods from it. */
function next_tick(tick: Tick, ts: TickSched, now: number): number {
  const { periodCycles } = tick;
  const passed = Math.floor((now - ts.idle_tick) / periodCycles);
  return ts.idle_tick + (passed + 1) * periodCycles;
}

function set_itm(t: Thread, ts: TickSched, at: number): void {
  ts.idle_tick = at;
  set_local_timer(t, at);
}

/** Starts this CPU's tick: ia64_cpu_local_tick(). CPUs are shifted against each other. */
export function ia64_cpu_local_tick(t: Thread, ts: TickSched): void {
  charge(t, 40);
  const { tick, cpu_possible } = t.k;
  const { periodCycles, last_jiffies_update } = tick;
  const shift = Math.floor(periodCycles * t.cpu.id / cpu_possible.weight);
  ts.idle_tick = last_jiffies_update + shift;
  set_itm(t, ts, next_tick(tick, ts, t.cpu.clock));
  ts.active = true;
}

/** Jiffies of the ticks that CPU 0 has skipped. */
function catch_up(tick: Tick, now: number): void {
  const passed = Math.floor(
    (now - tick.last_jiffies_update) / tick.periodCycles,
  );
  if (passed <= 0) return;
  tick.last_jiffies_update += passed * tick.periodCycles;
  tick.jiffies += passed;
}

/** The tick. Context: interrupt. */
export function* timer_interrupt(t: Thread): Steps {
  enter(t, TIMER_INTERRUPT);
  charge(t, 30);
  const { tick } = t.k;
  const ts = tick.sched.get(t.cpu.id);
  const { ackCycles } = t.k.machine.spec.irq;
  charge_cycles(t, ackCycles); // ar.itc: a register as far away as those of interrupts
  if (t.cpu.id === TIME_KEEPER) {
    yield* tick_do_update_jiffies64(t, t.cpu.clock);
  } else catch_up(tick, t.cpu.clock);
  yield* update_process_times(t);
  yield* hrtimer_run_queues(t, t.cpu.clock);
  charge_cycles(t, ackCycles); // cr.itm
  set_itm(t, ts, next_tick(tick, ts, t.cpu.clock));
  leave(t);
}

/** When this CPU's tick has something to do, cycles; in the past = at once. */
function next_event(t: Thread, tick: Tick): number {
  const { timers } = t.k.timers.bases.get(t.cpu.id);
  let at = hrtimer_next_event(t);
  if (!list_empty(timers)) {
    const jiffies = list_first_entry(timers).expires - tick.jiffies;
    at = Math.min(at, tick.last_jiffies_update + jiffies * tick.periodCycles);
  }
  return at;
}

/** This CPU is idle: its tick comes when there is something to do. Context: idle loop, or irq_exit(). */
export function ia64_skip_ticks(t: Thread): void {
  const { tick, rcu } = t.k;
  const ts = tick.sched.get(t.cpu.id);
  if (!ts.active) return;
  const now = t.cpu.clock;
  catch_up(tick, now);
  const at = rcu_wants_tick(t) ? now : next_event(t, tick);
  if (at <= now) {
    ia64_resume_ticks(t);
    return;
  }
  ts.tick_stopped = true;
  rcu.nohz_cpu_mask.set(t.cpu.id);
  const tickAt = at === KTIME_MAX ? at : next_tick(tick, ts, at - 1);
  set_local_timer(t, tickAt);
}

/** This CPU leaves the idle loop, or handles an interrupt: its tick comes when it would have. */
export function ia64_resume_ticks(t: Thread): void {
  const { tick, rcu } = t.k;
  const ts = tick.sched.get(t.cpu.id);
  if (!ts.tick_stopped) return;
  ts.tick_stopped = false;
  rcu.nohz_cpu_mask.clear(t.cpu.id);
  catch_up(tick, t.cpu.clock);
  set_itm(t, ts, next_tick(tick, ts, t.cpu.clock));
}
