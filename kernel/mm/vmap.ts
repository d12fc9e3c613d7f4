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
 * @param flags `VM_MAP` as a rule.
 * @param prot `PROT_*` bits such as PAGE_KERNEL.
 * @returns The address; 0 if there is no room or no memory, or `count` is 0.
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
 * @param count Pages; up to 64 (32 on i386) come from this CPU's blocks.
 * @param node NUMA node for descriptors; -1 = any.
 * @returns The address; 0 if there is no room or no memory, or `count` is 0.
 */
export function vm_map_ram(
  t: Thread,
  pages: readonly Page[],
  count: number,
  node: number,
  prot: number,
): Steps<number> {
  if (t.k.vmap === undefined) t.k.need(t, "vmap", "vmalloc_init");
  return t.k.vmap.vm_map_ram(t, pages, count, node, prot);
}

/** Unmaps what {@linkcode vm_map_ram} returned for the same `count`. The pages stay the caller's. */
export function vm_unmap_ram(
  t: Thread,
  addr: number,
  count: number,
): Steps {
  return t.k.vmap.vm_unmap_ram(t, addr, count);
}

/**
 * Gets rid of every alias that lazy unmapping has left: on return, what had been
 * unmapped before the call is in no page table and in no TLB. Before
 * vmalloc_init() it does nothing: there are none.
 *
 * Context: interrupts on; waits for every CPU.
 */
export function vm_unmap_aliases(t: Thread): Steps {
  const k = t.k;
  if (k.vmap !== undefined) return k.vmap.vm_unmap_aliases(t);
  // A15: nothing says so, and list heads are still zero.
  if (k.params.vmap_quirk.has("no-init-check")) {
    k.need(t, "vmap", "vmalloc_init");
  }
  return DONE;
}
