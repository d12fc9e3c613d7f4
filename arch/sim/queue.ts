/**
 * The order in which CPUs run: lowest key first, ties to the lower CPU number.
 *
 * The order is total, so it cannot depend on how a queue stores it; tests run
 * the engine on a second, deliberately shuffled queue to prove that.
 */

import { WakeList } from "./wake_list.ts";

/** Priority queue over CPU numbers. Every CPU is always in it. */
export interface CpuQueue {
  /** Sets the key of `id`, cycles; `Infinity` = nothing to do. */
  update(id: number, key: number): void;
  /** Lowers the key of `id` to `key`, cycles, until the next {@linkcode update}. */
  wake(id: number, key: number): void;
  /** The woken CPU that goes before all that have not been; -1 = there is none. */
  firstWoken(): number;
  /** Ends what {@linkcode wake} has done to `id`, which has nothing to do before `key`. */
  sleep(id: number, key: number): void;
  keyOf(id: number): number;
  /** CPU with the lowest (key, number). */
  first(): number;
  /** CPU with the second lowest (key, number); -1 if there is only one CPU. */
  second(): number;
}

/**
 * {@linkcode CpuQueue} as a binary heap with positions, and a list of the woken
 * beside it: they keep their places in the heap.
 */
export class HeapQueue implements CpuQueue {
  readonly #heap: Int32Array;
  readonly #position: Int32Array;
  readonly #key: Float64Array; // in the heap
  readonly #woken: WakeList;

  declare readonly size: number;

  constructor(size: number) {
    this.size = size;
    this.#heap = Int32Array.from({ length: size }, (_, i) => i);
    this.#position = this.#heap.slice();
    this.#key = new Float64Array(size).fill(Infinity);
    this.#woken = new WakeList(size);
  }

  keyOf(id: number): number {
    const key = this.#key[id];
    const woken = this.#woken.keyOf(id);
    return woken < key ? woken : key;
  }

  first(): number {
    return this.#firstOf(this.#heap[0], this.#woken.head);
  }

  second(): number {
    if (this.size === 1) return -1;
    const first = this.first();
    const top = this.#heap[0];
    const head = this.#woken.head;
    return this.#firstOf(
      top === first ? this.#belowTop() : top,
      head === first ? this.#woken.after(head) : head,
    );
  }

  update(id: number, key: number): void {
    this.#woken.remove(id);
    const old = this.#key[id];
    if (key === old) return;
    this.#key[id] = key;
    if (key < old) this.#up(this.#position[id], id);
    else this.#down(this.#position[id], id);
  }

  wake(id: number, key: number): void {
    if (key >= this.keyOf(id)) return;
    this.#woken.remove(id);
    if (!this.#woken.insert(id, key)) this.update(id, key);
  }

  firstWoken(): number {
    const head = this.#woken.head;
    if (head < 0) return -1;
    const top = this.#heap[0];
    const kh = this.#key[top];
    const kw = this.#woken.keyOf(head);
    return kw < kh || (kw === kh && head < top) ? head : -1;
  }

  sleep(id: number, key: number): void {
    this.#woken.remove(id);
    if (this.#key[id] < key) this.update(id, key);
  }

  /** The earlier of `inHeap` and `woken`, which may be the same or, of the latter, -1. */
  #firstOf(inHeap: number, woken: number): number {
    if (woken < 0) return inHeap;
    const kh = this.#key[inHeap];
    const kw = this.#woken.keyOf(woken);
    return kw < kh || (kw === kh && woken < inHeap) ? woken : inHeap;
  }

  /** The first of the heap but for its top. */
  #belowTop(): number {
    if (this.size === 2) return this.#heap[1];
    const a = this.#heap[1];
    const b = this.#heap[2];
    return this.#before(a, b) ? a : b;
  }

  #before(a: number, b: number): boolean {
    const ka = this.#key[a];
    const kb = this.#key[b];
    return ka < kb || (ka === kb && a < b);
  }

  #up(at: number, id: number): void {
    const heap = this.#heap;
    const position = this.#position;
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = heap[parentAt];
      if (!this.#before(id, parent)) break;
      heap[at] = parent;
      position[parent] = at;
      at = parentAt;
    }
    heap[at] = id;
    position[id] = at;
  }

  #down(at: number, id: number): void {
    const heap = this.#heap;
    const position = this.#position;
    const size = this.size;
    for (;;) {
      let childAt = 2 * at + 1;
      if (childAt >= size) break;
      if (
        childAt + 1 < size && this.#before(heap[childAt + 1], heap[childAt])
      ) {
        childAt++;
      }
      const child = heap[childAt];
      if (!this.#before(child, id)) break;
      heap[at] = child;
      position[child] = at;
      at = childAt;
    }
    heap[at] = id;
    position[id] = at;
  }
}
