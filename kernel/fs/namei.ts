/**
 * From path names to dentries (fs/namei.c of 2.6.28).
 *
 * Lock order:
 *
 *     inode.i_mutex        of the directory in which a name is not in the cache
 *       dcache_lock
 *
 * A name that the cache knows costs __d_lookup() and nothing of the directory.
 * One that it does not know is looked up by the file system with the directory's
 * i_mutex held, after a second look: who has waited for the mutex finds what its
 * holder has looked up.
 *
 * Differs from Linux: names longer than {@linkcode NAME_MAX} fail here, not in
 * each file system; no mount points are crossed, neither down nor by `..`; all
 * threads may search every directory, at the cost of the test; links that the
 * file system gives are copied, not read in the page cache.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  read_line,
  type Steps,
} from "../../arch/asm.ts";
import {
  ELOOP,
  ENAMETOOLONG,
  ENOENT,
  ENOMEM,
  ENOTDIR,
  err,
  type Errno,
} from "../lib/errno.ts";
import { mutex_lock, mutex_unlock } from "../locking/mutex.ts";
import { read_lock, read_unlock } from "../locking/rwlock.ts";
import { spin_lock, spin_unlock } from "../locking/spinlock.ts";
import type { Thread } from "../thread.ts";
import { __d_lookup, d_alloc, d_lookup, dget, dput } from "./dcache.ts";
import type { Dentry } from "./dentry.ts";
import {
  current_fs,
  mntget,
  mntput,
  Path,
  path_get,
  type Vfsmount,
} from "./fs_struct.ts";
import type { Inode } from "./inode_types.ts";
import { HASH_INSTRUCTIONS, name_hash, NAME_MAX, Qstr } from "./qstr.ts";

export { Path, path_get, path_put } from "./fs_struct.ts";

const PATH_LOOKUP = ksym("do_path_lookup");
const PATH_WALK = ksym("path_walk");
const __LINK_PATH_WALK = ksym("__link_path_walk");
const DO_LOOKUP = ksym("do_lookup");
const REAL_LOOKUP = ksym("real_lookup");
const DO_FOLLOW_LINK = ksym("do_follow_link");
const FOLLOW_DOTDOT = ksym("follow_dotdot");

/** Follow a symbolic link at the end. */
export const LOOKUP_FOLLOW = 1;
/** It must be a directory. */
export const LOOKUP_DIRECTORY = 2;

/** Links within links. */
const MAX_NESTED_LINKS = 8;
/** Links in one path, all together. */
const MAX_LINKS = 40;
const SLASH = 0x2f;
const DOT = 0x2e;

/** How far a walk has come. */
class Nameidata {
  /** Links within links. */
  depth = 0;
  /** Links followed. */
  links = 0;

  /** `mnt` and `dentry` have a reference each, which the walk moves on. */
  constructor(public mnt: Vfsmount, public dentry: Dentry) {}
}

/**
 * Where `name` (no NUL in it) leads, from the thread's root or working
 * directory, with references: path_put() gives them up.
 *
 * Context: process.
 *
 * @param flags `LOOKUP_*`.
 * @returns -ENOENT, -ENOTDIR, -ENAMETOOLONG, -ELOOP, -ENOMEM, what the file system returned.
 */
export function* path_lookup(
  t: Thread,
  name: Uint8Array,
  flags: number,
): Steps<Path | Errno> {
  enter(t, PATH_LOOKUP);
  charge(t, 20);
  const nd = yield* path_init(t, name);
  if (nd === null) {
    leave(t);
    return err(ENOENT);
  }
  enter(t, PATH_WALK);
  const error = yield* link_path_walk(t, nd, name, flags);
  leave(t);
  if (error !== 0) {
    yield* dput(t, nd.dentry);
    yield* mntput(t, nd.mnt);
  }
  leave(t);
  return error === 0 ? new Path(nd.mnt, nd.dentry) : error;
}

/** Where a walk of `name` starts, with references; `null` = nothing is mounted. */
function* path_init(t: Thread, name: Uint8Array): Steps<Nameidata | null> {
  const fs = current_fs(t);
  yield* read_lock(t, fs.lock);
  const start = name.length > 0 && name[0] === SLASH ? fs.root : fs.pwd;
  if (start !== null) yield* path_get(t, start);
  yield* read_unlock(t, fs.lock);
  return start === null ? null : new Nameidata(start.mnt, start.dentry);
}

/**
 * Walks `name` from where `nd` is; on failure `nd` is where it got stuck.
 *
 * As in Linux the start is kept for a second try, which only network file
 * systems ask for.
 */
function* link_path_walk(
  t: Thread,
  nd: Nameidata,
  name: Uint8Array,
  flags: number,
): Steps<0 | Errno> {
  charge(t, 10);
  const { mnt, dentry } = nd;
  yield* mntget(t, mnt);
  yield* dget(t, dentry);
  const error = yield* __link_path_walk(t, nd, name, flags);
  yield* dput(t, dentry);
  yield* mntput(t, mnt);
  return error;
}

function* __link_path_walk(
  t: Thread,
  nd: Nameidata,
  name: Uint8Array,
  flags: number,
): Steps<0 | Errno> {
  enter(t, __LINK_PATH_WALK);
  charge(t, 20);
  let error: 0 | Errno = 0;
  let pos = skip_slashes(name, 0);
  while (pos < name.length && error === 0) {
    const end = component_end(name, pos);
    const next = skip_slashes(name, end);
    // exec_permission_lite(): everybody may search it.
    const dir = nd.dentry.d_inode!;
    yield* read_line(t, dir.op_line);
    yield* read_line(t, dir.mode_line);
    charge(t, 36 + HASH_INSTRUCTIONS * (end - pos));
    const up = dots(name, pos, end);
    if (up === 2) yield* follow_dotdot(t, nd);
    else if (end - pos > NAME_MAX) error = err(ENAMETOOLONG);
    else if (up === 0) {
      const dentry = yield* do_lookup(t, nd.dentry, component(name, pos, end));
      if (typeof dentry === "number") error = dentry;
      else {
        const last = next === name.length;
        error = yield* step_to(t, nd, dentry, last, next > end, flags);
      }
    }
    pos = next;
  }
  leave(t);
  return error;
}

function skip_slashes(name: Uint8Array, from: number): number {
  let i = from;
  while (i < name.length && name[i] === SLASH) i++;
  return i;
}

/** Where the component that begins at `start` ends. */
function component_end(name: Uint8Array, start: number): number {
  let i = start + 1;
  while (i < name.length && name[i] !== SLASH) i++;
  return i;
}

/** 1 for `.`, 2 for `..`, else 0. */
function dots(name: Uint8Array, start: number, end: number): number {
  if (name[start] !== DOT) return 0;
  if (end === start + 1) return 1;
  return end === start + 2 && name[start + 1] === DOT ? 2 : 0;
}

function component(name: Uint8Array, start: number, end: number): Qstr {
  return new Qstr(name.subarray(start, end), name_hash(name, start, end));
}

/**
 * Moves `nd` to `dentry`, whose reference it takes over; follows a link on the
 * way.
 *
 * @param last No component follows.
 * @param slashes Slashes follow: what is last is a directory, then.
 */
function* step_to(
  t: Thread,
  nd: Nameidata,
  dentry: Dentry,
  last: boolean,
  slashes: boolean,
  flags: number,
): Steps<0 | Errno> {
  charge(t, 16);
  yield* read_line(t, dentry.line);
  const inode = dentry.d_inode;
  if (inode === null) {
    yield* dput(t, dentry);
    return err(ENOENT);
  }
  yield* read_line(t, inode.op_line);
  const follow = !last || slashes || (flags & LOOKUP_FOLLOW) !== 0;
  if (inode.i_op.readlink !== undefined && follow) {
    const error = yield* do_follow_link(t, nd, dentry, inode);
    if (error !== 0) return error;
  } else {
    const old = nd.dentry;
    nd.dentry = dentry;
    yield* dput(t, old);
  }
  const directory = !last || slashes || (flags & LOOKUP_DIRECTORY) !== 0;
  if (directory && nd.dentry.d_inode!.i_op.lookup === undefined) {
    return err(ENOTDIR);
  }
  return 0;
}

/**
 * The child of `parent` called `name`, with a reference: from the cache, or by
 * real_lookup(). It may be negative.
 */
function* do_lookup(
  t: Thread,
  parent: Dentry,
  name: Qstr,
): Steps<Dentry | Errno> {
  enter(t, DO_LOOKUP);
  charge(t, 14);
  const dentry = yield* __d_lookup(t, parent, name);
  const result = dentry ?? (yield* real_lookup(t, parent, name));
  leave(t);
  return result;
}

/**
 * Looks `name` up again, and then has the file system do it.
 *
 * Context: process. Locks: takes i_mutex.
 */
function* real_lookup(
  t: Thread,
  parent: Dentry,
  name: Qstr,
): Steps<Dentry | Errno> {
  enter(t, REAL_LOOKUP);
  charge(t, 10);
  const dir = parent.d_inode!;
  const { lookup } = dir.i_op;
  if (lookup === undefined) { // a root that is no directory
    leave(t);
    return err(ENOTDIR);
  }
  yield* mutex_lock(t, dir.i_mutex);
  // Whoever held it may have been after the same name.
  let result: Dentry | Errno | null = yield* d_lookup(t, parent, name);
  if (result === null) {
    const dentry = yield* d_alloc(t, parent, name);
    if (dentry === null) result = err(ENOMEM);
    else {
      const other = yield* lookup(t, dir, dentry);
      if (other !== null) yield* dput(t, dentry);
      result = other ?? dentry;
    }
  }
  yield* mutex_unlock(t, dir.i_mutex);
  leave(t);
  return result;
}

/** Moves `nd` to the directory that it is in; the thread's root is its own. */
function* follow_dotdot(t: Thread, nd: Nameidata): Steps {
  enter(t, FOLLOW_DOTDOT);
  charge(t, 10);
  const fs = current_fs(t);
  yield* read_lock(t, fs.lock);
  const { root } = fs;
  const top = root !== null && nd.dentry === root.dentry &&
    nd.mnt === root.mnt;
  yield* read_unlock(t, fs.lock);
  if (!top && nd.dentry !== nd.mnt.mnt_root) {
    const { dcache_lock } = t.k.vfs!;
    const old = nd.dentry;
    yield* spin_lock(t, dcache_lock);
    nd.dentry = old.d_parent;
    yield* dget(t, nd.dentry);
    yield* spin_unlock(t, dcache_lock);
    yield* dput(t, old);
  }
  leave(t);
}

/** Walks where the link `dentry`, whose reference it uses up, points. */
function* do_follow_link(
  t: Thread,
  nd: Nameidata,
  dentry: Dentry,
  inode: Inode,
): Steps<0 | Errno> {
  enter(t, DO_FOLLOW_LINK);
  charge(t, 30);
  let error: 0 | Errno = 0;
  if (nd.depth >= MAX_NESTED_LINKS || nd.links >= MAX_LINKS) {
    error = err(ELOOP);
  } else {
    nd.depth++;
    nd.links++;
    const target = yield* inode.i_op.readlink!(t, inode);
    if (typeof target === "number") error = target;
    else error = yield* vfs_follow_link(t, nd, target);
    nd.depth--;
  }
  yield* dput(t, dentry);
  leave(t);
  return error;
}

/** Walks `target` from the thread's root, or from where `nd` is. */
function* vfs_follow_link(
  t: Thread,
  nd: Nameidata,
  target: Uint8Array,
): Steps<0 | Errno> {
  if (target.length > 0 && target[0] === SLASH) {
    const start = yield* path_init(t, target);
    if (start === null) return err(ENOENT);
    yield* dput(t, nd.dentry);
    yield* mntput(t, nd.mnt);
    nd.mnt = start.mnt;
    nd.dentry = start.dentry;
  }
  return yield* link_path_walk(t, nd, target, LOOKUP_FOLLOW);
}
