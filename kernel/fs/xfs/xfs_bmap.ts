/**
 * Which blocks a file has (fs/xfs/xfs_bmap.c): extents in memory, read from the
 * inode or from a btree, and looked up by offset.
 *
 * Lock order: XFS_ILOCK_EXCL to read a btree's extents in, XFS_ILOCK_SHARED to
 * look one up; buffers inside.
 *
 * Differs from Linux: memory for extents is taken as they are read, not for as
 * many as the inode claims to have; extents that overlap, go backwards, or lie
 * outside of their group are refused.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  touch_read,
  touch_write,
} from "../../../arch/asm.ts";
import { ENOMEM, err, type Errno, EUCLEAN } from "../../lib/errno.ts";
import { GFP_KERNEL } from "../../mm/gfp.ts";
import { kfree, kmalloc } from "../../mm/slab.ts";
import type { Thread } from "../../thread.ts";
import { S_ISDIR } from "../inode_types.ts";
import { get_be16, get_be64 } from "./xfs_access.ts";
import {
  NULLFSBLOCK,
  xfs_bmbt_buf_ops,
  xfs_bmbt_ptr_offset,
  xfs_bmbt_read_rec,
  xfs_bmbt_rec_offset,
} from "./xfs_bmap_btree.ts";
import { xfs_buf_relse } from "./xfs_buf.ts";
import { be16, be64 } from "./xfs_bytes.ts";
import {
  BB_L_OWNER,
  BB_L_RIGHTSIB,
  BB_LEVEL,
  BB_NUMRECS,
  BMBT_REC_BYTES,
  XFS_BTREE_LBLOCK_LEN,
  XFS_DINODE_FMT_BTREE,
  XFS_DINODE_FMT_EXTENTS,
} from "./xfs_format.ts";
import {
  EXT_NUMBERS,
  HOLESTARTBLOCK,
  XFS_IFEXTENTS,
  type XfsBmbtIrec,
  type XfsIfork,
  type XfsInode,
} from "./xfs_inode_types.ts";
import { xfs_alert, xfs_error_report } from "./xfs_message.ts";
import {
  XFS_FSB_TO_BB,
  XFS_FSB_TO_DADDR,
  xfs_verify_fsbext,
} from "./xfs_units.ts";
import { xfs_trans_read_buf } from "./xfs_verify.ts";

const XFS_BMAPI = ksym("xfs_bmapi");
const XFS_BMAP_LAST_OFFSET = ksym("xfs_bmap_last_offset");
const XFS_BMAP_SEARCH_EXTENTS = ksym("xfs_bmap_search_extents");
const XFS_BMAP_READ_EXTENTS = ksym("xfs_bmap_read_extents");
const XFS_IREAD_EXTENTS = ksym("xfs_iread_extents");

/** Extents that lie in the inode itself (XFS_INLINE_EXTS). */
const INLINE_EXTS = 2;
/** Memory for extents is taken in pieces of this size (XFS_IEXT_BUFSZ). */
const IEXT_BUFSZ = 4096;
/** A step of the binary search: middle, load, unpack offset and length, two comparisons. */
const SEARCH_STEP_INSTRUCTIONS = 16;
/** xfs_bmapi() around the search: 13 arguments, checks of format and flags, trimming of one extent. */
const BMAPI_INSTRUCTIONS = 170;
/** Largest offset of a block in a file. */
const MAX_FILEOFF = 2 ** 54;

/** An extent with nothing in it. */
export function new_irec(): XfsBmbtIrec {
  return {
    br_startoff: 0,
    br_startblock: 0,
    br_blockcount: 0,
    br_unwritten: false,
  };
}

/**
 * Whether `irec` can follow the extents of `ifp`: in order, apart from those,
 * and on the disk.
 */
function good_extent(ip: XfsInode, irec: XfsBmbtIrec): boolean {
  const ifp = ip.i_df;
  let end = 0;
  if (ifp.if_nextents > 0) {
    const last = (ifp.if_nextents - 1) * EXT_NUMBERS;
    end = ifp.if_ext[last] + ifp.if_ext[last + 2];
  }
  return irec.br_startoff >= end &&
    irec.br_startoff + irec.br_blockcount <= MAX_FILEOFF &&
    xfs_verify_fsbext(ip.i_mount, irec.br_startblock, irec.br_blockcount);
}

/**
 * Adds an extent after the others.
 *
 * @returns 0; -ENOMEM; -EUCLEAN if it cannot be.
 */
export function* xfs_iext_append(
  t: Thread,
  ip: XfsInode,
  irec: XfsBmbtIrec,
): Steps<0 | Errno> {
  charge(t, 20);
  const ifp = ip.i_df;
  if (!good_extent(ip, irec)) return err(EUCLEAN);
  const n = ifp.if_nextents;
  const perBuf = IEXT_BUFSZ / BMBT_REC_BYTES;
  if (n >= INLINE_EXTS && n >= ifp.if_bufs.length * perBuf) {
    const buf = yield* kmalloc(t, IEXT_BUFSZ, GFP_KERNEL);
    if (buf === null) return err(ENOMEM);
    ifp.if_bufs.push(buf);
  }
  const at = n * EXT_NUMBERS;
  if (at === ifp.if_ext.length) {
    const grown = new Float64Array(2 * at);
    grown.set(ifp.if_ext);
    ifp.if_ext = grown;
  }
  ifp.if_ext[at] = irec.br_startoff;
  ifp.if_ext[at + 1] = irec.br_startblock;
  ifp.if_ext[at + 2] = irec.br_blockcount;
  ifp.if_ext[at + 3] = irec.br_unwritten ? 1 : 0;
  ifp.if_nextents++;
  return 0;
}

/**
 * Whether two extents of a file share blocks. Only directories are asked: one
 * that has a block twice could be read for ever, near enough.
 */
function xfs_iext_overlap(t: Thread, ifp: XfsIfork): boolean {
  const { if_ext, if_nextents: n } = ifp;
  charge(t, 4 + 10 * n);
  if (n < 2) return false;
  const starts = new Float64Array(n);
  const lengths = new Map<number, number>();
  for (let i = 0; i < n; i++) {
    starts[i] = if_ext[i * EXT_NUMBERS + 1];
    lengths.set(starts[i], if_ext[i * EXT_NUMBERS + 2]);
  }
  if (lengths.size < n) return true;
  starts.sort();
  for (let i = 1; i < n; i++) {
    if (starts[i - 1] + lengths.get(starts[i - 1])! > starts[i]) return true;
  }
  return false;
}

/** Forgets the extents, and gives their memory back. */
export function* xfs_iext_destroy(t: Thread, ifp: XfsIfork): Steps {
  ifp.if_nextents = 0;
  while (ifp.if_bufs.length > 0) yield* kfree(t, ifp.if_bufs.pop()!);
}

/**
 * Reads the extents of a file whose inode holds the root of a btree.
 *
 * Locks: XFS_ILOCK_EXCL held, or the inode new.
 *
 * @returns 0; -EUCLEAN, -EIO, -ENOMEM, with no extents in memory.
 */
export function* xfs_iread_extents(t: Thread, ip: XfsInode): Steps<0 | Errno> {
  enter(t, XFS_IREAD_EXTENTS);
  charge(t, 40);
  const error = yield* xfs_bmap_read_extents(t, ip);
  if (error === 0) {
    touch_write(t, ip.df_line);
    ip.i_df.if_flags |= XFS_IFEXTENTS;
  } else {
    yield* xfs_iext_destroy(t, ip.i_df);
  }
  leave(t);
  return error;
}

/** Whether `ip` is a directory with a block twice. */
export function bad_dir_extents(t: Thread, ip: XfsInode): boolean {
  return S_ISDIR(ip.i_d.di_mode) && xfs_iext_overlap(t, ip.i_df);
}

/** Says that the extents of `ip` make no sense. */
function corrupt_extents(t: Thread, ip: XfsInode, tag: string): Errno {
  const mp = ip.i_mount;
  mp.m_corruptions++;
  xfs_error_report(t, mp, tag);
  xfs_alert(t, mp, `corrupt dinode ${ip.i_ino}, (btree extents).`);
  return err(EUCLEAN);
}

function* xfs_bmap_read_extents(t: Thread, ip: XfsInode): Steps<0 | Errno> {
  enter(t, XFS_BMAP_READ_EXTENTS);
  const error = yield* read_extents(t, ip);
  leave(t);
  return error;
}

/**
 * Down the left edge of the tree, then along its leaves. Extents ascend, so
 * that a leaf that comes a second time ends it.
 */
function* read_extents(t: Thread, ip: XfsInode): Steps<0 | Errno> {
  const { i_mount: mp, i_df: ifp } = ip;
  const header = XFS_BTREE_LBLOCK_LEN[mp.crc];
  const irec = new_irec();
  const root = ifp.if_data;
  let level = be16(root, 0);
  const maxrecs = Math.floor((ifp.if_bytes - 4) / 16);
  let bno = be64(root, xfs_bmbt_ptr_offset(4, maxrecs));
  while (bno !== NULLFSBLOCK) {
    if (level > 0) level--;
    if (!xfs_verify_fsbext(mp, bno, 1)) {
      return corrupt_extents(t, ip, "xfs_bmap_read_extents(1)");
    }
    const bp = yield* xfs_trans_read_buf(
      t,
      mp,
      XFS_FSB_TO_DADDR(mp, bno),
      XFS_FSB_TO_BB(mp, 1),
      xfs_bmbt_buf_ops,
    );
    if (typeof bp === "number") return bp;
    const addr = bp.b_addr;
    const numrecs = yield* get_be16(t, addr + BB_NUMRECS);
    charge(t, 20);
    let bad = (yield* get_be16(t, addr + BB_LEVEL)) !== level ||
      numrecs > mp.m_bmap_dmxr ||
      (mp.crc === 1 && (yield* get_be64(t, addr + BB_L_OWNER)) !== ip.i_ino);
    let error: 0 | Errno = 0;
    if (!bad && level > 0) {
      const ptr = xfs_bmbt_ptr_offset(header, mp.m_bmap_dmxr);
      bno = yield* get_be64(t, addr + ptr);
    } else if (!bad) {
      for (let i = 0; i < numrecs && error === 0; i++) {
        yield* xfs_bmbt_read_rec(t, addr + xfs_bmbt_rec_offset(mp, i), irec);
        error = yield* xfs_iext_append(t, ip, irec);
      }
      bad = error === err(EUCLEAN) || ifp.if_nextents > ip.i_d.di_nextents;
      bno = yield* get_be64(t, addr + BB_L_RIGHTSIB);
    }
    yield* xfs_buf_relse(t, bp);
    if (bad) return corrupt_extents(t, ip, "xfs_bmap_read_extents(2)");
    if (error !== 0) return error;
  }
  return ifp.if_nextents === ip.i_d.di_nextents && !bad_dir_extents(t, ip)
    ? 0
    : corrupt_extents(t, ip, "xfs_iread_extents");
}

/** Whether `ip`'s extents are still on the disk only. Plain. */
export function extents_not_read(ip: XfsInode): boolean {
  return ip.i_d.di_format === XFS_DINODE_FMT_BTREE &&
    (ip.i_df.if_flags & XFS_IFEXTENTS) === 0;
}

/**
 * Block after the last of the file; 0 = it has none.
 *
 * Locks: an XFS_ILOCK held; EXCL if extents are to be read in.
 *
 * @returns -EUCLEAN if the inode has no extents, or bad ones.
 */
export function* xfs_bmap_last_offset(
  t: Thread,
  ip: XfsInode,
): Steps<number | Errno> {
  enter(t, XFS_BMAP_LAST_OFFSET);
  charge(t, 40);
  const { di_format } = ip.i_d;
  if (
    di_format !== XFS_DINODE_FMT_EXTENTS && di_format !== XFS_DINODE_FMT_BTREE
  ) {
    leave(t);
    return err(EUCLEAN);
  }
  if (extents_not_read(ip)) {
    const error = yield* xfs_iread_extents(t, ip);
    if (error !== 0) {
      leave(t);
      return error;
    }
  }
  const ifp = ip.i_df;
  touch_read(t, ip.df_line);
  const last = (ifp.if_nextents - 1) * EXT_NUMBERS;
  const end = last < 0 ? 0 : ifp.if_ext[last] + ifp.if_ext[last + 2];
  leave(t);
  return end;
}

/**
 * Number of the first extent of `ifp` that ends after block `bno`. Plain.
 *
 * @returns if_nextents = there is none.
 */
export function xfs_bmap_search_extents(
  t: Thread,
  ip: XfsInode,
  bno: number,
): number {
  enter(t, XFS_BMAP_SEARCH_EXTENTS);
  const { if_ext, if_nextents } = ip.i_df;
  charge(t, 30);
  let low = 0;
  let high = if_nextents;
  while (low < high) {
    charge(t, SEARCH_STEP_INSTRUCTIONS);
    const middle = (low + high) >>> 1;
    const at = middle * EXT_NUMBERS;
    if (if_ext[at] + if_ext[at + 2] > bno) high = middle;
    else low = middle + 1;
  }
  leave(t);
  return low;
}

/**
 * Where blocks `[bno, bno + len)` of the file are: extents and holes in order,
 * into `maps`, at most `nmap`. Plain.
 *
 * Locks: an XFS_ILOCK held, and the extents in memory.
 *
 * @returns How many of `maps` are filled in.
 */
export function xfs_bmapi(
  t: Thread,
  ip: XfsInode,
  bno: number,
  len: number,
  maps: XfsBmbtIrec[],
  nmap: number,
): number {
  enter(t, XFS_BMAPI);
  charge(t, BMAPI_INSTRUCTIONS);
  touch_read(t, ip.df_line);
  const { if_ext, if_nextents } = ip.i_df;
  const end = bno + len;
  let ext = xfs_bmap_search_extents(t, ip, bno);
  let at = bno;
  let n = 0;
  while (at < end && n < nmap) {
    charge(t, 30);
    const map = maps[n] ??= new_irec();
    n++;
    const i = ext * EXT_NUMBERS;
    const start = ext < if_nextents ? if_ext[i] : Infinity;
    map.br_startoff = at;
    if (start > at) {
      map.br_startblock = HOLESTARTBLOCK;
      map.br_blockcount = Math.min(start, end) - at;
      map.br_unwritten = false;
    } else {
      map.br_startblock = if_ext[i + 1] + (at - start);
      map.br_blockcount = Math.min(start + if_ext[i + 2], end) - at;
      map.br_unwritten = if_ext[i + 3] !== 0;
      ext++;
    }
    at += map.br_blockcount;
  }
  leave(t);
  return n;
}
