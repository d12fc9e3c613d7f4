/** Metadata buffers (fs/xfs/linux-2.6/xfs_buf.c). Interface first: the bodies follow. */
import type { Steps } from "../../../arch/asm.ts";
import type { BlockDevice } from "../../block/block_device.ts";
import { BUG } from "../../bug.ts";
import type { Errno } from "../../lib/errno.ts";
import type { Page } from "../../mm/page.ts";
import { SlabObject } from "../../mm/slab.ts";
import type { Thread } from "../../thread.ts";

/** Read. */
export const XBF_READ = 1 << 0;
/** Mapped, or to be mapped. */
export const XBF_MAPPED = 1 << 2;
/** Nobody waits for it. */
export const XBF_ASYNC = 1 << 4;
/** Its contents are valid. */
export const XBF_DONE = 1 << 5;
/** Take the buffer's lock. */
export const XBF_LOCK = 1 << 14;
/** Do not wait for it. */
export const XBF_TRYLOCK = 1 << 15;

/** How buffers of several pages are mapped: `xfs.buf_map=`. */
export type BufMap = "vmap" | "vm_map_ram";

/** A device that buffers are of. */
export class XfsBuftarg {
  /** Block size of the file system, bytes; see xfs_setsize_buftarg(). */
  bt_bsize = 0;
  /** Sector size of the file system, bytes. */
  bt_sectorsize = 0;

  constructor(
    readonly bt_bdev: BlockDevice,
    /** Mount name, for messages. */
    readonly bt_name: string,
    readonly bt_buf_map: BufMap,
  ) {}
}

/** One buffer. */
export class XfsBuf extends SlabObject {
  /** Virtual address of its first byte; 0 = not mapped. */
  b_addr = 0;
  /** Bytes. */
  b_count_desired = 0;
  /** Where it starts, 512-byte sectors. */
  b_bn = -1;
  readonly b_pages: Page[] = [];
  b_page_count = 0;
  b_flags = 0;
  b_error: 0 | Errno = 0;
  b_target!: XfsBuftarg;
}

/** Makes a buffer target of `bdev`. */
export function xfs_alloc_buftarg(
  t: Thread,
  _bdev: BlockDevice,
  _name: string,
  _buf_map?: BufMap,
): Steps<XfsBuftarg | Errno> {
  return BUG(t, "xfs_alloc_buftarg() is to come");
}
/** Sets block and sector size once the superblock is known, bytes. @returns 0 or -EINVAL. */
export function xfs_setsize_buftarg(
  t: Thread,
  _btp: XfsBuftarg,
  _blocksize: number,
  _sectorsize: number,
): 0 | Errno {
  return BUG(t, "xfs_setsize_buftarg() is to come");
}
/** Waits for the last buffer, and gives everything back, cached pages too. */
export function xfs_free_buftarg(t: Thread, _btp: XfsBuftarg): Steps {
  return BUG(t, "xfs_free_buftarg() is to come");
}

/**
 * The buffer of `len` sectors at sector `blkno`: locked, mapped, read.
 *
 * @param flags `XBF_LOCK | XBF_MAPPED` as a rule.
 * @returns -EIO, -ENOMEM, -EUCLEAN (outside of the device), -EAGAIN (XBF_TRYLOCK).
 */
export function xfs_buf_read(
  t: Thread,
  _target: XfsBuftarg,
  _blkno: number,
  _len: number,
  _flags: number,
): Steps<XfsBuf | Errno> {
  return BUG(t, "xfs_buf_read() is to come");
}
/** Starts to read a buffer that will be asked for soon. */
export function xfs_buf_readahead(
  t: Thread,
  _target: XfsBuftarg,
  _blkno: number,
  _len: number,
  _flags: number,
): Steps {
  return BUG(t, "xfs_buf_readahead() is to come");
}
/** Unlocks and releases. */
export function xfs_buf_relse(t: Thread, _bp: XfsBuf): Steps {
  return BUG(t, "xfs_buf_relse() is to come");
}
export function xfs_buf_hold(t: Thread, _bp: XfsBuf): Steps {
  return BUG(t, "xfs_buf_hold() is to come");
}
export function xfs_buf_rele(t: Thread, _bp: XfsBuf): Steps {
  return BUG(t, "xfs_buf_rele() is to come");
}
export function xfs_buf_lock(t: Thread, _bp: XfsBuf): Steps {
  return BUG(t, "xfs_buf_lock() is to come");
}
export function xfs_buf_unlock(t: Thread, _bp: XfsBuf): Steps {
  return BUG(t, "xfs_buf_unlock() is to come");
}
