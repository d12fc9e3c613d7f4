/**
 * Looking names up in directories (fs/xfs/xfs_dir2.c, xfs_dir2_node.c): which of
 * the four forms a directory has, and the search in it.
 *
 *     form    inode format     last block of the file
 *     short   local
 *     block   extents, btree   of directory block 0
 *     leaf    extents, btree   of the first leaf
 *     node    extents, btree   any other
 *
 * Locks: an XFS_ILOCK of the directory held throughout, EXCL if its extents are
 * still to be read in.
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import { ENOMEM, err, type Errno } from "../../lib/errno.ts";
import type { Thread } from "../../thread.ts";
import { xfs_bmap_last_offset } from "./xfs_bmap.ts";
import {
  xfs_da_node_lookup_int,
  xfs_da_state_alloc,
  xfs_da_state_free,
} from "./xfs_da_btree.ts";
import { xfs_da_hashname } from "./xfs_da_hash.ts";
import { XfsDaArgs } from "./xfs_da_types.ts";
import { xfs_dir2_block_lookup } from "./xfs_dir2_block.ts";
import { corrupt_dir } from "./xfs_dir2_data.ts";
import {
  xfs_dir2_data_release,
  xfs_dir2_leaf_lookup,
} from "./xfs_dir2_leaf.ts";
import { xfs_dir2_sf_lookup } from "./xfs_dir2_sf.ts";
import { XFS_DINODE_FMT_LOCAL } from "./xfs_format.ts";
import type { XfsInode } from "./xfs_inode_types.ts";

const XFS_DIR_LOOKUP = ksym("xfs_dir_lookup");
const XFS_DIR2_NODE_LOOKUP = ksym("xfs_dir2_node_lookup");
const XFS_DIR2_ISBLOCK = ksym("xfs_dir2_isblock");
const XFS_DIR2_ISLEAF = ksym("xfs_dir2_isleaf");

/** Form of a directory. */
export type DirForm = "short" | "block" | "leaf" | "node";

/** Which form `dp` has. @returns -EUCLEAN if none can be; -EIO, -ENOMEM. */
export function* xfs_dir2_form(
  t: Thread,
  dp: XfsInode,
): Steps<DirForm | Errno> {
  const mp = dp.i_mount;
  if (dp.i_d.di_format === XFS_DINODE_FMT_LOCAL) return "short";
  enter(t, XFS_DIR2_ISBLOCK);
  charge(t, 14);
  const last = yield* xfs_bmap_last_offset(t, dp);
  leave(t);
  if (last < 0) return last as Errno;
  if (last === mp.m_dirblkfsbs) {
    return dp.i_d.di_size === mp.m_dirblksize
      ? "block"
      : corrupt_dir(t, dp, "xfs_dir2_isblock", `size ${dp.i_d.di_size}`);
  }
  if (last <= mp.m_dirleafblk) { // data blocks without a leaf
    return corrupt_dir(t, dp, "xfs_dir2_isblock", `last block ${last}`);
  }
  enter(t, XFS_DIR2_ISLEAF);
  charge(t, 14);
  yield* xfs_bmap_last_offset(t, dp);
  leave(t);
  return last === mp.m_dirleafblk + mp.m_dirblkfsbs ? "leaf" : "node";
}

/**
 * The inode number of `name` in `dp`.
 *
 * @returns -ENOENT; -EUCLEAN if the directory makes no sense; -EIO, -ENOMEM.
 */
export function* xfs_dir_lookup(
  t: Thread,
  dp: XfsInode,
  name: Uint8Array,
): Steps<number | Errno> {
  enter(t, XFS_DIR_LOOKUP);
  charge(t, 60); // 96 bytes of arguments are zeroed and filled in
  const args = new XfsDaArgs(dp, name);
  args.hashval = xfs_da_hashname(t, name);
  const form = yield* xfs_dir2_form(t, dp);
  let error: 0 | Errno;
  switch (form) {
    case "short":
      error = xfs_dir2_sf_lookup(t, args);
      break;
    case "block":
      error = yield* xfs_dir2_block_lookup(t, args);
      break;
    case "leaf":
      error = yield* xfs_dir2_leaf_lookup(t, args);
      break;
    case "node":
      error = yield* xfs_dir2_node_lookup(t, args);
      break;
    default:
      error = form;
  }
  yield* xfs_dir2_data_release(t, args);
  leave(t);
  if (error === 0) return args.inumber;
  return error;
}

/** Looks args.name up below a tree of name hashes. */
function* xfs_dir2_node_lookup(t: Thread, args: XfsDaArgs): Steps<0 | Errno> {
  enter(t, XFS_DIR2_NODE_LOOKUP);
  charge(t, 30);
  const state = yield* xfs_da_state_alloc(t, args.dp);
  let error: 0 | Errno = err(ENOMEM);
  if (state !== null) {
    error = yield* xfs_da_node_lookup_int(t, args, state);
    yield* xfs_da_state_free(t, args.dp, state);
  }
  leave(t);
  return error;
}
