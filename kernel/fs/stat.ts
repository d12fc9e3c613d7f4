/** stat() (fs/stat.c). Interface first: the bodies follow. */
import { charge, type Steps } from "../../arch/asm.ts";
import { BUG } from "../bug.ts";
import type { Errno } from "../lib/errno.ts";
import type { Thread } from "../thread.ts";
import type { Inode, Kstat } from "./inode_types.ts";

/** What an inode's own fields say. Plain. */
export function generic_fillattr(t: Thread, inode: Inode): Kstat {
  charge(t, 30);
  return {
    ino: inode.i_ino,
    dev: inode.i_sb.s_dev,
    mode: inode.i_mode,
    nlink: inode.i_nlink,
    uid: inode.i_uid,
    gid: inode.i_gid,
    rdev: inode.i_rdev,
    size: inode.i_size,
    atime: { ...inode.i_atime },
    mtime: { ...inode.i_mtime },
    ctime: { ...inode.i_ctime },
    blksize: 2 ** inode.i_blkbits,
    blocks: inode.i_blocks,
  };
}

/** What stat() tells of path `name`; follows symbolic links. Context: process. */
export function vfs_stat(
  t: Thread,
  _name: Uint8Array,
): Steps<Kstat | Errno> {
  return BUG(t, "vfs_stat() is to come");
}

/** {@linkcode vfs_stat} as the system call does it: the result is copied to user space, too. */
export function sys_newstat(
  t: Thread,
  _name: Uint8Array,
): Steps<Kstat | Errno> {
  return BUG(t, "sys_newstat() is to come");
}
