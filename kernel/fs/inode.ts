/** The inode cache (fs/inode.c). Interface first: the bodies follow. */
import type { Steps } from "../../arch/asm.ts";
import { BUG } from "../bug.ts";
import type { Thread } from "../thread.ts";
import type { Inode } from "./inode_types.ts";
import type { SuperBlock } from "./super_types.ts";

export { Inode } from "./inode_types.ts";

/**
 * Inode `ino` of `sb`, with a reference more. With I_NEW in i_state it has just
 * been made: the caller fills it in, then calls {@linkcode unlock_new_inode} or
 * iget_failed(). Otherwise it is complete. Context: process.
 *
 * @returns `null` if memory is out.
 */
export function iget_locked(
  t: Thread,
  _sb: SuperBlock,
  _ino: number,
): Steps<Inode | null> {
  return BUG(t, "iget_locked() is to come");
}

/** A new inode is complete: lets in who waits for it. */
export function unlock_new_inode(t: Thread, _inode: Inode): Steps {
  return BUG(t, "unlock_new_inode() is to come");
}

/** A reference more, unless it is being freed. @returns `null` if so. */
export function igrab(t: Thread, _inode: Inode): Steps<Inode | null> {
  return BUG(t, "igrab() is to come");
}

/** Gives a reference up. Context: process. */
export function iput(t: Thread, _inode: Inode | null): Steps {
  return BUG(t, "iput() is to come");
}
