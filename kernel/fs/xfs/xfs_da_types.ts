/**
 * What a search in a directory works with (fs/xfs/xfs_da_btree.h): its
 * arguments, a block of the directory in memory, the way down the hash tree.
 */
import type { KmallocObject } from "../../mm/slab.ts";
import { SlabObject } from "../../mm/slab.ts";
import type { XfsBuf } from "./xfs_buf.ts";
import { XFS_DA_NODE_MAXDEPTH } from "./xfs_format.ts";
import type { XfsBmbtIrec, XfsInode } from "./xfs_inode_types.ts";

/** sizeof(xfs_dabuf_t) with room for one buffer, bytes. */
export const XFS_DABUF_BYTES = 24;
/** sizeof(xfs_da_state_t), bytes. */
export const XFS_DA_STATE_BYTES = 480;

/** A name that is looked for: `xfs_da_args`, on the stack in Linux. */
export class XfsDaArgs {
  hashval = 0;
  /** The answer. */
  inumber = 0;
  /** Data block of the last entry looked at, and its number. */
  dbp: XfsDabuf | null = null;
  db = -1;
  /** Whether the leaf searched last ends in hashval: the next may have it too. */
  more = false;

  constructor(readonly dp: XfsInode, readonly name: Uint8Array) {}
}

/** One block of a directory, in one piece: `xfs_dabuf`. */
export class XfsDabuf extends SlabObject {
  /** The buffers it lies in. */
  readonly bps: XfsBuf[] = [];
  /** A copy of them, if they are several. */
  copy: KmallocObject | null = null;
  /** Virtual address of its first byte. */
  data = 0;
  /** Where its blocks are; scratch of xfs_da_do_buf(). */
  readonly maps: XfsBmbtIrec[] = [];
}

/** A block on the way down: `xfs_da_state_blk`. */
export interface XfsDaStateBlk {
  bp: XfsDabuf | null;
  /** Within the directory. */
  blkno: number;
  /** Of a node: entries, and the one taken. */
  count: number;
  index: number;
}

/** The way down to a leaf: `xfs_da_state`. */
export class XfsDaState extends SlabObject {
  /** Blocks in use of {@linkcode path}. */
  active = 0;
  readonly path: XfsDaStateBlk[] = Array.from(
    { length: XFS_DA_NODE_MAXDEPTH + 1 },
    () => ({ bp: null, blkno: 0, count: 0, index: 0 }),
  );
}
