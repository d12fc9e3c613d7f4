/**
 * Runs the CPUs of one machine as a {@linkcode Chooser} says, and writes its
 * decisions down. Virtual time decides nothing here: a CPU runs on until the
 * chooser takes it off, or it waits, or it halts.
 *
 * Every operation on shared state can be the last before a switch; the count of
 * them is the clock of schedules. A CPU that need not be interrupted does not
 * come back to the engine between operations, so few decisions cost little.
 *
 * Interrupts that have been sent arrive when the decision says, which can be
 * never; one is forced only when nobody can run otherwise. Plain stretches of
 * kernel code between two operations are atomic: what races inside of one is
 * for the race sanitizer.
 */
import type { Context } from "../../arch/sim/context.ts";
import { type Cpu, CpuState } from "../../arch/sim/cpu.ts";
import type { Engine } from "../../arch/sim/engine.ts";
import type { Observer } from "../../arch/sim/observer.ts";
import { type Policy, TimedPolicy } from "../../arch/sim/policy.ts";
import { RESCHEDULE_VECTOR } from "../../kernel/irq_vectors.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import { RCU_SOFTIRQ } from "../../kernel/softirq.ts";
import type { Sanitizers } from "../../kernel/sanitizers/sanitizers.ts";
import type { Thread } from "../../kernel/thread.ts";
import type { Chooser } from "./chooser.ts";
import { EventKind, type ScheduleEvent } from "./event.ts";

/** When an interrupt arrives that nobody has let arrive: never, but a number. */
const ON_ITS_WAY = 2 ** 52;

/** See the file's head. */
export class Driver implements Policy, Observer {
  /**
   * Operations on shared state in this round, and times that whoever ran had to
   * stop: so that a decision taken then is told apart from one just before.
   */
  step = 0;
  /** Who runs; `null` = nobody. */
  current: Cpu | null = null;
  /** Decisions of this round, as taken. */
  readonly events: ScheduleEvent[] = [];
  /** Operations after which a round counts as endless. */
  maxSteps: number = Infinity;
  /** The kernel, once there is one. */
  k!: Kernel;
  #chooser: Chooser | null = null;
  #due = Infinity;
  /** Clock of who performed the last operation. */
  #now = 0;
  /** Whether interrupts arrive at {@linkcode current} when it goes on. */
  #deliver = false;
  readonly #boot = new TimedPolicy();
  #sanitizers: Sanitizers | null = null;
  /** Told of each operation, for traces; `null` = nobody. */
  watcher: Observer | null = null;

  // A round.

  /** From now on `chooser` decides; counting starts at 0. `null` = virtual time decides. */
  begin(chooser: Chooser | null): void {
    this.#chooser = chooser;
    this.#sanitizers = this.k.sanitizers;
    this.step = 0;
    this.current = null;
    this.#deliver = false;
    this.events.length = 0;
    if (chooser === null) return;
    chooser.begin(this);
    this.#due = Math.min(chooser.due, this.maxSteps);
  }

  // Policy.

  pick(engine: Engine): Cpu | null {
    const chooser = this.#chooser;
    if (chooser === null) return this.#boot.pick(engine);
    this.#detain(engine);
    if (this.step >= this.maxSteps) this.#endless();
    this.#deliver = false;
    if (!this.#goesOn() && !this.#next(engine, chooser)) return null;
    while (this.step >= chooser.due) {
      chooser.decide(this);
      if (!this.#goesOn() && !this.#next(engine, chooser)) return null;
    }
    this.#due = Math.min(chooser.due, this.maxSteps);
    const current = this.current!;
    // Time decides nothing, but reports tell it: what happens later is later.
    if (current.clock < this.#now) current.clock = this.#now;
    if (this.#deliver) arrive(current);
    return current;
  }

  horizon(engine: Engine, cpu: Cpu): number {
    if (this.#chooser === null) return this.#boot.horizon(engine, cpu);
    return this.step >= this.#due ? -Infinity : Infinity;
  }

  /** Whether `cpu` can go on, perhaps by taking an interrupt. */
  canRun(cpu: Cpu): boolean {
    switch (cpu.state) {
      case CpuState.RUNNING:
        return true;
      case CpuState.PARKED:
        return cpu.wakeAt !== Infinity || this.canInterrupt(cpu);
      case CpuState.HALTED:
        return this.canInterrupt(cpu);
      default:
        return false;
    }
  }

  /** Whether `cpu` can go on without taking an interrupt. */
  canHold(cpu: Cpu): boolean {
    return cpu.state === CpuState.RUNNING ||
      (cpu.state === CpuState.PARKED && cpu.wakeAt !== Infinity);
  }

  /** Whether an interrupt is on its way to `cpu`, which would take it. */
  canInterrupt(cpu: Cpu): boolean {
    return cpu.irqsOn && (cpu.pending.length > 0 || cpu.timerAt !== Infinity);
  }

  /** Whether the task of `cpu` may be moved: between operations, preemptible. */
  canMigrate(cpu: Cpu): boolean {
    if (cpu.state !== CpuState.RUNNING && cpu.state !== CpuState.HALTED) {
      return false;
    }
    const t = cpu.top as Thread;
    return cpu.irqsOn && !t.isInterrupt && t.preempt_count === 0 &&
      t.softirq_count === 0 && this.k.sched.rqs[cpu.id].curr === t;
  }

  // Decisions. Each writes itself down; one that cannot be carried out does nothing.

  /** Lets `cpu` go on, and interrupts arrive there. */
  run(cpu: Cpu): void {
    if (!this.canRun(cpu)) return;
    this.#note(EventKind.SWITCH, cpu.id, 0);
    this.#resume(cpu, true);
  }

  /** Lets `cpu` go on; interrupts stay on their way. */
  hold(cpu: Cpu): void {
    if (!this.canHold(cpu)) return;
    this.#note(EventKind.HOLD, cpu.id, 0);
    this.#resume(cpu, false);
  }

  /** A tick on `cpu`, which goes on with it. */
  tick(cpu: Cpu): void {
    if (!cpu.irqsOn || cpu.state === CpuState.OFFLINE) return;
    this.#note(EventKind.TICK, cpu.id, 0);
    this.endGracePeriod();
    if (cpu.timerAt === Infinity) cpu.timerAt = cpu.clock;
    this.#resume(cpu, true);
  }

  /** The tasks of `a` and `b` change places. */
  migrate(a: Cpu, b: Cpu): void {
    if (a === b || !this.canMigrate(a) || !this.canMigrate(b)) return;
    this.#note(EventKind.MIGRATE, a.id, b.id);
    this.exchange(a, b);
    if (this.current === a) this.current = b;
    else if (this.current === b) this.current = a;
  }

  /** {@linkcode Driver.migrate} without the record, of tasks that may be moved. */
  exchange(a: Cpu, b: Cpu): void {
    const { rqs } = this.k.sched;
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
    this.k.sanitizers?.exchanged(a, b);
    const { engine } = this.k.machine;
    for (const cpu of [a, b]) {
      engine.reschedule(cpu);
      // What was to wake a task went to the CPU that it was on.
      if (cpu.state === CpuState.HALTED) {
        engine.sendInterrupt(cpu, RESCHEDULE_VECTOR, cpu.clock);
      }
    }
  }

  /** `cpu` walks the page table for page `page` of vmalloc space, unasked. */
  fill(cpu: Cpu, page: number): void {
    if (this.k.machine.mmu.speculate(cpu.id, this.#addr(page))) {
      this.#note(EventKind.FILL, cpu.id, page);
    }
  }

  /** `cpu` needs room in its TLB: page `page` of vmalloc space goes. */
  evict(cpu: Cpu, page: number): void {
    const { mmu } = this.k.machine;
    const addr = this.#addr(page);
    if (!mmu.tlbs[cpu.id].holds(addr / this.k.vmalloc.page_size)) return;
    mmu.forgetPage(cpu.id, addr);
    this.#note(EventKind.EVICT, cpu.id, page);
  }

  /** Asked at each allocation that may fail: see `kernel/fault_inject.ts`. */
  allocationFails(): boolean {
    const chooser = this.#chooser;
    if (chooser === null || chooser.fails === undefined) return false;
    if (!chooser.fails(this)) return false;
    this.#note(EventKind.FAIL, 0, 0);
    return true;
  }

  /**
   * Ends the grace period, if no context of any CPU is in a read-side section:
   * what waits for it is due. (Shorter than classic RCU's, which waits for a
   * context switch everywhere: rcu_read_lock() alone protects.)
   */
  endGracePeriod(): void {
    const { k } = this;
    const { engine } = k.machine;
    for (const cpu of engine.cpus) {
      for (
        let t = cpu.top as Thread | null;
        t !== null;
        t = t.below as Thread
      ) {
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

  // Observer.

  operation(t: Context, kind: number, place: unknown, value: number): void {
    this.#now = t.cpu.clock;
    if (++this.step >= this.#due && this.#chooser !== null) {
      const { cpu } = t;
      cpu.limit = -Infinity;
      cpu.ahead = -Infinity;
    }
    this.watcher?.operation?.(t, kind, place, value);
    this.#sanitizers?.operation(t, kind, place, value);
  }

  interrupt(cpu: Cpu, vector: number): void {
    this.watcher?.interrupt?.(cpu, vector);
    this.k.sanitizers?.interrupt(cpu, vector);
  }

  ipi(cpu: Cpu, target: number, vector: number): void {
    this.watcher?.ipi?.(cpu, target, vector);
    this.k.sanitizers?.ipi(cpu, target, vector);
  }

  flush(cpu: Cpu, global: boolean): void {
    this.watcher?.flush?.(cpu, global);
    this.k.sanitizers?.flush(cpu, global);
  }

  switchTo(cpu: Cpu, next: Context): void {
    this.watcher?.switchTo?.(cpu, next);
    this.k.sanitizers?.switchTo(cpu, next);
  }

  // Inside.

  /** Keeps interrupts from arriving by time; they stay in the order of sending. */
  #detain({ cpus }: Engine): void {
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

  /** Whether who runs can go on as has been decided. */
  #goesOn(): boolean {
    const { current } = this;
    if (current === null) return false;
    return this.#deliver ? this.canRun(current) : this.canHold(current);
  }

  /** Chooses who goes on when nobody runs. @returns Whether there is somebody. */
  #next(engine: Engine, chooser: Chooser): boolean {
    const byRule = this.#nextByRule(engine);
    if (byRule === null) return false;
    if (this.current !== null) this.step++;
    const chosen = chooser.blocked(this);
    if (chosen === null || chosen === byRule || !this.canRun(chosen)) {
      this.#resume(byRule, true);
      return true;
    }
    this.#note(EventKind.SWITCH, chosen.id, 0);
    this.#resume(chosen, true);
    return true;
  }

  #nextByRule({ cpus }: Engine): Cpu | null {
    const n = cpus.length;
    const from = this.current === null ? n - 1 : this.current.id;
    for (let i = 1; i <= n; i++) {
      const cpu = cpus[(from + i) % n];
      if (this.canRun(cpu)) return cpu;
    }
    return null;
  }

  #resume(cpu: Cpu, deliver: boolean): void {
    this.current = cpu;
    this.#deliver = deliver;
  }

  #note(kind: number, a: number, b: number): void {
    this.events.push({ at: this.step, kind, a, b });
  }

  #addr(page: number): number {
    const { start, page_size } = this.k.vmalloc;
    return start + page * page_size;
  }

  #endless(): never {
    throw new Endless();
  }
}

/** Lets the first interrupt on its way to `cpu` arrive there, if it takes interrupts. */
function arrive(cpu: Cpu): void {
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

/** Thrown when a round takes more operations than it may. */
export class Endless extends Error {
  /** Name shown before the message. */
  override name = "Endless";
}
