/** Inodes that could not be read: whatever is asked of one, it fails with -EIO (fs/bad_inode.c). */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { Ready } from "../../arch/sim/ready.ts";
import { EIO, err, type Errno } from "../lib/errno.ts";
import type { Thread } from "../thread.ts";
import { unlock_new_inode } from "./inode.ts";
import {
  type FileOperations,
  type Inode,
  type InodeOperations,
  S_IFREG,
} from "./inode_types.ts";
import { iput, remove_inode_hash } from "./iput.ts";

const MAKE_BAD_INODE = ksym("make_bad_inode");
const IGET_FAILED = ksym("iget_failed");

const FAIL: Steps<Errno> = new Ready(err(EIO));

const BAD_INODE_OPS: InodeOperations = {
  lookup: () => FAIL,
  getattr: () => FAIL,
  readlink: () => FAIL,
};

const BAD_FILE_OPS: FileOperations = { readdir: () => FAIL };

/** Makes `inode` one that fails, and that nobody finds in the cache any more. Context: any. */
export function* make_bad_inode(t: Thread, inode: Inode): Steps {
  enter(t, MAKE_BAD_INODE);
  charge(t, 20);
  yield* remove_inode_hash(t, inode);
  inode.i_mode = S_IFREG;
  inode.i_op = BAD_INODE_OPS;
  inode.i_fop = BAD_FILE_OPS;
  leave(t);
}

/** Whether make_bad_inode() has been at it. */
export function is_bad_inode(inode: Inode): boolean {
  return inode.i_op === BAD_INODE_OPS;
}

/** Ends a new inode that could not be filled in: bad, unlocked, and the reference given up. Context: process. */
export function* iget_failed(t: Thread, inode: Inode): Steps {
  enter(t, IGET_FAILED);
  yield* make_bad_inode(t, inode);
  yield* unlock_new_inode(t, inode);
  yield* iput(t, inode);
  leave(t);
}
