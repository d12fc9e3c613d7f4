/**
 * Page tables of a guest (arch/x86/xen/mmu.c of 2.6.28).
 *
 * A tree of page tables that is in use must be known to Xen: pinned. For that
 * every page of it must be read-only, in the direct map and anywhere else. What
 * the vmap layer has unmapped lazily is elsewhere, and writable: so
 * vm_unmap_aliases() comes first, when a tree is pinned and when a page is added
 * to a tree that is. Lock order: page_table_lock, and inside it what
 * vm_unmap_aliases() takes; it waits for all CPUs, with interrupts on.
 *
 * `init_mm` is pinned from the start of the kernel; a process from the end of
 * dup_mm() to exit_mmap().
 *
 * A process has two root tables, since x86-64 has no segments to keep user mode
 * out of the kernel: one with both halves, one with the user half alone. Both
 * are pinned.
 *
 * Differs from Linux: neither is loaded, as no user mode runs; the locks of leaf tables, which pin
 * holds until the batch is issued, are left out, since nobody else writes to a
 * tree that is being pinned; entries of the kernel's space are written in place,
 * and charged as the hypercalls that they are in Linux.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { DONE } from "../../arch/sim/ready.ts";
import {
  PAGE_KERNEL,
  PAGE_KERNEL_RO,
  PROT_WRITE,
  type PtePair,
} from "../../arch/hw/pte.ts";
import { UVMF_NONE, UVMF_TLB_FLUSH } from "../../arch/xen/abi.ts";
import { BUG_ON } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import { ENOMEM, err, type Errno } from "../lib/errno.ts";
import {
  lockdep_assert_held,
  spin_lock,
  spin_unlock,
} from "../locking/spinlock.ts";
import { __GFP_ZERO, GFP_KERNEL } from "../mm/gfp.ts";
import { __free_page, alloc_page } from "../mm/page_alloc.ts";
import { type Page, pfn_to_page, PG_owner_priv_1 } from "../mm/page.ts";
import { find_pte_table, type MmStruct, populate } from "../mm/pgtable.ts";
import type { PteUpdate, PvMmuOps } from "../mm/pv_mmu.ts";
import { vm_unmap_aliases } from "../mm/vmap.ts";
import { KERN_INFO, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import { parseVaddr } from "../../arch/hw/pte.ts";
import {
  HYPERVISOR_mmu_update,
  HYPERVISOR_mmuext_op,
  HYPERVISOR_update_va_mapping,
} from "./hypercall.ts";
import {
  type Batch,
  xen_mc_batch,
  xen_mc_entry,
  xen_mc_issue,
  xen_refused,
} from "./multicalls.ts";
import { xen_state } from "./setup.ts";

const XEN_PAGETABLE_SETUP_DONE = ksym("xen_pagetable_setup_done");
const XEN_PGD_PIN = ksym("xen_pgd_pin");
const XEN_PGD_UNPIN = ksym("xen_pgd_unpin");
const XEN_ALLOC_PTPAGE = ksym("xen_alloc_ptpage");
const XEN_RELEASE_PTPAGE = ksym("xen_release_ptpage");
const SET_ALIASED_PROT = ksym("set_aliased_prot");

/** xen_set_pte_at() around its hypercall. */
const SET_PTE_INSTRUCTIONS = 12;
/** Entries of a table. */
const PTRS = 512;
/** First entry of a root table that belongs to the kernel. */
const KERNEL_SLOT = 256;

/** Direct-map address of frame `pfn`. */
function direct(k: Kernel, pfn: number): number {
  const { mmu, spec, memory } = k.machine;
  return parseVaddr(mmu.format, spec.layout.directMapStart) +
    pfn * memory.pageBytes;
}

/** A last-level entry for `pfn`. */
function entry(k: Kernel, pfn: number, prot: number): PtePair {
  const pte: PtePair = { lo: 0, hi: 0 };
  k.machine.mmu.format.encode(pfn, prot, pte);
  return pte;
}

/** The page of a table; `null` before there are any. */
function table_page(k: Kernel, pfn: number): Page | null {
  return k.pages === undefined ? null : pfn_to_page(k, pfn);
}

/** Notes that a page of a tree is pinned: PagePinned. */
function set_pinned(t: Thread, pfn: number, pinned: boolean): void {
  charge(t, 4);
  const page = table_page(t.k, pfn);
  if (page === null) return;
  if (pinned) page.flags |= PG_owner_priv_1;
  else page.flags &= ~PG_owner_priv_1;
}

/**
 * Calls `visit` for every table of `mm` that is its own, uppermost first, the
 * roots last; `level` is 1 for tables of pages, 4 for the root.
 */
function* each_table(
  t: Thread,
  mm: MmStruct,
  visit: (pfn: number, level: number) => Steps,
): Steps {
  const { format } = t.machine.mmu;
  const all = mm === t.k.init_mm ? PTRS : KERNEL_SLOT;
  const frames: [number, number][] = [];
  const walk = (table: number, level: number, end: number) => {
    const words = t.machine.memory.frame(table).words;
    if (words === null || level === 1) return;
    for (let i = 0; i < end; i++) {
      const lo = words[i * 2];
      const hi = words[i * 2 + 1];
      if ((lo & 1) === 0) continue;
      const below = format.pfn(lo, hi, 0);
      frames.push([below, level - 1]);
      walk(below, level - 1, PTRS);
    }
  };
  walk(mm.pgd, format.levels.length, all);
  frames.push([mm.pgd, format.levels.length]);
  if (mm.user_pgd >= 0) frames.push([mm.user_pgd, format.levels.length]);
  for (const [pfn, level] of frames) {
    charge(t, 20);
    yield* visit(pfn, level);
  }
}

/**
 * Makes the boot page tables known to Xen, and takes over all page-table work:
 * xen_pagetable_setup_done() and xen_post_allocator_init(). Boot, one CPU; does
 * nothing without a hypervisor.
 */
export function xen_pagetable_setup_done(t: Thread): Steps {
  return t.k.xen === null ? DONE : setup_done(t);
}

function* setup_done(t: Thread): Steps {
  enter(t, XEN_PAGETABLE_SETUP_DONE);
  const { k } = t;
  const { memory, mmu } = k.machine;
  const { init_mm } = k;
  let nr = 0;
  // The tree is not in force yet: its entries are written in place.
  yield* each_table(t, init_mm, function* (pfn) {
    const at = direct(k, pfn);
    const table = find_pte_table(k, init_mm.pgd, at);
    const w = mmu.format.index(at, mmu.format.levels.length - 1) * 2;
    const { lo, hi } = entry(k, pfn, PAGE_KERNEL_RO);
    const words = memory.frame(table).back();
    words[w] = lo;
    words[w + 1] = hi;
    nr++;
  });
  const level = mmu.format.levels.length;
  const error = yield* HYPERVISOR_mmuext_op(t, [
    { cmd: "pin_table", level, mfn: init_mm.pgd },
    { cmd: "tlb_flush_local" },
  ]);
  if (error !== 0) xen_refused(t, "the boot page tables are refused");
  init_mm.pinned = true;
  k.pv_mmu = new XenMmuOps();
  printk(t, KERN_INFO, `Xen: ${nr} page tables of init_mm pinned`);
  leave(t);
}

/**
 * Makes `mm`'s tree known to Xen.
 *
 * Context: interrupts on; waits for every CPU.
 * Locks: mm.page_table_lock held, if others may add to the tree.
 */
export function* xen_pgd_pin(t: Thread, mm: MmStruct): Steps {
  enter(t, XEN_PGD_PIN);
  const { quirks } = xen_state(t);
  // A28: first of all, and whether or not there is high memory.
  if (!quirks.pinWithAliases && !quirks.lateUnmapAliases) {
    yield* vm_unmap_aliases(t);
  }
  const batch = xen_mc_batch(t);
  yield* each_table(t, mm, (pfn, level) => pin_page(t, batch, pfn, level));
  const level = t.machine.mmu.format.levels.length;
  for (const mfn of roots_of(mm)) {
    yield* xen_mc_entry(t, batch, {
      op: "mmuext_op",
      ops: [{ cmd: "pin_table", level, mfn }],
    });
  }
  yield* xen_mc_issue(t, batch);
  mm.pinned = true;
  if (quirks.lateUnmapAliases) yield* vm_unmap_aliases(t);
  leave(t);
}

/** Root tables of `mm`. */
function roots_of(mm: MmStruct): readonly number[] {
  return mm.user_pgd < 0 ? [mm.pgd] : [mm.pgd, mm.user_pgd];
}

/** One page of a tree: read-only, and a leaf table pinned by itself (split page-table locks). */
function* pin_page(
  t: Thread,
  batch: Batch,
  pfn: number,
  level: number,
): Steps {
  set_pinned(t, pfn, true);
  const root = level === t.machine.mmu.format.levels.length;
  yield* xen_mc_entry(t, batch, {
    op: "update_va_mapping",
    vaddr: direct(t.k, pfn),
    ...entry(t.k, pfn, PAGE_KERNEL_RO),
    flags: root ? UVMF_TLB_FLUSH : UVMF_NONE,
  });
  if (level !== 1) return;
  yield* xen_mc_entry(t, batch, {
    op: "mmuext_op",
    ops: [{ cmd: "pin_table", level: 1, mfn: pfn }],
  });
}

/** Undoes {@linkcode xen_pgd_pin}. Locks: as there. */
export function* xen_pgd_unpin(t: Thread, mm: MmStruct): Steps {
  enter(t, XEN_PGD_UNPIN);
  const batch = xen_mc_batch(t);
  for (const mfn of roots_of(mm)) {
    yield* xen_mc_entry(t, batch, {
      op: "mmuext_op",
      ops: [{ cmd: "unpin_table", mfn }],
    });
  }
  yield* each_table(t, mm, function* (pfn, level) {
    set_pinned(t, pfn, false);
    if (level === 1) {
      yield* xen_mc_entry(t, batch, {
        op: "mmuext_op",
        ops: [{ cmd: "unpin_table", mfn: pfn }],
      });
    }
    yield* xen_mc_entry(t, batch, {
      op: "update_va_mapping",
      vaddr: direct(t.k, pfn),
      ...entry(t.k, pfn, PAGE_KERNEL),
      flags: UVMF_NONE,
    });
  });
  yield* xen_mc_issue(t, batch);
  mm.pinned = false;
  leave(t);
}

/**
 * A page is about to become a table of `mm`. If the tree is pinned it must be
 * fit for that.
 *
 * Context: interrupts on; waits for every CPU then.
 *
 * @param level 1 = of pages.
 */
export function* xen_alloc_ptpage(
  t: Thread,
  mm: MmStruct,
  pfn: number,
  level: number,
): Steps {
  if (!mm.pinned) return;
  enter(t, XEN_ALLOC_PTPAGE);
  set_pinned(t, pfn, true);
  // A28: unconditionally, and before the page is made read-only.
  if (!xen_state(t).quirks.allocWithAliases) yield* vm_unmap_aliases(t);
  yield* set_direct(t, pfn, PAGE_KERNEL_RO);
  if (level === 1) {
    const error = yield* HYPERVISOR_mmuext_op(t, [{
      cmd: "pin_table",
      level: 1,
      mfn: pfn,
    }]);
    if (error !== 0) xen_refused(t, "a new page table is refused");
  }
  leave(t);
}

/** A table of `mm` is about to be an ordinary page again. Its entry above has been cleared. */
export function* xen_release_ptpage(
  t: Thread,
  mm: MmStruct,
  pfn: number,
  level: number,
): Steps {
  if (!mm.pinned) return;
  enter(t, XEN_RELEASE_PTPAGE);
  if (level === 1) {
    const error = yield* HYPERVISOR_mmuext_op(t, [{
      cmd: "unpin_table",
      mfn: pfn,
    }]);
    BUG_ON(t, error !== 0, "a page table cannot be unpinned");
  }
  yield* set_direct(t, pfn, PAGE_KERNEL);
  set_pinned(t, pfn, false);
  leave(t);
}

/** Changes the direct map's entry of `pfn`: make_lowmem_page_readonly() and its opposite. */
function* set_direct(t: Thread, pfn: number, prot: number): Steps {
  const { lo, hi } = entry(t.k, pfn, prot);
  const vaddr = direct(t.k, pfn);
  const error = yield* HYPERVISOR_update_va_mapping(
    t,
    vaddr,
    lo,
    hi,
    UVMF_NONE,
  );
  if (error !== 0) xen_refused(t, "a direct-map entry is refused");
}

/**
 * Changes the protection of the page at `vaddr`, vmalloced or not, and of its
 * direct-map alias: for descriptor tables, which Xen wants read-only.
 *
 * Does not get rid of other aliases, as 2.6.28 does not.
 */
export function* set_aliased_prot(
  t: Thread,
  vaddr: number,
  prot: number,
): Steps {
  enter(t, SET_ALIASED_PROT);
  const { k } = t;
  const pfn = k.machine.mmu.peek(k.init_mm.pgd, vaddr);
  BUG_ON(t, pfn < 0, "nothing is mapped there");
  const { lo, hi } = entry(k, pfn, prot);
  const error = yield* HYPERVISOR_update_va_mapping(
    t,
    vaddr,
    lo,
    hi,
    UVMF_NONE,
  );
  BUG_ON(t, error !== 0, "update_va_mapping is refused");
  if (vaddr !== direct(k, pfn)) yield* set_direct(t, pfn, prot);
  leave(t);
}

/** The kernel's page-table code on Xen. */
class XenMmuOps implements PvMmuOps {
  *populate(
    t: Thread,
    mm: MmStruct,
    vaddr: number,
    level: number,
    table: number,
  ): Steps<boolean> {
    lockdep_assert_held(t, mm.page_table_lock);
    const { k } = t;
    const { format } = k.machine.mmu;
    const last = format.levels.length - 1;
    if (find_pte_table(k, mm.pgd, vaddr) !== -1 - level) return false;
    yield* xen_alloc_ptpage(t, mm, table, last - level);
    if (!mm.pinned) return populate(t, mm, vaddr, level, table);
    const { pageBytes } = k.machine.memory;
    let at = mm.pgd;
    for (let l = 0; l < level; l++) {
      const words = k.machine.memory.frame(at).back();
      const w = format.index(vaddr, l) * 2;
      at = format.pfn(words[w], words[w + 1], 0);
    }
    const ptr = at * pageBytes + format.index(vaddr, level) * 8;
    const pte = entry(k, table, format.tableProt(level) | mm.table_prot);
    const updates = [{ ptr, ...pte }];
    if (level === 0 && mm.user_pgd >= 0) { // xen_set_pgd() writes both
      const index = format.index(vaddr, 0);
      updates.push({ ptr: mm.user_pgd * pageBytes + index * 8, ...pte });
    }
    const error = yield* HYPERVISOR_mmu_update(t, updates);
    if (error !== 0) xen_refused(t, "an entry of a page table is refused");
    mm.nr_tables++;
    return true;
  }

  *pgd_alloc(t: Thread, mm: MmStruct): Steps<0 | Errno> {
    const page = yield* alloc_page(t, GFP_KERNEL | __GFP_ZERO);
    if (page === null) return err(ENOMEM);
    mm.user_pgd = page.pfn;
    mm.nr_tables++;
    return 0;
  }

  *pgd_free(t: Thread, mm: MmStruct): Steps {
    if (mm.user_pgd < 0) return;
    yield* __free_page(t, pfn_to_page(t.k, mm.user_pgd));
    mm.user_pgd = -1;
    mm.nr_tables--;
  }

  *dup_mmap(t: Thread, mm: MmStruct): Steps {
    yield* spin_lock(t, mm.page_table_lock);
    yield* xen_pgd_pin(t, mm);
    yield* spin_unlock(t, mm.page_table_lock);
  }

  *exit_mmap(t: Thread, mm: MmStruct): Steps {
    yield* spin_lock(t, mm.page_table_lock);
    if (mm.pinned) yield* xen_pgd_unpin(t, mm);
    yield* spin_unlock(t, mm.page_table_lock);
  }

  release_table(
    t: Thread,
    mm: MmStruct,
    pfn: number,
    level: number,
  ): Steps {
    return xen_release_ptpage(t, mm, pfn, level);
  }

  *update_ptes(
    t: Thread,
    _mm: MmStruct,
    updates: readonly PteUpdate[],
  ): Steps {
    const error = yield* HYPERVISOR_mmu_update(t, updates);
    if (error !== 0) xen_refused(t, "an entry of a process is refused");
  }

  set_ptes(
    t: Thread,
    mm: MmStruct,
    start: number,
    end: number,
    prot: number,
    pages: readonly Page[] | null,
    first: number,
  ): void {
    if (!mm.pinned) return;
    const x = t.k.machine.xen!;
    const count = (end - start) / t.machine.memory.pageBytes;
    charge(t, SET_PTE_INSTRUCTIONS * count);
    x.chargePteWrites(t, count, false);
    const writable = (prot & PROT_WRITE) !== 0;
    const d = x.domains.get(t.domid)!;
    for (let i = 0; i < count; i++) {
      const pfn = pages === null ? first + i : pages[first + i].pfn;
      if (!t.machine.memory.has(pfn)) continue; // a device's
      const good = x.isGuestFrame(pfn)
        ? !writable || x.frames.getWritable(t, d, pfn)
        : x.isShown(d, pfn);
      if (!good) xen_refused(t, "an entry of the kernel's space is refused");
    }
  }

  clear_ptes(t: Thread, count: number): void {
    t.k.machine.xen!.chargePteWrites(t, count, true);
  }
}
