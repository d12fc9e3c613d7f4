/**
 * stat() (fs/stat.c), and names from user space (fs/namei.c: getname()).
 *
 * There is no user space: names and results are the caller's, and what copying
 * them costs is charged where Linux copies.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  read_line,
  type Steps,
  touch_write,
} from "../../arch/asm.ts";
import { ENAMETOOLONG, ENOENT, ENOMEM, err, type Errno } from "../lib/errno.ts";
import { GFP_KERNEL } from "../mm/gfp.ts";
import {
  kmem_cache_alloc,
  kmem_cache_free,
  type SlabObject,
} from "../mm/slab.ts";
import type { Thread } from "../thread.ts";
import type { Dentry } from "./dentry.ts";
import { current_fs, type Path, path_put, set_fs_pwd } from "./fs_struct.ts";
import type { Inode, Kstat } from "./inode_types.ts";
import { LOOKUP_DIRECTORY, LOOKUP_FOLLOW, path_lookup } from "./namei.ts";
import { PATH_MAX } from "./qstr.ts";

const GETNAME = ksym("getname");
const PUTNAME = ksym("putname");
const __STRNCPY_FROM_USER = ksym("__strncpy_from_user");
const __COPY_USER = ksym("__copy_user");
const USER_PATH_AT = ksym("user_path_at");
const VFS_STAT_FD = ksym("vfs_stat_fd");
const VFS_GETATTR = ksym("vfs_getattr");
const GENERIC_FILLATTR = ksym("generic_fillattr");
const SYS_NEWSTAT = ksym("sys_newstat");
const CP_NEW_STAT = ksym("cp_new_stat");
const SYS_CHDIR = ksym("sys_chdir");

/** One byte of __strncpy_from_user(), which copies by bytes: load, store, test, count, two branches. */
const STRNCPY_INSTRUCTIONS = 6;
/** sizeof(struct stat) of 64-bit machines, bytes. */
const STAT_BYTES = 144;

/** Charges __copy_user() of `bytes`: eight at a time. */
export function charge_copy_user(t: Thread, bytes: number): void {
  enter(t, __COPY_USER);
  charge(t, 16 + bytes / 4);
  leave(t);
}

/** A buffer with a copy of `name`. @returns -ENOENT if it is empty; -ENAMETOOLONG; -ENOMEM. */
function* getname(t: Thread, name: Uint8Array): Steps<SlabObject | Errno> {
  enter(t, GETNAME);
  charge(t, 14);
  const { names_cachep } = t.k.vfs!;
  const buffer = yield* kmem_cache_alloc(t, names_cachep, GFP_KERNEL);
  let result: SlabObject | Errno = buffer ?? err(ENOMEM);
  if (buffer !== null) {
    enter(t, __STRNCPY_FROM_USER);
    charge(t, 8 + STRNCPY_INSTRUCTIONS * Math.min(name.length + 1, PATH_MAX));
    touch_write(t, buffer.line); // nearly always one: paths are short
    leave(t);
    if (name.length === 0) result = err(ENOENT);
    else if (name.length >= PATH_MAX) result = err(ENAMETOOLONG);
    if (result !== buffer) yield* kmem_cache_free(t, names_cachep, buffer);
  }
  leave(t);
  return result;
}

function* putname(t: Thread, buffer: SlabObject): Steps {
  enter(t, PUTNAME);
  yield* kmem_cache_free(t, t.k.vfs!.names_cachep, buffer);
  leave(t);
}

/** path_lookup() of a name from user space. Context: process. */
export function* user_path_at(
  t: Thread,
  name: Uint8Array,
  flags: number,
): Steps<Path | Errno> {
  if (t.k.vfs === null) return err(ENOENT); // nothing has ever been mounted
  enter(t, USER_PATH_AT);
  charge(t, 10);
  const buffer = yield* getname(t, name);
  if (typeof buffer === "number") {
    leave(t);
    return buffer;
  }
  const path = yield* path_lookup(t, name, flags);
  yield* putname(t, buffer);
  leave(t);
  return path;
}

/** What an inode's own fields say. Plain. */
export function generic_fillattr(t: Thread, inode: Inode): Kstat {
  enter(t, GENERIC_FILLATTR);
  charge(t, 30);
  const stat: Kstat = {
    ino: inode.i_ino,
    dev: inode.i_sb.s_dev,
    mode: inode.i_mode,
    nlink: inode.i_nlink,
    uid: inode.i_uid,
    gid: inode.i_gid,
    rdev: inode.i_rdev,
    size: inode.i_size,
    atime: copyTime(inode.i_atime),
    mtime: copyTime(inode.i_mtime),
    ctime: copyTime(inode.i_ctime),
    blksize: 2 ** inode.i_blkbits,
    blocks: inode.i_blocks,
  };
  leave(t);
  return stat;
}

function copyTime(time: Kstat["atime"]): Kstat["atime"] {
  return { tv_sec: time.tv_sec, tv_nsec: time.tv_nsec };
}

/** What stat() tells of `dentry`, which is not negative. Context: process. */
export function* vfs_getattr(
  t: Thread,
  dentry: Dentry,
): Steps<Kstat | Errno> {
  enter(t, VFS_GETATTR);
  charge(t, 10);
  const inode = dentry.d_inode!;
  yield* read_line(t, inode.op_line);
  let stat: Kstat | Errno;
  if (inode.i_op.getattr !== undefined) {
    stat = yield* inode.i_op.getattr(t, dentry);
  } else {
    yield* read_line(t, inode.ino_line);
    yield* read_line(t, inode.mode_line);
    stat = generic_fillattr(t, inode);
  }
  leave(t);
  return stat;
}

/**
 * What stat() tells of path `name`; follows symbolic links.
 *
 * Context: process.
 *
 * @returns -ENOENT, -ENOTDIR, -ENAMETOOLONG, -ELOOP, -ENOMEM, what the file system returned.
 */
export function vfs_stat(t: Thread, name: Uint8Array): Steps<Kstat | Errno> {
  return vfs_stat_fd(t, name, LOOKUP_FOLLOW);
}

/** {@linkcode vfs_stat} of a symbolic link itself. Context: process. */
export function vfs_lstat(t: Thread, name: Uint8Array): Steps<Kstat | Errno> {
  return vfs_stat_fd(t, name, 0);
}

function* vfs_stat_fd(
  t: Thread,
  name: Uint8Array,
  flags: number,
): Steps<Kstat | Errno> {
  enter(t, VFS_STAT_FD);
  charge(t, 10);
  const path = yield* user_path_at(t, name, flags);
  if (typeof path === "number") {
    leave(t);
    return path;
  }
  const stat = yield* vfs_getattr(t, path.dentry);
  yield* path_put(t, path);
  leave(t);
  return stat;
}

/** {@linkcode vfs_stat} as the system call does it: the result is copied to user space, too. Context: process. */
export function* sys_newstat(
  t: Thread,
  name: Uint8Array,
): Steps<Kstat | Errno> {
  enter(t, SYS_NEWSTAT);
  charge(t, 6);
  const stat = yield* vfs_stat(t, name);
  if (typeof stat !== "number") {
    enter(t, CP_NEW_STAT);
    charge(t, 40);
    charge_copy_user(t, STAT_BYTES);
    leave(t);
  }
  leave(t);
  return stat;
}

/** Sets the working directory. Context: process. @returns 0; the errors of {@linkcode vfs_stat}. */
export function* sys_chdir(t: Thread, name: Uint8Array): Steps<0 | Errno> {
  enter(t, SYS_CHDIR);
  const path = yield* user_path_at(t, name, LOOKUP_FOLLOW | LOOKUP_DIRECTORY);
  if (typeof path === "number") {
    leave(t);
    return path;
  }
  yield* set_fs_pwd(t, current_fs(t), path);
  yield* path_put(t, path);
  leave(t);
  return 0;
}
