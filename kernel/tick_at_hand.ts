/**
 * The tick of a busy CPU as one section (`may_run_section()` of `arch/asm.ts`):
 * what tick.ts and hrtimer.ts do in general, for a CPU that does not count
 * jiffies and has no other timer, on a machine whose clock every CPU has to
 * itself. A thousand CPUs that spin on a lock do little else.
 *
 * It begins in the CPU's turn, as every interrupt does. Others who write jiffies
 * or RCU's state in the microsecond that it takes are seen by the next tick.
 */
import { charge, enter, leave, may_run_section } from "../arch/asm.ts";
import {
  type Hrtimer,
  hrtimer_forward,
  hrtimer_interrupt_now,
  is_only_hrtimer,
} from "./hrtimer.ts";
import { is_free_ticket_lock } from "./locking/spinlock.ts";
import { rcu_check_callbacks, rcu_pending_now } from "./rcu.ts";
import { scheduler_tick_now, this_rq } from "./sched/sched.ts";
import { __raise_softirq_irqoff, TIMER_SOFTIRQ } from "./softirq.ts";
import type { Thread } from "./thread.ts";
import {
  TICK_DO_TIMER_NONE,
  TICK_SCHED_TIMER,
  UPDATE_PROCESS_TIMES,
} from "./tick.ts";
import { clock_is_at_hand, ktime_get_now } from "./timekeeping.ts";

/** Whether {@linkcode hrtimer_interrupt_at_hand} may stand for hrtimer_interrupt(). Plain. */
export function tick_is_at_hand(t: Thread): boolean {
  const { tick } = t.k;
  const cpu = t.cpu.id;
  return may_run_section(t) && clock_is_at_hand(t) &&
    tick.do_timer_cpu !== cpu && tick.do_timer_cpu !== TICK_DO_TIMER_NONE &&
    is_only_hrtimer(t, tick.sched.get(cpu).sched_timer) &&
    is_free_ticket_lock(this_rq(t).lock);
}

/** hrtimer_interrupt() with nothing but the tick. Plain. */
export function hrtimer_interrupt_at_hand(t: Thread): void {
  hrtimer_interrupt_now(t, tick_sched_timer_now);
}

function tick_sched_timer_now(t: Thread, timer: Hrtimer): void {
  enter(t, TICK_SCHED_TIMER);
  charge(t, 20);
  const now = ktime_get_now(t);
  update_process_times_now(t);
  hrtimer_forward(timer, now, t.k.tick.periodCycles);
  leave(t);
}

function update_process_times_now(t: Thread): void {
  enter(t, UPDATE_PROCESS_TIMES);
  charge(t, 60);
  __raise_softirq_irqoff(t, TIMER_SOFTIRQ);
  if (rcu_pending_now(t)) rcu_check_callbacks(t);
  scheduler_tick_now(t);
  leave(t);
}
