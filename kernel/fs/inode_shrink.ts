/**
 * Taking unused inodes away: for memory, and when a file system is unmounted
 * (fs/inode.c: prune_icache(), invalidate_inodes(), dispose_list()).
 *
 * Lock order:
 *
 *     iprune_mutex
 *       inode_lock
 *
 * Differs from Linux: no inode has pages or buffers that would have to go first.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  touch_read,
  touch_write,
} from "../../arch/asm.ts";
import {
  list_del_init,
  list_empty,
  list_entry,
  list_first_entry,
  list_move,
  ListHead,
} from "../lib/list.ts";
import { mutex_lock, mutex_unlock } from "../locking/mutex.ts";
import {
  lockdep_assert_held,
  spin_lock,
  spin_unlock,
} from "../locking/spinlock.ts";
import type { Thread } from "../thread.ts";
import { I_FREEING, I_NEW, type Inode } from "./inode_types.ts";
import {
  __remove_inode_hash,
  clear_inode,
  destroy_inode,
  take_off_sb_list,
  touch_entry,
  touch_move,
  wake_up_inode,
} from "./iput.ts";
import type { SuperBlock } from "./super_types.ts";
import type { Vfs } from "./vfs.ts";

const PRUNE_ICACHE = ksym("prune_icache");
const DISPOSE_LIST = ksym("dispose_list");
const INVALIDATE_INODES = ksym("invalidate_inodes");

/**
 * Looks at the `nr_to_scan` inodes that have been unused longest, and frees
 * those that still are.
 *
 * Context: process. Locks: iprune_mutex, in it inode_lock.
 */
export function* prune_icache(t: Thread, nr_to_scan: number): Steps {
  enter(t, PRUNE_ICACHE);
  charge(t, 10);
  const v = t.k.vfs!;
  const freeable = new ListHead<Inode>();
  yield* mutex_lock(t, v.iprune_mutex);
  yield* spin_lock(t, v.inode_lock);
  touch_write(t, v.inode_lists_line);
  for (let n = 0; n < nr_to_scan && !list_empty(v.inode_unused); n++) {
    scan_inode(t, v, freeable);
  }
  yield* spin_unlock(t, v.inode_lock);
  yield* dispose_list(t, v, freeable);
  yield* mutex_unlock(t, v.iprune_mutex);
  leave(t);
}

/** Puts the last of the unused inodes on `freeable`, or to the front if it is in use. Locks: inode_lock held. */
function scan_inode(t: Thread, v: Vfs, freeable: ListHead<Inode>): void {
  lockdep_assert_held(t, v.inode_lock);
  charge(t, 16);
  const inode = list_entry(v.inode_unused.prev);
  touch_read(t, inode.state_line);
  touch_read(t, inode.ino_line);
  touch_move(t, v, inode, v.inode_lists_line);
  if (inode.i_state !== 0 || inode.i_count.value !== 0) {
    list_move(inode.i_list, v.inode_unused);
    return;
  }
  list_move(inode.i_list, freeable);
  touch_write(t, inode.state_line);
  inode.i_state |= I_FREEING;
  v.inodes_stat.nr_unused--;
}

/** Frees the inodes on `head`, a list of the caller's. Context: process. */
function* dispose_list(t: Thread, v: Vfs, head: ListHead<Inode>): Steps {
  enter(t, DISPOSE_LIST);
  let nr_disposed = 0;
  while (!list_empty(head)) {
    const inode = list_first_entry(head);
    charge(t, 12);
    touch_write(t, inode.line);
    list_del_init(inode.i_list);
    yield* clear_inode(t, inode);
    yield* spin_lock(t, v.inode_lock);
    __remove_inode_hash(t, v, inode);
    take_off_sb_list(t, v, inode);
    yield* spin_unlock(t, v.inode_lock);
    yield* wake_up_inode(t, inode);
    yield* destroy_inode(t, v, inode);
    nr_disposed++;
  }
  yield* spin_lock(t, v.inode_lock);
  touch_write(t, v.inode_lists_line);
  v.inodes_stat.nr_inodes -= nr_disposed;
  yield* spin_unlock(t, v.inode_lock);
  leave(t);
}

/**
 * Frees all unused inodes of `sb`.
 *
 * Context: process. Locks: iprune_mutex, in it inode_lock.
 *
 * @returns Whether inodes are left, since somebody has references.
 */
export function* invalidate_inodes(t: Thread, sb: SuperBlock): Steps<boolean> {
  enter(t, INVALIDATE_INODES);
  const v = t.k.vfs!;
  const throw_away = new ListHead<Inode>();
  yield* mutex_lock(t, v.iprune_mutex);
  yield* spin_lock(t, v.inode_lock);
  const busy = invalidate_list(t, v, sb, throw_away);
  yield* spin_unlock(t, v.inode_lock);
  yield* dispose_list(t, v, throw_away);
  yield* mutex_unlock(t, v.iprune_mutex);
  leave(t);
  return busy;
}

/** Locks: inode_lock held. */
function invalidate_list(
  t: Thread,
  v: Vfs,
  sb: SuperBlock,
  dispose: ListHead<Inode>,
): boolean {
  lockdep_assert_held(t, v.inode_lock);
  let busy = false;
  const head = sb.s_inodes;
  for (let p = head.next; p !== head; p = p.next) {
    const inode = list_entry(p);
    charge(t, 16);
    touch_read(t, inode.line);
    touch_read(t, inode.ino_line);
    if ((inode.i_state & I_NEW) !== 0) continue;
    if (inode.i_count.value !== 0) {
      busy = true;
      continue;
    }
    touch_entry(t, inode.i_list.next, v.inode_lists_line);
    touch_entry(t, inode.i_list.prev, v.inode_lists_line);
    touch_write(t, inode.line);
    list_move(inode.i_list, dispose);
    touch_write(t, inode.state_line);
    inode.i_state |= I_FREEING;
    v.inodes_stat.nr_unused--;
  }
  return busy;
}
