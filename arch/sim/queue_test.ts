import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type CpuQueue, HeapQueue } from "./queue.ts";

/** The order by definition: a scan. */
export class ScanQueue implements CpuQueue {
  readonly #keys: number[];
  constructor(size: number) {
    this.#keys = new Array(size).fill(Infinity);
  }
  update(id: number, key: number): void {
    this.#keys[id] = key;
  }
  wake(id: number, key: number): void {
    this.#keys[id] = Math.min(this.#keys[id], key);
  }
  firstWoken(): number {
    return -1; // it tells them not apart
  }
  sleep(id: number, key: number): void {
    this.#keys[id] = key;
  }
  keyOf(id: number): number {
    return this.#keys[id];
  }
  first(): number {
    return this.#sorted()[0];
  }
  second(): number {
    return this.#sorted()[1] ?? -1;
  }
  #sorted(): number[] {
    return this.#keys.map((_, id) => id).sort((a, b) =>
      this.#keys[a] === this.#keys[b] ? a - b : this.#keys[a] - this.#keys[b]
    );
  }
}

Deno.test("HeapQueue orders by key, then by CPU number, as a scan does", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 40 }),
    fc.array(fc.tuple(fc.nat(), fc.nat({ max: 60 }), fc.boolean()), {
      minLength: 100, // so many that the list of the woken refuses some
      maxLength: 300,
    }),
    (size, updates) => {
      const heap = new HeapQueue(size);
      const scan = new ScanQueue(size);
      for (const [n, k, wakes] of updates) {
        const key = k === 60 ? Infinity : k;
        for (const queue of [heap, scan]) {
          if (wakes) queue.wake(n % size, key);
          else queue.update(n % size, key);
        }
        assertEquals(heap.keyOf(n % size), scan.keyOf(n % size));
        assertEquals(heap.first(), scan.first());
        assertEquals(heap.second(), scan.second());
      }
    },
  ));
});

Deno.test("a woken CPU is the first of a HeapQueue until it sleeps, and has its old key then", () => {
  const queue = new HeapQueue(4);
  queue.update(0, 50);
  queue.update(1, 100);
  assertEquals(queue.firstWoken(), -1);
  queue.wake(1, 60);
  assertEquals(queue.firstWoken(), -1); // 0 goes before it
  queue.wake(2, 40);
  assertEquals([queue.first(), queue.firstWoken()], [2, 2]);
  queue.sleep(2, 45);
  assertEquals(queue.keyOf(2), Infinity);
  queue.update(0, 70);
  assertEquals(queue.firstWoken(), 1);
  queue.sleep(1, 65);
  assertEquals(queue.keyOf(1), 100);
  queue.wake(1, 66);
  queue.sleep(1, 120); // it was busy until after that
  assertEquals(queue.keyOf(1), 120);
});

Deno.test("of a woken CPU and one that has not been, with equal keys, the lower number is first", () => {
  const queue = new HeapQueue(3);
  queue.update(1, 10);
  queue.wake(2, 10);
  assertEquals([queue.first(), queue.firstWoken()], [1, -1]);
  queue.wake(0, 10);
  assertEquals([queue.first(), queue.firstWoken()], [0, 0]);
});
