/**
 * The inode cache (fs/inode.c of 2.6.28): inodes in use, and unused ones that
 * are kept until memory is wanted, found by superblock and number.
 *
 * Lock order:
 *
 *     inode_lock
 *       nothing
 *
 * `inode_lock` is one for all: it guards the hash table, the lists and i_state,
 * and is taken for every look-up, and when the last reference to an inode goes.
 *
 * An inode that iget_locked() has made is in the table at once, with I_NEW and
 * I_LOCK in i_state; whoever else wants it sleeps until unlock_new_inode(). One
 * that is being freed stays in the table until it is clear; whoever wants it
 * sleeps and looks again.
 *
 * Left out: dirty inodes and writing them, iget5_locked(), quotas, character and
 * block devices. How inodes end is in iput.ts, what makes them in
 * inode_shrink.ts.
 */
import {
  atomic_add_return,
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  touch_read,
  touch_write,
  write_line,
} from "../../arch/asm.ts";
import { BUG_ON } from "../bug.ts";
import { hlist_add_head, INIT_HLIST_NODE } from "../lib/hlist.ts";
import { INIT_LIST_HEAD, list_add, list_move } from "../lib/list.ts";
import {
  lockdep_assert_held,
  spin_lock,
  spin_unlock,
} from "../locking/spinlock.ts";
import { bit_waitqueue, wait_on_bit } from "../mm/bit_waitqueue.ts";
import { GFP_KERNEL } from "../mm/gfp.ts";
import { kmem_cache_alloc, slab_object_live } from "../mm/slab.ts";
import { schedule } from "../sched/sched.ts";
import { finish_wait, prepare_to_wait } from "../sched/wait.ts";
import { WaitBit } from "../sched/wait_bit.ts";
import { in_atomic, TASK_UNINTERRUPTIBLE, type Thread } from "../thread.ts";
import { inode_hash } from "./hash_buckets.ts";
import {
  EMPTY_FOPS,
  EMPTY_IOPS,
  I_CLEAR,
  I_FREEING,
  I_LOCK,
  I_NEW,
  I_WILL_FREE,
  type Inode,
} from "./inode_types.ts";
import {
  destroy_inode,
  touch_entry,
  touch_move,
  wake_up_inode,
} from "./iput.ts";
import type { SuperBlock } from "./super_types.ts";
import type { Vfs } from "./vfs.ts";

export { Inode } from "./inode_types.ts";
export { iput } from "./iput.ts";

const ALLOC_INODE = ksym("alloc_inode");
const IGET_LOCKED = ksym("iget_locked");
const FIND_INODE_FAST = ksym("find_inode_fast");
const GET_NEW_INODE_FAST = ksym("get_new_inode_fast");
const UNLOCK_NEW_INODE = ksym("unlock_new_inode");
const __WAIT_ON_FREEING_INODE = ksym("__wait_on_freeing_inode");
const IGRAB = ksym("igrab");

/** States in which an inode is on its way out. */
const GOING = I_FREEING | I_CLEAR | I_WILL_FREE;

/**
 * Inode `ino` of `sb`, with a reference more. With I_NEW in i_state it has just
 * been made: the caller fills it in, then calls {@linkcode unlock_new_inode} or
 * iget_failed(). Otherwise it is complete.
 *
 * Context: process. Locks: takes inode_lock.
 *
 * @returns `null` if memory is out.
 */
export function* iget_locked(
  t: Thread,
  sb: SuperBlock,
  ino: number,
): Steps<Inode | null> {
  enter(t, IGET_LOCKED);
  charge(t, 24); // the hash, too
  const v = t.k.vfs!;
  const { lineShift, table } = v.inode_hashtable;
  const index = inode_hash(sb.address, ino, lineShift, table.shift) &
    table.mask;
  yield* spin_lock(t, v.inode_lock);
  let inode = yield* find_inode_fast(t, v, index, sb, ino);
  if (inode !== null) yield* __iget(t, v, inode);
  yield* spin_unlock(t, v.inode_lock);
  if (inode !== null) yield* wait_on_inode(t, inode);
  else inode = yield* get_new_inode_fast(t, v, index, sb, ino);
  leave(t);
  return inode;
}

/** Locks: inode_lock held; given up while an inode of that number is being freed. */
function* find_inode_fast(
  t: Thread,
  v: Vfs,
  index: number,
  sb: SuperBlock,
  ino: number,
): Steps<Inode | null> {
  enter(t, FIND_INODE_FAST);
  for (;;) {
    yield* v.inode_hashtable.load(t, index);
    const inode = search_bucket(t, v, index, sb, ino);
    if (inode === null || (inode.i_state & GOING) === 0) {
      leave(t);
      return inode;
    }
    yield* __wait_on_freeing_inode(t, v, inode);
  }
}

/** Locks: inode_lock held. */
function search_bucket(
  t: Thread,
  v: Vfs,
  index: number,
  sb: SuperBlock,
  ino: number,
): Inode | null {
  lockdep_assert_held(t, v.inode_lock);
  charge(t, 6);
  const bucket = v.inode_hashtable.peek(index);
  let p = bucket === null ? null : bucket.first;
  for (; p !== null; p = p.next) {
    const inode = p.owner;
    charge(t, 6);
    touch_read(t, inode.line);
    touch_read(t, inode.ino_line);
    BUG_ON(t, !slab_object_live(inode), "a freed inode is in its bucket");
    if (inode.i_ino !== ino) continue;
    charge(t, 6);
    touch_read(t, inode.op_line);
    touch_read(t, inode.state_line);
    if (inode.i_sb === sb) return inode;
  }
  return null;
}

/** Sleeps until `inode` is out of the table. Locks: inode_lock held; given up meanwhile. */
function* __wait_on_freeing_inode(t: Thread, v: Vfs, inode: Inode): Steps {
  enter(t, __WAIT_ON_FREEING_INODE);
  charge(t, 10);
  const wq = bit_waitqueue(t, inode.state_word, I_LOCK);
  const wait = new WaitBit(t, inode.state_word, I_LOCK);
  yield* prepare_to_wait(t, wq, wait, TASK_UNINTERRUPTIBLE);
  yield* spin_unlock(t, v.inode_lock);
  yield* schedule(t);
  yield* finish_wait(t, wq, wait);
  yield* spin_lock(t, v.inode_lock);
  leave(t);
}

/** A reference more; an unused inode is in use again. Locks: inode_lock held. */
export function* __iget(t: Thread, v: Vfs, inode: Inode): Steps {
  lockdep_assert_held(t, v.inode_lock);
  charge(t, 4);
  if ((yield* atomic_add_return(t, inode.i_count, 1)) !== 1) return;
  charge(t, 8);
  touch_move(t, v, inode, v.inode_lists_line);
  list_move(inode.i_list, v.inode_in_use);
  v.inodes_stat.nr_unused--;
}

/** Sleeps until `inode` is complete. Context: process. */
function* wait_on_inode(t: Thread, inode: Inode): Steps {
  charge(t, 2);
  BUG_ON(
    t,
    in_atomic(t),
    "wait_on_inode(): sleeping function called from invalid context",
  );
  yield* wait_on_bit(t, inode.state_word, I_LOCK);
}

/** Makes the inode, unless somebody else has meanwhile. Locks: takes inode_lock. */
function* get_new_inode_fast(
  t: Thread,
  v: Vfs,
  index: number,
  sb: SuperBlock,
  ino: number,
): Steps<Inode | null> {
  enter(t, GET_NEW_INODE_FAST);
  const inode = yield* alloc_inode(t, v, sb);
  if (inode === null) {
    leave(t);
    return null;
  }
  yield* spin_lock(t, v.inode_lock);
  const old = yield* find_inode_fast(t, v, index, sb, ino);
  if (old === null) {
    inode.i_ino = ino;
    add_to_lists(t, v, inode, index);
    inode.i_state = I_LOCK | I_NEW;
    yield* spin_unlock(t, v.inode_lock);
    leave(t);
    return inode;
  }
  yield* __iget(t, v, old);
  yield* spin_unlock(t, v.inode_lock);
  yield* destroy_inode(t, v, inode);
  yield* wait_on_inode(t, old);
  leave(t);
  return old;
}

/** Locks: inode_lock held. */
function add_to_lists(t: Thread, v: Vfs, inode: Inode, index: number): void {
  lockdep_assert_held(t, v.inode_lock);
  charge(t, 24);
  const sb = inode.i_sb;
  touch_write(t, v.inode_lists_line);
  touch_entry(t, v.inode_in_use.next, v.inode_lists_line);
  list_add(inode.i_list, v.inode_in_use);
  touch_write(t, sb.inodes_line);
  touch_entry(t, sb.s_inodes.next, sb.inodes_line);
  list_add(inode.i_sb_list, sb.s_inodes);
  const bucket = v.inode_hashtable.get(index);
  if (bucket.first !== null) touch_write(t, bucket.first.owner.line);
  touch_write(t, bucket.line);
  hlist_add_head(inode.i_hash, bucket);
  touch_write(t, inode.line);
  touch_write(t, inode.state_line);
  v.inodes_stat.nr_inodes++;
}

/** Memory for an inode, its fields set. Context: process. @returns `null` if there is none. */
function* alloc_inode(
  t: Thread,
  v: Vfs,
  sb: SuperBlock,
): Steps<Inode | null> {
  enter(t, ALLOC_INODE);
  const inode = sb.s_op.alloc_inode === undefined
    ? yield* kmem_cache_alloc(t, v.inode_cachep, GFP_KERNEL)
    : yield* sb.s_op.alloc_inode(t, sb);
  if (inode !== null) inode_init(t, inode, sb);
  leave(t);
  return inode;
}

/** Sets the fields anew. Plain. */
function inode_init(t: Thread, inode: Inode, sb: SuperBlock): void {
  charge(t, 90);
  if (inode.i_count === undefined) inode.init_once();
  touch_write(t, inode.line);
  touch_write(t, inode.ino_line);
  touch_write(t, inode.mode_line);
  touch_write(t, inode.op_line);
  touch_write(t, inode.state_line);
  inode.i_sb = sb;
  inode.i_count.value = 1; // nobody else knows it
  inode.i_state = 0;
  inode.i_ino = 0;
  inode.i_mode =
    inode.i_uid =
    inode.i_gid =
    inode.i_rdev =
      0;
  inode.i_nlink = 1;
  inode.i_size = inode.i_blocks = inode.i_generation = 0;
  inode.i_blkbits = 31 - Math.clz32(Math.max(1, sb.s_blocksize));
  inode.i_op = EMPTY_IOPS;
  inode.i_fop = EMPTY_FOPS;
  inode.i_mapping = null;
  inode.i_private = null;
  INIT_HLIST_NODE(inode.i_hash);
  INIT_LIST_HEAD(inode.i_list);
  INIT_LIST_HEAD(inode.i_sb_list);
  INIT_LIST_HEAD(inode.i_dentry);
}

/** A new inode is complete: lets in who waits for it. Context: any. */
export function* unlock_new_inode(t: Thread, inode: Inode): Steps {
  enter(t, UNLOCK_NEW_INODE);
  charge(t, 8);
  BUG_ON(
    t,
    (inode.i_state & I_NEW) === 0,
    "unlock_new_inode() of one that is not new",
  );
  // Without inode_lock, as in Linux: until now nobody else has changed i_state.
  yield* write_line(t, inode.state_line);
  inode.i_state &= ~(I_LOCK | I_NEW);
  yield* wake_up_inode(t, inode);
  leave(t);
}

/** A reference more, unless it is being freed. Context: any. @returns `null` if so. */
export function* igrab(t: Thread, inode: Inode): Steps<Inode | null> {
  enter(t, IGRAB);
  charge(t, 8);
  const v = t.k.vfs!;
  yield* spin_lock(t, v.inode_lock);
  touch_read(t, inode.state_line);
  const going = (inode.i_state & GOING) !== 0;
  if (!going) yield* __iget(t, v, inode);
  yield* spin_unlock(t, v.inode_lock);
  leave(t);
  return going ? null : inode;
}
