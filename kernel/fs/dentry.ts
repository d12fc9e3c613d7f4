/**
 * struct dentry (include/linux/dcache.h): a name in a directory, and the inode
 * it leads to, or none: a negative dentry remembers that there is no such name.
 *
 * Objects live in a slab cache: the JavaScript object stands for the address and
 * is recycled with it; d_alloc() sets every field. On 64 bits the structure has
 * 208 bytes; what a lookup looks at lies in the first 64.
 */
import { Cell } from "../../arch/hw/cell.ts";
import type { CacheLine } from "../../arch/hw/line.ts";
import type { Kernel } from "../kernel.ts";
import { HlistNode } from "../lib/hlist.ts";
import { ListHead } from "../lib/list.ts";
import { Spinlock } from "../locking/spinlock.ts";
import type { KmallocObject } from "../mm/slab.ts";
import { SlabObject } from "../mm/slab.ts";
import { RcuHead } from "../rcu.ts";
import { address_seed, type Halves, kernel_address } from "./hash_buckets.ts";
import type { Inode } from "./inode_types.ts";
import { Qstr } from "./qstr.ts";
import type { SuperBlock } from "./super_types.ts";

/** sizeof(struct dentry) with CONFIG_PROFILING, bytes. */
export const DENTRY_BYTES = 208;
/** Names of fewer bytes lie in the dentry. */
export const DNAME_INLINE_LEN = 36;
/** Byte where what the LRU lists and the tree touch begins. */
const D_LRU_OFFSET = 64;
/** Byte where a short name begins. */
const D_INAME_OFFSET = 172;

/** Has been used since it was put on the LRU list. */
export const DCACHE_REFERENCED = 0x0008;
/** In no bucket. */
export const DCACHE_UNHASHED = 0x0010;

const NO_NAME = new Qstr(new Uint8Array(0), 0);

/** One name in the cache. */
export class Dentry extends SlabObject {
  // Fixed from d_alloc() on.
  /** The name, with its hash. */
  d_name: Qstr = NO_NAME;
  /** The directory; itself in a root. (There is no rename.) */
  d_parent: Dentry = this;
  d_sb!: SuperBlock;
  /** The file system's. */
  d_fsdata: unknown = null;
  /** Where a name of {@linkcode DNAME_INLINE_LEN} bytes or more lies. */
  d_external: KmallocObject | null = null;

  /** References. 0 = unused, and on the LRU list or about to be. Atomic. */
  d_count!: Cell<number>;
  /** Guards d_flags, and that it stays what a lookup found it to be. */
  d_lock!: Spinlock;

  // Guarded by d_lock.
  /** `DCACHE_*`. */
  d_flags = DCACHE_UNHASHED;

  // Guarded by dcache_lock.
  /** What it leads to; `null` = negative. Set once, by d_instantiate(). */
  d_inode: Inode | null = null;
  /** In its bucket. Changed under dcache_lock and d_lock, read under RCU. */
  readonly d_hash: HlistNode<Dentry> = new HlistNode<Dentry>(this);
  /** On its superblock's LRU list; empty = not on it. */
  readonly d_lru: ListHead<Dentry> = new ListHead<Dentry>(this);
  /** Among its parent's children. */
  readonly d_child: ListHead<Dentry> = new ListHead<Dentry>(this);
  /** Its children. */
  readonly d_subdirs: ListHead<Dentry> = new ListHead<Dentry>();
  /** Among the names of its inode. */
  readonly d_alias: ListHead<Dentry> = new ListHead<Dentry>(this);

  readonly d_rcu: RcuHead<Dentry> = new RcuHead<Dentry>(this);

  /** Line of d_lru and the lists after it. */
  lru_line!: CacheLine;
  /** Line of a name that lies in the dentry. */
  name_line!: CacheLine;
  /** What the address adds to a child's hash; see d_hash(). */
  hash_seed!: Halves;

  /** First use of this address: what lies on its own lines. */
  init_once(k: Kernel): void {
    this.d_count = new Cell("dentry->d_count", 0, this.line);
    this.d_lock = new Spinlock(k, "&dentry->d_lock", this.line);
    this.lru_line = k.machine.lineAt(this.paddr + D_LRU_OFFSET);
    this.name_line = k.machine.lineAt(this.paddr + D_INAME_OFFSET);
    this.hash_seed = address_seed(
      kernel_address(k, this.paddr),
      k.vfs!.dentry_hashtable.lineShift,
    );
  }
}

/** Whether it is the root of its tree. */
export function IS_ROOT(dentry: Dentry): boolean {
  return dentry.d_parent === dentry;
}

/** Whether it is in no bucket. */
export function d_unhashed(dentry: Dentry): boolean {
  return (dentry.d_flags & DCACHE_UNHASHED) !== 0;
}
