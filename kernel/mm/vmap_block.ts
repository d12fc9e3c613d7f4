/**
 * Per-CPU blocks: how small vm_map_ram() requests avoid the global lock
 * (mm/vmalloc.c, 2.6.28, "Per cpu kva allocator").
 *
 * A block is an area of a fixed size, carved up by the CPU that made it. Its
 * pages are handed out once, in order, in naturally aligned powers of two; they
 * come back from any CPU and are only marked dirty. When all are dirty the
 * whole block is freed lazily. So a mapping costs one local lock, and no flush.
 *
 * Lock order:
 *
 *     vb.lock
 *       vbq.lock               one for each CPU
 *       vmap_block_tree_lock
 *
 * Readers find blocks under RCU: by their CPU's queue to allocate, by the tree
 * to free. A block is on its queue as long as it has pages to hand out; in the
 * tree until all of it is dirty.
 *
 * Kept from 2.6.28: newest block first (B4), other CPUs' blocks never, no reuse
 * within a block (B3), dirty ranges flushed again by each vm_unmap_aliases()
 * (B7), the bitmap scan. Left out: the list of dirty blocks, which nothing ever
 * read (d086817dc0d), and the allocation of tree nodes.
 *
 * The usual cases are there twice: `..._at_hand()` is what the general function
 * does if it need not wait for anybody, without a generator, operation for
 * operation. tests/sections_test.ts holds them together.
 */
import * as asm from "../../arch/asm.ts";
import type { Steps } from "../../arch/asm.ts";
import { CacheLine } from "../../arch/hw/line.ts";
import { DONE } from "../../arch/sim/ready.ts";
import * as bug from "../bug.ts";
import { BUG } from "../bug.ts"; // not a constant, so that the compiler knows it for an end
import type { Kernel } from "../kernel.ts";
import * as bitmap from "../lib/bitmap.ts";
import { ENOMEM, err, type Errno } from "../lib/errno.ts";
import {
  INIT_LIST_HEAD,
  list_del_init,
  LIST_POISON1,
  ListHead,
} from "../lib/list.ts";
import * as radix_tree from "../lib/radix_tree.ts";
import { list_add_rcu, list_del_rcu } from "../lib/rculist.ts";
import * as spinlock from "../locking/spinlock.ts";
import { Spinlock } from "../locking/spinlock.ts";
import * as percpu from "../percpu.ts";
import * as rcu from "../rcu.ts";
import { RcuHead } from "../rcu.ts";
import type { Thread } from "../thread.ts";
import { vunmap_page_range } from "./pgtable.ts";
import { GFP_RECLAIM_MASK } from "./vmalloc_state.ts";
import type { RewriteState } from "./rewrite_state.ts";
import { kmem_cache_alloc_node, kmem_cache_free, SlabObject } from "./slab.ts";
import {
  alloc_vmap_area,
  mark_lazy_free,
  purge_if_too_many,
  type VmapArea,
} from "./vmap_area.ts";

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
  touch_read,
  touch_write,
  turn,
} = asm;
const { BUG_ON } = bug;
const {
  bitmap_alloc,
  bitmap_allocate_region,
  bitmap_find_free_region,
  bitmap_set,
  bitmap_zero,
  find_next_bit,
  region_scan_steps,
} = bitmap;
const {
  radix_tree_delete,
  radix_tree_insert,
  radix_tree_lookup,
  radix_tree_nodes_needed,
} = radix_tree;
const {
  lockdep_assert_held,
  may_lock_now,
  spin_lock,
  spin_lock_now,
  spin_unlock,
  spin_unlock_now,
} = spinlock;
const { get_cpu_var, put_cpu_var } = percpu;
const { call_rcu, rcu_read_lock, rcu_read_unlock } = rcu;

const VB_ALLOC = ksym("vb_alloc");
const VB_FREE = ksym("vb_free");
const NEW_VMAP_BLOCK = ksym("new_vmap_block");
const FREE_VMAP_BLOCK = ksym("free_vmap_block");
const RCU_FREE_VB = ksym("rcu_free_vb");
const BITMAP_FIND_FREE_REGION = ksym("bitmap_find_free_region");
const BITMAP_ALLOCATE_REGION = ksym("bitmap_allocate_region");
const RADIX_TREE_LOOKUP = ksym("radix_tree_lookup");
const RADIX_TREE_INSERT = ksym("radix_tree_insert");
const RADIX_TREE_DELETE = ksym("radix_tree_delete");

/**
 * One position of bitmap_find_free_region(): the loop around __reg_op(), which
 * divides, rounds and builds a mask for each call before it looks at one word.
 * 12 when the compiler inlines it and hoists what does not change, 40 when it
 * does neither; gcc 4.3 is taken to do half.
 */
const SCAN_INSTRUCTIONS = 20;
/** One level of a radix tree: shift, mask, load, test. */
const RADIX_LEVEL_INSTRUCTIONS = 7;

/** One CPU's blocks that have pages to hand out, newest first. */
export class VmapBlockQueue {
  declare readonly line: CacheLine;
  declare readonly lock: Spinlock;
  /** Guarded by `lock`; read under RCU by this CPU. */
  readonly free: ListHead<VmapBlock> = new ListHead<VmapBlock>();

  constructor(k: Kernel, node: number) {
    this.line = new CacheLine(node);
    this.lock = new Spinlock(k, "&vbq->lock", this.line, { local: true });
  }
}

/** One block. */
export class VmapBlock extends SlabObject {
  /** Its line holds what it guards, maps apart. */
  declare readonly lock: Spinlock;

  // Guarded by lock.
  /** Pages not handed out yet. Invariant: free + dirty + live = VMAP_BBMAP_BITS. */
  free = 0;
  /** Pages that have come back. */
  dirty = 0;
  /** Handed out. */
  declare readonly alloc_map: Uint32Array;
  /** Words that `alloc_map` begins with and that are full: the host starts its search there. */
  full_words = 0;
  declare readonly dirty_map: Uint32Array;
  declare readonly alloc_line: CacheLine;
  declare readonly dirty_line: CacheLine;

  // Fixed while it is in the tree.
  declare va: VmapArea;

  /** On a queue while `free` > 0. Guarded by that queue's lock. */
  readonly free_list: ListHead<VmapBlock> = new ListHead<VmapBlock>(this);
  readonly rcu_head: RcuHead<VmapBlock> = new RcuHead<VmapBlock>(this);

  declare readonly w: RewriteState;

  constructor(w: RewriteState) {
    super();
    this.w = w;
    this.lock = new Spinlock(w.k, "&vb->lock", undefined, { local: true });
    // B6: a block of an odd size is scanned past its end.
    this.alloc_map = bitmap_alloc(w.VMAP_BBMAP_BITS + w.VMAP_MAX_ALLOC);
    this.dirty_map = bitmap_alloc(w.VMAP_BBMAP_BITS + w.VMAP_MAX_ALLOC);
    this.alloc_line = new CacheLine(0);
    this.dirty_line = new CacheLine(0);
  }

  /** What kmalloc() hands out is dirty: sets every field. */
  reset(va: VmapArea): void {
    this.va = va;
    this.free = this.w.VMAP_BBMAP_BITS;
    this.dirty = 0;
    this.full_words = 0;
    bitmap_zero(this.alloc_map, this.alloc_map.length * 32);
    bitmap_zero(this.dirty_map, this.dirty_map.length * 32);
    INIT_LIST_HEAD(this.free_list);
  }
}

/** Number of the block that `addr` lies in. */
export function addr_to_vb_idx(w: RewriteState, addr: number): number {
  const offset = addr - w.block_base;
  return w.block_of_byte === 0
    ? Math.floor(offset / w.VMAP_BLOCK_SIZE)
    : Math.floor(offset * w.block_of_byte);
}

/** Page of `addr` within block `idx`. */
function page_in_block(w: RewriteState, addr: number, idx: number): number {
  if (w.quirks.oddBlockSize) { // B6
    return w.within(addr, w.VMAP_BLOCK_SIZE) / w.page_size;
  }
  const start = w.block_base + idx * w.VMAP_BLOCK_SIZE;
  return (addr - start) * w.page_of_byte;
}

/** Order of a block's share that holds `size` bytes. */
function order_of(w: RewriteState, size: number): number {
  return 32 - Math.clz32(size * w.page_of_byte - 1);
}

/**
 * Takes `2 ** order` pages of `vb`: the lowest place that has them.
 *
 * Locks: vb.lock held.
 *
 * @returns First page within the block, or -ENOMEM.
 */
function vb_carve(
  t: Thread,
  w: RewriteState,
  vb: VmapBlock,
  order: number,
): number | Errno {
  lockdep_assert_held(t, vb.lock);
  enter(t, BITMAP_FIND_FREE_REGION);
  touch_write(t, vb.alloc_line);
  const bits = w.VMAP_BBMAP_BITS;
  const pos = w.quirks.oddBlockSize
    ? scan_past_end(vb.alloc_map, bits, order)
    : bitmap_find_free_region(vb.alloc_map, bits, order, vb.full_words);
  const steps = pos < 0 ? bits >> order : region_scan_steps(pos, order);
  charge(t, 14 + SCAN_INSTRUCTIONS * steps);
  leave(t);
  if (pos >= 0) {
    charge(t, 8);
    vb.free -= 1 << order;
    while (vb.alloc_map[vb.full_words] === 0xffffffff) vb.full_words++;
  }
  return pos;
}

/** B6: the C routine compares with the end for equality, which odd sizes step over. */
function scan_past_end(map: Uint32Array, bits: number, order: number): number {
  let pos = 0;
  while (pos < bits && bitmap_allocate_region(map, pos, order) !== 0) {
    pos += 1 << order;
  }
  return pos === bits ? err(ENOMEM) : pos;
}

/** Takes `vb` off its queue: nothing left to hand out. Locks: vb.lock held; takes vbq.lock. */
function* vbq_remove(
  t: Thread,
  w: RewriteState,
  vbq: VmapBlockQueue,
  vb: VmapBlock,
): Steps {
  yield* spin_lock(t, vbq.lock);
  charge(t, 6);
  // B2: a reader that stands on an entry reset to itself never gets off it.
  if (w.quirks.delInit) list_del_init(vb.free_list);
  else list_del_rcu(vb.free_list);
  yield* spin_unlock(t, vbq.lock);
}

/**
 * Takes `size` bytes from this CPU's blocks, making a new one if none has room.
 *
 * Context: process; may sleep for a new block. Preemption is off in between.
 * Locks: takes vb.lock, vbq.lock inside; what new_vmap_block() takes.
 *
 * @param size Bytes, at most VMAP_MAX_ALLOC pages.
 * @returns The address; -EBUSY or -ENOMEM.
 */
export function vb_alloc(
  t: Thread,
  w: RewriteState,
  size: number,
  gfp: number,
): Steps<number | Errno> {
  enter(t, VB_ALLOC);
  BUG_ON(t, size === 0, "vb_alloc of nothing"); // B13
  charge(t, 20);
  const order = order_of(w, size);
  const addr = vb_alloc_at_hand(t, w, order);
  return addr > 0
    ? t.op.ready.give(addr) as Steps<number>
    : vb_alloc_waiting(t, w, order, gfp);
}

/**
 * The usual case of {@linkcode vb_alloc}, in a section: the newest block has
 * room, which this does not use up.
 *
 * Leaves the caller's frame if it was.
 *
 * @returns The address; 0 = another case, and nothing has been done.
 */
function vb_alloc_at_hand(t: Thread, w: RewriteState, order: number): number {
  const vbq = w.vmap_block_queue.get(t.cpu.id);
  const vb = vbq.free.next.owner;
  if (
    vb === null || !may_run_section(t) || !may_lock_now(vb.lock) ||
    vb.free <= 1 << order || !ends_free(w, vb, order)
  ) return 0;
  rcu_read_lock(t);
  get_cpu_var(t, w.vmap_block_queue);
  read_line_now(t, vbq.line);
  spin_lock_now(t, vb.lock);
  const pos = vb_carve(t, w, vb, order);
  spin_unlock_now(t, vb.lock);
  put_cpu_var(t, w.vmap_block_queue);
  rcu_read_unlock(t);
  leave(t);
  return vb.va.va_start + pos * w.page_size;
}

/** Whether the last `2 ** order` pages of `vb`, aligned, are free, so that a search must find some. */
function ends_free(w: RewriteState, vb: VmapBlock, order: number): boolean {
  const last = ((w.VMAP_BBMAP_BITS >>> order) - 1) << order;
  const end = last + (1 << order);
  return !w.quirks.oddBlockSize &&
    find_next_bit(vb.alloc_map, end, last) === end;
}

/** {@linkcode vb_alloc} in general. Called in its frame, which this leaves. */
function* vb_alloc_waiting(
  t: Thread,
  w: RewriteState,
  order: number,
  gfp: number,
): Steps<number | Errno> {
  if (others_first(t)) {
    yield* turn(t);
    const addr = vb_alloc_at_hand(t, w, order);
    if (addr > 0) return addr;
  }
  for (;;) {
    let addr = -1;
    rcu_read_lock(t);
    const vbq = get_cpu_var(t, w.vmap_block_queue);
    yield* read_line(t, vbq.line);
    for (let p = vbq.free.next; p !== vbq.free; p = p.next) {
      const vb = p.owner!;
      yield* spin_lock(t, vb.lock);
      const pos = vb_carve(t, w, vb, order);
      if (pos >= 0) {
        addr = vb.va.va_start + pos * w.page_size;
        // B6: only a block of an odd size is carved past its end.
        if (pos >= w.VMAP_BBMAP_BITS) BUG(t, "address lies in another block");
        if (vb.free === 0) yield* vbq_remove(t, w, vbq, vb);
        yield* spin_unlock(t, vb.lock);
        break;
      }
      yield* spin_unlock(t, vb.lock);
    }
    put_cpu_var(t, w.vmap_block_queue);
    rcu_read_unlock(t);
    if (addr < 0) {
      addr = yield* new_vmap_block(t, w, order, gfp);
      if (addr >= 0 && w.quirks.rescanNewBlock) {
        // B5: looking again may find another CPU's queue, or the block used up.
        yield* read_line(t, w.block_tree_line); // preemption is on: a turn for others
        continue;
      }
    }
    leave(t);
    return addr;
  }
}

/**
 * Makes a block, takes `2 ** order` pages of it, and queues it on the CPU that
 * this ends up on.
 *
 * Locks: takes vmap_area_lock, vmap_block_tree_lock, vbq.lock, one at a time.
 *
 * @returns Address of the pages taken; -EBUSY or -ENOMEM.
 */
function* new_vmap_block(
  t: Thread,
  w: RewriteState,
  order: number,
  gfp: number,
): Steps<number | Errno> {
  enter(t, NEW_VMAP_BLOCK);
  charge(t, 40);
  const node = t.cpu.node;
  const vb = yield* kmem_cache_alloc_node(
    t,
    w.block_cache(t),
    gfp & GFP_RECLAIM_MASK,
    node,
  );
  if (vb === null) {
    leave(t);
    return err(ENOMEM);
  }
  const { start, end } = t.k.vmalloc;
  const size = w.VMAP_BLOCK_SIZE;
  const va = yield* alloc_vmap_area(t, w, size, size, start, end, node, gfp);
  if (typeof va === "number") {
    yield* kmem_cache_free(t, w.block_cache(t), vb);
    leave(t);
    return va;
  }
  vb.reset(va);
  t.k.sanitizers?.blockMade(t);
  charge(t, 60); // both bitmaps
  touch_write(t, vb.lock.slock.line);
  if (!w.quirks.rescanNewBlock) { // B5: its creator's share is taken before anybody sees it
    bitmap_set(vb.alloc_map, 0, 1 << order);
    vb.free -= 1 << order;
  }
  yield* insert_block(t, w, vb);
  const vbq = get_cpu_var(t, w.vmap_block_queue);
  yield* spin_lock(t, vbq.lock);
  list_add_rcu(vb.free_list, vbq.free);
  yield* spin_unlock(t, vbq.lock);
  put_cpu_var(t, w.vmap_block_queue);
  const addr = va.va_start;
  leave(t);
  return addr;
}

/** Makes `vb` known to vb_free(). Locks: takes vmap_block_tree_lock. */
function* insert_block(t: Thread, w: RewriteState, vb: VmapBlock): Steps {
  enter(t, RADIX_TREE_INSERT);
  const idx = addr_to_vb_idx(w, vb.va.va_start);
  yield* spin_lock(t, w.vmap_block_tree_lock);
  // A node is 560 bytes, preloaded and cleared.
  const nodes = radix_tree_nodes_needed(w.vmap_block_tree, idx);
  charge(t, 30 + 100 * nodes);
  touch_write(t, w.block_tree_line);
  const error = radix_tree_insert(w.vmap_block_tree, idx, vb);
  BUG_ON(t, error !== 0, "block number is taken");
  w.nr_blocks++;
  yield* spin_unlock(t, w.vmap_block_tree_lock);
  leave(t);
}

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

/** Reads `vb`'s dirty map before a walk of it. Locks: vb.lock held. */
export function touch_dirty_map(t: Thread, vb: VmapBlock): void {
  lockdep_assert_held(t, vb.lock);
  touch_read(t, vb.dirty_line);
}
