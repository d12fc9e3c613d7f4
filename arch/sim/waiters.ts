/**
 * CPUs parked on places, in the order in which they parked: a linked list a
 * place over the CPUs' numbers, so that one of a thousand that an interrupt
 * takes away costs a few steps.
 */

import { Links, NONE } from "./links.ts";

/** Something a CPU can be parked on. */
export interface ParkingPlace {
  /** Who is parked here; `null` = nobody ever was. */
  waiters: ParkedList | null;
}

/** The CPUs parked on one place: the ends of a list over `Links`. */
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
  readonly #links: Links;
  /** Where each CPU is, or was last. */
  readonly #lists: (ParkedList | null)[];

  constructor(size: number) {
    this.#links = new Links(size);
    this.#lists = new Array(size).fill(null);
  }

  /** Puts `id`, which is on no list, behind those parked on `place`. */
  add(place: ParkingPlace, id: number): void {
    const list = place.waiters ??= { first: NONE, last: NONE, count: 0 };
    if (this.#lists[id] !== list) this.#lists[id] = list;
    this.#links.insert(list, list.last, id);
    list.count++;
  }

  /** Takes `id` off its list. */
  remove(id: number): void {
    const list = this.#lists[id]!;
    this.#links.remove(list, id);
    list.count--;
  }
}
