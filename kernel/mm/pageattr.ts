/**
 * Attributes of kernel mappings: what set_memory_uc(), set_memory_ro() and their
 * kin (set_memory.ts) are made of (arch/x86/mm/pageattr.c, 2.6.28).
 *
 * Before it edits an entry, change_page_attr_set_clr() calls
 * vm_unmap_aliases(): what is left of old mappings has the old attributes. At
 * its end {@linkcode check_aliases} looks whether any mapping disagrees.
 *
 * Lock order: cpa_lock, then nothing. It is free while a page is allocated and
 * while TLBs are flushed.
 *
 * On Xen entries are changed by hypercall, as set_pte() is there; large pages
 * are never met, as a guest's direct map has none.
 *
 * Differs from Linux: static_protections() is left out, as the image of the
 * kernel is not in memory; large pages are not put together again, in 2.6.28
 * neither. x86 alone has these functions; elsewhere they return -EINVAL.
 */
import {
  charge,
  charge_cycles,
  enter,
  flush_tlb_local,
  ksym,
  leave,
  type MachineContext,
  pte_run,
  type PteRun,
  type Steps,
  touch_write,
} from "../../arch/asm.ts";
import {
  parseVaddr,
  printVaddr,
  PROT_LARGE,
  PROT_NX,
  PROT_PCD,
  PROT_PWT,
  PROT_WRITE,
  type PtePair,
} from "../../arch/hw/pte.ts";
import { WARN_ON } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import { EFAULT, EINVAL, ENOMEM, err, type Errno } from "../lib/errno.ts";
import { spin_lock, spin_unlock } from "../locking/spinlock.ts";
import { on_each_cpu } from "../smp.ts";
import type { Thread } from "../thread.ts";
import { GFP_KERNEL } from "./gfp.ts";
import { __free_page, alloc_page } from "./page_alloc.ts";
import { pageattr_state, type PageattrState } from "./pageattr_state.ts";
import { check_aliases } from "./pageattr_check.ts";
import { vm_unmap_aliases } from "./vmap.ts";

const CHANGE_PAGE_ATTR_SET_CLR = ksym("change_page_attr_set_clr");
const __CHANGE_PAGE_ATTR = ksym("__change_page_attr");
const SPLIT_LARGE_PAGE = ksym("split_large_page");
const CPA_FLUSH_RANGE = ksym("cpa_flush_range");
const __CPA_FLUSH_RANGE = ksym("__cpa_flush_range");

/** Bits of the memory type, _PAGE_CACHE_MASK. */
export const PROT_CACHE = PROT_PCD | PROT_PWT;
/** mk_pte and store of one entry of a table that a large page is split into. */
const SPLIT_INSTRUCTIONS = 6;
/** Offset, test and descent for one level, as in pgtable.ts. */
const LEVEL_INSTRUCTIONS = 9;

/** One change under way. */
interface Cpa {
  readonly state: PageattrState;
  readonly set: number;
  readonly clear: number;
  /** Frames seen, with their protection as it is now. */
  readonly frames: Map<number, number>;
  /** Whether an entry was changed. */
  changed: boolean;
}

/** Where an entry stands. */
interface EntryAt {
  table: number;
  level: number;
  index: number;
}

/** Stores one entry, in its turn. */
class StoreEntry implements PteRun {
  constructor(readonly pte: PtePair) {}

  run(t: MachineContext, pfn: number, index: number): number {
    const frame = t.machine.memory.frame(pfn);
    touch_write(t, t.machine.lineIn(frame, index * 8));
    const words = frame.back();
    words[index * 2] = this.pte.lo;
    words[index * 2 + 1] = this.pte.hi;
    return 1;
  }
}

/**
 * Finds the entry that maps `vaddr`, of a page of either size. Plain; charges
 * nothing.
 *
 * @returns `null` if nothing does.
 */
export function lookup_address(k: Kernel, vaddr: number): EntryAt | null {
  const { memory, mmu } = k.machine;
  const { format } = mmu;
  let table = k.init_mm.pgd;
  for (let level = 0;; level++) {
    const { words } = memory.frame(table);
    if (words === null) return null;
    const index = format.index(vaddr, level);
    const lo = words[index * 2];
    const hi = words[index * 2 + 1];
    if (!format.isPresent(lo, hi, level)) return null;
    if (format.isLeaf(lo, hi, level)) return { table, level, index };
    table = format.pfn(lo, hi, 0);
  }
}

/** `PROT_*` bits that the kernel's tables give `vaddr`; 0 = not mapped. */
export function prot_of(k: Kernel, vaddr: number): number {
  const at = lookup_address(k, vaddr);
  return at === null ? 0 : read_entry(k, at).prot;
}

function read_entry(k: Kernel, at: EntryAt): { pfn: number; prot: number } {
  const { memory, mmu } = k.machine;
  const words = memory.frame(at.table).words!;
  const lo = words[at.index * 2];
  const hi = words[at.index * 2 + 1];
  const prot = mmu.format.prot(lo, hi, at.level);
  return { pfn: mmu.format.pfn(lo, hi, prot), prot };
}

/** Address of frame `pfn` in the direct map; -1 = it is not in there. */
function direct_address(k: Kernel, pfn: number): number {
  if (pfn >= k.bootmem.max_low_pfn) return -1;
  return direct_start(k) + pfn * k.machine.memory.pageBytes;
}

function direct_start(k: Kernel): number {
  const { mmu, spec } = k.machine;
  return parseVaddr(mmu.format, spec.layout.directMapStart);
}

/** Frame of `vaddr`, if that is in the direct map; else -1. */
export function direct_pfn(k: Kernel, vaddr: number): number {
  const { pageBytes } = k.machine.memory;
  const pfn = Math.floor((vaddr - direct_start(k)) / pageBytes);
  return pfn >= 0 && pfn < k.bootmem.max_low_pfn ? pfn : -1;
}

/**
 * Sets and clears bits of the entries of `numpages` pages from `addr` on, and of
 * the same frames in the direct map, and flushes.
 *
 * Context: process, interrupts on; waits for every CPU.
 * Locks: takes cpa_lock.
 *
 * @param set `PROT_*` bits to set.
 * @param clear `PROT_*` bits to clear.
 * @returns 0; -EFAULT if nothing is mapped there, -ENOMEM, -EINVAL.
 */
export function* change_page_attr_set_clr(
  t: Thread,
  addr: number,
  numpages: number,
  set: number,
  clear: number,
): Steps<0 | Errno> {
  if (t.k.arch !== "x86") return err(EINVAL);
  if ((set | clear) === 0) return 0;
  enter(t, CHANGE_PAGE_ATTR_SET_CLR);
  charge(t, 30);
  const state = pageattr_state(t.k);
  const { pageBytes } = t.machine.memory;
  state.calls++;
  if (WARN_ON(t, addr % pageBytes !== 0, "unaligned address")) {
    addr -= addr % pageBytes;
  }
  const since = t.cpu.clock;
  if (!state.noUnmapAliases) yield* vm_unmap_aliases(t);
  const frames = new Map<number, number>();
  const cpa: Cpa = { state, set, clear, frames, changed: false };
  const aliases = ((set | clear) & ~PROT_NX) !== 0;
  const error = yield* __change_page_attr_set_clr(
    t,
    cpa,
    addr,
    numpages,
    aliases,
  );
  if (cpa.changed && !state.noFlush) {
    yield* cpa_flush_range(t, numpages, (set & PROT_CACHE) !== 0);
  }
  check_aliases(t, frames, since, (clear & PROT_WRITE) !== 0);
  leave(t);
  return error;
}

/** Changes the entries from `addr` on; `aliases` = those of the direct map too. */
function* __change_page_attr_set_clr(
  t: Thread,
  cpa: Cpa,
  addr: number,
  numpages: number,
  aliases: boolean,
): Steps<0 | Errno> {
  const { pageBytes } = t.machine.memory;
  for (let done = 0; done < numpages;) {
    const vaddr = addr + done * pageBytes;
    const count = yield* __change_page_attr(t, cpa, vaddr, numpages - done);
    if (count < 0) return count as Errno;
    if (aliases && direct_pfn(t.k, vaddr) < 0) {
      const error = yield* cpa_process_alias(t, cpa, vaddr);
      if (error !== 0) return error;
    }
    done += count;
  }
  return 0;
}

/** The same for `vaddr`'s page in the direct map. */
function* cpa_process_alias(
  t: Thread,
  cpa: Cpa,
  vaddr: number,
): Steps<0 | Errno> {
  charge(t, 12);
  const { pfn } = read_entry(t.k, lookup_address(t.k, vaddr)!);
  const direct = direct_address(t.k, pfn);
  if (direct < 0) return 0;
  return yield* __change_page_attr_set_clr(t, cpa, direct, 1, false);
}

/**
 * Changes the entry of `vaddr`, which may be a large page's.
 *
 * @param numpages Pages that are to be changed from there on.
 * @returns Pages that are done with, or -EFAULT, -ENOMEM.
 */
function* __change_page_attr(
  t: Thread,
  cpa: Cpa,
  vaddr: number,
  numpages: number,
): Steps<number | Errno> {
  const { k } = t;
  const { format } = k.machine.mmu;
  const { cpa_lock } = cpa.state;
  enter(t, __CHANGE_PAGE_ATTR);
  for (;;) {
    yield* spin_lock(t, cpa_lock);
    charge(t, 20 + LEVEL_INSTRUCTIONS * format.levels.length);
    const at = lookup_address(k, vaddr);
    if (at === null) {
      yield* spin_unlock(t, cpa_lock);
      const where = printVaddr(format, vaddr);
      WARN_ON(t, true, `CPA: called for zero pte. vaddr = ${where}`);
      leave(t);
      return err(EFAULT);
    }
    const { pfn, prot } = read_entry(k, at);
    const wanted = (prot & ~cpa.clear) | cpa.set;
    const large = (prot & PROT_LARGE) !== 0;
    const pages = large ? 2 ** format.largePageBits : 1;
    const pageBytes = 2 ** format.pageShift;
    const offset = large ? Math.floor(vaddr / pageBytes) % pages : 0;
    const count = Math.min(numpages, pages - offset);
    if (large && wanted !== prot && count < pages) {
      yield* spin_unlock(t, cpa_lock);
      const error = yield* split_large_page(t, cpa.state, vaddr);
      if (error === 0) continue;
      leave(t);
      return error;
    }
    if (wanted !== prot) {
      yield* store_entry(t, at, pfn, wanted);
      cpa.changed = true;
      cpa.state.changes++;
    }
    for (let i = 0; i < count; i++) cpa.frames.set(pfn + offset + i, wanted);
    yield* spin_unlock(t, cpa_lock);
    leave(t);
    return count;
  }
}

function* store_entry(
  t: Thread,
  { table, index }: EntryAt,
  pfn: number,
  prot: number,
): Steps {
  const pte: PtePair = { lo: 0, hi: 0 };
  t.machine.mmu.format.encode(pfn, prot, pte);
  charge(t, 8);
  const { pv_mmu, init_mm } = t.k;
  if (pv_mmu !== null && init_mm.pinned) {
    const ptr = table * t.machine.memory.pageBytes + index * 8;
    yield* pv_mmu.update_ptes(t, init_mm, [{ ptr, lo: pte.lo, hi: pte.hi }]);
    return;
  }
  yield* pte_run<number>(t, new StoreEntry(pte), table, index);
}

/** Puts a table in the place of the large page at `vaddr`. @returns 0, also if somebody else was faster; -ENOMEM. */
function* split_large_page(
  t: Thread,
  state: PageattrState,
  vaddr: number,
): Steps<0 | Errno> {
  const { k } = t;
  const { memory, mmu } = k.machine;
  const { format } = mmu;
  enter(t, SPLIT_LARGE_PAGE);
  const base = yield* alloc_page(t, GFP_KERNEL);
  if (base === null) {
    leave(t);
    return err(ENOMEM);
  }
  yield* spin_lock(t, state.cpa_lock);
  const at = lookup_address(k, vaddr)!;
  const { pfn, prot } = read_entry(k, at);
  const split = (prot & PROT_LARGE) !== 0;
  if (split) {
    const entries = 2 ** format.largePageBits;
    const frame = memory.frame(base.pfn);
    const words = frame.back();
    const pte: PtePair = { lo: 0, hi: 0 };
    const perLine = k.machine.spec.memory.lineBytes / 8;
    charge(t, SPLIT_INSTRUCTIONS * entries);
    for (let i = 0; i < entries; i++) {
      if (i % perLine === 0) touch_write(t, k.machine.lineIn(frame, i * 8));
      format.encode(pfn + i, prot & ~PROT_LARGE, pte);
      words[i * 2] = pte.lo;
      words[i * 2 + 1] = pte.hi;
    }
    yield* store_entry(t, at, base.pfn, format.tableProt(at.level));
    k.init_mm.nr_tables++;
    state.splits++;
  }
  yield* spin_unlock(t, state.cpa_lock);
  if (!split) yield* __free_page(t, base);
  leave(t);
  return 0;
}

/** Flushes this CPU's TLB, global entries too. Plain. */
function __cpa_flush_range(t: Thread): void {
  enter(t, __CPA_FLUSH_RANGE);
  charge(t, 6);
  flush_tlb_local(t, true);
  leave(t);
}

/** Flushes every TLB and, if `cache`, writes the pages' lines back by clflush. */
function* cpa_flush_range(t: Thread, numpages: number, cache: boolean): Steps {
  enter(t, CPA_FLUSH_RANGE);
  charge(t, 10);
  yield* on_each_cpu(t, __cpa_flush_range, null, true);
  if (cache) {
    const { memory, spec } = t.machine;
    const lines = numpages * memory.pageBytes / spec.memory.lineBytes;
    charge(t, 4 * lines);
    charge_cycles(t, lines * spec.cache.hitCycles);
  }
  leave(t);
}
