/**
 * Pages by their address in the direct map, as most of the kernel wants them
 * (mm/page_alloc.c: __get_free_pages(), alloc_pages_exact()). High memory has no
 * such address.
 */
import type { Steps } from "../../arch/asm.ts";
import { BUG_ON } from "../bug.ts";
import { get_order } from "../lib/bitops.ts";
import type { Thread } from "../thread.ts";
import { __GFP_HIGHMEM, __GFP_ZERO } from "./gfp.ts";
import { page_address, virt_to_page } from "./page.ts";
import {
  __free_page,
  __free_pages,
  alloc_pages,
  split_page,
} from "./page_alloc.ts";

/**
 * The direct-map address of a block; see {@linkcode alloc_pages}.
 *
 * Linux: mm/page_alloc.c.
 *
 * @returns Low 48 bits; 0 if there is none.
 *
 * @example
 * ```ts
 * import {
 *   __get_free_pages,
 *   boot,
 *   free_pages,
 *   GFP_KERNEL,
 *   vstore,
 * } from "@vmaplab/vmaplab";
 *
 * boot().run(function* (t) {
 *   const addr = yield* __get_free_pages(t, GFP_KERNEL, 2); // 4 pages
 *   yield* vstore(t, addr + 3 * 4096, 8, 1); // direct map: always mapped
 *   yield* free_pages(t, addr, 2);
 * });
 * ```
 */
export function* __get_free_pages(
  t: Thread,
  gfp: number,
  order: number,
): Steps<number> {
  BUG_ON(t, (gfp & __GFP_HIGHMEM) !== 0, "high memory has no address");
  const page = yield* alloc_pages(t, gfp, order);
  return page === null ? 0 : page_address(t.k, page);
}

/**
 * {@linkcode __get_free_pages} of one page.
 *
 * Linux: mm/page_alloc.c.
 *
 * @example
 * ```ts
 * import {
 *   __get_free_page,
 *   boot,
 *   free_page,
 *   GFP_KERNEL,
 *   IS_ALIGNED,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const aligned = boot().run(function* (t) {
 *   const addr = yield* __get_free_page(t, GFP_KERNEL);
 *   yield* free_page(t, addr);
 *   return IS_ALIGNED(addr, 4096);
 * });
 * assert(aligned);
 * ```
 */
export function __get_free_page(t: Thread, gfp: number): Steps<number> {
  return __get_free_pages(t, gfp, 0);
}

/**
 * {@linkcode __get_free_page}, zeroed.
 *
 * Linux: mm/page_alloc.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   free_page,
 *   get_zeroed_page,
 *   GFP_KERNEL,
 *   vload,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const word = boot().run(function* (t) {
 *   const addr = yield* get_zeroed_page(t, GFP_KERNEL);
 *   const value = yield* vload(t, addr + 8, 8);
 *   yield* free_page(t, addr);
 *   return value;
 * });
 * assertEquals(word, 0);
 * ```
 */
export function get_zeroed_page(t: Thread, gfp: number): Steps<number> {
  return __get_free_pages(t, gfp | __GFP_ZERO, 0);
}

/**
 * Frees what {@linkcode __get_free_pages} returned; 0 is fine.
 *
 * Linux: mm/page_alloc.c.
 *
 * @example
 * ```ts
 * import {
 *   __get_free_pages,
 *   boot,
 *   free_pages,
 *   GFP_KERNEL,
 *   nr_free_pages,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const leaked = boot().run(function* (t) {
 *   const before = nr_free_pages(t.k);
 *   const addr = yield* __get_free_pages(t, GFP_KERNEL, 3);
 *   yield* free_pages(t, addr, 3);
 *   return before - nr_free_pages(t.k);
 * });
 * assertEquals(leaked, 0);
 * ```
 */
export function* free_pages(t: Thread, addr: number, order: number): Steps {
  if (addr !== 0) yield* __free_pages(t, virt_to_page(t.k, addr), order);
}

/**
 * {@linkcode free_pages} of one page.
 *
 * Linux: mm/page_alloc.c.
 *
 * @example
 * ```ts
 * import {
 *   __get_free_page,
 *   boot,
 *   free_page,
 *   GFP_KERNEL,
 * } from "@vmaplab/vmaplab";
 *
 * boot().run(function* (t) {
 *   yield* free_page(t, yield* __get_free_page(t, GFP_KERNEL));
 *   yield* free_page(t, 0); // fine
 * });
 * ```
 */
export function free_page(t: Thread, addr: number): Steps {
  return free_pages(t, addr, 0);
}

/**
 * Enough pages for `bytes`, in a row, each counted once; those beyond are given
 * back.
 *
 * @returns Direct-map address, low 48 bits; 0 if there is none.
 */
export function* alloc_pages_exact(
  t: Thread,
  bytes: number,
  gfp: number,
): Steps<number> {
  t.k.need(t, "pages", "mem_init");
  const { pageBytes, pageShift } = t.k.pages;
  const order = get_order(bytes, pageShift);
  const addr = yield* __get_free_pages(t, gfp, order);
  if (addr === 0) return 0;
  const { pfn } = virt_to_page(t.k, addr);
  split_page(t, t.k.pages.page(pfn), order);
  const used = Math.ceil(bytes / pageBytes);
  for (let i = used; i < 1 << order; i++) {
    yield* __free_page(t, t.k.pages.page(pfn + i));
  }
  return addr;
}

/** Frees what {@linkcode alloc_pages_exact} returned. */
export function* free_pages_exact(
  t: Thread,
  addr: number,
  bytes: number,
): Steps {
  const { pageBytes } = t.k.pages;
  const end = addr + bytes;
  for (let at = addr; at < end; at += pageBytes) yield* free_page(t, at);
}
