/**
 * Giving pages of a per-CPU block back, and retiring blocks (mm/vmalloc.c,
 * 2.6.28); see vmap_block.ts.
 *
 * Lock order: that file's. Differs from Linux: a block's lock is kept until its
 * area is flagged (V2).
 */
import * as asm from "../../arch/asm.ts";
import type { Steps } from "../../arch/asm.ts";
import { DONE } from "../../arch/sim/ready.ts";
import * as bug from "../bug.ts";
import { BUG } from "../bug.ts"; // not a constant, so that the compiler knows it for an end
import * as bitmap from "../lib/bitmap.ts";
import { LIST_POISON1 } from "../lib/list.ts";
import * as radix_tree from "../lib/radix_tree.ts";
import * as spinlock from "../locking/spinlock.ts";
import * as rcu from "../rcu.ts";
import type { RcuHead } from "../rcu.ts";
import type { Thread } from "../thread.ts";
import { vunmap_page_range } from "./pgtable.ts";
import type { RewriteState } from "./rewrite_state.ts";
import { kmem_cache_free } from "./slab.ts";
import { mark_lazy_free, purge_if_too_many } from "./vmap_area.ts";
import * as block from "./vmap_block.ts";
import type { VmapBlock } from "./vmap_block.ts";

// Functions as constants of this module: docs/ARCHITECTURE.md, "What V8 likes".
const {
  charge,
  enter,
  ksym,
  leave,
  may_run_section,
  others_first,
  read_line,
  read_line_now,
  touch_write,
  turn,
} = asm;
const { BUG_ON } = bug;
const { bitmap_allocate_region } = bitmap;
const { radix_tree_delete, radix_tree_lookup } = radix_tree;
const {
  lockdep_assert_held,
  may_lock_now,
  spin_lock,
  spin_lock_now,
  spin_unlock,
  spin_unlock_now,
} = spinlock;
const { call_rcu, rcu_read_lock, rcu_read_unlock } = rcu;
const { addr_to_vb_idx, order_of, page_in_block, SCAN_INSTRUCTIONS } = block;

const VB_FREE = ksym("vb_free");
const FREE_VMAP_BLOCK = ksym("free_vmap_block");
const RCU_FREE_VB = ksym("rcu_free_vb");
const BITMAP_ALLOCATE_REGION = ksym("bitmap_allocate_region");
const RADIX_TREE_LOOKUP = ksym("radix_tree_lookup");
const RADIX_TREE_DELETE = ksym("radix_tree_delete");

/** One level of a radix tree: shift, mask, load, test. */
const RADIX_LEVEL_INSTRUCTIONS = 7;

/**
 * Marks `size` bytes at `addr` dirty: unmapped, but neither cleared nor
 * flushed. The last of a block retires it.
 *
 * Context: any that may wait for a TLB flush.
 * Locks: takes vb.lock; what free_vmap_block() takes.
 */
export function vb_free(
  t: Thread,
  w: RewriteState,
  addr: number,
  size: number,
): Steps {
  enter(t, VB_FREE);
  BUG_ON(t, size === 0, "vb_free of nothing"); // B13
  charge(t, 30);
  const order = order_of(w, size);
  const idx = addr_to_vb_idx(w, addr);
  const first = page_in_block(w, addr, idx);
  return vb_free_at_hand(t, w, idx, first, order)
    ? DONE
    : vb_free_waiting(t, w, addr, size, idx, first, order);
}

/**
 * The usual case of {@linkcode vb_free}, in a section: the block stays. Leaves
 * the caller's frame if it was.
 *
 * @returns Whether it was; `false` = nothing has been done.
 */
function vb_free_at_hand(
  t: Thread,
  w: RewriteState,
  idx: number,
  first: number,
  order: number,
): boolean {
  const vb = radix_tree_lookup(w.vmap_block_tree, idx);
  if (
    vb === null || !may_run_section(t) || !may_lock_now(vb.lock) ||
    vb.dirty + (1 << order) >= w.VMAP_BBMAP_BITS || w.quirks.clearAfterDirty
  ) return false;
  rcu_read_lock(t);
  enter(t, RADIX_TREE_LOOKUP);
  charge(t, 10 + RADIX_LEVEL_INSTRUCTIONS * w.vmap_block_tree.height);
  read_line_now(t, w.block_tree_line);
  leave(t);
  rcu_read_unlock(t);
  spin_lock_now(t, vb.lock);
  vb_mark_dirty(t, w, vb, first, order);
  spin_unlock_now(t, vb.lock);
  leave(t);
  return true;
}

/** {@linkcode vb_free} in general. Called in its frame, which this leaves. */
function* vb_free_waiting(
  t: Thread,
  w: RewriteState,
  addr: number,
  size: number,
  idx: number,
  first: number,
  order: number,
): Steps {
  if (others_first(t)) {
    yield* turn(t);
    if (vb_free_at_hand(t, w, idx, first, order)) return;
  }
  rcu_read_lock(t);
  enter(t, RADIX_TREE_LOOKUP);
  charge(t, 10 + RADIX_LEVEL_INSTRUCTIONS * w.vmap_block_tree.height);
  yield* read_line(t, w.block_tree_line);
  const vb = radix_tree_lookup(w.vmap_block_tree, idx);
  leave(t);
  rcu_read_unlock(t);
  if (vb === null) BUG(t, "address lies in no block");
  yield* spin_lock(t, vb.lock);
  vb_mark_dirty(t, w, vb, first, order);
  if (vb.dirty === w.VMAP_BBMAP_BITS) yield* free_vmap_block(t, w, vb);
  else yield* spin_unlock(t, vb.lock);
  // A18: given up above, the addresses may be somebody else's by now.
  if (w.quirks.clearAfterDirty) yield* vunmap_page_range(t, addr, addr + size);
  leave(t);
}

/** Locks: vb.lock held. */
function vb_mark_dirty(
  t: Thread,
  w: RewriteState,
  vb: VmapBlock,
  first: number,
  order: number,
): void {
  lockdep_assert_held(t, vb.lock);
  enter(t, BITMAP_ALLOCATE_REGION);
  charge(t, 2 * SCAN_INSTRUCTIONS);
  touch_write(t, vb.dirty_line);
  const error = bitmap_allocate_region(vb.dirty_map, first, order);
  leave(t);
  // B15: counted a second time, the block is never found to be all dirty.
  BUG_ON(
    t,
    error !== 0 && !w.quirks.uncheckedDirty,
    "vm_unmap_ram of pages that are not mapped",
  );
  charge(t, 6);
  vb.dirty += 1 << order;
}

/**
 * Retires a block that is all dirty.
 *
 * For vm_unmap_aliases() it has its addresses still, or is the purge's, and
 * never neither (V2): vb.lock is kept until the area is flagged, and the tree has
 * the block until then. Whoever makes another block of the same addresses, once
 * they have been purged, waits for the tree's lock. (2.6.28 takes the block from
 * the tree, lets go of its lock, and flags the area then, which was right as long
 * as nobody but allocators looked for blocks.)
 *
 * Locks: vb.lock held on entry, free on return; takes vmap_block_tree_lock.
 */
function* free_vmap_block(t: Thread, w: RewriteState, vb: VmapBlock): Steps {
  enter(t, FREE_VMAP_BLOCK);
  lockdep_assert_held(t, vb.lock);
  BUG_ON(t, vb.free !== 0, "block is retired before it is handed out");
  const late = w.quirks.retireBeforeFlag; // V2
  yield* spin_lock(t, w.vmap_block_tree_lock);
  let lazy = late ? 0 : yield* mark_lazy_free(t, w, vb.va);
  delete_block(t, w, vb);
  yield* spin_unlock(t, w.vmap_block_tree_lock);
  if (late) lazy = yield* mark_lazy_free(t, w, vb.va);
  yield* spin_unlock(t, vb.lock);
  yield* purge_if_too_many(t, w, lazy);
  // B2: the link is where the RCU head is.
  if (w.quirks.rcuUnion) vb.free_list.next = LIST_POISON1;
  yield* call_rcu(t, vb.rcu_head, rcu_free_vb);
  leave(t);
}

/** Locks: vmap_block_tree_lock held. */
function delete_block(t: Thread, w: RewriteState, vb: VmapBlock): void {
  enter(t, RADIX_TREE_DELETE);
  lockdep_assert_held(t, w.vmap_block_tree_lock);
  charge(t, 20 + 2 * RADIX_LEVEL_INSTRUCTIONS * w.vmap_block_tree.height);
  touch_write(t, w.block_tree_line);
  const idx = addr_to_vb_idx(w, vb.va.va_start);
  const found = radix_tree_delete(w.vmap_block_tree, idx);
  BUG_ON(t, found !== vb, "another block has this one's number");
  w.nr_blocks--;
  leave(t);
}

/** Frees a block that was retired a grace period ago. */
function* rcu_free_vb(t: Thread, head: RcuHead<VmapBlock>): Steps {
  enter(t, RCU_FREE_VB);
  const vb = head.owner;
  yield* kmem_cache_free(t, vb.w.block_cache(t), vb);
  leave(t);
}
