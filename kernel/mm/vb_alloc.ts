/**
 * Taking pages of a per-CPU block, and making blocks (mm/vmalloc.c, 2.6.28); see
 * vmap_block.ts.
 *
 * Lock order: that file's. Differs from Linux: a new block's creator has its share
 * before anybody else sees the block (B5).
 */
import * as asm from "../../arch/asm.ts";
import type { Steps } from "../../arch/asm.ts";
import * as bug from "../bug.ts";
import { BUG } from "../bug.ts"; // not a constant, so that the compiler knows it for an end
import * as bitmap from "../lib/bitmap.ts";
import { ENOMEM, err, type Errno } from "../lib/errno.ts";
import { list_del_init } from "../lib/list.ts";
import {
  radix_tree_insert,
  radix_tree_nodes_needed,
} from "../lib/radix_tree.ts";
import { list_add_rcu, list_del_rcu } from "../lib/rculist.ts";
import * as spinlock from "../locking/spinlock.ts";
import * as percpu from "../percpu.ts";
import * as rcu from "../rcu.ts";
import type { Thread } from "../thread.ts";
import { GFP_RECLAIM_MASK } from "./vmalloc_state.ts";
import type { RewriteState } from "./rewrite_state.ts";
import { kmem_cache_alloc_node, kmem_cache_free } from "./slab.ts";
import { alloc_vmap_area } from "./vmap_area.ts";
import * as block from "./vmap_block.ts";
import type { VmapBlock, VmapBlockQueue } from "./vmap_block.ts";

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
const {
  bitmap_allocate_region,
  bitmap_find_free_region,
  bitmap_set,
  find_next_bit,
  region_scan_steps,
} = bitmap;
const {
  lockdep_assert_held,
  may_lock_now,
  spin_lock,
  spin_lock_now,
  spin_unlock,
  spin_unlock_now,
} = spinlock;
const { get_cpu_var, put_cpu_var } = percpu;
const { rcu_read_lock, rcu_read_unlock } = rcu;
const { addr_to_vb_idx, order_of, SCAN_INSTRUCTIONS } = block;

const VB_ALLOC = ksym("vb_alloc");
const NEW_VMAP_BLOCK = ksym("new_vmap_block");
const BITMAP_FIND_FREE_REGION = ksym("bitmap_find_free_region");
const RADIX_TREE_INSERT = ksym("radix_tree_insert");

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
