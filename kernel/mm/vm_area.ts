/**
 * Areas without contents: get_vm_area() and its kin, on top of whichever layer
 * hands out addresses (mm/vmalloc.c, the old interface).
 *
 * An area is as many pages as were asked for and one more, the guard: never
 * mapped, so that running off the end faults.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { BUG_ON } from "../bug.ts";
import { fls64 } from "../lib/bitops.ts";
import { type Errno, IS_ERR_VALUE } from "../lib/errno.ts";
import { in_interrupt, type Thread } from "../thread.ts";
import { GFP_KERNEL } from "./gfp.ts";
import type { Page } from "./page.ts";
import {
  apply_to_page_range,
  vmap_page_range,
  vunmap_page_range,
} from "./pgtable.ts";
import { kmem_cache_alloc_node, kmem_cache_free } from "./slab.ts";
import { GFP_RECLAIM_MASK } from "./vmalloc_state.ts";
import { flush_tlb_kernel_range } from "./tlb.ts";
import { VM_IOREMAP, type VmStruct } from "./vm_struct.ts";

const __GET_VM_AREA_NODE = ksym("__get_vm_area_node");
const REMOVE_VM_AREA = ksym("remove_vm_area");
const MAP_VM_AREA = ksym("map_vm_area");
const UNMAP_KERNEL_RANGE = ksym("unmap_kernel_range");
const ALLOC_VM_AREA = ksym("alloc_vm_area");
const FREE_VM_AREA = ksym("free_vm_area");

/** Largest alignment of a VM_IOREMAP area, in pages (IOREMAP_MAX_ORDER = 7 + PAGE_SHIFT). */
const IOREMAP_MAX_PAGE_ORDER = 7;

/** Number of the symbol that runs: in a function without one, its caller's. Plain. */
export function caller_of(t: Thread): number {
  return t.stack[t.depth - 1];
}

/** Asserts that vmalloc_init() and kmem_cache_init() have run. */
function need_vmalloc(t: Thread): void {
  const k = t.k;
  if (k.vmap === undefined) k.need(t, "vmap", "vmalloc_init");
  if (k.slab === undefined) k.need(t, "slab", "kmem_cache_init");
}

/** Exponent of an ioremap area's alignment: to the power of two above its size, within limits. */
function ioremap_order(t: Thread, size: number): number {
  const shift = t.k.vmalloc.page_shift;
  const bit = fls64(size);
  return Math.max(shift, Math.min(bit, shift + IOREMAP_MAX_PAGE_ORDER));
}

/**
 * Takes an area of `size` bytes, rounded up to pages, in `[start, end)`.
 *
 * Context: process; may sleep as `gfp` says. BUG in interrupts.
 *
 * @param flags `VM_*`; VM_IOREMAP aligns the area to its size.
 * @returns `null` if there is no room, no memory, or nothing asked for.
 */
export function* __get_vm_area_node(
  t: Thread,
  size: number,
  flags: number,
  start: number,
  end: number,
  node: number,
  gfp: number,
  caller = 0,
): Steps<VmStruct | null> {
  need_vmalloc(t);
  enter(t, __GET_VM_AREA_NODE);
  BUG_ON(t, in_interrupt(t), "vmalloc in interrupt");
  charge(t, 25);
  const { page_size } = t.k.vmalloc;
  const align = (flags & VM_IOREMAP) !== 0
    ? 2 ** ioremap_order(t, size)
    : page_size;
  const bytes = Math.ceil(size / page_size) * page_size;
  if (!(bytes > 0)) {
    leave(t);
    return null;
  }
  const cache = t.k.vmalloc.vm_cache(t);
  const vm = yield* kmem_cache_alloc_node(
    t,
    cache,
    gfp & GFP_RECLAIM_MASK,
    node,
  );
  if (vm === null) {
    leave(t);
    return null;
  }
  const guarded = bytes + page_size;
  vm.reset(flags, guarded, caller);
  const error = yield* t.k.vmap.insert_vm(
    t,
    vm,
    guarded,
    align,
    start,
    end,
    node,
    gfp,
  );
  if (error === 0) {
    t.k.alias_log?.mapped(t, vm.addr, vm.addr + bytes);
    t.k.sanitizers?.mapped(t, vm.addr, vm.addr + bytes);
    leave(t);
    return vm;
  }
  yield* kmem_cache_free(t, cache, vm);
  leave(t);
  return null;
}

/**
 * An area in a range of the caller's choice, such as the modules'.
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import { __get_vm_area, boot, VM_ALLOC } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const inside = boot().run(function* (t) {
 *   const { start, end } = t.k.vmalloc.modules;
 *   const area = (yield* __get_vm_area(t, 8192, VM_ALLOC, start, end))!;
 *   return area.addr >= start && area.addr < end;
 * });
 * assert(inside);
 * ```
 */
export function __get_vm_area(
  t: Thread,
  size: number,
  flags: number,
  start: number,
  end: number,
  caller = 0,
): Steps<VmStruct | null> {
  return __get_vm_area_node(
    t,
    size,
    flags,
    start,
    end,
    -1,
    GFP_KERNEL,
    caller,
  );
}

/**
 * An area of vmalloc space; memory of the descriptor from `node`.
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   get_vm_area_node,
 *   GFP_KERNEL,
 *   VM_MAP,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const size = boot().run(function* (t) {
 *   const area = yield* get_vm_area_node(t, 5000, VM_MAP, 1, GFP_KERNEL);
 *   return area!.size;
 * });
 * assertEquals(size, 3 * 4096); // rounded up, and a guard page
 * ```
 */
export function get_vm_area_node(
  t: Thread,
  size: number,
  flags: number,
  node: number,
  gfp: number,
  caller = 0,
): Steps<VmStruct | null> {
  if (t.k.vmalloc === undefined) t.k.need(t, "vmalloc", "vmalloc_init");
  const { start, end } = t.k.vmalloc;
  return __get_vm_area_node(t, size, flags, start, end, node, gfp, caller);
}

/**
 * An area of vmalloc space, `caller` remembered for /proc/vmallocinfo.
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   get_vm_area_caller,
 *   ksym,
 *   symName,
 *   VM_MAP,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const DRIVER = ksym("my_driver");
 * const caller = boot().run(function* (t) {
 *   const area = (yield* get_vm_area_caller(t, 4096, VM_MAP, DRIVER))!;
 *   return symName(area.caller);
 * });
 * assertEquals(caller, "my_driver");
 * ```
 */
export function get_vm_area_caller(
  t: Thread,
  size: number,
  flags: number,
  caller: number,
): Steps<VmStruct | null> {
  return get_vm_area_node(t, size, flags, -1, GFP_KERNEL, caller);
}

/**
 * An area of vmalloc space. `null` if there is no room, no memory, or nothing
 * asked for.
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   free_vm_area,
 *   get_vm_area,
 *   VM_MAP,
 *   vmalloc_to_pfn,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const area = (yield* get_vm_area(t, 4096, VM_MAP))!;
 *   assertEquals(vmalloc_to_pfn(t, area.addr), -1); // nothing mapped
 *   yield* free_vm_area(t, area);
 * });
 * ```
 */
export function get_vm_area(
  t: Thread,
  size: number,
  flags: number,
): Steps<VmStruct | null> {
  return get_vm_area_node(t, size, flags, -1, GFP_KERNEL, caller_of(t));
}

/**
 * The area that starts at `addr`.
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import { boot, find_vm_area, vmalloc } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const addr = yield* vmalloc(t, 4096);
 *   const area = yield* find_vm_area(t, addr);
 *   assertEquals(area?.nr_pages, 1);
 *   assertEquals(yield* find_vm_area(t, addr + 4096), null);
 * });
 * ```
 */
export function find_vm_area(
  t: Thread,
  addr: number,
): Steps<VmStruct | null> {
  return t.k.vmap.find_vm(t, addr);
}

/**
 * Unmaps the area at `addr` and gives its addresses back. The vm_struct is the
 * caller's to free, the guard page taken off its `size`.
 *
 * Linux: mm/vmalloc.c.
 *
 * @returns `null` if no area starts there.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   free_vm_struct,
 *   get_vm_area,
 *   remove_vm_area,
 *   VM_MAP,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const size = boot().run(function* (t) {
 *   const { addr } = (yield* get_vm_area(t, 4096, VM_MAP))!;
 *   const area = (yield* remove_vm_area(t, addr))!;
 *   yield* free_vm_struct(t, area);
 *   return area.size;
 * });
 * assertEquals(size, 4096); // the guard page is taken off
 * ```
 */
export function* remove_vm_area(
  t: Thread,
  addr: number,
): Steps<VmStruct | null> {
  enter(t, REMOVE_VM_AREA);
  charge(t, 14);
  t.k.alias_log?.unmapped(t, addr);
  t.k.sanitizers?.unmapped(t, addr);
  const vm = yield* t.k.vmap.remove_vm(t, addr);
  t.k.sanitizers?.unmapDone(t, addr, vm !== null);
  leave(t);
  return vm;
}

/**
 * Frees a vm_struct that {@linkcode remove_vm_area} returned: kfree().
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   free_vm_struct,
 *   get_vm_area,
 *   remove_vm_area,
 *   VM_MAP,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const { addr } = (yield* get_vm_area(t, 4096, VM_MAP))!;
 *   const before = t.k.slab.inUse().get("vm_struct")!;
 *   yield* free_vm_struct(t, (yield* remove_vm_area(t, addr))!);
 *   assertEquals(t.k.slab.inUse().get("vm_struct"), before - 1);
 * });
 * ```
 */
export function free_vm_struct(t: Thread, vm: VmStruct): Steps {
  return kmem_cache_free(t, t.k.vmalloc.vm_cache(t), vm);
}

/**
 * Maps `pages[0...]` to all of `area` but the guard.
 *
 * Linux: mm/vmalloc.c.
 *
 * @returns 0; -EBUSY after a warning if something is mapped there, -ENOMEM.
 *
 * @example
 * ```ts
 * import {
 *   alloc_page,
 *   boot,
 *   get_vm_area,
 *   GFP_KERNEL,
 *   map_vm_area,
 *   PAGE_KERNEL,
 *   VM_MAP,
 *   vmalloc_to_page,
 * } from "@vmaplab/vmaplab";
 * import { assert, assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const area = (yield* get_vm_area(t, 4096, VM_MAP))!;
 *   const page = (yield* alloc_page(t, GFP_KERNEL))!;
 *   assertEquals(yield* map_vm_area(t, area, PAGE_KERNEL, [page]), 0);
 *   assert(vmalloc_to_page(t, area.addr) === page);
 * });
 * ```
 */
export function* map_vm_area(
  t: Thread,
  area: VmStruct,
  prot: number,
  pages: readonly Page[],
): Steps<0 | Errno> {
  enter(t, MAP_VM_AREA);
  charge(t, 8);
  const end = area.addr + area.size - t.k.vmalloc.page_size;
  const nr = yield* vmap_page_range(t, area.addr, end, prot, pages);
  leave(t);
  return IS_ERR_VALUE(nr) ? nr : 0;
}

/**
 * Clears and flushes `[addr, addr + size)` at once. The area stays.
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   unmap_kernel_range,
 *   vmalloc,
 *   vmalloc_to_pfn,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const pfn = boot().run(function* (t) {
 *   const addr = yield* vmalloc(t, 4096);
 *   yield* unmap_kernel_range(t, addr, 4096);
 *   return vmalloc_to_pfn(t, addr);
 * });
 * assertEquals(pfn, -1);
 * ```
 */
export function* unmap_kernel_range(
  t: Thread,
  addr: number,
  size: number,
): Steps {
  enter(t, UNMAP_KERNEL_RANGE);
  yield* vunmap_page_range(t, addr, addr + size);
  yield* flush_tlb_kernel_range(t, addr, addr + size);
  leave(t);
}

/**
 * Takes an area whose page tables exist and are empty, for a hypervisor to fill
 * in. vmalloc_sync_all() has nothing to do here: all address spaces share the
 * kernel's tables.
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import {
 *   alloc_vm_area,
 *   boot,
 *   free_vm_area,
 *   vmalloc_to_pfn,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const area = (yield* alloc_vm_area(t, 4096))!; // tables are there
 *   assertEquals(vmalloc_to_pfn(t, area.addr), -1); // and empty
 *   yield* free_vm_area(t, area);
 * });
 * ```
 */
export function* alloc_vm_area(
  t: Thread,
  size: number,
): Steps<VmStruct | null> {
  enter(t, ALLOC_VM_AREA);
  t.k.vmalloc.nr_alloc_vm_area++;
  const area = yield* get_vm_area_caller(t, size, VM_IOREMAP, ALLOC_VM_AREA);
  if (area === null) {
    leave(t);
    return null;
  }
  const end = area.addr + area.size;
  const error = yield* apply_to_page_range(t, t.k.init_mm, area.addr, end);
  if (error !== 0) yield* free_vm_area(t, area);
  leave(t);
  return error === 0 ? area : null;
}

/**
 * Frees an area of get_vm_area() or {@linkcode alloc_vm_area}, descriptor and
 * all.
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   find_vm_area,
 *   free_vm_area,
 *   get_vm_area,
 *   VM_MAP,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const area = (yield* get_vm_area(t, 4096, VM_MAP))!;
 *   yield* free_vm_area(t, area);
 *   assertEquals(yield* find_vm_area(t, area.addr), null);
 * });
 * ```
 */
export function* free_vm_area(t: Thread, area: VmStruct): Steps {
  enter(t, FREE_VM_AREA);
  const removed = yield* remove_vm_area(t, area.addr);
  BUG_ON(t, removed !== area, "another area has this one's address");
  yield* free_vm_struct(t, area);
  leave(t);
}
