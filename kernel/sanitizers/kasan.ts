/**
 * kasan: kernel objects that are used after they were freed, freed twice, or
 * never freed.
 *
 * A freed object is retired for ever: its fields report whoever touches them
 * (kasan_track.ts), and its slot gets a new JavaScript object with the same
 * address, cache lines and contents, so that virtual time is what it would be.
 * Between call_rcu() and the callback an object may be touched inside of RCU
 * read-side sections only; once the callback has begun, by no reader.
 *
 * Stronger than the kernel's: there is no quarantine that ends, and a stale
 * reference is found even if the memory has a new user. Under classic RCU a
 * region with preemption off is as good as a read-side section; here it is not,
 * since that holds for no other kind of RCU.
 *
 * Not found: a touch of what has no fields in JavaScript (the bytes of a
 * kmalloc()ed buffer, by its address), of private (`#`) fields, and comparing a
 * stale reference without following it. An object that another CPU reads before
 * its creator has published it is found by nobody here: a new object holds what
 * its last user left, as without kasan, and no hook sees which of its fields
 * have been written. That is left to the race sanitizer, which sees the line.
 *
 * Cost on the host: see kasan_bench in kasan_test.ts.
 */
import type { Kernel } from "../kernel.ts";
import type { KmemCache } from "../mm/slab.ts";
import { SlabObject } from "../mm/slab_object.ts";
import type { RcuHead } from "../rcu_state.ts";
import type { Thread } from "../thread.ts";
import { type Guard, Shape, Track, TrackState } from "./kasan_track.ts";
import { type Leak, reachable_objects, VMAP_CACHES } from "./kasan_leaks.ts";
import {
  type ReportSection,
  SanitizerReport,
  type Spot,
  spotOf,
  spotSection,
} from "./report.ts";
import type { Sanitizer } from "./sanitizer.ts";

type AnyCache = KmemCache<SlabObject>;

/** See the file's head. */
export class KasanSanitizer implements Sanitizer, Guard {
  readonly #shapes = new Map<AnyCache, Shape>();
  /** Of the list of live objects, oldest first. */
  readonly #live = new Track(0, null, null);
  #serial = 0;
  #baseline = 0;

  constructor(readonly k: Kernel) {}

  objectAllocated(t: Thread, _cache: AnyCache, obj: SlabObject): void {
    const track = new Track(++this.#serial, obj, spotOf(t));
    obj._track = track;
    const head = this.#live;
    const { prev } = head;
    track.prev = prev;
    track.next = head;
    prev.next = track;
    head.prev = track;
  }

  objectFreed(t: Thread, cache: AnyCache, obj: SlabObject): void {
    const track = this.#trackOf(obj);
    if (track.state === TrackState.QUEUED) {
      this.#report(
        t,
        `freed while its RCU callback is waiting: ${cache.name}`,
        track,
      );
    }
    const fresh = cache.make();
    const shape = this.#shapeOf(cache);
    obj._slab!.replace(obj._index, fresh);
    if (track.values === null) shape.poison(obj, track, null);
    else shape.poisonRest(track);
    shape.inherit(fresh, obj, track);
    track.values = null;
    track.state = TrackState.FREED;
    track.freed = spotOf(t);
    track.prev.next = track.next;
    track.next.prev = track.prev;
  }

  objectRefused(t: Thread, obj: SlabObject, wrongCache: boolean): void {
    const track = this.#trackOf(obj);
    const cache = obj._slab === null ? "no cache" : obj._slab.cache.name;
    const what = wrongCache
      ? "freed to a cache that is not its own"
      : "double-free";
    this.#report(t, `${what}: ${cache}`, track);
  }

  rcuQueued(t: Thread, head: RcuHead): void {
    const obj = head.owner;
    if (!(obj instanceof SlabObject) || obj._slab === null) return;
    const track = this.#trackOf(obj);
    const { cache } = obj._slab;
    if (track.state === TrackState.FREED) {
      this.#report(t, `call_rcu() of a freed object: ${cache.name}`, track);
    }
    if (track.state !== TrackState.LIVE) return; // the rcu sanitizer's
    track.state = TrackState.QUEUED;
    track.queued = spotOf(t);
    this.#shapeOf(cache).poison(obj, track, head);
  }

  rcuCalled(t: Thread, head: RcuHead): void {
    const obj = head.owner;
    if (!(obj instanceof SlabObject) || obj._slab === null) return;
    const track = obj._track as Track | null;
    if (track === null || track.state !== TrackState.QUEUED) return;
    track.state = TrackState.CALLED;
    track.caller = t;
  }

  touched(track: Track, field: string): void {
    const cpu = this.k.machine.engine.running;
    if (cpu === null) return; // the host looks
    const t = cpu.top as Thread;
    const reads = t.rcu_read_depth > 0;
    switch (track.state) {
      case TrackState.QUEUED:
        if (reads) return;
        return this.#use(
          t,
          track,
          field,
          "use after call_rcu() outside of an RCU read-side critical section",
        );
      case TrackState.CALLED:
        if (!reads || t === track.caller) return;
        return this.#use(
          t,
          track,
          field,
          "use by a reader after the grace period",
        );
      default:
        return this.#use(t, track, field, "use-after-free");
    }
  }

  /** What is live now is not taken for leaked later. */
  baseline(): void {
    this.#baseline = this.#serial;
  }

  /**
   * Objects allocated since the baseline that are live and that nobody could
   * free: in no structure of the vmap layer's, and not waiting for RCU. Objects
   * of other parts of the kernel count as leaked. Context: nothing is under way.
   */
  leaks(): Leak[] {
    const reachable = reachable_objects(this.k);
    const found: Leak[] = [];
    const head = this.#live;
    let track = head;
    while (track.prev !== head && track.prev.serial > this.#baseline) {
      track = track.prev;
    }
    for (; track !== head; track = track.next) {
      const obj = track.obj!;
      if (track.state !== TrackState.LIVE || reachable.has(obj)) continue;
      found.push({ obj, cache: obj._slab!.cache.name, spot: track.allocated! });
    }
    return found;
  }

  /** Objects of the vmap layer's caches that have been leaked. */
  quiet(t: Thread, k: Kernel): void {
    const leaks = this.leaks().filter(({ cache }) => VMAP_CACHES.test(cache));
    if (leaks.length === 0) return;
    const [{ cache, spot }] = leaks;
    const all = leaks.filter((leak) => leak.cache === cache).length;
    throw new SanitizerReport(t, "kasan", `BUG: KASAN: memory leak: ${cache}`, [
      spotSection(k, "oldest allocated", spot),
      { title: `leaked objects of ${cache}: ${all}`, lines: [] },
    ]);
  }

  #trackOf(obj: SlabObject): Track {
    if (obj._track === null) {
      obj._track = new Track(0, obj, null);
    }
    return obj._track as Track;
  }

  #shapeOf(cache: AnyCache): Shape {
    let shape = this.#shapes.get(cache);
    if (shape === undefined) {
      shape = new Shape(this, cache.make());
      this.#shapes.set(cache, shape);
    }
    return shape;
  }

  #use(t: Thread, track: Track, field: string, what: string): never {
    const cache = track.obj!._slab!.cache.name;
    return this.#report(
      t,
      `${what} in ${t.backtrace()[0]}: ${cache}.${field}`,
      track,
    );
  }

  #report(t: Thread, what: string, track: Track): never {
    const sections: ReportSection[] = [];
    const add = (title: string, spot: Spot | null) => {
      if (spot !== null) sections.push(spotSection(this.k, title, spot));
    };
    add("allocated", track.allocated);
    add("call_rcu()", track.queued);
    add("freed", track.freed);
    throw new SanitizerReport(t, "kasan", `BUG: KASAN: ${what}`, sections);
  }
}
