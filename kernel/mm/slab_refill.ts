/**
 * The slab allocator's slow paths: arrays that are empty or full, other nodes'
 * objects (mm/slab.c). Lock order: see slab.ts.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  local_irq_restore,
  local_irq_save,
  type Steps,
  type Sym,
  touch_write,
} from "../../arch/asm.ts";
import {
  list_add,
  list_del,
  list_empty,
  list_first_entry,
} from "../lib/list.ts";
import {
  lockdep_assert_held,
  spin_lock,
  spin_unlock,
} from "../locking/spinlock.ts";
import type { Thread } from "../thread.ts";
import { zero_phys } from "./bootmem.ts";
import { __GFP_ZERO, GFP_THISNODE } from "./gfp.ts";
import {
  array_pop,
  array_push,
  type KmemCache,
  mark_free,
  mark_live,
} from "./slab.ts";
import { cache_grow, drop_oldest, free_block } from "./slab_grow.ts";
import type { ArrayCache, KmemList3 } from "./slab_lists.ts";
import { BUFCTL_END, type SlabBlock, type SlabObject } from "./slab_object.ts";

// deno-lint-ignore no-explicit-any -- below, caches of any kind
type AnyCache = KmemCache<any>;

const CACHE_ALLOC_REFILL = ksym("cache_alloc_refill");
const CACHE_FLUSHARRAY = ksym("cache_flusharray");
const FALLBACK_ALLOC = ksym("fallback_alloc");
const CACHE_ALLOC_NODE = ksym("____cache_alloc_node");
const KMEM_CACHE_ALLOC_NODE = ksym("kmem_cache_alloc_node");
const DRAIN_ALIEN_CACHE = ksym("__drain_alien_cache");

/** Objects taken for an array that has not been used since it was last filled. */
const BATCHREFILL_LIMIT = 16;

/** An object by way of the lists, or zeroed. `sym` is charged. */
export function* cache_alloc_slow<T extends SlabObject>(
  t: Thread,
  cache: KmemCache<T>,
  gfp: number,
  sym: Sym,
): Steps<T | null> {
  enter(t, sym);
  charge(t, 26);
  const zero = (gfp & __GFP_ZERO) !== 0;
  const flags = local_irq_save(t);
  const ac = cache.arrayOf(t.cpu.id);
  let obj: SlabObject | null = ac.avail > 0
    ? array_pop(cache, ac)
    : yield* cache_alloc_refill(t, cache, gfp & ~__GFP_ZERO);
  if (obj === null) {
    obj = yield* fallback_alloc(t, cache, gfp & ~__GFP_ZERO, t.cpu.node);
  }
  local_irq_restore(t, flags);
  if (obj !== null && zero) zero_phys(t, obj.paddr, cache.objectBytes);
  leave(t);
  return obj as T | null;
}

/** kmem_cache_alloc_node() for a node that is not this CPU's. */
export function* kmem_cache_alloc_on<T extends SlabObject>(
  t: Thread,
  cache: KmemCache<T>,
  gfp: number,
  node: number,
): Steps<T | null> {
  enter(t, KMEM_CACHE_ALLOC_NODE);
  charge(t, 26);
  const flags = local_irq_save(t);
  let obj = yield* ____cache_alloc_node(
    t,
    cache,
    (gfp & ~__GFP_ZERO) | GFP_THISNODE,
    node,
  );
  if (obj === null) {
    obj = yield* fallback_alloc(t, cache, gfp & ~__GFP_ZERO, node);
  }
  local_irq_restore(t, flags);
  if (obj !== null && (gfp & __GFP_ZERO) !== 0) {
    zero_phys(t, obj.paddr, cache.objectBytes);
  }
  leave(t);
  return obj as T | null;
}

/**
 * Fills this CPU's empty array from its node and takes an object.
 *
 * Context: interrupts off; on while it waits for pages. Locks: takes list_lock.
 */
function* cache_alloc_refill(
  t: Thread,
  cache: AnyCache,
  gfp: number,
): Steps<SlabObject | null> {
  enter(t, CACHE_ALLOC_REFILL);
  for (;;) {
    const { node } = t.cpu;
    let ac = cache.arrayOf(t.cpu.id);
    let batch = cache.limits.batchcount;
    if (!ac.touched && batch > BATCHREFILL_LIMIT) batch = BATCHREFILL_LIMIT;
    const l3 = cache.listsOf(node);
    charge(t, 20);
    yield* spin_lock(t, l3.list_lock);
    touch_write(t, l3.line);
    if (l3.shared === null || transfer_objects(t, ac, l3.shared, batch) === 0) {
      take_from_slabs(t, l3, ac, batch);
    }
    yield* spin_unlock(t, l3.list_lock);
    if (ac.avail === 0) {
      const grown = yield* cache_grow(t, cache, gfp | GFP_THISNODE, node);
      ac = cache.arrayOf(t.cpu.id); // interrupts may have been on
      if (ac.avail === 0) {
        if (grown !== null) continue;
        leave(t);
        return null;
      }
    }
    const obj = array_pop(cache, ac);
    leave(t);
    return obj;
  }
}

/** Moves up to `max` objects from the end of one array to another. @returns How many. */
function transfer_objects(
  t: Thread,
  to: ArrayCache,
  from: ArrayCache,
  max: number,
): number {
  const count = Math.min(from.avail, max, to.limit - to.avail);
  charge(t, 10 + count);
  for (let i = 0; i < count; i++) {
    to.entry[to.avail + i] = from.entry[from.avail - count + i];
  }
  from.avail -= count;
  to.avail += count;
  if (count > 0) to.touched = true;
  return count;
}

/** Moves up to `batch` objects from partial slabs, then free ones, to `ac`. */
function take_from_slabs(
  t: Thread,
  l3: KmemList3,
  ac: ArrayCache,
  batch: number,
): void {
  lockdep_assert_held(t, l3.list_lock);
  let left = batch;
  while (left > 0) {
    const slab = first_slab(l3);
    if (slab === null) return;
    touch_write(t, slab.line);
    charge(t, 16);
    while (slab.free !== BUFCTL_END && left > 0) {
      charge(t, 7);
      ac.entry[ac.avail++] = slab.get(t.machine);
      l3.free_objects--;
      left--;
    }
    relist(slab, l3);
  }
}

/** A slab with a free object; `null` = there is none. */
function first_slab(l3: KmemList3): SlabBlock | null {
  if (!list_empty(l3.slabs_partial)) return list_first_entry(l3.slabs_partial);
  return list_empty(l3.slabs_free) ? null : list_first_entry(l3.slabs_free);
}

/** Puts a slab that objects were taken from where it belongs. */
function relist(slab: SlabBlock, l3: KmemList3): void {
  list_del(slab.list);
  const to = slab.free === BUFCTL_END ? l3.slabs_full : l3.slabs_partial;
  list_add(slab.list, to);
}

/** An object straight from `node`'s slabs. Context: interrupts off. */
function* ____cache_alloc_node(
  t: Thread,
  cache: AnyCache,
  gfp: number,
  node: number,
): Steps<SlabObject | null> {
  enter(t, CACHE_ALLOC_NODE);
  let obj: SlabObject | null = null;
  for (;;) {
    const l3 = cache.listsOf(node);
    charge(t, 20);
    yield* spin_lock(t, l3.list_lock);
    obj = take_one(t, cache, l3);
    yield* spin_unlock(t, l3.list_lock);
    if (obj !== null) break;
    if ((yield* cache_grow(t, cache, gfp, node)) === null) break;
  }
  leave(t);
  return obj;
}

function take_one(
  t: Thread,
  cache: AnyCache,
  l3: KmemList3,
): SlabObject | null {
  lockdep_assert_held(t, l3.list_lock);
  touch_write(t, l3.line);
  const slab = first_slab(l3);
  if (slab === null) return null;
  touch_write(t, slab.line);
  charge(t, 20);
  const obj = slab.get(t.machine);
  l3.free_objects--;
  relist(slab, l3);
  return mark_live(cache, obj);
}

/** An object from anywhere: nodes that have some first, then pages of any node. */
function* fallback_alloc(
  t: Thread,
  cache: AnyCache,
  gfp: number,
  node: number,
): Steps<SlabObject | null> {
  if ((gfp & GFP_THISNODE) === GFP_THISNODE || !cache.numa) return null;
  enter(t, FALLBACK_ALLOC);
  const { zones } = t.k.pages.zonelist(node);
  let obj: SlabObject | null = null;
  for (let i = 0; i < zones.length && obj === null; i++) { // fixed after boot
    charge(t, 10);
    const l3 = cache.nodelists[zones[i].node];
    if (l3 === undefined || l3.free_objects === 0) continue;
    yield* spin_lock(t, l3.list_lock);
    obj = take_one(t, cache, l3);
    yield* spin_unlock(t, l3.list_lock);
  }
  while (obj === null) {
    const slab = yield* cache_grow(t, cache, gfp, node);
    if (slab === null) break;
    obj = yield* ____cache_alloc_node(
      t,
      cache,
      gfp | GFP_THISNODE,
      slab.node,
    );
  }
  leave(t);
  return obj;
}

/** Frees a checked object by way of the lists. `sym` is charged. Context: any. */
export function* cache_free_slow<T extends SlabObject>(
  t: Thread,
  cache: KmemCache<T>,
  obj: T,
  sym: Sym,
): Steps {
  enter(t, sym);
  charge(t, 24);
  const flags = local_irq_save(t);
  if (cache.numa && obj._slab!.node !== t.cpu.node) {
    mark_free(cache, obj);
    yield* cache_free_alien(t, cache, obj, obj._slab!.node);
  } else {
    const ac = cache.arrayOf(t.cpu.id);
    if (ac.avail === ac.limit) {
      mark_free(cache, obj); // already the caller's no more
      yield* cache_flusharray(t, cache, ac);
      ac.entry[ac.avail++] = obj;
    } else array_push(cache, ac, obj);
  }
  local_irq_restore(t, flags);
  leave(t);
}

/** Frees an object of another node. Context: interrupts off. */
function* cache_free_alien(
  t: Thread,
  cache: AnyCache,
  obj: SlabObject,
  node: number,
): Steps {
  const l3 = cache.listsOf(t.cpu.node);
  const alien = l3.alienOf(t.k, node, cache.limits.limit);
  charge(t, 14);
  yield* spin_lock(t, alien.lock);
  if (alien.avail === alien.limit) {
    yield* __drain_alien_cache(t, cache, alien, node);
  }
  alien.entry[alien.avail++] = obj;
  yield* spin_unlock(t, alien.lock);
}

/** Sends an alien array's objects home. Locks: alien.lock held; takes list_lock. */
export function* __drain_alien_cache(
  t: Thread,
  cache: AnyCache,
  alien: ArrayCache,
  node: number,
): Steps {
  if (alien.avail === 0) return;
  enter(t, DRAIN_ALIEN_CACHE);
  const l3 = cache.listsOf(node);
  yield* spin_lock(t, l3.list_lock);
  touch_write(t, l3.line);
  if (l3.shared !== null) transfer_objects(t, l3.shared, alien, alien.limit);
  yield* free_block(t, cache, l3, alien, alien.avail);
  yield* spin_unlock(t, l3.list_lock);
  leave(t);
}

/** Makes room in a full array: its oldest batch goes to the node. Context: interrupts off. */
function* cache_flusharray(
  t: Thread,
  cache: AnyCache,
  ac: ArrayCache,
): Steps {
  enter(t, CACHE_FLUSHARRAY);
  const l3 = cache.listsOf(t.cpu.node);
  const { shared } = l3;
  const batch = cache.limits.batchcount;
  charge(t, 20);
  yield* spin_lock(t, l3.list_lock);
  touch_write(t, l3.line);
  const room = shared === null ? 0 : shared.limit - shared.avail;
  if (shared !== null && room > 0) {
    const count = Math.min(batch, room);
    charge(t, count);
    for (let i = 0; i < count; i++) {
      shared.entry[shared.avail + i] = ac.entry[i];
    }
    shared.avail += count;
    drop_oldest(t, ac, count);
  } else {
    yield* free_block(t, cache, l3, ac, batch);
  }
  yield* spin_unlock(t, l3.list_lock);
  leave(t);
}
