/**
 * Local descriptor tables of a guest (xen_alloc_ldt() and its kin,
 * arch/x86/xen/enlighten.c): Xen uses a table only while nobody can write it, so
 * both known aliases of every page of it are made read-only, and descriptors are
 * written by hypercall.
 *
 * Fixed against 2.6.28: vm_unmap_aliases() comes first, since a page of the
 * table may have a third alias, which lazy unmapping has left
 * (`xen.quirk=no-unmap-aliases-on-ldt`).
 *
 * Differs from Linux: the table is loaded once, at its allocation, which is when
 * Xen looks at it, and unloaded at once: no process runs that would keep it.
 */
import { enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { PAGE_KERNEL, PAGE_KERNEL_RO } from "../../arch/hw/pte.ts";
import { BUG_ON } from "../bug.ts";
import { LDT_ENTRY_SIZE, type LdtOps } from "../ldt.ts";
import { vm_unmap_aliases } from "../mm/vmap.ts";
import type { Thread } from "../thread.ts";
import {
  HYPERVISOR_mmuext_op,
  HYPERVISOR_update_descriptor,
} from "./hypercall.ts";
import { set_aliased_prot } from "./mmu.ts";
import { xen_refused } from "./multicalls.ts";
import { xen_state } from "./setup.ts";

const XEN_ALLOC_LDT = ksym("xen_alloc_ldt");
const XEN_FREE_LDT = ksym("xen_free_ldt");
const XEN_WRITE_LDT_ENTRY = ksym("xen_write_ldt_entry");

/** Addresses of the pages of a table. */
function pages_of(t: Thread, addr: number, entries: number): number[] {
  const { pageBytes } = t.machine.memory;
  const count = Math.ceil(entries * LDT_ENTRY_SIZE / pageBytes);
  return Array.from({ length: count }, (_, i) => addr + i * pageBytes);
}

/** Frame at `vaddr`. */
function frame_at(t: Thread, vaddr: number): number {
  const pfn = t.machine.mmu.peek(t.k.init_mm.pgd, vaddr);
  BUG_ON(t, pfn < 0, "no frame below a descriptor table");
  return pfn;
}

/** Tables of a guest. */
export const XEN_LDT: LdtOps = {
  *alloc_ldt(t, addr, entries) {
    enter(t, XEN_ALLOC_LDT);
    if (!xen_state(t).quirks.ldtWithAliases) yield* vm_unmap_aliases(t);
    const pages = pages_of(t, addr, entries);
    for (const at of pages) yield* set_aliased_prot(t, at, PAGE_KERNEL_RO);
    const frames = pages.map((at) => frame_at(t, at));
    const error = yield* HYPERVISOR_mmuext_op(t, [
      { cmd: "set_ldt", frames },
      { cmd: "set_ldt", frames: [] },
    ]);
    if (error !== 0) xen_refused(t, "a descriptor table is refused");
    leave(t);
  },

  *free_ldt(t, addr, entries) {
    enter(t, XEN_FREE_LDT);
    for (const at of pages_of(t, addr, entries)) {
      yield* set_aliased_prot(t, at, PAGE_KERNEL);
    }
    leave(t);
  },

  *write_ldt_entry(t: Thread, addr: number, lo: number, hi: number): Steps {
    enter(t, XEN_WRITE_LDT_ENTRY);
    const { pageBytes } = t.machine.memory;
    const maddr = frame_at(t, addr) * pageBytes + addr % pageBytes;
    const error = yield* HYPERVISOR_update_descriptor(t, maddr, lo, hi);
    BUG_ON(t, error !== 0, "a descriptor is refused");
    leave(t);
  },
};
