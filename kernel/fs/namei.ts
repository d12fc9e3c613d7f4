/** From path names to dentries (fs/namei.c). Interface first: the bodies follow. */
import type { Steps } from "../../arch/asm.ts";
import { BUG } from "../bug.ts";
import type { Errno } from "../lib/errno.ts";
import type { Thread } from "../thread.ts";
import type { Path } from "./fs_struct.ts";

/** Follow a symbolic link at the end. */
export const LOOKUP_FOLLOW = 1;
/** It must be a directory. */
export const LOOKUP_DIRECTORY = 2;

/**
 * Where `name` (no NUL in it) leads, from the thread's root or working
 * directory, with references: path_put() gives them up. Context: process.
 *
 * @returns -ENOENT, -ENOTDIR, -ENAMETOOLONG, -ELOOP, -ENOMEM, what the file system returned.
 */
export function path_lookup(
  t: Thread,
  _name: Uint8Array,
  _flags: number,
): Steps<Path | Errno> {
  return BUG(t, "path_lookup() is to come");
}

/** Gives up what {@linkcode path_lookup} returned. */
export function path_put(t: Thread, _path: Path): Steps {
  return BUG(t, "path_put() is to come");
}
