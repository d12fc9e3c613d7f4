/**
 * Interrupts: what the CPU does between taking one and going back
 * (arch/x86/kernel/{entry_64.S,apic.c,smp.c}, kernel/softirq.c; for ia64,
 * arch/ia64/kernel/{ivt.S,entry.S,irq_ia64.c}).
 *
 * Differs from Linux: a handler has a thread object of its own (see thread.ts).
 * CONFIG_PREEMPT is off, so the return from an interrupt switches threads on an
 * idle CPU only, and there it is the idle loop that does it. User mode does not
 * exist.
 */
import {
  charge,
  charge_cycles,
  enter,
  ksym,
  leave,
  type Steps,
  type Sym,
} from "../arch/asm.ts";
import type { Context } from "../arch/sim/context.ts";
import type { Cpu } from "../arch/sim/cpu.ts";
import type { InterruptHandler } from "../arch/sim/engine.ts";
import { DONE } from "../arch/sim/ready.ts";
import type { StepIterator } from "../arch/sim/steps.ts";
import { MAX_SYMBOLS } from "../arch/sim/symbol.ts";
import { BUG, BUG_ON } from "./bug.ts";
import { hrtimer_interrupt } from "./hrtimer.ts";
import {
  CALL_FUNCTION_SINGLE_VECTOR,
  CALL_FUNCTION_VECTOR,
  INVALIDATE_TLB_VECTOR,
  LOCAL_TIMER_VECTOR,
  NR_VECTORS,
  RESCHEDULE_VECTOR,
  XEN_EVTCHN_VECTOR,
} from "./irq_vectors.ts";
import { handle_IPI } from "./ia64_smp.ts";
import {
  ia64_resume_ticks,
  ia64_skip_ticks,
  timer_interrupt,
} from "./ia64_time.ts";
import type { Kernel } from "./kernel.ts";
import { idle_cpu, need_resched } from "./sched/sched.ts";
import {
  generic_smp_call_function_interrupt,
  generic_smp_call_function_single_interrupt,
} from "./smp.ts";
import {
  do_softirq,
  do_softirq_at_hand,
  local_softirq_pending,
} from "./softirq.ts";
import { in_interrupt, Thread } from "./thread.ts";
import { tick_check_idle, tick_nohz_stop_sched_tick } from "./tick.ts";
import { hrtimer_interrupt_at_hand, tick_is_at_hand } from "./tick_at_hand.ts";
import { xen_evtchn_do_upcall } from "./xen/events.ts";

const ACK_APIC_IRQ = ksym("ack_APIC_irq");
const IRQ_ENTER = ksym("irq_enter");
const IRQ_EXIT = ksym("irq_exit");
const SMP_APIC_TIMER_INTERRUPT = ksym("smp_apic_timer_interrupt");
const SMP_RESCHEDULE_INTERRUPT = ksym("smp_reschedule_interrupt");
const SMP_CALL_FUNCTION_INTERRUPT = ksym("smp_call_function_interrupt");
const SMP_CALL_FUNCTION_SINGLE_INTERRUPT = ksym(
  "smp_call_function_single_interrupt",
);

const IA64_HANDLE_IRQ = ksym("ia64_handle_irq");
const IA64_LEAVE_KERNEL = ksym("ia64_leave_kernel");
/** ia64's one entry of all external interrupts. */
const IA64_INTERRUPT = ksym("interrupt");

/** The assembly entry of each vector: where entry and exit are charged. */
const ENTRIES: readonly Sym[] = entries();

function entries(): Sym[] {
  const names: string[] = [];
  names[LOCAL_TIMER_VECTOR] = "apic_timer_interrupt";
  names[RESCHEDULE_VECTOR] = "reschedule_interrupt";
  names[CALL_FUNCTION_VECTOR] = "call_function_interrupt";
  names[CALL_FUNCTION_SINGLE_VECTOR] = "call_function_single_interrupt";
  names[INVALIDATE_TLB_VECTOR] = "invalidate_interrupt0";
  names[XEN_EVTCHN_VECTOR] = "xen_hypervisor_callback";
  return names.map((name) => ksym(name));
}

/** Interrupts of one kernel; the engine's handler. */
export class IrqState implements InterruptHandler {
  readonly #counts: Uint32Array;
  readonly #free: Thread[] = [];
  readonly #freeOf: Thread[][] = [];
  readonly #names: string[] = [];
  /**
   * Cycles that handlers of interrupts from other CPUs have taken, by number of
   * the symbol that they came upon: for profile.ts. ia64 only.
   */
  readonly interrupted: Float64Array = new Float64Array(MAX_SYMBOLS);

  constructor(readonly k: Kernel) {
    this.#counts = new Uint32Array(k.machine.nrCpus * NR_VECTORS);
  }

  context(cpu: Cpu): Context {
    const t = this.#freeFor(cpu).pop() ?? new Thread(this.k, "irq", true);
    t.name = this.#names[cpu.id] ??= `irq/${cpu.id}`;
    return t;
  }

  ended(cpu: Cpu, t: Context): void {
    this.#freeFor(cpu).push(t as Thread);
  }

  /** Free contexts: everybody's, so that few are in use; a CPU's own for sanitizers, which know a thread by it. */
  #freeFor(cpu: Cpu): Thread[] {
    return this.k.sanitizers === null
      ? this.#free
      : this.#freeOf[cpu.id] ??= [];
  }

  start(context: Context, vector: number): StepIterator {
    const t = context as Thread;
    t.task = (t.below as Thread).task;
    t.preempt_count = 0;
    t.rcu_read_depth = 0;
    this.#counts[t.cpu.id * NR_VECTORS + vector]++;
    if (this.k.arch === "ia64") {
      t.stack[0] = IA64_INTERRUPT;
      return ia64_interrupt(t, vector)[Symbol.iterator]();
    }
    t.stack[0] = ENTRIES[vector];
    if (
      vector === LOCAL_TIMER_VECTOR && tick_is_at_hand(t) && !interrupts_idle(t)
    ) return tick_interrupt_at_hand(t)[Symbol.iterator]();
    return do_interrupt(t, vector)[Symbol.iterator]();
  }

  /** How often `cpu` has taken `vector`. */
  count(cpu: number, vector: number): number {
    return this.#counts[cpu * NR_VECTORS + vector];
  }

  /** How often all CPUs together have taken `vector`. */
  total(vector: number): number {
    let sum = 0;
    for (let cpu = 0; cpu < this.k.machine.nrCpus; cpu++) {
      sum += this.count(cpu, vector);
    }
    return sum;
  }
}

/** Lets the machine's interrupts in. */
export function init_IRQ(t: Thread): void {
  charge(t, 500);
  t.k.irq = new IrqState(t.k);
  t.k.machine.engine.interrupts = t.k.irq;
}

/** From entry to iret. Interrupts are off throughout, but for softirqs. */
function* do_interrupt(t: Thread, vector: number): Steps {
  charge_cycles(t, t.k.machine.spec.irq.entryCycles);
  switch (vector) {
    case LOCAL_TIMER_VECTOR:
      yield* smp_apic_timer_interrupt(t);
      break;
    case RESCHEDULE_VECTOR:
      smp_reschedule_interrupt(t);
      break;
    case CALL_FUNCTION_VECTOR:
      yield* smp_call_function_interrupt(t);
      break;
    case CALL_FUNCTION_SINGLE_VECTOR:
      yield* smp_call_function_single_interrupt(t);
      break;
    case XEN_EVTCHN_VECTOR:
      yield* irq_enter(t);
      yield* xen_evtchn_do_upcall(t);
      yield* irq_exit(t);
      break;
    default:
      BUG(t, `unexpected interrupt vector ${vector}`);
  }
  leave_interrupt(t, vector);
}

/** {@linkcode do_interrupt} for a tick in a section, and softirqs in one if they can. */
function tick_interrupt_at_hand(t: Thread): Steps {
  charge_cycles(t, t.k.machine.spec.irq.entryCycles);
  enter(t, SMP_APIC_TIMER_INTERRUPT);
  charge(t, 20);
  ack_APIC_irq(t);
  enter(t, IRQ_ENTER);
  charge(t, 12);
  leave(t);
  hrtimer_interrupt_at_hand(t);
  enter(t, IRQ_EXIT);
  charge(t, 14);
  if (!in_interrupt(t.below as Thread) && !do_softirq_at_hand(t)) {
    return tick_interrupt_softirqs(t);
  }
  leave(t);
  leave(t);
  leave_interrupt(t, LOCAL_TIMER_VECTOR);
  return DONE;
}

/** The rest of {@linkcode tick_interrupt_at_hand}, in general. Called in its frames, which this leaves. */
function* tick_interrupt_softirqs(t: Thread): Steps {
  yield* do_softirq(t);
  leave(t);
  leave(t);
  leave_interrupt(t, LOCAL_TIMER_VECTOR);
}

/** Up to iret. */
function leave_interrupt(t: Thread, vector: number): void {
  check_counts(t, vector);
  charge_cycles(t, t.k.machine.spec.irq.exitCycles);
}

function check_counts(t: Thread, vector: number): void {
  t.k.sanitizers?.threadExit(t);
  BUG_ON(
    t,
    t.preempt_count !== 0 || t.softirq_count !== 0,
    `interrupt ${vector} left preempt_count at ${t.preempt_count}`,
  );
}

/** From entry to rfi on ia64. Interrupts are off throughout, but for softirqs. */
function* ia64_interrupt(t: Thread, vector: number): Steps {
  const { entryCycles, exitCycles } = t.k.machine.spec.irq;
  const start = t.cpu.clock;
  charge_cycles(t, entryCycles);
  yield* ia64_handle_irq(t, vector);
  check_counts(t, vector);
  enter(t, IA64_LEAVE_KERNEL);
  charge_cycles(t, exitCycles);
  leave(t);
  if (vector === LOCAL_TIMER_VECTOR) return;
  const { stack, depth } = t.below!;
  t.k.irq.interrupted[stack[depth - 1]] += t.cpu.clock - start;
}

/**
 * Every external interrupt of ia64: a reschedule interrupt, too, has irq_enter()
 * around it. That and irq_exit() stand in line here, as there is no clock to
 * read: a flush of 64 CPUs is 63 of these.
 */
function* ia64_handle_irq(t: Thread, vector: number): Steps {
  enter(t, IA64_HANDLE_IRQ);
  charge(t, 25);
  charge_cycles(t, t.k.machine.spec.irq.ackCycles); // cr.ivr, cr.tpr, cr.eoi
  enter(t, IRQ_ENTER);
  charge(t, 12);
  if (interrupts_idle(t)) ia64_resume_ticks(t);
  leave(t);
  switch (vector) {
    case LOCAL_TIMER_VECTOR:
      yield* timer_interrupt(t);
      break;
    case CALL_FUNCTION_VECTOR:
      yield* handle_IPI(t);
      break;
    case RESCHEDULE_VECTOR:
      break; // whoever runs looks at need_resched by itself
    default:
      BUG(t, `unexpected interrupt vector ${vector}`);
  }
  enter(t, IRQ_EXIT);
  charge(t, 14);
  if (!in_interrupt(t.below as Thread) && local_softirq_pending(t)) {
    yield* do_softirq(t);
  }
  if (interrupts_idle(t) && !need_resched(t)) ia64_skip_ticks(t);
  leave(t);
  leave(t);
}

/** End of interrupt: a write to the local APIC. */
function ack_APIC_irq(t: Thread): void {
  enter(t, ACK_APIC_IRQ);
  charge_cycles(t, t.k.machine.spec.irq.ackCycles);
  leave(t);
}

function* smp_apic_timer_interrupt(t: Thread): Steps {
  enter(t, SMP_APIC_TIMER_INTERRUPT);
  charge(t, 20);
  ack_APIC_irq(t);
  yield* irq_enter(t);
  yield* hrtimer_interrupt(t);
  yield* irq_exit(t);
  leave(t);
}

/** Nothing to do: whoever runs looks at need_resched by itself. No irq_enter(). */
function smp_reschedule_interrupt(t: Thread): void {
  enter(t, SMP_RESCHEDULE_INTERRUPT);
  charge(t, 8);
  ack_APIC_irq(t);
  leave(t);
}

function* smp_call_function_interrupt(t: Thread): Steps {
  enter(t, SMP_CALL_FUNCTION_INTERRUPT);
  charge(t, 10);
  ack_APIC_irq(t);
  yield* irq_enter(t);
  yield* generic_smp_call_function_interrupt(t);
  yield* irq_exit(t);
  leave(t);
}

function* smp_call_function_single_interrupt(t: Thread): Steps {
  enter(t, SMP_CALL_FUNCTION_SINGLE_INTERRUPT);
  charge(t, 10);
  ack_APIC_irq(t);
  yield* irq_enter(t);
  yield* generic_smp_call_function_single_interrupt(t);
  yield* irq_exit(t);
  leave(t);
}

/** An idle CPU catches up on time before its handler runs. */
function* irq_enter(t: Thread): Steps {
  enter(t, IRQ_ENTER);
  charge(t, 12);
  if (interrupts_idle(t)) yield* tick_check_idle(t);
  leave(t);
}

/** Softirqs; then an idle CPU that stays idle stops its tick again. */
function* irq_exit(t: Thread): Steps {
  enter(t, IRQ_EXIT);
  charge(t, 14);
  if (!in_interrupt(t.below as Thread) && local_softirq_pending(t)) {
    yield* do_softirq(t);
  }
  if (interrupts_idle(t) && !need_resched(t)) {
    yield* tick_nohz_stop_sched_tick(t, false);
  }
  leave(t);
}

/** Whether this interrupt came upon the idle thread itself. */
function interrupts_idle(t: Thread): boolean {
  return idle_cpu(t.k, t.cpu.id) && !in_interrupt(t.below as Thread);
}
