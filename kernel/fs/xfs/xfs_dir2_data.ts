/**
 * Entries of directory blocks (fs/xfs/xfs_dir2_data.c, xfs_dir2_leaf.c): finding
 * a hash value among leaf entries, and comparing a data entry with a name. All
 * of it is read where the buffer is mapped.
 *
 * Addresses come from other blocks than the entries that they lead to: each is
 * held against the block's size before it is followed.
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import { ENOENT, err, type Errno, EUCLEAN } from "../../lib/errno.ts";
import type { Thread } from "../../thread.ts";
import { get_be32, get_be64, get_u8, memcmp_at } from "./xfs_access.ts";
import type { XfsDaArgs, XfsDabuf } from "./xfs_da_types.ts";
import {
  DEP_INUMBER,
  DEP_NAME,
  DEP_NAMELEN,
  DIR2_DATA_ENTRY,
  DIR2_LEAF_ENTRY_BYTES,
} from "./xfs_format.ts";
import type { XfsInode } from "./xfs_inode_types.ts";
import { xfs_alert, xfs_error_report } from "./xfs_message.ts";
import { xfs_dir2_data_entsize, xfs_verify_ino } from "./xfs_units.ts";

const XFS_DA_COMPNAME = ksym("xfs_da_compname");

/** A step of the search: middle, address, swap, two comparisons. */
const SEARCH_STEP_INSTRUCTIONS = 10;

/** Smallest data entry, bytes. */
const MIN_ENTSIZE = 16;

/**
 * The first of `count` leaf entries at `entries` whose hash value is `hashval`
 * or more; `count` = none.
 */
export function* search_leaf_entries(
  t: Thread,
  entries: number,
  count: number,
  hashval: number,
): Steps<number> {
  charge(t, 16);
  let low = 0;
  let high = count;
  while (low < high) {
    charge(t, SEARCH_STEP_INSTRUCTIONS);
    const middle = (low + high) >>> 1;
    const hash = yield* get_be32(t, entries + middle * DIR2_LEAF_ENTRY_BYTES);
    if (hash < hashval) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Says that directory `dp` makes no sense. */
export function corrupt_dir(
  t: Thread,
  dp: XfsInode,
  tag: string,
  what: string,
): Errno {
  const mp = dp.i_mount;
  mp.m_corruptions++;
  xfs_error_report(t, mp, tag);
  xfs_alert(t, mp, `corrupt directory inode ${dp.i_ino}, ${what}.`);
  return err(EUCLEAN);
}

/**
 * Whether the data entry at byte `off` of `bp` has the name that is looked for.
 *
 * @returns 0 with args.inumber set; -ENOENT = another name; -EUCLEAN = no entry can be there.
 */
export function* xfs_dir2_data_compare(
  t: Thread,
  args: XfsDaArgs,
  bp: XfsDabuf,
  off: number,
): Steps<0 | Errno> {
  const { dp, name } = args;
  const mp = dp.i_mount;
  charge(t, 10);
  if (off < DIR2_DATA_ENTRY[mp.crc] || off + MIN_ENTSIZE > mp.m_dirblksize) {
    return corrupt_dir(t, dp, "xfs_dir2_data_entry(1)", `address ${off}`);
  }
  enter(t, XFS_DA_COMPNAME);
  charge(t, 8);
  const dep = bp.data + off;
  const namelen = yield* get_u8(t, dep + DEP_NAMELEN);
  const fits = off + xfs_dir2_data_entsize(mp, namelen) <= mp.m_dirblksize;
  const same = fits && namelen === name.length &&
    (yield* memcmp_at(t, dep + DEP_NAME, name));
  leave(t);
  if (!fits) {
    return corrupt_dir(
      t,
      dp,
      "xfs_dir2_data_entry(2)",
      `a name of ${namelen} bytes at ${off}`,
    );
  }
  if (!same) return err(ENOENT);
  const ino = yield* get_be64(t, dep + DEP_INUMBER);
  charge(t, 6);
  if (!xfs_verify_ino(mp, ino)) {
    return corrupt_dir(
      t,
      dp,
      "xfs_dir2_data_entry(3)",
      `inode number 0x${ino.toString(16)}`,
    );
  }
  args.inumber = ino;
  return 0;
}
