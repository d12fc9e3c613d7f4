/**
 * vmalloc(): memory that is contiguous in kernel addresses only, and the index
 * of the whole interface (mm/vmalloc.c).
 *
 * Lock order: none of its own; see vmap_layer.ts and the layer that runs.
 *
 * Differs from Linux: the array of an area's pages is a host array. What it
 * would take in memory is allocated all the same, from vmalloc() itself above a
 * page; nothing reads or writes it there.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  type Sym,
} from "../../arch/asm.ts";
import { PAGE_KERNEL, PAGE_KERNEL_EXEC } from "../../arch/hw/pte.ts";
import { CacheLine } from "../../arch/hw/line.ts";
import { KernelBug } from "../bug.ts";
import type { Thread } from "../thread.ts";
import { __GFP_DMA32, __GFP_HIGHMEM, __GFP_ZERO, GFP_KERNEL } from "./gfp.ts";
import { alloc_page, alloc_pages_node } from "./page_alloc.ts";
import type { Page } from "./page.ts";
import { RewriteLayer } from "./rewrite_layer.ts";
import { kmalloc_node } from "./slab.ts";
import { vfree } from "./vfree.ts";
import {
  __get_vm_area_node,
  caller_of,
  find_vm_area,
  free_vm_struct,
  map_vm_area,
  remove_vm_area,
} from "./vm_area.ts";
import { VM_ALLOC, VM_USERMAP, VM_VPAGES, type VmStruct } from "./vm_struct.ts";
import type { VmapLayerFactory } from "./vmap_layer.ts";
import { GFP_RECLAIM_MASK, VmallocState } from "./vmalloc_state.ts";
import { VmlistLayer } from "./vmlist_layer.ts";

export { VmallocState } from "./vmalloc_state.ts";
export { vfree } from "./vfree.ts";
export * from "./vm_area.ts";
export {
  vm_map_ram,
  vm_unmap_aliases,
  vm_unmap_ram,
  vmap,
  vunmap,
} from "./vmap.ts";
export { vmalloc_to_page, vmalloc_to_pfn } from "./pgtable.ts";

const VMALLOC_INIT = ksym("vmalloc_init");
const __VMALLOC_NODE = ksym("__vmalloc_node");
const __VMALLOC_AREA_NODE = ksym("__vmalloc_area_node");
const VMALLOC_USER = ksym("vmalloc_user");
const VMALLOC_32_USER = ksym("vmalloc_32_user");

/** Layers that `vmap=` may name. */
export const VMAP_LAYERS: Readonly<Record<string, VmapLayerFactory>> = {
  rewrite: (k) => new RewriteLayer(k),
  vmlist: (k) => new VmlistLayer(k),
};

/**
 * Brings vmalloc up, with the layer that `vmap=` names. Allocation works once
 * the slab allocator does too. Plain.
 *
 * Context: boot, one CPU.
 */
export function vmalloc_init(t: Thread): void {
  enter(t, VMALLOC_INIT);
  const k = t.k;
  charge(t, 20 + 12 * k.cpu_possible.weight);
  const name: string = k.params.vmap;
  const make = k.vmap_layers[name] ?? VMAP_LAYERS[name];
  if (make === undefined) {
    const known = [...Object.keys(VMAP_LAYERS), ...Object.keys(k.vmap_layers)];
    throw new KernelBug(
      t,
      `Kernel panic - not syncing: no vmap layer is called "${name}": ${
        known.join(", ")
      }`,
    );
  }
  k.vmalloc = new VmallocState(k);
  const layer = make(k);
  layer.init(t);
  // A14: what was set up earlier keeps its addresses.
  for (let vm = k.early_vmlist; vm !== null; vm = vm.next) {
    layer.import_vm(t, vm);
    k.vmalloc.nr_vm_structs++;
  }
  k.vmalloc.vmlist = k.early_vmlist;
  k.vmap = layer; // last: it is what says "initialised"
  leave(t);
}

/**
 * Registers an area that is in use before vmalloc_init().
 *
 * Context: boot, one CPU. Plain.
 *
 * Linux: mm/vmalloc.c of later kernels.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   find_vm_area,
 *   START_KERNEL_STEPS,
 *   step,
 *   vm_area_add_early,
 *   VM_IOREMAP,
 *   VmStruct,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const early = step("my_early_area", ["init_mm"], (t) => {
 *   const area = new VmStruct();
 *   area.reset(VM_IOREMAP, 8192, 0);
 *   area.addr = 0xc20000100000;
 *   vm_area_add_early(t, area);
 * });
 * const steps = START_KERNEL_STEPS.flatMap((s) =>
 *   s.name === "vmalloc_init" ? [early, s] : [s]
 * );
 * const found = boot({ steps }).run((t) => find_vm_area(t, 0xc20000100000));
 * assertEquals(found?.size, 8192);
 * ```
 */
export function vm_area_add_early(t: Thread, vm: VmStruct): void {
  const k = t.k;
  if (k.vmap !== undefined) {
    throw new KernelBug(t, "vm_area_add_early() after vmalloc_init()");
  }
  vm.line ??= new CacheLine(0);
  let prev: VmStruct | null = null;
  let p = k.early_vmlist;
  for (; p !== null && p.addr < vm.addr; p = p.next) prev = p;
  vm.next = p;
  if (prev === null) k.early_vmlist = vm;
  else prev.next = vm;
}

/**
 * Whether `addr` lies in vmalloc space. Plain.
 *
 * Linux: include/linux/mm.h.
 *
 * @example
 * ```ts
 * import {
 *   __get_free_page,
 *   boot,
 *   GFP_KERNEL,
 *   is_vmalloc_addr,
 *   vmalloc,
 * } from "@vmaplab/vmaplab";
 * import { assert, assertFalse } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   assert(is_vmalloc_addr(t, yield* vmalloc(t, 4096)));
 *   assertFalse(is_vmalloc_addr(t, yield* __get_free_page(t, GFP_KERNEL)));
 * });
 * ```
 */
export function is_vmalloc_addr(t: Thread, addr: number): boolean {
  const { start, end } = t.k.vmalloc;
  return addr >= start && addr < end;
}

/**
 * Allocates pages for `area` and maps them.
 *
 * @returns The address; 0 after freeing everything, the area too.
 */
export function* __vmalloc_area_node(
  t: Thread,
  area: VmStruct,
  gfp: number,
  prot: number,
  node: number,
  caller: number,
): Steps<number> {
  enter(t, __VMALLOC_AREA_NODE);
  charge(t, 30);
  t.k.vmalloc.nr_vmalloc++;
  const { page_size } = t.k.vmalloc;
  const nr_pages = (area.size - page_size) / page_size;
  area.caller = caller;
  if (!(yield* alloc_page_array(t, area, nr_pages, gfp, node, caller))) {
    yield* remove_vm_area(t, area.addr);
    yield* free_vm_struct(t, area);
    leave(t);
    return 0;
  }
  const pages: Page[] = [];
  area.pages = pages;
  for (let i = 0; i < nr_pages; i++) {
    charge(t, 10);
    const page = node < 0
      ? yield* alloc_page(t, gfp)
      : yield* alloc_pages_node(t, node, gfp, 0);
    if (page === null) break;
    pages.push(page);
    area.nr_pages = i + 1;
  }
  const done = pages.length === nr_pages &&
    (yield* map_vm_area(t, area, prot, pages)) === 0;
  const addr = area.addr;
  if (!done) yield* vfree(t, addr);
  leave(t);
  return done ? addr : 0;
}

/** Memory for `nr_pages` pointers: from vmalloc() itself if they take more than a page. @returns Whether there was some. */
function* alloc_page_array(
  t: Thread,
  area: VmStruct,
  nr_pages: number,
  gfp: number,
  node: number,
  caller: number,
): Steps<boolean> {
  const pointer = t.machine.spec.paging.format === "i386-pae" ? 4 : 8;
  const bytes = nr_pages * pointer;
  if (bytes > t.k.vmalloc.page_size) {
    area.pages_addr = yield* __vmalloc_node(
      t,
      bytes,
      gfp | __GFP_ZERO,
      PAGE_KERNEL,
      node,
      caller,
    );
    area.flags |= VM_VPAGES;
    return area.pages_addr !== 0;
  }
  const reclaim = (gfp & GFP_RECLAIM_MASK) | __GFP_ZERO;
  area.pages_obj = yield* kmalloc_node(t, bytes, reclaim, node);
  return area.pages_obj !== null;
}

/**
 * Allocates `size` bytes, rounded up to pages, and maps them side by side.
 *
 * Context: process; may sleep as `gfp` says. BUG in interrupts.
 *
 * @param node NUMA node of the pages; -1 = any.
 * @returns The address; 0 if there is no room or no memory, or `size` is 0.
 */
export function* __vmalloc_node(
  t: Thread,
  size: number,
  gfp: number,
  prot: number,
  node: number,
  caller: number,
): Steps<number> {
  const k = t.k;
  if (k.vmap === undefined) k.need(t, "vmap", "vmalloc_init");
  enter(t, __VMALLOC_NODE);
  charge(t, 16);
  const { start, end, page_size } = k.vmalloc;
  const nr_pages = Math.ceil(size / page_size);
  if (!(nr_pages > 0 && nr_pages <= k.bootmem.max_pfn)) {
    leave(t);
    return 0;
  }
  const area = yield* __get_vm_area_node(
    t,
    nr_pages * page_size,
    VM_ALLOC,
    start,
    end,
    node,
    gfp,
    caller,
  );
  const addr = area === null
    ? 0
    : yield* __vmalloc_area_node(t, area, gfp, prot, node, caller);
  leave(t);
  return addr;
}

/**
 * {@linkcode __vmalloc_node} from any node, with a choice of flags and
 * protection.
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import {
 *   __GFP_HIGHMEM,
 *   __GFP_ZERO,
 *   __vmalloc,
 *   boot,
 *   GFP_KERNEL,
 *   PAGE_KERNEL_RO,
 *   vload,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const word = boot().run(function* (t) {
 *   const gfp = GFP_KERNEL | __GFP_HIGHMEM | __GFP_ZERO;
 *   const addr = yield* __vmalloc(t, 4096, gfp, PAGE_KERNEL_RO);
 *   return yield* vload(t, addr, 8);
 * });
 * assertEquals(word, 0);
 * ```
 */
export function __vmalloc(
  t: Thread,
  size: number,
  gfp: number,
  prot: number,
): Steps<number> {
  return __vmalloc_node(t, size, gfp, prot, -1, caller_of(t));
}

/** Pages for a descriptor that __get_vm_area() made: the module loader's way. */
export function __vmalloc_area(
  t: Thread,
  area: VmStruct,
  gfp: number,
  prot: number,
): Steps<number> {
  return __vmalloc_area_node(t, area, gfp, prot, -1, caller_of(t));
}

/**
 * Allocates `size` bytes, rounded up to pages.
 *
 * Linux: mm/vmalloc.c.
 *
 * @returns The address; 0 = failed.
 *
 * @example
 * ```ts
 * import { boot, vfree, vload, vmalloc, vstore } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const addr = yield* vmalloc(t, 3 * 4096); // 0 = failed
 *   yield* vstore(t, addr + 2 * 4096, 8, 42);
 *   assertEquals(yield* vload(t, addr + 2 * 4096, 8), 42);
 *   yield* vfree(t, addr);
 * });
 * ```
 */
export function vmalloc(t: Thread, size: number): Steps<number> {
  return __vmalloc(t, size, GFP_KERNEL | __GFP_HIGHMEM, PAGE_KERNEL);
}

/**
 * {@linkcode vmalloc}, cleared (as vzalloc() of later kernels).
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import { boot, vload, vzalloc } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const word = boot().run(function* (t) {
 *   const addr = yield* vzalloc(t, 4096);
 *   return yield* vload(t, addr + 4088, 8);
 * });
 * assertEquals(word, 0);
 * ```
 */
export function vzalloc(t: Thread, size: number): Steps<number> {
  const gfp = GFP_KERNEL | __GFP_HIGHMEM | __GFP_ZERO;
  return __vmalloc(t, size, gfp, PAGE_KERNEL);
}

/**
 * {@linkcode vmalloc} of pages of one node.
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import { boot, vmalloc_node, vmalloc_to_page } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const node = boot().run(function* (t) {
 *   const addr = yield* vmalloc_node(t, 4096, 1);
 *   return vmalloc_to_page(t, addr)!.node;
 * });
 * assertEquals(node, 1);
 * ```
 */
export function vmalloc_node(
  t: Thread,
  size: number,
  node: number,
): Steps<number> {
  const gfp = GFP_KERNEL | __GFP_HIGHMEM;
  return __vmalloc_node(t, size, gfp, PAGE_KERNEL, node, caller_of(t));
}

/**
 * {@linkcode vmalloc} of executable memory.
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import { boot, is_vmalloc_addr, vmalloc_exec } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const mapped = boot().run(function* (t) {
 *   return is_vmalloc_addr(t, yield* vmalloc_exec(t, 4096));
 * });
 * assert(mapped);
 * ```
 */
export function vmalloc_exec(t: Thread, size: number): Steps<number> {
  return __vmalloc(t, size, GFP_KERNEL | __GFP_HIGHMEM, PAGE_KERNEL_EXEC);
}

/**
 * {@linkcode vmalloc} of memory below 4 GiB.
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import { boot, vmalloc_32, vmalloc_to_pfn } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const below = boot().run(function* (t) {
 *   const addr = yield* vmalloc_32(t, 4096);
 *   return vmalloc_to_pfn(t, addr) < 2 ** 20;
 * });
 * assert(below); // 4 GiB are 2 ** 20 pages
 * ```
 */
export function vmalloc_32(t: Thread, size: number): Steps<number> {
  return __vmalloc(t, size, GFP_KERNEL | __GFP_DMA32, PAGE_KERNEL);
}

/**
 * Cleared memory that remap_vmalloc_range() will map to user space.
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   find_vm_area,
 *   vload,
 *   VM_ALLOC,
 *   VM_USERMAP,
 *   vmalloc_user,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const [word, flags] = boot().run(function* (t) {
 *   const addr = yield* vmalloc_user(t, 4096);
 *   const area = (yield* find_vm_area(t, addr))!;
 *   return [yield* vload(t, addr, 8), area.flags];
 * });
 * assertEquals([word, flags], [0, VM_ALLOC | VM_USERMAP]);
 * ```
 */
export function vmalloc_user(t: Thread, size: number): Steps<number> {
  return vmalloc_usermap(
    t,
    VMALLOC_USER,
    size,
    GFP_KERNEL | __GFP_HIGHMEM | __GFP_ZERO,
  );
}

/**
 * {@linkcode vmalloc_user} below 4 GiB.
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   find_vm_area,
 *   VM_ALLOC,
 *   VM_USERMAP,
 *   vmalloc_32_user,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const flags = boot().run(function* (t) {
 *   const addr = yield* vmalloc_32_user(t, 4096);
 *   return (yield* find_vm_area(t, addr))!.flags;
 * });
 * assertEquals(flags, VM_ALLOC | VM_USERMAP);
 * ```
 */
export function vmalloc_32_user(t: Thread, size: number): Steps<number> {
  return vmalloc_usermap(
    t,
    VMALLOC_32_USER,
    size,
    GFP_KERNEL | __GFP_DMA32 | __GFP_ZERO,
  );
}

function* vmalloc_usermap(
  t: Thread,
  sym: Sym,
  size: number,
  gfp: number,
): Steps<number> {
  enter(t, sym);
  const addr = yield* __vmalloc(t, size, gfp, PAGE_KERNEL);
  if (addr !== 0) {
    const area = yield* find_vm_area(t, addr);
    area!.flags |= VM_USERMAP;
  }
  leave(t);
  return addr;
}
