/**
 * Blocks of directories in memory (fs/xfs/xfs_da_btree.c: xfs_da_do_buf(),
 * xfs_da_buf_make()).
 *
 * A directory block may lie in several extents; it is then read as several
 * buffers and copied into one piece of memory.
 *
 * Lock order: an XFS_ILOCK of the directory; one buffer inside at a time.
 *
 * Differs from 2.6.28: a buffer is unlocked once it is read, not when it is
 * released. Nobody writes, and who wants it is kept out by the directory's
 * i_mutex; but on a corrupt file system the block wanted next may be one that is
 * held already, which would be a wait for oneself. What kind of block it must
 * be is said by the caller: the magic number must be that kind's, and on
 * version 5 the owner this directory. No read-ahead.
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import { EIO, ENOMEM, err, type Errno, EUCLEAN } from "../../lib/errno.ts";
import { GFP_KERNEL } from "../../mm/gfp.ts";
import {
  kfree,
  kmalloc,
  kmem_cache_alloc,
  kmem_cache_free,
} from "../../mm/slab.ts";
import type { Thread } from "../../thread.ts";
import { copy_out, get_be16, get_be32, get_be64 } from "./xfs_access.ts";
import { xfs_bmapi } from "./xfs_bmap.ts";
import { xfs_buf_rele, xfs_buf_unlock } from "./xfs_buf.ts";
import type { XfsDabuf } from "./xfs_da_types.ts";
import type { XfsDaOps } from "./xfs_dir2_verify.ts";
import { HOLESTARTBLOCK, type XfsInode } from "./xfs_inode_types.ts";
import {
  xfs_alert,
  xfs_corruption_error,
  xfs_error_report,
} from "./xfs_message.ts";
import { XFS_FSB_TO_BB, XFS_FSB_TO_DADDR } from "./xfs_units.ts";
import {
  page_range,
  xfs_buf_verify,
  xfs_trans_read_buf,
} from "./xfs_verify.ts";

const XFS_DA_DO_BUF = ksym("xfs_da_do_buf");
const XFS_DA_BUF_MAKE = ksym("xfs_da_buf_make");
const XFS_DA_BRELSE = ksym("xfs_da_brelse");
const MEMCPY = ksym("memcpy");

/** Bytes that are copied between two looks at the clock. */
const COPY_BYTES = 4096;
/** Bytes of a directory block that a complaint shows. */
const DUMP_BYTES = 16;

/**
 * The directory block that starts at block `bno` of `dp`, in one piece, of the
 * kind `ops`. It stays until xfs_da_brelse().
 *
 * Locks: an XFS_ILOCK held, and the extents in memory.
 *
 * @returns -EUCLEAN if it is not there or not that; -EIO, -ENOMEM.
 */
export function* xfs_da_read_buf(
  t: Thread,
  dp: XfsInode,
  bno: number,
  ops: XfsDaOps,
): Steps<XfsDabuf | Errno> {
  enter(t, XFS_DA_DO_BUF);
  charge(t, 60);
  const dabuf = yield* kmem_cache_alloc(
    t,
    dp.i_mount.m_zones.dabuf,
    GFP_KERNEL,
  );
  if (dabuf === null) {
    leave(t);
    return err(ENOMEM);
  }
  dabuf.bps.length = 0;
  dabuf.copy = null;
  dabuf.data = 0;
  const error = (yield* read_extents(t, dp, bno, dabuf)) ||
    xfs_buf_verify(t, dp.i_mount, dabuf.bps, ops) ||
    (yield* xfs_da_buf_make(t, dp, dabuf)) ||
    (yield* check_kind(t, dp, dabuf, ops));
  if (error !== 0) {
    yield* xfs_da_brelse(t, dp, dabuf);
    leave(t);
    return error === err(ENOMEM) || error === err(EIO) ? error : err(EUCLEAN);
  }
  leave(t);
  return dabuf;
}

/** Reads the buffers of the block. */
function* read_extents(
  t: Thread,
  dp: XfsInode,
  bno: number,
  dabuf: XfsDabuf,
): Steps<0 | Errno> {
  const mp = dp.i_mount;
  const n = xfs_bmapi(t, dp, bno, mp.m_dirblkfsbs, dabuf.maps, mp.m_dirblkfsbs);
  for (let i = 0; i < n; i++) {
    const { br_startblock, br_unwritten } = dabuf.maps[i];
    charge(t, 6);
    if (br_startblock === HOLESTARTBLOCK || br_unwritten) {
      mp.m_corruptions++;
      xfs_alert(t, mp, `xfs_da_do_buf: bno ${bno} dir: inode ${dp.i_ino}`);
      xfs_error_report(t, mp, "xfs_da_do_buf(1)");
      return err(EUCLEAN);
    }
  }
  for (let i = 0; i < n; i++) {
    const { br_startblock, br_blockcount } = dabuf.maps[i];
    const blkno = XFS_FSB_TO_DADDR(mp, br_startblock);
    const len = XFS_FSB_TO_BB(mp, br_blockcount);
    const bp = yield* xfs_trans_read_buf(t, mp, blkno, len, null);
    if (typeof bp === "number") return bp;
    yield* xfs_buf_unlock(t, bp);
    dabuf.bps.push(bp);
  }
  return 0;
}

/** Puts the block in one piece. @returns 0 or -ENOMEM. */
function* xfs_da_buf_make(
  t: Thread,
  dp: XfsInode,
  dabuf: XfsDabuf,
): Steps<0 | Errno> {
  enter(t, XFS_DA_BUF_MAKE);
  charge(t, 16);
  const { bps } = dabuf;
  if (bps.length === 1) {
    dabuf.data = bps[0].b_addr;
    leave(t);
    return 0;
  }
  const copy = yield* kmalloc(t, dp.i_mount.m_dirblksize, GFP_KERNEL);
  if (copy === null) {
    leave(t);
    return err(ENOMEM);
  }
  dabuf.copy = copy;
  dabuf.data = t.k.pages.directMapStart + copy.paddr;
  enter(t, MEMCPY);
  const piece = new Uint8Array(COPY_BYTES);
  let to = copy.paddr;
  for (const bp of bps) {
    for (let at = 0; at < bp.b_count_desired;) {
      const n = Math.min(COPY_BYTES, bp.b_count_desired - at);
      yield* copy_out(t, bp.b_addr + at, n, piece);
      charge(t, n / 8);
      t.k.machine.memory.writeBytes(to, piece.subarray(0, n));
      at += n;
      to += n;
    }
  }
  leave(t);
  leave(t);
  return 0;
}

/** Looks at what the block says it is, and whose. */
function* check_kind(
  t: Thread,
  dp: XfsInode,
  dabuf: XfsDabuf,
  ops: XfsDaOps,
): Steps<0 | Errno> {
  const mp = dp.i_mount;
  const { data } = dabuf;
  charge(t, 12);
  const magic = ops.wide
    ? yield* get_be32(t, data + ops.magicAt)
    : yield* get_be16(t, data + ops.magicAt);
  const good = (magic === ops.magic[mp.crc] || magic === ops.other[mp.crc]) &&
    (mp.crc === 0 || (yield* get_be64(t, data + ops.ownerAt)) === dp.i_ino);
  if (good) return 0;
  mp.m_corruptions++;
  const bytes = page_range(t, dabuf.bps[0], 0, DUMP_BYTES);
  xfs_corruption_error(t, mp, "xfs_da_do_buf(2)", bytes);
  return err(EUCLEAN);
}

/** Gives back what {@linkcode xfs_da_read_buf} returned. */
export function* xfs_da_brelse(
  t: Thread,
  dp: XfsInode,
  dabuf: XfsDabuf,
): Steps {
  enter(t, XFS_DA_BRELSE);
  charge(t, 14);
  while (dabuf.bps.length > 0) yield* xfs_buf_rele(t, dabuf.bps.pop()!);
  if (dabuf.copy !== null) yield* kfree(t, dabuf.copy);
  dabuf.copy = null;
  dabuf.data = 0;
  yield* kmem_cache_free(t, dp.i_mount.m_zones.dabuf, dabuf);
  leave(t);
}
