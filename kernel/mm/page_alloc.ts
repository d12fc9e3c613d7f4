/**
 * The page allocator (mm/page_alloc.c): which zone, which list, and the checks
 * on what goes out and comes in.
 *
 *     zone.lock            interrupts off; nothing is taken inside it
 *
 * Kept: zonelists, zones, watermarks, per-CPU lists, the buddy system, the
 * checks of CONFIG_DEBUG_VM. Left out: reclaim, swap and the OOM killer (a
 * request that the watermarks refuse fails once the CPUs' lists have been
 * drained), cpusets, memory policies, migrate types, compound pages. Contents of
 * frames persist from user to user unless __GFP_ZERO says otherwise.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  local_irq_restore,
  local_irq_save,
  type Steps,
  write_line,
} from "../../arch/asm.ts";
import { parseVaddr } from "../../arch/hw/pte.ts";
import { BUG_ON, KernelBug } from "../bug.ts";
import { should_fail_alloc_page } from "../fault_inject.ts";
import type { Kernel } from "../kernel.ts";
import { spin_lock, spin_unlock } from "../locking/spinlock.ts";
import type { Thread } from "../thread.ts";
import { DONE, Ready } from "../../arch/sim/ready.ts";
import { warn_alloc_failed } from "./alloc_failed.ts";
import { __rmqueue, free_one_page } from "./buddy.ts";
import { clear_page } from "./clear_page.ts";
import {
  __GFP_COLD,
  __GFP_HIGH,
  __GFP_NOFAIL,
  __GFP_NOWARN,
  __GFP_THISNODE,
  __GFP_WAIT,
  __GFP_ZERO,
} from "./gfp.ts";
import { MAX_ORDER, type Zone, type ZoneInfo, zoneInfo } from "./mmzone.ts";
import {
  bad_page,
  drop_reference,
  type Page,
  PAGE_FLAGS_CHECK_AT_FREE,
  PAGE_FLAGS_CHECK_AT_PREP,
} from "./page.ts";
import { PageTable } from "./page_table.ts";
import {
  drain_all_pages,
  pcp_flush,
  pcp_put,
  pcp_refill,
  pcp_take,
} from "./percpu_pages.ts";
import {
  ALLOC_HARDER,
  ALLOC_HIGH,
  ALLOC_WMARK_LOW,
  ALLOC_WMARK_MIN,
  zone_watermark_ok,
} from "./watermark.ts";
import { build_zonelist, gfp_zone, type Zonelist } from "./zonelist.ts";

export {
  __get_free_page,
  __get_free_pages,
  alloc_pages_exact,
  free_page,
  free_pages,
  free_pages_exact,
  get_zeroed_page,
} from "./get_free_pages.ts";

const __ALLOC_PAGES_INTERNAL = ksym("__alloc_pages_internal");
const GET_PAGE_FROM_FREELIST = ksym("get_page_from_freelist");
const BUFFERED_RMQUEUE = ksym("buffered_rmqueue");
const __FREE_PAGES = ksym("__free_pages");
const FREE_HOT_COLD_PAGE = ksym("free_hot_cold_page");
const __FREE_PAGES_OK = ksym("__free_pages_ok");
const PUT_PAGE = ksym("put_page");

/** Pages, zones and statistics of one kernel; `k.pages` from mem_init() on. */
export class PageAllocator extends PageTable {
  readonly directMapStart: number;
  /** Whether setup_per_cpu_pageset() has run. */
  pagesetsUp = false;
  /** Pages handed out and taken back: PGALLOC and PGFREE of `/proc/vmstat`. */
  pgalloc = 0;
  pgfree = 0;
  /** Failures reported and kept quiet; see alloc_failed.ts. */
  readonly failures = { printed: 0, missed: 0, since: -Infinity, inBurst: 0 };
  /** For what the fast path returns. */
  readonly ready: Ready<Page | null> = new Ready<Page | null>(null);
  readonly #zonelists: (Zonelist | undefined)[];

  constructor(k: Kernel, zones: readonly Zone[]) {
    super(k, zones);
    const { mmu, spec } = k.machine;
    this.directMapStart = parseVaddr(mmu.format, spec.layout.directMapStart);
    this.#zonelists = new Array(this.zonesByNode.length).fill(undefined);
  }

  /** Where requests from `node` look. */
  zonelist(node: number): Zonelist {
    return this.#zonelists[node] ??= build_zonelist(this.zonesByNode, node);
  }

  /** Every zone, for `/proc/zoneinfo` and tests. */
  zoneinfo(): ZoneInfo[] {
    return this.zones.map(zoneInfo);
  }
}

/**
 * Pages on the free lists of all zones, as `/proc/meminfo`'s MemFree: less what
 * CPUs keep.
 *
 * Linux: mm/page_alloc.c.
 *
 * @example
 * ```ts
 * import { boot, nr_free_pages } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const { kernel, machine } = boot();
 * assert(nr_free_pages(kernel) < machine.memory.nrFrames);
 * ```
 */
export function nr_free_pages(k: Kernel): number {
  return k.pages.zones.reduce((sum, zone) => sum + zone.nr_free_pages, 0);
}

/** Pages that nobody has: {@linkcode nr_free_pages} and the CPUs' lists. For leak tests. */
export function nr_unused_pages(k: Kernel): number {
  return k.pages.zones.reduce(
    (sum, zone) => sum + zone.nr_free_pages + zone.nr_pcp_pages,
    0,
  );
}

/**
 * `2 ** order` pages in a row.
 *
 * Context: any without __GFP_WAIT; process, interrupts on, with it.
 *
 * Linux: include/linux/gfp.h.
 *
 * @param gfp `GFP_*`.
 * @returns The first page, counted once; `null` after a message if there is none.
 *
 * @example
 * ```ts
 * import {
 *   __free_pages,
 *   alloc_pages,
 *   boot,
 *   GFP_KERNEL,
 *   pfn_to_page,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const [first, second] = boot().run(function* (t) {
 *   const page = (yield* alloc_pages(t, GFP_KERNEL, 1))!; // 2 pages
 *   const next = pfn_to_page(t.k, page.pfn + 1);
 *   yield* __free_pages(t, page, 1);
 *   return [page.pfn, next.pfn];
 * });
 * assertEquals([first % 2, second], [0, first + 1]);
 * ```
 */
export function alloc_pages(
  t: Thread,
  gfp: number,
  order: number,
): Steps<Page | null> {
  return alloc_pages_node(t, t.cpu.node, gfp, order);
}

/**
 * {@linkcode alloc_pages} from `node` if it has some; -1 = this CPU's.
 *
 * Linux: include/linux/gfp.h.
 *
 * @example
 * ```ts
 * import {
 *   __free_page,
 *   alloc_pages_node,
 *   boot,
 *   GFP_KERNEL,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const node = boot().run(function* (t) {
 *   const page = (yield* alloc_pages_node(t, 1, GFP_KERNEL, 0))!;
 *   yield* __free_page(t, page);
 *   return page.node;
 * });
 * assertEquals(node, 1);
 * ```
 */
export function alloc_pages_node(
  t: Thread,
  node: number,
  gfp: number,
  order: number,
): Steps<Page | null> {
  t.k.need(t, "pages", "mem_init");
  if ((gfp & __GFP_WAIT) !== 0) t.k.sanitizers?.mightSleep(t, "alloc_pages");
  const { pages } = t.k;
  if (order >= MAX_ORDER) return pages.ready.give(null);
  const zonelist = pages.zonelist(node < 0 ? t.cpu.node : node);
  const page = order === 0 ? alloc_at_hand(t, pages, gfp, zonelist) : null;
  return page === null
    ? __alloc_pages_internal(t, gfp, order, zonelist)
    : pages.ready.give(page);
}

/**
 * A page from this CPU's list for the best zone: what
 * {@linkcode __alloc_pages_internal} does when nothing stands in its way, at the
 * same cost in virtual time and a fifth of the host's. Plain.
 *
 * @returns `null` = something does.
 */
function alloc_at_hand(
  t: Thread,
  pages: PageAllocator,
  gfp: number,
  zonelist: Zonelist,
): Page | null {
  if (t.k.faults.active) return null;
  const zones = (gfp & __GFP_THISNODE) !== 0
    ? zonelist.thisNode
    : zonelist.zones;
  const highest = gfp_zone(gfp, pages.hasDma32);
  let i = 0;
  while (i < zones.length && zones[i].index > highest) i++;
  if (i === zones.length) return null;
  const zone = zones[i];
  const pcp = zone.pcpOf(t.cpu.id);
  if (pcp === undefined || pcp.count === 0) return null;
  enter(t, __ALLOC_PAGES_INTERNAL);
  charge(t, 30);
  enter(t, GET_PAGE_FROM_FREELIST);
  charge(t, 25 + 5 * i);
  let page: Page | null = null;
  if (zone_watermark_ok(t, zone, 0, ALLOC_WMARK_LOW, zone.index)) {
    enter(t, BUFFERED_RMQUEUE);
    charge(t, 20);
    const flags = local_irq_save(t);
    page = pcp_take(t, zone, (gfp & __GFP_COLD) !== 0)!;
    pages.pgalloc++;
    local_irq_restore(t, flags);
    prep_new_page(t, page, 0, gfp);
    leave(t);
  }
  leave(t);
  leave(t);
  return page;
}

/**
 * One page; see {@linkcode alloc_pages}.
 *
 * Linux: include/linux/gfp.h.
 *
 * @example
 * ```ts
 * import { __free_page, alloc_page, boot, GFP_KERNEL } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const page = yield* alloc_page(t, GFP_KERNEL);
 *   assert(page !== null); // null = no memory
 *   yield* __free_page(t, page);
 * });
 * ```
 */
export function alloc_page(t: Thread, gfp: number): Steps<Page | null> {
  return alloc_pages_node(t, t.cpu.node, gfp, 0);
}

/** The allocator's heart: a look at the low watermark, then at lower ones. */
export function* __alloc_pages_internal(
  t: Thread,
  gfp: number,
  order: number,
  zonelist: Zonelist,
): Steps<Page | null> {
  enter(t, __ALLOC_PAGES_INTERNAL);
  charge(t, 30);
  if (t.k.faults.active && should_fail_alloc_page(t, gfp, order)) {
    leave(t);
    return null;
  }
  const zones = (gfp & __GFP_THISNODE) !== 0
    ? zonelist.thisNode
    : zonelist.zones;
  let page = yield* get_page_from_freelist(
    t,
    gfp,
    order,
    zones,
    ALLOC_WMARK_LOW,
  );
  if (page === null) page = yield* alloc_slowpath(t, gfp, order, zones);
  leave(t);
  return page;
}

/** Below the low watermark. Linux would wake kswapd, then reclaim. */
function* alloc_slowpath(
  t: Thread,
  gfp: number,
  order: number,
  zones: readonly Zone[],
): Steps<Page | null> {
  charge(t, 40);
  let flags = ALLOC_WMARK_MIN;
  if ((gfp & __GFP_WAIT) === 0) flags |= ALLOC_HARDER;
  if ((gfp & __GFP_HIGH) !== 0) flags |= ALLOC_HIGH;
  let page = yield* get_page_from_freelist(t, gfp, order, zones, flags);
  if (page === null && (gfp & __GFP_WAIT) !== 0) {
    yield* drain_all_pages(t);
    page = yield* get_page_from_freelist(t, gfp, order, zones, flags);
  }
  if (page !== null) return page;
  if ((gfp & __GFP_NOFAIL) !== 0) {
    throw new KernelBug(
      t,
      "Kernel panic - not syncing: Out of memory and no killable processes...",
    );
  }
  if ((gfp & __GFP_NOWARN) === 0) warn_alloc_failed(t, gfp, order);
  return null;
}

/** A block from the first of `zones` that may give one. */
function* get_page_from_freelist(
  t: Thread,
  gfp: number,
  order: number,
  zones: readonly Zone[],
  flags: number,
): Steps<Page | null> {
  enter(t, GET_PAGE_FROM_FREELIST);
  charge(t, 20);
  const highest = gfp_zone(gfp, t.k.pages.hasDma32);
  let classzone = -1;
  let page: Page | null = null;
  for (let i = 0; i < zones.length && page === null; i++) { // fixed after boot
    const zone = zones[i];
    charge(t, 5);
    if (zone.index > highest) continue;
    if (classzone < 0) classzone = zone.index;
    if (zone_watermark_ok(t, zone, order, flags, classzone)) {
      page = yield* buffered_rmqueue(t, zone, order, gfp);
    }
  }
  leave(t);
  return page;
}

/** A block from `zone`: single pages by way of this CPU's list. */
function* buffered_rmqueue(
  t: Thread,
  zone: Zone,
  order: number,
  gfp: number,
): Steps<Page | null> {
  enter(t, BUFFERED_RMQUEUE);
  charge(t, 20);
  const flags = local_irq_save(t);
  let page: Page | null;
  if (order === 0) {
    const cold = (gfp & __GFP_COLD) !== 0;
    page = pcp_take(t, zone, cold);
    if (page === null) {
      yield* pcp_refill(t, zone);
      page = pcp_take(t, zone, cold);
    }
  } else {
    yield* spin_lock(t, zone.lock);
    page = __rmqueue(t, zone, order);
    yield* spin_unlock(t, zone.lock);
  }
  if (page !== null) t.k.pages.pgalloc += 1 << order;
  local_irq_restore(t, flags);
  if (page !== null) prep_new_page(t, page, order, gfp);
  leave(t);
  return page;
}

/** Checks a page that goes out, and makes it its user's. */
function prep_new_page(
  t: Thread,
  page: Page,
  order: number,
  gfp: number,
): void {
  charge(t, 14);
  const bad = (page.flags & PAGE_FLAGS_CHECK_AT_PREP) !== 0 ||
    page.mapping !== null || page._count !== 0;
  if (bad) bad_page(t, page, "a free page is in use");
  page.flags = 0;
  page.private = 0;
  page._count = 1;
  t.k.sanitizers?.pageAllocated(t, page, order);
  if ((gfp & __GFP_ZERO) === 0) return;
  for (let i = 0; i < 1 << order; i++) clear_page(t, page.pfn + i);
}

/**
 * Drops a reference to `page`; frees it with the last one.
 *
 * Context: any.
 *
 * Linux: mm/swap.c.
 *
 * @example
 * ```ts
 * import {
 *   alloc_page,
 *   boot,
 *   GFP_KERNEL,
 *   nr_free_pages,
 *   put_page,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const freed = boot().run(function* (t) {
 *   const before = nr_free_pages(t.k);
 *   const page = (yield* alloc_page(t, GFP_KERNEL))!;
 *   yield* put_page(t, page); // the last user frees it
 *   return nr_free_pages(t.k) === before;
 * });
 * assert(freed);
 * ```
 */
export function* put_page(t: Thread, page: Page): Steps {
  enter(t, PUT_PAGE);
  yield* write_line(t, page.line);
  if (drop_reference(t, page)) yield* free_hot_cold_page(t, page, false);
  leave(t);
}

/**
 * Drops the reference to a block, which frees it if nobody holds another.
 *
 * Context: any.
 *
 * Linux: mm/page_alloc.c.
 *
 * @example
 * ```ts
 * import {
 *   __free_pages,
 *   alloc_pages,
 *   boot,
 *   GFP_KERNEL,
 *   nr_free_pages,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const leaked = boot().run(function* (t) {
 *   const before = nr_free_pages(t.k);
 *   const page = (yield* alloc_pages(t, GFP_KERNEL, 4))!;
 *   yield* __free_pages(t, page, 4);
 *   return before - nr_free_pages(t.k);
 * });
 * assertEquals(leaked, 0);
 * ```
 */
export function* __free_pages(t: Thread, page: Page, order: number): Steps {
  enter(t, __FREE_PAGES);
  yield* write_line(t, page.line);
  if (drop_reference(t, page)) {
    if (order === 0) yield* free_hot_cold_page(t, page, false);
    else yield* __free_pages_ok(t, page, order);
  }
  leave(t);
}

/**
 * {@linkcode __free_pages} of one page.
 *
 * Linux: mm/page_alloc.c.
 *
 * @example
 * ```ts
 * import {
 *   __free_page,
 *   alloc_page,
 *   boot,
 *   GFP_KERNEL,
 *   KernelBug,
 * } from "@vmaplab/vmaplab";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(
 *   () =>
 *     boot().run(function* (t) {
 *       const page = (yield* alloc_page(t, GFP_KERNEL))!;
 *       yield* __free_page(t, page);
 *       yield* __free_page(t, page);
 *     }),
 *   KernelBug,
 *   "Bad page state",
 * );
 * ```
 */
export function __free_page(t: Thread, page: Page): Steps {
  return __free_pages(t, page, 0);
}

/** Frees a page that no cache holds: it is reused last. Context: any. */
export function* free_cold_page(t: Thread, page: Page): Steps {
  yield* write_line(t, page.line);
  if (drop_reference(t, page)) yield* free_hot_cold_page(t, page, true);
}

/** Puts a page on this CPU's list: plain unless that is full. */
function free_hot_cold_page(t: Thread, page: Page, cold: boolean): Steps {
  enter(t, FREE_HOT_COLD_PAGE);
  charge(t, 20);
  free_pages_check(t, page);
  t.k.sanitizers?.pageFreed(t, page, 0);
  const flags = local_irq_save(t);
  t.k.pages.pgfree++;
  if (pcp_put(t, page, cold)) return flush_and_leave(t, page.zone, flags);
  local_irq_restore(t, flags);
  leave(t);
  return DONE;
}

/** The end of {@linkcode free_hot_cold_page} where the list is full. */
function* flush_and_leave(t: Thread, zone: Zone, flags: boolean): Steps {
  yield* pcp_flush(t, zone);
  local_irq_restore(t, flags);
  leave(t);
}

function* __free_pages_ok(t: Thread, page: Page, order: number): Steps {
  enter(t, __FREE_PAGES_OK);
  charge(t, 20);
  const { pages } = t.k;
  for (let i = 0; i < 1 << order; i++) {
    charge(t, 6);
    const one = pages.peekPage(page.pfn + i); // no object: never used singly
    if (one !== null) free_pages_check(t, one);
  }
  t.k.sanitizers?.pageFreed(t, page, order);
  const flags = local_irq_save(t);
  pages.pgfree += 1 << order;
  yield* free_one_page(t, page.zone, page, order);
  local_irq_restore(t, flags);
  leave(t);
}

/** Checks a page that comes in. */
function free_pages_check(t: Thread, page: Page): void {
  const { flags } = page;
  if (
    (flags & PAGE_FLAGS_CHECK_AT_FREE) !== 0 || page.mapping !== null ||
    page._count !== 0
  ) {
    bad_page(t, page, "a page in use is freed");
  }
  page.flags = 0;
  page.private = 0;
}

/** Makes the pages of a block separate, each counted once. Plain. */
export function split_page(t: Thread, page: Page, order: number): void {
  BUG_ON(t, page._count === 0, "split_page() of a free block");
  for (let i = 1; i < 1 << order; i++) {
    charge(t, 3);
    t.k.pages.page(page.pfn + i)._count = 1;
  }
}
