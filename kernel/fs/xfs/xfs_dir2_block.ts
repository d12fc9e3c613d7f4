/**
 * Directories of a single block, with its leaf entries at its end
 * (fs/xfs/xfs_dir2_block.c).
 *
 * Locks: those of xfs_dir_lookup().
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import { ENOENT, err, type Errno } from "../../lib/errno.ts";
import type { Thread } from "../../thread.ts";
import { get_be32 } from "./xfs_access.ts";
import type { XfsDaArgs, XfsDabuf } from "./xfs_da_types.ts";
import { xfs_da_brelse, xfs_da_read_buf } from "./xfs_dabuf.ts";
import {
  corrupt_dir,
  search_leaf_entries,
  xfs_dir2_data_compare,
} from "./xfs_dir2_data.ts";
import { xfs_dir3_block_buf_ops } from "./xfs_dir2_verify.ts";
import {
  BTP_COUNT,
  DIR2_BLOCK_TAIL_BYTES,
  DIR2_DATA_ENTRY,
  DIR2_LEAF_ENTRY_BYTES,
  XFS_DIR2_NULL_DATAPTR,
} from "./xfs_format.ts";

const XFS_DIR2_BLOCK_LOOKUP = ksym("xfs_dir2_block_lookup");
const XFS_DIR2_BLOCK_LOOKUP_INT = ksym("xfs_dir2_block_lookup_int");

/** Looks args.name up. @returns 0 with args.inumber set; -ENOENT, -EUCLEAN, -EIO, -ENOMEM. */
export function* xfs_dir2_block_lookup(
  t: Thread,
  args: XfsDaArgs,
): Steps<0 | Errno> {
  enter(t, XFS_DIR2_BLOCK_LOOKUP);
  charge(t, 20);
  const { dp } = args;
  const bp = yield* xfs_da_read_buf(t, dp, 0, xfs_dir3_block_buf_ops);
  if (typeof bp === "number") {
    leave(t);
    return bp;
  }
  enter(t, XFS_DIR2_BLOCK_LOOKUP_INT);
  const error = yield* lookup_int(t, args, bp);
  leave(t);
  yield* xfs_da_brelse(t, dp, bp);
  leave(t);
  return error;
}

function* lookup_int(
  t: Thread,
  args: XfsDaArgs,
  bp: XfsDabuf,
): Steps<0 | Errno> {
  const { dp, hashval } = args;
  const mp = dp.i_mount;
  charge(t, 20);
  const tail = mp.m_dirblksize - DIR2_BLOCK_TAIL_BYTES;
  const count = yield* get_be32(t, bp.data + tail + BTP_COUNT);
  const leaf = tail - count * DIR2_LEAF_ENTRY_BYTES;
  if (leaf < DIR2_DATA_ENTRY[mp.crc]) {
    return corrupt_dir(
      t,
      dp,
      "xfs_dir2_block_lookup_int",
      `${count} leaf entries`,
    );
  }
  const entries = bp.data + leaf;
  let i = yield* search_leaf_entries(t, entries, count, hashval);
  for (; i < count; i++) {
    charge(t, 8);
    const lep = entries + i * DIR2_LEAF_ENTRY_BYTES;
    if ((yield* get_be32(t, lep)) !== hashval) break;
    const address = yield* get_be32(t, lep + 4);
    if (address === XFS_DIR2_NULL_DATAPTR) continue;
    const error = yield* xfs_dir2_data_compare(t, args, bp, address * 8);
    if (error !== err(ENOENT)) return error;
  }
  return err(ENOENT);
}
