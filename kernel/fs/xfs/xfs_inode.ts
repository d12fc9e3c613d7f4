/**
 * Reading an inode (fs/xfs/xfs_inode.c): the cluster it is in, its fields, and
 * the start of its data: the bytes themselves, extents, or the root of a btree.
 *
 * Lock order: none held; buffers inside.
 *
 * Differs from Linux: the attribute fork is not read. An inode's checksum is
 * verified when it first comes from the disk, not each time; see xfs_verify.ts.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  touch_write,
} from "../../../arch/asm.ts";
import { EINVAL, ENOMEM, err, type Errno } from "../../lib/errno.ts";
import { INIT_LIST_HEAD } from "../../lib/list.ts";
import { GFP_KERNEL } from "../../mm/gfp.ts";
import { kfree, kmem_cache_alloc, kmem_cache_free } from "../../mm/slab.ts";
import type { Thread } from "../../thread.ts";
import { copy_out } from "./xfs_access.ts";
import { xfs_get_perag, xfs_ialloc_read_agi } from "./xfs_ag.ts";
import { xfs_iext_destroy } from "./xfs_bmap.ts";
import { xfs_buf_relse, type XfsBuf } from "./xfs_buf.ts";
import {
  xfs_dfork_dsize,
  xfs_dinode_from_disk,
  xfs_dinode_verify,
  xfs_dinode_verify_cksum,
} from "./xfs_dinode.ts";
import {
  BMBT_REC_BYTES,
  DI_CORE_V2,
  DI_CORE_V3,
  XFS_DINODE_FMT_BTREE,
  XFS_DINODE_FMT_EXTENTS,
  XFS_DINODE_FMT_LOCAL,
} from "./xfs_format.ts";
import { xfs_imap_lookup } from "./xfs_ialloc_btree.ts";
import { bad_inode, xfs_iformat } from "./xfs_inode_fork.ts";
import { XFS_INODE_BYTES, type XfsInode } from "./xfs_inode_types.ts";
import type { XfsMount } from "./xfs_mount_types.ts";
import {
  xfs_ag_block_count,
  XFS_AGB_TO_DADDR,
  XFS_FSB_TO_BB,
  XFS_INO_TO_AGBNO,
  XFS_INO_TO_AGINO,
  XFS_INO_TO_AGNO,
  XFS_INO_TO_OFFSET,
  xfs_verify_ino,
} from "./xfs_units.ts";
import { page_range, xfs_trans_read_buf } from "./xfs_verify.ts";

const XFS_IREAD = ksym("xfs_iread");
const XFS_IMAP = ksym("xfs_imap");
const XFS_ITOBP = ksym("xfs_itobp");
const XFS_IDESTROY = ksym("xfs_idestroy");
const XFS_DINODE_FROM_DISK = ksym("xfs_dinode_from_disk");
const MEMSET = ksym("memset");

/** Where an inode is. */
interface Imap {
  /** First sector of its cluster, and their number. */
  blkno: number;
  len: number;
  /** Byte in the cluster. */
  boffset: number;
}

/** Finds the cluster of inode `ino`. @returns -EINVAL if there can be none; -EUCLEAN, -EIO, -ENOMEM. */
function* xfs_imap(
  t: Thread,
  mp: XfsMount,
  ino: number,
): Steps<Imap | Errno> {
  enter(t, XFS_IMAP);
  charge(t, 70);
  const imap = xfs_verify_ino(mp, ino)
    ? yield* imap_of(t, mp, ino)
    : err(EINVAL);
  leave(t);
  return imap;
}

function* imap_of(t: Thread, mp: XfsMount, ino: number): Steps<Imap | Errno> {
  const agno = XFS_INO_TO_AGNO(mp, ino);
  const agbno = XFS_INO_TO_AGBNO(mp, ino);
  const { m_blocks_per_cluster: blocks, m_inoalign_mask: mask } = mp;
  const { sb_inodelog, sb_inopblock } = mp.m_sb;
  let offset = 0; // of the block within its chunk
  if (blocks > 1 && mask > 0) offset = agbno & mask;
  else if (blocks > 1) {
    const start = yield* chunk_of(t, mp, agno, XFS_INO_TO_AGINO(mp, ino));
    if (start < 0) return start as Errno;
    offset = agbno - Math.floor(start / sb_inopblock);
  }
  const within = offset % blocks;
  const cluster = agbno - within;
  if (cluster + blocks > xfs_ag_block_count(mp, agno)) return err(EINVAL);
  return {
    blkno: XFS_AGB_TO_DADDR(mp, agno, cluster),
    len: XFS_FSB_TO_BB(mp, blocks),
    boffset: (within * sb_inopblock + XFS_INO_TO_OFFSET(mp, ino)) *
      2 ** sb_inodelog,
  };
}

function* chunk_of(
  t: Thread,
  mp: XfsMount,
  agno: number,
  agino: number,
): Steps<number | Errno> {
  const pag = xfs_get_perag(t, mp, agno);
  if (!pag.pagi_init) {
    const error = yield* xfs_ialloc_read_agi(t, mp, pag);
    if (error !== 0) return error;
  }
  return yield* xfs_imap_lookup(t, mp, pag, agino);
}

/**
 * Reads inode `ino`, which nobody else has yet.
 *
 * Context: process.
 *
 * @returns -EINVAL if there is no such inode; -EUCLEAN, -EIO, -ENOMEM.
 */
export function* xfs_iread(
  t: Thread,
  mp: XfsMount,
  ino: number,
): Steps<XfsInode | Errno> {
  enter(t, XFS_IREAD);
  charge(t, 90);
  const ip = yield* kmem_cache_alloc(t, mp.m_zones.inode, GFP_KERNEL);
  if (ip === null) {
    leave(t);
    return err(ENOMEM);
  }
  enter(t, MEMSET);
  charge(t, XFS_INODE_BYTES / 8);
  touch_write(t, ip.line);
  leave(t);
  ip.init_once();
  ip.i_mount = mp;
  ip.i_ino = ino;
  ip.i_pag = null;
  ip.i_vnode = null;
  INIT_LIST_HEAD(ip.i_mlist);
  ip.i_df.reset();
  const error = yield* read_dinode(t, ip);
  if (error !== 0) {
    yield* xfs_idestroy(t, ip);
    leave(t);
    return error;
  }
  leave(t);
  return ip;
}

/** Gives back what {@linkcode xfs_iread} returned, which nobody else has any more. */
export function* xfs_idestroy(t: Thread, ip: XfsInode): Steps {
  enter(t, XFS_IDESTROY);
  charge(t, 20);
  const { i_df: ifp, i_mount: mp } = ip;
  yield* xfs_iext_destroy(t, ifp);
  if (ifp.if_data_mem !== null) yield* kfree(t, ifp.if_data_mem);
  ifp.if_data_mem = null;
  ifp.reset();
  yield* kmem_cache_free(t, mp.m_zones.inode, ip);
  leave(t);
}

function* read_dinode(t: Thread, ip: XfsInode): Steps<0 | Errno> {
  const mp = ip.i_mount;
  const imap = yield* xfs_imap(t, mp, ip.i_ino);
  if (typeof imap === "number") return imap;
  enter(t, XFS_ITOBP);
  charge(t, 30);
  const bp = yield* xfs_trans_read_buf(t, mp, imap.blkno, imap.len, null);
  leave(t);
  if (typeof bp === "number") return bp;
  const error = verify_in_pages(t, ip, bp, imap.boffset) ||
    (yield* copy_dinode(t, ip, bp.b_addr + imap.boffset));
  yield* xfs_buf_relse(t, bp);
  return error || (yield* xfs_iformat(t, ip));
}

/** Verifies an inode that has just come from the disk. Plain. */
function verify_in_pages(
  t: Thread,
  ip: XfsInode,
  bp: XfsBuf,
  boffset: number,
): 0 | Errno {
  const mp = ip.i_mount;
  if (mp.m_verified_inodes.has(ip.i_ino)) return 0;
  const bytes = page_range(t, bp, boffset, mp.m_sb.sb_inodesize);
  if (!xfs_dinode_verify_cksum(t, mp, bytes)) {
    return bad_inode(t, ip, "xfs_dinode_verify", true, bytes);
  }
  if (!xfs_dinode_verify(t, mp, ip.i_ino, bytes)) {
    return bad_inode(t, ip, "xfs_dinode_verify", false, bytes);
  }
  mp.m_verified_inodes.add(ip.i_ino);
  return 0;
}

/** Copies the inode at `addr` through the buffer's mapping: its fields, and what is in use of its data fork. */
function* copy_dinode(
  t: Thread,
  ip: XfsInode,
  addr: number,
): Steps<0 | Errno> {
  const { i_mount: mp, i_d: d } = ip;
  const bytes = ip.dinode(mp.m_sb.sb_inodesize);
  const core = mp.crc === 1 ? DI_CORE_V3 : DI_CORE_V2;
  enter(t, XFS_DINODE_FROM_DISK);
  yield* copy_out(t, addr, core, bytes);
  leave(t);
  if (!xfs_dinode_verify(t, mp, ip.i_ino, bytes)) {
    return bad_inode(t, ip, "xfs_iread", false, bytes);
  }
  enter(t, XFS_DINODE_FROM_DISK);
  xfs_dinode_from_disk(t, d, bytes);
  leave(t);
  const space = mp.m_sb.sb_inodesize - core;
  const used = Math.min(fork_bytes_used(ip), space);
  ip.i_df.if_data = bytes.subarray(core);
  if (used > 0) yield* copy_out(t, addr + core, used, ip.i_df.if_data);
  return 0;
}

/** Bytes of the data fork that mean something. */
function fork_bytes_used(ip: XfsInode): number {
  const d = ip.i_d;
  switch (d.di_format) {
    case XFS_DINODE_FMT_LOCAL:
      return d.di_size;
    case XFS_DINODE_FMT_EXTENTS:
      return d.di_nextents * BMBT_REC_BYTES;
    case XFS_DINODE_FMT_BTREE:
      return xfs_dfork_dsize(ip);
    default:
      return 8; // a device's number
  }
}
