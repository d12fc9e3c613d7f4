/**
 * CPUs parked on places, in the order in which they parked: a linked list a
 * place over the CPUs' numbers, so that one of a thousand that an interrupt
 * takes away costs a few steps.
 */

const NONE = -1;

/** Something a CPU can be parked on. */
export interface ParkingPlace {
  /** Who is parked here; `null` = nobody ever was. */
  waiters: ParkedList | null;
}

/** The CPUs parked on one place: the ends of a list. */
export interface ParkedList {
  /** Number of the CPU that parked first; -1 = none. */
  first: number;
  /** Number of the CPU that parked last; -1 = none. */
  last: number;
  /** How many. */
  count: number;
}

/** The lists of one machine. A CPU is on one at most. */
export class Waiters {
  readonly #next: Int32Array;
  readonly #prev: Int32Array;
  /** Where each CPU is, or was last. */
  readonly #lists: (ParkedList | null)[];

  constructor(size: number) {
    this.#next = new Int32Array(size).fill(NONE);
    this.#prev = new Int32Array(size).fill(NONE);
    this.#lists = new Array(size).fill(null);
  }

  /** Puts `id`, which is on no list, behind those parked on `place`. */
  add(place: ParkingPlace, id: number): void {
    const list = place.waiters ??= { first: NONE, last: NONE, count: 0 };
    if (this.#lists[id] !== list) this.#lists[id] = list;
    this.#link(list, list.last, id);
    this.#link(list, id, NONE);
    list.count++;
  }

  /** Takes the first off `list`, which is not empty. */
  takeFirst(list: ParkedList): void {
    const first = this.#next[list.first];
    list.first = first;
    list.count--;
    if (first === NONE) list.last = NONE;
    else this.#prev[first] = NONE;
  }

  /** Takes `id` off its list. */
  remove(id: number): void {
    const list = this.#lists[id]!;
    this.#link(list, this.#prev[id], this.#next[id]);
    list.count--;
  }

  /** Puts `after` after `before`; -1 stands for either end. */
  #link(list: ParkedList, before: number, after: number): void {
    if (before === NONE) list.first = after;
    else this.#next[before] = after;
    if (after === NONE) list.last = before;
    else this.#prev[after] = before;
  }
}
