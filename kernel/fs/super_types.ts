/**
 * struct super_block and struct file_system_type (include/linux/fs.h): one
 * mounted file system, and a kind of file system.
 */
import type { Steps } from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import type { CacheLine } from "../../arch/hw/line.ts";
import type { BlockDevice } from "../block/block_device.ts";
import type { Kernel } from "../kernel.ts";
import type { Errno } from "../lib/errno.ts";
import { ListHead } from "../lib/list.ts";
import { Mutex } from "../locking/mutex.ts";
import { RwSemaphore } from "../locking/rwsem.ts";
import type { KmallocObject } from "../mm/slab.ts";
import type { Thread } from "../thread.ts";
import type { Dentry } from "./dentry.ts";
import { type Halves, kernel_address } from "./hash_buckets.ts";
import type { Inode } from "./inode_types.ts";

/** sizeof(struct super_block), bytes. */
export const SUPER_BLOCK_BYTES = 840;
// Where its parts begin, bytes.
const S_UMOUNT_OFFSET = 104;
const S_INODES_OFFSET = 256;
const S_DENTRY_LRU_OFFSET = 336;

// s_flags
/** Nothing may be written. */
export const MS_RDONLY = 1;
/** Mounted: unused inodes are kept. */
export const MS_ACTIVE = 1 << 30;

/** What a file system does for its superblock. What is absent has a default. */
export interface SuperOperations {
  /** Memory for an inode. @returns `null` if there is none. Default: from "inode_cache". */
  alloc_inode?(t: Thread, sb: SuperBlock): Steps<Inode | null>;
  /** Gives an inode's memory back. Present if alloc_inode() is. */
  destroy_inode?(t: Thread, inode: Inode): Steps;
  /** The last that is heard of an inode before destroy_inode(). May sleep. */
  clear_inode?(t: Thread, inode: Inode): Steps;
  /** Unmounting: all inodes but what the file system holds are gone. */
  put_super?(t: Thread, sb: SuperBlock): Steps;
}

/**
 * Fills a new superblock in: s_op, s_blocksize, s_magic, s_fs_info, and s_root
 * by d_alloc_root().
 *
 * Locks: s_umount held for writing.
 *
 * @param options What the mount was given; the file system's to interpret.
 * @returns 0; or an error, everything undone that the superblock does not show: s_root and s_op tell what is left for kill_sb() to do.
 */
export type FillSuper = (
  t: Thread,
  sb: SuperBlock,
  options: unknown,
) => Steps<0 | Errno>;

/** A kind of file system; {@linkcode register_filesystem} makes it known. */
export interface FileSystemType {
  /** Such as `"xfs"`. */
  readonly name: string;
  /** It is on a block device. */
  readonly requires_dev: boolean;
  readonly fill_super: FillSuper;
}

/** One mounted file system. */
export class SuperBlock {
  // Fixed while mounted.
  readonly s_type: FileSystemType;
  /** Device, such as `"ram0"`; the type's name if it has none. */
  readonly s_dev: string;
  readonly s_bdev: BlockDevice | null;
  s_op: SuperOperations = {};
  /** Bytes. */
  s_blocksize = 0;
  s_magic = 0;
  /** The file system's. */
  s_fs_info: unknown = null;

  /** Held for reading by who needs it mounted, for writing by mount and umount. */
  readonly s_umount: RwSemaphore;
  /** Serialises changes (lock_super()). */
  readonly s_lock: Mutex;

  /** Line of the fields above. */
  readonly line: CacheLine;
  /** Where it lies, which goes into the hashes of its inodes. */
  readonly address: Halves;

  // Guarded by s_umount.
  /** Its root; `null` before it is filled in, and once it is being unmounted. */
  s_root: Dentry | null = null;
  /** `MS_*`. */
  s_flags = 0;

  // Guarded by sb_lock.
  /** References to the structure. */
  s_count = 0;
  readonly s_list: ListHead<SuperBlock> = new ListHead<SuperBlock>(this);
  /** Mounts of it. Atomic; 0 only under sb_lock. */
  readonly s_active: Cell<number>;

  // Guarded by inode_lock.
  readonly s_inodes: ListHead<Inode> = new ListHead<Inode>();
  /** Line of that list's head. */
  readonly inodes_line: CacheLine;

  // Guarded by dcache_lock.
  /** Unused dentries, newest first, and some that have been taken into use since. */
  readonly s_dentry_lru: ListHead<Dentry> = new ListHead<Dentry>();
  s_nr_dentry_unused = 0;
  /** Line of the LRU list. */
  readonly lru_line: CacheLine;

  /** Made by sget(). `memory` is what it lies in. */
  constructor(
    k: Kernel,
    readonly memory: KmallocObject,
    type: FileSystemType,
    bdev: BlockDevice | null,
  ) {
    const { machine } = k;
    this.s_type = type;
    this.s_bdev = bdev;
    this.s_dev = bdev === null ? type.name : bdev.name;
    this.line = memory.line;
    this.address = kernel_address(k, memory.paddr);
    const umountLine = machine.lineAt(memory.paddr + S_UMOUNT_OFFSET);
    this.s_umount = new RwSemaphore(k, "&type->s_umount_key", umountLine);
    this.s_lock = new Mutex(k, "&type->s_lock_key", umountLine);
    this.s_active = new Cell("sb->s_active", 1, umountLine);
    this.inodes_line = machine.lineAt(memory.paddr + S_INODES_OFFSET);
    this.lru_line = machine.lineAt(memory.paddr + S_DENTRY_LRU_OFFSET);
  }

  /** Name of its type. */
  get s_type_name(): string {
    return this.s_type.name;
  }
}
