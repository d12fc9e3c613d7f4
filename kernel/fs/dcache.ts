/**
 * The directory entry cache (fs/dcache.c of 2.6.28): names, each under the
 * directory that it is in, with the inode that it leads to, or none.
 *
 * Lock order:
 *
 *     dcache_lock
 *       dentry.d_lock      one at a time
 *
 * `dcache_lock` is one for all: it guards the tree, the LRU lists, aliases and
 * changes of the hash table, and is taken to make a dentry, to hash it, and when
 * the last reference to one goes. Lookups do without: they walk a bucket under
 * RCU, and take the lock of the one candidate that looks right. A dentry that
 * a lookup finds stays on its LRU list, and is taken off when somebody next
 * comes past it there.
 *
 * A dentry with children has a reference from each. One without references is
 * on the LRU list (or was on its way there when it was found to be dead).
 *
 * Kept from 2.6.28: LRU lists by superblock, DCACHE_REFERENCED, freeing by RCU
 * of what was ever hashed. Left out: rename (d_move()), d_op, disconnected
 * dentries and exportfs, mount points, d_invalidate(), inotify, profiling
 * cookies. The file that takes dentries away is dcache_shrink.ts.
 */
import {
  atomic_add_return,
  charge,
  enter,
  ksym,
  leave,
  read_line,
  type Steps,
  touch_read,
  touch_write,
} from "../../arch/asm.ts";
import type { CacheLine } from "../../arch/hw/line.ts";
import { BUG_ON } from "../bug.ts";
import {
  hlist_add_head_rcu,
  hlist_del_rcu,
  hlist_unhashed,
  INIT_HLIST_NODE,
} from "../lib/hlist.ts";
import {
  INIT_LIST_HEAD,
  list_add,
  list_del_init,
  list_empty,
  type ListHead,
} from "../lib/list.ts";
import { _atomic_dec_and_lock } from "../locking/dec_and_lock.ts";
import { read_seqbegin, read_seqretry } from "../locking/seqlock.ts";
import {
  lockdep_assert_held,
  spin_lock,
  spin_unlock,
} from "../locking/spinlock.ts";
import { GFP_KERNEL } from "../mm/gfp.ts";
import {
  kfree,
  kmalloc,
  kmem_cache_alloc,
  kmem_cache_free,
  slab_object_live,
} from "../mm/slab.ts";
import {
  call_rcu,
  rcu_read_lock,
  rcu_read_unlock,
  type RcuHead,
} from "../rcu.ts";
import { in_atomic, type Thread } from "../thread.ts";
import {
  d_unhashed,
  DCACHE_REFERENCED,
  DCACHE_UNHASHED,
  type Dentry,
  DNAME_INLINE_LEN,
  IS_ROOT,
} from "./dentry.ts";
import { bucket_of, fold_hash } from "./hash_buckets.ts";
import { iput } from "./inode.ts";
import { type Inode, S_ISDIR } from "./inode_types.ts";
import { Qstr } from "./qstr.ts";
import { shrink_slab } from "./shrinker.ts";
import type { Vfs } from "./vfs.ts";

export { Dentry, IS_ROOT } from "./dentry.ts";

const D_ALLOC = ksym("d_alloc");
const D_ALLOC_ROOT = ksym("d_alloc_root");
const D_INSTANTIATE = ksym("d_instantiate");
const D_REHASH = ksym("d_rehash");
const D_SPLICE_ALIAS = ksym("d_splice_alias");
const D_LOOKUP = ksym("d_lookup");
const __D_LOOKUP = ksym("__d_lookup");
const DPUT = ksym("dput");
const D_KILL = ksym("d_kill");
const D_CALLBACK = ksym("d_callback");
const MEMCMP = ksym("memcmp");

/** One byte of memcmp(): two loads, compare, branch, two increments. */
const MEMCMP_INSTRUCTIONS = 6;
/** One byte of a name that is copied, on average: words at a time. */
const COPY_INSTRUCTIONS = 0.5;

const ROOT_NAME = new Qstr(Uint8Array.of(0x2f), 0);

/**
 * A dentry for `name` in `parent`, in no bucket, negative, with one reference;
 * and one more reference to `parent`. The name is copied. Above
 * `k.vfs.dentry_limit` it reclaims first, as memory pressure would have it.
 *
 * Context: process. Locks: takes dcache_lock; those of reclaim.
 *
 * @param parent `null` = it is a root.
 * @returns `null` if memory is out.
 */
export function* d_alloc(
  t: Thread,
  parent: Dentry | null,
  name: Qstr,
): Steps<Dentry | null> {
  enter(t, D_ALLOC);
  charge(t, 50); // tests; the fields below
  const v = t.k.vfs!;
  if (v.dentry_stat.nr_unused > v.dentry_limit) yield* shrink_slab(t, v);
  const dentry = yield* kmem_cache_alloc(t, v.dentry_cache, GFP_KERNEL);
  if (dentry === null) {
    leave(t);
    return null;
  }
  if (dentry.d_count === undefined) dentry.init_once(t.k);
  if (!(yield* copy_name(t, dentry, name))) {
    yield* kmem_cache_free(t, v.dentry_cache, dentry);
    leave(t);
    return null;
  }
  touch_write(t, dentry.line);
  touch_write(t, dentry.lru_line);
  dentry.d_count.value = 1; // nobody else knows it
  dentry.d_flags = DCACHE_UNHASHED;
  dentry.d_inode = null;
  dentry.d_fsdata = null;
  INIT_HLIST_NODE(dentry.d_hash);
  INIT_LIST_HEAD(dentry.d_lru);
  INIT_LIST_HEAD(dentry.d_child);
  INIT_LIST_HEAD(dentry.d_subdirs);
  INIT_LIST_HEAD(dentry.d_alias);
  dentry.d_parent = dentry;
  if (parent !== null) {
    yield* dget(t, parent);
    dentry.d_parent = parent;
    dentry.d_sb = parent.d_sb;
  }
  yield* spin_lock(t, v.dcache_lock);
  if (parent !== null) {
    touch_write(t, parent.lru_line);
    touch_entry(t, parent.d_subdirs.next, parent.lru_line);
    list_add(dentry.d_child, parent.d_subdirs);
  }
  touch_write(t, v.dentry_stat_line);
  v.dentry_stat.nr_dentry++;
  yield* spin_unlock(t, v.dcache_lock);
  leave(t);
  return dentry;
}

/** Gives `dentry` its name. @returns Whether there was memory for it. */
function* copy_name(t: Thread, dentry: Dentry, name: Qstr): Steps<boolean> {
  dentry.d_external = null;
  if (name.len >= DNAME_INLINE_LEN) {
    const memory = yield* kmalloc(t, name.len + 1, GFP_KERNEL);
    if (memory === null) return false;
    dentry.d_external = memory;
    touch_write(t, memory.line);
  } else {
    touch_write(t, dentry.name_line);
  }
  charge(t, 8 + COPY_INSTRUCTIONS * name.len);
  dentry.d_name = new Qstr(name.name.slice(), name.hash);
  return true;
}

/**
 * The root of a tree, for `inode`, whose reference it takes over.
 *
 * Context: process.
 *
 * @returns `null` if memory is out; the inode is the caller's still.
 */
export function* d_alloc_root(t: Thread, inode: Inode): Steps<Dentry | null> {
  enter(t, D_ALLOC_ROOT);
  charge(t, 6);
  const res = yield* d_alloc(t, null, ROOT_NAME);
  if (res !== null) {
    res.d_sb = inode.i_sb;
    yield* d_instantiate(t, res, inode);
  }
  leave(t);
  return res;
}

/**
 * Gives `entry` its inode, whose reference it takes over; `null` = it is
 * negative.
 *
 * Context: process. Locks: takes dcache_lock.
 */
export function* d_instantiate(
  t: Thread,
  entry: Dentry,
  inode: Inode | null,
): Steps {
  enter(t, D_INSTANTIATE);
  BUG_ON(t, !list_empty(entry.d_alias), "d_instantiate() of one that has been");
  charge(t, 6);
  const { dcache_lock } = t.k.vfs!;
  yield* spin_lock(t, dcache_lock);
  __d_instantiate(t, entry, inode);
  yield* spin_unlock(t, dcache_lock);
  leave(t);
}

/** Locks: dcache_lock held. */
function __d_instantiate(t: Thread, entry: Dentry, inode: Inode | null): void {
  lockdep_assert_held(t, t.k.vfs!.dcache_lock);
  charge(t, 8);
  touch_write(t, entry.line);
  if (inode !== null) {
    touch_write(t, entry.lru_line);
    touch_write(t, inode.line);
    touch_entry(t, inode.i_dentry.next, inode.line);
    list_add(entry.d_alias, inode.i_dentry);
  }
  entry.d_inode = inode;
}

/** Makes `entry` known to lookups. Context: process. Locks: takes dcache_lock, in it d_lock. */
export function* d_rehash(t: Thread, entry: Dentry): Steps {
  enter(t, D_REHASH);
  charge(t, 14);
  const { dcache_lock, dentry_hashtable } = t.k.vfs!;
  const index = d_hash(t, entry.d_parent, entry.d_name.hash);
  yield* spin_lock(t, dcache_lock);
  yield* spin_lock(t, entry.d_lock);
  BUG_ON(t, !d_unhashed(entry), "d_rehash() of a dentry that is hashed");
  entry.d_flags &= ~DCACHE_UNHASHED;
  yield* dentry_hashtable.load(t, index);
  const bucket = dentry_hashtable.get(index);
  if (bucket.first !== null) touch_write(t, bucket.first.owner.line);
  touch_write(t, entry.line);
  touch_write(t, bucket.line);
  hlist_add_head_rcu(entry.d_hash, bucket);
  yield* spin_unlock(t, entry.d_lock);
  yield* spin_unlock(t, dcache_lock);
  leave(t);
}

/** {@linkcode d_instantiate}, then {@linkcode d_rehash}. Context: process. */
export function* d_add(t: Thread, entry: Dentry, inode: Inode | null): Steps {
  yield* d_instantiate(t, entry, inode);
  yield* d_rehash(t, entry);
}

/**
 * {@linkcode d_add} as a lookup ends: what it returns, the lookup returns.
 *
 * Context: process.
 *
 * @returns `null`: without exportfs no directory has a disconnected alias.
 */
export function* d_splice_alias(
  t: Thread,
  inode: Inode | null,
  dentry: Dentry,
): Steps<Dentry | null> {
  enter(t, D_SPLICE_ALIAS);
  charge(t, 10);
  if (inode !== null && S_ISDIR(inode.i_mode)) {
    const { dcache_lock } = t.k.vfs!;
    yield* spin_lock(t, dcache_lock);
    __d_find_disconnected(t, inode);
    __d_instantiate(t, dentry, inode);
    yield* spin_unlock(t, dcache_lock);
    yield* d_rehash(t, dentry);
  } else {
    yield* d_add(t, dentry, inode);
  }
  leave(t);
  return null;
}

/** __d_find_alias() for a disconnected one, which finds none. Locks: dcache_lock held. */
function __d_find_disconnected(t: Thread, inode: Inode): void {
  lockdep_assert_held(t, t.k.vfs!.dcache_lock);
  charge(t, 6);
  const head = inode.i_dentry;
  for (let p = head.next; p !== head; p = p.next) {
    charge(t, 6);
    touch_read(t, p.owner!.line);
  }
}

/** Number of the bucket for a name of hash `hash` in `parent`. Plain. */
function d_hash(t: Thread, parent: Dentry, hash: number): number {
  charge(t, 10);
  const { shift, mask } = t.k.vfs!.dentry_hashtable.table;
  const { hi, lo } = parent.hash_seed;
  const sum = lo + hash;
  const carry = sum >= 0x100000000 ? 1 : 0;
  return fold_hash((hi + carry) | 0, sum | 0, shift) & mask;
}

/**
 * The child of `parent` called `name`, with a reference more, if the cache has
 * it; again if somebody has renamed meanwhile.
 *
 * Context: process.
 */
export function* d_lookup(
  t: Thread,
  parent: Dentry,
  name: Qstr,
): Steps<Dentry | null> {
  enter(t, D_LOOKUP);
  charge(t, 6);
  const { rename_lock } = t.k.vfs!;
  let dentry: Dentry | null;
  let seq: number;
  do {
    seq = yield* read_seqbegin(t, rename_lock);
    dentry = yield* __d_lookup(t, parent, name);
  } while (dentry === null && (yield* read_seqretry(t, rename_lock, seq)));
  leave(t);
  return dentry;
}

/**
 * {@linkcode d_lookup} once.
 *
 * Context: any. Locks: under RCU takes the d_lock of dentries that look right.
 */
export function* __d_lookup(
  t: Thread,
  parent: Dentry,
  name: Qstr,
): Steps<Dentry | null> {
  enter(t, __D_LOOKUP);
  charge(t, 14);
  const { dentry_hashtable } = t.k.vfs!;
  const { hash } = name;
  const index = d_hash(t, parent, hash);
  let found: Dentry | null = null;
  rcu_read_lock(t);
  yield* dentry_hashtable.load(t, index);
  const bucket = dentry_hashtable.peek(index);
  let p = bucket === null ? null : bucket.first;
  for (; p !== null && found === null; p = p.next) {
    const dentry = p.owner;
    yield* read_line(t, dentry.line);
    charge(t, 6);
    BUG_ON(t, !slab_object_live(dentry), "a lookup stands on a freed dentry");
    if (dentry.d_name.hash !== hash || dentry.d_parent !== parent) continue;
    yield* spin_lock(t, dentry.d_lock);
    // It may have been dropped since.
    if (!d_unhashed(dentry) && same_name(t, dentry, name.name)) {
      yield* atomic_add_return(t, dentry.d_count, 1);
      found = dentry;
    }
    yield* spin_unlock(t, dentry.d_lock);
  }
  rcu_read_unlock(t);
  leave(t);
  return found;
}

/** Whether `dentry` is called `name`. Plain. */
function same_name(t: Thread, dentry: Dentry, name: Uint8Array): boolean {
  const own = dentry.d_name.name;
  charge(t, 4);
  if (own.length !== name.length) return false;
  enter(t, MEMCMP);
  touch_read(t, (dentry.d_external ?? dentry).line);
  if (dentry.d_external === null) touch_read(t, dentry.name_line);
  let i = 0;
  while (i < own.length && own[i] === name[i]) i++;
  charge(t, 4 + MEMCMP_INSTRUCTIONS * i);
  leave(t);
  return i === own.length;
}

/** One reference more, of which the caller has one already. Context: any. */
export function dget(t: Thread, dentry: Dentry): Steps<number> {
  charge(t, 2);
  BUG_ON(
    t,
    dentry.d_count.value === 0,
    "dget() of a dentry without references",
  );
  return atomic_add_return(t, dentry.d_count, 1);
}

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
