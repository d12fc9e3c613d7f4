/**
 * struct xfs_inode and xfs_ifork (fs/xfs/xfs_inode.h): an inode in memory, and
 * where its data lies.
 *
 * Before 2.6.29 a Linux inode and an xfs_inode were two objects that pointed to
 * each other; so they are here.
 */
import type { CacheLine } from "../../../arch/hw/line.ts";
import type { Kernel } from "../../kernel.ts";
import { ListHead } from "../../lib/list.ts";
import { RwSemaphore } from "../../locking/rwsem.ts";
import type { KmallocObject } from "../../mm/slab.ts";
import { SlabObject } from "../../mm/slab.ts";
import type { Inode, Timespec } from "../inode_types.ts";
import { XFS_DINODE_FMT_EXTENTS } from "./xfs_format.ts";
import type { XfsMount, XfsPerag } from "./xfs_mount_types.ts";

/** sizeof(struct xfs_inode) on 64 bits without lock debugging: about 600 bytes. */
export const XFS_INODE_BYTES = 600;
/** Where its locks and its forks begin, bytes: after the identity, and after the disk's copy. */
const I_LOCK_OFFSET = 128;
const I_DF_OFFSET = 320;

// xfs_ilock()
export const XFS_ILOCK_EXCL = 1 << 2;
export const XFS_ILOCK_SHARED = 1 << 3;

/** The blocks are in `if_ext`. */
export const XFS_IFEXTENTS = 1 << 1;
/** There is a btree, whose root is in the inode. */
export const XFS_IFBROOT = 1 << 2;
/** The data themselves are here. */
export const XFS_IFINLINE = 1 << 0;

/** A stretch of blocks: `xfs_bmbt_irec`. */
export interface XfsBmbtIrec {
  /** First block in the file. */
  br_startoff: number;
  /** First block on the disk, or {@linkcode HOLESTARTBLOCK}. */
  br_startblock: number;
  br_blockcount: number;
  /** Allocated, but never written. */
  br_unwritten: boolean;
}

/** The br_startblock of a stretch that is not there. */
export const HOLESTARTBLOCK = -2;

/** Numbers of one extent in {@linkcode XfsIfork.if_ext}: offset, block, length, unwritten. */
export const EXT_NUMBERS = 4;

/** Where an inode's data are. */
export class XfsIfork {
  if_flags = 0;
  /** Extents in memory. */
  if_nextents = 0;
  /** Their numbers, in order of br_startoff; grows. */
  if_ext: Float64Array = new Float64Array(2 * EXT_NUMBERS);
  /** The memory that Linux has them in, all but the first two. */
  readonly if_bufs: KmallocObject[] = [];
  /** The memory that Linux has if_data in, unless that lies in the inode. */
  if_data_mem: KmallocObject | null = null;
  /** XFS_IFINLINE: the data. XFS_IFBROOT: the root. */
  if_data: Uint8Array = new Uint8Array(0);
  /** Bytes of if_data in use. */
  if_bytes = 0;

  reset(): void {
    this.if_flags = 0;
    this.if_nextents = 0;
    this.if_bytes = 0;
  }
}

/** What the disk has of an inode: `xfs_icdinode`. */
export class XfsIcdinode {
  di_mode = 0;
  di_version = 0;
  di_format: number = XFS_DINODE_FMT_EXTENTS;
  di_uid = 0;
  di_gid = 0;
  di_nlink = 0;
  readonly di_atime: Timespec = { tv_sec: 0, tv_nsec: 0 };
  readonly di_mtime: Timespec = { tv_sec: 0, tv_nsec: 0 };
  readonly di_ctime: Timespec = { tv_sec: 0, tv_nsec: 0 };
  /** Bytes. */
  di_size = 0;
  di_nblocks = 0;
  di_nextents = 0;
  di_anextents = 0;
  /** Where the attribute fork begins, units of 8 bytes; 0 = there is none. */
  di_forkoff = 0;
  di_flags = 0;
  di_gen = 0;
}

/** One inode in memory. */
export class XfsInode extends SlabObject {
  // Fixed from xfs_iread() on.
  i_mount!: XfsMount;
  i_ino = 0;
  i_pag: XfsPerag | null = null;
  readonly i_d: XfsIcdinode = new XfsIcdinode();

  // Fixed from xfs_iget_core() on.
  /** The Linux inode. */
  i_vnode: Inode | null = null;

  /** On mp.m_inodes. Guarded by its m_ilock. */
  readonly i_mlist: ListHead<XfsInode> = new ListHead<XfsInode>(this);

  /** Guarded by i_lock: if_ext is read from a btree under XFS_ILOCK_EXCL. */
  readonly i_df: XfsIfork = new XfsIfork();

  /** Line of i_df. */
  df_line!: CacheLine;
  #lock: RwSemaphore | null = null;
  #dinode: Uint8Array = new Uint8Array(0);

  /** Made by a slab cache. */
  constructor(readonly k: Kernel) {
    super();
  }

  /** The inode's lock: XFS_ILOCK_SHARED, XFS_ILOCK_EXCL. */
  get i_lock(): RwSemaphore {
    return this.#lock ??= new RwSemaphore(
      this.k,
      "&ip->i_lock",
      this.k.machine.lineAt(this.paddr + I_LOCK_OFFSET),
    );
  }

  /** The bytes that were read from the disk; the data fork's are in use still if they are a btree's root or the data. */
  dinode(sizeBytes: number): Uint8Array {
    if (this.#dinode.length !== sizeBytes) {
      this.#dinode = new Uint8Array(sizeBytes);
    }
    return this.#dinode;
  }

  /** First use of this address. */
  init_once(): void {
    this.df_line ??= this.k.machine.lineAt(this.paddr + I_DF_OFFSET);
  }
}
