/**
 * What the vmalloc interface knows, whichever layer is below it: the limits of
 * its space, the list of vm_structs, and what it counts.
 */
import { CacheLine } from "../../arch/hw/line.ts";
import { parseVaddr } from "../../arch/hw/pte.ts";
import type { Kernel } from "../kernel.ts";
import { Rwlock } from "../locking/rwlock.ts";
import { KERN_WARNING, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import { __GFP_DMA, __GFP_DMA32, __GFP_HIGHMEM, __GFP_ZERO } from "./gfp.ts";
import { VmapQuirks } from "./quirks.ts";
import { kmem_cache_create, type KmemCache } from "./slab.ts";
import { VmStruct } from "./vm_struct.ts";

/** Flags that say how hard to try, without those that say where from. */
export const GFP_RECLAIM_MASK = ~(__GFP_DMA | __GFP_DMA32 | __GFP_HIGHMEM |
  __GFP_ZERO);
/** sizeof(struct vm_struct): served by size-64. */
const VM_STRUCT_BYTES = 64;
/** Gap below vmalloc space on i386 (VMALLOC_OFFSET), bytes. */
const VMALLOC_OFFSET = 8 * 2 ** 20;
/** printk_ratelimit(): at most this many in a row ... */
const RATELIMIT_BURST = 10;
/** ... and then one each, seconds. */
const RATELIMIT_SECONDS = 5;

/** `[start, end)` of an address range. */
export interface AddressRange {
  /** First address, bytes. */
  readonly start: number;
  /** End, exclusive, bytes. */
  readonly end: number;
}

/**
 * State of the interface, `k.vmalloc`.
 *
 * @example
 * ```ts
 * import { boot } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const { vmalloc } = boot().kernel;
 * assertEquals(vmalloc.start, 0xc20000000000);
 * assertEquals(vmalloc.page_size, 4096);
 * ```
 */
export class VmallocState {
  // Fixed after init.
  /** VMALLOC_START, bytes. */
  declare readonly start: number;
  /** VMALLOC_END, exclusive, bytes; compared as a number, page-aligned or not. */
  declare readonly end: number;
  /** MODULES_VADDR and MODULES_END; the vmalloc range where modules live there. */
  declare readonly modules: AddressRange;
  /** Bytes of a page. */
  declare readonly page_size: number;
  /** log2 of the same. */
  declare readonly page_shift: number;
  /**
   * Historic bugs that are on.
   *
   * @internal
   */
  declare readonly quirks: VmapQuirks;

  // Guarded by vmlist_lock, which shares a line with the head.
  /** Guards the list; shares a cache line with its head. */
  declare readonly vmlist_lock: Rwlock;
  /** All vm_structs by address. */
  vmlist: VmStruct | null = null;
  /** vm_structs on the list. */
  nr_vm_structs = 0;
  /** vm_structs passed by walks of the list. */
  vmlist_steps = 0;

  // Counters: for reports and conformance.
  /** Flushes of a range of kernel addresses. */
  flushes = 0;
  /** First address of the last flush. */
  last_flush_start = 0;
  /** End of the last flush, exclusive. */
  last_flush_end = 0;
  /** Calls of vmap(). */
  nr_vmap = 0;
  /** Calls of vm_map_ram(). */
  nr_vm_map_ram = 0;
  /** Areas that were to be filled with pages: vmalloc() and its kin. */
  nr_vmalloc = 0;
  /** Calls of ioremap() and its kin. */
  nr_ioremap = 0;
  /** Calls of alloc_vm_area(). */
  nr_alloc_vm_area = 0;
  /** Calls of vm_unmap_aliases(). */
  nr_unmap_aliases = 0;
  /** Times that an entry to be set was in use. */
  pte_not_none = 0;
  /** Requests that found no room. */
  failures = 0;

  // vmalloc_warn_space()'s bucket.
  #tokens = RATELIMIT_BURST;
  #tokens_at = 0;
  #vm_cache: KmemCache<VmStruct> | null = null;

  /** The kernel that it is part of. */
  declare readonly k: Kernel;

  /** Made by vmalloc_init(). */
  constructor(k: Kernel) {
    this.k = k;
    const { memory, spec } = k.machine;
    this.page_size = memory.pageBytes;
    this.page_shift = spec.paging.pageShift;
    const { start, end } = vmalloc_range(k);
    this.start = start;
    this.end = end;
    this.modules = modules_range(k, start, end);
    this.quirks = new VmapQuirks(k.params.vmap_quirk);
    this.vmlist_lock = new Rwlock(k, "vmlist_lock", new CacheLine(0));
  }

  /** Made when first used: vmalloc_init() runs before there is a slab allocator. */
  vm_cache(t: Thread): KmemCache<VmStruct> {
    return this.#vm_cache ??= kmem_cache_create(
      t,
      "vm_struct",
      VM_STRUCT_BYTES,
      () => new VmStruct(),
    );
  }

  /** printk_ratelimit(). */
  ratelimit(t: Thread): boolean {
    const now = t.cpu.clock;
    const interval = RATELIMIT_SECONDS * this.k.machine.spec.clockHz;
    const earned = Math.floor((now - this.#tokens_at) / interval);
    if (earned > 0) {
      this.#tokens = Math.min(RATELIMIT_BURST, this.#tokens + earned);
      this.#tokens_at = now;
    }
    if (this.#tokens === 0) return false;
    this.#tokens--;
    return true;
  }
}

/**
 * Limits of vmalloc space: the machine's, changed by `vmalloc=`. On i386 that
 * moves the start, as there low memory gives way; elsewhere it moves the end.
 */
function vmalloc_range(k: Kernel): AddressRange {
  if (k.vmalloc_range !== null) return k.vmalloc_range;
  const { format } = k.machine.mmu;
  const { layout } = k.machine.spec;
  const start = parseVaddr(format, layout.vmallocStart);
  const end = parseVaddr(format, layout.vmallocEnd);
  const bytes = k.params.vmalloc_bytes;
  if (bytes === null) return { start, end };
  if (format.name !== "i386-pae") {
    return { start, end: Math.min(end, start + bytes) };
  }
  const high_memory = 2 ** 32 - bytes;
  return {
    start: Math.floor((high_memory + 2 * VMALLOC_OFFSET - 1) / VMALLOC_OFFSET) *
      VMALLOC_OFFSET,
    end,
  };
}

function modules_range(
  k: Kernel,
  start: number,
  end: number,
): AddressRange {
  const { layout } = k.machine.spec;
  if (layout.modulesStart === layout.vmallocStart) return { start, end };
  const { format } = k.machine.mmu;
  return {
    start: parseVaddr(format, layout.modulesStart),
    end: parseVaddr(format, layout.modulesEnd),
  };
}

/** Counts a request that found no room, and warns now and then. */
export function vmalloc_warn_space(t: Thread, what: string): void {
  const state = t.k.vmalloc;
  state.failures++;
  if (!state.ratelimit(t)) return;
  printk(
    t,
    KERN_WARNING,
    `${what} use vmalloc=<size> to increase size.`,
  );
}
