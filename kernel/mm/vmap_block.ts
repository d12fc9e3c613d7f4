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
 * Here are the structures; vb_alloc.ts and vb_free.ts have the calls. Their usual
 * cases are there twice: `..._at_hand()` is what the general function does if it
 * need not wait for anybody, without a generator, operation for operation.
 * tests/sections_test.ts holds them together.
 */
import { touch_read } from "../../arch/asm.ts";
import { CacheLine } from "../../arch/hw/line.ts";
import type { Kernel } from "../kernel.ts";
import { bitmap_alloc, bitmap_zero } from "../lib/bitmap.ts";
import { INIT_LIST_HEAD, ListHead } from "../lib/list.ts";
import { lockdep_assert_held, Spinlock } from "../locking/spinlock.ts";
import { RcuHead } from "../rcu.ts";
import type { Thread } from "../thread.ts";
import type { RewriteState } from "./rewrite_state.ts";
import { SlabObject } from "./slab.ts";
import type { VmapArea } from "./vmap_area.ts";

/**
 * One position of bitmap_find_free_region(): the loop around __reg_op(), which
 * divides, rounds and builds a mask for each call before it looks at one word.
 * 12 when the compiler inlines it and hoists what does not change, 40 when it
 * does neither; gcc 4.3 is taken to do half.
 */
export const SCAN_INSTRUCTIONS = 20;

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
export function page_in_block(
  w: RewriteState,
  addr: number,
  idx: number,
): number {
  if (w.quirks.oddBlockSize) { // B6
    return w.within(addr, w.VMAP_BLOCK_SIZE) / w.page_size;
  }
  const start = w.block_base + idx * w.VMAP_BLOCK_SIZE;
  return (addr - start) * w.page_of_byte;
}

/** Order of a block's share that holds `size` bytes. */
export function order_of(w: RewriteState, size: number): number {
  return 32 - Math.clz32(size * w.page_of_byte - 1);
}

/** Reads `vb`'s dirty map before a walk of it. Locks: vb.lock held. */
export function touch_dirty_map(t: Thread, vb: VmapBlock): void {
  lockdep_assert_held(t, vb.lock);
  touch_read(t, vb.dirty_line);
}
