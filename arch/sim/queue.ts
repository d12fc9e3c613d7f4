/**
 * The order in which CPUs run: lowest key first, ties to the lower CPU number.
 *
 * The order is total, so it cannot depend on how a queue stores it; tests run
 * the engine on a second, deliberately shuffled queue to prove that.
 */

/** Priority queue over CPU numbers. Every CPU is always in it. */
export interface CpuQueue {
  /** Sets the key of `id`, cycles; `Infinity` = nothing to do. */
  update(id: number, key: number): void;
  keyOf(id: number): number;
  /** CPU with the lowest (key, number). */
  first(): number;
  /** CPU with the second lowest (key, number); -1 if there is only one CPU. */
  second(): number;
}

/** {@linkcode CpuQueue} as a binary heap with positions. */
export class HeapQueue implements CpuQueue {
  readonly #heap: Int32Array;
  readonly #position: Int32Array;
  readonly #key: Float64Array;

  declare readonly size: number;

  constructor(size: number) {
    this.size = size;
    this.#heap = Int32Array.from({ length: size }, (_, i) => i);
    this.#position = this.#heap.slice();
    this.#key = new Float64Array(size).fill(Infinity);
  }

  keyOf(id: number): number {
    return this.#key[id];
  }

  first(): number {
    return this.#heap[0];
  }

  second(): number {
    if (this.size === 1) return -1;
    if (this.size === 2) return this.#heap[1];
    const a = this.#heap[1];
    const b = this.#heap[2];
    return this.#before(a, b) ? a : b;
  }

  update(id: number, key: number): void {
    const old = this.#key[id];
    if (key === old) return;
    this.#key[id] = key;
    if (key < old) this.#up(this.#position[id], id);
    else this.#down(this.#position[id], id);
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
