/**
 * Sequence locks (include/linux/seqlock.h): readers read again if a writer came
 * in between, and never keep one waiting.
 */
import {
  charge,
  READ_ONCE,
  READ_ONCE_now,
  spin_until,
  type Steps,
  WRITE_ONCE,
} from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import { CacheLine } from "../../arch/hw/line.ts";
import type { Kernel } from "../kernel.ts";
import type { Thread } from "../thread.ts";
import { spin_lock, spin_unlock, Spinlock } from "./spinlock.ts";

/**
 * A sequence lock; its sequence and its lock share a line, with the data as a
 * rule.
 *
 * Linux: include/linux/seqlock.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   read_seqbegin,
 *   read_seqretry,
 *   Seqlock,
 *   write_seqlock,
 *   write_sequnlock,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals, assertFalse } from "@std/assert";
 *
 * const pair = boot().run(function* (t) {
 *   const lock = new Seqlock(t.k, "my_seqlock");
 *   const time = { s: 0, ns: 0 };
 *   yield* write_seqlock(t, lock);
 *   Object.assign(time, { s: 1, ns: 500 });
 *   yield* write_sequnlock(t, lock);
 *   const seq = yield* read_seqbegin(t, lock);
 *   const copy = [time.s, time.ns];
 *   assertFalse(yield* read_seqretry(t, lock, seq));
 *   return copy;
 * });
 * assertEquals(pair, [1, 500]);
 * ```
 */
export class Seqlock {
  /** What writers take. */
  readonly lock: Spinlock;
  /** Odd while a writer is inside. */
  readonly sequence: Cell<number>;

  /** A sequence lock that no writer holds. */
  constructor(
    k: Kernel,
    readonly name: string,
    readonly line: CacheLine = new CacheLine(0),
  ) {
    this.lock = new Spinlock(k, name, line);
    this.sequence = new Cell(name, 0, line);
    this.sequence.holder = this.lock;
  }
}

/**
 * Starts to read.
 *
 * Context: any.
 *
 * Linux: include/linux/seqlock.h.
 *
 * @returns What {@linkcode read_seqretry} wants.
 *
 * @example
 * ```ts
 * import { boot, read_seqbegin, Seqlock } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const even = boot().run(function* (t) {
 *   const seq = yield* read_seqbegin(t, new Seqlock(t.k, "my_seqlock"));
 *   return seq % 2 === 0;
 * });
 * assert(even);
 * ```
 */
export function* read_seqbegin(t: Thread, sl: Seqlock): Steps<number> {
  charge(t, 4);
  const seen = yield* READ_ONCE(t, sl.sequence);
  if ((seen & 1) === 0) return seen;
  return yield* spin_until(t, sl.sequence, 1, 0);
}

/**
 * Ends to read.
 *
 * Linux: include/linux/seqlock.h.
 *
 * @returns Whether it must be done again.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   read_seqbegin,
 *   read_seqretry,
 *   Seqlock,
 *   write_seqlock,
 *   write_sequnlock,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const again = boot().run(function* (t) {
 *   const lock = new Seqlock(t.k, "my_seqlock");
 *   const seq = yield* read_seqbegin(t, lock);
 *   yield* write_seqlock(t, lock); // somebody writes meanwhile
 *   yield* write_sequnlock(t, lock);
 *   return yield* read_seqretry(t, lock, seq);
 * });
 * assert(again);
 * ```
 */
export function* read_seqretry(
  t: Thread,
  sl: Seqlock,
  start: number,
): Steps<boolean> {
  charge(t, 3);
  return (yield* READ_ONCE(t, sl.sequence)) !== start;
}

/** Whether no writer is inside: {@linkcode read_seqbegin_now} may begin. Plain. */
export function seq_is_even(sl: Seqlock): boolean {
  return (sl.sequence.value & 1) === 0;
}

/** {@linkcode read_seqbegin} in a section, which no writer enters. Plain. */
export function read_seqbegin_now(t: Thread, sl: Seqlock): void {
  charge(t, 4);
  READ_ONCE_now(t, sl.sequence);
}

/** Ends {@linkcode read_seqbegin_now}, in the same section. Plain. */
export function read_seqend_now(t: Thread, sl: Seqlock): void {
  charge(t, 3);
  READ_ONCE_now(t, sl.sequence);
}

/**
 * Locks readers and writers out.
 *
 * Context: as {@linkcode spin_lock}.
 *
 * Linux: include/linux/seqlock.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   Seqlock,
 *   write_seqlock,
 *   write_sequnlock,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const lock = new Seqlock(t.k, "my_seqlock");
 *   yield* write_seqlock(t, lock);
 *   assertEquals(lock.sequence.value % 2, 1); // readers wait
 *   yield* write_sequnlock(t, lock);
 * });
 * ```
 */
export function* write_seqlock(t: Thread, sl: Seqlock): Steps {
  yield* spin_lock(t, sl.lock);
  yield* WRITE_ONCE(t, sl.sequence, (sl.sequence.value + 1) | 0);
}

/**
 * Ends {@linkcode write_seqlock}.
 *
 * Linux: include/linux/seqlock.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   Seqlock,
 *   write_seqlock,
 *   write_sequnlock,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const lock = new Seqlock(t.k, "my_seqlock");
 *   yield* write_seqlock(t, lock);
 *   yield* write_sequnlock(t, lock);
 *   assertEquals(lock.sequence.value, 2);
 * });
 * ```
 */
export function* write_sequnlock(t: Thread, sl: Seqlock): Steps {
  yield* WRITE_ONCE(t, sl.sequence, (sl.sequence.value + 1) | 0);
  yield* spin_unlock(t, sl.lock);
}
