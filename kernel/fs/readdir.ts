/** Reading directories (fs/readdir.c). */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { ENOTDIR, err, type Errno } from "../lib/errno.ts";
import { mutex_lock, mutex_unlock } from "../locking/mutex.ts";
import type { Thread } from "../thread.ts";
import { path_put } from "./fs_struct.ts";
import type { DirContext, Inode } from "./inode_types.ts";
import { LOOKUP_DIRECTORY, LOOKUP_FOLLOW } from "./namei.ts";
import { charge_copy_user, user_path_at } from "./stat.ts";

const VFS_READDIR = ksym("vfs_readdir");
const SYS_GETDENTS = ksym("sys_getdents");
const FILLDIR = ksym("filldir");

/** What ls gives getdents(), bytes. */
const BUFFER_BYTES = 32768;
/** Bytes of a struct linux_dirent without its name: number, offset, length; the name's NUL, and the type behind it. */
const DIRENT_BYTES = 20;

/** One entry as ls would see it. */
export interface DirEntry {
  readonly name: Uint8Array;
  readonly ino: number;
  /** `DT_*`. */
  readonly type: number;
}

/**
 * Reads on in a directory under its i_mutex.
 *
 * Context: process. Locks: takes i_mutex.
 *
 * @returns 0; -ENOTDIR; the file system's error.
 */
export function* vfs_readdir(
  t: Thread,
  inode: Inode,
  ctx: DirContext,
): Steps<0 | Errno> {
  enter(t, VFS_READDIR);
  charge(t, 14);
  const { readdir } = inode.i_fop;
  let error: 0 | Errno = err(ENOTDIR);
  if (readdir !== undefined) {
    yield* mutex_lock(t, inode.i_mutex);
    error = yield* readdir(t, inode, ctx);
    yield* mutex_unlock(t, inode.i_mutex);
  }
  leave(t);
  return error;
}

/**
 * All entries of the directory `name`, `.` and `..` too, in the file system's
 * order, read as ls does: getdents() with a buffer of 32 KiB until the end.
 *
 * Context: process.
 *
 * @returns The errors of vfs_stat() and {@linkcode vfs_readdir}.
 */
export function* read_dir(
  t: Thread,
  name: Uint8Array,
): Steps<DirEntry[] | Errno> {
  const path = yield* user_path_at(t, name, LOOKUP_FOLLOW | LOOKUP_DIRECTORY);
  if (typeof path === "number") return path;
  const getdents = new Getdents(t);
  let error: 0 | Errno;
  let before: number;
  do {
    enter(t, SYS_GETDENTS);
    charge(t, 20);
    before = getdents.entries.length;
    getdents.left = BUFFER_BYTES;
    error = yield* vfs_readdir(t, path.dentry.d_inode!, getdents);
    leave(t);
  } while (error === 0 && getdents.entries.length > before);
  yield* path_put(t, path);
  return error === 0 ? getdents.entries : error;
}

/** What getdents() has returned so far. */
class Getdents implements DirContext {
  pos = 0;
  /** Room in the buffer, bytes. */
  left = 0;
  readonly entries: DirEntry[] = [];

  constructor(readonly t: Thread) {}

  readonly actor = (name: Uint8Array, ino: number, type: number): boolean => {
    const { t } = this;
    enter(t, FILLDIR);
    charge(t, 24);
    const bytes = Math.ceil((DIRENT_BYTES + name.length) / 8) * 8;
    const taken = bytes <= this.left;
    if (taken) {
      charge_copy_user(t, name.length);
      this.left -= bytes;
      this.entries.push({ name: name.slice(), ino, type });
    }
    leave(t);
    return taken;
  };
}
