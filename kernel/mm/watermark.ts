/**
 * Watermarks and reserves: how much of a zone is kept for those who cannot wait
 * (mm/page_alloc.c). There is no reclaim behind them: what the watermark
 * refuses is refused.
 */
import { charge, enter, ksym, leave } from "../../arch/asm.ts";
import type { Thread } from "../thread.ts";
import { MAX_NR_ZONES, type Zone } from "./mmzone.ts";

const INIT_PER_ZONE_PAGES_MIN = ksym("init_per_zone_pages_min");

/** Which watermark to keep, and how far below it the request may go: `pages_min`. */
export const ALLOC_WMARK_MIN = 0x02;
/** `pages_low`. */
export const ALLOC_WMARK_LOW = 0x04;
/** `pages_high`. */
export const ALLOC_WMARK_HIGH = 0x08;
/** Cannot wait: a quarter lower. */
export const ALLOC_HARDER = 0x10;
/** __GFP_HIGH: half. */
export const ALLOC_HIGH = 0x20;

/** min_free_kbytes is kept within these. */
const MIN_FREE_KBYTES = 128;
const MAX_FREE_KBYTES = 65536;
/** sysctl_lowmem_reserve_ratio, by zone number. */
const LOWMEM_RESERVE_RATIO = [256, 256, 32];

/**
 * Whether `zone` has a block of `order` to spare.
 *
 * Reads the counts unlocked, as Linux does: they are vm_stat counters of which
 * every CPU has its share, so the read charges no transfer.
 *
 * @param classzone Zone number that the request could use at best.
 */
export function zone_watermark_ok(
  t: Thread,
  zone: Zone,
  order: number,
  flags: number,
  classzone: number,
): boolean {
  charge(t, 14 + 5 * order);
  let min = zone.pages_low;
  if ((flags & ALLOC_WMARK_MIN) !== 0) min = zone.pages_min;
  else if ((flags & ALLOC_WMARK_HIGH) !== 0) min = zone.pages_high;
  if ((flags & ALLOC_HIGH) !== 0) min -= Math.floor(min / 2);
  if ((flags & ALLOC_HARDER) !== 0) min -= Math.floor(min / 4);
  let free = zone.nr_free_pages - (1 << order) + 1;
  if (free <= min + zone.lowmem_reserve[classzone]) return false;
  for (let o = 0; o < order; o++) {
    free -= zone.free_area[o].nr_free << o; // of no use to this request
    min >>= 1;
    if (free <= min) return false;
  }
  return true;
}

/**
 * Computes every zone's watermarks and reserves.
 *
 * Differs from Linux, where it is an initcall; here setup_per_cpu_pageset()
 * calls it.
 */
export function init_per_zone_pages_min(t: Thread): void {
  enter(t, INIT_PER_ZONE_PAGES_MIN);
  const { pages } = t.k;
  const kbytes = pages.pageBytes / 1024;
  const low = pages.zones.filter((zone) => !zone.isHighmem);
  const lowPages = low.reduce((sum, zone) => sum + zone.present_pages, 0);
  const root = Math.floor(Math.sqrt(lowPages * kbytes * 16));
  const minFree = Math.min(Math.max(root, MIN_FREE_KBYTES), MAX_FREE_KBYTES);
  const pagesMin = Math.floor(minFree / kbytes);
  for (const zone of pages.zones) {
    charge(t, 60);
    const share = Math.floor(pagesMin * zone.present_pages / lowPages);
    zone.pages_min = zone.isHighmem
      ? Math.min(Math.max(Math.floor(zone.present_pages / 1024), 32), 128)
      : share;
    zone.pages_low = zone.pages_min + (share >> 2);
    zone.pages_high = zone.pages_min + (share >> 1);
  }
  for (const zones of pages.zonesByNode) setup_lowmem_reserve(t, zones);
  leave(t);
}

/** A zone keeps a fraction of what the zones above it on its node hold. */
function setup_lowmem_reserve(t: Thread, zones: readonly Zone[]): void {
  for (let i = 0; i < zones.length; i++) {
    let above = 0;
    let from = i + 1;
    for (let j = zones[i].index + 1; j < MAX_NR_ZONES; j++) {
      charge(t, 10);
      if (from < zones.length && zones[from].index === j) {
        above += zones[from++].present_pages;
      }
      zones[i].lowmem_reserve[j] = Math.floor(
        above / LOWMEM_RESERVE_RATIO[zones[i].index],
      );
    }
  }
}
