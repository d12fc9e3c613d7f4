/**
 * The state of the VFS: what fs/dcache.c, fs/inode.c, fs/super.c and
 * fs/namespace.c keep in global variables. `k.vfs` from the first
 * register_filesystem() on; a kernel that mounts nothing has none of it, and
 * vfs_caches_init() has charged for the slab caches at boot.
 *
 * Lock order, of all of the VFS:
 *
 *     namespace_sem
 *       sb.s_umount               for reading in prune_dcache(), which only tries
 *         inode.i_mutex           one at a time: nothing is renamed
 *           iprune_mutex
 *             inode_lock
 *           dcache_lock
 *             dentry.d_lock       one at a time
 *             sb_lock
 *     vfsmount_lock
 *     fs.lock
 */
import type { Steps } from "../../arch/asm.ts";
import { CacheLine } from "../../arch/hw/line.ts";
import type { Kernel } from "../kernel.ts";
import { ListHead } from "../lib/list.ts";
import { Mutex } from "../locking/mutex.ts";
import { Rwlock } from "../locking/rwlock.ts";
import { RwSemaphore } from "../locking/rwsem.ts";
import { Seqlock } from "../locking/seqlock.ts";
import { Spinlock } from "../locking/spinlock.ts";
import {
  kmem_cache_create,
  type KmemCache,
  SLAB_HWCACHE_ALIGN,
  SlabObject,
} from "../mm/slab.ts";
import type { Thread } from "../thread.ts";
import { Dentry, DENTRY_BYTES } from "./dentry.ts";
import {
  FS_STRUCT_BYTES,
  FsStruct,
  Vfsmount,
  VFSMOUNT_BYTES,
} from "./fs_struct.ts";
import { HashBuckets } from "./hash_buckets.ts";
import { vfs_caches_init } from "./hash_caches.ts";
import { Inode, INODE_BYTES } from "./inode_types.ts";
import { PATH_MAX } from "./qstr.ts";
import type { FileSystemType, SuperBlock } from "./super_types.ts";

/** What `/proc/sys/fs/dentry-state` shows. Guarded by dcache_lock. */
export interface DentryStat {
  nr_dentry: number;
  /** On LRU lists. */
  nr_unused: number;
}

/** What `/proc/sys/fs/inode-nr` shows. Guarded by inode_lock. */
export interface InodesStat {
  nr_inodes: number;
  nr_unused: number;
}

/** File systems of one kernel. */
export class Vfs {
  // fs/dcache.c
  /** Guards the tree of dentries, their aliases and LRU lists, and changes of the hash table. */
  readonly dcache_lock: Spinlock;
  /** For d_lookup(): nobody renames. */
  readonly rename_lock: Seqlock;
  readonly dentry_hashtable: HashBuckets<Dentry>;
  readonly dentry_cache: KmemCache<Dentry>;
  readonly dentry_stat: DentryStat = { nr_dentry: 0, nr_unused: 0 };
  readonly dentry_stat_line: CacheLine = new CacheLine(0);

  // fs/inode.c
  /** Guards the lists and the hash table of inodes, i_state, and counts that go to 0. */
  readonly inode_lock: Spinlock;
  /** One thread at a time takes unused inodes away. */
  readonly iprune_mutex: Mutex;
  readonly inode_hashtable: HashBuckets<Inode>;
  readonly inode_cachep: KmemCache<Inode>;
  readonly inode_in_use: ListHead<Inode> = new ListHead<Inode>();
  /** Unused inodes, newest first, and some that have been taken into use since. */
  readonly inode_unused: ListHead<Inode> = new ListHead<Inode>();
  readonly inodes_stat: InodesStat = { nr_inodes: 0, nr_unused: 0 };
  /** Line of both lists' heads and the counters. */
  readonly inode_lists_line: CacheLine = new CacheLine(0);

  // fs/super.c, fs/filesystems.c
  readonly sb_lock: Spinlock;
  readonly super_blocks: ListHead<SuperBlock> = new ListHead<SuperBlock>();
  readonly file_systems_lock: Rwlock;
  /** Guarded by file_systems_lock. */
  readonly file_systems: FileSystemType[] = [];

  // fs/namespace.c
  readonly namespace_sem: RwSemaphore;
  readonly vfsmount_lock: Spinlock;
  readonly mnt_cache: KmemCache<Vfsmount>;
  /** Mounts. Guarded by namespace_sem. */
  readonly mounts: Vfsmount[] = [];

  // fs/namei.c
  readonly names_cachep: KmemCache<SlabObject>;
  readonly fs_cachep: KmemCache<FsStruct>;
  /** Root and working directory of pid 1, and of all threads without their own. */
  readonly init_fs: FsStruct;

  /**
   * Unused dentries above which an allocation reclaims; see dcache_shrink.ts.
   * Workloads set it.
   */
  dentry_limit = Infinity;
  /** Unused inodes that reclaim leaves alone. */
  inode_limit = 0;

  /** Context: process. The hash tables exist. */
  constructor(t: Thread) {
    const k: Kernel = t.k;
    const { dentry_hashtable, inode_hashtable } = k.hash_caches!;
    this.dcache_lock = new Spinlock(k, "dcache_lock");
    this.rename_lock = new Seqlock(k, "rename_lock");
    this.dentry_hashtable = new HashBuckets<Dentry>(k, dentry_hashtable);
    this.dentry_cache = kmem_cache_create(
      t,
      "dentry",
      DENTRY_BYTES,
      () => new Dentry(),
    );
    this.inode_lock = new Spinlock(k, "inode_lock");
    this.iprune_mutex = new Mutex(k, "iprune_mutex");
    this.inode_hashtable = new HashBuckets<Inode>(k, inode_hashtable);
    this.inode_cachep = kmem_cache_create(
      t,
      "inode_cache",
      INODE_BYTES,
      () => new Inode(k),
    );
    this.sb_lock = new Spinlock(k, "sb_lock");
    this.file_systems_lock = new Rwlock(k, "file_systems_lock");
    this.namespace_sem = new RwSemaphore(k, "namespace_sem");
    this.vfsmount_lock = new Spinlock(k, "vfsmount_lock");
    this.mnt_cache = kmem_cache_create(
      t,
      "mnt_cache",
      VFSMOUNT_BYTES,
      () => new Vfsmount(),
      SLAB_HWCACHE_ALIGN,
    );
    this.names_cachep = kmem_cache_create(
      t,
      "names_cache",
      PATH_MAX,
      () => new SlabObject(),
      SLAB_HWCACHE_ALIGN,
    );
    this.fs_cachep = kmem_cache_create(
      t,
      "fs_cache",
      FS_STRUCT_BYTES,
      () => new FsStruct(),
      SLAB_HWCACHE_ALIGN,
    );
    this.init_fs = new FsStruct();
    this.init_fs.line = new CacheLine(0);
    this.init_fs.init_once(k);
  }
}

/** Brings the VFS up if it is not. Context: process. */
export function* vfs_init(t: Thread): Steps<Vfs> {
  if (t.k.hash_caches === null) yield* vfs_caches_init(t);
  return t.k.vfs ??= new Vfs(t);
}
