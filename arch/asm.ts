/**
 * The door from kernel to hardware: all time and all sharing go through it.
 * (What goes past it is set-up: root tables, starting CPUs; and page-table
 * words inside a `PteRun`, which this file orders and charges.)
 *
 * Functions that return {@linkcode Steps} are *operations on shared state*: they
 * happen in the order of virtual time, and other CPUs may run before them. Use
 * them as `yield* load(t, cell)`. Plain functions touch the running CPU alone:
 * they charge time and nobody else runs.
 *
 * An operation is not a generator but a slot in its context, filled in by the
 * function and driven by `yield*` (an iterator needs no more than `next()`), so
 * that it allocates nothing. What need not wait, a data access that may run
 * ahead or a free lock in one's turn, happens in the call already. A context has
 * one operation under way at a time: starting a second one is a missing `yield*`
 * and throws. Under a policy that asks at every operation, as schedule
 * explorers do, none happens in the call, so every missing `yield*` shows there.
 */
import { Context, type PendingOp } from "./sim/context.ts";
import type { Cpu } from "./sim/cpu.ts";
import { CpuState } from "./sim/cpu.ts";
import { DONE, Ready } from "./sim/ready.ts";
import type { Steps } from "./sim/steps.ts";
import type { Cell } from "./hw/cell.ts";
import type { CacheLine } from "./hw/line.ts";
import type { Machine } from "./hw/machine.ts";

export { enter, leave } from "./sim/context.ts";
export type { Steps } from "./sim/steps.ts";
export { ksym, type Sym } from "./sim/symbol.ts";

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
} as const;

const KIND_NAMES = Object.keys(OpKind);

const enum OpState {
  IDLE,
  READY,
  WAITING,
  PARKED,
  DONE,
}

const TICKET_SHIFT = 16;
const TICKET_MASK = 0xffff;

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
  #waitingSince = 0;
  #spinSince = 0;
  readonly #result: { done: true; value: unknown } = {
    done: true,
    value: undefined,
  };

  /** Result of an operation that was performed at once. */
  readonly ready: Ready<unknown> = new Ready<unknown>(undefined);

  constructor(readonly machine: Machine, readonly context: MachineContext) {}

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
      if (cpu.clock >= cpu.limit) {
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
      case OpKind.LOAD: {
        const cell = this.#cell!;
        this.#loads++;
        this.#spinLine = this.#loads === 1 ? cell.line : null;
        this.#spend(machine.coherence.read(cpu, cell.line));
        result.value = cell.value;
        break;
      }
      case OpKind.STORE:
        this.#write(cpu, this.#cell!, this.#a);
        result.value = undefined;
        break;
      case OpKind.XCHG:
        result.value = this.#cell!.value;
        this.#writeLocked(cpu, this.#cell!, this.#a);
        break;
      case OpKind.CMPXCHG: {
        const old = this.#cell!.value;
        result.value = old;
        this.#writeLocked(cpu, this.#cell!, old === this.#a ? this.#b : old);
        break;
      }
      case OpKind.ADD: {
        const sum = ((this.#cell!.value as number) + (this.#a as number)) | 0;
        result.value = sum;
        this.#writeLocked(cpu, this.#cell!, sum);
        break;
      }
      case OpKind.TICKET_LOCK:
        if (!this.#ticketLock(cpu)) return false;
        break;
      case OpKind.TICKET_UNLOCK:
        this.ticketUnlock(cpu, this.#cell as Cell<number>, this.#a as OpEnd);
        break;
      case OpKind.SPIN: {
        const cell = this.#cell as Cell<number>;
        this.#spend(machine.coherence.read(cpu, cell.line));
        result.value = cell.value;
        if ((cell.value & (this.#a as number)) === this.#b) break;
        return this.#park(cpu, cell.line);
      }
      case OpKind.RELAX: {
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
      case OpKind.HALT:
        if (this.#state !== OpState.PARKED) {
          machine.engine.setIrqs(cpu, true);
          if (cpu.nextIrqAt > cpu.clock) cpu.state = CpuState.HALTED;
          return false; // an interrupt comes first in either case
        }
        result.value = undefined;
        break;
      case OpKind.SWITCH:
        if (this.#state !== OpState.PARKED) {
          machine.switchTo(cpu, this.#a as MachineContext);
          return false; // done when somebody switches back
        }
        result.value = undefined;
        break;
      case OpKind.HOST:
        if (this.#state !== OpState.PARKED) {
          machine.engine.stop();
          return false; // done when the host runs the engine again
        }
        result.value = undefined;
        break;
      case OpKind.IPI:
        machine.sendIpi(cpu, this.#a as number, this.#b as number);
        result.value = undefined;
        break;
      case OpKind.CLOCK:
        this.#spend(machine.readClock(cpu));
        result.value = cpu.clock;
        break;
      case OpKind.LINE_READ:
        this.#spend(machine.coherence.read(cpu, this.#line!));
        result.value = undefined;
        break;
      case OpKind.LINE_WRITE:
        this.#spend(machine.coherence.write(cpu, this.#line!));
        result.value = undefined;
        break;
      case OpKind.PHYS_READ:
        result.value = machine.physRead(this.context, this.#c, this.#d);
        break;
      case OpKind.PHYS_WRITE:
        machine.physWrite(this.context, this.#c, this.#d, this.#a as number);
        result.value = undefined;
        break;
      case OpKind.VIRT_READ:
        result.value = machine.mmu.read(this.context, this.#c, this.#d);
        break;
      case OpKind.VIRT_WRITE:
        machine.mmu.write(this.context, this.#c, this.#d, this.#a as number);
        result.value = undefined;
        break;
      case OpKind.PTE_RUN:
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

  /** Tells the observer of an operation that has been performed. */
  report(kind: number, place: unknown, value: number): void {
    const observer = this.machine.engine.observer;
    if (observer !== null && observer.operation !== undefined) {
      observer.operation(this.context, kind, place, value);
    }
  }

  /** Whether an operation on data may be performed at once; see `arch/sim/engine.ts`. */
  mayRunAhead(): boolean {
    const cpu = this.context.cpu;
    return cpu.clock < cpu.ahead;
  }

  /** {@linkcode ticket_lock}'s `xadd`. */
  takeTicket(cpu: Cpu, cell: Cell<number>): void {
    const taken = (cell.value + (1 << TICKET_SHIFT)) | 0;
    this.#writeLocked(cpu, cell as Cell<unknown>, taken);
  }

  /** {@linkcode ticket_unlock}'s store. */
  ticketUnlock(cpu: Cpu, cell: Cell<number>, end: OpEnd): void {
    const owner = (cell.value + 1) & TICKET_MASK;
    this.#write(
      cpu,
      cell as Cell<unknown>,
      (cell.value & ~TICKET_MASK) | owner,
    );
    end.ended(this.context, false);
  }

  /** `xadd`, then, if the ticket is not up, a spin. `#c`: 0 = to do, else ticket + 1. */
  #ticketLock(cpu: Cpu): boolean {
    const cell = this.#cell as Cell<number>;
    const contended = this.#c !== 0;
    if (contended) {
      this.#spend(this.machine.coherence.read(cpu, cell.line));
    } else {
      this.#c = (cell.value >>> TICKET_SHIFT) + 1;
      this.takeTicket(cpu, cell);
    }
    if ((cell.value & TICKET_MASK) !== this.#c - 1) {
      return this.#park(cpu, cell.line);
    }
    (this.#a as OpEnd).ended(this.context, contended);
    return true;
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
    charge_cycles(this.context, cycles);
  }

  #write(cpu: Cpu, cell: Cell<unknown>, value: unknown): void {
    this.#spend(this.machine.coherence.write(cpu, cell.line));
    cell.value = value;
    const waiters = cell.line.waiters;
    if (waiters !== null && waiters.length > 0) {
      this.machine.engine.wake(cell.line, cpu.clock);
    }
  }

  #writeLocked(cpu: Cpu, cell: Cell<unknown>, value: unknown): void {
    this.#spend(this.machine.lockedCycles);
    this.#write(cpu, cell, value);
  }

  #park(cpu: Cpu, line: CacheLine): false {
    if (this.#state !== OpState.PARKED) this.#waitingSince = cpu.clock;
    cpu.waitingSince = this.#waitingSince;
    this.machine.engine.park(cpu, line);
    return false;
  }
}

/** Told when an operation is done: what a lock books as acquired or released. */
export interface OpEnd {
  ended(t: MachineContext, contended: boolean): void;
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
  override readonly op: Op;
  /** The machine's, at hand for {@linkcode charge}. */
  readonly cyclesBySym: Float64Array;
  /** The machine's, at hand for {@linkcode charge}. */
  readonly cyclesPerInstruction: number;

  /** A context that has not started. */
  constructor(readonly machine: Machine, name: string, isInterrupt: boolean) {
    super(name, isInterrupt);
    this.op = new Op(machine, this);
    this.cyclesBySym = machine.engine.cyclesBySym;
    this.cyclesPerInstruction = machine.cyclesPerInstruction;
  }
}

/**
 * Charges `instructions` of straight-line kernel code. Plain.
 *
 * @example
 * ```ts
 * import { boot, charge } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const { machine, cycles } = boot().run(function* (t) {
 *   const before = t.cpu.clock;
 *   charge(t, 100);
 *   return { machine: t.machine, cycles: t.cpu.clock - before };
 * });
 * assertEquals(cycles, Math.round(100 * machine.cyclesPerInstruction));
 * ```
 */
export function charge(t: MachineContext, instructions: number): void {
  const cycles = (instructions * t.cyclesPerInstruction + 0.5) | 0;
  t.cpu.clock += cycles;
  t.cyclesBySym[t.stack[t.depth - 1]] += cycles;
}

/**
 * Charges `cycles` of hardware time. Plain.
 *
 * @example
 * ```ts
 * import { boot, charge_cycles } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const cycles = boot().run(function* (t) {
 *   const before = t.cpu.clock;
 *   charge_cycles(t, 2300);
 *   return t.cpu.clock - before;
 * });
 * assertEquals(cycles, 2300);
 * ```
 */
export function charge_cycles(t: MachineContext, cycles: number): void {
  t.cpu.clock += cycles;
  t.cyclesBySym[t.stack[t.depth - 1]] += cycles;
}

/**
 * Reads `cell`. An ordinary load.
 *
 * @example
 * ```ts
 * import { boot, Cell, load } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const jobs = new Cell("jobs", 3);
 * assertEquals(boot().run((t) => load(t, jobs)), 3);
 * ```
 */
export function load<T>(t: MachineContext, cell: Cell<T>): Steps<T> {
  return t.op.begin(OpKind.LOAD, cell as Cell<unknown>, null, 0, 0);
}

/**
 * {@linkcode load} that says: unlocked on purpose.
 *
 * Linux: ACCESS_ONCE() of include/linux/compiler.h.
 *
 * @example
 * ```ts
 * import { boot, Cell, READ_ONCE, WRITE_ONCE } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const stop = new Cell("stop", false);
 * const stopped = boot().run(function* (t) {
 *   yield* WRITE_ONCE(t, stop, true);
 *   return yield* READ_ONCE(t, stop);
 * });
 * assert(stopped);
 * ```
 */
export const READ_ONCE: typeof load = load;

/**
 * Writes `cell`. An ordinary store.
 *
 * @example
 * ```ts
 * import { boot, Cell, store } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const jobs = new Cell("jobs", 3);
 * boot().run((t) => store(t, jobs, 4));
 * assertEquals(jobs.value, 4);
 * ```
 */
export function store<T>(
  t: MachineContext,
  cell: Cell<T>,
  value: T,
): Steps<void> {
  return t.op.begin(OpKind.STORE, cell as Cell<unknown>, null, value, 0);
}

/**
 * {@linkcode store} that says: unlocked on purpose.
 *
 * @example
 * ```ts
 * import { boot, Cell, WRITE_ONCE } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const stop = new Cell("stop", false);
 * boot().run((t) => WRITE_ONCE(t, stop, true));
 * assert(stop.value);
 * ```
 */
export const WRITE_ONCE: typeof store = store;

/**
 * Locked exchange.
 *
 * Linux: arch/x86/include/asm/cmpxchg_64.h.
 *
 * @returns The old value.
 *
 * @example
 * ```ts
 * import { boot, Cell, xchg } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const pending = new Cell("pending", 1);
 * const taken = boot().run((t) => xchg(t, pending, 0));
 * assertEquals([taken, pending.value], [1, 0]);
 * ```
 */
export function xchg<T>(t: MachineContext, cell: Cell<T>, value: T): Steps<T> {
  return t.op.begin(OpKind.XCHG, cell as Cell<unknown>, null, value, 0);
}

/**
 * Locked compare and exchange.
 *
 * Linux: arch/x86/include/asm/cmpxchg_64.h.
 *
 * @returns The old value, equal to `old` on success.
 *
 * @example
 * ```ts
 * import { boot, Cell, cmpxchg } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const owner = new Cell("owner", 0);
 * const seen = boot().run(function* (t) {
 *   const first = yield* cmpxchg(t, owner, 0, 7); // was 0: succeeds
 *   const second = yield* cmpxchg(t, owner, 0, 8); // is 7: fails
 *   return [first, second];
 * });
 * assertEquals(seen, [0, 7]);
 * assertEquals(owner.value, 7);
 * ```
 */
export function cmpxchg<T>(
  t: MachineContext,
  cell: Cell<T>,
  old: T,
  value: T,
): Steps<T> {
  return t.op.begin(OpKind.CMPXCHG, cell as Cell<unknown>, null, old, value);
}

/**
 * Locked add on 32 bits, as on `atomic_t`.
 *
 * Linux: arch/x86/include/asm/atomic_64.h.
 *
 * @returns The new value.
 *
 * @example
 * ```ts
 * import { atomic_add_return, boot, Cell } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const users = new Cell("users", 0);
 * const left = boot().run(function* (t) {
 *   yield* atomic_add_return(t, users, 2);
 *   return yield* atomic_add_return(t, users, -1);
 * });
 * assertEquals(left, 1);
 * ```
 */
export function atomic_add_return(
  t: MachineContext,
  cell: Cell<number>,
  value: number,
): Steps<number> {
  return t.op.begin(OpKind.ADD, cell as Cell<unknown>, null, value, 0);
}

/**
 * Takes a ticket of `cell` (next ticket in the high half, owner's in the low
 * half) and spins until it is up; then calls `end` with whether it had to wait.
 */
export function ticket_lock(
  t: MachineContext,
  cell: Cell<number>,
  end: OpEnd,
): Steps<void> {
  const { op, cpu } = t;
  const word = cell.value;
  const free = (word >>> TICKET_SHIFT) === (word & TICKET_MASK);
  if (free && cpu.clock < cpu.limit) { // its turn already, and no wait
    op.takeTicket(cpu, cell);
    end.ended(t, false);
    op.report(OpKind.TICKET_LOCK, cell, cell.value);
    return DONE;
  }
  return t.op.begin(OpKind.TICKET_LOCK, cell as Cell<unknown>, null, end, 0);
}

/** Passes a ticket lock on, by an unlocked increment of the owner's half; then calls `end`. */
export function ticket_unlock(
  t: MachineContext,
  cell: Cell<number>,
  end: OpEnd,
): Steps<void> {
  const { op, cpu } = t;
  // In its turn, not ahead of it: others may still ask while it is held, and
  // what they then spin and steal is most of a short lock's cost.
  if (cpu.clock < cpu.limit) {
    op.ticketUnlock(cpu, cell, end);
    op.report(OpKind.TICKET_UNLOCK, cell, 0);
    return DONE;
  }
  return t.op.begin(OpKind.TICKET_UNLOCK, cell as Cell<unknown>, null, end, 0);
}

/**
 * Spins until `(cell & mask) === want`: a loop of loads and `cpu_relax()`, which
 * the engine runs without resuming the kernel code each time.
 *
 * @returns The value that ended the wait.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   Cell,
 *   kthread_run,
 *   spin_until,
 *   store,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const flags = new Cell("flags", 0b10);
 * const seen = boot().run(function* (t) {
 *   yield* kthread_run(t, (self) => store(self, flags, 0b11), "setter");
 *   return yield* spin_until(t, flags, 1, 1); // bit 0
 * });
 * assertEquals(seen, 0b11);
 * ```
 */
export function spin_until(
  t: MachineContext,
  cell: Cell<number>,
  mask: number,
  want: number,
): Steps<number> {
  return t.op.begin(OpKind.SPIN, cell as Cell<unknown>, null, mask, want);
}

/**
 * The pause in a spin loop. Parks the CPU if this turn of the loop and the one
 * before have read one line, the same, and it is unchanged, until it is written
 * or an interrupt has been handled; returns at once otherwise.
 *
 * Linux: arch/x86/include/asm/processor.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   Cell,
 *   cpu_relax,
 *   kthread_run,
 *   load,
 *   store,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const flag = new Cell("flag", 0);
 * boot().run(function* (t) {
 *   yield* kthread_run(t, (self) => store(self, flag, 1), "setter");
 *   while ((yield* load(t, flag)) === 0) yield* cpu_relax(t);
 * });
 * assertEquals(flag.value, 1);
 * ```
 */
export function cpu_relax(t: MachineContext): Steps<void> {
  charge(t, 1);
  return t.op.begin(OpKind.RELAX, null, null, 0, 0);
}

/** `sti; hlt`: stops the CPU until an interrupt has been handled. */
export function safe_halt(t: MachineContext): Steps<void> {
  return t.op.begin(OpKind.HALT, null, null, 0, 0);
}

/** Goes on with `next` on this CPU; returns when `t` is switched to again. */
export function switch_to(
  t: MachineContext,
  next: MachineContext,
): Steps<void> {
  return t.op.begin(OpKind.SWITCH, null, null, next, 0);
}

/** Hands control to whoever called `Engine.run()`; returns when it is called again. */
export function call_host(t: MachineContext): Steps<void> {
  return t.op.begin(OpKind.HOST, null, null, 0, 0);
}

/** Sends `vector` to CPU number `target`: one write to the interrupt command register. */
export function send_ipi(
  t: MachineContext,
  target: number,
  vector: number,
): Steps<void> {
  return t.op.begin(OpKind.IPI, null, null, target, vector);
}

/** Sends `vector` to a set of CPU numbers, in one write where the machine can. */
export function* send_ipi_mask(
  t: MachineContext,
  targets: readonly number[],
  vector: number,
): Steps<void> {
  if (t.machine.spec.ipi.broadcast === "mask" && targets.length > 0) {
    yield* t.op.begin<void>(OpKind.IPI, null, null, targets, vector);
    return;
  }
  for (const target of targets) yield* send_ipi(t, target, vector);
}

/** Reads the clock source. @returns Virtual time, cycles. */
export function read_clocksource(t: MachineContext): Steps<number> {
  return t.op.begin(OpKind.CLOCK, null, null, 0, 0);
}

/**
 * Reads a structure's line: what an unlocked look at its fields costs.
 *
 * @example
 * ```ts
 * import { boot, CacheLine, read_line } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const line = new CacheLine(0);
 * const [miss, hit] = boot().run(function* (t) {
 *   const start = t.cpu.clock;
 *   yield* read_line(t, line); // from memory
 *   const between = t.cpu.clock;
 *   yield* read_line(t, line); // from this CPU's cache
 *   return [between - start, t.cpu.clock - between];
 * });
 * assert(miss > 10 * hit);
 * ```
 */
export function read_line(t: MachineContext, line: CacheLine): Steps<void> {
  if (t.op.mayRunAhead()) {
    touch_read(t, line);
    t.op.report(OpKind.LINE_READ, line, 0);
    return DONE;
  }
  return t.op.begin(OpKind.LINE_READ, null, line, 0, 0);
}

/**
 * Writes a structure's line.
 *
 * @example
 * ```ts
 * import { boot, CacheLine, write_line } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const line = new CacheLine(0);
 * const cpu = boot().run(function* (t) {
 *   yield* write_line(t, line); // takes it from whoever has it
 *   return t.cpu.id;
 * });
 * assertEquals(line.owner, cpu);
 * ```
 */
export function write_line(t: MachineContext, line: CacheLine): Steps<void> {
  if (t.op.mayRunAhead()) {
    touch_write(t, line);
    t.op.report(OpKind.LINE_WRITE, line, 0);
    return DONE;
  }
  return t.op.begin(OpKind.LINE_WRITE, null, line, 0, 0);
}

/**
 * Charges a look at a structure that a lock guards. Plain: whoever holds the
 * lock is alone with the line, so its turn has been settled already.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   CacheLine,
 *   spin_lock,
 *   spin_unlock,
 *   Spinlock,
 *   touch_read,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const line = new CacheLine(0);
 * boot().run(function* (t) {
 *   const lock = new Spinlock(t.k, "list_lock");
 *   yield* spin_lock(t, lock);
 *   touch_read(t, line); // what the lock guards
 *   yield* spin_unlock(t, lock);
 *   assertEquals(line.owner, t.cpu.id);
 * });
 * ```
 */
export function touch_read(t: MachineContext, line: CacheLine): void {
  charge_cycles(t, t.machine.coherence.read(t.cpu, line));
}

/**
 * Charges a write to a structure that a lock guards; see {@linkcode
 * touch_read}.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   CacheLine,
 *   spin_lock,
 *   spin_unlock,
 *   Spinlock,
 *   touch_write,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const line = new CacheLine(0);
 * boot().run(function* (t) {
 *   const lock = new Spinlock(t.k, "list_lock");
 *   yield* spin_lock(t, lock);
 *   touch_write(t, line); // what the lock guards
 *   yield* spin_unlock(t, lock);
 *   assertEquals(line.owner, t.cpu.id);
 * });
 * ```
 */
export function touch_write(t: MachineContext, line: CacheLine): void {
  charge_cycles(t, t.machine.coherence.write(t.cpu, line));
}

/**
 * Loads `size` (1, 2, 4 or 8) bytes at virtual address `vaddr` through this
 * CPU's TLB.
 *
 * @example
 * ```ts
 * import { boot, vload, vstore, vzalloc } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const byte = boot().run(function* (t) {
 *   const addr = yield* vzalloc(t, 4096);
 *   yield* vstore(t, addr, 4, 0x11223344);
 *   return yield* vload(t, addr + 3, 1); // little endian
 * });
 * assertEquals(byte, 0x11);
 * ```
 */
export function vload(
  t: MachineContext,
  vaddr: number,
  size: number,
): Steps<number> {
  const { op } = t;
  if (op.mayRunAhead()) {
    const value = t.machine.mmu.read(t, vaddr, size);
    op.report(OpKind.VIRT_READ, vaddr, value);
    return op.ready.give(value) as Steps<number>;
  }
  return t.op.begin(OpKind.VIRT_READ, null, null, 0, 0, vaddr, size);
}

/**
 * Stores `size` (1, 2, 4 or 8) bytes at virtual address `vaddr` through this
 * CPU's TLB.
 *
 * @example
 * ```ts
 * import { boot, KernelBug, vload, vmalloc, vstore } from "@vmaplab/vmaplab";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const addr = yield* vmalloc(t, 2 * 4096);
 *   yield* vstore(t, addr + 4096, 8, 42);
 *   assertEquals(yield* vload(t, addr + 4096, 8), 42);
 * });
 * assertThrows(() => boot().run((t) => vstore(t, 0x10, 8, 1)), KernelBug);
 * ```
 */
export function vstore(
  t: MachineContext,
  vaddr: number,
  size: number,
  value: number,
): Steps<void> {
  if (t.op.mayRunAhead()) {
    t.machine.mmu.write(t, vaddr, size, value);
    t.op.report(OpKind.VIRT_WRITE, vaddr, value);
    return DONE;
  }
  return t.op.begin(OpKind.VIRT_WRITE, null, null, value, 0, vaddr, size);
}

/**
 * Loads `size` bytes at physical address `paddr`, bypassing translation.
 *
 * @example
 * ```ts
 * import {
 *   __GFP_ZERO,
 *   alloc_page,
 *   boot,
 *   GFP_KERNEL,
 *   pload,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const value = boot().run(function* (t) {
 *   const page = yield* alloc_page(t, GFP_KERNEL | __GFP_ZERO);
 *   return yield* pload(t, page!.pfn * 4096, 4);
 * });
 * assertEquals(value, 0);
 * ```
 */
export function pload(
  t: MachineContext,
  paddr: number,
  size: number,
): Steps<number> {
  const { op } = t;
  if (op.mayRunAhead()) {
    const value = t.machine.physRead(t, paddr, size);
    op.report(OpKind.PHYS_READ, paddr, value);
    return op.ready.give(value) as Steps<number>;
  }
  return t.op.begin(OpKind.PHYS_READ, null, null, 0, 0, paddr, size);
}

/**
 * Stores `size` bytes at physical address `paddr`, bypassing translation.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   pstore,
 *   vload,
 *   vmalloc,
 *   vmalloc_to_page,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const value = boot().run(function* (t) {
 *   const addr = yield* vmalloc(t, 4096);
 *   const page = vmalloc_to_page(t, addr);
 *   yield* pstore(t, page!.pfn * 4096, 4, 0xcafe); // below the mapping
 *   return yield* vload(t, addr, 4);
 * });
 * assertEquals(value, 0xcafe);
 * ```
 */
export function pstore(
  t: MachineContext,
  paddr: number,
  size: number,
  value: number,
): Steps<void> {
  if (t.op.mayRunAhead()) {
    t.machine.physWrite(t, paddr, size, value);
    t.op.report(OpKind.PHYS_WRITE, paddr, value);
    return DONE;
  }
  return t.op.begin(OpKind.PHYS_WRITE, null, null, value, 0, paddr, size);
}

/** Runs `run` on page-table page `pfn` from entry `index` on, in its turn. */
export function pte_run<T>(
  t: MachineContext,
  run: PteRun,
  pfn: number,
  index: number,
): Steps<T> {
  const { op } = t;
  if (op.mayRunAhead()) {
    const value = run.run(t, pfn, index);
    op.report(OpKind.PTE_RUN, pfn, value as number);
    return op.ready.give(value) as Steps<T>;
  }
  return t.op.begin(OpKind.PTE_RUN, null, null, run, 0, pfn, index);
}

/**
 * Whether interrupts are off on this CPU. Plain.
 *
 * Linux: include/linux/irqflags.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   irqs_disabled,
 *   local_irq_disable,
 *   local_irq_enable,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const off = boot().run(function* (t) {
 *   local_irq_disable(t);
 *   const inside = irqs_disabled(t);
 *   local_irq_enable(t);
 *   return [inside, irqs_disabled(t)];
 * });
 * assertEquals(off, [true, false]);
 * ```
 */
export function irqs_disabled(t: MachineContext): boolean {
  return !t.cpu.irqsOn;
}

/**
 * Turns interrupts off. Plain.
 *
 * Linux: include/linux/irqflags.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   Cell,
 *   load,
 *   local_irq_disable,
 *   local_irq_enable,
 *   store,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const counter = new Cell("counter", 0);
 * boot().run(function* (t) {
 *   local_irq_disable(t); // no handler of this CPU comes in between
 *   yield* store(t, counter, (yield* load(t, counter)) + 1);
 *   local_irq_enable(t);
 * });
 * assertEquals(counter.value, 1);
 * ```
 */
export function local_irq_disable(t: MachineContext): void {
  charge(t, 1);
  t.cpu.irqsOn = false;
}

/**
 * Turns interrupts on; one that is due is taken at the next operation. Plain.
 *
 * Linux: include/linux/irqflags.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   charge,
 *   irqs_disabled,
 *   local_irq_disable,
 *   local_irq_enable,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const on = boot().run(function* (t) {
 *   local_irq_disable(t);
 *   charge(t, 50);
 *   local_irq_enable(t);
 *   return !irqs_disabled(t);
 * });
 * assert(on);
 * ```
 */
export function local_irq_enable(t: MachineContext): void {
  charge(t, 1);
  t.machine.engine.setIrqs(t.cpu, true);
}

/**
 * Turns interrupts off.
 *
 * Linux: include/linux/irqflags.h.
 *
 * @returns Whether they had been on, for {@linkcode local_irq_restore}.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   irqs_disabled,
 *   local_irq_restore,
 *   local_irq_save,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const flags = boot().run(function* (t) {
 *   const outer = local_irq_save(t);
 *   const inner = local_irq_save(t);
 *   local_irq_restore(t, inner); // still off
 *   local_irq_restore(t, outer); // on again
 *   return [outer, inner, irqs_disabled(t)];
 * });
 * assertEquals(flags, [true, false, false]);
 * ```
 */
export function local_irq_save(t: MachineContext): boolean {
  const flags = t.cpu.irqsOn;
  local_irq_disable(t);
  return flags;
}

/**
 * Puts back what {@linkcode local_irq_save} returned. Plain.
 *
 * Linux: include/linux/irqflags.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   irqs_disabled,
 *   local_irq_restore,
 *   local_irq_save,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const off = boot().run(function* (t) {
 *   const flags = local_irq_save(t);
 *   local_irq_restore(t, flags);
 *   return irqs_disabled(t);
 * });
 * assertEquals(off, false);
 * ```
 */
export function local_irq_restore(t: MachineContext, flags: boolean): void {
  if (flags) local_irq_enable(t);
  else local_irq_disable(t);
}

/**
 * Flushes one page from this CPU's TLB, global or not. Plain.
 *
 * Linux: __flush_tlb_one() of arch/x86/include/asm/tlbflush.h.
 *
 * @example
 * ```ts
 * import { boot, invlpg, vload, vzalloc } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const held = boot().run(function* (t) {
 *   const tlb = t.machine.mmu.tlbs[t.cpu.id];
 *   const addr = yield* vzalloc(t, 8192);
 *   yield* vload(t, addr, 8);
 *   yield* vload(t, addr + 4096, 8);
 *   invlpg(t, addr);
 *   return [tlb.holds(addr / 4096), tlb.holds(addr / 4096 + 1)];
 * });
 * assertEquals(held, [false, true]);
 * ```
 */
export function invlpg(t: MachineContext, vaddr: number): void {
  t.machine.mmu.flushPage(t, vaddr);
}

/**
 * Flushes this CPU's TLB: `global` = kernel entries too. Plain.
 *
 * Linux: __flush_tlb_all() of arch/x86/include/asm/tlbflush.h.
 *
 * @example
 * ```ts
 * import { boot, flush_tlb_local, vload, vzalloc } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const held = boot().run(function* (t) {
 *   const tlb = t.machine.mmu.tlbs[t.cpu.id];
 *   const addr = yield* vzalloc(t, 4096);
 *   yield* vload(t, addr, 8);
 *   const before = tlb.holds(addr / 4096);
 *   flush_tlb_local(t, true);
 *   return [before, tlb.holds(addr / 4096)];
 * });
 * assertEquals(held, [true, false]);
 * ```
 */
export function flush_tlb_local(t: MachineContext, global: boolean): void {
  t.machine.mmu.flush(t, global);
}

/** Sets this CPU's one-shot timer to `at`, cycles; `Infinity` stops it. Plain. */
export function set_local_timer(t: MachineContext, at: number): void {
  t.machine.engine.setTimer(t.cpu, at);
}
