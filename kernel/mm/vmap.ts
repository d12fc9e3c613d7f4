/**
 * Mapping pages that the caller has: vmap(), and what goes straight to the
 * layer: vm_map_ram(), vm_unmap_ram(), vm_unmap_aliases() (mm/vmalloc.c).
 *
 * Addresses are the low 48 bits as a number; 0 stands for NULL.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import type { Thread } from "../thread.ts";
import { DONE } from "../../arch/sim/ready.ts";
import type { Page } from "./page.ts";
import { vunmap } from "./vfree.ts";
import { caller_of, get_vm_area_caller, map_vm_area } from "./vm_area.ts";

export { vunmap } from "./vfree.ts";

const VMAP = ksym("vmap");

/**
 * Maps `pages[0..count)` side by side.
 *
 * Context: process; may sleep.
 *
 * Linux: mm/vmalloc.c.
 *
 * @param flags `VM_MAP` as a rule.
 * @param prot `PROT_*` bits such as PAGE_KERNEL.
 * @returns The address; 0 if there is no room or no memory, or `count` is 0.
 *
 * @example
 * ```ts
 * import {
 *   alloc_page,
 *   boot,
 *   GFP_KERNEL,
 *   PAGE_KERNEL,
 *   VM_MAP,
 *   vmalloc_to_page,
 *   vmap,
 *   vunmap,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const a = (yield* alloc_page(t, GFP_KERNEL))!;
 *   const b = (yield* alloc_page(t, GFP_KERNEL))!;
 *   const addr = yield* vmap(t, [b, a], 2, VM_MAP, PAGE_KERNEL);
 *   assert(vmalloc_to_page(t, addr) === b);
 *   assert(vmalloc_to_page(t, addr + 4096) === a);
 *   yield* vunmap(t, addr);
 * });
 * ```
 */
export function* vmap(
  t: Thread,
  pages: readonly Page[],
  count: number,
  flags: number,
  prot: number,
): Steps<number> {
  const caller = caller_of(t);
  enter(t, VMAP);
  t.k.vmalloc.nr_vmap++;
  charge(t, 12);
  if (count > t.k.bootmem.max_pfn) {
    leave(t);
    return 0;
  }
  const size = count * t.machine.memory.pageBytes;
  const area = yield* get_vm_area_caller(t, size, flags, caller);
  if (area === null) {
    leave(t);
    return 0;
  }
  let addr = area.addr;
  if ((yield* map_vm_area(t, area, prot, pages)) !== 0) {
    yield* vunmap(t, addr);
    addr = 0;
  }
  leave(t);
  return addr;
}

/**
 * Maps `pages[0..count)` side by side, for callers that map and unmap often.
 *
 * Context: process; may sleep.
 *
 * Linux: mm/vmalloc.c.
 *
 * @param count Pages; up to 64 (32 on i386) come from this CPU's blocks.
 * @param node NUMA node for descriptors; -1 = any.
 * @returns The address; 0 if there is no room or no memory, or `count` is 0.
 *
 * @example
 * ```ts
 * import {
 *   alloc_page,
 *   boot,
 *   GFP_KERNEL,
 *   PAGE_KERNEL,
 *   vload,
 *   vm_map_ram,
 *   vm_unmap_ram,
 *   vstore,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const page = (yield* alloc_page(t, GFP_KERNEL))!;
 *   const addr = yield* vm_map_ram(t, [page, page], 2, -1, PAGE_KERNEL);
 *   yield* vstore(t, addr, 8, 7);
 *   assertEquals(yield* vload(t, addr + 4096, 8), 7); // the same page twice
 *   yield* vm_unmap_ram(t, addr, 2);
 * });
 * ```
 */
export function vm_map_ram(
  t: Thread,
  pages: readonly Page[],
  count: number,
  node: number,
  prot: number,
): Steps<number> {
  if (t.k.vmap === undefined) t.k.need(t, "vmap", "vmalloc_init");
  t.k.vmalloc.nr_vm_map_ram++;
  const steps = t.k.vmap.vm_map_ram(t, pages, count, node, prot);
  const watched = t.k.alias_log !== null || t.k.sanitizers !== null;
  return watched ? logged(t, steps, pages, count) : steps;
}

/** Notes in the alias log, and tells sanitizers, what `steps` has mapped. */
function* logged(
  t: Thread,
  steps: Steps<number>,
  pages: readonly Page[],
  count: number,
): Steps<number> {
  const addr = yield* steps;
  const bytes = count * t.k.vmalloc.page_size;
  if (addr !== 0) {
    t.k.alias_log?.mapped(t, addr, addr + bytes);
    t.k.sanitizers?.mapped(t, addr, addr + bytes);
    t.k.sanitizers?.ramMapped(t, addr, count, pages);
  }
  return addr;
}

/**
 * Unmaps what {@linkcode vm_map_ram} returned for the same `count`. The pages
 * stay the caller's.
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import {
 *   alloc_page,
 *   boot,
 *   GFP_KERNEL,
 *   page_count,
 *   PAGE_KERNEL,
 *   vm_map_ram,
 *   vm_unmap_ram,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const counts = boot().run(function* (t) {
 *   const page = (yield* alloc_page(t, GFP_KERNEL))!;
 *   const addr = yield* vm_map_ram(t, [page], 1, -1, PAGE_KERNEL);
 *   const { flushes } = t.k.vmalloc;
 *   yield* vm_unmap_ram(t, addr, 1);
 *   return [t.k.vmalloc.flushes - flushes, page_count(page)];
 * });
 * assertEquals(counts, [0, 1]); // no flush, and the page stays ours
 * ```
 */
export function vm_unmap_ram(
  t: Thread,
  addr: number,
  count: number,
): Steps {
  t.k.alias_log?.unmapped(t, addr);
  if (t.k.sanitizers !== null) return watched_unmap(t, addr, count);
  return t.k.vmap.vm_unmap_ram(t, addr, count);
}

/** {@linkcode vm_unmap_ram} under the eyes of sanitizers. */
function* watched_unmap(t: Thread, addr: number, count: number): Steps {
  t.k.sanitizers!.unmapped(t, addr);
  yield* t.k.vmap.vm_unmap_ram(t, addr, count);
  t.k.sanitizers!.unmapDone(t, addr, true);
}

/**
 * Gets rid of every alias that lazy unmapping has left: on return, what had been
 * unmapped before the call is in no page table and in no TLB. Before
 * vmalloc_init() it does nothing: there are none.
 *
 * Context: interrupts on; waits for every CPU.
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import {
 *   alloc_page,
 *   boot,
 *   GFP_KERNEL,
 *   PAGE_KERNEL,
 *   vm_map_ram,
 *   vm_unmap_aliases,
 *   vm_unmap_ram,
 *   vmalloc_to_pfn,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const pfns = boot().run(function* (t) {
 *   const page = (yield* alloc_page(t, GFP_KERNEL))!;
 *   const addr = yield* vm_map_ram(t, [page], 1, -1, PAGE_KERNEL);
 *   yield* vm_unmap_ram(t, addr, 1);
 *   const lazily = vmalloc_to_pfn(t, addr); // still in the page table
 *   yield* vm_unmap_aliases(t);
 *   return [lazily === page.pfn, vmalloc_to_pfn(t, addr)];
 * });
 * assertEquals(pfns, [true, -1]);
 * ```
 */
export function vm_unmap_aliases(t: Thread): Steps {
  const k = t.k;
  if (k.vmap !== undefined) {
    k.vmalloc.nr_unmap_aliases++;
    if (k.sanitizers !== null) return watched_unmap_aliases(t);
    return k.vmap.vm_unmap_aliases(t);
  }
  // A15: nothing says so, and list heads are still zero.
  if (k.params.vmap_quirk.has("no-init-check")) {
    k.need(t, "vmap", "vmalloc_init");
  }
  return DONE;
}

/** {@linkcode vm_unmap_aliases} under the eyes of sanitizers. */
function* watched_unmap_aliases(t: Thread): Steps {
  t.k.sanitizers!.aliasesBegin(t);
  yield* t.k.vmap.vm_unmap_aliases(t);
  t.k.sanitizers!.aliasesEnd(t);
}
