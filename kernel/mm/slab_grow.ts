/**
 * Slabs: made of fresh pages, filled with objects that come back, given up when
 * nobody needs them (mm/slab.c). Lock order: see slab.ts.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  local_irq_disable,
  local_irq_enable,
  local_irq_restore,
  local_irq_save,
  type Steps,
  touch_read,
  touch_write,
} from "../../arch/asm.ts";
import { BUG_ON } from "../bug.ts";
import {
  list_add,
  list_add_tail,
  list_del,
  list_empty,
  list_entry,
  type ListHead,
} from "../lib/list.ts";
import {
  lockdep_assert_held,
  spin_lock,
  spin_unlock,
} from "../locking/spinlock.ts";
import type { Thread } from "../thread.ts";
import { __GFP_WAIT } from "./gfp.ts";
import { PG_slab } from "./page.ts";
import { __free_pages, alloc_pages_node } from "./page_alloc.ts";
import type { KmemCache } from "./slab.ts";
import type { ArrayCache, KmemList3 } from "./slab_lists.ts";
import { SlabBlock } from "./slab_object.ts";

// deno-lint-ignore no-explicit-any -- below, caches of any kind
type AnyCache = KmemCache<any>;

const CACHE_GROW = ksym("cache_grow");
const FREE_BLOCK = ksym("free_block");

/**
 * Makes a slab from fresh pages and lists it on the node they came from.
 *
 * Context: interrupts off; on while it waits for pages.
 *
 * @returns The slab; `null` if there are no pages for it.
 */
export function* cache_grow(
  t: Thread,
  cache: AnyCache,
  gfp: number,
  node: number,
): Steps<SlabBlock | null> {
  enter(t, CACHE_GROW);
  const { pages } = t.k;
  const { layout } = cache;
  charge(t, 60);
  const wait = (gfp & __GFP_WAIT) !== 0;
  if (wait) local_irq_enable(t);
  const page = yield* alloc_pages_node(t, node, gfp, layout.gfporder);
  if (page === null) {
    if (wait) local_irq_disable(t);
    leave(t);
    return null;
  }
  const l3 = cache.listsOf(page.node);
  for (let i = 0; i < 1 << layout.gfporder; i++) {
    charge(t, 6);
    pages.page(page.pfn + i).flags |= PG_slab;
  }
  const colour = layout.colours === 0 ? 0 : l3.colour_next;
  l3.colour_next = colour + 1 >= layout.colours ? 0 : colour + 1;
  const start = page.pfn * pages.pageBytes + layout.headBytes +
    colour * layout.colourOff;
  const slab = new SlabBlock(t.machine, cache, page, start);
  touch_write(t, slab.line);
  charge(t, 5 * layout.num); // cache_init_objs(): the chain
  if (wait) local_irq_disable(t);
  yield* spin_lock(t, l3.list_lock);
  touch_write(t, l3.line);
  list_add_tail(slab.list, l3.slabs_free);
  l3.free_objects += layout.num;
  cache.slabs++;
  yield* spin_unlock(t, l3.list_lock);
  leave(t);
  return slab;
}

/** Closes the gap that the `count` oldest entries have left. */
export function drop_oldest(t: Thread, ac: ArrayCache, count: number): void {
  charge(t, 6 + ac.avail - count);
  ac.entry.copyWithin(0, count, ac.avail);
  ac.avail -= count;
}

/**
 * Puts the `count` oldest objects of `ac`, all of one node, back into their
 * slabs, and gives up slabs that nobody needs.
 *
 * Context: interrupts off. Locks: l3.list_lock held; may take zone.lock.
 */
export function* free_block(
  t: Thread,
  cache: AnyCache,
  l3: KmemList3,
  ac: ArrayCache,
  count: number,
): Steps {
  enter(t, FREE_BLOCK);
  lockdep_assert_held(t, l3.list_lock);
  for (let i = 0; i < count; i++) {
    const obj = ac.entry[i]; // stable: the array is this CPU's, or locked
    const slab = obj._slab!;
    touch_write(t, slab.line);
    charge(t, 18);
    list_del(slab.list);
    slab.put(obj);
    l3.free_objects++;
    if (slab.inuse > 0) list_add_tail(slab.list, l3.slabs_partial);
    else if (l3.free_objects <= l3.free_limit) {
      list_add(slab.list, l3.slabs_free);
    } else {
      l3.free_objects -= cache.layout.num;
      yield* slab_destroy(t, cache, slab);
    }
  }
  drop_oldest(t, ac, count);
  leave(t);
}

/** Gives a slab's pages back. It is on no list. Locks: list_lock held or the slab unreachable. */
export function* slab_destroy(
  t: Thread,
  cache: AnyCache,
  slab: SlabBlock,
): Steps {
  const { pages } = t.k;
  const { gfporder } = cache.layout;
  BUG_ON(t, slab.inuse !== 0, `slab of ${cache.name} destroyed while in use`);
  for (let i = 0; i < 1 << gfporder; i++) {
    charge(t, 6);
    pages.page(slab.page.pfn + i).flags &= ~PG_slab;
  }
  cache.slabs--;
  yield* __free_pages(t, slab.page, gfporder);
}

/** Frees up to `most` free slabs of a node. @returns How many. */
export function* drain_freelist(
  t: Thread,
  cache: AnyCache,
  l3: KmemList3,
  most: number,
): Steps<number> {
  let freed = 0;
  for (; freed < most; freed++) {
    const flags = local_irq_save(t);
    yield* spin_lock(t, l3.list_lock);
    const slab = take_last(t, l3, l3.slabs_free);
    if (slab !== null) l3.free_objects -= cache.layout.num;
    yield* spin_unlock(t, l3.list_lock);
    local_irq_restore(t, flags);
    if (slab === null) break;
    yield* slab_destroy(t, cache, slab);
  }
  return freed;
}

function take_last(
  t: Thread,
  l3: KmemList3,
  list: ListHead<SlabBlock>,
): SlabBlock | null {
  lockdep_assert_held(t, l3.list_lock);
  if (list_empty(list)) return null;
  const slab = list_entry(list.prev);
  touch_read(t, slab.line);
  list_del(slab.list);
  return slab;
}
