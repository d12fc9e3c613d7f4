/**
 * Operations on shared state: what they do, when their turn has come.
 *
 * An operation is not a generator but a slot in its context, filled in by a
 * function of asm.ts and driven by `yield*` (an iterator needs no more than
 * `next()`), so that it allocates nothing. Its life: READY when filled in;
 * WAITING for its CPU's turn, if others come first; perhaps PARKED on a line,
 * which may repeat; DONE if it was finished while parked; then IDLE again. What
 * need not wait is done by asm.ts without the slot, a ticket lock's two halves
 * by `takeTicket()` and `ticketUnlock()`.
 */
import { Context, type PendingOp } from "./sim/context.ts";
import type { Cpu } from "./sim/cpu.ts";
import { CpuState } from "./sim/cpu.ts";
import { ZERO_CYCLES } from "./sim/cycles.ts";
import type { Engine } from "./sim/engine.ts";
import { Ready } from "./sim/ready.ts";
import type { Steps } from "./sim/steps.ts";
import type { Cell } from "./hw/cell.ts";
import type { CacheLine, Coherence } from "./hw/line.ts";
import type { Machine } from "./hw/machine.ts";
import { TICKET_MASK, TICKET_SHIFT } from "./hw/ticket.ts";

/** Kinds of operation, as observers see them. */
export const OpKind = {
  LOAD: 0,
  STORE: 1,
  XCHG: 2,
  CMPXCHG: 3,
  ADD: 4,
  SPIN: 5,
  RELAX: 6,
  HALT: 7,
  SWITCH: 8,
  IPI: 9,
  CLOCK: 10,
  LINE_READ: 11,
  LINE_WRITE: 12,
  PHYS_READ: 13,
  PHYS_WRITE: 14,
  VIRT_READ: 15,
  VIRT_WRITE: 16,
  PTE_RUN: 17,
  TICKET_LOCK: 18,
  TICKET_UNLOCK: 19,
  HOST: 20,
  ADD_UNLESS: 21,
  SPIN_CMPXCHG: 22,
  READ_ONCE: 23,
  WRITE_ONCE: 24,
  TURN: 25,
} as const;

const KIND_NAMES = Object.keys(OpKind);

// Constants of this module: see docs/ARCHITECTURE.md, "What V8 likes".
const Kind = OpKind;
const SHIFT = TICKET_SHIFT;
const OWNER_MASK = TICKET_MASK;

const enum OpState {
  IDLE,
  READY,
  WAITING,
  PARKED,
  DONE,
}

const YIELD: IteratorResult<void, unknown> = { done: false, value: undefined };

/** A context's operation slot; see the file's head. */
export class Op implements PendingOp {
  #state: OpState = OpState.IDLE;
  #kind = 0;
  #cell: Cell<unknown> | null = null;
  #line: CacheLine | null = null;
  #a: unknown = 0;
  #b: unknown = 0;
  #c = 0;
  #d = 0;
  /** Line of the only load since the last `cpu_relax()`; `null` = none, or several. */
  #spinLine: CacheLine | null = null;
  #loads = 0;
  /** The same of the turn before, and when such turns began, cycles. */
  #spunLine: CacheLine | null = null;
  /** When the operation that is parked, or was when an interrupt came, began to wait, cycles. */
  #waitingSince: number = ZERO_CYCLES;
  #spinSince: number = ZERO_CYCLES;
  readonly #engine: Engine;
  readonly #result: { done: true; value: unknown } = {
    done: true,
    value: undefined,
  };

  /** Result of an operation that was performed at once. */
  readonly ready: Ready<unknown> = new Ready<unknown>(undefined);

  declare readonly machine: Machine;
  declare readonly context: MachineContext;
  /** Whether operations may be taken together; see `may_run_section()` of asm.ts. */
  declare readonly hasSections: boolean;

  constructor(machine: Machine, context: MachineContext) {
    this.machine = machine;
    this.hasSections = machine.engine.hasSections;
    this.context = context;
    this.#engine = machine.engine;
  }

  /** Fills the slot in. */
  begin<T>(
    kind: number,
    cell: Cell<unknown> | null,
    line: CacheLine | null,
    a: unknown,
    b: unknown,
    c = 0,
    d = 0,
  ): Steps<T> {
    if (this.#state !== OpState.IDLE) {
      throw new TypeError(
        `Cannot start ${
          KIND_NAMES[kind]
        } as ${this.describe()} is under way: a "yield*" is missing`,
      );
    }
    this.#state = OpState.READY;
    this.#kind = kind;
    this.#cell = cell;
    this.#line = line;
    this.#a = a;
    this.#b = b;
    this.#c = c;
    this.#d = d;
    return this as unknown as Steps<T>;
  }

  [Symbol.iterator](): this {
    return this;
  }

  next(): IteratorResult<void, unknown> {
    const cpu = this.context.cpu;
    if (this.#state === OpState.READY) {
      if (cpu.ran >= cpu.room) {
        this.#state = OpState.WAITING;
        return YIELD;
      }
      if (!this.#perform(cpu)) return this.#parked();
    } else if (this.#state !== OpState.DONE && !this.#perform(cpu)) {
      return this.#parked();
    }
    this.#state = OpState.IDLE;
    return this.#result;
  }

  retry(): boolean {
    const done = this.#perform(this.context.cpu);
    this.#state = done ? OpState.DONE : OpState.PARKED;
    return done;
  }

  describe(): string {
    const where = this.#cell === null ? "" : ` of ${this.#cell.name}`;
    const holder = this.#cell?.holder?.describeHolder() ?? null;
    return `${KIND_NAMES[this.#kind]}${where}${
      holder === null ? "" : `, ${holder}`
    }`;
  }

  #parked(): IteratorResult<void, unknown> {
    this.#state = OpState.PARKED;
    return YIELD;
  }

  /** @returns Whether it is done; `false` = parked, or has handed over the CPU. */
  #perform(cpu: Cpu): boolean {
    const machine = this.machine;
    const result = this.#result;
    switch (this.#kind) {
      case Kind.LOAD:
      case Kind.READ_ONCE:
        result.value = this.load(cpu, this.#cell!);
        break;
      case Kind.STORE:
      case Kind.WRITE_ONCE:
        this.#write(cpu, this.#cell!, this.#a);
        result.value = undefined;
        break;
      case Kind.XCHG:
        result.value = this.#cell!.value;
        this.#writeLocked(cpu, this.#cell!, this.#a);
        break;
      case Kind.CMPXCHG: {
        const old = this.#cell!.value;
        result.value = old;
        this.#writeLocked(cpu, this.#cell!, old === this.#a ? this.#b : old);
        break;
      }
      case Kind.ADD: {
        const sum = ((this.#cell!.value as number) + (this.#a as number)) | 0;
        result.value = sum;
        this.#writeLocked(cpu, this.#cell!, sum);
        break;
      }
      case Kind.ADD_UNLESS: {
        const old = this.#cell!.value as number;
        const add = old !== this.#b;
        const sum = add ? (old + (this.#a as number)) | 0 : old;
        result.value = add;
        this.#writeLocked(cpu, this.#cell!, sum);
        break;
      }
      case Kind.TICKET_LOCK:
        if (!this.#ticketLock(cpu)) return false;
        result.value = this.#cell!.value;
        break;
      case Kind.TICKET_UNLOCK:
        this.ticketUnlock(cpu, this.#a as TicketLock);
        result.value = 0;
        break;
      case Kind.SPIN: {
        const cell = this.#cell as Cell<number>;
        if (!this.#arrived(cpu, cell.line)) return false;
        result.value = cell.value;
        if ((cell.value & (this.#a as number)) === this.#b) break;
        return this.#park(cpu, cell.line);
      }
      case Kind.SPIN_CMPXCHG:
        if (!this.#spinCmpxchg(cpu, this.#cell as Cell<number>)) return false;
        result.value = undefined;
        break;
      case Kind.TURN: // nothing to do but to wait for it, and nothing to see
        result.value = undefined;
        return true;
      case Kind.RELAX: {
        if (this.#state !== OpState.PARKED && this.#spins(cpu)) {
          this.#park(cpu, this.#spinLine!);
          cpu.waitingSince = this.#spinSince;
          return false;
        }
        // Written, interrupted, or the loop's first turn: let it look again.
        this.#loads = 0;
        result.value = undefined;
        break;
      }
      case Kind.HALT:
        if (this.#state !== OpState.PARKED) {
          machine.engine.setIrqs(cpu, true);
          if (cpu.nextIrqAt > cpu.clock) cpu.state = CpuState.HALTED;
          return false; // an interrupt comes first in either case
        }
        result.value = undefined;
        break;
      case Kind.SWITCH:
        if (this.#state !== OpState.PARKED) {
          machine.switchTo(cpu, this.#a as MachineContext);
          return false; // done when somebody switches back
        }
        result.value = undefined;
        break;
      case Kind.HOST:
        if (this.#state !== OpState.PARKED) {
          machine.engine.stop();
          return false; // done when the host runs the engine again
        }
        result.value = undefined;
        break;
      case Kind.IPI:
        machine.sendIpi(this.context, this.#a as number, this.#b as number);
        result.value = undefined;
        break;
      case Kind.CLOCK:
        this.#spend(machine.readClock(cpu));
        result.value = cpu.clock;
        break;
      case Kind.LINE_READ:
        this.#spend(machine.coherence.read(cpu, this.#line!));
        result.value = undefined;
        break;
      case Kind.LINE_WRITE:
        this.#spend(machine.coherence.write(cpu, this.#line!));
        result.value = undefined;
        break;
      case Kind.PHYS_READ:
        result.value = machine.physRead(this.context, this.#c, this.#d);
        break;
      case Kind.PHYS_WRITE:
        machine.physWrite(this.context, this.#c, this.#d, this.#a as number);
        result.value = undefined;
        break;
      case Kind.VIRT_READ:
        result.value = machine.mmu.read(this.context, this.#c, this.#d);
        break;
      case Kind.VIRT_WRITE:
        machine.mmu.write(this.context, this.#c, this.#d, this.#a as number);
        result.value = undefined;
        break;
      case Kind.PTE_RUN:
        result.value = (this.#a as PteRun).run(this.context, this.#c, this.#d);
        break;
    }
    this.report(
      this.#kind,
      this.#cell ?? this.#line ?? this.#c,
      result.value as number,
    );
    return true;
  }

  /** Whether it is parked and not done. */
  get waiting(): boolean {
    return this.#state === OpState.PARKED;
  }

  takeUp(): void {
    const { cpu } = this.context;
    if (this.#kind === Kind.TICKET_LOCK) this.#watch(cpu);
    else this.machine.spinners.remove(cpu);
    this.machine.engine.pause(cpu);
  }

  /** Tells the observer of an operation that has been performed. */
  report(kind: number, place: unknown, value: number): void {
    const { observer } = this.#engine;
    if (observer !== null && observer.operation !== undefined) {
      observer.operation(this.context, kind, place, value);
    }
  }

  /** Whether an operation on data may be performed at once; see `arch/sim/engine.ts`. */
  mayRunAhead(): boolean {
    const cpu = this.context.cpu;
    return cpu.ran < cpu.roomAhead;
  }

  /** A load. */
  load(cpu: Cpu, { line, value }: Cell<unknown>): unknown {
    this.#loads++;
    this.#spinLine = this.#loads === 1 ? line : null;
    this.#spend(this.machine.coherence.read(cpu, line));
    return value;
  }

  /** `ticket_lock()`'s `xadd`. */
  takeTicket(cpu: Cpu, cell: Cell<number>): void {
    const taken = (cell.value + (1 << SHIFT)) | 0;
    this.#writeLocked(cpu, cell as Cell<unknown>, taken);
  }

  /** `ticket_unlock()`'s store. */
  ticketUnlock(cpu: Cpu, lock: TicketLock): void {
    const cell = lock.slock;
    const owner = (cell.value + 1) & OWNER_MASK;
    this.#write(
      cpu,
      cell as Cell<unknown>,
      (cell.value & ~OWNER_MASK) | owner,
    );
    lock.given(this.context);
  }

  /** `xadd`, then, if the ticket is not up, a spin. `#c`: 0 = to do, else ticket + 1. */
  #ticketLock(cpu: Cpu): boolean {
    const cell = this.#cell as Cell<number>;
    const contended = this.#c !== 0;
    if (contended) {
      this.#spend(this.machine.coherence.read(cpu, cell.line));
    } else {
      this.#c = (cell.value >>> SHIFT) + 1;
      this.takeTicket(cpu, cell);
    }
    if ((cell.value & OWNER_MASK) !== this.#c - 1) {
      this.#park(cpu, cell.line);
      this.#watch(cpu);
      return false;
    }
    (this.#a as TicketLock).taken(this.context, contended);
    return true;
  }

  /** Says what `cpu`, parked, waits for: its ticket. */
  #watch(cpu: Cpu): void {
    const cell = this.#cell as Cell<number>;
    this.machine.spinners.add(cpu, cell, this.#c - 1);
  }

  /** One move of `spin_cmpxchg()`. */
  #spinCmpxchg(cpu: Cpu, cell: Cell<number>): boolean {
    if (!this.#arrived(cpu, cell.line)) return false;
    if (cell.value !== this.#a) return this.#park(cpu, cell.line);
    this.#writeLocked(cpu, cell as Cell<unknown>, this.#b);
    return true;
  }

  /**
   * A spinner's look at `line`, in two moves: asks for it, and comes back when
   * it has arrived, since the value it sees is the one of then. Of many who ask
   * at once, those served after the first has changed it see that it has.
   */
  #arrived(cpu: Cpu, line: CacheLine): boolean {
    if (this.#c !== 0) {
      this.#c = 0;
      return true;
    }
    this.#spend(this.machine.coherence.read(cpu, line));
    this.#c = 1;
    return this.#pause(cpu);
  }

  /** Whether this turn of a loop and the one before have read one line, the same, and it is unchanged. */
  #spins(cpu: Cpu): boolean {
    const line = this.#loads === 1 ? this.#spinLine : null;
    const unchanged = line !== null && line === this.#spunLine &&
      this.machine.coherence.has(cpu, line);
    if (!unchanged) this.#spinSince = cpu.clock;
    this.#spunLine = line;
    return unchanged;
  }

  #spend(cycles: number): void {
    this.context.spend(cycles);
  }

  #write(cpu: Cpu, cell: Cell<unknown>, value: unknown): void {
    const { line } = cell;
    this.context.spend(this.context.coherence.write(cpu, line));
    cell.value = value;
    const { waiters } = line;
    if (waiters !== null && waiters.first >= 0) {
      this.machine.engine.wake(line, cpu.clock);
    }
  }

  #writeLocked(cpu: Cpu, cell: Cell<unknown>, value: unknown): void {
    this.#spend(this.machine.lockedCycles);
    this.#write(cpu, cell, value);
  }

  /** Goes on when it is this CPU's turn at its clock. */
  #pause(cpu: Cpu): false {
    if (this.#state !== OpState.PARKED) this.#waitingSince = cpu.clock;
    cpu.waitingSince = this.#waitingSince;
    this.machine.spinners.remove(cpu);
    this.machine.engine.pause(cpu);
    return false;
  }

  #park(cpu: Cpu, line: CacheLine): false {
    if (this.#state !== OpState.PARKED) this.#waitingSince = cpu.clock;
    cpu.waitingSince = this.#waitingSince;
    this.machine.engine.park(cpu, line);
    this.machine.spinners.remove(cpu);
    return false;
  }
}

/** A ticket lock: its word, and who books that it is acquired or released. */
export interface TicketLock {
  /** Next ticket in the high half, owner's in the low half. */
  readonly slock: Cell<number>;
  /** Of a structure of one CPU that others rarely want: may run ahead as data does. */
  readonly local: boolean;
  /** `t` holds it from now on; `contended` = it had to wait. */
  taken(t: MachineContext, contended: boolean): void;
  /** `t` has let go of it. */
  given(t: MachineContext): void;
}

/** Several page-table entries of one cache line, read or written as one operation. */
export interface PteRun {
  /** Performs it on `pfn`'s entries from `index` on; called in its turn. */
  run(t: MachineContext, pfn: number, index: number): unknown;
}

/**
 * A context of a given machine, with its operation slot.
 *
 * @example
 * ```ts
 * import { boot, charge_cycles, MachineContext } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * // A Thread is one: what takes a context takes any thread.
 * function nsSince(t: MachineContext, cycles: number): number {
 *   return t.machine.toNs(t.cpu.clock - cycles);
 * }
 * const ns = boot().run(function* (t) {
 *   const start = t.cpu.clock;
 *   charge_cycles(t, 2300); // 2.3 GHz
 *   return nsSince(t, start);
 * });
 * assertEquals(ns, 1000);
 * ```
 */
export class MachineContext extends Context {
  /**
   * The operation under way.
   *
   * @internal
   */
  declare readonly op: Op;
  /** The machine's, at hand for `charge()`. */
  declare readonly cyclesPerInstruction: number;
  /**
   * The machine's, at hand.
   *
   * @internal
   */
  declare readonly coherence: Coherence;

  /** The machine that it runs on. */
  declare readonly machine: Machine;

  /** A context that has not started. */
  constructor(machine: Machine, name: string, isInterrupt: boolean) {
    super(name, isInterrupt);
    this.machine = machine;
    this.op = new Op(machine, this);
    this.cyclesPerInstruction = machine.cyclesPerInstruction;
    this.coherence = machine.coherence;
  }

  /** Moves the CPU's clock on and charges the innermost call. Plain. Below 2^31 cycles. */
  spend(cycles: number): void {
    // The host adds small integers faster, and a 7 may reach us as a double.
    this.cpu.ran += cycles | 0;
  }
}
