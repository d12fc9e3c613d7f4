/**
 * The buddy system (mm/page_alloc.c): blocks of `2 ** order` pages, aligned to
 * their size, split on demand and merged with their buddy when both are free.
 *
 *     zone.lock            interrupts off
 *
 * Invariant: a free block's first page has PG_buddy and its order in `private`,
 * and is on `free_area[order]`; no other page has PG_buddy.
 *
 * The pages of a block need no objects but the first one's: see page.ts.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  touch_read,
  touch_write,
} from "../../arch/asm.ts";
import {
  list_add,
  list_del,
  list_empty,
  list_entry,
  list_first_entry,
  type ListHead,
} from "../lib/list.ts";
import {
  lockdep_assert_held,
  spin_lock,
  spin_unlock,
} from "../locking/spinlock.ts";
import type { Thread } from "../thread.ts";
import { MAX_ORDER, type Zone } from "./mmzone.ts";
import { type Page, PG_buddy } from "./page.ts";

const __RMQUEUE = ksym("__rmqueue");
const RMQUEUE_BULK = ksym("rmqueue_bulk");
const __FREE_ONE_PAGE = ksym("__free_one_page");
const FREE_PAGES_BULK = ksym("free_pages_bulk");

/**
 * Takes a block off the free lists, splitting a larger one if need be. Plain.
 *
 * Locks: zone.lock held.
 *
 * @returns Its first page; `null` = the zone has none.
 */
export function __rmqueue(t: Thread, zone: Zone, order: number): Page | null {
  enter(t, __RMQUEUE);
  lockdep_assert_held(t, zone.lock);
  touch_write(t, zone.line);
  charge(t, 12);
  let page: Page | null = null;
  for (let o = order; o < MAX_ORDER; o++) {
    charge(t, 6);
    const area = zone.free_area[o];
    if (list_empty(area.free_list)) continue;
    page = list_first_entry(area.free_list);
    touch_write(t, page.line);
    list_del(page.lru);
    page.flags &= ~PG_buddy;
    page.private = 0;
    area.nr_free--;
    zone.nr_free_pages -= 1 << order;
    expand(t, zone, page, order, o);
    break;
  }
  leave(t);
  return page;
}

/** Puts what is not needed of a block of `high` back, half by half. */
function expand(
  t: Thread,
  zone: Zone,
  page: Page,
  low: number,
  high: number,
): void {
  for (let o = high - 1; o >= low; o--) {
    charge(t, 14);
    const half = t.k.pages.page(page.pfn + (1 << o));
    touch_write(t, half.line);
    add_block(zone, half, o);
  }
}

function add_block(zone: Zone, page: Page, order: number): void {
  page.flags |= PG_buddy;
  page.private = order;
  const area = zone.free_area[order];
  list_add(page.lru, area.free_list);
  area.nr_free++;
}

/**
 * Puts a block on the free lists, merged with its buddy as often as that is
 * free too. Plain.
 *
 * Locks: zone.lock held.
 */
export function __free_one_page(
  t: Thread,
  page: Page,
  zone: Zone,
  order: number,
): void {
  enter(t, __FREE_ONE_PAGE);
  lockdep_assert_held(t, zone.lock);
  touch_write(t, zone.line);
  charge(t, 12);
  zone.nr_free_pages += 1 << order;
  let head = page;
  let o = order;
  for (; o < MAX_ORDER - 1; o++) {
    charge(t, 12);
    const buddy = free_buddy(t, zone, head.pfn ^ (1 << o), o);
    if (buddy === null) break;
    list_del(buddy.lru);
    zone.free_area[o].nr_free--;
    buddy.flags &= ~PG_buddy;
    buddy.private = 0;
    if (buddy.pfn < head.pfn) head = buddy;
  }
  touch_write(t, head.line);
  add_block(zone, head, o);
  leave(t);
}

/** page_is_buddy(): the free block of `order` at `pfn`; `null` = there is none. */
function free_buddy(
  t: Thread,
  zone: Zone,
  pfn: number,
  order: number,
): Page | null {
  if (pfn < zone.zone_start_pfn || pfn >= zone.zone_end_pfn) return null;
  // A page without an object heads no block; its line is taken for a hit.
  const page = t.k.pages.peekPage(pfn);
  if (page === null) return null;
  touch_read(t, page.line);
  return (page.flags & PG_buddy) !== 0 && page.private === order ? page : null;
}

/**
 * Moves up to `count` blocks to `list`, in address order.
 *
 * Context: interrupts off. Locks: takes zone.lock.
 *
 * @returns How many.
 */
export function* rmqueue_bulk(
  t: Thread,
  zone: Zone,
  order: number,
  count: number,
  list: ListHead<Page>,
): Steps<number> {
  enter(t, RMQUEUE_BULK);
  yield* spin_lock(t, zone.lock);
  let after = list;
  let taken = 0;
  for (; taken < count; taken++) {
    const page = __rmqueue(t, zone, order);
    if (page === null) break;
    charge(t, 8);
    list_add(page.lru, after);
    after = page.lru;
  }
  yield* spin_unlock(t, zone.lock);
  leave(t);
  return taken;
}

/**
 * Gives `count` blocks from the end of `list`, which has that many, to `zone`.
 *
 * Context: interrupts off. Locks: takes zone.lock.
 */
export function* free_pages_bulk(
  t: Thread,
  zone: Zone,
  count: number,
  list: ListHead<Page>,
  order: number,
): Steps {
  enter(t, FREE_PAGES_BULK);
  yield* spin_lock(t, zone.lock);
  for (let i = 0; i < count; i++) {
    charge(t, 8);
    const page = list_entry(list.prev);
    list_del(page.lru);
    __free_one_page(t, page, zone, order);
  }
  yield* spin_unlock(t, zone.lock);
  leave(t);
}

/** Gives one block to `zone`. Context: interrupts off. Locks: takes zone.lock. */
export function* free_one_page(
  t: Thread,
  zone: Zone,
  page: Page,
  order: number,
): Steps {
  yield* spin_lock(t, zone.lock);
  __free_one_page(t, page, zone, order);
  yield* spin_unlock(t, zone.lock);
}

/**
 * Checks one zone's free lists: links, counts, alignment, flags, no overlap,
 * and that no two free buddies are unmerged. For tests; costs no virtual time.
 *
 * @throws {Error} On the first thing wrong.
 */
export function check_zone(zone: Zone): void {
  const orders = new Map<number, number>();
  let free = 0;
  zone.free_area.forEach((area, order) => {
    let blocks = 0;
    for (let p = area.free_list.next; p !== area.free_list; p = p.next) {
      const page = list_entry(p);
      blocks++;
      free += 1 << order;
      const { pfn } = page;
      const ok = pfn % (1 << order) === 0 && pfn >= zone.zone_start_pfn &&
        pfn + (1 << order) <= zone.zone_end_pfn && page._count === 0 &&
        page.flags === PG_buddy && page.private === order && !orders.has(pfn);
      if (!ok) throw new Error(`Free block ${pfn}, order ${order}, is broken`);
      orders.set(pfn, order);
    }
    if (blocks !== area.nr_free) {
      throw new Error(`Order ${order} counts ${area.nr_free}, has ${blocks}`);
    }
  });
  if (free !== zone.nr_free_pages) {
    throw new Error(`Zone counts ${zone.nr_free_pages} pages, has ${free}`);
  }
  let end = 0;
  for (const [pfn, order] of [...orders].sort((a, b) => a[0] - b[0])) {
    if (pfn < end) throw new Error(`Free block ${pfn} overlaps the one before`);
    end = pfn + (1 << order);
    const buddy = pfn ^ (1 << order);
    if (order < MAX_ORDER - 1 && orders.get(buddy) === order) {
      throw new Error(`Free blocks ${pfn} and ${buddy} are not merged`);
    }
  }
}
