/**
 * A stand-in for the kernel's image: pages of the direct map with bytes that no
 * CPU runs, for what changes code and protects it.
 *
 * Differs from Linux: the real image is not in emulated memory, so this one is
 * made at first use, from the page allocator, and stays until
 * {@linkcode free_kernel_text}.
 */
import type { Steps } from "../arch/asm.ts";
import { charge } from "../arch/asm.ts";
import { BUG_ON } from "./bug.ts";
import { ENOMEM, err, type Errno } from "./lib/errno.ts";
import { GFP_KERNEL } from "./mm/gfp.ts";
import { __get_free_pages, free_pages } from "./mm/get_free_pages.ts";
import { set_memory_rw } from "./mm/set_memory.ts";
import type { Thread } from "./thread.ts";

/** log2 of the image's pages. */
const TEXT_ORDER = 4;
/** Pages at the end that are data: .rodata. */
const RODATA_PAGES = 4;
/** Instructions with a lock prefix that a uniprocessor can do without: __smp_locks. */
const NR_LOCK_SITES = 48;
/** The prefix, and what stands in its place. */
export const LOCK_PREFIX = 0xf0;
/** A DS segment override: does nothing. */
export const DS_PREFIX = 0x3e;
/** One byte of the filling: int3. */
const FILL = 0xcc;

/** Where the image is. */
export interface KernelText {
  /** _text, in the direct map. */
  readonly start: number;
  /** Pages of text and data. */
  readonly nr_pages: number;
  /** __start_rodata. */
  readonly rodata_start: number;
  readonly nr_rodata_pages: number;
  /** Addresses of lock prefixes, ascending; some end a page. */
  readonly lock_sites: readonly number[];
  /** Whether mark_rodata_ro() has run. */
  read_only: boolean;
}

/** The image, made if it is not there yet. @returns -ENOMEM if it cannot be. */
export function* kernel_text(t: Thread): Steps<KernelText | Errno> {
  const { k } = t;
  if (k.text !== null) return k.text;
  const start = yield* __get_free_pages(t, GFP_KERNEL, TEXT_ORDER);
  if (start === 0) return err(ENOMEM);
  if (k.text !== null) { // somebody was faster
    yield* free_pages(t, start, TEXT_ORDER);
    return k.text;
  }
  const { memory } = k.machine;
  const { pageBytes } = memory;
  const nr_pages = 2 ** TEXT_ORDER;
  const nr_text_pages = nr_pages - RODATA_PAGES;
  const first = (start - k.pages.directMapStart) / pageBytes;
  for (let i = 0; i < nr_pages; i++) memory.frame(first + i).bytes.fill(FILL);
  charge(t, nr_pages * pageBytes / 8); // rep stos
  // Apart by a little less than fits: sites wander through their pages.
  const step = Math.floor((nr_text_pages * pageBytes - 1) / NR_LOCK_SITES);
  const lock_sites: number[] = [];
  for (let i = 1; i <= NR_LOCK_SITES; i++) {
    const offset = i * step;
    lock_sites.push(start + offset);
    const frame = memory.frame(first + Math.floor(offset / pageBytes));
    frame.bytes[offset % pageBytes] = LOCK_PREFIX;
  }
  return k.text = {
    start,
    nr_pages,
    rodata_start: start + nr_text_pages * pageBytes,
    nr_rodata_pages: RODATA_PAGES,
    lock_sites,
    read_only: false,
  };
}

/** Gives the image back, writable again. */
export function* free_kernel_text(t: Thread): Steps {
  const { text } = t.k;
  if (text === null) return;
  t.k.text = null;
  if (text.read_only) {
    const error = yield* set_memory_rw(t, text.start, text.nr_pages);
    BUG_ON(t, error !== 0, "the image's pages stay read-only");
  }
  yield* free_pages(t, text.start, TEXT_ORDER);
}
