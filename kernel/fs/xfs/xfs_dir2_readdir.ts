/**
 * Reading directories (fs/xfs/xfs_dir2.c: xfs_readdir(), xfs_dir2_block.c,
 * xfs_dir2_leaf.c): entries in the order in which they lie in data blocks. A
 * position is the address of the next entry, in units of 8 bytes.
 *
 * Locks: an XFS_ILOCK of the directory held throughout, EXCL if its extents are
 * still to be read in; 2.6.28 relied on i_mutex alone. No read-ahead.
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import { err, type Errno, EUCLEAN } from "../../lib/errno.ts";
import type { Thread } from "../../thread.ts";
import type { DirContext } from "../inode_types.ts";
import {
  copy_out,
  get_be16,
  get_be32,
  get_be64,
  get_u8,
} from "./xfs_access.ts";
import { xfs_bmap_search_extents } from "./xfs_bmap.ts";
import type { XfsDabuf } from "./xfs_da_types.ts";
import { xfs_da_brelse, xfs_da_read_buf } from "./xfs_dabuf.ts";
import { xfs_dir2_form } from "./xfs_dir2.ts";
import { corrupt_dir } from "./xfs_dir2_data.ts";
import { xfs_dir2_sf_getdents } from "./xfs_dir2_sf.ts";
import {
  xfs_dir3_block_buf_ops,
  xfs_dir3_data_buf_ops,
} from "./xfs_dir2_verify.ts";
import {
  BTP_COUNT,
  DEP_INUMBER,
  DEP_NAME,
  DEP_NAMELEN,
  DIR2_BLOCK_TAIL_BYTES,
  DIR2_DATA_ENTRY,
  DIR2_LEAF_ENTRY_BYTES,
  DUP_FREETAG,
  DUP_LENGTH,
  MAXNAMELEN,
  XFS_DIR2_DATA_FREE_TAG,
  XFS_DIR3_FILETYPE_TABLE,
  XFS_DIR3_FT_MAX,
} from "./xfs_format.ts";
import { EXT_NUMBERS, type XfsInode } from "./xfs_inode_types.ts";
import {
  xfs_dir2_data_entsize,
  xfs_dir2_dataptr_to_db,
  xfs_dir2_dataptr_to_off,
  xfs_dir2_db_off_to_dataptr,
  xfs_dir2_db_to_da,
  xfs_verify_ino,
} from "./xfs_units.ts";

const XFS_READDIR = ksym("xfs_readdir");
const XFS_DIR2_BLOCK_GETDENTS = ksym("xfs_dir2_block_getdents");
const XFS_DIR2_LEAF_GETDENTS = ksym("xfs_dir2_leaf_getdents");

/** Gives ctx.actor the entries from ctx.pos on. @returns 0; -EUCLEAN, -EIO, -ENOMEM. */
export function* xfs_readdir(
  t: Thread,
  dp: XfsInode,
  ctx: DirContext,
): Steps<0 | Errno> {
  enter(t, XFS_READDIR);
  charge(t, 30);
  const form = yield* xfs_dir2_form(t, dp);
  let error: 0 | Errno = 0;
  switch (form) {
    case "short":
      xfs_dir2_sf_getdents(t, dp, ctx);
      break;
    case "block":
      error = yield* block_getdents(t, dp, ctx);
      break;
    case "leaf":
    case "node":
      error = yield* leaf_getdents(t, dp, ctx);
      break;
    default:
      error = form;
  }
  leave(t);
  return error;
}

function* block_getdents(
  t: Thread,
  dp: XfsInode,
  ctx: DirContext,
): Steps<0 | Errno> {
  const mp = dp.i_mount;
  if (xfs_dir2_dataptr_to_db(mp, ctx.pos) > 0) return 0;
  enter(t, XFS_DIR2_BLOCK_GETDENTS);
  charge(t, 30);
  const bp = yield* xfs_da_read_buf(t, dp, 0, xfs_dir3_block_buf_ops);
  if (typeof bp === "number") {
    leave(t);
    return bp;
  }
  const tail = mp.m_dirblksize - DIR2_BLOCK_TAIL_BYTES;
  const count = yield* get_be32(t, bp.data + tail + BTP_COUNT);
  const end = tail - count * DIR2_LEAF_ENTRY_BYTES;
  const result = end < DIR2_DATA_ENTRY[mp.crc]
    ? corrupt_dir(t, dp, "xfs_dir2_block_getdents", `${count} leaf entries`)
    : yield* getdents(t, dp, bp, 0, end, ctx);
  yield* xfs_da_brelse(t, dp, bp);
  leave(t);
  return result === 1 ? 0 : result;
}

function* leaf_getdents(
  t: Thread,
  dp: XfsInode,
  ctx: DirContext,
): Steps<0 | Errno> {
  enter(t, XFS_DIR2_LEAF_GETDENTS);
  charge(t, 60);
  const mp = dp.i_mount;
  let error: 0 | Errno = 0;
  for (;;) {
    const db = next_data_block(t, dp, xfs_dir2_dataptr_to_db(mp, ctx.pos));
    if (db < 0) break;
    const start = xfs_dir2_db_off_to_dataptr(mp, db, 0);
    if (ctx.pos < start) ctx.pos = start; // past a hole
    const da = xfs_dir2_db_to_da(mp, db);
    const bp = yield* xfs_da_read_buf(t, dp, da, xfs_dir3_data_buf_ops);
    if (typeof bp === "number") {
      error = bp;
      break;
    }
    const end = mp.m_dirblksize;
    const result = yield* getdents(t, dp, bp, db, end, ctx);
    yield* xfs_da_brelse(t, dp, bp);
    if (result === 0) continue;
    error = result === 1 ? 0 : result;
    break;
  }
  leave(t);
  return error;
}

/** The first data block from `db` on that the directory has; -1 = none. Plain. */
function next_data_block(t: Thread, dp: XfsInode, db: number): number {
  const mp = dp.i_mount;
  const { if_ext, if_nextents } = dp.i_df;
  charge(t, 20);
  const da = xfs_dir2_db_to_da(mp, db);
  const ext = xfs_bmap_search_extents(t, dp, da);
  if (ext === if_nextents) return -1;
  const at = Math.max(da, if_ext[ext * EXT_NUMBERS]);
  return at < mp.m_dirleafblk ? Math.floor(at / mp.m_dirblkfsbs) : -1;
}

/**
 * Gives the actor the entries before byte `end` of data block `db`.
 *
 * @returns 0 = all of them, and ctx.pos is the next block's; 1 = it has no room; -EUCLEAN.
 */
function* getdents(
  t: Thread,
  dp: XfsInode,
  bp: XfsDabuf,
  db: number,
  end: number,
  ctx: DirContext,
): Steps<0 | 1 | Errno> {
  const mp = dp.i_mount;
  const name = new Uint8Array(MAXNAMELEN);
  const from = xfs_dir2_dataptr_to_off(mp, ctx.pos);
  let off: number = DIR2_DATA_ENTRY[mp.crc];
  while (off < end) {
    const at = bp.data + off;
    charge(t, 14);
    if ((yield* get_be16(t, at + DUP_FREETAG)) === XFS_DIR2_DATA_FREE_TAG) {
      const length = yield* get_be16(t, at + DUP_LENGTH);
      if (length === 0 || length % 8 !== 0) return corrupt(t, dp, db, off);
      off += length;
      continue;
    }
    const namelen = yield* get_u8(t, at + DEP_NAMELEN);
    const size = xfs_dir2_data_entsize(mp, namelen);
    if (namelen === 0 || off + size > end) return corrupt(t, dp, db, off);
    if (off >= from) {
      const ino = yield* get_be64(t, at + DEP_INUMBER);
      if (!xfs_verify_ino(mp, ino)) return corrupt(t, dp, db, off);
      yield* copy_out(t, at + DEP_NAME, namelen, name);
      let type = 0;
      if (mp.ftype) type = yield* get_u8(t, at + DEP_NAME + namelen);
      if (type >= XFS_DIR3_FT_MAX) return corrupt(t, dp, db, off);
      const next = xfs_dir2_db_off_to_dataptr(mp, db, off + size);
      const d_type = XFS_DIR3_FILETYPE_TABLE[type];
      charge(t, 20);
      if (!ctx.actor(name.subarray(0, namelen), ino, d_type, next)) return 1;
      ctx.pos = next;
    }
    off += size;
  }
  if (off !== end) return corrupt(t, dp, db, off);
  ctx.pos = xfs_dir2_db_off_to_dataptr(mp, db + 1, 0);
  return 0;
}

function corrupt(t: Thread, dp: XfsInode, db: number, off: number): Errno {
  corrupt_dir(
    t,
    dp,
    "xfs_dir2_data_getdents",
    `a bad entry at ${off} of block ${db}`,
  );
  return err(EUCLEAN);
}
