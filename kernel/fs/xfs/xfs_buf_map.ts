/**
 * Addresses for buffers of several pages (_xfs_buf_map_pages() and around it).
 *
 * As 2.6.28 had it, by vmap(). vunmap() was so dear that XFS put it off: the
 * addresses of freed buffers wait in a list until there are more than 64 of
 * them when the next buffer is mapped, or until xfsbufd comes by, once a
 * second; meanwhile their pages are the page cache's, or anybody's, and mapped
 * all the same. The rewrite of the vmap layer made that unnecessary: with
 * `xfs.buf_map=vm_map_ram`, as of 2.6.34 (and for some weeks before 2.6.29),
 * buffers are mapped by vm_map_ram() and unmapped at once.
 *
 * Lock order:
 *
 *     b_sema
 *       as_lock
 *       what vmap() and vunmap() take
 */
import {
  charge,
  enter,
  ksym,
  leave,
  read_line,
  type Steps,
  touch_write,
} from "../../../arch/asm.ts";
import { PAGE_KERNEL } from "../../../arch/hw/pte.ts";
import { ENOMEM, err, type Errno } from "../../lib/errno.ts";
import { spin_lock, spin_unlock } from "../../locking/spinlock.ts";
import { __GFP_NOWARN } from "../../mm/gfp.ts";
import { page_address } from "../../mm/page.ts";
import { kfree, kmalloc } from "../../mm/slab.ts";
import { VM_MAP } from "../../mm/vm_struct.ts";
import { vm_map_ram, vm_unmap_ram, vmap, vunmap } from "../../mm/vmap.ts";
import type { Thread } from "../../thread.ts";
import type { AListEntry, XfsBufState } from "./xfs_buf_state.ts";
import { XBF_MAPPED, type XfsBuf } from "./xfs_buf_types.ts";

const _XFS_BUF_MAP_PAGES = ksym("_xfs_buf_map_pages");
const FREE_ADDRESS = ksym("free_address");
const PURGE_ADDRESSES = ksym("purge_addresses");

/** Addresses that may wait when a buffer is mapped. */
const AS_LIST_MAX = 64;
/** sizeof(a_list_t) on 64 bits, bytes. */
const A_LIST_BYTES = 16;
/** Neither waiting nor the reserves: GFP_NOWAIT. */
const GFP_NOWAIT = 0;

/**
 * Gives `bp` an address: one page's is the direct map's; several are mapped
 * side by side if `flags` ask for it.
 *
 * Context: process. Locks: bp.b_sema held.
 *
 * @returns 0 or -ENOMEM.
 */
export function* _xfs_buf_map_pages(
  t: Thread,
  bp: XfsBuf,
  flags: number,
): Steps<0 | Errno> {
  enter(t, _XFS_BUF_MAP_PAGES);
  charge(t, 14);
  let error: 0 | Errno = 0;
  if (bp.b_page_count === 1) {
    bp.b_addr = page_address(t.k, bp.b_pages[0]) + bp.b_offset;
    bp.b_flags |= XBF_MAPPED;
  } else if ((flags & XBF_MAPPED) !== 0) {
    const addr = yield* map(t, t.k.xfs_buf!, bp);
    if (addr === 0) {
      error = err(ENOMEM);
    } else {
      bp.b_addr = addr + bp.b_offset;
      bp.b_flags |= XBF_MAPPED;
    }
  }
  leave(t);
  return error;
}

/** @returns 0 = NULL. */
function* map(t: Thread, state: XfsBufState, bp: XfsBuf): Steps<number> {
  const { b_pages, b_page_count } = bp;
  state.stats.maps++;
  state.stats.mapped_pages += b_page_count;
  if (bp.b_target.bt_buf_map === "vm_map_ram") {
    return yield* vm_map_ram(t, b_pages, b_page_count, -1, PAGE_KERNEL);
  }
  yield* read_line(t, state.as_line);
  if (state.as_list_len > AS_LIST_MAX) yield* purge_addresses(t, state);
  return yield* vmap(t, b_pages, b_page_count, VM_MAP, PAGE_KERNEL);
}

/**
 * Takes back the address of `bp`, which nobody uses any more.
 *
 * Context: process.
 */
export function* xfs_buf_unmap(t: Thread, bp: XfsBuf): Steps {
  if ((bp.b_flags & XBF_MAPPED) === 0) return;
  if (bp.b_page_count > 1) {
    const addr = bp.b_addr - bp.b_offset;
    if (bp.b_target.bt_buf_map === "vm_map_ram") {
      yield* vm_unmap_ram(t, addr, bp.b_page_count);
    } else {
      yield* free_address(t, t.k.xfs_buf!, addr);
    }
  }
  bp.b_addr = 0;
  bp.b_flags &= ~XBF_MAPPED;
}

/** Has `addr` unmapped some time; at once if there is no memory to remember it. */
function* free_address(t: Thread, state: XfsBufState, addr: number): Steps {
  enter(t, FREE_ADDRESS);
  charge(t, 10);
  const mem = state.unmap_at_once
    ? null
    : yield* kmalloc(t, A_LIST_BYTES, GFP_NOWAIT | __GFP_NOWARN);
  if (mem === null) {
    yield* vunmap(t, addr);
  } else {
    yield* spin_lock(t, state.as_lock);
    charge(t, 5);
    touch_write(t, mem.line);
    const entry: AListEntry = { vm_addr: addr, mem, next: state.as_free_head };
    state.as_free_head = entry;
    state.as_list_len++;
    yield* spin_unlock(t, state.as_lock);
  }
  leave(t);
}

/** Unmaps every address that waits. Context: process. Locks: takes as_lock. */
export function* purge_addresses(t: Thread, state: XfsBufState): Steps {
  enter(t, PURGE_ADDRESSES);
  charge(t, 4);
  yield* read_line(t, state.as_line);
  if (state.as_free_head !== null) {
    yield* spin_lock(t, state.as_lock);
    let entry: AListEntry | null = state.as_free_head;
    state.as_free_head = null;
    state.as_list_len = 0;
    yield* spin_unlock(t, state.as_lock);
    if (entry !== null) state.stats.purges++;
    while (entry !== null) { // ours alone now
      charge(t, 5);
      yield* vunmap(t, entry.vm_addr);
      yield* kfree(t, entry.mem);
      entry = entry.next;
    }
  }
  leave(t);
}
