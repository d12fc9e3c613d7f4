/**
 * Mounts, paths, and where a thread's paths start (include/linux/mount.h,
 * path.h, fs_struct.h; kernel/exit.c, kernel/fork.c).
 *
 * Lock order:
 *
 *     fs.lock
 *       nothing
 *     vfsmount_lock
 *       nothing
 *
 * Differs from Linux: there are no mount points, so that a mount is the top of a
 * tree of its own; no chroot(); threads do not leave by themselves what they
 * have unshared, exit_fs() is to be called.
 */
import {
  atomic_add_return,
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  touch_write,
  write_line,
} from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import { BUG_ON } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import { ENOMEM, err, type Errno } from "../lib/errno.ts";
import { _atomic_dec_and_lock } from "../locking/dec_and_lock.ts";
import {
  read_lock,
  read_unlock,
  Rwlock,
  write_lock,
  write_unlock,
} from "../locking/rwlock.ts";
import { spin_unlock } from "../locking/spinlock.ts";
import { GFP_KERNEL } from "../mm/gfp.ts";
import { kmem_cache_alloc, kmem_cache_free, SlabObject } from "../mm/slab.ts";
import type { Thread } from "../thread.ts";
import { dget, dput } from "./dcache.ts";
import type { Dentry } from "./dentry.ts";
import { deactivate_super } from "./super_kill.ts";
import type { SuperBlock } from "./super_types.ts";

const MNTPUT_NO_EXPIRE = ksym("mntput_no_expire");
const PATH_GET = ksym("path_get");
const PATH_PUT = ksym("path_put");
const COPY_FS_STRUCT = ksym("copy_fs_struct");
const SET_FS_PWD = ksym("set_fs_pwd");
const PUT_FS_STRUCT = ksym("put_fs_struct");

/** sizeof(struct vfsmount), bytes. */
export const VFSMOUNT_BYTES = 224;
/** Byte where mnt_count lies: at the end, where reads of the rest do not see its line leave. */
const MNT_COUNT_OFFSET = 208;
/** sizeof(struct fs_struct), bytes. */
export const FS_STRUCT_BYTES = 48;

/** One mount of a superblock. */
export class Vfsmount extends SlabObject {
  // Fixed while mounted.
  mnt_root!: Dentry;
  mnt_sb!: SuperBlock;
  /** References; 1 for being mounted. Atomic; 0 only under vfsmount_lock. */
  mnt_count!: Cell<number>;

  /** First use of this address. */
  init_once(k: Kernel): void {
    this.mnt_count = new Cell(
      "mnt->mnt_count",
      0,
      k.machine.lineAt(this.paddr + MNT_COUNT_OFFSET),
    );
  }
}

/** A place in a tree: `struct path`. */
export class Path {
  constructor(readonly mnt: Vfsmount, readonly dentry: Dentry) {}
}

/** Root and working directory: `struct fs_struct`. */
export class FsStruct extends SlabObject {
  lock!: Rwlock;

  // Guarded by lock.
  /** Where `/` is; `null` = nothing is mounted. */
  root: Path | null = null;
  /** Where names begin that do not begin with `/`. */
  pwd: Path | null = null;

  /** First use of this address. */
  init_once(k: Kernel): void {
    this.lock = new Rwlock(k, "fs->lock", this.line);
  }
}

/** One reference more. */
export function mntget(t: Thread, mnt: Vfsmount): Steps<number> {
  charge(t, 2);
  return atomic_add_return(t, mnt.mnt_count, 1);
}

/** Gives a reference up; the last one ends the mount, and perhaps its superblock. Context: process. */
export function* mntput(t: Thread, mnt: Vfsmount): Steps {
  enter(t, MNTPUT_NO_EXPIRE);
  charge(t, 6);
  yield* write_line(t, mnt.mnt_count.line); // mnt_expiry_mark
  const { vfsmount_lock, mnt_cache } = t.k.vfs!;
  if (yield* _atomic_dec_and_lock(t, mnt.mnt_count, vfsmount_lock)) {
    yield* spin_unlock(t, vfsmount_lock);
    const sb = mnt.mnt_sb;
    yield* dput(t, mnt.mnt_root);
    yield* kmem_cache_free(t, mnt_cache, mnt);
    yield* deactivate_super(t, sb);
  }
  leave(t);
}

/** A reference more to both parts. */
export function* path_get(t: Thread, path: Path): Steps {
  enter(t, PATH_GET);
  yield* mntget(t, path.mnt);
  yield* dget(t, path.dentry);
  leave(t);
}

/** Gives up both parts. Context: process. */
export function* path_put(t: Thread, path: Path): Steps {
  enter(t, PATH_PUT);
  yield* dput(t, path.dentry);
  yield* mntput(t, path.mnt);
  leave(t);
}

/** The running thread's. */
export function current_fs(t: Thread): FsStruct {
  return t.task.fs ?? t.k.vfs!.init_fs;
}

/**
 * Gives `t` a root and working directory of its own, as every process has: until
 * then it shares pid 1's, and the line of their lock with all that do.
 *
 * Context: process.
 *
 * @returns 0; -ENOMEM.
 */
export function* unshare_fs_struct(t: Thread): Steps<0 | Errno> {
  BUG_ON(t, t.fs !== null, "unshare_fs_struct() twice");
  enter(t, COPY_FS_STRUCT);
  charge(t, 20);
  const { fs_cachep, init_fs } = t.k.vfs!;
  const fs = yield* kmem_cache_alloc(t, fs_cachep, GFP_KERNEL);
  if (fs === null) {
    leave(t);
    return err(ENOMEM);
  }
  if (fs.lock === undefined) fs.init_once(t.k);
  touch_write(t, fs.line);
  yield* read_lock(t, init_fs.lock);
  fs.root = init_fs.root;
  fs.pwd = init_fs.pwd;
  if (fs.root !== null) yield* path_get(t, fs.root);
  if (fs.pwd !== null) yield* path_get(t, fs.pwd);
  yield* read_unlock(t, init_fs.lock);
  t.fs = fs;
  leave(t);
  return 0;
}

/** Gives up what {@linkcode unshare_fs_struct} has given, if it has. Context: process. */
export function* exit_fs(t: Thread): Steps {
  const { fs } = t;
  if (fs === null) return;
  enter(t, PUT_FS_STRUCT);
  charge(t, 10);
  t.fs = null;
  yield* set_fs_root(t, fs, null);
  yield* set_fs_pwd(t, fs, null);
  yield* kmem_cache_free(t, t.k.vfs!.fs_cachep, fs);
  leave(t);
}

/** Puts `path`, with a reference of its own, in the place of the root. Context: process. */
export function* set_fs_root(
  t: Thread,
  fs: FsStruct,
  path: Path | null,
): Steps {
  if (path !== null) yield* path_get(t, path);
  yield* write_lock(t, fs.lock);
  const old = fs.root;
  fs.root = path;
  yield* write_unlock(t, fs.lock);
  if (old !== null) yield* path_put(t, old);
}

/** Puts `path`, with a reference of its own, in the place of the working directory. Context: process. */
export function* set_fs_pwd(t: Thread, fs: FsStruct, path: Path | null): Steps {
  enter(t, SET_FS_PWD);
  if (path !== null) yield* path_get(t, path);
  yield* write_lock(t, fs.lock);
  const old = fs.pwd;
  fs.pwd = path;
  yield* write_unlock(t, fs.lock);
  if (old !== null) yield* path_put(t, old);
  leave(t);
}
