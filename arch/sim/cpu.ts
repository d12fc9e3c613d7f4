/**
 * One CPU as the engine sees it: a clock, a stack of contexts, interrupts that
 * have been sent to it, and what it waits for. Caches and TLBs hang below it in
 * `arch/hw/`.
 */
import type { Context } from "./context.ts";
import { At, TIMES_SHIFT } from "./cpu_times.ts";
import type { SymbolCycles } from "./cycles.ts";
import type { Engine } from "./engine.ts";

/** What a CPU is doing. */
export const CpuState = {
  /** Not started yet, or stopped for good. */
  OFFLINE: 0,
  /** Has an operation to do or a generator to resume. */
  RUNNING: 1,
  /** Spins on a line that has not changed; see {@linkcode Engine.park}. */
  PARKED: 2,
  /** Stopped by `hlt` until an interrupt. */
  HALTED: 3,
} as const;

/** An interrupt on its way. */
export interface PendingIrq {
  /** Arrival, cycles. */
  readonly at: number;
  readonly vector: number;
}

/** The local timer's vector; others are the kernel's to choose, above 0. */
export const TIMER_VECTOR = 0;

// Constants of this module: see docs/ARCHITECTURE.md, "What V8 likes".
const { BASE, LIMIT, AHEAD, NEXT_IRQ, TIMER, WAKE, WAITING_SINCE } = At;
const SHIFT = TIMES_SHIFT;

/** Most cycles that a CPU is let run before its clock's base is moved up. */
const MAX_ROOM = 2 ** 30;

/**
 * One CPU: its clock, its place in the machine, what runs on it and whether it
 * waits. Times in cycles.
 *
 * @example
 * ```ts
 * import { boot } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const { cpus } = boot().machine.engine;
 * assertEquals(cpus.map((cpu) => cpu.socket), [0, 0, 0, 0, 1, 1, 1, 1]);
 * ```
 */
export class Cpu {
  /** What the accessors below read and write. */
  readonly #times: Float64Array;
  /** Where its own begin. */
  readonly #at: number = 0;
  readonly #spent: SymbolCycles;
  /**
   * Cycles spent since the base of the clock, which moves up at the end of a turn:
   * a small integer, which the host adds to faster than to the clock itself.
   *
   * @internal
   */
  ran = 0;
  /** Of `ran`: charged to symbols already. */
  #booked = 0;
  /**
   * Operations on shared state wait while `ran` is not below this.
   *
   * @internal
   */
  room = 0;
  /**
   * Operations on data nobody synchronises on wait while `ran` is not below this.
   *
   * @internal
   */
  roomAhead = 0;
  /** One of `CpuState`: 0 = offline, 1 = running, 2 = parked in a spin, 3 = halted. */
  state: number = CpuState.OFFLINE;
  /** Whether interrupts are taken (the IF flag). */
  irqsOn = false;
  /**
   * By arrival, then by sending.
   *
   * @internal
   */
  readonly pending: PendingIrq[] = [];
  /** Innermost context: what runs when this CPU runs. */
  top: Context | null = null;
  /** The engine that it is one of. */
  declare readonly engine: Engine;
  /** Its number, from 0. */
  declare readonly id: number;
  /** Its socket, from 0. */
  declare readonly socket: number;
  /** NUMA node of its memory, from 0. */
  declare readonly node: number;

  /** An offline CPU. */
  constructor(
    engine: Engine,
    times: Float64Array,
    id: number,
    socket: number,
    node: number,
  ) {
    this.engine = engine;
    this.id = id;
    this.socket = socket;
    this.node = node;
    this.#spent = engine.spent;
    this.#times = times;
    this.#at = id << SHIFT;
  }

  /** Local time, cycles. */
  get clock(): number {
    return this.#times[this.#at + BASE] + this.ran;
  }
  set clock(at: number) {
    this.settle();
    this.rebase();
    this.#times[this.#at + BASE] = at;
    this.#makeRoom();
  }

  /**
   * Operations on shared state wait for the engine from this time on.
   *
   * @internal
   */
  get limit(): number {
    return this.#times[this.#at + LIMIT];
  }

  /**
   * Operations on data nobody synchronises on wait from this time on; >= limit.
   *
   * @internal
   */
  get ahead(): number {
    return this.#times[this.#at + AHEAD];
  }

  /**
   * Sets {@linkcode limit} and {@linkcode ahead}.
   *
   * @internal
   */
  limitTo(limit: number, ahead: number): void {
    this.#times[this.#at + LIMIT] = limit;
    this.#times[this.#at + AHEAD] = ahead;
    this.#makeRoom();
  }

  /**
   * Lets any number of cycles pass in the innermost call: waits, and charges that
   * are too long to be spent ({@linkcode ran}).
   *
   * @internal
   */
  pass(cycles: number): void {
    this.clock += cycles;
    const t = this.top!;
    this.#spent.addLong(t.stack[t.depth - 1], cycles);
  }

  /**
   * Charges what has been spent since the last call to `sym`.
   *
   * @internal
   */
  book(sym: number): void {
    const cycles = this.ran - this.#booked;
    if (cycles === 0) return;
    this.#booked = this.ran;
    this.#spent.add(sym, cycles);
  }

  /**
   * Charges what has been spent since the last call to the innermost call.
   *
   * @internal
   */
  settle(): void {
    const t = this.top;
    if (t !== null) this.book(t.stack[t.depth - 1]);
  }

  /**
   * Moves the base of the clock up to the clock, as its turn is over: what has
   * been spent is settled, and the limits are set before the next turn.
   *
   * @internal
   */
  rebase(): void {
    this.#times[this.#at + BASE] += this.ran;
    this.ran = 0;
    this.#booked = 0;
  }

  #makeRoom(): void {
    const times = this.#times;
    const at = this.#at;
    const base = times[at + BASE];
    this.room = roomFor(times[at + LIMIT] - base);
    this.roomAhead = roomFor(times[at + AHEAD] - base);
  }

  /** Arrival of the next interrupt or timer expiry; `Infinity` = none. */
  get nextIrqAt(): number {
    return this.#times[this.#at + NEXT_IRQ];
  }
  set nextIrqAt(at: number) {
    this.#times[this.#at + NEXT_IRQ] = at;
  }

  /** Local timer's expiry, cycles; `Infinity` = not set. */
  get timerAt(): number {
    return this.#times[this.#at + TIMER];
  }
  set timerAt(at: number) {
    this.#times[this.#at + TIMER] = at;
  }

  /**
   * While parked: when the place was written; `Infinity` = not yet.
   *
   * @internal
   */
  get wakeAt(): number {
    return this.#times[this.#at + WAKE];
  }
  set wakeAt(at: number) {
    this.#times[this.#at + WAKE] = at;
  }

  /** When the wait that goes on now began; survives interrupts. */
  get waitingSince(): number {
    return this.#times[this.#at + WAITING_SINCE];
  }
  set waitingSince(at: number) {
    this.#times[this.#at + WAITING_SINCE] = at;
  }

  /**
   * Recomputes {@linkcode nextIrqAt}.
   *
   * @internal
   */
  refreshNextIrq(): void {
    const sent = this.pending.length > 0 ? this.pending[0].at : Infinity;
    this.nextIrqAt = Math.min(sent, this.timerAt);
  }
}

/** Whole cycles from the clock's base until `left` have gone: at least 0, at most MAX_ROOM. */
function roomFor(left: number): number {
  if (!(left > 0)) return 0;
  return left < MAX_ROOM ? Math.ceil(left) | 0 : MAX_ROOM;
}
