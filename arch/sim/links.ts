/**
 * Links of doubly linked lists over CPU numbers, in two arrays. A CPU is on one
 * list at most of those that share them.
 */

/** Stands for no CPU. */
export const NONE = -1;

/** The ends of a list. */
export interface Ends {
  /** Number of the first CPU; -1 = none. */
  first: number;
  /** Number of the last CPU; -1 = none. */
  last: number;
}

/** The links between CPUs. */
export class Links {
  /** By CPU: the one after it; -1 = none. */
  readonly next: Int32Array;
  /** By CPU: the one before it; -1 = none. */
  readonly prev: Int32Array;

  constructor(size: number) {
    this.next = new Int32Array(size).fill(NONE);
    this.prev = new Int32Array(size).fill(NONE);
  }

  /** Puts `id`, which is on no list, after `before` in `list`; -1 = at its front. */
  insert(list: Ends, before: number, id: number): void {
    const after = before === NONE ? list.first : this.next[before];
    this.#join(list, before, id);
    this.#join(list, id, after);
  }

  /** Takes `id` off `list`. */
  remove(list: Ends, id: number): void {
    this.#join(list, this.prev[id], this.next[id]);
  }

  /** Puts `after` after `before`; -1 stands for either end. */
  #join(list: Ends, before: number, after: number): void {
    if (before === NONE) list.first = after;
    else this.next[before] = after;
    if (after === NONE) list.last = before;
    else this.prev[after] = before;
  }
}
