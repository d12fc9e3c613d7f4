/**
 * The data fork of an inode that has been read (xfs_iformat() of
 * fs/xfs/xfs_inode.c): the data themselves, extents, or the root of a btree of
 * extents; and what cannot be.
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import { ENOMEM, err, type Errno, EUCLEAN } from "../../lib/errno.ts";
import { GFP_KERNEL } from "../../mm/gfp.ts";
import { kmalloc } from "../../mm/slab.ts";
import type { Thread } from "../../thread.ts";
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from "../inode_types.ts";
import { bad_dir_extents, new_irec, xfs_iext_append } from "./xfs_bmap.ts";
import { xfs_bmbt_get_rec } from "./xfs_bmap_btree.ts";
import { be16 } from "./xfs_bytes.ts";
import { xfs_dfork_dsize, xfs_dinode_size } from "./xfs_dinode.ts";
import { xfs_dir2_sf_verify } from "./xfs_dir2_sf.ts";
import {
  BMBT_REC_BYTES,
  XFS_BTREE_MAXLEVELS,
  XFS_DIFLAG_REALTIME,
  XFS_DINODE_FMT_BTREE,
  XFS_DINODE_FMT_DEV,
  XFS_DINODE_FMT_EXTENTS,
  XFS_DINODE_FMT_LOCAL,
  XFS_DIR2_SPACE_SIZE,
} from "./xfs_format.ts";
import {
  XFS_IFBROOT,
  XFS_IFEXTENTS,
  XFS_IFINLINE,
  type XfsInode,
} from "./xfs_inode_types.ts";
import {
  xfs_alert,
  xfs_corruption_error,
  xfs_inode_verifier_error,
} from "./xfs_message.ts";

const XFS_IFORMAT = ksym("xfs_iformat");

/** Data up to this many bytes lie in the xfs_inode. */
const INLINE_DATA_BYTES = 32;

/** Says that a verifier refuses the inode. */
export function bad_inode(
  t: Thread,
  ip: XfsInode,
  verifier: string,
  badCrc: boolean,
  bytes: Uint8Array,
): Errno {
  const mp = ip.i_mount;
  mp.m_corruptions++;
  xfs_inode_verifier_error(t, mp, badCrc, verifier, ip.i_ino, bytes);
  return err(EUCLEAN);
}

/** Says that the inode cannot be. */
function corrupt(t: Thread, ip: XfsInode, tag: string, what: string): Errno {
  const mp = ip.i_mount;
  mp.m_corruptions++;
  xfs_alert(t, mp, `corrupt dinode ${ip.i_ino}, ${what}.`);
  xfs_corruption_error(t, mp, tag, ip.dinode(mp.m_sb.sb_inodesize));
  return err(EUCLEAN);
}

/** Sets the data fork up from the inode's bytes. @returns 0; -EUCLEAN, -ENOMEM. */
export function* xfs_iformat(t: Thread, ip: XfsInode): Steps<0 | Errno> {
  enter(t, XFS_IFORMAT);
  charge(t, 60);
  const error = yield* format_fork(t, ip);
  leave(t);
  return error;
}

function* format_fork(t: Thread, ip: XfsInode): Steps<0 | Errno> {
  const { i_mount: mp, i_d: d } = ip;
  if (d.di_mode === 0) return 0;
  const space = mp.m_sb.sb_inodesize - xfs_dinode_size(d.di_version);
  if (d.di_nextents + d.di_anextents > d.di_nblocks) {
    const total = d.di_nextents + d.di_anextents;
    const what = `extent total = ${total}, nblocks = ${d.di_nblocks}`;
    return corrupt(t, ip, "xfs_iformat(1)", what);
  }
  if (d.di_forkoff * 8 >= space) {
    const what = `forkoff = 0x${d.di_forkoff.toString(16)}`;
    return corrupt(t, ip, "xfs_iformat(2)", what);
  }
  if ((d.di_flags & XFS_DIFLAG_REALTIME) !== 0) { // there is no such device
    return corrupt(t, ip, "xfs_iformat(realtime)", "has realtime flag set");
  }
  const type = d.di_mode & S_IFMT;
  if (type !== S_IFREG && type !== S_IFDIR && type !== S_IFLNK) {
    return d.di_format === XFS_DINODE_FMT_DEV
      ? 0
      : corrupt(t, ip, "xfs_iformat(3)", "a special file with data");
  }
  if (type === S_IFDIR && d.di_size > XFS_DIR2_SPACE_SIZE) {
    return corrupt(t, ip, "xfs_iformat(5)", `bad size ${d.di_size}`);
  }
  switch (d.di_format) {
    case XFS_DINODE_FMT_LOCAL:
      return type === S_IFREG
        ? corrupt(t, ip, "xfs_iformat(4)", "local format for regular file")
        : yield* xfs_iformat_local(t, ip);
    case XFS_DINODE_FMT_EXTENTS:
      return yield* xfs_iformat_extents(t, ip);
    case XFS_DINODE_FMT_BTREE:
      return yield* xfs_iformat_btree(t, ip);
    default:
      return corrupt(t, ip, "xfs_iformat(6)", `format ${d.di_format}`);
  }
}

/** Takes the memory that Linux has fork data in. @returns 0 or -ENOMEM. */
function* fork_memory(
  t: Thread,
  ip: XfsInode,
  bytes: number,
): Steps<0 | Errno> {
  const mem = yield* kmalloc(t, bytes, GFP_KERNEL);
  ip.i_df.if_data_mem = mem;
  return mem === null ? err(ENOMEM) : 0;
}

/** The data themselves: short directories and symbolic links. */
function* xfs_iformat_local(t: Thread, ip: XfsInode): Steps<0 | Errno> {
  const { i_df: ifp, i_d: d, i_mount: mp } = ip;
  if (d.di_size > xfs_dfork_dsize(ip)) {
    const what = `bad size ${d.di_size} for local inode`;
    return corrupt(t, ip, "xfs_iformat(5)", what);
  }
  if ((d.di_mode & S_IFMT) === S_IFDIR && !xfs_dir2_sf_verify(t, mp, ip)) {
    return bad_inode(t, ip, "xfs_dir2_sf_verify", false, ifp.if_data);
  }
  charge(t, 10 + Math.ceil(d.di_size / 8));
  ifp.if_bytes = d.di_size;
  ifp.if_flags = XFS_IFINLINE;
  return d.di_size > INLINE_DATA_BYTES
    ? yield* fork_memory(t, ip, d.di_size)
    : 0;
}

/** Extent records. */
function* xfs_iformat_extents(t: Thread, ip: XfsInode): Steps<0 | Errno> {
  const { i_df: ifp, i_d: d } = ip;
  if (d.di_nextents * BMBT_REC_BYTES > xfs_dfork_dsize(ip)) {
    const what = `extents = ${d.di_nextents}`;
    return corrupt(t, ip, "xfs_iformat_extents(1)", what);
  }
  const irec = new_irec();
  for (let i = 0; i < d.di_nextents; i++) {
    xfs_bmbt_get_rec(ifp.if_data, i * BMBT_REC_BYTES, irec);
    const error = yield* xfs_iext_append(t, ip, irec);
    if (error === err(EUCLEAN)) {
      return corrupt(t, ip, "xfs_iformat_extents(2)", `bad extent ${i}`);
    }
    if (error !== 0) return error;
  }
  if (bad_dir_extents(t, ip)) {
    const what = "extents that overlap";
    return corrupt(t, ip, "xfs_iformat_extents(2)", what);
  }
  ifp.if_flags = XFS_IFEXTENTS;
  return 0;
}

/** The root of a btree of extent records. */
function* xfs_iformat_btree(t: Thread, ip: XfsInode): Steps<0 | Errno> {
  const { i_df: ifp, i_d: d } = ip;
  const dsize = xfs_dfork_dsize(ip);
  const level = be16(ifp.if_data, 0);
  const numrecs = be16(ifp.if_data, 2);
  if (
    d.di_nextents <= Math.floor(dsize / BMBT_REC_BYTES) ||
    level === 0 || level > XFS_BTREE_MAXLEVELS ||
    numrecs === 0 || 4 + numrecs * 16 > dsize
  ) {
    return corrupt(t, ip, "xfs_iformat_btree", "btree");
  }
  ifp.if_bytes = dsize;
  ifp.if_flags = XFS_IFBROOT;
  return yield* fork_memory(t, ip, dsize);
}
