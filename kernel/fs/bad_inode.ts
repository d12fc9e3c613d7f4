/** Inodes that could not be read (fs/bad_inode.c). Interface first: the bodies follow. */
import type { Steps } from "../../arch/asm.ts";
import { BUG } from "../bug.ts";
import type { Thread } from "../thread.ts";
import type { Inode } from "./inode_types.ts";

/** Makes `inode` one that fails with -EIO, and that nobody finds any more. */
export function make_bad_inode(t: Thread, _inode: Inode): Steps {
  return BUG(t, "make_bad_inode() is to come");
}

/** Whether make_bad_inode() has been at it. */
export function is_bad_inode(_inode: Inode): boolean {
  return false;
}

/** Ends a new inode that could not be filled in: bad, unlocked, and the reference given up. */
export function iget_failed(t: Thread, _inode: Inode): Steps {
  return BUG(t, "iget_failed() is to come");
}
