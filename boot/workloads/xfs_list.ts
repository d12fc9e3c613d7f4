/**
 * Lists directories of a mounted file system: one, as `ls` does, or a whole
 * tree with the inode and mode of every name, to compare with later.
 */
import { enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { S_ISDIR } from "../../kernel/fs/inode_types.ts";
import { type DirEntry, read_dir } from "../../kernel/fs/readdir.ts";
import { vfs_lstat } from "../../kernel/fs/stat.ts";
import type { Errno } from "../../kernel/lib/errno.ts";
import type { Thread } from "../../kernel/thread.ts";
import type { ListedDirectory, ListedEntry } from "../images/listed.ts";
import { isDot, join } from "./paths.ts";

const LS = ksym("xfs_ls");
const LIST_TREE = ksym("list_tree");

/**
 * What is in the directory `path` but `.` and `..`, by the bytes of the names.
 *
 * Context: process.
 */
export function* xfs_ls(
  t: Thread,
  path: Uint8Array,
): Steps<DirEntry[] | Errno> {
  enter(t, LS);
  const entries = yield* read_dir(t, path);
  leave(t);
  if (typeof entries === "number") return entries;
  return entries.filter(({ name }) => !isDot(name))
    .sort((a, b) => compareBytes(a.name, b.name));
}

/** Every directory from `path` down. Context: process. */
export function* list_tree(
  t: Thread,
  path: Uint8Array,
): Steps<ListedDirectory[] | Errno> {
  enter(t, LIST_TREE);
  const directories: ListedDirectory[] = [];
  const todo: Uint8Array[] = [path];
  for (let dir = todo.pop(); dir !== undefined; dir = todo.pop()) {
    const list = yield* read_dir(t, dir);
    if (typeof list === "number") {
      leave(t);
      return list;
    }
    const entries: ListedEntry[] = [];
    for (const { name, ino } of list) {
      if (isDot(name)) continue;
      const whole = join(dir, name);
      const found = yield* vfs_lstat(t, whole);
      if (typeof found === "number") {
        leave(t);
        return found;
      }
      entries.push({ name, ino, mode: found.mode });
      if (S_ISDIR(found.mode)) todo.push(whole);
    }
    directories.push({ path: dir, entries });
  }
  leave(t);
  return directories;
}

/** Order of the bytes, shorter first. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    if (a[i] !== b[i]) return a[i] - b[i];
  }
  return a.length - b.length;
}
