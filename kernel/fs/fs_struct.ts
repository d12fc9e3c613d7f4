/** Where paths start: root and working directory of a thread (include/linux/fs_struct.h). Interface first: the bodies follow. */
import type { Steps } from "../../arch/asm.ts";
import { BUG } from "../bug.ts";
import type { Errno } from "../lib/errno.ts";
import type { Thread } from "../thread.ts";
import type { Dentry } from "./dentry.ts";

/** A place in a tree: `struct path`. */
export interface Path {
  /** The mount it is in. */
  mnt: unknown;
  dentry: Dentry;
}

/** Gives `t` a root and working directory of its own, as every process has: until then it shares pid 1's. */
export function unshare_fs_struct(t: Thread): Steps {
  return BUG(t, "unshare_fs_struct() is to come");
}

/** Gives them up again: what the end of a process does. */
export function exit_fs(t: Thread): Steps {
  return BUG(t, "exit_fs() is to come");
}

/** Sets the working directory. */
export function sys_chdir(t: Thread, _name: Uint8Array): Steps<0 | Errno> {
  return BUG(t, "sys_chdir() is to come");
}
