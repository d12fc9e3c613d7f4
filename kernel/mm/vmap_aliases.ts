/**
 * vm_unmap_aliases(): for callers that cannot live with a lazily unmapped alias
 * of a page, such as those that change its memory type or hand it to a
 * hypervisor (mm/vmalloc.c, 2.6.28).
 *
 * On return no page that had been unmapped before the call has a translation
 * left, in page tables or in any TLB.
 *
 * Lock order: vb.lock; then, with that one free, purge_lock (vmap_purge.ts).
 */
import {
  charge,
  enter,
  ksym,
  leave,
  read_line,
  type Steps,
} from "../../arch/asm.ts";
import { find_next_bit, find_next_zero_bit } from "../lib/bitmap.ts";
import { radix_tree_gang_lookup } from "../lib/radix_tree.ts";
import { spin_lock, spin_unlock } from "../locking/spinlock.ts";
import { rcu_read_lock, rcu_read_unlock } from "../rcu.ts";
import type { Thread } from "../thread.ts";
import { vunmap_page_range } from "./pgtable.ts";
import type { RewriteState } from "./rewrite_state.ts";
import {
  addr_to_vb_idx,
  touch_dirty_map,
  type VmapBlock,
} from "./vmap_block.ts";
import { __purge_vmap_area_lazy } from "./vmap_purge.ts";

const VM_UNMAP_ALIASES = ksym("vm_unmap_aliases");

/** Blocks taken from the tree at a time. */
const BATCH = 16;
/** find_next_bit() or find_next_zero_bit() over a block's map, on average. */
const FIND_INSTRUCTIONS = 25;

/** What has been cleared and must be flushed. */
interface Hull {
  start: number;
  end: number;
  flush: boolean;
}

/** See the file's head. Context: interrupts on; may wait for every CPU. */
export function* vm_unmap_aliases(t: Thread, w: RewriteState): Steps {
  enter(t, VM_UNMAP_ALIASES);
  const hull: Hull = { start: Infinity, end: 0, flush: false };
  rcu_read_lock(t);
  const { queuesWalked, fullBlocksSkipped } = w.quirks;
  // B2: readers that come along the queues, as in 2.6.28.
  if (queuesWalked) yield* clear_queued_blocks(t, w, hull);
  // B1: a block that is all handed out is on no queue, but may have dirty pages.
  if (!fullBlocksSkipped) yield* clear_all_blocks(t, w, hull);
  rcu_read_unlock(t);
  const { start, end, flush } = hull;
  yield* __purge_vmap_area_lazy(t, w, start, end, true, flush);
  leave(t);
}

/** Blocks by the lookup tree: every one that is not retired. */
function* clear_all_blocks(t: Thread, w: RewriteState, hull: Hull): Steps {
  for (let next = 0;;) {
    yield* read_line(t, w.block_tree_line);
    const found = radix_tree_gang_lookup(w.vmap_block_tree, next, BATCH);
    charge(t, 20 + 12 * found.length);
    if (found.length === 0) return;
    next = addr_to_vb_idx(w, found[found.length - 1].va.va_start) + 1;
    for (let i = 0; i < found.length; i++) {
      yield* clear_dirty(t, w, found[i], hull);
    }
  }
}

/** Blocks by the CPUs' queues: those with pages left to hand out. */
function* clear_queued_blocks(t: Thread, w: RewriteState, hull: Hull): Steps {
  const cpus = t.k.cpu_possible.list;
  for (let i = 0; i < cpus.length; i++) {
    charge(t, 8);
    const vbq = w.vmap_block_queue.peek(cpus[i]);
    if (vbq === null) continue;
    yield* read_line(t, vbq.line);
    for (let p = vbq.free.next; p !== vbq.free; p = p.next) {
      yield* clear_dirty(t, w, p.owner!, hull);
    }
  }
}

/** Clears the entries of `vb`'s dirty pages, run by run. They stay dirty. Locks: takes vb.lock. */
function* clear_dirty(
  t: Thread,
  w: RewriteState,
  vb: VmapBlock,
  hull: Hull,
): Steps {
  const bits = w.VMAP_BBMAP_BITS;
  yield* spin_lock(t, vb.lock);
  // A block that is all dirty has been given to the purge.
  const retired = vb.dirty === bits;
  touch_dirty_map(t, vb);
  charge(t, FIND_INSTRUCTIONS);
  let i = retired ? bits : find_next_bit(vb.dirty_map, bits, 0);
  while (i < bits) {
    charge(t, 2 * FIND_INSTRUCTIONS + 10);
    const j = find_next_zero_bit(vb.dirty_map, bits, i);
    const start = vb.va.va_start + i * w.page_size;
    const end = vb.va.va_start + j * w.page_size;
    yield* vunmap_page_range(t, start, end);
    if (start < hull.start) hull.start = start;
    if (end > hull.end) hull.end = end;
    hull.flush = true;
    i = find_next_bit(vb.dirty_map, bits, j);
  }
  yield* spin_unlock(t, vb.lock);
}
