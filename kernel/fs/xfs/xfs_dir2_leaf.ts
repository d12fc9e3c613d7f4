/**
 * Directories with data blocks and leaves apart (fs/xfs/xfs_dir2_leaf.c,
 * xfs_dir2_node.c): what a leaf has of a name.
 *
 * Entries with one hash value are looked at one after the other; the data block
 * of the last one stays at hand, in args.dbp.
 *
 * Locks: those of xfs_dir_lookup().
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import { ENOENT, err, type Errno } from "../../lib/errno.ts";
import type { Thread } from "../../thread.ts";
import { get_be16, get_be32 } from "./xfs_access.ts";
import type { XfsDaArgs, XfsDabuf } from "./xfs_da_types.ts";
import { xfs_da_brelse, xfs_da_read_buf } from "./xfs_dabuf.ts";
import {
  corrupt_dir,
  search_leaf_entries,
  xfs_dir2_data_compare,
} from "./xfs_dir2_data.ts";
import {
  xfs_dir3_data_buf_ops,
  xfs_dir3_leaf1_buf_ops,
} from "./xfs_dir2_verify.ts";
import {
  DA_ENTRIES,
  DIR2_LEAF_ENTRY_BYTES,
  LEAF_COUNT,
  XFS_DIR2_NULL_DATAPTR,
} from "./xfs_format.ts";
import {
  xfs_dir2_dataptr_to_db,
  xfs_dir2_dataptr_to_off,
  xfs_dir2_db_to_da,
} from "./xfs_units.ts";

const XFS_DIR2_LEAF_LOOKUP = ksym("xfs_dir2_leaf_lookup");
const XFS_DIR2_LEAF_LOOKUP_INT = ksym("xfs_dir2_leaf_lookup_int");
const XFS_DIR2_LEAF_SEARCH_HASH = ksym("xfs_dir2_leaf_search_hash");
const XFS_DIR2_LEAFN_LOOKUP_INT = ksym("xfs_dir2_leafn_lookup_int");

/** Looks args.name up in a directory with one leaf. @returns As xfs_dir_lookup(). */
export function* xfs_dir2_leaf_lookup(
  t: Thread,
  args: XfsDaArgs,
): Steps<0 | Errno> {
  enter(t, XFS_DIR2_LEAF_LOOKUP);
  charge(t, 30);
  const { dp } = args;
  enter(t, XFS_DIR2_LEAF_LOOKUP_INT);
  const { m_dirleafblk } = dp.i_mount;
  const leaf = yield* xfs_da_read_buf(
    t,
    dp,
    m_dirleafblk,
    xfs_dir3_leaf1_buf_ops,
  );
  let error: 0 | Errno;
  if (typeof leaf === "number") error = leaf;
  else {
    error = yield* search_leaf(t, args, leaf);
    yield* xfs_da_brelse(t, dp, leaf);
  }
  leave(t);
  leave(t);
  return error;
}

/** Looks args.name up in `leaf`, one of several. @returns As xfs_dir_lookup(). */
export function* xfs_dir2_leafn_lookup_int(
  t: Thread,
  args: XfsDaArgs,
  leaf: XfsDabuf,
): Steps<0 | Errno> {
  enter(t, XFS_DIR2_LEAFN_LOOKUP_INT);
  charge(t, 20);
  const error = yield* search_leaf(t, args, leaf);
  leave(t);
  return error;
}

/** Sets args.more too. */
function* search_leaf(
  t: Thread,
  args: XfsDaArgs,
  leaf: XfsDabuf,
): Steps<0 | Errno> {
  const { dp, hashval } = args;
  const mp = dp.i_mount;
  args.more = false;
  charge(t, 20);
  const count = yield* get_be16(t, leaf.data + LEAF_COUNT[mp.crc]);
  const first = DA_ENTRIES[mp.crc];
  if (first + count * DIR2_LEAF_ENTRY_BYTES > mp.m_dirblksize) {
    const what = `${count} entries in a leaf`;
    return corrupt_dir(t, dp, "xfs_dir2_leaf_lookup_int", what);
  }
  const entries = leaf.data + first;
  enter(t, XFS_DIR2_LEAF_SEARCH_HASH);
  let i = yield* search_leaf_entries(t, entries, count, hashval);
  leave(t);
  for (; i < count; i++) {
    charge(t, 8);
    const lep = entries + i * DIR2_LEAF_ENTRY_BYTES;
    if ((yield* get_be32(t, lep)) !== hashval) break;
    args.more = i + 1 === count;
    const address = yield* get_be32(t, lep + 4);
    if (address === XFS_DIR2_NULL_DATAPTR) continue;
    const error = yield* compare_at(t, args, address);
    if (error !== err(ENOENT)) return error;
  }
  return err(ENOENT);
}

/** Compares the entry at `address` of the directory. */
function* compare_at(
  t: Thread,
  args: XfsDaArgs,
  address: number,
): Steps<0 | Errno> {
  const { dp } = args;
  const mp = dp.i_mount;
  charge(t, 10);
  const db = xfs_dir2_dataptr_to_db(mp, address);
  if (db !== args.db || args.dbp === null) {
    yield* xfs_dir2_data_release(t, args);
    const bp = yield* xfs_da_read_buf(
      t,
      dp,
      xfs_dir2_db_to_da(mp, db),
      xfs_dir3_data_buf_ops,
    );
    if (typeof bp === "number") return bp;
    args.dbp = bp;
    args.db = db;
  }
  const off = xfs_dir2_dataptr_to_off(mp, address);
  return yield* xfs_dir2_data_compare(t, args, args.dbp, off);
}

/** Gives the data block at hand back. */
export function* xfs_dir2_data_release(t: Thread, args: XfsDaArgs): Steps {
  const { dbp } = args;
  args.dbp = null;
  args.db = -1;
  if (dbp !== null) yield* xfs_da_brelse(t, args.dp, dbp);
}
