/**
 * Looking at all of a directory (after fs/xfs/scrub/dir.c, 4.15): every block
 * of it is read and verified, free indexes too, which no lookup needs; and there
 * are as many names in leaves as in data.
 *
 * Locks: an XFS_ILOCK of the directory held, EXCL if its extents are still to
 * be read in.
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import type { Errno } from "../../lib/errno.ts";
import type { Thread } from "../../thread.ts";
import { get_be16 } from "./xfs_access.ts";
import type { XfsDabuf } from "./xfs_da_types.ts";
import { xfs_da_brelse, xfs_da_read_buf } from "./xfs_dabuf.ts";
import { type DirForm, xfs_dir2_form } from "./xfs_dir2.ts";
import { corrupt_dir } from "./xfs_dir2_data.ts";
import { xfs_readdir } from "./xfs_dir2_readdir.ts";
import {
  xfs_da3_node_buf_ops,
  xfs_dir3_free_buf_ops,
  xfs_dir3_leaf1_buf_ops,
  type XfsDaOps,
} from "./xfs_dir2_verify.ts";
import {
  DA_MAGIC,
  LEAF_COUNT,
  LEAF_STALE,
  XFS_DA_NODE_MAGIC,
} from "./xfs_format.ts";
import { EXT_NUMBERS, type XfsInode } from "./xfs_inode_types.ts";
import type { XfsMount } from "./xfs_mount_types.ts";

const XCHK_DIRECTORY = ksym("xchk_directory");

/** Checks directory `dp`. @returns 0; -EUCLEAN, with messages; -EIO, -ENOMEM. */
export function* xfs_dir2_check(t: Thread, dp: XfsInode): Steps<0 | Errno> {
  enter(t, XCHK_DIRECTORY);
  charge(t, 60);
  const form = yield* xfs_dir2_form(t, dp);
  const error = typeof form === "number" ? form : yield* check(t, dp, form);
  leave(t);
  return error;
}

function* check(t: Thread, dp: XfsInode, form: DirForm): Steps<0 | Errno> {
  let names = 0;
  const actor = () => ++names > 0;
  const error = yield* xfs_readdir(t, dp, { pos: 0, actor });
  if (error !== 0 || form === "short" || form === "block") return error;
  const known = yield* leaf_entries(t, dp, form);
  if (known < 0) return known as Errno;
  return known === names ? 0 : corrupt_dir(
    t,
    dp,
    "xchk_directory",
    `${names} names, ${known} leaf entries`,
  );
}

/** Reads what lies behind the data. @returns Entries of all leaves. */
function* leaf_entries(
  t: Thread,
  dp: XfsInode,
  form: DirForm,
): Steps<number | Errno> {
  const mp = dp.i_mount;
  const { if_ext, if_nextents } = dp.i_df;
  let entries = 0;
  let next = mp.m_dirleafblk;
  for (let i = 0; i < if_nextents; i++) {
    const end = if_ext[i * EXT_NUMBERS] + if_ext[i * EXT_NUMBERS + 2];
    next = Math.max(next, if_ext[i * EXT_NUMBERS]);
    next -= next % mp.m_dirblkfsbs;
    while (next < end) {
      charge(t, 20);
      const bp = yield* xfs_da_read_buf(t, dp, next, kind_at(mp, next, form));
      if (typeof bp === "number") return bp;
      if (next < mp.m_dirfreeblk) entries += yield* live_entries(t, mp, bp);
      yield* xfs_da_brelse(t, dp, bp);
      next += mp.m_dirblkfsbs;
    }
  }
  return entries;
}

/** What block `bno` must be. */
function kind_at(mp: XfsMount, bno: number, form: DirForm): XfsDaOps {
  if (bno >= mp.m_dirfreeblk) return xfs_dir3_free_buf_ops;
  return form === "leaf" ? xfs_dir3_leaf1_buf_ops : xfs_da3_node_buf_ops;
}

/** Entries of a leaf that lead somewhere; 0 for a node. */
function* live_entries(
  t: Thread,
  mp: XfsMount,
  bp: XfsDabuf,
): Steps<number> {
  const magic = yield* get_be16(t, bp.data + DA_MAGIC);
  if (magic === XFS_DA_NODE_MAGIC[mp.crc]) return 0;
  const count = yield* get_be16(t, bp.data + LEAF_COUNT[mp.crc]);
  return count - (yield* get_be16(t, bp.data + LEAF_STALE[mp.crc]));
}
