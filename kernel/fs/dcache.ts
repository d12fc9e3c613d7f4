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
 * cookies. How dentries end is in dput.ts, what makes them in dcache_shrink.ts.
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
import { BUG_ON } from "../bug.ts";
import { hlist_add_head_rcu, INIT_HLIST_NODE } from "../lib/hlist.ts";
import { INIT_LIST_HEAD, list_add, list_empty } from "../lib/list.ts";
import { read_seqbegin, read_seqretry } from "../locking/seqlock.ts";
import {
  lockdep_assert_held,
  spin_lock,
  spin_unlock,
} from "../locking/spinlock.ts";
import { GFP_KERNEL } from "../mm/gfp.ts";
import {
  kmalloc,
  kmem_cache_alloc,
  kmem_cache_free,
  slab_object_live,
} from "../mm/slab.ts";
import { rcu_read_lock, rcu_read_unlock } from "../rcu.ts";
import type { Thread } from "../thread.ts";
import {
  d_unhashed,
  DCACHE_UNHASHED,
  type Dentry,
  DNAME_INLINE_LEN,
} from "./dentry.ts";
import { touch_entry } from "./dput.ts";
import { fold_hash } from "./hash_buckets.ts";
import { type Inode, S_ISDIR } from "./inode_types.ts";
import { Qstr } from "./qstr.ts";
import { shrink_slab } from "./shrinker.ts";

export { Dentry, IS_ROOT } from "./dentry.ts";
export { dput } from "./dput.ts";

const D_ALLOC = ksym("d_alloc");
const D_ALLOC_ROOT = ksym("d_alloc_root");
const D_INSTANTIATE = ksym("d_instantiate");
const D_REHASH = ksym("d_rehash");
const D_SPLICE_ALIAS = ksym("d_splice_alias");
const D_LOOKUP = ksym("d_lookup");
const __D_LOOKUP = ksym("__d_lookup");
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
  d_init(t, dentry);
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

/** Sets the fields of one that nobody else knows yet. Plain; in d_alloc()'s charge. */
function d_init(t: Thread, dentry: Dentry): void {
  touch_write(t, dentry.line);
  touch_write(t, dentry.lru_line);
  dentry.d_count.value = 1;
  dentry.d_flags = DCACHE_UNHASHED;
  dentry.d_inode = null;
  dentry.d_fsdata = null;
  dentry.d_parent = dentry;
  INIT_HLIST_NODE(dentry.d_hash);
  INIT_LIST_HEAD(dentry.d_lru);
  INIT_LIST_HEAD(dentry.d_child);
  INIT_LIST_HEAD(dentry.d_subdirs);
  INIT_LIST_HEAD(dentry.d_alias);
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
