/**
 * struct inode and what file systems implement for one (include/linux/fs.h,
 * include/linux/stat.h).
 *
 * A file system may extend {@linkcode Inode}, with a slab cache of its own
 * behind s_op.alloc_inode() and s_op.destroy_inode(), or hang what it has on
 * i_private. Objects are recycled by the slab: alloc_inode() sets the fields
 * here anew, the file system its own.
 */
import type { Steps } from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import type { CacheLine } from "../../arch/hw/line.ts";
import type { Kernel } from "../kernel.ts";
import type { Errno } from "../lib/errno.ts";
import { HlistNode } from "../lib/hlist.ts";
import { ListHead } from "../lib/list.ts";
import { Mutex } from "../locking/mutex.ts";
import { Spinlock } from "../locking/spinlock.ts";
import type { PlacedWord } from "../mm/bit_waitqueue.ts";
import type { AddressSpace } from "../mm/filemap.ts";
import { SlabObject } from "../mm/slab.ts";
import type { Thread } from "../thread.ts";
import type { Dentry } from "./dentry.ts";
import type { SuperBlock } from "./super_types.ts";

/** sizeof(struct inode), bytes. */
export const INODE_BYTES = 568;
// Where its parts begin, bytes.
const I_INO_OFFSET = 64;
const I_LOCK_OFFSET = 184;
const I_MUTEX_OFFSET = 192;
const I_OP_OFFSET = 256;
const I_STATE_OFFSET = 496;

// i_mode
export const S_IFMT = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFLNK = 0o120000;
export const S_IFREG = 0o100000;
export const S_IFBLK = 0o060000;
export const S_IFDIR = 0o040000;
export const S_IFCHR = 0o020000;
export const S_IFIFO = 0o010000;
export const S_ISUID = 0o004000;
export const S_ISGID = 0o002000;
export const S_ISVTX = 0o001000;

/** Whether a mode is a directory's. */
export function S_ISDIR(mode: number): boolean {
  return (mode & S_IFMT) === S_IFDIR;
}

/** Whether a mode is a regular file's. */
export function S_ISREG(mode: number): boolean {
  return (mode & S_IFMT) === S_IFREG;
}

/** Whether a mode is a symbolic link's. */
export function S_ISLNK(mode: number): boolean {
  return (mode & S_IFMT) === S_IFLNK;
}

// i_state, values of 2.6.28
/** About to be freed; whoever wants it waits. */
export const I_WILL_FREE = 16;
/** Being freed; whoever wants it waits. */
export const I_FREEING = 32;
/** Freed in all but memory. */
export const I_CLEAR = 64;
/** Being filled in; set with I_NEW by iget_locked(). Waiters wait for its end. */
export const I_LOCK = 128;
/** iget_locked() has made it, and its caller has yet to fill it in. */
export const I_NEW = 8;

/** Seconds and nanoseconds. */
export interface Timespec {
  tv_sec: number;
  tv_nsec: number;
}

/** What stat() tells (include/linux/stat.h). */
export interface Kstat {
  ino: number;
  /** Device, as its superblock's s_dev. */
  dev: string;
  /** Type and permissions. */
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  rdev: number;
  /** Bytes. */
  size: number;
  atime: Timespec;
  mtime: Timespec;
  ctime: Timespec;
  /** Preferred size of I/O, bytes. */
  blksize: number;
  /** Units of 512 bytes. */
  blocks: number;
}

/** What a file system can do with an inode. What is absent, it cannot. */
export interface InodeOperations {
  /**
   * Looks `dentry`'s name up in `dir`, and makes it positive or negative and
   * known: d_add() or d_splice_alias().
   *
   * Locks: dir.i_mutex held.
   *
   * @returns `null`; another dentry to be used instead; an error, with `dentry` untouched.
   */
  lookup?(
    t: Thread,
    dir: Inode,
    dentry: Dentry,
  ): Steps<Dentry | null | Errno>;
  /** What stat() tells; generic_fillattr() if absent. Locks: none. */
  getattr?(t: Thread, dentry: Dentry): Steps<Kstat | Errno>;
  /** Target of a symbolic link. Locks: none. */
  readlink?(t: Thread, inode: Inode): Steps<Uint8Array | Errno>;
}

/**
 * Takes one entry of a directory. `name` is good during the call only.
 *
 * @param type `DT_*`.
 * @param pos Where the entry after this one begins, for a later call.
 * @returns Whether it was taken; `false` = there is no room, stop before it.
 */
export type Filldir = (
  name: Uint8Array,
  ino: number,
  type: number,
  pos: number,
) => boolean;

/** How far a directory has been read. */
export interface DirContext {
  /** The entry to begin with; the file system's numbers, 0 = the first. */
  pos: number;
  readonly actor: Filldir;
}

/** What a file system can do with an open file. */
export interface FileOperations {
  /**
   * Gives `ctx.actor` the entries from `ctx.pos` on, `.` and `..` too, and
   * moves `ctx.pos` past those that were taken.
   *
   * Locks: inode.i_mutex held.
   */
  readdir?(t: Thread, inode: Inode, ctx: DirContext): Steps<0 | Errno>;
}

// Types of directory entries.
export const DT_UNKNOWN = 0;
export const DT_FIFO = 1;
export const DT_CHR = 2;
export const DT_DIR = 4;
export const DT_BLK = 6;
export const DT_REG = 8;
export const DT_LNK = 10;
export const DT_SOCK = 12;

/** Nothing can be done with it. */
export const EMPTY_IOPS: InodeOperations = {};
/** Nothing can be done with it. */
export const EMPTY_FOPS: FileOperations = {};

/** An inode's i_state, for those who wait for one of its bits. */
class StateWord implements PlacedWord {
  constructor(readonly inode: Inode, readonly paddr: number) {}

  get flags(): number {
    return this.inode.i_state;
  }

  set flags(flags: number) {
    this.inode.i_state = flags;
  }

  get line(): CacheLine {
    return this.inode.state_line;
  }
}

/** One file, directory or whatever. */
export class Inode extends SlabObject {
  // Fixed from iget_locked() on.
  i_sb!: SuperBlock;
  i_ino = 0;

  // Fixed from unlock_new_inode() on: nobody writes here.
  /** Type and permissions. */
  i_mode = 0;
  i_nlink = 1;
  i_uid = 0;
  i_gid = 0;
  i_rdev = 0;
  /** Bytes. */
  i_size = 0;
  /** Units of 512 bytes. */
  i_blocks = 0;
  /** log2 of the preferred size of I/O. */
  i_blkbits = 0;
  i_generation = 0;
  readonly i_atime: Timespec = { tv_sec: 0, tv_nsec: 0 };
  readonly i_mtime: Timespec = { tv_sec: 0, tv_nsec: 0 };
  readonly i_ctime: Timespec = { tv_sec: 0, tv_nsec: 0 };
  i_op: InodeOperations = EMPTY_IOPS;
  i_fop: FileOperations = EMPTY_FOPS;
  /** Its data, if the file system caches any. */
  i_mapping: AddressSpace | null = null;
  /** The file system's. */
  i_private: unknown = null;

  /** References. Atomic; 0 only under inode_lock. */
  i_count!: Cell<number>;

  // Guarded by inode_lock.
  /** `I_*`. The end of I_NEW alone comes without the lock. */
  i_state = 0;
  readonly i_hash: HlistNode<Inode> = new HlistNode<Inode>(this);
  /** On inode_in_use, inode_unused, or a list of those to be freed. */
  readonly i_list: ListHead<Inode> = new ListHead<Inode>(this);
  /** On its superblock's list. */
  readonly i_sb_list: ListHead<Inode> = new ListHead<Inode>(this);

  // Guarded by dcache_lock.
  /** Its names. */
  readonly i_dentry: ListHead<Dentry> = new ListHead<Dentry>();

  /** Line of i_ino and i_count; `line` has the hash chain and the lists. */
  ino_line!: CacheLine;
  /** Line of i_mode and i_lock. */
  mode_line!: CacheLine;
  /** Line of i_op and i_fop. */
  op_line!: CacheLine;
  /** Line of i_state. */
  state_line!: CacheLine;
  /** i_state, to wait on. */
  state_word!: PlacedWord;
  #mutex: Mutex | null = null;
  #lock: Spinlock | null = null;

  /** Made by a slab cache. */
  constructor(readonly k: Kernel) {
    super();
  }

  /**
   * Of a directory: held while entries are looked up that no dentry knows of,
   * while it is read, and while it changes.
   */
  get i_mutex(): Mutex {
    return this.#mutex ??= new Mutex(
      this.k,
      "&inode->i_mutex",
      this.k.machine.lineAt(this.paddr + I_MUTEX_OFFSET),
    );
  }

  /** For the file system's use. */
  get i_lock(): Spinlock {
    return this.#lock ??= new Spinlock(
      this.k,
      "&inode->i_lock",
      this.mode_line,
    );
  }

  /** First use of this address: what lies on its own lines. */
  init_once(): void {
    const { machine } = this.k;
    this.ino_line = machine.lineAt(this.paddr + I_INO_OFFSET);
    this.mode_line = machine.lineAt(this.paddr + I_LOCK_OFFSET);
    this.op_line = machine.lineAt(this.paddr + I_OP_OFFSET);
    this.state_line = machine.lineAt(this.paddr + I_STATE_OFFSET);
    this.state_word = new StateWord(this, this.paddr + I_STATE_OFFSET);
    this.i_count = new Cell("inode->i_count", 0, this.ino_line);
  }
}
