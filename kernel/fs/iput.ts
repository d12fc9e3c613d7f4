/**
 * The last reference to an inode, and its end (fs/inode.c): iput(),
 * generic_forget_inode(), clear_inode(), destroy_inode().
 *
 * Lock order:
 *
 *     inode_lock
 *       nothing
 */
import {
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  touch_write,
  write_line,
} from "../../arch/asm.ts";
import type { CacheLine } from "../../arch/hw/line.ts";
import { BUG_ON } from "../bug.ts";
import { hlist_del_init, hlist_unhashed } from "../lib/hlist.ts";
import { list_del_init, list_move, type ListHead } from "../lib/list.ts";
import { _atomic_dec_and_lock } from "../locking/dec_and_lock.ts";
import {
  lockdep_assert_held,
  spin_lock,
  spin_unlock,
} from "../locking/spinlock.ts";
import { wake_up_bit } from "../mm/bit_waitqueue.ts";
import { kmem_cache_free } from "../mm/slab.ts";
import type { Thread } from "../thread.ts";
import { bucket_of } from "./hash_buckets.ts";
import { I_CLEAR, I_FREEING, I_LOCK, type Inode } from "./inode_types.ts";
import { MS_ACTIVE } from "./super_types.ts";
import type { Vfs } from "./vfs.ts";

const DESTROY_INODE = ksym("destroy_inode");
const IPUT = ksym("iput");
const GENERIC_DELETE_INODE = ksym("generic_delete_inode");
const GENERIC_FORGET_INODE = ksym("generic_forget_inode");
const CLEAR_INODE = ksym("clear_inode");
const REMOVE_INODE_HASH = ksym("remove_inode_hash");

/**
 * Gives a reference up. An inode that the table knows and that has names left
 * on disk stays, unused, as long as its superblock is mounted.
 *
 * Context: process. Locks: inode_lock with the last reference.
 */
export function* iput(t: Thread, inode: Inode | null): Steps {
  if (inode === null) return;
  enter(t, IPUT);
  charge(t, 6);
  BUG_ON(t, inode.i_state === I_CLEAR, "iput() of an inode that is clear");
  const v = t.k.vfs!;
  if (yield* _atomic_dec_and_lock(t, inode.i_count, v.inode_lock)) {
    if (inode.i_nlink === 0) yield* generic_delete_inode(t, v, inode);
    else yield* generic_forget_inode(t, v, inode);
  }
  leave(t);
}

/** Its last name is gone, too. Locks: inode_lock held on entry, free on return. */
function* generic_delete_inode(t: Thread, v: Vfs, inode: Inode): Steps {
  enter(t, GENERIC_DELETE_INODE);
  charge(t, 14);
  take_off_lists(t, v, inode);
  yield* spin_unlock(t, v.inode_lock);
  yield* clear_inode(t, inode);
  yield* remove_inode_hash(t, inode);
  yield* wake_up_inode(t, inode);
  yield* destroy_inode(t, v, inode);
  leave(t);
}

/** Keeps it if it can be found again. Locks: inode_lock held on entry, free on return. */
function* generic_forget_inode(t: Thread, v: Vfs, inode: Inode): Steps {
  enter(t, GENERIC_FORGET_INODE);
  charge(t, 10);
  if (!hlist_unhashed(inode.i_hash)) {
    touch_move(t, v, inode, v.inode_lists_line);
    list_move(inode.i_list, v.inode_unused);
    v.inodes_stat.nr_unused++;
    if ((inode.i_sb.s_flags & MS_ACTIVE) !== 0) {
      yield* spin_unlock(t, v.inode_lock);
      leave(t);
      return;
    }
    v.inodes_stat.nr_unused--; // nothing to write back, so no I_WILL_FREE
    __remove_inode_hash(t, v, inode);
  }
  take_off_lists(t, v, inode);
  yield* spin_unlock(t, v.inode_lock);
  yield* clear_inode(t, inode);
  yield* wake_up_inode(t, inode);
  yield* destroy_inode(t, v, inode);
  leave(t);
}

/** It is being freed. Locks: inode_lock held. */
function take_off_lists(t: Thread, v: Vfs, inode: Inode): void {
  lockdep_assert_held(t, v.inode_lock);
  charge(t, 12);
  touch_move(t, v, inode, v.inode_lists_line);
  list_del_init(inode.i_list);
  take_off_sb_list(t, v, inode);
  touch_write(t, inode.state_line);
  inode.i_state |= I_FREEING;
  v.inodes_stat.nr_inodes--;
}

/** Locks: inode_lock held. */
export function take_off_sb_list(t: Thread, v: Vfs, inode: Inode): void {
  lockdep_assert_held(t, v.inode_lock);
  const { inodes_line } = inode.i_sb;
  touch_entry(t, inode.i_sb_list.next, inodes_line);
  touch_entry(t, inode.i_sb_list.prev, inodes_line);
  list_del_init(inode.i_sb_list);
}

/** Takes `inode` out of the table, where lookups would find it. Context: any. Locks: takes inode_lock. */
export function* remove_inode_hash(t: Thread, inode: Inode): Steps {
  enter(t, REMOVE_INODE_HASH);
  charge(t, 4);
  const v = t.k.vfs!;
  yield* spin_lock(t, v.inode_lock);
  __remove_inode_hash(t, v, inode);
  yield* spin_unlock(t, v.inode_lock);
  leave(t);
}

/** Locks: inode_lock held. */
export function __remove_inode_hash(t: Thread, v: Vfs, inode: Inode): void {
  lockdep_assert_held(t, v.inode_lock);
  charge(t, 6);
  const { head, next, prev } = inode.i_hash;
  if (head === null) return;
  if (next !== null) touch_write(t, next.owner.line);
  touch_write(
    t,
    prev !== null ? prev.owner.line : bucket_of(inode.i_hash).line,
  );
  touch_write(t, inode.line);
  hlist_del_init(inode.i_hash);
}

/** All that is left of an inode being freed is its memory. Context: process. */
export function* clear_inode(t: Thread, inode: Inode): Steps {
  enter(t, CLEAR_INODE);
  charge(t, 20);
  BUG_ON(
    t,
    (inode.i_state & I_FREEING) === 0,
    "clear_inode() of an inode that is not being freed",
  );
  BUG_ON(t, (inode.i_state & I_CLEAR) !== 0, "clear_inode() twice");
  const { s_op } = inode.i_sb;
  if (s_op.clear_inode !== undefined) yield* s_op.clear_inode(t, inode);
  yield* write_line(t, inode.state_line);
  inode.i_state = I_CLEAR;
  leave(t);
}

/** Gives the memory back. */
export function* destroy_inode(t: Thread, v: Vfs, inode: Inode): Steps {
  enter(t, DESTROY_INODE);
  charge(t, 8);
  const { s_op } = inode.i_sb;
  if (s_op.destroy_inode === undefined) {
    yield* kmem_cache_free(t, v.inode_cachep, inode);
  } else yield* s_op.destroy_inode(t, inode);
  leave(t);
}

/** Wakes who waits for I_LOCK to end, or for `inode` to be gone. */
export function wake_up_inode(t: Thread, inode: Inode): Steps {
  return wake_up_bit(t, inode.state_word, I_LOCK);
}

/** Charges moving `inode` from one global list to the front of another. */
export function touch_move(
  t: Thread,
  v: Vfs,
  inode: Inode,
  to: CacheLine,
): void {
  const { next, prev } = inode.i_list;
  touch_entry(t, next, v.inode_lists_line);
  touch_entry(t, prev, v.inode_lists_line);
  touch_write(t, inode.line);
  touch_write(t, to);
}

/** Charges the store to a neighbour on a list of inodes; `head` = the line of the list's head. */
export function touch_entry(
  t: Thread,
  link: ListHead<Inode>,
  head: CacheLine,
): void {
  touch_write(t, link.owner === null ? head : link.owner.line);
}
