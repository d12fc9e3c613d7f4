/**
 * vfree() and vunmap() (mm/vmalloc.c).
 *
 * With lazy unmapping the pages of a vfree() go back to the allocator at once,
 * while page tables and TLBs still know them at the old address: whoever uses a
 * freed address reads somebody else's memory until the purge.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { printVaddr } from "../../arch/hw/pte.ts";
import { BUG_ON, WARN_ON } from "../bug.ts";
import { in_interrupt, type Thread } from "../thread.ts";
import { __free_page } from "./page_alloc.ts";
import { kfree } from "./slab.ts";
import { free_vm_struct, remove_vm_area } from "./vm_area.ts";
import { VM_VPAGES, type VmStruct } from "./vm_struct.ts";

const VFREE = ksym("vfree");
const VUNMAP = ksym("vunmap");
const __VUNMAP = ksym("__vunmap");

/**
 * Frees what vmalloc() returned. 0 (NULL) is fine.
 *
 * Context: not in interrupts (BUG).
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import { boot, vfree, vmalloc } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const { warnings } = boot().run(function* (t) {
 *   const addr = yield* vmalloc(t, 4096);
 *   yield* vfree(t, addr);
 *   yield* vfree(t, 0); // fine
 *   yield* vfree(t, addr); // warns: nothing there any more
 *   return t.k.printk;
 * });
 * assertEquals(warnings, 1);
 * ```
 */
export function* vfree(t: Thread, addr: number): Steps {
  enter(t, VFREE);
  BUG_ON(t, in_interrupt(t), "vfree in interrupt");
  charge(t, 6);
  yield* __vunmap(t, addr, true);
  leave(t);
}

/**
 * Unmaps what vmap() returned; its pages stay the caller's.
 *
 * Context: not in interrupts (BUG).
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
 *   VM_MAP,
 *   vmap,
 *   vunmap,
 * } from "@vmaplab/vmaplab";
 * import { assertFalse } from "@std/assert";
 *
 * const freed = boot().run(function* (t) {
 *   const page = (yield* alloc_page(t, GFP_KERNEL))!;
 *   const addr = yield* vmap(t, [page], 1, VM_MAP, PAGE_KERNEL);
 *   yield* vunmap(t, addr);
 *   return page_count(page) === 0;
 * });
 * assertFalse(freed); // the page stays the caller's
 * ```
 */
export function* vunmap(t: Thread, addr: number): Steps {
  enter(t, VUNMAP);
  BUG_ON(t, in_interrupt(t), "vunmap in interrupt");
  charge(t, 6);
  yield* __vunmap(t, addr, false);
  leave(t);
}

function* __vunmap(t: Thread, addr: number, free_pages: boolean): Steps {
  if (addr === 0) return;
  enter(t, __VUNMAP);
  charge(t, 20);
  const { page_size } = t.k.vmalloc;
  const area = addr % page_size === 0 ? yield* remove_vm_area(t, addr) : null;
  if (area === null) {
    const what = addr % page_size === 0 ? "nonexistent vm area" : "bad address";
    const at = printVaddr(t.machine.mmu.format, addr);
    WARN_ON(t, true, `Trying to vfree() ${what} (${at})`);
    leave(t);
    return;
  }
  if (free_pages) yield* free_area_pages(t, area);
  yield* free_vm_struct(t, area);
  leave(t);
}

function* free_area_pages(t: Thread, area: VmStruct): Steps {
  const { pages, nr_pages } = area;
  for (let i = 0; i < nr_pages; i++) {
    charge(t, 6);
    const page = pages[i];
    BUG_ON(t, page === null, "vmalloc area without pages");
    yield* __free_page(t, page!);
  }
  if ((area.flags & VM_VPAGES) !== 0) yield* vfree(t, area.pages_addr);
  else if (area.pages_obj !== null) yield* kfree(t, area.pages_obj);
}
