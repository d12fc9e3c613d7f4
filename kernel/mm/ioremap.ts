/**
 * ioremap(): device memory at kernel addresses (arch/x86/mm/ioremap.c).
 *
 * Left out: memory types (reserve_memtype), the fixed mapping of the low ISA
 * area. RAM is refused, as on x86.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { PAGE_KERNEL_NOCACHE, printVaddr } from "../../arch/hw/pte.ts";
import { BUG_ON } from "../bug.ts";
import { IS_ERR_VALUE } from "../lib/errno.ts";
import { KERN_ERR, KERN_WARNING, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import { ioremap_page_range } from "./pgtable.ts";
import {
  caller_of,
  free_vm_area,
  free_vm_struct,
  get_vm_area_caller,
  remove_vm_area,
} from "./vm_area.ts";
import { VM_IOREMAP, vmlist_find } from "./vm_struct.ts";

const __IOREMAP_CALLER = ksym("__ioremap_caller");
const IOUNMAP = ksym("iounmap");

/** Physical addresses end here: 40 bits, what an entry of any format holds. */
const PHYS_LIMIT = 2 ** 40;

/**
 * Maps `size` bytes of bus addresses from `phys` on, uncached.
 *
 * Context: process; may sleep.
 *
 * Linux: arch/x86/mm/ioremap.c.
 *
 * @returns The address of `phys` itself, aligned or not; 0 = failed.
 *
 * @example
 * ```ts
 * import { boot, ioremap_nocache, vmalloc_to_pfn } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const pfn = boot().run(function* (t) {
 *   const bar = 0xf_0000_0000;
 *   const regs = yield* ioremap_nocache(t, bar, 4096);
 *   return vmalloc_to_pfn(t, regs);
 * });
 * assertEquals(pfn, 0xf_0000_0000 / 4096);
 * ```
 */
export function ioremap_nocache(
  t: Thread,
  phys: number,
  size: number,
): Steps<number> {
  return __ioremap_caller(t, phys, size, PAGE_KERNEL_NOCACHE, caller_of(t));
}

/**
 * {@linkcode ioremap_nocache}: on x86 they are the same.
 *
 * Linux: arch/x86/mm/ioremap.c.
 *
 * @example
 * ```ts
 * import { boot, ioremap, iounmap } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const { memory } = t.machine;
 *   const bar = memory.nrFrames * memory.pageBytes; // above all RAM
 *   const regs = yield* ioremap(t, bar + 0x10, 64);
 *   assertEquals(regs % 4096, 0x10);
 *   yield* iounmap(t, regs);
 *   assertEquals(yield* ioremap(t, 0, 64), 0); // RAM is refused
 * });
 * ```
 */
export const ioremap: typeof ioremap_nocache = ioremap_nocache;

/** {@linkcode ioremap_nocache} with a choice of protection. */
export function* __ioremap_caller(
  t: Thread,
  phys: number,
  size: number,
  prot: number,
  caller: number,
): Steps<number> {
  enter(t, __IOREMAP_CALLER);
  charge(t, 60);
  t.k.vmalloc.nr_ioremap++;
  const { page_size } = t.k.vmalloc;
  const end = phys + size;
  const { nrFrames, pageBytes } = t.machine.memory;
  if (!(size > 0 && phys >= 0 && end <= PHYS_LIMIT)) {
    printk(
      t,
      KERN_WARNING,
      `ioremap: invalid physical address ${phys.toString(16)}`,
    );
    leave(t);
    return 0;
  }
  if (phys < nrFrames * pageBytes) { // RAM is somebody's already
    leave(t);
    return 0;
  }
  const offset = phys % page_size;
  const first = phys - offset;
  const bytes = Math.ceil(end / page_size) * page_size - first;
  const area = yield* get_vm_area_caller(t, bytes, VM_IOREMAP, caller);
  if (area === null) {
    leave(t);
    return 0;
  }
  area.phys_addr = first;
  const { addr } = area;
  const nr = yield* ioremap_page_range(
    t,
    addr,
    addr + bytes,
    first / page_size,
    prot,
  );
  if (IS_ERR_VALUE(nr)) yield* free_vm_area(t, area);
  leave(t);
  return IS_ERR_VALUE(nr) ? 0 : addr + offset;
}

/**
 * Unmaps what {@linkcode ioremap} returned.
 *
 * Linux: arch/x86/mm/ioremap.c.
 *
 * @example
 * ```ts
 * import { boot, ioremap, iounmap } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const areas = boot().run(function* (t) {
 *   const before = t.k.vmalloc.nr_vm_structs;
 *   yield* iounmap(t, yield* ioremap(t, 0xf_0000_0000, 4096));
 *   return t.k.vmalloc.nr_vm_structs - before;
 * });
 * assertEquals(areas, 0);
 * ```
 */
export function* iounmap(t: Thread, addr: number): Steps {
  const { start, end, page_size } = t.k.vmalloc;
  if (addr < start || addr >= end) return; // direct map: was never mapped
  enter(t, IOUNMAP);
  charge(t, 20);
  const at = addr - addr % page_size;
  const found = yield* vmlist_find(t, at);
  if (found === null) {
    const text = printVaddr(t.machine.mmu.format, addr);
    printk(t, KERN_ERR, `iounmap: bad address ${text}`);
    leave(t);
    return;
  }
  const removed = yield* remove_vm_area(t, at);
  BUG_ON(t, removed !== found, "iounmap of an area that went away");
  yield* free_vm_struct(t, found);
  leave(t);
}
