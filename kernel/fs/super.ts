/**
 * Kinds of file systems, superblocks, mounting and unmounting (fs/filesystems.c,
 * fs/super.c, fs/namespace.c).
 *
 * Lock order:
 *
 *     namespace_sem
 *       fs.lock
 *         nothing
 *     sb.s_umount        for writing, while a superblock is made or ends
 *       sb_lock
 *
 * Differs from Linux: a mount is not hung into a tree of mounts. The first one
 * becomes the root of pid 1, from which paths start, as if prepare_namespace()
 * had mounted it; others are reached by who sets a thread's root to them
 * (set_fs_root()). A block device can be mounted once (-EBUSY; Linux would share
 * the superblock). Writing is left out: every mount is read-only.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import type { BlockDevice } from "../block/block_device.ts";
import {
  EBUSY,
  EINVAL,
  ENODEV,
  ENOMEM,
  err,
  type Errno,
} from "../lib/errno.ts";
import { list_add_tail, list_entry } from "../lib/list.ts";
import {
  read_lock,
  read_unlock,
  write_lock,
  write_unlock,
} from "../locking/rwlock.ts";
import { down_write, up_write } from "../locking/rwsem.ts";
import { spin_lock, spin_unlock } from "../locking/spinlock.ts";
import { GFP_KERNEL } from "../mm/gfp.ts";
import { kfree, kmalloc, kmem_cache_alloc } from "../mm/slab.ts";
import type { Thread } from "../thread.ts";
import { dget } from "./dcache.ts";
import {
  mntput,
  Path,
  path_put,
  set_fs_pwd,
  set_fs_root,
  type Vfsmount,
} from "./fs_struct.ts";
import { deactivate_super } from "./super_kill.ts";
import {
  type FileSystemType,
  MS_ACTIVE,
  MS_RDONLY,
  SUPER_BLOCK_BYTES,
  SuperBlock,
} from "./super_types.ts";
import { type Vfs, vfs_init } from "./vfs.ts";

export {
  type FileSystemType,
  type FillSuper,
  MS_ACTIVE,
  MS_RDONLY,
  SuperBlock,
  type SuperOperations,
} from "./super_types.ts";

const REGISTER_FILESYSTEM = ksym("register_filesystem");
const GET_FS_TYPE = ksym("get_fs_type");
const SGET = ksym("sget");
const GET_SB_BDEV = ksym("get_sb_bdev");
const VFS_KERN_MOUNT = ksym("vfs_kern_mount");
const SYS_UMOUNT = ksym("sys_umount");

/**
 * Makes a kind of file system known. Brings the VFS up if need be.
 *
 * Context: process.
 *
 * @returns 0; -EBUSY if there is one of that name.
 */
export function* register_filesystem(
  t: Thread,
  type: FileSystemType,
): Steps<0 | Errno> {
  const v = yield* vfs_init(t);
  enter(t, REGISTER_FILESYSTEM);
  yield* write_lock(t, v.file_systems_lock);
  charge(t, 10 + 8 * v.file_systems.length);
  const known = v.file_systems.some(({ name }) => name === type.name);
  if (!known) v.file_systems.push(type);
  yield* write_unlock(t, v.file_systems_lock);
  leave(t);
  return known ? err(EBUSY) : 0;
}

function* get_fs_type(
  t: Thread,
  v: Vfs,
  name: string,
): Steps<FileSystemType | null> {
  enter(t, GET_FS_TYPE);
  yield* read_lock(t, v.file_systems_lock);
  charge(t, 10 + 8 * v.file_systems.length);
  const type = v.file_systems.find((type) => type.name === name) ?? null;
  yield* read_unlock(t, v.file_systems_lock);
  leave(t);
  return type;
}

/**
 * Mounts what is on `bdev`. The first mount becomes the root that paths start
 * from.
 *
 * Context: process.
 *
 * @param options The file system's.
 * @returns The superblock; -ENODEV for an unknown type; -EINVAL without a device that it needs; -EBUSY if the device is mounted; -ENOMEM; what fill_super() returned.
 */
export function* mount_fs(
  t: Thread,
  type: string,
  bdev: BlockDevice | null,
  options: unknown = undefined,
): Steps<SuperBlock | Errno> {
  const v = yield* vfs_init(t);
  enter(t, VFS_KERN_MOUNT);
  charge(t, 100);
  const fs_type = yield* get_fs_type(t, v, type);
  let sb: SuperBlock | Errno = err(ENODEV);
  if (fs_type !== null) {
    if (fs_type.requires_dev && bdev === null) sb = err(EINVAL);
    else sb = yield* get_sb(t, v, fs_type, bdev, options);
  }
  if (sb instanceof SuperBlock) {
    const mnt = yield* attach(t, v, sb);
    if (mnt !== 0) {
      yield* deactivate_super(t, sb);
      sb = mnt;
    }
  }
  leave(t);
  return sb;
}

/** Makes a superblock and has it filled in. */
function* get_sb(
  t: Thread,
  v: Vfs,
  type: FileSystemType,
  bdev: BlockDevice | null,
  options: unknown,
): Steps<SuperBlock | Errno> {
  enter(t, GET_SB_BDEV);
  const sb = yield* sget(t, v, type, bdev);
  if (!(sb instanceof SuperBlock)) {
    leave(t);
    return sb;
  }
  sb.s_flags = MS_RDONLY;
  const error = yield* type.fill_super(t, sb, options);
  if (error === 0) sb.s_flags |= MS_ACTIVE;
  yield* up_write(t, sb.s_umount);
  if (error !== 0) yield* deactivate_super(t, sb);
  leave(t);
  return error === 0 ? sb : error;
}

/** A new superblock, known, its s_umount held for writing. */
function* sget(
  t: Thread,
  v: Vfs,
  type: FileSystemType,
  bdev: BlockDevice | null,
): Steps<SuperBlock | Errno> {
  enter(t, SGET);
  charge(t, 150);
  const memory = yield* kmalloc(t, SUPER_BLOCK_BYTES, GFP_KERNEL);
  if (memory === null) {
    leave(t);
    return err(ENOMEM);
  }
  const sb = new SuperBlock(t.k, memory, type, bdev);
  yield* down_write(t, sb.s_umount);
  yield* spin_lock(t, v.sb_lock);
  const busy = bdev !== null && is_mounted(t, v, bdev);
  if (!busy) {
    sb.s_count = 1;
    list_add_tail(sb.s_list, v.super_blocks);
  }
  yield* spin_unlock(t, v.sb_lock);
  if (busy) {
    yield* up_write(t, sb.s_umount);
    yield* kfree(t, memory);
  }
  leave(t);
  return busy ? err(EBUSY) : sb;
}

/** Locks: sb_lock held. */
function is_mounted(t: Thread, v: Vfs, bdev: BlockDevice): boolean {
  for (let p = v.super_blocks.next; p !== v.super_blocks; p = p.next) {
    charge(t, 6);
    if (list_entry(p).s_bdev === bdev) return true;
  }
  return false;
}

/** Makes a mount of `sb`, and of the first one everybody's root. Locks: takes namespace_sem. */
function* attach(t: Thread, v: Vfs, sb: SuperBlock): Steps<0 | Errno> {
  const mnt = yield* kmem_cache_alloc(t, v.mnt_cache, GFP_KERNEL);
  if (mnt === null) return err(ENOMEM);
  charge(t, 60);
  if (mnt.mnt_count === undefined) mnt.init_once(t.k);
  mnt.mnt_sb = sb;
  mnt.mnt_root = sb.s_root!;
  yield* dget(t, mnt.mnt_root);
  mnt.mnt_count.value = 1; // nobody else knows it
  yield* down_write(t, v.namespace_sem);
  v.mounts.push(mnt);
  if (v.init_fs.root === null) {
    const path = new Path(mnt, mnt.mnt_root);
    yield* set_fs_root(t, v.init_fs, path);
    yield* set_fs_pwd(t, v.init_fs, path);
  }
  yield* up_write(t, v.namespace_sem);
  return 0;
}

/**
 * Unmounts, and frees all that belonged to it; dentries after a grace period.
 *
 * Context: process. Locks: takes namespace_sem, in it init_fs.lock.
 *
 * @returns 0; -EBUSY while somebody uses it; -EINVAL if it is not mounted.
 */
export function* umount(t: Thread, sb: SuperBlock): Steps<0 | Errno> {
  enter(t, SYS_UMOUNT);
  charge(t, 60);
  const v = t.k.vfs!;
  yield* down_write(t, v.namespace_sem);
  const mnt = v.mounts.find((mnt) => mnt.mnt_sb === sb);
  let error: 0 | Errno = mnt === undefined ? err(EINVAL) : 0;
  let root: Path | null = null;
  let pwd: Path | null = null;
  if (mnt !== undefined) {
    // Nobody gets at it through init_fs as long as this is held.
    yield* write_lock(t, v.init_fs.lock);
    ({ root, pwd } = paths_into(v, mnt));
    const uses = 1 + (root === null ? 0 : 1) + (pwd === null ? 0 : 1);
    if (mnt.mnt_count.value > uses) error = err(EBUSY);
    else detach(v, mnt, root, pwd);
    yield* write_unlock(t, v.init_fs.lock);
  }
  yield* up_write(t, v.namespace_sem);
  if (mnt !== undefined && error === 0) {
    if (root !== null) yield* path_put(t, root);
    if (pwd !== null) yield* path_put(t, pwd);
    yield* mntput(t, mnt);
  }
  leave(t);
  return error;
}

/** What of init_fs lies in `mnt`. */
function paths_into(
  v: Vfs,
  mnt: Vfsmount,
): { root: Path | null; pwd: Path | null } {
  const { root, pwd } = v.init_fs;
  return {
    root: root !== null && root.mnt === mnt ? root : null,
    pwd: pwd !== null && pwd.mnt === mnt ? pwd : null,
  };
}

/** From here on nobody finds `mnt`. */
function detach(
  v: Vfs,
  mnt: Vfsmount,
  root: Path | null,
  pwd: Path | null,
): void {
  if (root !== null) v.init_fs.root = null;
  if (pwd !== null) v.init_fs.pwd = null;
  v.mounts.splice(v.mounts.indexOf(mnt), 1);
}
