/** Reading directories (fs/readdir.c). Interface first: the bodies follow. */
import type { Steps } from "../../arch/asm.ts";
import { BUG } from "../bug.ts";
import type { Errno } from "../lib/errno.ts";
import type { Thread } from "../thread.ts";
import type { DirContext, Inode } from "./inode_types.ts";

/** One entry as ls would see it. */
export interface DirEntry {
  readonly name: Uint8Array;
  readonly ino: number;
  /** `DT_*`. */
  readonly type: number;
}

/** Reads on in a directory under its i_mutex. @returns 0; -ENOTDIR; the file system's error. Context: process. */
export function vfs_readdir(
  t: Thread,
  _inode: Inode,
  _ctx: DirContext,
): Steps<0 | Errno> {
  return BUG(t, "vfs_readdir() is to come");
}

/** All entries of the directory `name`, read as ls does: open, getdents() with a buffer of 32 KiB until the end. */
export function read_dir(
  t: Thread,
  _name: Uint8Array,
): Steps<DirEntry[] | Errno> {
  return BUG(t, "read_dir() is to come");
}
