/**
 * CPUs that are parked: they spin on a line that has not changed since they
 * looked. Once it is written, they look again, a cycle apart, in the order in
 * which they parked.
 *
 * A lock that is handed over wakes all who wait for it, and all but one find
 * that it was not their turn. On a machine of a thousand CPUs these looks in
 * vain are most of what happens, so they are done here, in their turn, from a
 * few arrays, and neither CPU, context nor operation is touched. Who knows what
 * a CPU waits for is a {@linkcode SpinWatch}; without one every CPU looks by
 * itself. Many of these who are woken together are a batch, of which the queue
 * knows the first alone.
 */
import { At, TIMES_SHIFT } from "./cpu_times.ts";
import type { SymbolCycles } from "./cycles.ts";
import { NONE } from "./links.ts";
import type { CpuQueue } from "./queue.ts";
import type { Sym } from "./symbol.ts";
import { type ParkedList, type ParkingPlace, Waiters } from "./waiters.ts";

/** Knows which looks are in vain, and makes them. */
export interface SpinWatch {
  /** Whether it knows what CPU `id` waits for. */
  knows(id: number): boolean;
  /** Where CPU `id` waits on if it looks now and its turn has not come; `null` = it has, or nobody knows. */
  placeOf(id: number): ParkingPlace | null;
  /** CPU `id` looks at time `from`. @returns How long that takes, cycles. */
  look(id: number, from: number): number;
  /** The call in which it spins. */
  symOf(id: number): Sym;
}

/** CPUs woken together that have yet to look. */
interface Batch {
  readonly list: ParkedList;
  /** When the next one looks, cycles. */
  at: number;
}

/** Fewer than these are woken one by one. */
const MIN_BATCH = 16;

const SHIFT = TIMES_SHIFT;

/** All of one machine's. */
export class Parking {
  /** Spares the host looks in vain; `null` = nobody does. */
  watch: SpinWatch | null = null;
  readonly #waiters: Waiters;
  /** By the CPU that is its first and stands in the queue. */
  readonly #batches: (Batch | null)[];
  readonly #queue: CpuQueue;
  readonly #times: Float64Array;
  readonly #spent: SymbolCycles;
  readonly #lockupCycles: number = 0;
  /** Of those woken last: who looks first. */
  #earliest = NONE;

  /** `times` of CPUs that `queue` orders; `spent` is charged. A spin of `lockupCycles` is left to whoever reports it. */
  constructor(
    queue: CpuQueue,
    times: Float64Array,
    spent: SymbolCycles,
    lockupCycles: number,
  ) {
    const size = times.length >> SHIFT;
    this.#waiters = new Waiters(size);
    this.#batches = new Array(size).fill(null);
    this.#queue = queue;
    this.#times = times;
    this.#spent = spent;
    this.#lockupCycles = lockupCycles;
  }

  /** Parks CPU `id` on `place`. */
  park(id: number, place: ParkingPlace): void {
    this.#times[(id << SHIFT) + At.WAKE] = Infinity;
    this.#waiters.add(place, id);
  }

  /** CPU `id`, parked or woken, goes its own way. */
  leave(id: number): void {
    const wake = (id << SHIFT) + At.WAKE;
    if (this.#times[wake] === Infinity) this.#waiters.remove(id);
    this.#times[wake] = Infinity;
    this.#passOn(id);
  }

  /**
   * All who are parked on `place`, at least one, look again from time `at` on.
   *
   * @returns The one of them who looks first.
   */
  wake(place: ParkingPlace, at: number): number {
    this.#earliest = NONE;
    const list = place.waiters!;
    if (list.count >= MIN_BATCH && (this.watch?.knows(list.first) ?? false)) {
      place.waiters = null; // the next to park begin a list of their own
      this.#nextOf({ list, at });
      return this.#earliest;
    }
    for (let lookAt = at; list.first >= 0; lookAt++) {
      const id = list.first;
      this.#waiters.remove(id);
      this.#wakeOne(id, lookAt);
    }
    return this.#earliest;
  }

  /** Lets woken CPUs look whose turn has not come, as long as no other CPU goes before them, up to `untilCycle`. */
  lookInVain(untilCycle: number): void {
    if (this.watch === null) return;
    const queue = this.#queue;
    for (let id = queue.firstWoken(); id >= 0; id = queue.firstWoken()) {
      const from = this.#times[(id << SHIFT) + At.WAKE];
      if (from > untilCycle || !this.#looksInVain(id, from)) return;
      queue.sleep(id, this.#times[(id << SHIFT) + At.BASE]);
      const batch = this.#batches[id];
      if (batch === null) continue;
      this.#batches[id] = null;
      this.#goOn(batch, untilCycle);
    }
  }

  /** CPU `id`, woken, looks at time `from`. @returns Whether it has parked again; `false` = it does so by itself. */
  looksAgain(id: number, from: number): boolean {
    this.#passOn(id);
    return this.#looksInVain(id, from);
  }

  #looksInVain(id: number, from: number): boolean {
    const { watch } = this;
    const place = watch === null ? null : watch.placeOf(id);
    const times = this.#times;
    const of = id << SHIFT;
    if (
      place === null ||
      from - times[of + At.WAITING_SINCE] > this.#lockupCycles
    ) return false;
    const done = from + watch!.look(id, from);
    this.#spent.addLong(watch!.symOf(id), done - times[of + At.BASE]);
    times[of + At.BASE] = done;
    times[of + At.WAKE] = Infinity;
    this.#waiters.add(place, id);
    return true;
  }

  /** The others of a batch look after its first. */
  #goOn(batch: Batch, untilCycle: number): void {
    const { list } = batch;
    const times = this.#times;
    const queue = this.#queue;
    // Looks make nobody else come earlier.
    const other = queue.first();
    const key = queue.keyOf(other);
    for (let id = list.first; id >= 0; id = list.first) {
      const { at } = batch;
      if (
        at > untilCycle || at > key || (at === key && id >= other) ||
        times[(id << SHIFT) + At.BASE] > at
      ) return this.#nextOf(batch);
      this.#waiters.remove(id);
      batch.at++;
      if (!this.#looksInVain(id, at)) {
        this.#wakeOne(id, at);
        return this.#nextOf(batch);
      }
      queue.sleep(id, times[(id << SHIFT) + At.BASE]);
    }
  }

  /** The next of a batch comes in the queue; those whose clocks are far ahead come by themselves. */
  #nextOf(batch: Batch): void {
    const { list } = batch;
    for (let id = list.first; id >= 0; id = list.first) {
      this.#waiters.remove(id);
      const at = batch.at++;
      const isNext = this.#times[(id << SHIFT) + At.BASE] <= at;
      if (isNext) this.#batches[id] = batch;
      this.#wakeOne(id, at);
      if (isNext) return;
    }
  }

  /** If CPU `id` is the first of a batch, the next one is. */
  #passOn(id: number): void {
    const batch = this.#batches[id];
    if (batch === null) return;
    this.#batches[id] = null;
    this.#nextOf(batch);
  }

  /** CPU `id` looks at time `at`, or when it is that far. */
  #wakeOne(id: number, at: number): void {
    const times = this.#times;
    const of = id << SHIFT;
    const clock = times[of + At.BASE];
    const key = at > clock ? at : clock;
    times[of + At.WAKE] = key;
    this.#queue.wake(id, key);
    const earliest = this.#earliest;
    const first = earliest < 0 ? Infinity : this.#queue.keyOf(earliest);
    if (key < first || (key === first && id < earliest)) this.#earliest = id;
  }
}
