/**
 * The page cache (mm/filemap.c of 2.6.28): pages of a device, by index.
 *
 * Lock order:
 *
 *     PG_locked
 *       mapping.tree_lock      interrupts off
 *
 * Readers look pages up under RCU alone (page_cache_get_speculative()): they
 * take a reference to what they have found, if it has any, and look again. The
 * cache's own reference keeps what is in the tree from being free; who holds
 * PG_locked keeps it in the tree. A page that is waited for may have left the
 * cache meanwhile: `page.mapping` says so.
 *
 * Kept: lookups, insertion, removal, the memory of the tree's nodes, the page's
 * lock (page_lock.ts). Left out: write-back and dirty pages (devices are read),
 * LRU lists and reclaim, so pages stay until they are truncated; tags of the
 * tree; memory control groups; PG_private. Nodes of the tree go back to their
 * slab at once instead of a grace period later: readers do not touch that memory.
 */
import {
  charge,
  charge_cycles,
  enter,
  ksym,
  leave,
  read_line,
  type Steps,
  touch_write,
  write_line,
} from "../../arch/asm.ts";
import { CacheLine } from "../../arch/hw/line.ts";
import { BUG_ON } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import { EEXIST, ENOMEM, err, type Errno } from "../lib/errno.ts";
import {
  radix_tree_delete,
  radix_tree_insert,
  radix_tree_lookup,
  radix_tree_nodes_needed,
  RadixTreeRoot,
} from "../lib/radix_tree.ts";
import {
  lockdep_assert_held,
  spin_lock_irq,
  spin_unlock_irq,
  Spinlock,
} from "../locking/spinlock.ts";
import { rcu_read_lock, rcu_read_unlock } from "../rcu.ts";
import type { Thread } from "../thread.ts";
import { __GFP_HIGHMEM } from "./gfp.ts";
import { get_page, type Page, PG_locked, PG_referenced } from "./page.ts";
import { alloc_page, put_page } from "./page_alloc.ts";
import { lock_page, unlock_page } from "./page_lock.ts";
import {
  kmem_cache_alloc,
  kmem_cache_create,
  kmem_cache_free,
  type KmemCache,
  SlabObject,
} from "./slab.ts";

export {
  ClearPageUptodate,
  lock_page,
  page_waitqueue,
  PageLocked,
  PageUptodate,
  SetPageUptodate,
  trylock_page,
  unlock_page,
  wait_on_page_locked,
} from "./page_lock.ts";

const FIND_GET_PAGE = ksym("find_get_page");
const FIND_LOCK_PAGE = ksym("find_lock_page");
const FIND_OR_CREATE_PAGE = ksym("find_or_create_page");
const ADD_TO_PAGE_CACHE_LOCKED = ksym("add_to_page_cache_locked");
const ADD_TO_PAGE_CACHE_LRU = ksym("add_to_page_cache_lru");
const REMOVE_FROM_PAGE_CACHE = ksym("remove_from_page_cache");
const MARK_PAGE_ACCESSED = ksym("mark_page_accessed");
const RADIX_TREE_LOOKUP_SLOT = ksym("radix_tree_lookup_slot");
const RADIX_TREE_INSERT = ksym("radix_tree_insert");
const RADIX_TREE_DELETE = ksym("radix_tree_delete");
const RADIX_TREE_PRELOAD = ksym("radix_tree_preload");

/** sizeof(struct radix_tree_node) on 64 bits, bytes: 64 slots, two tags, height, count, RCU head. */
const RADIX_NODE_BYTES = 560;
/** One level of a radix tree: shift, mask, load, test. */
const RADIX_LEVEL_INSTRUCTIONS = 7;

/** What all page caches of one kernel share; `k.page_cache` from the first page on. */
export class PageCache {
  readonly radix_tree_node_cachep: KmemCache<SlabObject>;

  constructor(t: Thread) {
    this.radix_tree_node_cachep = kmem_cache_create(
      t,
      "radix_tree_node",
      RADIX_NODE_BYTES,
      () => new SlabObject(),
    );
  }
}

/** Pages of one file or device, by index: `struct address_space`. */
export class AddressSpace {
  /** Line of the fields below, the lock's word among them. */
  readonly line: CacheLine = new CacheLine(0);
  readonly tree_lock: Spinlock;
  /** Written under tree_lock, read under RCU. */
  readonly page_tree: RadixTreeRoot<Page> = new RadixTreeRoot<Page>();
  // Guarded by tree_lock.
  nrpages = 0;
  /** Memory of the tree's nodes. Invariant: as many as the tree has. */
  readonly nodes: SlabObject[] = [];

  /** An empty cache. `name` is for reports. */
  constructor(k: Kernel, readonly name: string) {
    this.tree_lock = new Spinlock(k, "&mapping->tree_lock", this.line);
  }
}

/** Looks `index` up without a lock. Plain. */
function lookup(t: Thread, mapping: AddressSpace, index: number): Page | null {
  enter(t, RADIX_TREE_LOOKUP_SLOT);
  charge(t, 10 + RADIX_LEVEL_INSTRUCTIONS * mapping.page_tree.height);
  const page = radix_tree_lookup(mapping.page_tree, index);
  leave(t);
  return page;
}

/**
 * The page at `index`, with a reference.
 *
 * Context: any. Locks: none; RCU.
 *
 * Linux: mm/filemap.c.
 *
 * @returns `null` = the cache has none.
 */
export function* find_get_page(
  t: Thread,
  mapping: AddressSpace,
  index: number,
): Steps<Page | null> {
  enter(t, FIND_GET_PAGE);
  charge(t, 12);
  rcu_read_lock(t);
  let page: Page | null;
  for (;;) {
    yield* read_line(t, mapping.line);
    page = lookup(t, mapping, index);
    if (page === null) break;
    charge(t, 6);
    charge_cycles(t, t.machine.lockedCycles);
    yield* write_line(t, page.line); // atomic_inc_not_zero()
    if (page._count === 0) continue; // it has left the cache
    page._count++;
    if (radix_tree_lookup(mapping.page_tree, index) === page) break;
    yield* put_page(t, page); // it is somebody else's now
  }
  rcu_read_unlock(t);
  leave(t);
  return page;
}

/**
 * The page at `index`, with a reference, locked.
 *
 * Context: process. Locks: the page's, on return.
 *
 * Linux: mm/filemap.c.
 *
 * @returns `null` = the cache has none.
 */
export function* find_lock_page(
  t: Thread,
  mapping: AddressSpace,
  index: number,
): Steps<Page | null> {
  enter(t, FIND_LOCK_PAGE);
  charge(t, 8);
  let page: Page | null;
  while ((page = yield* find_get_page(t, mapping, index)) !== null) {
    yield* lock_page(t, page);
    charge(t, 4);
    if (page.mapping === mapping) break;
    yield* unlock_page(t, page); // truncated while this waited
    yield* page_cache_release(t, page);
  }
  leave(t);
  return page;
}

/**
 * {@linkcode find_lock_page} that adds a page where there is none.
 *
 * Context: process. Locks: the page's, on return.
 *
 * Linux: mm/filemap.c.
 *
 * @returns `null` = out of memory.
 */
export function* find_or_create_page(
  t: Thread,
  mapping: AddressSpace,
  index: number,
  gfp: number,
): Steps<Page | null> {
  enter(t, FIND_OR_CREATE_PAGE);
  charge(t, 8);
  let page: Page | null;
  while ((page = yield* find_lock_page(t, mapping, index)) === null) {
    page = yield* alloc_page(t, gfp);
    if (page === null) break;
    const error = yield* add_to_page_cache_lru(t, page, mapping, index, gfp);
    if (error === 0) break;
    yield* page_cache_release(t, page);
    page = null;
    if (error !== err(EEXIST)) break;
  }
  leave(t);
  return page;
}

/**
 * Adds `page`, which is new and the caller's; it is locked then, and has a
 * reference of the cache's.
 *
 * Context: process. Locks: mapping.tree_lock.
 *
 * Linux: mm/filemap.c.
 *
 * @returns 0; -EEXIST if somebody else was faster, -ENOMEM: the page is as before.
 */
export function* add_to_page_cache_lru(
  t: Thread,
  page: Page,
  mapping: AddressSpace,
  index: number,
  gfp: number,
): Steps<0 | Errno> {
  enter(t, ADD_TO_PAGE_CACHE_LRU);
  charge(t, 6);
  page.flags |= PG_locked; // nobody else knows the page
  const error = yield* add_to_page_cache_locked(t, page, mapping, index, gfp);
  if (error === 0) charge(t, 20); // lru_cache_add(): into this CPU's pagevec
  else page.flags &= ~PG_locked;
  leave(t);
  return error;
}

/** Locks: the page's held; takes mapping.tree_lock. */
function* add_to_page_cache_locked(
  t: Thread,
  page: Page,
  mapping: AddressSpace,
  index: number,
  gfp: number,
): Steps<0 | Errno> {
  enter(t, ADD_TO_PAGE_CACHE_LOCKED);
  charge(t, 20);
  const nodes: SlabObject[] = [];
  let error: 0 | Errno = err(ENOMEM);
  if (yield* preload(t, mapping, index, nodes, gfp & ~__GFP_HIGHMEM)) {
    yield* get_page(t, page);
    page.mapping = mapping;
    page.index = index;
    yield* spin_lock_irq(t, mapping.tree_lock);
    while (radix_tree_nodes_needed(mapping.page_tree, index) > nodes.length) {
      // Others have made the tree smaller, or higher, since.
      yield* spin_unlock_irq(t, mapping.tree_lock);
      if (!(yield* preload(t, mapping, index, nodes, gfp & ~__GFP_HIGHMEM))) {
        yield* forget(t, page);
        leave(t);
        return err(ENOMEM);
      }
      yield* spin_lock_irq(t, mapping.tree_lock);
    }
    error = insert(t, mapping, index, page, nodes);
    yield* spin_unlock_irq(t, mapping.tree_lock);
    if (error !== 0) yield* forget(t, page);
  }
  yield* free_nodes(t, nodes);
  leave(t);
  return error;
}

/** Undoes what makes `page` one of a cache's. */
function* forget(t: Thread, page: Page): Steps {
  page.mapping = null;
  yield* page_cache_release(t, page);
}

/**
 * Has as many nodes in `nodes` as an insertion at `index` would take now.
 *
 * @returns False, with none, if memory is out.
 */
function* preload(
  t: Thread,
  mapping: AddressSpace,
  index: number,
  nodes: SlabObject[],
  gfp: number,
): Steps<boolean> {
  enter(t, RADIX_TREE_PRELOAD);
  charge(t, 10);
  const { k } = t;
  k.page_cache ??= new PageCache(t);
  const cache = k.page_cache.radix_tree_node_cachep;
  while (nodes.length < radix_tree_nodes_needed(mapping.page_tree, index)) {
    const node = yield* kmem_cache_alloc(t, cache, gfp);
    if (node === null) {
      yield* free_nodes(t, nodes);
      leave(t);
      return false;
    }
    nodes.push(node);
  }
  leave(t);
  return true;
}

/** Locks: mapping.tree_lock held. */
function insert(
  t: Thread,
  mapping: AddressSpace,
  index: number,
  page: Page,
  nodes: SlabObject[],
): 0 | Errno {
  lockdep_assert_held(t, mapping.tree_lock);
  enter(t, RADIX_TREE_INSERT);
  const { page_tree } = mapping;
  const before = page_tree.nr_nodes;
  const error = radix_tree_insert(page_tree, index, page);
  const added = page_tree.nr_nodes - before;
  // A node is cleared when it is taken.
  charge(t, 20 + RADIX_LEVEL_INSTRUCTIONS * page_tree.height + 100 * added);
  touch_write(t, mapping.line);
  for (let i = 0; i < added; i++) mapping.nodes.push(nodes.pop()!);
  if (error === 0) mapping.nrpages++;
  leave(t);
  return error;
}

function* free_nodes(t: Thread, nodes: SlabObject[]): Steps {
  while (nodes.length > 0) {
    const cache = t.k.page_cache!.radix_tree_node_cachep;
    yield* kmem_cache_free(t, cache, nodes.pop()!);
  }
}

/**
 * Takes `page`, which the caller has locked, out of its cache. The cache's
 * reference is the caller's to drop.
 *
 * Context: process. Locks: the page's held; takes mapping.tree_lock.
 */
export function* remove_from_page_cache(t: Thread, page: Page): Steps {
  enter(t, REMOVE_FROM_PAGE_CACHE);
  BUG_ON(t, (page.flags & PG_locked) === 0, "page is not locked");
  const mapping = page.mapping as AddressSpace;
  yield* spin_lock_irq(t, mapping.tree_lock);
  enter(t, RADIX_TREE_DELETE);
  const { page_tree, nodes } = mapping;
  charge(t, 20 + 2 * RADIX_LEVEL_INSTRUCTIONS * page_tree.height);
  touch_write(t, mapping.line);
  const found = radix_tree_delete(page_tree, page.index);
  BUG_ON(t, found !== page, "another page is at this one's index");
  const freed = nodes.splice(page_tree.nr_nodes);
  page.mapping = null;
  mapping.nrpages--;
  leave(t);
  yield* spin_unlock_irq(t, mapping.tree_lock);
  yield* free_nodes(t, freed);
  leave(t);
}

/** Drops a reference to a page of a cache. */
export const page_cache_release: typeof put_page = put_page;

/**
 * Says that `page` is in use. Its second use would put it on the active list,
 * of which there is none.
 */
export function* mark_page_accessed(t: Thread, page: Page): Steps {
  enter(t, MARK_PAGE_ACCESSED);
  charge(t, 8);
  yield* read_line(t, page.line);
  if ((page.flags & PG_referenced) === 0) {
    charge_cycles(t, t.machine.lockedCycles);
    yield* write_line(t, page.line);
    page.flags |= PG_referenced;
  }
  leave(t);
}

/** Looks for broken invariants of `mapping`, at rest. @returns A sentence for each. */
export function check_mapping(mapping: AddressSpace): string[] {
  const { page_tree, nodes, nrpages, name } = mapping;
  const found: string[] = [];
  if (nodes.length !== page_tree.nr_nodes) {
    found.push(
      `${name}: memory for ${nodes.length} nodes, a tree of ${page_tree.nr_nodes}`,
    );
  }
  if (nrpages === 0 && page_tree.rnode !== null) {
    found.push(`${name}: 0 pages, and a tree that is not empty`);
  }
  return found;
}
