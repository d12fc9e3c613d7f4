/**
 * Global areas: a red-black tree and a list of all ranges of kernel addresses
 * in use, sorted by address (mm/vmalloc.c, 2.6.28, "Global kva allocator").
 *
 * Lock order:
 *
 *     purge_lock
 *       vmap_area_lock
 *
 * `vmap_area_lock` guards tree and list. The list alone is also read under RCU,
 * by the purge. A freed area stays where it is, flagged VM_LAZY_FREE, until a
 * purge has cleared its entries and flushed all TLBs; see vmap_purge.ts.
 *
 * Kept from 2.6.28: first fit from the bottom, walking every area on the way,
 * lazily freed ones too; one page kept free after each area. Fixed against it
 * are the bugs of `quirks.ts`, each of which can be put back.
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
import { EBUSY, ENOMEM, err, type Errno } from "../lib/errno.ts";
import { LIST_POISON1, LIST_POISON2, ListHead } from "../lib/list.ts";
import {
  RB_CLEAR_NODE,
  RB_EMPTY_NODE,
  rb_erase,
  rb_insert_color,
  rb_link_node,
  rb_prev,
  RbNode,
  type RbSide,
} from "../lib/rbtree.ts";
import { list_add_rcu, list_del_rcu } from "../lib/rculist.ts";
import {
  lockdep_assert_held,
  spin_lock,
  spin_unlock,
} from "../locking/spinlock.ts";
import { call_rcu, RcuHead } from "../rcu.ts";
import type { Thread } from "../thread.ts";
import { kmem_cache_alloc_node, kmem_cache_free, SlabObject } from "./slab.ts";
import type { RewriteState } from "./rewrite_state.ts";
import type { VmapRange } from "./vmap_layer.ts";
import {
  lazy_max_pages,
  purge_vmap_area_lazy,
  try_purge_vmap_area_lazy,
} from "./vmap_purge.ts";
import { DESCENT_INSTRUCTIONS, find_room, wrap } from "./vmap_search.ts";
import { GFP_RECLAIM_MASK, vmalloc_warn_space } from "./vmalloc_state.ts";
import type { VmStruct } from "./vm_struct.ts";

const ALLOC_VMAP_AREA = ksym("alloc_vmap_area");
const FIND_VMAP_AREA = ksym("find_vmap_area");
const INSERT_VMAP_AREA = ksym("__insert_vmap_area");
const FREE_VMAP_AREA = ksym("__free_vmap_area");
const RCU_FREE_VA = ksym("rcu_free_va");
const FREE_UNMAP_VMAP_AREA = ksym("free_unmap_vmap_area");

/** Freed, waits for a purge. */
export const VM_LAZY_FREE = 0x01;
/** Taken up by the purge under way. */
export const VM_LAZY_FREEING = 0x02;
/** `private` is a vm_struct. */
export const VM_VM_AREA = 0x04;

/** Rebalancing after an insertion or a removal, on average. */
const REBALANCE_INSTRUCTIONS = 40;

/** An area's place in the tree. */
export class VmapNode extends RbNode {
  constructor(readonly va: VmapArea) {
    super();
  }
}

/** One range of kernel addresses in use. */
export class VmapArea extends SlabObject implements VmapRange {
  // Fixed while it is linked.
  va_start = 0;
  va_end = 0;

  // Guarded by vmap_area_lock.
  readonly rb_node: VmapNode = new VmapNode(this);
  /** By address; read under RCU too. */
  readonly list: ListHead<VmapArea> = new ListHead<VmapArea>(this);

  // Own: the user's until it is freed, then purge_lock's.
  /** `VM_LAZY_FREE`, `VM_LAZY_FREEING`, `VM_VM_AREA`. Read by the purge at any time. */
  flags = 0;
  private: VmStruct | null = null;
  /** Areas that one purge frees. */
  readonly purge_list: ListHead<VmapArea> = new ListHead<VmapArea>(this);
  readonly rcu_head: RcuHead<VmapArea> = new RcuHead<VmapArea>(this);

  constructor(readonly w: RewriteState) {
    super();
  }
}

/** The area that starts at `addr`. Locks: vmap_area_lock held. */
export function __find_vmap_area(
  t: Thread,
  w: RewriteState,
  addr: number,
): VmapArea | null {
  lockdep_assert_held(t, w.vmap_area_lock);
  let n = w.vmap_area_root.rb_node;
  let steps = 1;
  while (n !== null) {
    const va = n.va;
    steps++;
    touch_read(t, va.line);
    if (addr < va.va_start) n = n.rb_left;
    else if (addr > va.va_start) n = n.rb_right;
    else break;
  }
  charge(t, DESCENT_INSTRUCTIONS * steps);
  return n === null ? null : n.va;
}

/** {@linkcode __find_vmap_area} under the lock. */
export function* find_vmap_area(
  t: Thread,
  w: RewriteState,
  addr: number,
): Steps<VmapArea | null> {
  enter(t, FIND_VMAP_AREA);
  yield* spin_lock(t, w.vmap_area_lock);
  const va = __find_vmap_area(t, w, addr);
  yield* spin_unlock(t, w.vmap_area_lock);
  leave(t);
  return va;
}

/** Links `va` into tree and list. Locks: vmap_area_lock held. */
export function __insert_vmap_area(
  t: Thread,
  w: RewriteState,
  va: VmapArea,
): void {
  enter(t, INSERT_VMAP_AREA);
  lockdep_assert_held(t, w.vmap_area_lock);
  t.k.sanitizers?.areaInserted(t, va);
  const node = va.rb_node;
  let parent: VmapNode | null = null;
  let side: RbSide = "left";
  let steps = 0;
  for (let n = w.vmap_area_root.rb_node; n !== null;) {
    parent = n;
    steps++;
    touch_read(t, n.va.line);
    // A2: for areas that overlap, the first test or the second holds too.
    side = va.va_start < n.va.va_end ? "left" : "right";
    n = side === "left" ? n.rb_left : n.rb_right;
  }
  charge(t, DESCENT_INSTRUCTIONS * steps + REBALANCE_INSTRUCTIONS);
  rb_link_node(node, parent, w.vmap_area_root, side);
  rb_insert_color(node, w.vmap_area_root);
  const before = rb_prev(node);
  touch_write(t, va.line);
  if (parent !== null) touch_write(t, parent.va.line);
  if (before !== null) touch_write(t, before.va.line);
  list_add_rcu(va.list, before === null ? w.vmap_area_list : before.va.list);
  w.walk_memo.linked(va);
  w.nr_areas++;
  if (!w.quirks.insertOverlap) check_neighbours(t, w, va); // A2
  leave(t);
}

/** Traps areas that overlap: what the tests of 2.6.28's insertion could never do. */
function check_neighbours(t: Thread, w: RewriteState, va: VmapArea): void {
  const before = va.list.prev;
  const after = va.list.next;
  BUG_ON(
    t,
    (before !== w.vmap_area_list && before.owner!.va_end > va.va_start) ||
      (after !== w.vmap_area_list && after.owner!.va_start < va.va_end),
    "vmap areas overlap",
  );
}

/**
 * Takes `size` bytes of kernel addresses in `[vstart, vend)`. If there is no
 * room it purges what was freed lazily and searches once more from the bottom.
 *
 * Context: process; may sleep as `gfp` says.
 * Locks: takes vmap_area_lock; purge_lock when it has to purge.
 *
 * @param size Bytes, a multiple of the page, not 0.
 * @param align A power of two.
 * @returns The area; -EBUSY = no room, -ENOMEM.
 */
export function* alloc_vmap_area(
  t: Thread,
  w: RewriteState,
  size: number,
  align: number,
  vstart: number,
  vend: number,
  node: number,
  gfp: number,
): Steps<VmapArea | Errno> {
  enter(t, ALLOC_VMAP_AREA);
  BUG_ON(
    t,
    size === 0 || size % w.page_size !== 0,
    "size is no multiple of the page",
  );
  charge(t, 25);
  const va = yield* kmem_cache_alloc_node(
    t,
    w.area_cache(t),
    gfp & GFP_RECLAIM_MASK,
    node,
  );
  if (va === null) {
    leave(t);
    return err(ENOMEM);
  }
  t.k.sanitizers?.roomWanted(t, size, align, vstart, vend);
  let addr = w.align(vstart, align);
  let purged = false;
  for (;;) {
    yield* spin_lock(t, w.vmap_area_lock);
    addr = find_room(t, w, addr, size, align, vend);
    // A6: a sum that wraps ends below `vend`.
    const end = w.quirks.noOverflowCheck ? wrap(w, addr + size) : addr + size;
    if (end <= vend) {
      va.va_start = addr;
      va.va_end = end;
      va.flags = 0;
      va.private = null;
      __insert_vmap_area(t, w, va);
      // Readers of the list follow the link without the lock.
      yield* write_line(t, va.line);
      yield* spin_unlock(t, w.vmap_area_lock);
      leave(t);
      return va;
    }
    yield* spin_unlock(t, w.vmap_area_lock);
    if (purged) break;
    // A4: a purge under way has areas in hand that are as good as free.
    if (w.quirks.trylockPurge) yield* try_purge_vmap_area_lazy(t, w);
    else yield* purge_vmap_area_lazy(t, w);
    purged = true;
    // A5: the search starts over, not where it gave up.
    if (!w.quirks.retryFromFailure) addr = w.align(vstart, align);
  }
  t.k.sanitizers?.roomRefused(t);
  vmalloc_warn_space(t, "vmap allocation failed:");
  if (!w.quirks.leakOnFailure) { // A10
    yield* kmem_cache_free(t, w.area_cache(t), va);
  }
  leave(t);
  return err(EBUSY);
}

/** Frees an area that was unlinked a grace period ago. */
function* rcu_free_va(t: Thread, head: RcuHead<VmapArea>): Steps {
  enter(t, RCU_FREE_VA);
  const va = head.owner;
  // What slab debugging writes over freed memory.
  va.purge_list.next = LIST_POISON1;
  va.purge_list.prev = LIST_POISON2;
  yield* kmem_cache_free(t, va.w.area_cache(t), va);
  leave(t);
}

/** Unlinks `va`; it is freed after a grace period. Locks: vmap_area_lock held. */
export function* __free_vmap_area(
  t: Thread,
  w: RewriteState,
  va: VmapArea,
): Steps {
  enter(t, FREE_VMAP_AREA);
  lockdep_assert_held(t, w.vmap_area_lock);
  const node = va.rb_node;
  BUG_ON(t, RB_EMPTY_NODE(node), "vmap area is not in the tree");
  charge(t, REBALANCE_INSTRUCTIONS + 20);
  touch_write(t, va.line);
  const { next, prev } = va.list;
  if (prev.owner !== null) touch_write(t, prev.owner.line);
  if (next.owner !== null) touch_write(t, next.owner.line);
  rb_erase(node, w.vmap_area_root);
  RB_CLEAR_NODE(node);
  list_del_rcu(va.list);
  w.walk_memo.forget();
  w.nr_areas--;
  t.k.sanitizers?.areaRemoved(t, va);
  yield* call_rcu(t, va.rcu_head, rcu_free_va);
  leave(t);
}

/** Flags `va` as free and counts its pages. @returns Pages that now wait for a purge. */
export function* mark_lazy_free(
  t: Thread,
  w: RewriteState,
  va: VmapArea,
): Steps<number> {
  charge(t, 8);
  const nr = (va.va_end - va.va_start) / w.page_size;
  if (w.quirks.counterAfterFlag) { // A8
    yield* write_line(t, va.line);
    va.flags |= VM_LAZY_FREE;
    t.k.sanitizers?.areaLazy(t, va, w.vmap_lazy_nr.value);
    return yield* atomic_add_return(t, w.vmap_lazy_nr, nr);
  }
  // Counted first: the sum of what is flagged never exceeds the counter.
  const lazy = yield* atomic_add_return(t, w.vmap_lazy_nr, nr);
  yield* write_line(t, va.line);
  va.flags |= VM_LAZY_FREE;
  t.k.sanitizers?.areaLazy(t, va, w.vmap_lazy_nr.value);
  return lazy;
}

/** Purges if `lazy` pages are too many to wait. Locks: may take purge_lock. */
export function* purge_if_too_many(
  t: Thread,
  w: RewriteState,
  lazy: number,
): Steps {
  if (lazy > lazy_max_pages(t, w)) yield* try_purge_vmap_area_lazy(t, w);
}

/**
 * Frees `va` lazily: its entries and its addresses go with the next purge,
 * which this one is if too much has piled up.
 *
 * Context: any that may wait for a TLB flush.
 * Locks: may take purge_lock.
 */
export function* free_unmap_vmap_area(
  t: Thread,
  w: RewriteState,
  va: VmapArea,
): Steps {
  enter(t, FREE_UNMAP_VMAP_AREA);
  charge(t, 4);
  const lazy = yield* mark_lazy_free(t, w, va);
  yield* purge_if_too_many(t, w, lazy);
  leave(t);
}

/** {@linkcode free_unmap_vmap_area} of the area that starts at `addr`. */
export function* free_unmap_vmap_area_addr(
  t: Thread,
  w: RewriteState,
  addr: number,
): Steps {
  const va = yield* find_vmap_area(t, w, addr);
  BUG_ON(
    t,
    va === null || (va.flags & (VM_LAZY_FREE | VM_LAZY_FREEING)) !== 0,
    "address is not mapped",
  );
  yield* free_unmap_vmap_area(t, w, va!);
}
