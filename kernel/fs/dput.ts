/**
 * The last reference to a dentry, and its end (fs/dcache.c): dput(), LRU lists,
 * d_kill(), and freeing after a grace period.
 *
 * Lock order:
 *
 *     dcache_lock
 *       dentry.d_lock
 *     inode_lock          in iput(), with neither held
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
import type { CacheLine } from "../../arch/hw/line.ts";
import { BUG_ON } from "../bug.ts";
import { hlist_del_rcu, hlist_unhashed } from "../lib/hlist.ts";
import {
  list_add,
  list_del_init,
  list_empty,
  type ListHead,
} from "../lib/list.ts";
import { _atomic_dec_and_lock } from "../locking/dec_and_lock.ts";
import {
  lockdep_assert_held,
  spin_lock,
  spin_unlock,
} from "../locking/spinlock.ts";
import { kfree, kmem_cache_free } from "../mm/slab.ts";
import { call_rcu, type RcuHead } from "../rcu.ts";
import { in_atomic, type Thread } from "../thread.ts";
import {
  d_unhashed,
  DCACHE_REFERENCED,
  DCACHE_UNHASHED,
  type Dentry,
  IS_ROOT,
} from "./dentry.ts";
import { bucket_of } from "./hash_buckets.ts";
import { iput } from "./inode.ts";
import type { Inode } from "./inode_types.ts";
import type { Vfs } from "./vfs.ts";

const DPUT = ksym("dput");
const D_KILL = ksym("d_kill");
const D_CALLBACK = ksym("d_callback");

/**
 * Gives a reference up. A hashed dentry stays, unused; one that is not is
 * freed, and gives up its parent in turn.
 *
 * Context: process. Locks: dcache_lock with the last reference, in it d_lock.
 */
export function* dput(t: Thread, dentry: Dentry | null): Steps {
  if (dentry === null) return;
  enter(t, DPUT);
  const v = t.k.vfs!;
  for (let p: Dentry | null = dentry; p !== null;) {
    charge(t, 6);
    BUG_ON(
      t,
      in_atomic(t) && p.d_count.value === 1,
      "dput(): sleeping function called from invalid context",
    );
    if (!(yield* _atomic_dec_and_lock(t, p.d_count, v.dcache_lock))) break;
    yield* spin_lock(t, p.d_lock);
    charge(t, 8);
    if (p.d_count.value !== 0) { // a lookup has found it: under d_lock alone
      yield* spin_unlock(t, p.d_lock);
      yield* spin_unlock(t, v.dcache_lock);
      break;
    }
    if (d_unhashed(p)) {
      dentry_lru_del_init(t, v, p);
      p = yield* d_kill(t, v, p);
      continue;
    }
    if (list_empty(p.d_lru)) {
      p.d_flags |= DCACHE_REFERENCED;
      dentry_lru_add(t, v, p);
    }
    yield* spin_unlock(t, p.d_lock);
    yield* spin_unlock(t, v.dcache_lock);
    break;
  }
  leave(t);
}

/** Puts an unused dentry on its LRU list, newest first. Locks: dcache_lock held. */
function dentry_lru_add(t: Thread, v: Vfs, dentry: Dentry): void {
  lockdep_assert_held(t, v.dcache_lock);
  charge(t, 10);
  const sb = dentry.d_sb;
  touch_write(t, sb.lru_line);
  touch_entry(t, sb.s_dentry_lru.next, sb.lru_line);
  touch_write(t, dentry.lru_line);
  list_add(dentry.d_lru, sb.s_dentry_lru);
  sb.s_nr_dentry_unused++;
  count_unused(t, v, 1);
}

/** Takes `dentry` off its LRU list, if it is on it. Locks: dcache_lock held. */
export function dentry_lru_del_init(t: Thread, v: Vfs, dentry: Dentry): void {
  lockdep_assert_held(t, v.dcache_lock);
  charge(t, 4);
  touch_read(t, dentry.lru_line);
  if (list_empty(dentry.d_lru)) return;
  charge(t, 8);
  const sb = dentry.d_sb;
  touch_entry(t, dentry.d_lru.next, sb.lru_line);
  touch_entry(t, dentry.d_lru.prev, sb.lru_line);
  touch_write(t, dentry.lru_line);
  list_del_init(dentry.d_lru);
  touch_write(t, sb.lru_line);
  sb.s_nr_dentry_unused--;
  count_unused(t, v, -1);
}

function count_unused(t: Thread, v: Vfs, n: number): void {
  touch_write(t, v.dentry_stat_line);
  v.dentry_stat.nr_unused += n;
}

/** Charges the store to a neighbour on a list of dentries; `head` = the line of the list's head. */
export function touch_entry(
  t: Thread,
  link: ListHead<Dentry>,
  head: CacheLine,
): void {
  touch_write(t, link.owner === null ? head : link.owner.lru_line);
}

/** Makes `dentry` unknown to lookups. Locks: dcache_lock and d_lock held. */
export function __d_drop(t: Thread, v: Vfs, dentry: Dentry): void {
  lockdep_assert_held(t, v.dcache_lock);
  charge(t, 4);
  if (d_unhashed(dentry)) return;
  charge(t, 8);
  const { next, prev } = dentry.d_hash;
  if (next !== null) touch_write(t, next.owner.line);
  if (prev !== null) touch_write(t, prev.owner.line);
  else touch_write(t, bucket_of(dentry.d_hash).line);
  touch_write(t, dentry.line);
  dentry.d_flags |= DCACHE_UNHASHED;
  hlist_del_rcu(dentry.d_hash);
}

/**
 * Ends a dentry that has no references and is in no bucket, and gives its inode
 * up.
 *
 * Locks: dcache_lock and d_lock held on entry, free on return.
 *
 * @returns Its parent, one reference to which is now the caller's; `null` for a root.
 */
export function* d_kill(
  t: Thread,
  v: Vfs,
  dentry: Dentry,
): Steps<Dentry | null> {
  enter(t, D_KILL);
  lockdep_assert_held(t, dentry.d_lock);
  charge(t, 20);
  touch_entry(t, dentry.d_child.next, dentry.d_parent.lru_line);
  touch_entry(t, dentry.d_child.prev, dentry.d_parent.lru_line);
  list_del_init(dentry.d_child);
  touch_write(t, v.dentry_stat_line);
  v.dentry_stat.nr_dentry--;
  yield* dentry_iput(t, v, dentry);
  const parent = IS_ROOT(dentry) ? null : dentry.d_parent;
  yield* d_free(t, v, dentry);
  leave(t);
  return parent;
}

/** Locks: dcache_lock and d_lock held on entry, free on return. */
function* dentry_iput(t: Thread, v: Vfs, dentry: Dentry): Steps {
  const inode = dentry.d_inode;
  if (inode !== null) {
    dentry.d_inode = null;
    unalias(t, dentry, inode);
  }
  yield* spin_unlock(t, dentry.d_lock);
  yield* spin_unlock(t, v.dcache_lock);
  if (inode !== null) yield* iput(t, inode);
}

/** Takes `dentry` off the names of `inode`. */
export function unalias(t: Thread, dentry: Dentry, inode: Inode): void {
  charge(t, 8);
  touch_entry(t, dentry.d_alias.next, inode.line);
  touch_entry(t, dentry.d_alias.prev, inode.line);
  touch_write(t, dentry.lru_line);
  list_del_init(dentry.d_alias);
}

/** Frees `dentry`: at once if no lookup can ever have seen it. */
export function* d_free(t: Thread, v: Vfs, dentry: Dentry): Steps {
  charge(t, 6);
  if (hlist_unhashed(dentry.d_hash)) yield* __d_free(t, v, dentry);
  else yield* call_rcu(t, dentry.d_rcu, d_callback);
}

function* d_callback(t: Thread, head: RcuHead<Dentry>): Steps {
  enter(t, D_CALLBACK);
  charge(t, 6);
  yield* __d_free(t, t.k.vfs!, head.owner);
  leave(t);
}

function* __d_free(t: Thread, v: Vfs, dentry: Dentry): Steps {
  if (dentry.d_external !== null) {
    yield* kfree(t, dentry.d_external);
    dentry.d_external = null;
  }
  yield* kmem_cache_free(t, v.dentry_cache, dentry);
}
