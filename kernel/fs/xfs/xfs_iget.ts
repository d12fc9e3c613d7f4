/**
 * Inodes in memory (fs/xfs/xfs_iget.c, xfs_vnodeops.c, linux-2.6/xfs_super.c of
 * 2.6.27 and 2.6.28): found through the VFS's cache, kept in a tree of their
 * allocation group and on a list of the mount, gone when the VFS lets go of
 * them.
 *
 * Lock order:
 *
 *     ip.i_lock          XFS_ILOCK_SHARED, XFS_ILOCK_EXCL
 *     pag.pag_ici_lock
 *     mp.m_ilock
 *
 * one at a time. `m_ilock` is one mutex for all inodes of a mount, taken when
 * one comes and when one goes, and nobody spins for it: with the vmap layer out
 * of the way, this is where lookups of cold names meet.
 *
 * Left out: inodes that are to be written or inactivated before they go, so
 * that one never stays in the tree as XFS_IRECLAIMABLE.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  read_line,
  type Steps,
  touch_read,
  touch_write,
} from "../../../arch/asm.ts";
import { BUG_ON } from "../../bug.ts";
import { EINVAL, ENOENT, ENOMEM, err, type Errno } from "../../lib/errno.ts";
import { list_add, list_del_init, list_empty } from "../../lib/list.ts";
import {
  radix_tree_delete,
  radix_tree_insert,
  radix_tree_lookup,
  radix_tree_nodes_needed,
} from "../../lib/radix_tree.ts";
import { mutex_lock, mutex_unlock } from "../../locking/mutex.ts";
import {
  read_lock,
  read_unlock,
  write_lock,
  write_unlock,
} from "../../locking/rwlock.ts";
import {
  down_read,
  down_write,
  up_read,
  up_write,
} from "../../locking/rwsem.ts";
import type { Thread } from "../../thread.ts";
import { msleep } from "../../timer.ts";
import { iget_failed, is_bad_inode } from "../bad_inode.ts";
import { iget_locked, iput } from "../inode.ts";
import { I_NEW, type Inode } from "../inode_types.ts";
import { xfs_get_perag } from "./xfs_ag.ts";
import { extents_not_read } from "./xfs_bmap.ts";
import { xfs_idestroy, xfs_iread } from "./xfs_inode.ts";
import {
  XFS_ILOCK_EXCL,
  XFS_ILOCK_SHARED,
  type XfsInode,
} from "./xfs_inode_types.ts";
import { xfs_setup_inode } from "./xfs_iops.ts";
import type { XfsMount, XfsPerag } from "./xfs_mount_types.ts";
import {
  XFS_INO_TO_AGINO,
  XFS_INO_TO_AGNO,
  xfs_verify_ino,
} from "./xfs_units.ts";

const XFS_IGET = ksym("xfs_iget");
const XFS_IGET_CORE = ksym("xfs_iget_core");
const XFS_ILOCK = ksym("xfs_ilock");
const XFS_IUNLOCK = ksym("xfs_iunlock");
const XFS_ILOCK_MAP_SHARED = ksym("xfs_ilock_map_shared");
const XFS_FS_CLEAR_INODE = ksym("xfs_fs_clear_inode");
const XFS_RECLAIM = ksym("xfs_reclaim");
const XFS_IEXTRACT = ksym("xfs_iextract");
const RADIX_TREE_LOOKUP = ksym("radix_tree_lookup");
const RADIX_TREE_INSERT = ksym("radix_tree_insert");
const RADIX_TREE_DELETE = ksym("radix_tree_delete");

/** One level of a radix tree: shift, mask, load, test. */
const RADIX_LEVEL_INSTRUCTIONS = 7;

/** Takes the inode's lock, `XFS_ILOCK_*`. Context: process. */
export function* xfs_ilock(t: Thread, ip: XfsInode, mode: number): Steps {
  enter(t, XFS_ILOCK);
  charge(t, 10);
  if (mode === XFS_ILOCK_EXCL) yield* down_write(t, ip.i_lock);
  else yield* down_read(t, ip.i_lock);
  leave(t);
}

/** Ends {@linkcode xfs_ilock}. */
export function* xfs_iunlock(t: Thread, ip: XfsInode, mode: number): Steps {
  enter(t, XFS_IUNLOCK);
  charge(t, 10);
  if (mode === XFS_ILOCK_EXCL) yield* up_write(t, ip.i_lock);
  else yield* up_read(t, ip.i_lock);
  leave(t);
}

/** Takes the lock that looking an extent up needs. Context: process. @returns Its mode. */
export function* xfs_ilock_map_shared(t: Thread, ip: XfsInode): Steps<number> {
  enter(t, XFS_ILOCK_MAP_SHARED);
  charge(t, 10);
  const mode = extents_not_read(ip) ? XFS_ILOCK_EXCL : XFS_ILOCK_SHARED;
  yield* xfs_ilock(t, ip, mode);
  leave(t);
  return mode;
}

/**
 * Inode `ino`, with a reference to its Linux inode more.
 *
 * Context: process.
 *
 * @returns -EINVAL if no inode can have that number; -ENOENT if it is free; -EUCLEAN if it makes no sense; -EIO, -ENOMEM.
 */
export function* xfs_iget(
  t: Thread,
  mp: XfsMount,
  ino: number,
): Steps<XfsInode | Errno> {
  enter(t, XFS_IGET);
  const ip = xfs_verify_ino(mp, ino) ? yield* iget(t, mp, ino) : err(EINVAL);
  leave(t);
  return ip;
}

function* iget(
  t: Thread,
  mp: XfsMount,
  ino: number,
): Steps<XfsInode | Errno> {
  for (;;) {
    charge(t, 25);
    const inode = yield* iget_locked(t, mp.m_super, ino);
    if (inode === null) return err(ENOMEM);
    yield* read_line(t, inode.state_line);
    if ((inode.i_state & I_NEW) !== 0) {
      const ip = yield* xfs_iget_core(t, mp, inode, ino);
      if (typeof ip === "number") yield* iget_failed(t, inode);
      return ip;
    }
    if (!is_bad_inode(inode)) return inode.i_private as XfsInode;
    // Whoever read it failed: it goes, and is read again.
    yield* iput(t, inode);
    yield* msleep(t, 1);
  }
}

/** Reads inode `ino` for `inode`, which is new, and unlocks that. */
function* xfs_iget_core(
  t: Thread,
  mp: XfsMount,
  inode: Inode,
  ino: number,
): Steps<XfsInode | Errno> {
  enter(t, XFS_IGET_CORE);
  charge(t, 60);
  const pag = xfs_get_perag(t, mp, XFS_INO_TO_AGNO(mp, ino));
  const agino = XFS_INO_TO_AGINO(mp, ino);
  const known = yield* lookup(t, pag, agino);
  BUG_ON(t, known !== null, "an inode is known that its superblock is not");
  const ip = yield* xfs_iread(t, mp, ino);
  if (typeof ip === "number") {
    leave(t);
    return ip;
  }
  if (ip.i_d.di_mode === 0) {
    yield* xfs_idestroy(t, ip);
    leave(t);
    return err(ENOENT);
  }
  ip.i_pag = pag;
  yield* insert(t, pag, agino, ip);
  yield* mutex_lock(t, mp.m_ilock);
  charge(t, 12);
  touch_write(t, mp.m_ilock_line);
  if (!list_empty(mp.m_inodes)) touch_write(t, mp.m_inodes.next.owner!.line);
  touch_write(t, ip.line);
  list_add(ip.i_mlist, mp.m_inodes);
  yield* mutex_unlock(t, mp.m_ilock);
  ip.i_vnode = inode;
  yield* xfs_setup_inode(t, ip, inode);
  leave(t);
  return ip;
}

/** Locks: takes pag_ici_lock. */
function* lookup(
  t: Thread,
  pag: XfsPerag,
  agino: number,
): Steps<XfsInode | null> {
  yield* read_lock(t, pag.pag_ici_lock);
  enter(t, RADIX_TREE_LOOKUP);
  const root = pag.pag_ici_root;
  charge(t, 10 + RADIX_LEVEL_INSTRUCTIONS * root.height);
  touch_read(t, pag.line);
  const ip = radix_tree_lookup(root, agino);
  leave(t);
  yield* read_unlock(t, pag.pag_ici_lock);
  return ip;
}

/** Locks: takes pag_ici_lock. */
function* insert(
  t: Thread,
  pag: XfsPerag,
  agino: number,
  ip: XfsInode,
): Steps {
  const root = pag.pag_ici_root;
  charge(t, 20); // radix_tree_preload()
  yield* write_lock(t, pag.pag_ici_lock);
  enter(t, RADIX_TREE_INSERT);
  // A node is 560 bytes, preloaded and cleared.
  charge(t, 30 + 100 * radix_tree_nodes_needed(root, agino));
  touch_write(t, pag.line);
  const error = radix_tree_insert(root, agino, ip);
  BUG_ON(t, error !== 0, "an inode is read twice");
  leave(t);
  yield* write_unlock(t, pag.pag_ici_lock);
}

/** The VFS lets go of `inode`: takes the xfs_inode away. Context: process. */
export function* xfs_fs_clear_inode(t: Thread, inode: Inode): Steps {
  enter(t, XFS_FS_CLEAR_INODE);
  charge(t, 14);
  const ip = inode.i_private as XfsInode | null;
  inode.i_private = null;
  if (ip !== null) yield* xfs_reclaim(t, ip);
  leave(t);
}

/** Nobody has `ip` any more, and there is nothing to write. */
function* xfs_reclaim(t: Thread, ip: XfsInode): Steps {
  enter(t, XFS_RECLAIM);
  charge(t, 30);
  yield* xfs_ilock(t, ip, XFS_ILOCK_EXCL);
  yield* xfs_iunlock(t, ip, XFS_ILOCK_EXCL);
  yield* xfs_iextract(t, ip);
  yield* xfs_idestroy(t, ip);
  leave(t);
}

/** Takes `ip` out of its group's tree and off the mount's list. */
function* xfs_iextract(t: Thread, ip: XfsInode): Steps {
  enter(t, XFS_IEXTRACT);
  charge(t, 20);
  const { i_mount: mp, i_pag: pag } = ip;
  const agino = XFS_INO_TO_AGINO(mp, ip.i_ino);
  yield* write_lock(t, pag!.pag_ici_lock);
  enter(t, RADIX_TREE_DELETE);
  const root = pag!.pag_ici_root;
  charge(t, 20 + 2 * RADIX_LEVEL_INSTRUCTIONS * root.height);
  touch_write(t, pag!.line);
  const found = radix_tree_delete(root, agino);
  BUG_ON(t, found !== ip, "another inode has this one's number");
  leave(t);
  yield* write_unlock(t, pag!.pag_ici_lock);
  yield* mutex_lock(t, mp.m_ilock);
  charge(t, 12);
  touch_write(t, mp.m_ilock_line);
  const { next, prev } = ip.i_mlist;
  if (next.owner !== null) touch_write(t, next.owner.line);
  if (prev.owner !== null) touch_write(t, prev.owner.line);
  list_del_init(ip.i_mlist);
  yield* mutex_unlock(t, mp.m_ilock);
  leave(t);
}
