/**
 * Taking unused dentries away: for memory, and when a file system is unmounted
 * (fs/dcache.c: prune_dcache(), shrink_dcache_for_umount()).
 *
 * Lock order:
 *
 *     dcache_lock
 *       dentry.d_lock
 *       sb_lock
 *     sb.s_umount          for reading; inside dcache_lock, so it is only tried
 *
 * A dentry that has been used since it came onto its LRU list
 * (DCACHE_REFERENCED) is spared once. One that is in use has stayed there from
 * laziness and is merely taken off.
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
import { BUG, BUG_ON } from "../bug.ts";
import {
  list_del_init,
  list_empty,
  list_entry,
  list_first_entry,
  list_move_tail,
  list_splice,
  ListHead,
} from "../lib/list.ts";
import { _atomic_dec_and_lock } from "../locking/dec_and_lock.ts";
import { down_read_trylock, up_read } from "../locking/rwsem.ts";
import {
  lockdep_assert_held,
  spin_lock,
  spin_unlock,
} from "../locking/spinlock.ts";
import { kfree } from "../mm/slab.ts";
import { KERN_ERR, printk } from "../printk.ts";
import { cond_resched_lock } from "../sched/resched_lock.ts";
import type { Thread } from "../thread.ts";
import { DCACHE_REFERENCED, type Dentry, IS_ROOT } from "./dentry.ts";
import {
  __d_drop,
  d_free,
  d_kill,
  dentry_lru_del_init,
  touch_entry,
  unalias,
} from "./dput.ts";
import { iput } from "./inode.ts";
import { printName } from "./qstr.ts";
import type { SuperBlock } from "./super_types.ts";
import type { Vfs } from "./vfs.ts";

const PRUNE_DCACHE = ksym("prune_dcache");
const __SHRINK_DCACHE_SB = ksym("__shrink_dcache_sb");
const PRUNE_ONE_DENTRY = ksym("prune_one_dentry");
const SHRINK_DCACHE_FOR_UMOUNT = ksym("shrink_dcache_for_umount");
const SHRINK_DCACHE_FOR_UMOUNT_SUBTREE = ksym(
  "shrink_dcache_for_umount_subtree",
);

/**
 * Frees about `count` unused dentries, a share of every superblock's.
 *
 * Context: process. Locks: takes dcache_lock, in it sb_lock, and reads s_umount.
 */
export function* prune_dcache(t: Thread, count: number): Steps {
  enter(t, PRUNE_DCACHE);
  charge(t, 10);
  const v = t.k.vfs!;
  const unused = v.dentry_stat.nr_unused;
  if (unused > 0 && count > 0) {
    const ratio = count >= unused ? 1 : Math.floor(unused / count);
    yield* spin_lock(t, v.dcache_lock);
    yield* prune_super_blocks(t, v, count, ratio);
    yield* spin_unlock(t, v.dcache_lock);
  }
  leave(t);
}

/** Locks: dcache_lock held; given up meanwhile. */
function* prune_super_blocks(
  t: Thread,
  v: Vfs,
  count: number,
  ratio: number,
): Steps {
  let left = count;
  yield* spin_lock(t, v.sb_lock);
  let p = v.super_blocks.next;
  while (p !== v.super_blocks) {
    const sb = list_entry(p);
    charge(t, 8);
    touch_read(t, sb.lru_line);
    if (sb.s_nr_dentry_unused === 0) {
      p = p.next;
      continue;
    }
    sb.s_count++; // it stays on the list, or at least in memory
    yield* spin_unlock(t, v.sb_lock);
    charge(t, 30); // a division
    const share = ratio === 1
      ? sb.s_nr_dentry_unused
      : Math.floor(sb.s_nr_dentry_unused / ratio) + 1;
    left -= yield* prune_super(t, v, sb, share);
    yield* spin_lock(t, v.sb_lock);
    // Off the list meanwhile: where to go on is unknown.
    const gone = list_empty(sb.s_list);
    if (--sb.s_count === 0) yield* kfree(t, sb.memory);
    if (gone && left <= 0) break;
    p = gone ? v.super_blocks.next : p.next;
  }
  yield* spin_unlock(t, v.sb_lock);
}

/** Frees `share` of `sb`'s, unless it is being unmounted. Locks: dcache_lock held; given up meanwhile. @returns How many. */
function* prune_super(
  t: Thread,
  v: Vfs,
  sb: SuperBlock,
  share: number,
): Steps<number> {
  if (!(yield* down_read_trylock(t, sb.s_umount))) return 0;
  let pruned = 0;
  if (sb.s_root !== null && !list_empty(sb.s_dentry_lru)) {
    yield* spin_unlock(t, v.dcache_lock);
    pruned = yield* __shrink_dcache_sb(t, sb, share, DCACHE_REFERENCED);
    yield* spin_lock(t, v.dcache_lock);
  }
  yield* up_read(t, sb.s_umount);
  return pruned;
}

/**
 * Takes up to `count` dentries, oldest first, off `sb`'s LRU list, and frees
 * those that are unused.
 *
 * Context: process. Locks: takes dcache_lock, in it d_lock.
 *
 * @param flags DCACHE_REFERENCED = spare those that have it.
 * @returns How many were taken.
 */
export function* __shrink_dcache_sb(
  t: Thread,
  sb: SuperBlock,
  count: number,
  flags: number,
): Steps<number> {
  enter(t, __SHRINK_DCACHE_SB);
  charge(t, 10);
  const v = t.k.vfs!;
  const referenced = new ListHead<Dentry>();
  const tmp = new ListHead<Dentry>();
  let taken = 0;
  yield* spin_lock(t, v.dcache_lock);
  while (taken < count && !list_empty(sb.s_dentry_lru)) {
    const dentry = list_entry(sb.s_dentry_lru.prev);
    charge(t, 10);
    yield* spin_lock(t, dentry.d_lock);
    touch_read(t, dentry.lru_line);
    touch_entry(t, dentry.d_lru.prev, sb.lru_line);
    touch_write(t, sb.lru_line);
    touch_write(t, dentry.lru_line);
    if ((dentry.d_flags & flags) !== 0) {
      dentry.d_flags &= ~DCACHE_REFERENCED;
      list_move_tail(dentry.d_lru, referenced);
    } else {
      list_move_tail(dentry.d_lru, tmp);
      taken++;
    }
    yield* spin_unlock(t, dentry.d_lock);
    yield* cond_resched_lock(t, v.dcache_lock);
  }
  yield* free_list(t, v, tmp);
  if (!list_empty(referenced)) {
    touch_write(t, sb.lru_line);
    list_splice(referenced, sb.s_dentry_lru);
  }
  yield* spin_unlock(t, v.dcache_lock);
  leave(t);
  return taken;
}

/** Frees what is unused on `list`, and takes the rest off. Locks: dcache_lock held; given up meanwhile. */
function* free_list(t: Thread, v: Vfs, list: ListHead<Dentry>): Steps {
  while (!list_empty(list)) {
    const dentry = list_entry(list.prev);
    charge(t, 8);
    dentry_lru_del_init(t, v, dentry);
    yield* spin_lock(t, dentry.d_lock);
    if (dentry.d_count.value !== 0) { // found by a lookup, which left it there
      yield* spin_unlock(t, dentry.d_lock);
      continue;
    }
    yield* prune_one_dentry(t, v, dentry);
    yield* cond_resched_lock(t, v.dcache_lock);
  }
}

/**
 * Frees an unused dentry, and its parents as far as it was the last that held
 * them.
 *
 * Locks: dcache_lock and d_lock held on entry, dcache_lock on return.
 */
function* prune_one_dentry(t: Thread, v: Vfs, dentry: Dentry): Steps {
  enter(t, PRUNE_ONE_DENTRY);
  lockdep_assert_held(t, dentry.d_lock);
  __d_drop(t, v, dentry);
  let p = yield* d_kill(t, v, dentry);
  yield* spin_lock(t, v.dcache_lock);
  while (
    p !== null && (yield* _atomic_dec_and_lock(t, p.d_count, p.d_lock))
  ) {
    dentry_lru_del_init(t, v, p);
    __d_drop(t, v, p);
    p = yield* d_kill(t, v, p);
    yield* spin_lock(t, v.dcache_lock);
  }
  leave(t);
}

/**
 * Frees the whole tree of a superblock: nobody has references but the tree
 * itself.
 *
 * Context: process. Locks: s_umount held for writing.
 */
export function* shrink_dcache_for_umount(t: Thread, sb: SuperBlock): Steps {
  enter(t, SHRINK_DCACHE_FOR_UMOUNT);
  lockdep_assert_held(t, sb.s_umount);
  const dentry = sb.s_root!;
  sb.s_root = null;
  dentry.d_count.value--; // nobody else can know it any more
  yield* shrink_dcache_for_umount_subtree(t, dentry);
  leave(t);
}

/** Frees `root` and all below it, children before parents. */
function* shrink_dcache_for_umount_subtree(t: Thread, root: Dentry): Steps {
  enter(t, SHRINK_DCACHE_FOR_UMOUNT_SUBTREE);
  BUG_ON(t, !IS_ROOT(root), "umount of something below the root");
  const v = t.k.vfs!;
  yield* spin_lock(t, v.dcache_lock);
  dentry_lru_del_init(t, v, root);
  __d_drop(t, v, root);
  yield* spin_unlock(t, v.dcache_lock);
  let detached = 0;
  let p: Dentry = root;
  for (;;) {
    while (!list_empty(p.d_subdirs)) { // down to a leaf
      yield* detach_children(t, v, p);
      p = list_first_entry(p.d_subdirs);
    }
    let parent: Dentry | null;
    do { // and up to one that has children left
      parent = IS_ROOT(p) ? null : p.d_parent;
      yield* consume(t, v, p);
      detached++;
      if (parent !== null) p = parent;
    } while (parent !== null && list_empty(p.d_subdirs));
    if (parent === null) break;
    p = list_first_entry(p.d_subdirs);
  }
  yield* spin_lock(t, v.dcache_lock);
  touch_write(t, v.dentry_stat_line);
  v.dentry_stat.nr_dentry -= detached;
  yield* spin_unlock(t, v.dcache_lock);
  leave(t);
}

/** Makes all children of `parent` unknown to lookups and to reclaim. Locks: takes dcache_lock. */
function* detach_children(t: Thread, v: Vfs, parent: Dentry): Steps {
  yield* spin_lock(t, v.dcache_lock);
  const head = parent.d_subdirs;
  for (let p = head.next; p !== head; p = p.next) {
    charge(t, 6);
    const child = list_entry(p);
    dentry_lru_del_init(t, v, child);
    __d_drop(t, v, child);
    yield* cond_resched_lock(t, v.dcache_lock);
  }
  yield* spin_unlock(t, v.dcache_lock);
}

/** Frees a dentry that is detached and has no children. */
function* consume(t: Thread, v: Vfs, dentry: Dentry): Steps {
  charge(t, 20);
  const inode = dentry.d_inode;
  if (dentry.d_count.value !== 0) still_in_use(t, dentry);
  if (!IS_ROOT(dentry)) dentry.d_parent.d_count.value--;
  touch_write(t, dentry.d_parent.line);
  touch_entry(t, dentry.d_child.next, dentry.d_parent.lru_line);
  list_del_init(dentry.d_child);
  if (inode !== null) {
    dentry.d_inode = null;
    unalias(t, dentry, inode);
    yield* iput(t, inode);
  }
  yield* d_free(t, v, dentry);
}

function still_in_use(t: Thread, dentry: Dentry): never {
  const { s_type_name, s_dev } = dentry.d_sb;
  const ino = dentry.d_inode === null ? 0 : dentry.d_inode.i_ino;
  const what = `BUG: Dentry ${dentry.paddr.toString(16)}{i=${
    ino.toString(16)
  },n=${
    printName(dentry.d_name.name)
  }} still in use (${dentry.d_count.value}) [unmount of ${s_type_name} ${s_dev}]`;
  printk(t, KERN_ERR, what);
  BUG(t, what);
}
