/**
 * Zones and their free lists (include/linux/mmzone.h).
 *
 * Lock order: `zone.lock` is innermost, taken with interrupts off.
 *
 * Left out against Linux: migrate types (one free list an order instead of
 * five), LRU lists and reclaim, zone->prev_priority and what belongs to it,
 * per-CPU differentials of the counters (counts are exact here).
 */
import { CacheLine } from "../../arch/hw/line.ts";
import type { Kernel } from "../kernel.ts";
import { ListHead } from "../lib/list.ts";
import { Spinlock } from "../locking/spinlock.ts";
import type { Page } from "./page.ts";
import type { WaitTable } from "./page_lock.ts";

/** Orders are 0 to 10: blocks of 1 to 1024 pages. */
export const MAX_ORDER = 11;
/** Pages of the largest block. */
export const MAX_ORDER_NR_PAGES: number = 1 << (MAX_ORDER - 1);

/** Zone numbers, of which an architecture has some: what old devices reach. */
export const ZONE_DMA = 0;
/** What 32-bit devices reach. */
export const ZONE_DMA32 = 1;
/** The rest that has a permanent kernel address. */
export const ZONE_NORMAL = 2;
/** What has none. */
export const ZONE_HIGHMEM = 3;
/** Zone numbers there are. */
export const MAX_NR_ZONES = 4;
/** Names in reports, by zone number. */
export const ZONE_NAMES: readonly string[] = [
  "DMA",
  "DMA32",
  "Normal",
  "HighMem",
];

/** CPUs of one chunk of pagesets. */
const PCP_SHIFT = 5;
const PCP_MASK = (1 << PCP_SHIFT) - 1;

/** Free blocks of one order. Guarded by the zone's lock. */
export class FreeArea {
  readonly free_list: ListHead<Page> = new ListHead<Page>();
  /** Entries of the list. */
  nr_free = 0;
}

/** Single pages that one CPU keeps at hand. Its own CPU only, interrupts off. */
export class PerCpuPages {
  count = 0;
  /** From this many pages on, `batch` go back to the zone. */
  high: number;
  /** Pages moved at a time. */
  batch: number;
  /** Hot ones at the front, cold ones at the back. */
  readonly list: ListHead<Page> = new ListHead<Page>();

  constructor(batch: number) {
    this.high = 6 * batch;
    this.batch = Math.max(1, batch);
  }
}

/** Memory of one kind on one node. */
export class Zone {
  // Fixed after boot.
  readonly name: string;
  readonly isHighmem: boolean;
  /** Pages less those that the page map takes. */
  present_pages: number;
  /** Watermarks, pages; set by init_per_zone_pages_min(). */
  pages_min = 0;
  pages_low = 0;
  pages_high = 0;
  /** Pages kept from requests that could use a higher zone, by that zone's number. */
  readonly lowmem_reserve: number[] = new Array(MAX_NR_ZONES).fill(0);
  readonly lock: Spinlock;
  /** The free lists' line. */
  readonly line: CacheLine;

  /** Who waits for pages of this zone; made when the first page is locked. */
  wait_table: WaitTable | null = null;

  // Guarded by `lock`.
  readonly free_area: readonly FreeArea[];
  /** Pages on the free lists: NR_FREE_PAGES. Read unlocked for the watermarks. */
  nr_free_pages = 0;

  // Own CPU only. By CPU number, in chunks, so that a thousand zones of a
  // machine with 4096 CPUs stay small; see pcpOf().
  readonly #pagesets: (PerCpuPages | undefined)[][] = [];

  constructor(
    k: Kernel,
    readonly node: number,
    /** `ZONE_*`. */
    readonly index: number,
    readonly zone_start_pfn: number,
    /** First frame past it. */
    readonly zone_end_pfn: number,
  ) {
    this.name = ZONE_NAMES[index];
    this.isHighmem = index === ZONE_HIGHMEM;
    this.present_pages = zone_end_pfn - zone_start_pfn;
    this.line = new CacheLine(node);
    this.lock = new Spinlock(k, "&zone->lock", new CacheLine(node));
    this.free_area = Array.from({ length: MAX_ORDER }, () => new FreeArea());
  }

  /** Frames from first to last. There are no holes. */
  get spanned_pages(): number {
    return this.zone_end_pfn - this.zone_start_pfn;
  }

  /** CPU number `cpu`'s list, if it has used this zone. */
  pcpOf(cpu: number): PerCpuPages | undefined {
    return this.#pagesets[cpu >> PCP_SHIFT]?.[cpu & PCP_MASK];
  }

  /** Gives CPU number `cpu` its list. */
  addPcp(cpu: number, pcp: PerCpuPages): PerCpuPages {
    const chunks = this.#pagesets;
    while (chunks.length <= cpu >> PCP_SHIFT) chunks.push([]);
    const chunk = chunks[cpu >> PCP_SHIFT];
    while (chunk.length <= (cpu & PCP_MASK)) chunk.push(undefined);
    return chunk[cpu & PCP_MASK] = pcp;
  }

  /** Lists in use, with their CPUs' numbers. */
  get pagesets(): [cpu: number, pcp: PerCpuPages][] {
    return this.#pagesets.flatMap((chunk, high) =>
      chunk.flatMap((pcp, low): [number, PerCpuPages][] =>
        pcp === undefined ? [] : [[(high << PCP_SHIFT) + low, pcp]]
      )
    );
  }

  /** Pages on the CPUs' lists. */
  get nr_pcp_pages(): number {
    return this.pagesets.reduce((sum, [, pcp]) => sum + pcp.count, 0);
  }
}

/** Free pages of a zone as `/proc/zoneinfo` and `/proc/buddyinfo` show them. */
export interface ZoneInfo {
  readonly node: number;
  readonly name: string;
  /** On the free lists. */
  readonly free: number;
  /** On the CPUs' lists. */
  readonly pcp: number;
  readonly min: number;
  readonly low: number;
  readonly high: number;
  readonly spanned: number;
  readonly present: number;
  readonly startPfn: number;
  /** Free blocks by order. */
  readonly blocks: readonly number[];
  /** Lists in use. */
  readonly pagesets: readonly {
    readonly cpu: number;
    readonly count: number;
    readonly high: number;
    readonly batch: number;
  }[];
}

/** What reports show of `zone`. */
export function zoneInfo(zone: Zone): ZoneInfo {
  return {
    node: zone.node,
    name: zone.name,
    free: zone.nr_free_pages,
    pcp: zone.nr_pcp_pages,
    min: zone.pages_min,
    low: zone.pages_low,
    high: zone.pages_high,
    spanned: zone.spanned_pages,
    present: zone.present_pages,
    startPfn: zone.zone_start_pfn,
    blocks: zone.free_area.map((area) => area.nr_free),
    pagesets: zone.pagesets.map(([cpu, { count, high, batch }]) => ({
      cpu,
      count,
      high,
      batch,
    })),
  };
}
