/**
 * kasan: kernel objects that are used after they were freed, before they were
 * set up, freed twice, or never freed.
 *
 * Each use of a slab slot is a JavaScript object of its own (kasan_shape.ts)
 * with the address, the cache lines and the contents of the one before, so that
 * virtual time is what it would be. A freed one reports whoever touches it, for
 * ever. Between call_rcu() and the callback an object may be touched inside of
 * RCU read-side sections only; once the callback has begun, by no reader but
 * the callback.
 *
 * Stronger than the kernel's: there is no quarantine that ends, and a stale
 * reference is found even if the memory has a new user. Under classic RCU a
 * region with preemption off is as good as a read-side section; here it is not,
 * since that holds for no other kind of RCU.
 *
 * An object that somebody reads before its creator has filled it in is found by
 * the field: of the vmap layer's objects each must be written before it is read,
 * as with KMSAN. One that is published too early but filled in is not found.
 *
 * Not found either: a touch of what has no fields in JavaScript (the bytes of a
 * kmalloc()ed buffer), of private (`#`) fields, of an RcuHead; a stale reference
 * that is compared and not followed. Objects that are out when kasan is switched
 * on are watched from the next use of their slot on. The leak check knows the
 * vmap layer `rewrite` and vmlist: of another layer it sees vm_structs alone.
 *
 * Cost on the host (Deno 2.9.6, two busy cores, best of three): an allocation
 * with its free takes 0.12 us rather than 0.04 for a vm_struct, 0.33 rather than
 * 0.04 for a vmap_area with its links; an explorer's schedule of 89 operations, five allocations among them,
 * 81 us of processor time rather than 71. Accessors defined on each object when
 * it is freed cost 4 to 6 us a vmap_area; a class of accessors for each kernel,
 * rather than one for all, 40 us more a schedule.
 */
import type { Kernel } from "../kernel.ts";
import type { KmemCache } from "../mm/slab.ts";
import { SlabObject } from "../mm/slab_object.ts";
import type { RcuHead } from "../rcu_state.ts";
import type { Thread } from "../thread.ts";
import { VmapArea } from "../mm/vmap_area.ts";
import { VmapBlock } from "../mm/vmap_block.ts";
import { VmStruct } from "../mm/vm_struct.ts";
import { KmallocObject } from "../mm/kmalloc.ts";
import { type Leak, reachable_objects, VMAP_CACHES } from "./kasan_leaks.ts";
import { Shape } from "./kasan_shape.ts";
import { type Guard, Track, TrackState } from "./kasan_track.ts";
import {
  type ReportSection,
  SanitizerReport,
  type Spot,
  spotOf,
  spotSection,
} from "./report.ts";
import type { Sanitizer } from "./sanitizer.ts";

type AnyCache = KmemCache<SlabObject>;

/** Classes without private fields, which many objects are of. */
const BARE: readonly unknown[] = [VmapArea, VmapBlock, VmStruct, KmallocObject];
/**
 * Shapes of those, once found out: they are the same in every kernel, and each
 * kernel says so (`Shape.checkAlike`). At module level, as an exception, because a set of hidden
 * classes for each kernel would cost every schedule; see the file's head.
 */
const BARE_SHAPES = new Map<unknown, Shape>();

function shapeOf(made: SlabObject): Shape {
  const { constructor } = made;
  if (!BARE.includes(constructor)) return new Shape(made, false);
  let shape = BARE_SHAPES.get(constructor);
  if (shape === undefined) {
    shape = new Shape(made, true);
    BARE_SHAPES.set(constructor, shape);
  } else shape.checkAlike(made);
  return shape;
}

/** See the file's head. */
export class KasanSanitizer implements Sanitizer, Guard {
  readonly #shapes = new Map<AnyCache, Shape>();
  /** Sentinel of the list of live objects, oldest first. */
  readonly #live = new Track(this, "", null);

  constructor(readonly k: Kernel) {}

  objectAllocated(t: Thread, cache: AnyCache, old: SlabObject): void {
    const track = new Track(this, cache.name, spotOf(t));
    const obj = this.#shapeOf(cache).next(old, track);
    old._slab!.replace(old._index, obj);
    track.obj = obj;
    const head = this.#live;
    const { prev } = head;
    track.prev = prev;
    track.next = head;
    prev.next = track;
    head.prev = track;
  }

  objectFreed(t: Thread, cache: AnyCache, obj: SlabObject): void {
    const track = obj._track as Track | null;
    if (track === null) return; // since before anybody looked
    if (track.state === TrackState.QUEUED) {
      this.#report(t, `free of what waits for RCU: ${cache.name}`, track);
    }
    track.state = TrackState.FREED;
    track.freed = spotOf(t);
    track.prev.next = track.next;
    track.next.prev = track.prev;
    // Or one stale reference would keep every later track in memory.
    track.next = track.prev = track;
  }

  objectRefused(t: Thread, obj: SlabObject, wrongCache: boolean): void {
    const track = obj._track as Track | null;
    if (track === null) return; // the kernel says what there is to say
    const what = wrongCache ? "free to a wrong cache" : "double-free";
    this.#report(t, `${what}: ${track.cache}`, track);
  }

  rcuQueued(t: Thread, head: RcuHead): void {
    const track = trackOf(head);
    if (track === null) return;
    if (track.state === TrackState.FREED) {
      this.#report(t, `call_rcu() of a freed object: ${track.cache}`, track);
    }
    if (track.state !== TrackState.LIVE) return; // the rcu sanitizer's
    track.state = TrackState.QUEUED;
    track.queued = spotOf(t);
  }

  rcuCalled(t: Thread, head: RcuHead): void {
    const track = trackOf(head);
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

  unset(track: Track, field: string): void {
    const cpu = this.k.machine.engine.running;
    if (cpu === null) return;
    const t = cpu.top as Thread;
    this.#use(t, track, field, "read of an unset field");
  }

  /**
   * Objects that are live and that nobody could
   * free: in no structure of the vmap layer's, and not waiting for RCU. Objects
   * of other parts of the kernel count as leaked. Context: nothing is under way.
   */
  leaks(): Leak[] {
    const reachable = reachable_objects(this.k);
    const found: Leak[] = [];
    const head = this.#live;
    for (let track = head.next; track !== head; track = track.next) {
      const obj = track.obj!;
      if (track.state !== TrackState.LIVE || reachable.has(obj)) continue;
      found.push({ obj, cache: track.cache, spot: track.allocated! });
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

  #shapeOf(cache: AnyCache): Shape {
    let shape = this.#shapes.get(cache);
    if (shape === undefined) {
      shape = shapeOf(cache.make());
      this.#shapes.set(cache, shape);
    }
    return shape;
  }

  #use(t: Thread, track: Track, field: string, what: string): never {
    const where = t.backtrace()[0];
    return this.#report(
      t,
      `${what} in ${where}: ${track.cache}.${field}`,
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

/** Of the slab object that `head` is part of; `null` = it is part of none that is watched. */
function trackOf({ owner }: RcuHead): Track | null {
  return owner instanceof SlabObject ? owner._track as Track | null : null;
}
