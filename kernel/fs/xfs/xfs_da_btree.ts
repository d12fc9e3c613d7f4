/**
 * The tree of name hashes over a directory's leaves (fs/xfs/xfs_da_btree.c).
 * Leaves and nodes are chained by hash value; a value that many names share may
 * run over several leaves.
 *
 * Lock order: see xfs_dabuf.ts.
 *
 * Differs from 2.6.28: levels must fall by one from node to node, leaves must be
 * chained as the tree has them, and none is searched twice, so that a tree with
 * a cycle ends in -EUCLEAN.
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import { ENOENT, err, type Errno, EUCLEAN } from "../../lib/errno.ts";
import { GFP_KERNEL } from "../../mm/gfp.ts";
import { kmem_cache_alloc, kmem_cache_free } from "../../mm/slab.ts";
import type { Thread } from "../../thread.ts";
import { get_be16, get_be32 } from "./xfs_access.ts";
import type { XfsDaArgs, XfsDaState, XfsDaStateBlk } from "./xfs_da_types.ts";
import { xfs_da_brelse, xfs_da_read_buf } from "./xfs_dabuf.ts";
import { xfs_dir2_leafn_lookup_int } from "./xfs_dir2_leaf.ts";
import { xfs_da3_node_buf_ops } from "./xfs_dir2_verify.ts";
import {
  DA_BACK,
  DA_ENTRIES,
  DA_MAGIC,
  DA_NODE_ENTRY_BYTES,
  NODE_COUNT,
  NODE_LEVEL,
  XFS_DA_NODE_MAGIC,
  XFS_DA_NODE_MAXDEPTH,
} from "./xfs_format.ts";
import type { XfsInode } from "./xfs_inode_types.ts";
import { xfs_error_report } from "./xfs_message.ts";

const XFS_DA_NODE_LOOKUP_INT = ksym("xfs_da_node_lookup_int");
const XFS_DA_PATH_SHIFT = ksym("xfs_da_path_shift");
const XFS_DA_STATE_FREE = ksym("xfs_da_state_free");

/** A step of a binary search: middle, address, swap, two comparisons. */
export const SEARCH_STEP_INSTRUCTIONS = 10;

/** A way down, of nothing yet. @returns `null` if memory is out. */
export function* xfs_da_state_alloc(
  t: Thread,
  dp: XfsInode,
): Steps<XfsDaState | null> {
  const zone = dp.i_mount.m_zones.da_state;
  const state = yield* kmem_cache_alloc(t, zone, GFP_KERNEL);
  if (state === null) return null;
  charge(t, 60); // 480 bytes are zeroed
  state.active = 0;
  return state;
}

/** Gives the blocks on the way back, and the state. */
export function* xfs_da_state_free(
  t: Thread,
  dp: XfsInode,
  state: XfsDaState,
): Steps {
  enter(t, XFS_DA_STATE_FREE);
  charge(t, 20);
  for (let i = 0; i < state.active; i++) yield* release(t, dp, state.path[i]);
  state.active = 0;
  yield* kmem_cache_free(t, dp.i_mount.m_zones.da_state, state);
  leave(t);
}

function* release(t: Thread, dp: XfsInode, blk: XfsDaStateBlk): Steps {
  const { bp } = blk;
  blk.bp = null;
  if (bp !== null) yield* xfs_da_brelse(t, dp, bp);
}

/** Says that the tree makes no sense. */
function corrupt(t: Thread, dp: XfsInode, tag: string): Errno {
  dp.i_mount.m_corruptions++;
  xfs_error_report(t, dp.i_mount, tag);
  return err(EUCLEAN);
}

/**
 * Goes down to the leaf that would have args.hashval, and searches it, and
 * those after it while they may have the hash value too.
 *
 * @returns 0 with args.inumber set; -ENOENT; -EUCLEAN, -EIO, -ENOMEM. The blocks are the caller's to release, by xfs_da_state_free().
 */
export function* xfs_da_node_lookup_int(
  t: Thread,
  args: XfsDaArgs,
  state: XfsDaState,
): Steps<0 | Errno> {
  enter(t, XFS_DA_NODE_LOOKUP_INT);
  charge(t, 50);
  let error = yield* descend(t, args, state, 0, args.dp.i_mount.m_dirleafblk);
  let seen: Set<number> | null = null;
  while (error === 0) {
    const leaf = state.path[state.active - 1];
    error = yield* xfs_dir2_leafn_lookup_int(t, args, leaf.bp!);
    if (error !== err(ENOENT) || !args.more) break;
    seen ??= new Set();
    seen.add(leaf.blkno);
    const from = leaf.blkno;
    error = yield* xfs_da_path_shift(t, args, state);
    if (error === 0) error = yield* check_step(t, args, state, from, seen);
  }
  leave(t);
  return error;
}

/** Whether the leaf at the end of the path is the one after leaf `from`, and a new one. */
function* check_step(
  t: Thread,
  { dp }: XfsDaArgs,
  state: XfsDaState,
  from: number,
  seen: ReadonlySet<number>,
): Steps<0 | Errno> {
  charge(t, 6);
  const { bp, blkno } = state.path[state.active - 1];
  const back = yield* get_be32(t, bp!.data + DA_BACK);
  return back === from && !seen.has(blkno)
    ? 0
    : corrupt(t, dp, "xfs_da_path_shift");
}

/**
 * Reads the block `blkno` into `state.path[depth]`, and those below it that
 * args.hashval leads to, or the first ones if `depth` is not the root's.
 *
 * @returns 0 with a leaf at the end of the path; -EUCLEAN, -EIO, -ENOMEM.
 */
function* descend(
  t: Thread,
  args: XfsDaArgs,
  state: XfsDaState,
  depth: number,
  blkno: number,
): Steps<0 | Errno> {
  const { dp } = args;
  const mp = dp.i_mount;
  const fromRoot = depth === 0;
  let at = blkno;
  // Levels of the node above; the root may have any.
  let level = fromRoot ? -1 : yield* get_be16(
    t,
    state.path[depth - 1].bp!.data + NODE_LEVEL[mp.crc],
  );
  for (let i = depth; i <= XFS_DA_NODE_MAXDEPTH; i++) {
    charge(t, 30);
    const bp = yield* xfs_da_read_buf(t, dp, at, xfs_da3_node_buf_ops);
    if (typeof bp === "number") return bp;
    const blk = state.path[i];
    blk.bp = bp;
    blk.blkno = at;
    state.active = i + 1;
    const magic = yield* get_be16(t, bp.data + DA_MAGIC);
    if (magic !== XFS_DA_NODE_MAGIC[mp.crc]) { // a leaf
      return level === -1 || level === 1
        ? 0
        : corrupt(t, dp, "xfs_da_node_lookup_int(1)");
    }
    const own = yield* get_be16(t, bp.data + NODE_LEVEL[mp.crc]);
    blk.count = yield* get_be16(t, bp.data + NODE_COUNT[mp.crc]);
    const first = DA_ENTRIES[mp.crc];
    if (
      own === 0 || (level !== -1 && own !== level - 1) || blk.count === 0 ||
      first + blk.count * DA_NODE_ENTRY_BYTES > mp.m_dirblksize
    ) return corrupt(t, dp, "xfs_da_node_lookup_int(2)");
    level = own;
    const entries = bp.data + first;
    blk.index = fromRoot
      ? yield* search_node(t, entries, blk.count, args.hashval)
      : 0;
    at = yield* get_be32(t, entries + blk.index * DA_NODE_ENTRY_BYTES + 4);
    if (at < mp.m_dirleafblk || at >= mp.m_dirfreeblk) {
      return corrupt(t, dp, "xfs_da_node_lookup_int(3)");
    }
  }
  return corrupt(t, dp, "xfs_da_node_lookup_int(4)");
}

/** The first of `count` entries whose block may have `hashval`; the last if all are below. */
function* search_node(
  t: Thread,
  entries: number,
  count: number,
  hashval: number,
): Steps<number> {
  let low = 0;
  let high = count - 1;
  while (low < high) {
    charge(t, SEARCH_STEP_INSTRUCTIONS);
    const middle = (low + high) >>> 1;
    const hash = yield* get_be32(t, entries + middle * DA_NODE_ENTRY_BYTES);
    if (hash < hashval) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Moves on to the leaf after the one at the end of the path. @returns 0; -ENOENT = that was the last; -EUCLEAN, -EIO, -ENOMEM. */
function* xfs_da_path_shift(
  t: Thread,
  args: XfsDaArgs,
  state: XfsDaState,
): Steps<0 | Errno> {
  enter(t, XFS_DA_PATH_SHIFT);
  charge(t, 40);
  const { dp } = args;
  const mp = dp.i_mount;
  let depth = state.active - 2;
  while (depth >= 0 && state.path[depth].index + 1 >= state.path[depth].count) {
    charge(t, 8);
    depth--;
  }
  if (depth < 0) {
    leave(t);
    return err(ENOENT);
  }
  const blk = state.path[depth];
  const leaf = state.active - 1;
  while (state.active > depth + 1) {
    yield* release(t, dp, state.path[--state.active]);
  }
  blk.index++;
  const next = yield* get_be32(
    t,
    blk.bp!.data + DA_ENTRIES[mp.crc] + blk.index * DA_NODE_ENTRY_BYTES + 4,
  );
  let error = next < mp.m_dirleafblk || next >= mp.m_dirfreeblk
    ? corrupt(t, dp, "xfs_da_path_shift(1)")
    : yield* descend(t, args, state, depth + 1, next);
  if (error === 0 && state.active - 1 !== leaf) {
    error = corrupt(t, dp, "xfs_da_path_shift(2)");
  }
  leave(t);
  return error;
}
