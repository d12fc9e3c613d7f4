/**
 * CPUs that have been woken, by the time they look again: a list in order, for
 * those who come in order. A lock that is handed over wakes all who wait for it,
 * each a cycle after the one before, and all but one find that it was not their
 * turn: this list takes each in and lets it go in a few steps, where a heap of a
 * thousand CPUs takes ten.
 */

import { type Ends, Links, NONE } from "./links.ts";

/** Places from the end that are looked at before an entry is refused: fewer than a heap's levels. */
const MAX_STEPS = 8;

/** The list; keys in cycles, ties by CPU number. */
export class WakeList {
  readonly #ends: Ends = { first: NONE, last: NONE };
  readonly #links: Links;
  readonly #key: Float64Array;

  constructor(size: number) {
    this.#links = new Links(size);
    this.#key = new Float64Array(size).fill(Infinity);
  }

  /** The first CPU; -1 = none. */
  get head(): number {
    return this.#ends.first;
  }

  /** Key of `id`; `Infinity` = not on the list. */
  keyOf(id: number): number {
    return this.#key[id];
  }

  /** The CPU after `id`, which is on the list; -1 = none. */
  after(id: number): number {
    return this.#links.next[id];
  }

  /** Takes in `id`, which is not on the list, unless its place is far from the end. @returns Whether it did. */
  insert(id: number, key: number): boolean {
    const keys = this.#key;
    let before = this.#ends.last;
    let steps = 0;
    while (
      before !== NONE &&
      (keys[before] > key || (keys[before] === key && before > id))
    ) {
      if (++steps > MAX_STEPS) return false;
      before = this.#links.prev[before];
    }
    keys[id] = key;
    this.#links.insert(this.#ends, before, id);
    return true;
  }

  /** Lets go of `id`, if it is on the list. */
  remove(id: number): void {
    if (this.#key[id] === Infinity) return;
    this.#key[id] = Infinity;
    this.#links.remove(this.#ends, id);
  }
}
