/**
 * Metadata buffers (fs/xfs/linux-2.6/xfs_buf.c of 2.6.28): stretches of a
 * device, read, mapped and locked for one user at a time. The interface, and how
 * a buffer is found.
 *
 * What is cached between uses is pages, not buffers: the last reference takes
 * the address away, and the next user finds the pages again and maps them
 * again. On a directory of 64 KiB blocks that is a vmap() and a vunmap() a
 * lookup, which is why XFS was the vmap layer's heaviest user.
 *
 *     xfs_buf_types.ts   what a buffer and its target are
 *     xfs_buftarg.ts     targets, xfsbufd
 *     xfs_buf_hold.ts    references and the lock
 *     xfs_buf_pages.ts   pages
 *     xfs_buf_map.ts     addresses
 *     xfs_buf_io.ts      reading
 *
 * Lock order:
 *
 *     b_sema
 *       PG_locked
 *         mapping.tree_lock
 *       hash.bh_lock
 *       as_lock
 *
 * Differs from Linux: what lies outside of the device is refused before it gets
 * pages (3.10 began to); a buffer that could get no pages is completed by whoever
 * gets its lock next. Left out: writing, stale buffers, buffers without a device.
 */
import {
  atomic_add_return,
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  touch_read,
  touch_write,
} from "../../../arch/asm.ts";
import { EAGAIN, ENOMEM, err, type Errno, EUCLEAN } from "../../lib/errno.ts";
import { hash_long } from "../../lib/hash.ts";
import { list_add, list_entry, list_move } from "../../lib/list.ts";
import { sema_init } from "../../locking/semaphore.ts";
import {
  lockdep_assert_held,
  spin_lock,
  spin_unlock,
} from "../../locking/spinlock.ts";
import { mark_page_accessed } from "../../mm/filemap.ts";
import { kmem_cache_alloc, kmem_cache_free } from "../../mm/slab.ts";
import { KERN_ALERT, KERN_WARNING, printk } from "../../printk.ts";
import type { Thread } from "../../thread.ts";
import {
  xfs_buf_cond_lock,
  xfs_buf_lock,
  xfs_buf_rele,
  xfs_buf_relse,
  xfs_buf_unlock,
} from "./xfs_buf_hold.ts";
import { xfs_buf_iodone_work, xfs_buf_iostart } from "./xfs_buf_io.ts";
import { _xfs_buf_map_pages } from "./xfs_buf_map.ts";
import { _xfs_buf_lookup_pages, xb_to_gfp } from "./xfs_buf_pages.ts";
import {
  BBSHIFT,
  XBF_ARGUMENTS,
  XBF_ASYNC,
  XBF_DONE,
  XBF_MAPPED,
  XBF_READ,
  XBF_READ_AHEAD,
  XBF_TRYLOCK,
  XFS_BUF_BYTES,
  type XfsBuf,
  type XfsBufhash,
  type XfsBuftarg,
} from "./xfs_buf_types.ts";

export {
  xfs_buf_cond_lock,
  xfs_buf_hold,
  xfs_buf_lock,
  xfs_buf_rele,
  xfs_buf_relse,
  xfs_buf_unlock,
} from "./xfs_buf_hold.ts";
export {
  type BufMap,
  XBF_ASYNC,
  XBF_DONE,
  XBF_DONT_BLOCK,
  XBF_LOCK,
  XBF_MAPPED,
  XBF_READ,
  XBF_READ_AHEAD,
  XBF_TRYLOCK,
  XfsBuf,
  XfsBuftarg,
} from "./xfs_buf_types.ts";
export {
  xfs_alloc_buftarg,
  xfs_free_buftarg,
  xfs_setsize_buftarg,
} from "./xfs_buftarg.ts";

const XFS_BUF_GET_FLAGS = ksym("xfs_buf_get_flags");
const XFS_BUF_READ_FLAGS = ksym("xfs_buf_read_flags");
const XFS_BUF_READAHEAD = ksym("xfs_buf_readahead");
const _XFS_BUF_FIND = ksym("_xfs_buf_find");
const _XFS_BUF_INITIALIZE = ksym("_xfs_buf_initialize");
const MEMSET = ksym("memset");

/** Longest buffer, sectors: 1 MiB, sixteen times the largest block of a directory. */
const MAX_SECTORS = 2048;

/**
 * The buffer of `len` sectors at sector `blkno`: locked, mapped, its contents
 * valid.
 *
 * Context: process. Locks: b_sema, on return.
 *
 * @param flags `XBF_LOCK | XBF_MAPPED` as a rule; a buffer of one page is mapped in any case.
 * @returns -EIO, -ENOMEM; -EUCLEAN (EFSCORRUPTED) outside of the device;
 *   -EAGAIN if XBF_TRYLOCK finds it locked.
 */
export function* xfs_buf_read(
  t: Thread,
  target: XfsBuftarg,
  blkno: number,
  len: number,
  flags: number,
): Steps<XfsBuf | Errno> {
  enter(t, XFS_BUF_READ_FLAGS);
  charge(t, 10);
  const bp = yield* xfs_buf_get(t, target, blkno, len, flags | XBF_READ);
  if (typeof bp === "number") {
    leave(t);
    return bp;
  }
  let error: 0 | Errno = 0;
  if ((bp.b_flags & XBF_DONE) === 0) {
    error = yield* xfs_buf_iostart(t, bp, XBF_READ);
    if (error !== 0) yield* xfs_buf_relse(t, bp);
  } else {
    bp.b_flags &= ~XBF_READ;
  }
  leave(t);
  return error === 0 ? bp : error;
}

/**
 * Starts to read a buffer that somebody will ask for, unless it is locked or
 * its pages are there. Nobody is told how that goes.
 *
 * Context: process.
 */
export function* xfs_buf_readahead(
  t: Thread,
  target: XfsBuftarg,
  blkno: number,
  len: number,
  flags: number,
): Steps {
  enter(t, XFS_BUF_READAHEAD);
  charge(t, 10);
  const ahead = XBF_READ | XBF_TRYLOCK | XBF_ASYNC | XBF_READ_AHEAD;
  const bp = yield* xfs_buf_get(t, target, blkno, len, flags | ahead);
  if (typeof bp !== "number") {
    if ((bp.b_flags & XBF_DONE) === 0) yield* xfs_buf_iostart(t, bp, ahead);
    else yield* xfs_buf_relse(t, bp);
  }
  leave(t);
}

/**
 * The buffer of `len` sectors at sector `blkno`: locked and mapped. XBF_DONE
 * says whether its contents are valid.
 *
 * Context: process. Locks: b_sema, on return.
 *
 * @returns As {@linkcode xfs_buf_read}, but for -EIO.
 */
export function* xfs_buf_get(
  t: Thread,
  target: XfsBuftarg,
  blkno: number,
  len: number,
  flags: number,
): Steps<XfsBuf | Errno> {
  enter(t, XFS_BUF_GET_FLAGS);
  charge(t, 20);
  const state = t.k.xfs_buf!;
  state.stats.gets++;
  if (out_of_range(t, target, blkno, len)) {
    leave(t);
    return err(EUCLEAN);
  }
  const zone = state.xfs_buf_zone;
  const new_bp = yield* kmem_cache_alloc(t, zone, xb_to_gfp(flags));
  if (new_bp === null) {
    leave(t);
    return err(ENOMEM);
  }
  const bp = yield* _xfs_buf_find(t, target, blkno, len, flags, new_bp);
  if (bp !== new_bp) yield* kmem_cache_free(t, zone, new_bp);
  if (bp === null) {
    leave(t);
    return err(EAGAIN);
  }
  const error = yield* complete_buffer(t, bp, flags);
  if (error !== 0) {
    yield* xfs_buf_unlock(t, bp);
    yield* xfs_buf_rele(t, bp);
    leave(t);
    return error;
  }
  leave(t);
  return bp;
}

/** Gives `bp` pages and an address if it has none. Locks: bp.b_sema held. */
function* complete_buffer(
  t: Thread,
  bp: XfsBuf,
  flags: number,
): Steps<0 | Errno> {
  if (bp.b_page_count === 0) {
    const error = yield* _xfs_buf_lookup_pages(t, bp, flags);
    if (error !== 0) return error;
  }
  for (let i = 0; i < bp.b_page_count; i++) {
    yield* mark_page_accessed(t, bp.b_pages[i]);
  }
  if ((bp.b_flags & XBF_MAPPED) !== 0) return 0;
  const error = yield* _xfs_buf_map_pages(t, bp, flags);
  if (error !== 0) {
    printk(t, KERN_WARNING, "xfs_buf_get_flags: failed to map pages");
  }
  return error;
}

/** Whether the device has no such stretch; says so. */
function out_of_range(
  t: Thread,
  target: XfsBuftarg,
  blkno: number,
  len: number,
): boolean {
  const { sectors } = target.bt_bdev;
  const inside = Number.isInteger(blkno) && Number.isInteger(len) &&
    blkno >= 0 && len >= 1 && len <= MAX_SECTORS && blkno + len <= sectors;
  if (inside) return false;
  printk(
    t,
    KERN_ALERT,
    `XFS (${target.bt_name}): _xfs_buf_find: Block out of range: block 0x${
      blkno.toString(16)
    }, length ${len}, EOFS 0x${sectors.toString(16)}`,
  );
  return true;
}

/**
 * Looks a buffer up, or hashes `new_bp` in its place. It is locked then.
 *
 * Locks: takes hash.bh_lock, then b_sema.
 *
 * @returns `null` = locked, and XBF_TRYLOCK.
 */
function* _xfs_buf_find(
  t: Thread,
  target: XfsBuftarg,
  blkno: number,
  len: number,
  flags: number,
  new_bp: XfsBuf,
): Steps<XfsBuf | null> {
  enter(t, _XFS_BUF_FIND);
  charge(t, 24);
  const hash = target.bt_hash[hash_long(blkno, target.bt_hashshift)];
  yield* spin_lock(t, hash.bh_lock);
  const bp = search(t, hash, blkno, len);
  if (bp === null) {
    _xfs_buf_initialize(t, new_bp, target, hash, blkno, len, flags);
    yield* spin_unlock(t, hash.bh_lock);
    leave(t);
    return new_bp;
  }
  yield* atomic_add_return(t, bp.b_hold, 1);
  list_move(bp.b_hash_list, hash.bh_list);
  yield* spin_unlock(t, hash.bh_lock);
  let locked = yield* xfs_buf_cond_lock(t, bp);
  if (!locked) {
    if ((flags & XBF_TRYLOCK) !== 0) {
      yield* xfs_buf_rele(t, bp);
    } else {
      yield* xfs_buf_lock(t, bp);
      locked = true;
    }
  }
  leave(t);
  return locked ? bp : null;
}

/** Locks: hash.bh_lock held. */
function search(
  t: Thread,
  hash: XfsBufhash,
  blkno: number,
  len: number,
): XfsBuf | null {
  lockdep_assert_held(t, hash.bh_lock);
  const offset = blkno * 2 ** BBSHIFT;
  const length = len * 2 ** BBSHIFT;
  const head = hash.bh_list;
  for (let p = head.next; p !== head; p = p.next) {
    const bp = list_entry(p);
    charge(t, 6);
    touch_read(t, bp.b_hold.line);
    if (bp.b_file_offset === offset && bp.b_buffer_length === length) return bp;
  }
  return null;
}

/** Makes `bp`, whatever its memory was before, a new buffer, locked and hashed. Locks: hash.bh_lock held. */
function _xfs_buf_initialize(
  t: Thread,
  bp: XfsBuf,
  target: XfsBuftarg,
  hash: XfsBufhash,
  blkno: number,
  len: number,
  flags: number,
): void {
  lockdep_assert_held(t, hash.bh_lock);
  enter(t, _XFS_BUF_INITIALIZE);
  if (bp.b_hold === undefined) bp.attach(t.k, xfs_buf_iodone_work);
  enter(t, MEMSET);
  charge(t, 8 + XFS_BUF_BYTES / 8);
  touch_write(t, bp.b_sema.lock.slock.line);
  touch_write(t, bp.b_hold.line);
  touch_write(t, bp.b_io_remaining.line);
  leave(t);
  charge(t, 30);
  bp.b_hold.value = 1;
  sema_init(t, bp.b_iodonesema, 0);
  sema_init(t, bp.b_sema, 0); // locked
  bp.b_target = target;
  bp.b_hash = hash;
  bp.b_bn = blkno;
  bp.b_file_offset = blkno * 2 ** BBSHIFT;
  bp.b_buffer_length = bp.b_count_desired = len * 2 ** BBSHIFT;
  bp.b_flags = flags & ~XBF_ARGUMENTS & ~XBF_ASYNC;
  bp.b_addr = 0;
  bp.b_error = 0;
  bp.b_page_count = 0;
  bp.b_offset = 0;
  list_add(bp.b_hash_list, hash.bh_list);
  leave(t);
}
