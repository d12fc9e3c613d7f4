/**
 * The rule for static variables. A field of an object may go from CPU to CPU
 * with the object, from list to list under locks that have nothing to do with
 * it; a static variable goes nowhere. So those who use one plainly must hold a
 * lock in common, even where locks that they took and let go of in between
 * happen to have ordered them this time: Eraser's rule, for such cells alone
 * (`Cell.isStatic`).
 *
 * The first user is let alone until somebody else comes, since what starts a
 * system up needs no lock; so is whoever goes on where the last one was, on its
 * CPU or as the same thread.
 */
import type { LockOwner } from "../locking/lock_stat.ts";
import type { Thread } from "../thread.ts";
import { Access, type ThreadShadow } from "./race_shadow.ts";

/** Of one static cell. */
export class StaticShadow {
  /** Locks that all have held since a second user came; `null` = none has. */
  #common: LockOwner[] | null = null;
  /** Whether it has been written since. */
  #written = false;
  #lastTask: Thread | null = null;
  /** The last access, and the last one by another than its CPU. */
  #last = new Access();
  #lastElsewhere = new Access();

  /**
   * Notes a plain access.
   *
   * @returns One that it may come beside in another schedule; `null` = none.
   */
  note(t: Thread, kind: number, write: boolean): Access | null {
    const last = this.#last;
    const first = this.#lastTask === null;
    const goesOn = first || this.#lastTask === t.task || last.cpu === t.cpu.id;
    this.#lastTask = t.task;
    if (!first && last.cpu !== t.cpu.id) {
      this.#last = this.#lastElsewhere;
      this.#lastElsewhere = last;
    }
    if (this.#common !== null || !goesOn) {
      this.#keepHeld(t);
      this.#written ||= write;
    }
    this.#last.note(t, 0, write, kind);
    const racy = this.#written && this.#common!.length === 0;
    return racy ? this.#lastElsewhere : null;
  }

  #keepHeld(t: Thread): void {
    const shadow = t.shadow as ThreadShadow | null;
    const held = shadow === null ? [] : shadow.locks.slice(0, shadow.nrLocks);
    this.#common = this.#common === null
      ? held
      : this.#common.filter((lock) => held.includes(lock));
  }
}
