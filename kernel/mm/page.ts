/**
 * struct page: what the kernel knows of one frame (include/linux/mm_types.h,
 * page-flags.h, mm.h).
 *
 * Differs from Linux: there is no mem_map array of all pages (its memory is
 * taken from bootmem all the same). A `Page` is made when somebody first asks
 * for it; until then it is what its neighbours say it is: reserved, or inside
 * a free block, or inside an allocated one. Compound pages are left out: the
 * pages of a block of several pages are separate, and only the first of them
 * is counted until `split_page()`.
 */
import {
  charge,
  charge_cycles,
  type Steps,
  write_line,
} from "../../arch/asm.ts";
import { CacheLine } from "../../arch/hw/line.ts";
import { KernelBug } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import { ListHead } from "../lib/list.ts";
import { KERN_EMERG, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import type { Zone } from "./mmzone.ts";

/** Locked by lock_page(). */
export const PG_locked = 1 << 0;
/** Used since it came into the page cache. */
export const PG_referenced = 1 << 2;
/** The contents are valid. */
export const PG_uptodate = 1 << 3;
/** Must be written out; dropped when the page is freed. */
export const PG_dirty = 1 << 4;
/** Belongs to a slab. */
export const PG_slab = 1 << 7;
/** The owner's to use; Xen calls it PG_pinned. */
export const PG_owner_priv_1 = 1 << 8;
/** Never given to the page allocator: kernel image, bootmem. */
export const PG_reserved = 1 << 10;
/** `private` means something to the owner. */
export const PG_private = 1 << 11;
/** First page of a free block; `private` is its order. */
export const PG_buddy = 1 << 18;

/** Flags that a page must not have when it is handed out. */
export const PAGE_FLAGS_CHECK_AT_PREP = PG_locked | PG_slab | PG_private |
  PG_reserved | PG_buddy | PG_dirty;
/** Flags that a page must not have when it is given back. */
export const PAGE_FLAGS_CHECK_AT_FREE = PG_locked | PG_slab | PG_private |
  PG_reserved | PG_buddy;

const FLAG_NAMES: readonly (readonly [number, string])[] = [
  [PG_locked, "locked"],
  [PG_referenced, "referenced"],
  [PG_uptodate, "uptodate"],
  [PG_dirty, "dirty"],
  [PG_slab, "slab"],
  [PG_owner_priv_1, "owner_priv_1"],
  [PG_reserved, "reserved"],
  [PG_private, "private"],
  [PG_buddy, "buddy"],
];

/**
 * One frame's page; made by {@linkcode pfn_to_page} alone.
 *
 * Linux: include/linux/mm_types.h.
 *
 * @example
 * ```ts
 * import { alloc_page, boot, GFP_KERNEL, Page } from "@vmaplab/vmaplab";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const page = boot().run((t) => alloc_page(t, GFP_KERNEL));
 * assert(page instanceof Page);
 * assertEquals([page._count, page.node], [1, 0]);
 * ```
 */
export class Page {
  /** Users; atomic: change it through {@linkcode get_page} and {@linkcode put_page}. */
  _count = 0;
  /** `PG_*`. Zone lock while free, the owner after. */
  flags = 0;
  /** Order, while {@linkcode PG_buddy}; else the owner's. */
  private = 0;
  /** The owner's. Nonzero at free is a bug. */
  mapping: unknown = null;
  /** The owner's. */
  index = 0;
  /** On a free list (zone lock), a per-CPU list (that CPU), or the owner's. */
  declare readonly lru: ListHead<Page>;
  #line: CacheLine | null = null;

  /** Number of its frame. */
  declare readonly pfn: number;
  /**
   * The zone it is in.
   *
   * @internal
   */
  declare readonly zone: Zone;

  /** Made by {@linkcode pfn_to_page} alone. */
  constructor(pfn: number, zone: Zone) {
    this.pfn = pfn;
    this.zone = zone;
    this.lru = new ListHead<Page>(this);
  }

  /** NUMA node of the frame. */
  get node(): number {
    return this.zone.node;
  }

  /** Line of the struct page (56 bytes on x86-64, so about one each). */
  get line(): CacheLine {
    return this.#line ??= new CacheLine(this.zone.node);
  }
}

/**
 * The page of frame `pfn`, made if it is new. RangeError if there is no such
 * RAM.
 *
 * Linux: include/asm-generic/memory_model.h.
 *
 * @example
 * ```ts
 * import { boot, pfn_to_page } from "@vmaplab/vmaplab";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const { kernel } = boot();
 * assertEquals(pfn_to_page(kernel, 1000).pfn, 1000);
 * assertThrows(() => pfn_to_page(kernel, 2 ** 30), RangeError);
 * ```
 */
export function pfn_to_page(k: Kernel, pfn: number): Page {
  return k.pages.page(pfn);
}

/**
 * Frame number of `page`.
 *
 * Linux: include/asm-generic/memory_model.h.
 *
 * @example
 * ```ts
 * import {
 *   alloc_page,
 *   boot,
 *   GFP_KERNEL,
 *   page_to_pfn,
 *   pfn_to_page,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const page = (yield* alloc_page(t, GFP_KERNEL))!;
 *   assert(pfn_to_page(t.k, page_to_pfn(page)) === page);
 * });
 * ```
 */
export function page_to_pfn(page: Page): number {
  return page.pfn;
}

/**
 * Direct-map address of `page`, low 48 bits; 0 if it has none (high memory).
 *
 * Linux: include/linux/mm.h.
 *
 * @example
 * ```ts
 * import {
 *   alloc_page,
 *   boot,
 *   GFP_KERNEL,
 *   page_address,
 *   pload,
 *   vstore,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const page = (yield* alloc_page(t, GFP_KERNEL))!;
 *   const addr = page_address(t.k, page);
 *   yield* vstore(t, addr, 8, 5);
 *   assertEquals(yield* pload(t, page.pfn * 4096, 8), 5);
 * });
 * ```
 */
export function page_address(k: Kernel, page: Page): number {
  const pages = k.pages;
  if (page.zone.isHighmem) return 0;
  return pages.directMapStart + page.pfn * pages.pageBytes;
}

/**
 * The page at direct-map address `vaddr`.
 *
 * Linux: include/linux/mm.h.
 *
 * @example
 * ```ts
 * import {
 *   alloc_page,
 *   boot,
 *   GFP_KERNEL,
 *   page_address,
 *   virt_to_page,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const page = (yield* alloc_page(t, GFP_KERNEL))!;
 *   assert(virt_to_page(t.k, page_address(t.k, page) + 100) === page);
 * });
 * ```
 */
export function virt_to_page(k: Kernel, vaddr: number): Page {
  const pages = k.pages;
  const pfn = Math.floor((vaddr - pages.directMapStart) / pages.pageBytes);
  return pages.page(pfn);
}

/**
 * Users of `page`.
 *
 * Linux: include/linux/mm.h.
 *
 * @example
 * ```ts
 * import { alloc_page, boot, GFP_KERNEL, page_count } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const count = boot().run(function* (t) {
 *   const page = (yield* alloc_page(t, GFP_KERNEL))!;
 *   return page_count(page);
 * });
 * assertEquals(count, 1);
 * ```
 */
export function page_count(page: Page): number {
  return page._count;
}

/**
 * Takes a reference to a page that somebody holds already.
 *
 * Context: any.
 *
 * Linux: include/linux/mm.h.
 *
 * @example
 * ```ts
 * import {
 *   alloc_page,
 *   boot,
 *   get_page,
 *   GFP_KERNEL,
 *   page_count,
 *   put_page,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const counts = boot().run(function* (t) {
 *   const page = (yield* alloc_page(t, GFP_KERNEL))!;
 *   yield* get_page(t, page); // a second user
 *   const two = page_count(page);
 *   yield* put_page(t, page);
 *   const one = page_count(page);
 *   yield* put_page(t, page); // frees it
 *   return [two, one, page_count(page)];
 * });
 * assertEquals(counts, [2, 1, 0]);
 * ```
 */
export function* get_page(t: Thread, page: Page): Steps {
  charge(t, 4);
  yield* write_line(t, page.line);
  charge_cycles(t, t.machine.lockedCycles);
  if (page._count === 0) bad_page(t, page, "get_page() of a free page");
  page._count++;
}

/** Drops a reference. @returns Whether it was the last one. Context: any. */
export function* put_page_testzero(t: Thread, page: Page): Steps<boolean> {
  yield* write_line(t, page.line);
  return drop_reference(t, page);
}

/** The rest of {@linkcode put_page_testzero}, once this CPU has the line. Plain. */
export function drop_reference(t: Thread, page: Page): boolean {
  charge(t, 4);
  charge_cycles(t, t.machine.lockedCycles);
  if (page._count === 0) bad_page(t, page, "it is free already");
  return --page._count === 0;
}

/** Names of the flags set, such as `"slab|reserved"`. */
export function flagNames(flags: number): string {
  const names = FLAG_NAMES.filter(([bit]) => (flags & bit) !== 0)
    .map(([, name]) => name);
  return names.length === 0 ? "0" : names.join("|");
}

/**
 * Reports a page in a state that it cannot be in, and ends the run.
 *
 * Differs from Linux, which repairs the page and goes on.
 */
export function bad_page(t: Thread, page: Page, why: string): never {
  const comm = t.task.name;
  printk(t, KERN_EMERG, `Bad page state in process '${comm}'`);
  printk(
    t,
    KERN_EMERG,
    `page:${page.pfn.toString(16)} flags:0x${
      page.flags.toString(16).padStart(8, "0")
    } (${flagNames(page.flags)}) mapping:${
      page.mapping === null ? "0000000000000000" : "set"
    } mapcount:0 count:${page._count}`,
  );
  throw new KernelBug(
    t,
    `Bad page state in process '${comm}': pfn ${page.pfn.toString(16)}: ${why}`,
  );
}
