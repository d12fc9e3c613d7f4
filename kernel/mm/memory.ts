/**
 * User halves of address spaces (mm/memory.c, 2.6.28): pages that come with the
 * first touch, pages shared until one of two processes writes, and how all of it
 * goes again.
 *
 * Context: process, the one that owns the address space, and nobody else: so
 * entries have no lock here, where Linux has one for each leaf table.
 *
 * Left out: files, swap, reverse maps, large pages. No CPU loads a user root
 * table, as no user mode runs: {@linkcode handle_mm_fault} is called, not
 * trapped into, and user pages are reached by their direct-map address. So no
 * TLB has user translations, and none is flushed.
 */
import {
  charge,
  charge_cycles,
  enter,
  ksym,
  leave,
  type Steps,
  touch_write,
} from "../../arch/asm.ts";
import {
  PROT_ACCESSED,
  PROT_DIRTY,
  PROT_NX,
  PROT_PRESENT,
  PROT_USER,
  PROT_WRITE,
  type PtePair,
} from "../../arch/hw/pte.ts";
import type { Kernel } from "../kernel.ts";
import { EFAULT, ENOMEM, err, type Errno } from "../lib/errno.ts";
import type { Thread } from "../thread.ts";
import { clearPageCycles } from "./clear_page.ts";
import { __GFP_ZERO, GFP_HIGHUSER } from "./gfp.ts";
import { get_page, type Page, page_count, pfn_to_page } from "./page.ts";
import { __free_page, alloc_page, put_page } from "./page_alloc.ts";
import { find_pte_table, MmStruct, pte_alloc_kernel } from "./pgtable.ts";
import type { PteUpdate } from "./pv_mmu.ts";

const HANDLE_MM_FAULT = ksym("handle_mm_fault");
const DO_WP_PAGE = ksym("do_wp_page");
const COPY_PAGE_RANGE = ksym("copy_page_range");
const UNMAP_VMAS = ksym("unmap_vmas");
const FREE_PGTABLES = ksym("free_pgtables");

/** Entries that one trap writes in lazy MMU mode. */
const LAZY_BATCH = 32;
/** First entry of a root table that belongs to the kernel. */
const KERNEL_SLOT = 256;

/** A range of user addresses. */
export interface Vma {
  readonly start: number;
  /** Exclusive. Both are multiples of the page, below 2^47. */
  readonly end: number;
  readonly writable: boolean;
}

/** The address space of a process. */
export class UserMm extends MmStruct {
  /** Sorted, not touching; fixed. */
  readonly vmas: readonly Vma[];
  /** Pages mapped. */
  rss = 0;

  constructor(k: Kernel, pgd: number, vmas: readonly Vma[]) {
    super(k, pgd);
    this.vmas = vmas;
    this.table_prot = PROT_USER;
  }
}

function user_prot(writable: boolean): number {
  return PROT_PRESENT | PROT_USER | PROT_ACCESSED | PROT_NX |
    (writable ? PROT_WRITE | PROT_DIRTY : 0);
}

/** Physical address of `vaddr`'s entry; -1 = there is no table for it. */
function pte_addr(t: Thread, mm: UserMm, vaddr: number): number {
  const { memory, mmu } = t.machine;
  const table = find_pte_table(t.k, mm.pgd, vaddr);
  if (table < 0) return -1;
  const index = mmu.format.index(vaddr, mmu.format.levels.length - 1);
  return table * memory.pageBytes + index * 8;
}

/** Writes entries: in place, or if the tree is pinned by the hypervisor. */
function* update_ptes(
  t: Thread,
  mm: UserMm,
  updates: readonly PteUpdate[],
): Steps {
  const { machine, k } = t;
  charge(t, 8 * updates.length);
  if (k.pv_mmu !== null && mm.pinned) {
    yield* k.pv_mmu.update_ptes(t, mm, updates);
    return;
  }
  for (const { ptr, lo, hi } of updates) {
    touch_write(t, machine.lineAt(ptr));
    machine.memory.writePair(ptr, lo, hi);
  }
}

function* set_pte(
  t: Thread,
  mm: UserMm,
  ptr: number,
  pfn: number,
  writable: boolean,
): Steps {
  const pte: PtePair = { lo: 0, hi: 0 };
  t.machine.mmu.format.encode(pfn, user_prot(writable), pte);
  yield* update_ptes(t, mm, [{ ptr, lo: pte.lo, hi: pte.hi }]);
}

/** The page that `mm` has at `vaddr`; `null` = none yet. Plain; charges nothing. */
export function follow_page(
  t: Thread,
  mm: UserMm,
  vaddr: number,
): Page | null {
  const pfn = t.machine.mmu.peek(mm.pgd, vaddr);
  return pfn < 0 ? null : pfn_to_page(t.k, pfn);
}

/**
 * A touch of `vaddr`: brings a zeroed page, or a copy of a shared one.
 *
 * @returns 0; -EFAULT where nothing may be, -ENOMEM.
 */
export function* handle_mm_fault(
  t: Thread,
  mm: UserMm,
  vaddr: number,
  write: boolean,
): Steps<0 | Errno> {
  const vma = mm.vmas.find(({ start, end }) => vaddr >= start && vaddr < end);
  if (vma === undefined || (write && !vma.writable)) return err(EFAULT);
  enter(t, HANDLE_MM_FAULT);
  charge(t, 60);
  const table = yield* pte_alloc_kernel(t, mm, vaddr);
  if (table < 0) {
    leave(t);
    return table as Errno;
  }
  const ptr = pte_addr(t, mm, vaddr);
  const { memory } = t.machine;
  const lo = memory.readLo(ptr);
  let error: 0 | Errno = 0;
  if ((lo & PROT_PRESENT) === 0) {
    const page = yield* alloc_page(t, GFP_HIGHUSER | __GFP_ZERO);
    if (page === null) error = err(ENOMEM);
    else {
      yield* set_pte(t, mm, ptr, page.pfn, vma.writable);
      mm.rss++;
    }
  } else if (write && (lo & PROT_WRITE) === 0) {
    error = yield* do_wp_page(t, mm, ptr);
  }
  leave(t);
  return error;
}

/** A write to a page that may be shared: the last one to have it keeps it. */
function* do_wp_page(
  t: Thread,
  mm: UserMm,
  ptr: number,
): Steps<0 | Errno> {
  enter(t, DO_WP_PAGE);
  charge(t, 40);
  const { machine } = t;
  const { memory, mmu } = machine;
  const old = pfn_to_page(
    t.k,
    mmu.format.pfn(memory.readLo(ptr), memory.readHi(ptr), 0),
  );
  if (page_count(old) === 1) {
    yield* set_pte(t, mm, ptr, old.pfn, true);
    leave(t);
    return 0;
  }
  const page = yield* alloc_page(t, GFP_HIGHUSER);
  if (page === null) {
    leave(t);
    return err(ENOMEM);
  }
  charge_cycles(t, 2 * clearPageCycles(machine.spec)); // read one, write one
  memory.copy(page.pfn, old.pfn);
  yield* set_pte(t, mm, ptr, page.pfn, true);
  yield* put_page(t, old);
  leave(t);
  return 0;
}

/** Shares all of `old`'s pages with `mm`, read-only in both. @returns 0 or -ENOMEM, some pages shared. */
export function* copy_page_range(
  t: Thread,
  mm: UserMm,
  old: UserMm,
): Steps<0 | Errno> {
  enter(t, COPY_PAGE_RANGE);
  const { memory, mmu } = t.machine;
  let batch: PteUpdate[] = [];
  for (const { start, end } of old.vmas) {
    for (let at = start; at < end; at += memory.pageBytes) {
      charge(t, 12);
      const from = pte_addr(t, old, at);
      if (from < 0) continue;
      const lo = memory.readLo(from);
      const hi = memory.readHi(from);
      if ((lo & PROT_PRESENT) === 0) continue;
      const table = yield* pte_alloc_kernel(t, mm, at);
      if (table < 0) {
        yield* update_ptes(t, old, batch);
        leave(t);
        return table as Errno;
      }
      const shared = (lo & ~PROT_WRITE) >>> 0;
      yield* get_page(t, pfn_to_page(t.k, mmu.format.pfn(lo, hi, 0)));
      yield* update_ptes(t, mm, [{ ptr: pte_addr(t, mm, at), lo: shared, hi }]);
      mm.rss++;
      if (shared !== lo) batch.push({ ptr: from, lo: shared, hi });
      if (batch.length === LAZY_BATCH) {
        yield* update_ptes(t, old, batch);
        batch = [];
      }
    }
  }
  yield* update_ptes(t, old, batch);
  leave(t);
  return 0;
}

/** Lets go of all pages of `mm`. */
export function* unmap_vmas(t: Thread, mm: UserMm): Steps {
  enter(t, UNMAP_VMAS);
  const { memory, mmu } = t.machine;
  for (const { start, end } of mm.vmas) {
    for (let at = start; at < end; at += memory.pageBytes) {
      charge(t, 8);
      const ptr = pte_addr(t, mm, at);
      if (ptr < 0) continue;
      const lo = memory.readLo(ptr);
      if ((lo & PROT_PRESENT) === 0) continue;
      const pfn = mmu.format.pfn(lo, memory.readHi(ptr), 0);
      yield* update_ptes(t, mm, [{ ptr, lo: 0, hi: 0 }]);
      mm.rss--;
      yield* put_page(t, pfn_to_page(t.k, pfn));
    }
  }
  leave(t);
}

/** Frees all tables below the user half of `mm`'s root. Its pages are gone already. */
export function* free_pgtables(t: Thread, mm: UserMm): Steps {
  enter(t, FREE_PGTABLES);
  const { memory, mmu } = t.machine;
  const { format } = mmu;
  const pv = t.k.pv_mmu;
  const free = function* (table: number, level: number, end: number): Steps {
    for (let i = 0; i < end; i++) {
      const ptr = table * memory.pageBytes + i * 8;
      const lo = memory.readLo(ptr);
      if ((lo & PROT_PRESENT) === 0) continue;
      const below = format.pfn(lo, memory.readHi(ptr), 0);
      if (level > 2) yield* free(below, level - 1, 2 ** format.levels[1]);
      charge(t, 14);
      yield* update_ptes(t, mm, [{ ptr, lo: 0, hi: 0 }]);
      if (pv !== null) yield* pv.release_table(t, mm, below, level - 1);
      yield* __free_page(t, pfn_to_page(t.k, below));
      mm.nr_tables--;
    }
  };
  yield* free(mm.pgd, format.levels.length, KERNEL_SLOT);
  leave(t);
}
