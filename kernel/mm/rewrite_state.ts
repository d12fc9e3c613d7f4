/**
 * The global variables of 2.6.28's allocator, grouped by what guards them.
 */
import { Cell } from "../../arch/hw/cell.ts";
import { CacheLine } from "../../arch/hw/line.ts";
import { ALIGN, is_power_of_2, roundup_pow_of_two } from "../lib/bitops.ts";
import { ListHead } from "../lib/list.ts";
import { RadixTreeRoot } from "../lib/radix_tree.ts";
import { RbRoot } from "../lib/rbtree.ts";
import { Spinlock } from "../locking/spinlock.ts";
import { PerCpu } from "../percpu.ts";
import type { Kernel } from "../kernel.ts";
import type { Thread } from "../thread.ts";
import type { VmapQuirks } from "./quirks.ts";
import { kmem_cache_create, type KmemCache } from "./slab.ts";
import { VmapArea, type VmapNode } from "./vmap_area.ts";
import { VmapBlock, VmapBlockQueue } from "./vmap_block.ts";
import { WalkMemo } from "./walk_memo.ts";

/** sizeof(struct vmap_area): served by size-128. */
const VMAP_AREA_BYTES = 128;
/** Most pages of a block. */
const VMAP_BBMAP_BITS_MAX = 1024;
/** What the block size assumes of vmalloc space: a guess that need not be right. */
const VMALLOC_SPACE_64 = 128 * 2 ** 30;
const VMALLOC_SPACE_32 = 128 * 2 ** 20;

/**
 * Pages of one block, for kernels built for `nrCpus`.
 *
 * @param maxAlloc Pages of the largest request: a block holds two at least.
 * @param spacePages What is assumed of vmalloc space.
 */
export function vmap_bbmap_bits(
  nrCpus: number,
  maxAlloc: number,
  spacePages: number,
  oddBlockSize: boolean,
): number {
  // B6: dividing by a number that is no power of two makes one that is none.
  const share = oddBlockSize ? nrCpus : roundup_pow_of_two(nrCpus);
  const wanted = Math.floor(Math.floor(spacePages / share) / 16);
  return Math.min(VMAP_BBMAP_BITS_MAX, Math.max(2 * maxAlloc, wanted));
}

/** The variables; see the file's head. */
export class RewriteState {
  // Fixed after init.
  declare readonly page_size: number;
  /** 1 / page_size: exact. */
  declare readonly page_of_byte: number;
  /** 1 / VMAP_BLOCK_SIZE; 0 = not exact, as that is no power of two. */
  declare readonly block_of_byte: number;
  declare readonly quirks: VmapQuirks;
  /** Addresses wrap here. */
  declare readonly address_limit: number;
  /** Most pages that a block serves. */
  declare readonly VMAP_MAX_ALLOC: number;
  /** Pages and bytes of a block. */
  declare readonly VMAP_BBMAP_BITS: number;
  declare readonly VMAP_BLOCK_SIZE: number;
  /** Address that block 0 of the lookup tree starts at. */
  declare readonly block_base: number;
  #area_cache: KmemCache<VmapArea> | null = null;
  #block_cache: KmemCache<VmapBlock> | null = null;

  // Guarded by vmap_area_lock; the list is read under RCU too.
  declare readonly vmap_area_lock: Spinlock;
  readonly vmap_area_root: RbRoot<VmapNode> = new RbRoot<VmapNode>();
  readonly vmap_area_list: ListHead<VmapArea> = new ListHead<VmapArea>();
  readonly list_line: CacheLine = new CacheLine(0);
  nr_areas = 0;
  /** Areas passed by searches for room, and nodes on the way down to the first. */
  walk_steps = 0;
  descent_steps = 0;
  readonly walk_memo: WalkMemo = new WalkMemo();

  // Atomic.
  /** Pages freed lazily and not purged. Signed: see A8. */
  readonly vmap_lazy_nr: Cell<number> = new Cell("vmap_lazy_nr", 0);

  // Held through a purge.
  declare readonly purge_lock: Spinlock;
  purges = 0;

  // Guarded by vmap_block_tree_lock; read under RCU.
  declare readonly vmap_block_tree_lock: Spinlock;
  readonly vmap_block_tree: RadixTreeRoot<VmapBlock> = new RadixTreeRoot<
    VmapBlock
  >();
  /** The tree's top node: what a lookup reads first. */
  readonly block_tree_line: CacheLine = new CacheLine(0);
  nr_blocks = 0;

  // Each guarded by its own lock.
  declare readonly vmap_block_queue: PerCpu<VmapBlockQueue>;

  declare readonly k: Kernel;

  constructor(k: Kernel) {
    this.k = k;
    const { spec, memory } = k.machine;
    const wordBits = spec.paging.format === "i386-pae" ? 32 : 64;
    this.page_size = memory.pageBytes;
    this.page_of_byte = 1 / this.page_size;
    this.quirks = k.vmalloc.quirks;
    this.address_limit = 2 ** k.machine.mmu.format.vaddrBits;
    this.VMAP_MAX_ALLOC = k.params.vmap_max_alloc ?? wordBits;
    const space = wordBits === 64 ? VMALLOC_SPACE_64 : VMALLOC_SPACE_32;
    this.VMAP_BBMAP_BITS = vmap_bbmap_bits(
      spec.kernel.nrCpus,
      this.VMAP_MAX_ALLOC,
      k.params.vmap_space ?? space / this.page_size,
      this.quirks.oddBlockSize,
    );
    this.VMAP_BLOCK_SIZE = this.VMAP_BBMAP_BITS * this.page_size;
    this.block_of_byte = is_power_of_2(this.VMAP_BBMAP_BITS)
      ? 1 / this.VMAP_BLOCK_SIZE
      : 0;
    this.block_base = this.mask(k.vmalloc.start, this.VMAP_BLOCK_SIZE);
    this.vmap_area_lock = new Spinlock(k, "vmap_area_lock");
    this.purge_lock = new Spinlock(k, "purge_lock");
    this.vmap_block_tree_lock = new Spinlock(k, "vmap_block_tree_lock");
    this.vmap_block_queue = new PerCpu(
      k,
      (cpu) => new VmapBlockQueue(k, k.machine.engine.cpus[cpu].node),
    );
  }

  /** `x & ~(size - 1)`: rounds down to a multiple of a power of two. */
  mask(x: number, size: number): number {
    if (!this.quirks.oddBlockSize) return Math.floor(x / size) * size;
    return x - this.within(x, size);
  }

  /** `x & (size - 1)`. */
  within(x: number, size: number): number {
    // Sizes that are no power of two are below 2^30: the bits above take no part.
    if (this.quirks.oddBlockSize && size < 2 ** 30) {
      return (x % 2 ** 30) & (size - 1);
    }
    return x - Math.floor(x / size) * size; // faster than % above 2^31
  }

  /** `(x + size - 1) & ~(size - 1)`: rounds up to a multiple of a power of two. */
  align(x: number, size: number): number {
    if (!this.quirks.oddBlockSize) return ALIGN(x, size);
    return this.mask(x + size - 1, size);
  }

  /** Made when first used: vmalloc_init() runs before there is a slab allocator. */
  area_cache(t: Thread): KmemCache<VmapArea> {
    return this.#area_cache ??= kmem_cache_create(
      t,
      "vmap_area",
      VMAP_AREA_BYTES,
      () => new VmapArea(this),
    );
  }

  /** As {@linkcode area_cache}. */
  block_cache(t: Thread): KmemCache<VmapBlock> {
    return this.#block_cache ??= kmem_cache_create(
      t,
      "vmap_block",
      128 + 2 * Math.ceil(this.VMAP_BBMAP_BITS / 64) * 8,
      () => new VmapBlock(this),
    );
  }
}
