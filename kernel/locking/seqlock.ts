/**
 * Sequence locks (include/linux/seqlock.h): readers read again if a writer came
 * in between, and never keep one waiting.
 */
import { charge, load, spin_until, type Steps, store } from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import { CacheLine } from "../../arch/hw/line.ts";
import type { Kernel } from "../kernel.ts";
import type { Thread } from "../thread.ts";
import { spin_lock, spin_unlock, Spinlock } from "./spinlock.ts";

/** A sequence lock; its sequence and its lock share a line, with the data as a rule. */
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

/** Starts to read. @returns What {@linkcode read_seqretry} wants. Context: any. */
export function* read_seqbegin(t: Thread, sl: Seqlock): Steps<number> {
  charge(t, 4);
  const seen = yield* load(t, sl.sequence);
  if ((seen & 1) === 0) return seen;
  return yield* spin_until(t, sl.sequence, 1, 0);
}

/** Ends to read. @returns Whether it must be done again. */
export function* read_seqretry(
  t: Thread,
  sl: Seqlock,
  start: number,
): Steps<boolean> {
  charge(t, 3);
  return (yield* load(t, sl.sequence)) !== start;
}

/** Locks readers and writers out. Context: as {@linkcode spin_lock}. */
export function* write_seqlock(t: Thread, sl: Seqlock): Steps {
  yield* spin_lock(t, sl.lock);
  yield* store(t, sl.sequence, (sl.sequence.value + 1) | 0);
}

/** Ends {@linkcode write_seqlock}. */
export function* write_sequnlock(t: Thread, sl: Seqlock): Steps {
  yield* store(t, sl.sequence, (sl.sequence.value + 1) | 0);
  yield* spin_unlock(t, sl.lock);
}
