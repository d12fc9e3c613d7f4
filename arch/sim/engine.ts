/**
 * Runs the CPUs of one machine in the order of their clocks.
 *
 * Every CPU has its own clock in whole cycles. The engine resumes the CPU whose
 * clock is lowest and tells it, through `cpu.limit`, how far it may run: an
 * operation on shared state at or past the limit hands control back. So shared
 * operations happen in the order of virtual time, ties by CPU number, and a
 * lone busy CPU hardly ever hands back.
 *
 * Data that nobody synchronises on need not wait for its turn: a CPU may touch
 * pages, page-table entries and lines of its own up to `runAheadCycles` past
 * the limit. Whoever asks for such a line later is served after that access
 * (`CacheLine.busyUntil`), as if the line had been held that long. So may locks
 * that say that they are one CPU's (`TicketLock.local`), with what is done under
 * them (`may_run_section()` of asm.ts). All others, flags and interrupts keep
 * strict order. docs/COST_MODEL.md states what this does to the results: compare
 * with `runAheadCycles: 0`.
 *
 * A CPU that spins on an unchanged line is parked there and costs nothing until
 * the line is written or an interrupt arrives. Interrupts are taken at their
 * arrival by parked and halted CPUs, by others at their next shared operation.
 *
 * Nothing here knows of Linux, caches or page tables.
 */
import type { Context, PendingOp } from "./context.ts";
import { SymbolCycles } from "./cycles.ts";
import { Cpu, CpuState, TIMER_VECTOR } from "./cpu.ts";
import { cpuTimes } from "./cpu_times.ts";
import { Parking } from "./parking.ts";
import type { Observer } from "./observer.ts";
import { type Policy, TimedPolicy, turnBefore } from "./policy.ts";
import { type CpuQueue, HeapQueue } from "./queue.ts";
import type { StepIterator } from "./steps.ts";
import type { ParkingPlace } from "./waiters.ts";

/**
 * Default of {@linkcode EngineOptions.runAheadCycles}: a few microseconds. A
 * quarter of it gives the same results and costs twice the switches. With twice
 * of it, 256 CPUs that fight for locks come out 8 % too fast
 * (`boot/cli/calibrate_larger.ts`). docs/COST_MODEL.md has strict order beside it.
 */
const RUN_AHEAD_CYCLES = 10_000;

/** No interrupt has been taken. */
const NO_VECTOR = -1;

/** Where a CPU stands in the machine. */
export interface CpuPlace {
  readonly socket: number;
  readonly node: number;
}

/** What the engine asks of whoever handles interrupts: the kernel. */
export interface InterruptHandler {
  /** A context for a handler on `cpu`. */
  context(cpu: Cpu): Context;
  /** The handler on `t`, of `cpu`, has ended: `t` may be handed out again. */
  ended(cpu: Cpu, t: Context): void;
  /**
   * Starts the handler of `vector` on `t`. Interrupts are off until it ends. One
   * that needs to wait for nobody may be done at once, in this CPU's turn.
   */
  start(t: Context, vector: number): StepIterator;
}

/** Options of {@linkcode Engine}. */
export interface EngineOptions {
  /** Who runs next. Left out: whose clock is lowest. */
  readonly policy?: Policy;
  /**
   * The queue of CPUs by clock, for tests.
   *
   * @internal
   */
  readonly queue?: CpuQueue;
  /** A CPU that waits this long in one spin is reported as a lockup, cycles. */
  readonly lockupCycles?: number;
  /**
   * How far data accesses may run ahead of their turn, cycles; see the file's
   * head. 0 = never.
   */
  readonly runAheadCycles?: number;
  /** From an interrupt's arrival at a halted CPU to its first instruction, cycles. */
  readonly wakeCycles?: number;
}

/** Why {@linkcode Engine.run} came back. */
export type StopReason = "stopped" | "idle" | "time";

/**
 * Thrown when CPUs wait for what can no longer happen.
 *
 * @example
 * ```ts
 * import { boot, Cell, Deadlock, spin_until } from "@vmaplab/vmaplab";
 * import { assertThrows } from "@std/assert";
 *
 * const never = new Cell("never", 0);
 * assertThrows(
 *   () => boot().run((t) => spin_until(t, never, 1, 1)),
 *   Deadlock,
 *   "soft lockup on CPU 0",
 * );
 * ```
 */
export class Deadlock extends Error {
  /** Name shown before the message. */
  override name = "Deadlock";
  /** What happened, as the kernel's log has it; `message` adds a line for each CPU that waits. */
  readonly headline: string;
  /** `waiting`: the CPUs that wait, by number. */
  constructor(headline: string, readonly waiting: readonly Cpu[]) {
    super([headline, ...waiting.map(waitingText)].join("\n"));
    this.headline = headline;
  }
}

/**
 * Runs the CPUs of one machine in the order of their clocks, lowest first, so
 * that operations on shared state happen in the order of virtual time.
 *
 * @example
 * ```ts
 * import { boot, flush_tlb_all } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const booted = boot();
 * let flushes = 0;
 * booted.machine.engine.observer = { flush: () => void flushes++ };
 * booted.run((t) => flush_tlb_all(t));
 * assertEquals(flushes, 8); // one a CPU
 * ```
 */
export class Engine {
  /** By number. */
  declare readonly cpus: Cpu[];
  /**
   * CPUs by clock.
   *
   * @internal
   */
  declare readonly queue: CpuQueue;
  /** Who runs next. */
  declare readonly policy: Policy;
  /**
   * Cycles charged to symbols, but for those that the running CPU has not booked yet.
   *
   * @internal
   */
  readonly spent: SymbolCycles = new SymbolCycles();
  /** A spin of this many cycles is a lockup. */
  declare readonly lockupCycles: number;
  /** From an interrupt's arrival at a halted CPU to its first instruction, cycles. */
  declare readonly wakeCycles: number;
  /** How far data accesses may run ahead of their turn, cycles. */
  declare readonly runAheadCycles: number;
  /**
   * Whether there are sections: `may_run_section()` of asm.ts.
   *
   * @internal
   */
  declare readonly hasSections: boolean;
  /**
   * Set by the kernel before any interrupt is sent.
   *
   * @internal
   */
  interrupts: InterruptHandler | null = null;
  /** Who watches; `null` = nobody. Watching changes no clock. */
  observer: Observer | null = null;
  /** CPU that runs now. */
  running: Cpu | null = null;
  /** Times a CPU was resumed: the host's unit of work. */
  resumes = 0;
  /**
   * CPUs that wait for a line to be written.
   *
   * @internal
   */
  declare readonly parking: Parking;
  #stopRequested = false;

  /** CPUs at `places`, all offline. */
  constructor(places: readonly CpuPlace[], options: EngineOptions = {}) {
    const times = cpuTimes(places.length);
    this.cpus = places.map((p, id) =>
      new Cpu(this, times, id, p.socket, p.node)
    );
    this.queue = options.queue ?? new HeapQueue(places.length);
    this.policy = options.policy ?? new TimedPolicy();
    this.lockupCycles = options.lockupCycles ?? Infinity;
    this.parking = new Parking(
      this.queue,
      times,
      this.spent,
      this.lockupCycles,
    );
    this.wakeCycles = options.wakeCycles ?? 0;
    this.runAheadCycles = options.runAheadCycles ?? RUN_AHEAD_CYCLES;
    this.hasSections = this.runAheadCycles > 0 &&
      (this.policy.hasSections ?? false);
  }

  /** Cycles charged to each symbol until now, by symbol number: a copy. */
  get cyclesBySym(): Float64Array {
    this.running?.settle();
    return this.spent.toArray();
  }

  /** Makes {@linkcode run} return after the step under way. */
  stop(): void {
    this.#stopRequested = true;
  }

  /**
   * Puts an offline CPU to work on `t`, whose generator has been set, at time `at`.
   *
   * @internal
   */
  start(cpu: Cpu, t: Context, at: number): void {
    cpu.top = t;
    t.cpu = cpu;
    cpu.clock = Math.max(cpu.clock, at);
    cpu.state = CpuState.RUNNING;
    this.reschedule(cpu);
  }

  /**
   * Runs until {@linkcode stop}, until nothing is left to do, or until every
   * clock has reached `untilCycle`.
   *
   * @throws {Deadlock} If CPUs spin on what nobody can write any more.
   */
  run(untilCycle = Infinity): StopReason {
    this.#stopRequested = false;
    while (!this.#stopRequested) {
      this.parking.lookInVain(untilCycle);
      const cpu = this.policy.pick(this);
      if (cpu === null) return this.#nothingLeft();
      if (this.queue.keyOf(cpu.id) > untilCycle) return "time";
      this.running = cpu;
      this.#step(cpu);
      this.running = null;
    }
    return "stopped";
  }

  /**
   * Brings the queue up to date after a change to `cpu`.
   *
   * @internal
   */
  reschedule(cpu: Cpu): void {
    const key = dueAt(cpu);
    this.queue.update(cpu.id, key);
    this.#yieldTo(cpu.id, key);
  }

  /** Lets the running CPU go no farther than to the turn of CPU `id`, which is due at `key`. */
  #yieldTo(id: number, key: number): void {
    const running = this.running;
    if (running === null || running.id === id) return;
    const limit = turnBefore(running.id, id, key);
    if (limit < running.limit) this.#setLimit(running, limit);
  }

  /**
   * Parks the running `cpu` on `place` until {@linkcode wake} or an interrupt.
   *
   * @internal
   */
  park(cpu: Cpu, place: ParkingPlace): void {
    cpu.state = CpuState.PARKED;
    this.parking.park(cpu.id, place);
  }

  /**
   * Lets others whose clocks are lower go first: the running `cpu`'s operation
   * is tried again in its turn, without resuming the kernel code.
   *
   * @internal
   */
  pause(cpu: Cpu): void {
    cpu.state = CpuState.PARKED;
    cpu.wakeAt = cpu.clock;
  }

  /**
   * Lets every CPU parked on `place` look again at time `at`: a cycle apart, in
   * the order in which they parked, so that no CPU number is favoured.
   *
   * @internal
   */
  wake(place: ParkingPlace, at: number): void {
    const id = this.parking.wake(place, at);
    this.#yieldTo(id, this.queue.keyOf(id));
  }

  /**
   * Sends `vector` to `cpu`; it arrives at `at`. Order of sending breaks ties.
   *
   * @internal
   */
  sendInterrupt(cpu: Cpu, vector: number, at: number): void {
    const pending = cpu.pending;
    let i = pending.length;
    while (i > 0 && pending[i - 1].at > at) i--;
    pending.splice(i, 0, { at, vector });
    this.#irqsChanged(cpu);
  }

  /**
   * Sets the one-shot local timer of `cpu`, cycles; `Infinity` stops it.
   *
   * @internal
   */
  setTimer(cpu: Cpu, at: number): void {
    cpu.timerAt = at;
    this.#irqsChanged(cpu);
  }

  /**
   * Turns interrupts on or off; the sender's side of `cli` and `sti`.
   *
   * @internal
   */
  setIrqs(cpu: Cpu, on: boolean): void {
    cpu.irqsOn = on;
    if (on) clipToIrq(cpu);
  }

  #setLimit(cpu: Cpu, limit: number): void {
    const ahead = limit + this.runAheadCycles;
    const irqAt = cpu.irqsOn ? cpu.nextIrqAt : Infinity;
    cpu.limitTo(limit < irqAt ? limit : irqAt, ahead < irqAt ? ahead : irqAt);
  }

  #irqsChanged(cpu: Cpu): void {
    cpu.refreshNextIrq();
    if (cpu === this.running) {
      if (cpu.irqsOn) clipToIrq(cpu);
    } else {
      this.reschedule(cpu);
    }
  }

  #step(cpu: Cpu): void {
    const wasParked = cpu.state === CpuState.PARKED;
    if (wasParked && !this.#leaveParking(cpu)) return;
    if (cpu.state === CpuState.HALTED) this.#leaveHalt(cpu);
    const vector = cpu.irqsOn && cpu.nextIrqAt <= cpu.clock
      ? this.#takeInterrupt(cpu, wasParked)
      : NO_VECTOR;
    this.#setLimit(cpu, this.policy.horizon(this, cpu));
    const t = cpu.top!;
    if (vector !== NO_VECTOR) t.gen = this.interrupts!.start(t, vector);
    this.resumes++;
    let step = t.gen!.next();
    while (step.done && t.afterwards !== null) {
      t.gen = t.afterwards(step.value);
      step = t.gen.next();
    }
    cpu.settle();
    if (step.done) this.#finish(cpu, t);
    this.#putBack(cpu);
  }

  /** `cpu` waits for its next turn; what it has spent is settled. */
  #putBack(cpu: Cpu): void {
    cpu.rebase();
    this.queue.update(cpu.id, dueAt(cpu));
  }

  /** @returns Whether `cpu` runs on; `false` = it has parked again. */
  #leaveParking(cpu: Cpu): boolean {
    const irqAt = cpu.irqsOn ? cpu.nextIrqAt : Infinity;
    const { clock, wakeAt } = cpu;
    const at = wakeAt < irqAt ? wakeAt : irqAt;
    const from = later(at, clock);
    if (from < irqAt && this.parking.looksAgain(cpu.id, from)) {
      this.queue.update(cpu.id, irqDueAt(cpu));
      return false;
    }
    if (at > clock) cpu.pass(at - clock);
    if (cpu.clock - cpu.waitingSince > this.lockupCycles) {
      throw new Deadlock(`soft lockup on CPU ${cpu.id}`, this.#waiting());
    }
    this.parking.leave(cpu.id);
    cpu.state = CpuState.RUNNING;
    if (irqAt <= cpu.clock) return true;
    const op = cpu.top!.op as PendingOp;
    if (op.retry()) return true;
    cpu.settle();
    this.#putBack(cpu);
    return false;
  }

  #leaveHalt(cpu: Cpu): void {
    const { clock } = cpu;
    cpu.pass(later(cpu.nextIrqAt, clock) - clock + this.wakeCycles);
    cpu.state = CpuState.RUNNING;
  }

  /** Puts a context for the handler on top. @returns The vector, with which it is to start. */
  #takeInterrupt(cpu: Cpu, wasParked: boolean): number {
    cpu.settle(); // what a retried operation has spent is not the handler's
    const vector = takeVector(cpu);
    this.observer?.interrupt?.(cpu, vector);
    const t = this.interrupts!.context(cpu);
    t.cpu = cpu;
    t.below = cpu.top;
    t.uponParked = wasParked && this.hasSections && t.below!.op!.waiting;
    t.depth = 1;
    cpu.top = t;
    cpu.irqsOn = false;
    return vector;
  }

  /** A context has run to its end: go back to what it interrupted. */
  #finish(cpu: Cpu, t: Context): void {
    t.gen = null;
    const below = t.below;
    if (below === null) {
      cpu.state = CpuState.OFFLINE;
      cpu.top = null;
      return;
    }
    t.below = null;
    cpu.top = below;
    this.interrupts!.ended(cpu, t);
    cpu.irqsOn = true; // an interrupt was taken, so they had been on
    if (t.uponParked) below.op!.takeUp();
  }

  #nothingLeft(): StopReason {
    const waiting = this.#waiting();
    if (waiting.length === 0) return "idle";
    throw new Deadlock("deadlock: no CPU can go on", waiting);
  }

  #waiting(): Cpu[] {
    return this.cpus.filter(({ state }) => state === CpuState.PARKED);
  }
}

/** Such as `CPU 1, kthread/3, waits in my_fn: TICKET_LOCK of my_lock, held by kthread/2 on CPU 0`. */
function waitingText({ id, top }: Cpu): string {
  if (top === null) return `CPU ${id} waits`;
  const what = top.op === null ? "" : `: ${top.op.describe()}`;
  const calls = top.backtrace().join(" < ");
  return `CPU ${id}, ${top.name}, waits in ${calls}${what}`;
}

/** No operation may run past an interrupt that is due. */
function clipToIrq(cpu: Cpu): void {
  const { nextIrqAt, limit, ahead } = cpu;
  if (nextIrqAt >= ahead) return;
  cpu.limitTo(nextIrqAt < limit ? nextIrqAt : limit, nextIrqAt);
}

/** Math.max() of two times. */
function later(a: number, b: number): number {
  return a > b ? a : b;
}

/** When `cpu`, which is parked, takes its next interrupt, cycles. */
function irqDueAt(cpu: Cpu): number {
  return cpu.irqsOn ? later(cpu.clock, cpu.nextIrqAt) : Infinity;
}

/** When `cpu` next has something to do, cycles. */
function dueAt(cpu: Cpu): number {
  switch (cpu.state) {
    case CpuState.RUNNING:
      return cpu.clock;
    case CpuState.PARKED: {
      const irqAt = irqDueAt(cpu);
      return cpu.wakeAt < irqAt ? later(cpu.clock, cpu.wakeAt) : irqAt;
    }
    case CpuState.HALTED:
      return later(cpu.clock, cpu.nextIrqAt);
    default:
      return Infinity;
  }
}

/** Removes the interrupt that is due on `cpu`. Sent ones go before the timer. */
function takeVector(cpu: Cpu): number {
  const pending = cpu.pending;
  let vector = TIMER_VECTOR;
  if (pending.length > 0 && pending[0].at <= cpu.clock) {
    vector = pending.shift()!.vector;
  } else {
    cpu.timerAt = Infinity;
  }
  cpu.refreshNextIrq();
  return vector;
}
