/**
 * The seam between the vmalloc interface and what hands out kernel addresses.
 *
 * vmalloc(), vmap(), ioremap() and their kin (vmalloc.ts, vmap.ts, ...) know
 * only {@linkcode VmapLayer}. Two implementations come with the kernel:
 * `vmlist` (vmlist_layer.ts, 2.6.27) and `rewrite` (rewrite_layer.ts, 2.6.28).
 *
 * To write a third, extend {@linkcode AreaLayer}: it asks for four things, how
 * to take a range of addresses (`alloc_area`), how to give one back
 * (`free_unmap`), how to find one by its start (`claim_area`, `find_area`), and
 * what vm_unmap_aliases() has to do; it does the rest by them. Hand a factory
 * to the kernel in `k.vmap_layers`, under the name that `vmap=` is to select.
 *
 * What every layer guarantees (LINUX_NOTES 1.4; `check()` looks for it):
 *
 * 1. No two areas overlap. Every entry in use lies in exactly one area.
 * 2. A range is handed out again only after a TLB flush on every CPU that began
 *    after its entries were cleared.
 * 3. When vm_unmap_aliases() returns, what had been unmapped before the call is
 *    in no page table and in no TLB.
 */
import type { Steps } from "../../arch/asm.ts";
import { BUG_ON } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import { type Errno, IS_ERR_VALUE } from "../lib/errno.ts";
import type { Thread } from "../thread.ts";
import { GFP_KERNEL } from "./gfp.ts";
import type { Page } from "./page.ts";
import { for_each_pte, vmap_page_range } from "./pgtable.ts";
import { vmlist_insert, vmlist_remove, type VmStruct } from "./vm_struct.ts";

/** What a layer counts, for reports and conformance. All plain numbers. */
export interface LayerCounters {
  /** Areas that hold addresses, those freed but not yet reusable and those of blocks included. */
  areas: number;
  /** Pages freed and not yet purged; 0 in a layer that is not lazy. */
  lazy_nr: number;
  /** Most such pages before a purge; 0 in a layer that is not lazy. */
  lazy_max: number;
  /** Per-CPU blocks; 0 in a layer that has none. */
  blocks: number;
  /** Those of them with pages to hand out. */
  blocks_with_free: number;
  /** Purges that found something. */
  purges: number;
  /** Areas looked at by searches for room, since boot. */
  walk_steps: number;
}

/**
 * An allocator of kernel addresses: what `vmap=` chooses. {@linkcode AreaLayer}
 * is the way to write one.
 *
 * Every layer guarantees: no two areas overlap; a range is handed out again
 * only after every CPU's TLB has been flushed since its entries were cleared;
 * when vm_unmap_aliases() returns, what had been unmapped before the call is in
 * no page table and in no TLB.
 */
export interface VmapLayer {
  /** Name that `vmap=` takes. */
  readonly name: string;
  /** Called once by vmalloc_init(): before slab and page allocator, with one CPU running. Plain. */
  init(t: Thread): void;
  /** Keeps the addresses of `vm`, set up before init, from being handed out. Plain. */
  import_vm(t: Thread, vm: VmStruct): void;
  /**
   * Finds room for `vm`, sets its `addr`, and lists it on `vmlist`.
   *
   * @param size Bytes, guard page included: `vm.size`.
   * @param align A power of two.
   * @returns 0; -EBUSY if nothing in `[start, end)` is free, -ENOMEM.
   */
  insert_vm(
    t: Thread,
    vm: VmStruct,
    size: number,
    align: number,
    start: number,
    end: number,
    node: number,
    gfp: number,
  ): Steps<0 | Errno>;
  /** Unmaps, unlists and gives back the area at `addr`. @returns Its vm_struct, guard page taken off `size`; `null` = none there. */
  remove_vm(t: Thread, addr: number): Steps<VmStruct | null>;
  /** The vm_struct of the area that starts at `addr`. */
  find_vm(t: Thread, addr: number): Steps<VmStruct | null>;
  /** Maps `pages[0..count)` somewhere. @returns The address; 0 = NULL. */
  vm_map_ram(
    t: Thread,
    pages: readonly Page[],
    count: number,
    node: number,
    prot: number,
  ): Steps<number>;
  /** Unmaps what {@linkcode vm_map_ram} mapped; `count` is the same. */
  vm_unmap_ram(t: Thread, addr: number, count: number): Steps;
  /** Flushes what is left of mappings that were unmapped lazily. */
  vm_unmap_aliases(t: Thread): Steps;
  /** Counters as of now. Costs no virtual time. */
  counters(): LayerCounters;
  /** Looks for broken invariants. Costs no virtual time. @returns A sentence for each. */
  check(): string[];
}

/** Makes a layer for a kernel. */
export type VmapLayerFactory = (k: Kernel) => VmapLayer;

/** A range of addresses that a layer has handed out. */
export interface VmapRange {
  /** First address, bytes. */
  va_start: number;
  /** End, exclusive. */
  va_end: number;
  /** The vm_struct it belongs to, if any. Set by {@linkcode AreaLayer}. */
  private: VmStruct | null;
}

/**
 * The part of a layer that follows from handing out ranges.
 *
 * @example
 * ```ts
 * import {
 *   ALIGN,
 *   AreaLayer,
 *   boot,
 *   check_areas,
 *   flush_tlb_kernel_range,
 *   type LayerCounters,
 *   type Steps,
 *   Thread,
 *   vfree,
 *   vm_unmap_aliases,
 *   vmalloc,
 *   type VmapRange,
 *   vunmap_page_range,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * // A layer that hands out addresses once and never again.
 * class Once extends AreaLayer<VmapRange> {
 *   readonly name = "once";
 *   #next = 0;
 *   #areas = new Map<number, VmapRange>();
 *
 *   init(): void {
 *     this.#next = this.k.vmalloc.start;
 *   }
 *   import_vm(): void {}
 *   *alloc_area(_t: Thread, size: number, align: number): Steps<VmapRange> {
 *     const va_start = ALIGN(this.#next, align);
 *     const area = { va_start, va_end: va_start + size, private: null };
 *     this.#next = area.va_end;
 *     this.#areas.set(va_start, area);
 *     return area;
 *   }
 *   *find_area(_t: Thread, addr: number): Steps<VmapRange | null> {
 *     return this.#areas.get(addr) ?? null;
 *   }
 *   claim_area(t: Thread, addr: number): Steps<VmapRange | null> {
 *     return this.find_area(t, addr);
 *   }
 *   *free_unmap(t: Thread, area: VmapRange): Steps {
 *     this.#areas.delete(area.va_start);
 *     yield* vunmap_page_range(t, area.va_start, area.va_end);
 *     yield* flush_tlb_kernel_range(t, area.va_start, area.va_end);
 *   }
 *   *vm_unmap_aliases(): Steps {}
 *   counters(): LayerCounters {
 *     const areas = this.#areas.size;
 *     const none = {
 *       blocks: 0,
 *       blocks_with_free: 0,
 *       purges: 0,
 *       walk_steps: 0,
 *     };
 *     return { areas, lazy_nr: 0, lazy_max: 0, ...none };
 *   }
 *   check(): string[] {
 *     return check_areas(this.k, [...this.#areas.values()]);
 *   }
 * }
 * const machine = boot({
 *   params: { vmap: "once" },
 *   layers: { once: (k) => new Once(k) },
 * });
 * machine.run(function* (t) {
 *   yield* vfree(t, yield* vmalloc(t, 8192));
 * });
 * assertEquals(machine.kernel.vmap.check(), []);
 * ```
 */
export abstract class AreaLayer<A extends VmapRange> implements VmapLayer {
  abstract readonly name: string;

  /** The kernel that it is part of. */
  declare readonly k: Kernel;

  /** Made by the factory that `vmap=` names, before anything of the layer runs. */
  constructor(k: Kernel) {
    this.k = k;
  }

  abstract init(t: Thread): void;
  abstract import_vm(t: Thread, vm: VmStruct): void;
  abstract vm_unmap_aliases(t: Thread): Steps;
  abstract counters(): LayerCounters;
  abstract check(): string[];

  /** Takes `size` bytes at a multiple of `align` in `[vstart, vend)`. @returns -EBUSY if none are free, -ENOMEM. */
  protected abstract alloc_area(
    t: Thread,
    size: number,
    align: number,
    vstart: number,
    vend: number,
    node: number,
    gfp: number,
  ): Steps<A | Errno>;
  /** Clears the entries of `area` and gives its addresses back, now or later. */
  protected abstract free_unmap(t: Thread, area: A): Steps;
  /** The area that starts at `addr`, with or without a vm_struct. */
  protected abstract find_area(t: Thread, addr: number): Steps<A | null>;
  /** Finds the area with a vm_struct that starts at `addr`, for one caller only: who frees it. */
  protected abstract claim_area(t: Thread, addr: number): Steps<A | null>;

  *insert_vm(
    t: Thread,
    vm: VmStruct,
    size: number,
    align: number,
    start: number,
    end: number,
    node: number,
    gfp: number,
  ): Steps<0 | Errno> {
    const area = yield* this.alloc_area(
      t,
      size,
      align,
      start,
      end,
      node,
      gfp,
    );
    if (typeof area === "number") return area;
    vm.addr = area.va_start;
    area.private = vm;
    yield* vmlist_insert(t, vm);
    return 0;
  }

  *remove_vm(t: Thread, addr: number): Steps<VmStruct | null> {
    const area = yield* this.claim_area(t, addr);
    if (area === null) return null;
    const vm = area.private!;
    // Hidden first: from here on the address may be somebody else's.
    yield* vmlist_remove(t, vm);
    yield* this.free_unmap(t, area);
    vm.size -= t.machine.memory.pageBytes;
    return vm;
  }

  *find_vm(t: Thread, addr: number): Steps<VmStruct | null> {
    const area = yield* this.find_area(t, addr);
    return area === null ? null : area.private;
  }

  *vm_map_ram(
    t: Thread,
    pages: readonly Page[],
    count: number,
    node: number,
    prot: number,
  ): Steps<number> {
    if (count === 0) return 0;
    const { start, end, page_size } = this.k.vmalloc;
    const area = yield* this.alloc_area(
      t,
      count * page_size,
      page_size,
      start,
      end,
      node,
      GFP_KERNEL,
    );
    if (typeof area === "number") return 0;
    const addr = area.va_start;
    const nr = yield* vmap_page_range(t, addr, area.va_end, prot, pages);
    if (!IS_ERR_VALUE(nr)) return addr;
    yield* this.free_unmap(t, area);
    return 0;
  }

  *vm_unmap_ram(t: Thread, addr: number, _count: number): Steps {
    const area = yield* this.find_area(t, addr);
    BUG_ON(t, area === null, "vm_unmap_ram of an address that is not mapped");
    yield* this.free_unmap(t, area!);
  }
}

/**
 * Checks areas against each other, against the page tables and against
 * `vmlist`: invariant 1, for any layer.
 *
 * @param areas In order of address.
 * @returns A sentence for each violation.
 *
 * @example
 * ```ts
 * import { boot, check_areas } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const machine = boot();
 * assertEquals(machine.kernel.vmap.check(), []);
 * const [found] = check_areas(machine.kernel, [
 *   { va_start: 0x1000, va_end: 0x3000, private: null },
 *   { va_start: 0x2000, va_end: 0x4000, private: null },
 * ]);
 * assertEquals(found, "areas overlap: [1000, 3000) and [2000, 4000)");
 * ```
 */
export function check_areas(
  k: Kernel,
  areas: readonly VmapRange[],
): string[] {
  const found: string[] = [];
  const hex = (n: number) => n.toString(16);
  for (let i = 1; i < areas.length; i++) {
    const [a, b] = [areas[i - 1], areas[i]];
    if (a.va_end > b.va_start) {
      found.push(
        `areas overlap: [${hex(a.va_start)}, ${hex(a.va_end)}) and [${
          hex(b.va_start)
        }, ${hex(b.va_end)})`,
      );
    }
  }
  let at = 0;
  for_each_pte(k, k.vmalloc.start, k.vmalloc.end, (vaddr) => {
    while (at < areas.length && areas[at].va_end <= vaddr) at++;
    if (at === areas.length || areas[at].va_start > vaddr) {
      found.push(`an entry is in use at ${hex(vaddr)}, outside of any area`);
    }
  });
  let before = -1;
  const byStart = new Map(areas.map((a) => [a.va_start, a]));
  for (let vm = k.vmalloc.vmlist; vm !== null; vm = vm.next) {
    if (vm.addr <= before) {
      found.push(`vmlist is out of order at ${hex(vm.addr)}`);
    }
    before = vm.addr;
    const area = byStart.get(vm.addr);
    if (area === undefined || area.va_end !== vm.addr + vm.size) {
      found.push(`vm_struct at ${hex(vm.addr)} has no area of its size`);
    } else if (area.private !== vm) {
      found.push(`area at ${hex(vm.addr)} belongs to another vm_struct`);
    }
  }
  return found;
}
