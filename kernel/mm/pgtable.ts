/**
 * Kernel page tables: mm/vmalloc.c's page-table part and what it needs of
 * mm/memory.c, on tables that live in emulated frames, bit for bit.
 *
 * Lock order: `page_table_lock` is innermost; it guards the filling in of an
 * upper entry, nothing else. Leaf entries have no lock: whoever owns an address
 * range owns its entries.
 *
 * An upper entry goes from empty to present once and never back: tables of the
 * kernel are not freed, in Linux neither. So upper levels are read plainly: a
 * reader that is early finds nothing and looks again under the lock.
 *
 * A few entries on one line of a table that is there, the usual case, are set
 * without a generator: set_one_line().
 *
 * Differs from Linux: pud, pmd and pte are levels of one loop, as many as the
 * machine has; reads of upper entries charge instructions but no cache line,
 * since those lines change only when a table is added.
 */
import * as asm from "../../arch/asm.ts";
import { OpKind, type Steps, type Sym } from "../../arch/asm.ts";
import type { PtePair } from "../../arch/hw/pte.ts";
import { WARN_ON } from "../bug.ts";
import { should_fail_page_table } from "../fault_inject.ts";
import type { Kernel } from "../kernel.ts";
import { EBUSY, ENOMEM, err, type Errno } from "../lib/errno.ts";
import { spin_lock, spin_unlock, Spinlock } from "../locking/spinlock.ts";
import type { Thread } from "../thread.ts";
import { alloc_bootmem_pages } from "./bootmem.ts";
import { __GFP_ZERO, GFP_KERNEL } from "./gfp.ts";
import { __free_page, alloc_page } from "./page_alloc.ts";
import { type Page, pfn_to_page } from "./page.ts";
import * as pte_runs from "./pte_run.ts";

// Functions as constants of this module: docs/ARCHITECTURE.md, "What V8 likes".
const { charge, enter, ksym, leave, pte_run, touch_write } = asm;
const { pte_scratch } = pte_runs;

const VMAP_PAGE_RANGE = ksym("vmap_page_range");
const VUNMAP_PAGE_RANGE = ksym("vunmap_page_range");
const VMALLOC_TO_PAGE = ksym("vmalloc_to_page");
const IOREMAP_PAGE_RANGE = ksym("ioremap_page_range");
const VM_INSERT_PAGE = ksym("vm_insert_page");
const APPLY_TO_PAGE_RANGE = ksym("apply_to_page_range");
/** By distance from the leaves: 1 = tables of leaf entries. */
const TABLE_ALLOC: readonly Sym[] = [
  ksym("__pte_alloc_kernel"),
  ksym("__pmd_alloc"),
  ksym("__pud_alloc"),
];
/** Offset, test and descent for one upper level. */
const LEVEL_INSTRUCTIONS = 9;

/**
 * An address space: its root table.
 *
 * Linux: include/linux/mm_types.h.
 *
 * @example
 * ```ts
 * import { boot, MmStruct } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const { init_mm } = boot().kernel;
 * assert(init_mm instanceof MmStruct);
 * assert(init_mm.nr_tables > 1);
 * ```
 */
export class MmStruct {
  /** Guards the filling in of upper entries. */
  declare readonly page_table_lock: Spinlock;
  /** Frames in use as tables, the root included. */
  nr_tables = 1;
  /** Further `PROT_*` bits of entries that point at tables: user access. */
  table_prot = 0;
  /** Second root table, of the user half alone, for user mode on Xen; -1 = none. */
  user_pgd: number = -1;
  /** Known to the hypervisor as a tree of page tables. */
  pinned = false;

  /** Frame of its root table. */
  declare readonly pgd: number;

  /**
   * An address space without mappings.
   *
   * @param pgd Frame of the root table, all zero.
   */
  constructor(k: Kernel, pgd: number) {
    this.pgd = pgd;
    this.page_table_lock = new Spinlock(k, "&mm->page_table_lock");
  }
}

/**
 * Finds the table that holds `vaddr`'s leaf entry. Plain; charges nothing.
 *
 * @returns Its frame, or `-1 - level` where `level` has no table for it.
 */
export function find_pte_table(k: Kernel, pgd: number, vaddr: number): number {
  const { memory, mmu } = k.machine;
  const format = mmu.format;
  const last = format.levels.length - 1;
  let table = pgd;
  for (let level = 0; level < last; level++) {
    const words = memory.frame(table).words;
    if (words === null) return -1 - level;
    const w = format.index(vaddr, level) * 2;
    const lo = words[w];
    const hi = words[w + 1];
    if (!format.isPresent(lo, hi, level)) return -1 - level;
    table = format.pfn(lo, hi, 0);
  }
  return table;
}

/**
 * {@linkcode find_pte_table} that charges the walk.
 *
 * The thread remembers the last table found: upper entries of the kernel never
 * change once they are there, so what was found stays right.
 */
function pte_table(t: Thread, mm: MmStruct, vaddr: number): number {
  const format = t.machine.mmu.format;
  const leaf = format.levels.length - 1;
  charge(t, LEVEL_INSTRUCTIONS * (leaf + 1));
  const scratch = pte_scratch(t);
  const stretch = Math.floor(vaddr * scratch.stretchOfByte);
  if (stretch === scratch.stretch && mm === scratch.mm) return scratch.table;
  const table = find_pte_table(t.k, mm.pgd, vaddr);
  if (table >= 0) scratch.remember(mm, stretch, table);
  return table;
}

/** A zeroed frame for a table: from bootmem before the page allocator is up. @returns Its number, or -ENOMEM. */
function* alloc_table(t: Thread): Steps<number | Errno> {
  const k = t.k;
  if (k.pages === undefined) {
    const pfn = alloc_bootmem_pages(t, k.machine.memory.pageBytes);
    k.machine.memory.zero(pfn);
    return pfn;
  }
  if (k.faults.active && should_fail_page_table(t)) return err(ENOMEM);
  const page = yield* alloc_page(t, GFP_KERNEL | __GFP_ZERO);
  return page === null ? err(ENOMEM) : page.pfn;
}

/**
 * Finds the table for `vaddr`'s leaf entry, adding the levels that are missing.
 *
 * Context: process; may sleep.
 * Locks: takes mm.page_table_lock.
 *
 * @returns Its frame, or -ENOMEM.
 */
export function* pte_alloc_kernel(
  t: Thread,
  mm: MmStruct,
  vaddr: number,
): Steps<number | Errno> {
  const last = t.machine.mmu.format.levels.length - 1;
  for (;;) {
    const table = find_pte_table(t.k, mm.pgd, vaddr);
    if (table >= 0) return table;
    const level = -1 - table;
    enter(t, TABLE_ALLOC[Math.min(last - 1 - level, TABLE_ALLOC.length - 1)]);
    charge(t, 20);
    const fresh = yield* alloc_table(t);
    if (fresh < 0) {
      leave(t);
      return fresh as Errno;
    }
    yield* spin_lock(t, mm.page_table_lock);
    const pv = t.k.pv_mmu;
    const taken = pv === null
      ? populate(t, mm, vaddr, level, fresh)
      : yield* pv.populate(t, mm, vaddr, level, fresh);
    yield* spin_unlock(t, mm.page_table_lock);
    // Somebody else was faster: theirs stays.
    if (!taken && t.k.pages !== undefined) {
      yield* __free_page(t, pfn_to_page(t.k, fresh));
    }
    leave(t);
  }
}

/** Points the entry of `vaddr` at `level` to `table` if it is still empty. @returns Whether it was. */
export function populate(
  t: Thread,
  mm: MmStruct,
  vaddr: number,
  level: number,
  table: number,
): boolean {
  const { memory, mmu } = t.machine;
  const format = mmu.format;
  let at = mm.pgd;
  for (let l = 0; l < level; l++) {
    const words = memory.frame(at).back();
    const w = format.index(vaddr, l) * 2;
    at = format.pfn(words[w], words[w + 1], 0);
  }
  const index = format.index(vaddr, level);
  const words = memory.frame(at).back();
  charge(t, 10);
  touch_write(t, t.machine.lineAt(at * memory.pageBytes + index * 8));
  if ((words[index * 2] | words[index * 2 + 1]) !== 0) return false;
  const pte: PtePair = { lo: 0, hi: 0 };
  format.encode(table, format.tableProt(level) | mm.table_prot, pte);
  words[index * 2] = pte.lo;
  words[index * 2 + 1] = pte.hi;
  if (level === 0 && mm.user_pgd >= 0) {
    memory.writePair(
      mm.user_pgd * memory.pageBytes + index * 8,
      pte.lo,
      pte.hi,
    );
  }
  mm.nr_tables++;
  return true;
}

/** End of the part of `[addr, end)` that the leaf table of `addr` covers, bytes. */
function leaf_table_end(k: Kernel, addr: number, end: number): number {
  const format = k.machine.mmu.format;
  const span = format.spanBytes(format.levels.length - 2);
  const next = (Math.floor(addr / span) + 1) * span; // exact: a power of two
  return next < end ? next : end;
}

/**
 * Sets the entries of `[start, end)`, charged to `sym`.
 *
 * @param pages What to map from index `first` on; `null` = frames from `first` on.
 * @returns Pages mapped, -ENOMEM or -EBUSY.
 */
function set_range(
  t: Thread,
  sym: Sym,
  mm: MmStruct,
  start: number,
  end: number,
  prot: number,
  pages: readonly Page[] | null,
  first: number,
  inSection = false,
): Steps<number | Errno> {
  enter(t, sym);
  charge(t, 14);
  t.k.pv_mmu?.set_ptes(t, mm, start, end, prot, pages, first);
  if (mm === t.k.init_mm) {
    t.k.sanitizers?.ptesSet(t, start, end, prot, pages, first);
  }
  return set_one_line(t, mm, start, end, prot, pages, first, inSection) ??
    set_lines(t, mm, start, end, prot, pages, first);
}

/**
 * The usual case, a few pages with their entries on one line of a table that is
 * there, without a generator. @returns `null` if it is another case.
 */
function set_one_line(
  t: Thread,
  mm: MmStruct,
  start: number,
  end: number,
  prot: number,
  pages: readonly Page[] | null,
  first: number,
  inSection: boolean,
): Steps<number | Errno> | null {
  const { op, machine } = t;
  const count = (end - start) / machine.memory.pageBytes;
  const format = machine.mmu.format;
  const scratch = pte_scratch(t);
  const index = format.index(start, format.levels.length - 1);
  const perLine = 1 << scratch.lineShift;
  const fits = (index & (perLine - 1)) + count <= perLine;
  if (!fits || !(inSection || op.mayRunAhead())) return null;
  const stretch = Math.floor(start * scratch.stretchOfByte);
  if (stretch !== scratch.stretch || mm !== scratch.mm) return null;
  charge(t, LEVEL_INSTRUCTIONS * format.levels.length);
  const run = scratch.set.of(pages, first, count, prot);
  const set = run.run(t, scratch.table, index);
  op.report(OpKind.PTE_RUN, scratch.table, set);
  if (set === count) leave(t);
  return op.ready.give(
    set === count ? count : in_use(t),
  ) as Steps<number | Errno>;
}

/** Warns of an entry that is in use already, and leaves the caller's frame. */
function in_use(t: Thread): Errno {
  t.k.vmalloc.pte_not_none++;
  WARN_ON(t, true, "pte_not_none");
  leave(t);
  return err(EBUSY);
}

/** {@linkcode set_range} in general. */
function* set_lines(
  t: Thread,
  mm: MmStruct,
  start: number,
  end: number,
  prot: number,
  pages: readonly Page[] | null,
  first: number,
): Steps<number | Errno> {
  const machine = t.machine;
  const format = machine.mmu.format;
  const leaf = format.levels.length - 1;
  const pageBytes = machine.memory.pageBytes;
  const scratch = pte_scratch(t);
  const perLine = 1 << scratch.lineShift;
  const run = scratch.set;
  let nr = first;
  for (let addr = start; addr < end;) {
    let table = pte_table(t, mm, addr);
    if (table < 0) {
      table = yield* pte_alloc_kernel(t, mm, addr);
      if (table < 0) {
        leave(t);
        return table as Errno;
      }
    }
    const next = leaf_table_end(t.k, addr, end);
    let index = format.index(addr, leaf);
    let left = (next - addr) / pageBytes;
    while (left > 0) {
      const room = perLine - (index & (perLine - 1));
      const count = room < left ? room : left;
      run.of(pages, nr, count, prot);
      const set: number = yield* pte_run<number>(t, run, table, index);
      if (set < count) return in_use(t);
      nr += count;
      index += count;
      left -= count;
    }
    addr = next;
  }
  leave(t);
  return nr - first;
}

/**
 * Maps `pages[first...]` at `[start, end)`. Entries in use stop it; what was set
 * until then stays.
 *
 * Context: process; may sleep for page tables.
 *
 * Linux: mm/vmalloc.c.
 *
 * @param start Bytes, a multiple of the page, as `end`.
 * @param prot `PROT_*` bits such as PAGE_KERNEL.
 * @param inSection Goes on with a section, if it can: see `may_run_section()` of
 * `arch/asm.ts`.
 * @returns Pages mapped; -EBUSY after a warning, or -ENOMEM.
 *
 * @example
 * ```ts
 * import {
 *   alloc_page,
 *   boot,
 *   free_vm_area,
 *   get_vm_area,
 *   GFP_KERNEL,
 *   PAGE_KERNEL,
 *   VM_MAP,
 *   vmap_page_range,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const area = (yield* get_vm_area(t, 4096, VM_MAP))!;
 *   const page = (yield* alloc_page(t, GFP_KERNEL))!;
 *   const end = area.addr + 4096;
 *   const nr = yield* vmap_page_range(t, area.addr, end, PAGE_KERNEL, [page]);
 *   assertEquals(nr, 1);
 *   yield* free_vm_area(t, area);
 * });
 * ```
 */
export function vmap_page_range(
  t: Thread,
  start: number,
  end: number,
  prot: number,
  pages: readonly Page[],
  first = 0,
  inSection = false,
): Steps<number | Errno> {
  const sym = VMAP_PAGE_RANGE;
  const mm = t.k.init_mm;
  return set_range(t, sym, mm, start, end, prot, pages, first, inSection);
}

/**
 * Maps frames from `pfn` on at `[start, end)`: devices, which have no pages.
 *
 * @returns Pages mapped; -EBUSY after a warning, or -ENOMEM.
 */
export function ioremap_page_range(
  t: Thread,
  start: number,
  end: number,
  pfn: number,
  prot: number,
): Steps<number | Errno> {
  const mm = t.k.init_mm;
  return set_range(t, IOREMAP_PAGE_RANGE, mm, start, end, prot, null, pfn);
}

/**
 * Clears the entries of `[start, end)`. A missing upper table skips all that it
 * would cover. Flushes no TLB.
 *
 * Context: any.
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   flush_tlb_kernel_range,
 *   vmalloc,
 *   vmalloc_to_pfn,
 *   vunmap_page_range,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const pfn = boot().run(function* (t) {
 *   const addr = yield* vmalloc(t, 4096);
 *   yield* vunmap_page_range(t, addr, addr + 4096);
 *   yield* flush_tlb_kernel_range(t, addr, addr + 4096);
 *   return vmalloc_to_pfn(t, addr);
 * });
 * assertEquals(pfn, -1);
 * ```
 */
export function* vunmap_page_range(
  t: Thread,
  start: number,
  end: number,
): Steps {
  enter(t, VUNMAP_PAGE_RANGE);
  charge(t, 10);
  const k = t.k;
  const machine = k.machine;
  const format = machine.mmu.format;
  const leaf = format.levels.length - 1;
  const pageBytes = machine.memory.pageBytes;
  const scratch = pte_scratch(t);
  const perLine = 1 << scratch.lineShift;
  const run = scratch.clear;
  for (let addr = start; addr < end;) {
    const table = pte_table(t, k.init_mm, addr);
    if (table < 0) {
      const span = format.spanBytes(-1 - table);
      addr = (Math.floor(addr / span) + 1) * span;
      continue;
    }
    const next = leaf_table_end(k, addr, end);
    let index = format.index(addr, leaf);
    let left = (next - addr) / pageBytes;
    while (left > 0) {
      const room = perLine - (index & (perLine - 1));
      const count = room < left ? room : left;
      run.count = count;
      k.pv_mmu?.clear_ptes(t, count);
      yield* pte_run<number>(t, run, table, index);
      index += count;
      left -= count;
    }
    addr = next;
  }
  k.sanitizers?.ptesCleared(t, start, end);
  leave(t);
}

/**
 * Sees to it that `[start, end)` has leaf tables, entries left as they are:
 * apply_to_page_range() with a function that does nothing.
 *
 * @returns 0 or -ENOMEM.
 */
export function* apply_to_page_range(
  t: Thread,
  mm: MmStruct,
  start: number,
  end: number,
): Steps<0 | Errno> {
  enter(t, APPLY_TO_PAGE_RANGE);
  for (let addr = start; addr < end;) {
    const next = leaf_table_end(t.k, addr, end);
    charge(t, 12 + 8 * (next - addr) / t.machine.memory.pageBytes);
    const table = yield* pte_alloc_kernel(t, mm, addr);
    if (table < 0) {
      leave(t);
      return table as Errno;
    }
    addr = next;
  }
  leave(t);
  return 0;
}

/**
 * Writes one entry of a user address space: vm_insert_page()'s part.
 *
 * @returns 1; -EBUSY after a warning if it was in use, or -ENOMEM.
 */
export function insert_pte(
  t: Thread,
  mm: MmStruct,
  vaddr: number,
  pfn: number,
  prot: number,
): Steps<number | Errno> {
  const end = vaddr + t.machine.memory.pageBytes;
  return set_range(t, VM_INSERT_PAGE, mm, vaddr, end, prot, null, pfn);
}

/** Frame that the kernel's tables map at `vaddr`, or -1. Plain; charges nothing. */
export function pfn_at(k: Kernel, vaddr: number): number {
  return k.machine.mmu.peek(k.init_mm.pgd, vaddr);
}

/**
 * Frame that backs the vmalloc address `vaddr`, or -1. Plain.
 *
 * Linux: mm/vmalloc.c.
 *
 * @example
 * ```ts
 * import { boot, vmalloc, vmalloc_to_pfn } from "@vmaplab/vmaplab";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const pfns = boot().run(function* (t) {
 *   const addr = yield* vmalloc(t, 4096);
 *   return [vmalloc_to_pfn(t, addr), vmalloc_to_pfn(t, addr + 4096)];
 * });
 * assert(pfns[0] > 0);
 * assertEquals(pfns[1], -1); // the guard page
 * ```
 */
export function vmalloc_to_pfn(t: Thread, vaddr: number): number {
  enter(t, VMALLOC_TO_PAGE);
  charge(t, 10 + LEVEL_INSTRUCTIONS * t.machine.mmu.format.levels.length);
  const pfn = pfn_at(t.k, vaddr);
  leave(t);
  return pfn;
}

/**
 * Page that backs the vmalloc address `vaddr`; `null` = none. Plain.
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
 *   VM_MAP,
 *   vmalloc_to_page,
 *   vmap,
 * } from "@vmaplab/vmaplab";
 * import { assert, assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const page = (yield* alloc_page(t, GFP_KERNEL))!;
 *   const addr = yield* vmap(t, [page], 1, VM_MAP, PAGE_KERNEL);
 *   assert(vmalloc_to_page(t, addr) === page);
 *   assertEquals(vmalloc_to_page(t, addr + 4096), null); // the guard page
 * });
 * ```
 */
export function vmalloc_to_page(t: Thread, vaddr: number): Page | null {
  const pfn = vmalloc_to_pfn(t, vaddr);
  return pfn < 0 ? null : pfn_to_page(t.k, pfn);
}

/**
 * Calls `visit` for each entry in use in `[start, end)`, in order of address.
 * For checks and reports: charges nothing.
 */
export function for_each_pte(
  k: Kernel,
  start: number,
  end: number,
  visit: (vaddr: number, pfn: number, prot: number) => void,
): void {
  const { memory, mmu } = k.machine;
  const format = mmu.format;
  const leaf = format.levels.length - 1;
  for (let addr = start; addr < end;) {
    const table = find_pte_table(k, k.init_mm.pgd, addr);
    if (table < 0) {
      const span = format.spanBytes(-1 - table);
      addr = (Math.floor(addr / span) + 1) * span;
      continue;
    }
    const next = leaf_table_end(k, addr, end);
    const words = memory.frame(table).words;
    for (; words !== null && addr < next; addr += memory.pageBytes) {
      const w = format.index(addr, leaf) * 2;
      const lo = words[w];
      const hi = words[w + 1];
      if ((lo | hi) === 0) continue;
      const prot = format.prot(lo, hi, leaf);
      visit(addr, format.pfn(lo, hi, prot), prot);
    }
    addr = next;
  }
}

/** Entries in use in `[start, end)`; for checks and reports. */
export function count_ptes(k: Kernel, start: number, end: number): number {
  let count = 0;
  for_each_pte(k, start, end, () => count++);
  return count;
}
