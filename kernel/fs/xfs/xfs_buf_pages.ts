/**
 * The pages of a buffer, found or made in the page cache of its device
 * (_xfs_buf_lookup_pages()).
 *
 * What of a page is valid is known in one of two ways. File systems whose
 * blocks are pages or larger read whole pages, and mark them uptodate. Others
 * read what a buffer covers, and remember it in the page's `private`, a bit for
 * each 32nd of the page: neither of two buffers of a page makes the other's part
 * valid. The page's lock is not held while it is read; later versions hold it.
 *
 * Differs from Linux: 32 bits instead of 64 (of a 16 KiB page each is one
 * sector); and who cannot get memory for a page gives up after two seconds
 * instead of never, since nothing here would free any.
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import { ENOMEM, err, type Errno } from "../../lib/errno.ts";
import {
  find_or_create_page,
  page_cache_release,
  PageUptodate,
  SetPageUptodate,
  unlock_page,
} from "../../mm/filemap.ts";
import {
  __GFP_NORETRY,
  __GFP_NOWARN,
  GFP_KERNEL,
  GFP_NOFS,
} from "../../mm/gfp.ts";
import type { Page } from "../../mm/page.ts";
import { kfree, kmalloc } from "../../mm/slab.ts";
import { KERN_ERR, printk } from "../../printk.ts";
import type { Thread } from "../../thread.ts";
import { msleep } from "../../timer.ts";
import {
  _XBF_PAGE_CACHE,
  XB_PAGES,
  XBF_DONE,
  XBF_DONT_BLOCK,
  XBF_READ_AHEAD,
  type XfsBuf,
} from "./xfs_buf_types.ts";

const _XFS_BUF_LOOKUP_PAGES = ksym("_xfs_buf_lookup_pages");
const _XFS_BUF_GET_PAGES = ksym("_xfs_buf_get_pages");

/** Parts of a page that are known to be valid, or not. */
const PAGE_REGIONS = 32;
const ALL_REGIONS = 2 ** PAGE_REGIONS - 1;
/** Tries to get a page; one each 20 ms, HZ/50. */
const MAX_RETRIES = 100;
const RETRY_MS = 20;
const POINTER_BYTES = 8;

/** Bits of the parts that lie within `[first, end)`, parts. */
function regions(first: number, end: number): number {
  if (end <= first) return 0;
  return (2 ** end - 2 ** first) >>> 0;
}

/** Says that `length` bytes of `page` at `offset` are valid; parts that are covered in part are left out. */
export function* set_page_region(
  t: Thread,
  page: Page,
  offset: number,
  length: number,
): Steps {
  charge(t, 12);
  const region = t.machine.memory.pageBytes / PAGE_REGIONS;
  const first = Math.ceil(offset / region);
  const end = Math.floor((offset + length) / region);
  page.private = (page.private | regions(first, end)) >>> 0;
  if (page.private === ALL_REGIONS) yield* SetPageUptodate(t, page);
}

/** Whether all of `length` bytes of `page` at `offset` are valid. */
export function test_page_region(
  t: Thread,
  page: Page,
  offset: number,
  length: number,
): boolean {
  charge(t, 12);
  const region = t.machine.memory.pageBytes / PAGE_REGIONS;
  const mask = regions(
    Math.floor(offset / region),
    Math.ceil((offset + length) / region),
  );
  return ((page.private & mask) >>> 0) === mask;
}

/** Where memory for a buffer may come from. */
export function xb_to_gfp(flags: number): number {
  const from = (flags & XBF_READ_AHEAD) !== 0
    ? __GFP_NORETRY
    : (flags & XBF_DONT_BLOCK) !== 0
    ? GFP_NOFS
    : GFP_KERNEL;
  return from | __GFP_NOWARN;
}

/**
 * Finds or makes the pages of `bp`. If all that it covers is valid already, it
 * is done.
 *
 * Context: process. Locks: bp.b_sema held; takes PG_locked, a page at a time.
 *
 * @returns 0; -ENOMEM, and `bp` has no pages.
 */
export function* _xfs_buf_lookup_pages(
  t: Thread,
  bp: XfsBuf,
  flags: number,
): Steps<0 | Errno> {
  enter(t, _XFS_BUF_LOOKUP_PAGES);
  charge(t, 30);
  const { pageBytes } = t.machine.memory;
  const { b_file_offset, b_buffer_length } = bp;
  const first = Math.floor(b_file_offset / pageBytes);
  const nr = Math.ceil((b_file_offset + b_buffer_length) / pageBytes) - first;
  bp.b_offset = b_file_offset - first * pageBytes;
  if (!(yield* _xfs_buf_get_pages(t, bp, nr, flags))) {
    leave(t);
    return err(ENOMEM);
  }
  bp.b_flags |= _XBF_PAGE_CACHE;
  const gfp = xb_to_gfp(flags);
  let offset = bp.b_offset;
  let left = b_buffer_length;
  let valid = 0;
  for (let i = 0; i < nr; i++) {
    const page = yield* get_page_patiently(t, bp, first + i, gfp);
    if (page === null) {
      yield* xfs_buf_free_pages(t, bp);
      leave(t);
      return err(ENOMEM);
    }
    bp.b_pages[i] = page;
    bp.b_page_count = i + 1;
    charge(t, 12);
    const nbytes = Math.min(left, pageBytes - offset);
    if (PageUptodate(page) || test_page_region(t, page, offset, nbytes)) {
      valid++;
    }
    yield* unlock_page(t, page);
    left -= nbytes;
    offset = 0;
  }
  if (valid === nr) bp.b_flags |= XBF_DONE;
  leave(t);
  return 0;
}

/** Makes room for the list of `nr` pages. @returns False if memory is out. */
function* _xfs_buf_get_pages(
  t: Thread,
  bp: XfsBuf,
  nr: number,
  flags: number,
): Steps<boolean> {
  enter(t, _XFS_BUF_GET_PAGES);
  charge(t, 14);
  bp.b_page_count = 0;
  if (nr > XB_PAGES) {
    bp.b_pages_mem = yield* kmalloc(t, nr * POINTER_BYTES, xb_to_gfp(flags));
    charge(t, nr); // cleared
  }
  leave(t);
  return nr <= XB_PAGES || bp.b_pages_mem !== null;
}

/** Page `index` of the device, locked. @returns `null` = out of memory, and likely to stay so. */
function* get_page_patiently(
  t: Thread,
  bp: XfsBuf,
  index: number,
  gfp: number,
): Steps<Page | null> {
  const { bt_mapping, bt_name } = bp.b_target;
  for (let retries = 0;;) {
    const page = yield* find_or_create_page(t, bt_mapping, index, gfp);
    if (page !== null) return page;
    if ((gfp & __GFP_NORETRY) !== 0) return null;
    if (++retries === MAX_RETRIES) {
      printk(
        t,
        KERN_ERR,
        `XFS (${bt_name}): possible memory allocation deadlock in _xfs_buf_lookup_pages (mode:0x${
          gfp.toString(16)
        })`,
      );
      return null;
    }
    yield* msleep(t, RETRY_MS); // congestion_wait()
  }
}

/** Drops the pages of `bp`. They stay in the page cache. */
export function* xfs_buf_free_pages(t: Thread, bp: XfsBuf): Steps {
  for (let i = 0; i < bp.b_page_count; i++) {
    charge(t, 5);
    yield* page_cache_release(t, bp.b_pages[i]);
  }
  bp.b_page_count = 0;
  if (bp.b_pages_mem !== null) {
    yield* kfree(t, bp.b_pages_mem);
    bp.b_pages_mem = null;
  }
}
