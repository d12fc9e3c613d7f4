/**
 * The idle loop: stop the tick, halt until something happens
 * (arch/x86/kernel/process_64.c and process.c of 2.6.28).
 *
 * The time a CPU spends halted is charged to `default_idle`.
 */
import {
  charge,
  charge_cycles,
  enter,
  ksym,
  leave,
  local_irq_disable,
  local_irq_enable,
  safe_halt,
  type Steps,
} from "../../arch/asm.ts";
import { BUG_ON } from "../bug.ts";
import {
  tick_nohz_restart_sched_tick,
  tick_nohz_stop_sched_tick,
} from "../tick.ts";
import { preempt_disable, preempt_enable, type Thread } from "../thread.ts";
import type { Runqueue } from "./runqueue.ts";
import { schedule, this_rq } from "./sched.ts";

const CPU_IDLE = ksym("cpu_idle");
const DEFAULT_IDLE = ksym("default_idle");

/** What an idle thread does, for ever. Context: preemption off by one, nothing held. */
export function* cpu_idle(t: Thread): Steps<never> {
  enter(t, CPU_IDLE);
  BUG_ON(t, t.preempt_count !== 1, "idle loop entered with preemption on");
  const rq = this_rq(t);
  rq.polling = true;
  for (;;) {
    yield* tick_nohz_stop_sched_tick(t, true);
    while (!rq.need_resched) {
      charge(t, 12);
      local_irq_disable(t);
      yield* default_idle(t, rq);
    }
    yield* tick_nohz_restart_sched_tick(t);
    preempt_enable(t);
    yield* schedule(t);
    preempt_disable(t);
  }
}

/** Halts unless there is something to do. Context: interrupts off; on when it returns. */
function* default_idle(t: Thread, rq: Runqueue): Steps {
  enter(t, DEFAULT_IDLE);
  t.k.sanitizers?.threadExit(t);
  charge(t, 10);
  rq.polling = false;
  charge_cycles(t, t.k.machine.lockedCycles); // smp_mb() before the last look
  // Who sets need_resched from here on sees that nobody polls, and sends an
  // interrupt: it ends the halt, even if it is sent before.
  if (rq.need_resched) local_irq_enable(t);
  else yield* safe_halt(t);
  rq.polling = true;
  leave(t);
}
