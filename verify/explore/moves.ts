/**
 * What a CPU can do next, and what a decision does to the machine. Nothing here
 * knows of schedules: driver.ts decides and writes down.
 */
import { type Cpu, CpuState } from "../../arch/sim/cpu.ts";
import type { Engine } from "../../arch/sim/engine.ts";
import { RESCHEDULE_VECTOR } from "../../kernel/irq_vectors.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import { RCU_SOFTIRQ } from "../../kernel/softirq.ts";
import type { Thread } from "../../kernel/thread.ts";

/** When an interrupt arrives that nobody has let arrive: never, but a number. */
const ON_ITS_WAY = 2 ** 52;

/** Whether `cpu` can go on without taking an interrupt. */
export function canHold(cpu: Cpu): boolean {
  return cpu.state === CpuState.RUNNING ||
    (cpu.state === CpuState.PARKED && cpu.wakeAt !== Infinity);
}

/** Whether an interrupt is on its way to `cpu`, which would take it. */
export function canInterrupt(cpu: Cpu): boolean {
  return cpu.irqsOn && (cpu.pending.length > 0 || cpu.timerAt !== Infinity);
}

/** Whether `cpu` can go on, perhaps by taking an interrupt. */
export function canRun(cpu: Cpu): boolean {
  switch (cpu.state) {
    case CpuState.RUNNING:
      return true;
    case CpuState.PARKED:
      return cpu.wakeAt !== Infinity || canInterrupt(cpu);
    case CpuState.HALTED:
      return canInterrupt(cpu);
    default:
      return false;
  }
}

/** Whether a timer tick can be sent to `cpu`. */
export function canTick(cpu: Cpu): boolean {
  return cpu.irqsOn && cpu.state !== CpuState.OFFLINE;
}

/** Whether the task of `cpu` may be moved: between operations, preemptible. */
export function canMigrate(k: Kernel, cpu: Cpu): boolean {
  if (cpu.state !== CpuState.RUNNING && cpu.state !== CpuState.HALTED) {
    return false;
  }
  const t = cpu.top as Thread;
  return cpu.irqsOn && !t.isInterrupt && t.preempt_count === 0 &&
    t.softirq_count === 0 && k.sched.rqs[cpu.id].curr === t;
}

/**
 * Whether, since `cpu` was picked, another CPU may have become able to run: the
 * engine has then lowered how far `cpu` may go.
 */
export function othersChanged(cpu: Cpu): boolean {
  return cpu.limit < ON_ITS_WAY;
}

/** Keeps interrupts from arriving by time; they stay in the order of sending. */
export function detain({ cpus }: Engine): void {
  for (let i = 0; i < cpus.length; i++) {
    const { pending } = cpus[i];
    // New ones stand before those on their way, by arrival.
    let n = 0;
    while (n < pending.length && pending[n].at !== ON_ITS_WAY) n++;
    if (n === 0) continue;
    for (; n > 0; n--) {
      const { vector } = pending.shift()!;
      pending.push({ at: ON_ITS_WAY, vector });
    }
    cpus[i].refreshNextIrq();
  }
}

/** Lets the first interrupt on its way to `cpu` arrive there, if it takes interrupts. */
export function arrive(cpu: Cpu): void {
  if (!cpu.irqsOn) return;
  if (cpu.pending.length > 0) {
    const { vector } = cpu.pending[0];
    cpu.pending[0] = { at: cpu.clock, vector };
  } else if (cpu.timerAt === Infinity) {
    return;
  } else if (cpu.timerAt > cpu.clock) {
    // A timer's time has come: this CPU's clock says so.
    cpu.clock = cpu.timerAt;
  }
  cpu.refreshNextIrq();
}

/** The tasks of `a` and `b`, which may be moved, change places. */
export function exchange(k: Kernel, a: Cpu, b: Cpu): void {
  const { rqs } = k.sched;
  const ta = a.top as Thread;
  const tb = b.top as Thread;
  const { state } = a;
  a.top = tb;
  b.top = ta;
  ta.cpu = b;
  tb.cpu = a;
  a.state = b.state;
  b.state = state;
  rqs[a.id].curr = tb;
  rqs[b.id].curr = ta;
  k.sanitizers?.exchanged(a, b);
  const { engine } = k.machine;
  for (const cpu of [a, b]) {
    engine.reschedule(cpu);
    // What was to wake a task went to the CPU that it was on.
    if (cpu.state === CpuState.HALTED) {
      engine.sendInterrupt(cpu, RESCHEDULE_VECTOR, cpu.clock);
    }
  }
}

/**
 * Ends the grace period, if no context of any CPU is in a read-side section:
 * what waits for it is due. (Shorter than classic RCU's, which waits for a
 * context switch everywhere: rcu_read_lock() alone protects.)
 */
export function endGracePeriod(k: Kernel): void {
  const { engine } = k.machine;
  for (const cpu of engine.cpus) {
    for (let t = cpu.top as Thread | null; t !== null; t = t.below as Thread) {
      if (t.rcu_read_depth > 0) return;
    }
  }
  for (const { id } of engine.cpus) {
    const rdp = k.rcu.data.peek(id);
    if (rdp === null) continue;
    rdp.done.take(rdp.old);
    rdp.done.take(rdp.cur);
    rdp.done.take(rdp.nxt);
    if (!rdp.done.empty) k.softirq.pending[id] |= 1 << RCU_SOFTIRQ;
  }
}
