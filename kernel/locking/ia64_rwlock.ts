/**
 * Reader-writer spinlocks of ia64 (include/asm-ia64/spinlock.h): one word, 31
 * bits that count readers and, on top, one for the writer. 0 = free.
 *
 * A writer reads until the word is 0, then tries to change it to its bit by
 * `cmpxchg4.acq`; a reader adds 1, and takes that back if the word was negative
 * and reads until it is not. Both spin in line, so waiting is charged to
 * `_write_lock` and `_read_lock` themselves. As unfair as x86's.
 *
 * Differs from Linux: a writer leaves by an atomic addition, where ia64 clears
 * the byte with its bit by a plain store (`st1.rel`): a little dearer, and what
 * readers have added meanwhile stays, as there.
 */
import {
  atomic_add_return,
  charge,
  cmpxchg,
  READ_ONCE,
  spin_cmpxchg,
  spin_until,
  type Steps,
} from "../../arch/asm.ts";
import type { Cell } from "../../arch/hw/cell.ts";
import type { Thread } from "../thread.ts";

/** The writer's bit: the word is negative while it is set. */
const WRITER = -0x80000000;
/** One turn of either loop: test, branch. */
const TURN_INSTRUCTIONS = 3;

/** Takes the word for writing. @returns Whether it had to wait. */
export function* ia64_write_lock(
  t: Thread,
  word: Cell<number>,
): Steps<boolean> {
  const free = (yield* READ_ONCE(t, word)) === 0;
  charge(t, TURN_INSTRUCTIONS);
  if (free && (yield* cmpxchg(t, word, 0, WRITER)) === 0) return false;
  yield* spin_cmpxchg(t, word, 0, WRITER);
  return true;
}

/** Gives the word up after writing. */
export function* ia64_write_unlock(t: Thread, word: Cell<number>): Steps {
  yield* atomic_add_return(t, word, WRITER); // modulo 2^32: the bit goes
}

/** Takes the word for reading. @returns Whether it had to wait. */
export function* ia64_read_lock(t: Thread, word: Cell<number>): Steps<boolean> {
  let contended = false;
  // atomic_add_return() gives the new value; it was negative if this is not above 0.
  while ((yield* atomic_add_return(t, word, 1)) <= 0) {
    contended = true;
    yield* atomic_add_return(t, word, -1);
    yield* spin_until(t, word, WRITER, 0);
    charge(t, TURN_INSTRUCTIONS);
  }
  return contended;
}

/** Gives the word up after reading. */
export function* ia64_read_unlock(t: Thread, word: Cell<number>): Steps {
  yield* atomic_add_return(t, word, -1);
}
