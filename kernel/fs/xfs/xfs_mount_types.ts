/**
 * struct xfs_mount and xfs_perag (fs/xfs/xfs_mount.h, xfs_ag.h): one mounted
 * file system, and what is known of each allocation group.
 */
import { CacheLine } from "../../../arch/hw/line.ts";
import type { Kernel } from "../../kernel.ts";
import { ListHead } from "../../lib/list.ts";
import { RadixTreeRoot } from "../../lib/radix_tree.ts";
import { Mutex } from "../../locking/mutex.ts";
import { Rwlock } from "../../locking/rwlock.ts";
import type { KmemCache } from "../../mm/slab.ts";
import type { SuperBlock } from "../super_types.ts";
import type { XfsBuftarg } from "./xfs_buf.ts";
import type { XfsDabuf, XfsDaState } from "./xfs_da_types.ts";
import {
  BBSHIFT,
  XFS_BTREE_LBLOCK_LEN,
  XFS_BTREE_MAXLEVELS,
  XFS_BTREE_SBLOCK_LEN,
  XFS_DIR2_SPACE_SIZE,
} from "./xfs_format.ts";
import type { Named } from "./xfs_message.ts";
import type { XfsInode } from "./xfs_inode_types.ts";
import type { XfsSb } from "./xfs_sb.ts";

/** Inodes are read in clusters of this many bytes (XFS_INODE_BIG_CLUSTER_SIZE), more if they are large themselves. */
const INODE_CLUSTER_BYTES = 8192;
/** The size of inode that the cluster's is for, bytes. */
const DINODE_MIN_BYTES = 256;

/** One allocation group. */
export class XfsPerag {
  /** Inodes in memory, by number within the group. Guarded by pag_ici_lock. */
  readonly pag_ici_root: RadixTreeRoot<XfsInode> = new RadixTreeRoot<
    XfsInode
  >();
  readonly pag_ici_lock: Rwlock;
  readonly line: CacheLine;

  // From the AGF, once pagf_init is set.
  pagf_init = false;
  pagf_freeblks = 0;
  pagf_longest = 0;

  // From the AGI, once pagi_init is set.
  pagi_init = false;
  pagi_count = 0;
  pagi_freecount = 0;
  /** Root block of the inode btree, and its levels. */
  agi_root = 0;
  agi_level = 0;

  constructor(k: Kernel, readonly agno: number) {
    this.line = new CacheLine(0);
    this.pag_ici_lock = new Rwlock(k, "&pag->pag_ici_lock", this.line);
  }
}

/** What a block was found to be. */
export interface Passed {
  /** Code of its kind. */
  readonly code: number;
  /** First sectors of its further pieces, if it is scattered. */
  readonly rest: readonly number[];
}

/** Slab caches of all mounts: `xfs_*_zone`. */
export interface XfsZones {
  readonly inode: KmemCache<XfsInode>;
  readonly dabuf: KmemCache<XfsDabuf>;
  readonly da_state: KmemCache<XfsDaState>;
}

/** One mounted file system. Fixed once mounted, but for what says otherwise. */
export class XfsMount implements Named {
  readonly m_sb: XfsSb;
  /** 1 = version 5: indexes the pairs of xfs_format.ts. */
  readonly crc: 0 | 1;
  readonly ftype: boolean;
  /** Whether names are 0 or 1 byte longer for their type. */
  readonly ftypeBytes: 0 | 1;

  /** log2 of sectors in a block. */
  readonly m_blkbb_log: number;
  /** Basic blocks of a sector of the file system. */
  readonly m_sectbb: number;
  /** Bits of an inode's number within its group. */
  readonly m_agino_log: number;
  /** 2 ** m_agino_log. */
  readonly m_aginos: number;
  /** 2 ** sb_agblklog. */
  readonly m_agblks: number;
  readonly m_inode_cluster_size: number;
  /** Blocks of one inode cluster. */
  readonly m_blocks_per_cluster: number;
  /** Inode chunks begin at multiples of this plus 1; 0 = anywhere. */
  readonly m_inoalign_mask: number;
  /** Bytes of a directory block. */
  readonly m_dirblksize: number;
  /** log2 of it. */
  readonly m_dirblklog: number;
  /** Blocks of a directory block. */
  readonly m_dirblkfsbs: number;
  /** First block of a directory's leaves, and of its free indexes. */
  readonly m_dirleafblk: number;
  readonly m_dirfreeblk: number;
  /** Most levels of an extent btree. */
  readonly m_bm_maxlevels: number = XFS_BTREE_MAXLEVELS;
  /** Most pointers, and records, of an extent btree's block. */
  readonly m_bmap_dmxr: number;
  /** Most pointers of an inode btree's node, and records of its leaf. */
  readonly m_inobt_node_mxr: number;
  readonly m_inobt_leaf_mxr: number;

  /** By number; made when first asked for. */
  readonly m_perag: Map<number, XfsPerag> = new Map();
  /**
   * Blocks whose contents a verifier has seen since they came from the disk, by
   * their first sector. In Linux the buffer knows, which lives as long as its
   * pages; see xfs_verify.ts.
   */
  readonly m_verified: Map<number, Passed> = new Map();
  /** The same of inodes, by number. */
  readonly m_verified_inodes: Set<number> = new Set();

  /** Guards m_inodes. */
  readonly m_ilock: Mutex;
  /** Inodes in memory, newest first. Guarded by m_ilock. */
  readonly m_inodes: ListHead<XfsInode> = new ListHead<XfsInode>();
  readonly m_ilock_line: CacheLine = new CacheLine(0);
  /** The root, held while mounted. */
  m_rootip: XfsInode | null = null;
  m_zones!: XfsZones;
  /** Reads of a block too broken to go on with, since the mount. */
  m_corruptions = 0;

  constructor(
    readonly k: Kernel,
    readonly m_super: SuperBlock,
    readonly m_fsname: string,
    readonly m_ddev_targp: XfsBuftarg,
    sb: XfsSb,
  ) {
    this.m_sb = sb;
    this.m_ilock = new Mutex(k, "&mp->m_ilock", this.m_ilock_line);
    this.crc = sb.hasCrc ? 1 : 0;
    this.ftype = sb.hasFtype;
    this.ftypeBytes = sb.hasFtype ? 1 : 0;
    this.m_blkbb_log = sb.sb_blocklog - BBSHIFT;
    this.m_sectbb = sb.sb_sectsize >> BBSHIFT;
    this.m_agino_log = sb.sb_agblklog + sb.sb_inopblog;
    this.m_aginos = 2 ** this.m_agino_log;
    this.m_agblks = 2 ** sb.sb_agblklog;
    this.m_inode_cluster_size = clusterBytes(sb);
    this.m_blocks_per_cluster = Math.max(
      1,
      this.m_inode_cluster_size >> sb.sb_blocklog,
    );
    this.m_inoalign_mask = sb.hasAlign && sb.sb_inoalignmt > 0 &&
        sb.sb_inoalignmt >= this.m_inode_cluster_size >> sb.sb_blocklog
      ? sb.sb_inoalignmt - 1
      : 0;
    this.m_dirblklog = sb.sb_blocklog + sb.sb_dirblklog;
    this.m_dirblksize = 2 ** this.m_dirblklog;
    this.m_dirblkfsbs = 1 << sb.sb_dirblklog;
    this.m_dirleafblk = XFS_DIR2_SPACE_SIZE / sb.sb_blocksize;
    this.m_dirfreeblk = 2 * this.m_dirleafblk;
    const long = sb.sb_blocksize - XFS_BTREE_LBLOCK_LEN[this.crc];
    const short = sb.sb_blocksize - XFS_BTREE_SBLOCK_LEN[this.crc];
    this.m_bmap_dmxr = Math.floor(long / 16);
    this.m_inobt_node_mxr = Math.floor(short / 8);
    this.m_inobt_leaf_mxr = Math.floor(short / 16);
  }
}

function clusterBytes(sb: XfsSb): number {
  if (!sb.hasCrc) return INODE_CLUSTER_BYTES;
  const scaled = INODE_CLUSTER_BYTES * (sb.sb_inodesize / DINODE_MIN_BYTES);
  return sb.sb_inoalignmt >= scaled / sb.sb_blocksize
    ? scaled
    : INODE_CLUSTER_BYTES;
}
