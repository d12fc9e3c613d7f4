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
import type { Cpu } from "../../arch/sim/cpu.ts";
import type { Engine } from "../../arch/sim/engine.ts";
import type { Observer } from "../../arch/sim/observer.ts";
import { type Policy, TimedPolicy } from "../../arch/sim/policy.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import type { Chooser } from "./chooser.ts";
import { EventKind, type ScheduleEvent } from "./event.ts";
import {
  arrive,
  canHold,
  canMigrate,
  canRun,
  canTick,
  detain,
  endGracePeriod,
  exchange,
  othersChanged,
} from "./moves.ts";

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
  /** Whether the chooser wants to be asked whenever a CPU may have become able to run. */
  #hasPreference = false;
  #due = Infinity;
  /** {@linkcode step} when somebody was picked last. */
  #pickedAt = -1;
  /** Requests for memory of this round that may fail, so far. */
  #requests = 0;
  /** Clock of who performed the last operation. */
  #now = 0;
  /** Whether interrupts arrive at {@linkcode current} when it goes on. */
  #deliver = false;
  readonly #boot = new TimedPolicy();
  /** Told of each operation, for traces; `null` = nobody. */
  watcher: Observer | null = null;

  // A round.

  /** From now on `chooser` decides; counting starts at 0. `null` = virtual time decides. */
  begin(chooser: Chooser | null): void {
    this.#chooser = chooser;
    this.#hasPreference = chooser !== null && chooser.prefers !== undefined;
    this.step = 0;
    this.#requests = 0;
    this.#pickedAt = -1;
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
    detain(engine);
    if (this.step >= this.maxSteps) throw new Endless();
    this.#deliver = false;
    if (!this.#goesOn()) {
      if (!this.#next(engine, chooser)) return null;
    } else if (
      // Once between two operations: a schedule could not tell the second apart.
      this.#hasPreference && this.step < chooser.due &&
      this.step !== this.#pickedAt
    ) {
      const preferred = chooser.prefers!(this);
      if (preferred !== null && preferred !== this.current) this.run(preferred);
    }
    while (this.step >= chooser.due) {
      chooser.decide(this);
      if (!this.#goesOn() && !this.#next(engine, chooser)) return null;
    }
    this.#due = Math.min(chooser.due, this.maxSteps);
    this.#pickedAt = this.step;
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

  // Decisions. Each writes itself down; one that cannot be carried out does nothing.

  /** Lets `cpu` go on, and interrupts arrive there. */
  run(cpu: Cpu): void {
    if (!canRun(cpu)) return;
    this.#note(EventKind.SWITCH, cpu.id, 0);
    this.#resume(cpu, true);
  }

  /** Lets `cpu` go on; interrupts stay on their way. */
  hold(cpu: Cpu): void {
    if (!canHold(cpu)) return;
    this.#note(EventKind.HOLD, cpu.id, 0);
    this.#resume(cpu, false);
  }

  /** A tick on `cpu`, which goes on with it. */
  tick(cpu: Cpu): void {
    if (!canTick(cpu)) return;
    this.#note(EventKind.TICK, cpu.id, 0);
    endGracePeriod(this.k);
    if (cpu.timerAt === Infinity) cpu.timerAt = cpu.clock;
    this.#resume(cpu, true);
  }

  /** The tasks of `a` and `b` change places. */
  migrate(a: Cpu, b: Cpu): void {
    const { k } = this;
    if (a === b || !canMigrate(k, a) || !canMigrate(k, b)) return;
    this.#note(EventKind.MIGRATE, a.id, b.id);
    exchange(k, a, b);
    if (this.current === a) this.current = b;
    else if (this.current === b) this.current = a;
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

  /** Asked at each request for memory that may fail: see `kernel/fault_inject.ts`. */
  allocationFails(): boolean {
    const request = this.#requests++;
    const chooser = this.#chooser;
    if (chooser === null || chooser.fails === undefined) return false;
    if (!chooser.fails(this, request)) return false;
    this.#note(EventKind.FAIL, request, 0);
    return true;
  }

  // Observer.

  operation(t: Context, kind: number, place: unknown, value: number): void {
    const { cpu } = t;
    this.#now = cpu.clock;
    this.step++;
    if (
      (this.step >= this.#due && this.#chooser !== null) ||
      (this.#hasPreference && othersChanged(cpu))
    ) {
      // Come back to pick() before the next operation.
      cpu.limitTo(-Infinity, -Infinity);
    }
    this.watcher?.operation?.(t, kind, place, value);
    this.k.sanitizers?.operation(t, kind, place, value);
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

  /** Whether who runs can go on as has been decided. */
  #goesOn(): boolean {
    const { current } = this;
    if (current === null) return false;
    return this.#deliver ? canRun(current) : canHold(current);
  }

  /** Chooses who goes on when nobody runs. @returns Whether there is somebody. */
  #next(engine: Engine, chooser: Chooser): boolean {
    const byRule = this.#nextByRule(engine);
    if (byRule === null) return false;
    if (this.current !== null) this.step++;
    const chosen = chooser.blocked(this);
    if (chosen === null || chosen === byRule || !canRun(chosen)) {
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
      if (canRun(cpu)) return cpu;
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
}

/** Thrown when a round takes more operations than it may. */
export class Endless extends Error {
  /** Name shown before the message. */
  override name = "Endless";
}
