/** The directory entry cache (fs/dcache.c). Interface first: the bodies follow. */
import type { Steps } from "../../arch/asm.ts";
import { BUG } from "../bug.ts";
import type { Thread } from "../thread.ts";
import type { Dentry } from "./dentry.ts";
import type { Inode } from "./inode_types.ts";
import type { Qstr } from "./qstr.ts";

export { Dentry, IS_ROOT } from "./dentry.ts";

/** A dentry for `name` in `parent`, in no bucket, negative, with one reference. @returns `null` if memory is out. */
export function d_alloc(
  t: Thread,
  _parent: Dentry | null,
  _name: Qstr,
): Steps<Dentry | null> {
  return BUG(t, "d_alloc() is to come");
}

/** The root of a tree for `inode`, whose reference it takes over. @returns `null` if memory is out; the inode is the caller's still. */
export function d_alloc_root(t: Thread, _inode: Inode): Steps<Dentry | null> {
  return BUG(t, "d_alloc_root() is to come");
}

/** Gives `dentry` its inode, whose reference it takes over; `null` = it is negative. */
export function d_instantiate(
  t: Thread,
  _dentry: Dentry,
  _inode: Inode | null,
): Steps {
  return BUG(t, "d_instantiate() is to come");
}

/** Makes `dentry` known to lookups. */
export function d_rehash(t: Thread, _dentry: Dentry): Steps {
  return BUG(t, "d_rehash() is to come");
}

/** {@linkcode d_instantiate}, then {@linkcode d_rehash}. */
export function d_add(
  t: Thread,
  _dentry: Dentry,
  _inode: Inode | null,
): Steps {
  return BUG(t, "d_add() is to come");
}

/** {@linkcode d_add} as a lookup ends: what it returns, the lookup returns. */
export function d_splice_alias(
  t: Thread,
  _inode: Inode | null,
  _dentry: Dentry,
): Steps<Dentry | null> {
  return BUG(t, "d_splice_alias() is to come");
}

/** The child of `parent` called `name` if the cache has it, with a reference more. */
export function d_lookup(
  t: Thread,
  _parent: Dentry,
  _name: Qstr,
): Steps<Dentry | null> {
  return BUG(t, "d_lookup() is to come");
}

/** One reference more, of which the caller has one already. @returns `dentry`. */
export function dget(t: Thread, _dentry: Dentry): Steps<Dentry> {
  return BUG(t, "dget() is to come");
}

/** Gives a reference up. Context: process. */
export function dput(t: Thread, _dentry: Dentry | null): Steps {
  return BUG(t, "dput() is to come");
}
