/**
 * Each CPU's lists of single pages (mm/page_alloc.c: per_cpu_pages), one for
 * every zone: hot pages at the front, cold ones at the back. The zone's lock is
 * taken for a batch at a time.
 *
 *     zone.lock            interrupts off
 *
 * Differs from Linux: a list is made when its CPU first needs it; before
 * setup_per_cpu_pageset() it is the boot kind, which keeps nothing.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  local_irq_restore,
  local_irq_save,
  type Steps,
  touch_write,
} from "../../arch/asm.ts";
import { fls } from "../lib/bitops.ts";
import { list_add, list_add_tail, list_del, list_entry } from "../lib/list.ts";
import { on_each_cpu } from "../smp.ts";
import type { Thread } from "../thread.ts";
import { free_pages_bulk, rmqueue_bulk } from "./buddy.ts";
import { PerCpuPages, type Zone } from "./mmzone.ts";
import type { Page } from "./page.ts";
import { init_per_zone_pages_min } from "./watermark.ts";

const DRAIN_LOCAL_PAGES = ksym("drain_local_pages");
const DRAIN_ALL_PAGES = ksym("drain_all_pages");
const SETUP_PER_CPU_PAGESET = ksym("setup_per_cpu_pageset");

/** Most bytes moved between a zone and a CPU at a time, before it is quartered. */
const BATCH_BYTES = 512 * 1024;

/** Pages moved at a time for `zone`: a thousandth of it within limits, one less than a power of two. */
export function zone_batchsize(zone: Zone, pageBytes: number): number {
  const most = BATCH_BYTES / pageBytes;
  const thousandth = Math.floor(zone.present_pages / 1024);
  const batch = Math.max(1, Math.floor(Math.min(thousandth, most) / 4));
  return 2 ** (fls(batch + Math.floor(batch / 2)) - 1) - 1;
}

/** This CPU's list for `zone`. */
export function zone_pcp(t: Thread, zone: Zone): PerCpuPages {
  const cpu = t.cpu.id;
  return zone.pcpOf(cpu) ??
    zone.addPcp(cpu, new PerCpuPages(pcpBatch(t, zone)));
}

function pcpBatch(t: Thread, zone: Zone): number {
  const { pages } = t.k;
  return pages.pagesetsUp ? zone_batchsize(zone, pages.pageBytes) : 0;
}

/** Lets the CPUs keep pages: their lists get their real sizes. Boot. */
export function setup_per_cpu_pageset(t: Thread): void {
  enter(t, SETUP_PER_CPU_PAGESET);
  t.k.need(t, "pages", "mem_init");
  const { pages } = t.k;
  pages.pagesetsUp = true;
  for (const zone of pages.zones) {
    charge(t, 40);
    const size = new PerCpuPages(zone_batchsize(zone, pages.pageBytes));
    for (const [, pcp] of zone.pagesets) {
      pcp.high = size.high;
      pcp.batch = size.batch;
    }
  }
  init_per_zone_pages_min(t);
  leave(t);
}

/**
 * Takes a page off this CPU's list for `zone`. Plain. Context: interrupts off.
 *
 * @returns `null` = the list is empty.
 */
export function pcp_take(t: Thread, zone: Zone, cold: boolean): Page | null {
  const pcp = zone_pcp(t, zone);
  charge(t, 10);
  if (pcp.count === 0) return null;
  const page = list_entry(cold ? pcp.list.prev : pcp.list.next);
  touch_write(t, page.line);
  list_del(page.lru);
  pcp.count--;
  return page;
}

/** Fills this CPU's empty list. Context: interrupts off. Locks: takes zone.lock. */
export function* pcp_refill(t: Thread, zone: Zone): Steps {
  const pcp = zone_pcp(t, zone);
  pcp.count = yield* rmqueue_bulk(t, zone, 0, pcp.batch, pcp.list);
}

/**
 * Puts a free page on this CPU's list. Plain. Context: interrupts off.
 *
 * @returns Whether the list is full: {@linkcode pcp_flush} must follow.
 */
export function pcp_put(t: Thread, page: Page, cold: boolean): boolean {
  const pcp = zone_pcp(t, page.zone);
  charge(t, 12);
  if (cold) list_add_tail(page.lru, pcp.list);
  else list_add(page.lru, pcp.list);
  pcp.count++;
  return pcp.count >= pcp.high;
}

/** Gives a batch from the cold end to the zone. Context: interrupts off. Locks: takes zone.lock. */
export function* pcp_flush(t: Thread, zone: Zone): Steps {
  const pcp = zone_pcp(t, zone);
  const count = Math.min(pcp.batch, pcp.count);
  pcp.count -= count;
  yield* free_pages_bulk(t, zone, count, pcp.list, 0);
}

/** Gives all pages of this CPU's lists back to their zones. Context: any. */
export function* drain_local_pages(t: Thread): Steps {
  enter(t, DRAIN_LOCAL_PAGES);
  const flags = local_irq_save(t);
  for (const zone of t.k.pages.zones) {
    charge(t, 8);
    const pcp = zone.pcpOf(t.cpu.id);
    if (pcp === undefined || pcp.count === 0) continue;
    const count = pcp.count;
    pcp.count = 0;
    yield* free_pages_bulk(t, zone, count, pcp.list, 0);
  }
  local_irq_restore(t, flags);
  leave(t);
}

/** Gives all CPUs' pages back to their zones. Context: process, interrupts on. */
export function* drain_all_pages(t: Thread): Steps {
  enter(t, DRAIN_ALL_PAGES);
  // Before smp_init() there is no other CPU, and nobody to take the message.
  if (t.k.smp === undefined) yield* drain_local_pages(t);
  else yield* on_each_cpu(t, drain_local_pages, null, true);
  leave(t);
}
