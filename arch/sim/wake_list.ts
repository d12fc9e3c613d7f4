/**
 * CPUs that have been woken, by the time they look again: a list in order, for
 * those who come in order. A lock that is handed over wakes all who wait for it,
 * each a cycle after the one before, and all but one find that it was not their
 * turn: this list takes each in and lets it go in a few steps, where a heap of a
 * thousand CPUs takes ten.
 */

const NONE = -1;
/** Places from the end that are looked at before an entry is refused: fewer than a heap's levels. */
const MAX_STEPS = 8;

/** The list; keys in cycles, ties by CPU number. */
export class WakeList {
  /** The first CPU; -1 = none. */
  head: number = NONE;
  #tail: number = NONE;
  readonly #key: Float64Array;
  readonly #next: Int32Array;
  readonly #prev: Int32Array;

  constructor(size: number) {
    this.#key = new Float64Array(size).fill(Infinity);
    this.#next = new Int32Array(size).fill(NONE);
    this.#prev = new Int32Array(size).fill(NONE);
  }

  /** Key of `id`; `Infinity` = not on the list. */
  keyOf(id: number): number {
    return this.#key[id];
  }

  /** The CPU after `id`, which is on the list; -1 = none. */
  after(id: number): number {
    return this.#next[id];
  }

  /** Takes in `id`, which is not on the list, unless its place is far from the end. @returns Whether it did. */
  insert(id: number, key: number): boolean {
    const keys = this.#key;
    let before = this.#tail;
    let steps = 0;
    while (
      before !== NONE &&
      (keys[before] > key || (keys[before] === key && before > id))
    ) {
      if (++steps > MAX_STEPS) return false;
      before = this.#prev[before];
    }
    const after = before === NONE ? this.head : this.#next[before];
    keys[id] = key;
    this.#link(before, id);
    this.#link(id, after);
    return true;
  }

  /** Lets go of `id`, if it is on the list. */
  remove(id: number): void {
    if (this.#key[id] === Infinity) return;
    this.#key[id] = Infinity;
    this.#link(this.#prev[id], this.#next[id]);
  }

  /** Puts `after` after `before`; -1 stands for either end. */
  #link(before: number, after: number): void {
    if (before === NONE) this.head = after;
    else this.#next[before] = after;
    if (after === NONE) this.#tail = before;
    else this.#prev[after] = before;
  }
}
