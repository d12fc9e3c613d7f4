/**
 * Translations that must be gone, and are not: in the page table, in a TLB, or
 * in use.
 *
 * What is told apart:
 *
 * - an access to an address that its caller has given back;
 * - an address mapped again while its entry is in use, or while some TLB has
 *   what was there before;
 * - a translation that is left when vm_unmap_aliases() returns, of a mapping
 *   that had been given back before the call;
 * - a frame freed and allocated again while a mapping that nobody has given back
 *   leads to it, writable;
 * - an access through a translation that is not the mapping's;
 * - entries of a mapping in use cleared.
 *
 * The window that the design allows: from the caller's unmapping on, page table
 * and TLBs may keep a translation, and CPUs may load it anew from the page table,
 * writable or not, whoever has the frame by then; until the address is mapped
 * again, or the first vm_unmap_aliases() returns that began after the unmapping
 * was done. Exactly so long nothing is reported, but for accesses.
 *
 * Left out: the direct map, user addresses, protections.
 */
import { OpKind } from "../../arch/op.ts";
import { ksym } from "../../arch/asm.ts";
import type { Kernel } from "../kernel.ts";
import type { Page } from "../mm/page.ts";
import type { VmapRange } from "../mm/vmap_layer.ts";
import type { VmStruct } from "../mm/vm_struct.ts";
import type { Thread } from "../thread.ts";
import { holderSections, type Mapping, MappingBook } from "./mapping.ts";
import {
  type ReportSection,
  SanitizerReport,
  type Spot,
  spotOf,
  spotSection,
} from "./report.ts";
import type { Sanitizer } from "./sanitizer.ts";

const UNMAP_KERNEL_RANGE = ksym("unmap_kernel_range");
const VREAD = ksym("vread");
const VWRITE = ksym("vwrite");

/** A call of vm_unmap_aliases() under way. */
interface AliasCall {
  readonly t: Thread;
  /** Unmappings that were done before. */
  readonly seq: number;
  readonly began: Spot;
}

/** See the file's head. */
export class TlbSanitizer implements Sanitizer {
  readonly #book: MappingBook;
  readonly #pageBytes: number;
  /** Mappings being given back. */
  readonly #unmapping: Mapping[] = [];
  readonly #aliasCalls: AliasCall[] = [];
  /** Unmappings done so far. */
  #doneSeq = 0;
  /** Mappings in use that lead to a frame. Arrays stay, empty. */
  readonly #usersOf: Map<number, Mapping[]> = new Map();
  /** Frames freed while in use, and by whom. */
  readonly #freed: Map<number, Spot> = new Map();

  constructor(readonly k: Kernel) {
    this.#book = new MappingBook(k);
    this.#pageBytes = k.machine.memory.pageBytes;
  }

  operation(t: Thread, kind: number, place: unknown): void {
    if (kind !== OpKind.VIRT_READ && kind !== OpKind.VIRT_WRITE) return;
    const vaddr = place as number;
    if (!this.#book.covers(vaddr)) return;
    const m = this.#book.at(vaddr);
    if (m === undefined) return;
    if (m.unmapped !== null) return this.#usedAfter(t, vaddr, m);
    const { mmu } = this.k.machine;
    const cached = mmu.tlbs[t.cpu.id].peek(Math.floor(vaddr / this.#pageBytes));
    if (cached < 0) return;
    let right = this.#book.frameAt(m, vaddr);
    if (right < 0) right = mmu.peek(this.k.init_mm.pgd, vaddr);
    if (right !== cached) {
      this.#report(t, "access through a stale translation", vaddr, m);
    }
  }

  mapped(t: Thread, start: number, end: number): void {
    const m = this.#book.at(start);
    const same = m !== undefined && m.unmapped === null && m.start === start &&
      m.end === end;
    if (same) m.handed = true;
    else this.#book.add(t, start, end).handed = true;
  }

  ptesSet(
    t: Thread,
    start: number,
    end: number,
    prot: number,
    pages: readonly Page[] | null,
    first: number,
  ): void {
    if (!this.#isVmalloc(start)) return;
    this.#checkUnused(t, start, end);
    let m = this.#book.at(start);
    const own = m !== undefined && m.unmapped === null && m.handed &&
      m.start <= start && m.end >= end;
    if (!own) m = this.#book.add(t, start, end);
    else if (m!.pfns !== null) this.#drop(m!);
    this.#book.frames(m!, start, end, prot, pages, first);
    this.#use(m!);
  }

  unmapped(t: Thread, start: number): void {
    const m = this.#book.at(start);
    if (m === undefined || m.start !== start || m.unmapped !== null) return;
    m.unmapped = spotOf(t);
    m.by = t;
    this.#unmapping.push(m);
    this.#book.lazy.add(m);
    this.#drop(m);
  }

  unmapDone(t: Thread, start: number, accepted: boolean): void {
    const list = this.#unmapping;
    for (let i = list.length - 1; i >= 0; i--) {
      const m = list[i];
      if (m.by !== t || m.start !== start) continue;
      list.splice(i, 1);
      m.by = null;
      if (accepted) m.doneSeq = ++this.#doneSeq;
      else { // nothing of the layer's was there
        m.unmapped = null;
        this.#book.lazy.delete(m);
        this.#use(m);
      }
      return;
    }
  }

  aliasesBegin(t: Thread): void {
    this.#aliasCalls.push({ t, seq: this.#doneSeq, began: spotOf(t) });
  }

  aliasesEnd(t: Thread): void {
    const at = this.#aliasCalls.findIndex((call) => call.t === t);
    if (at < 0) return;
    const call = this.#aliasCalls[at];
    this.#aliasCalls.splice(at, 1);
    for (const m of this.#book.lazy) {
      if (m.doneSeq > 0 && m.doneSeq <= call.seq) this.#checkGone(t, m, call);
    }
  }

  ptesCleared(t: Thread, start: number, end: number): void {
    if (!this.#book.covers(start)) return;
    for (let addr = start; addr < end; addr += this.#pageBytes) {
      const m = this.#book.at(addr);
      if (m === undefined || m.unmapped !== null || !m.handed) continue;
      if (t.stack.subarray(0, t.depth).includes(UNMAP_KERNEL_RANGE)) return;
      this.#report(
        t,
        "page-table entries of a mapping in use cleared",
        addr,
        m,
      );
    }
  }

  /** What no TLB has by now is not worth remembering. */
  areaRemoved(_t: Thread, area: VmapRange): void {
    if (this.#book.lazy.size === 0) return;
    for (let a = area.va_start; a < area.va_end; a += this.#pageBytes) {
      const m = this.#book.at(a);
      if (m === undefined || m.doneSeq === 0) continue;
      if (this.#cpuWith(a) < 0) this.#book.forget(a, m);
    }
  }

  pageFreed(t: Thread, page: Page, order: number): void {
    for (let i = 0; i < 1 << order; i++) {
      const users = this.#usersOf.get(page.pfn + i);
      if (users !== undefined && users.length > 0) {
        this.#freed.set(page.pfn + i, spotOf(t));
      }
    }
  }

  pageAllocated(t: Thread, page: Page, order: number): void {
    if (this.#freed.size === 0) return;
    for (let pfn = page.pfn; pfn < page.pfn + (1 << order); pfn++) {
      const freed = this.#freed.get(pfn);
      if (freed === undefined) continue;
      this.#freed.delete(pfn);
      for (const m of this.#usersOf.get(pfn)!) {
        this.#checkNotThere(t, m, pfn, freed);
      }
    }
  }

  /** Reports unless entries and TLBs have nothing of `[start, end)`. */
  #checkUnused(t: Thread, start: number, end: number): void {
    const { mmu } = this.k.machine;
    const { pgd } = this.k.init_mm;
    for (let addr = start; addr < end; addr += this.#pageBytes) {
      const m = this.#book.at(addr) ?? null;
      if (mmu.peek(pgd, addr) >= 0) {
        this.#report(t, "address reused while its entry is in use", addr, m);
      }
      if (this.#cpuWith(addr) >= 0) {
        this.#report(t, "address reused without a TLB flush", addr, m);
      }
    }
  }

  /** Reports what is left of `m`; else forgets it. */
  #checkGone(t: Thread, m: Mapping, call: AliasCall): void {
    const { mmu } = this.k.machine;
    const { pgd } = this.k.init_mm;
    for (let addr = m.start; addr < m.end; addr += this.#pageBytes) {
      if (this.#book.at(addr) !== m) continue; // mapped again
      if (mmu.peek(pgd, addr) >= 0 || this.#cpuWith(addr) >= 0) {
        const what = "alias alive after vm_unmap_aliases()";
        const began = spotSection(
          this.k,
          "vm_unmap_aliases() called",
          call.began,
        );
        this.#report(t, what, addr, m, [began]);
      }
      this.#book.forget(addr, m);
    }
  }

  /** Reports if `m`, in use, leads to frame `pfn`, which has a new owner. */
  #checkNotThere(t: Thread, m: Mapping, pfn: number, freed: Spot): void {
    const { mmu } = this.k.machine;
    const { pgd } = this.k.init_mm;
    if (!m.writable || !m.handed) return;
    for (let addr = m.start; addr < m.end; addr += this.#pageBytes) {
      if (this.#book.at(addr) !== m) continue;
      if (this.#book.frameAt(m, addr) !== pfn) continue;
      if (mmu.peek(pgd, addr) !== pfn && this.#cpuWith(addr) < 0) continue;
      const by = spotSection(this.k, `frame ${pfn.toString(16)} freed`, freed);
      this.#report(t, "frame reused while it is mapped", addr, m, [by]);
    }
  }

  #usedAfter(t: Thread, vaddr: number, m: Mapping): void {
    // Readers of vmlist may see an area until it is unlinked.
    const stack = t.stack.subarray(0, t.depth);
    const reader = stack.includes(VREAD) || stack.includes(VWRITE);
    if (reader && this.#isListed(m)) return;
    this.#report(t, "use of an address after it was unmapped", vaddr, m);
  }

  #isListed(m: Mapping): boolean {
    let vm: VmStruct | null = this.k.vmalloc.vmlist;
    while (vm !== null && vm.addr !== m.start) vm = vm.next;
    return vm !== null;
  }

  /** First CPU whose TLB translates `vaddr`; -1 = none. */
  #cpuWith(vaddr: number): number {
    const { tlbs } = this.k.machine.mmu;
    const page = Math.floor(vaddr / this.#pageBytes);
    for (let cpu = 0; cpu < tlbs.length; cpu++) {
      const tlb = tlbs[cpu];
      if (tlb.size > 0 && tlb.holds(page)) return cpu;
    }
    return -1;
  }

  #isVmalloc(vaddr: number): boolean {
    const { vmalloc } = this.k;
    if (vmalloc === undefined) return false;
    const { start, end, modules } = vmalloc;
    return (vaddr >= start && vaddr < end) ||
      (vaddr >= modules.start && vaddr < modules.end);
  }

  /** `m` leads to its frames from now on. */
  #use(m: Mapping): void {
    if (m.pfns === null) return;
    for (let i = 0; i < m.pfns.length; i++) {
      if (m.pfns[i] < 0) continue;
      const users = this.#usersOf.get(m.pfns[i]);
      if (users === undefined) this.#usersOf.set(m.pfns[i], [m]);
      else if (!users.includes(m)) users.push(m);
    }
  }

  /** `m` is no user of its frames any more. */
  #drop(m: Mapping): void {
    if (m.pfns === null) return;
    for (let i = 0; i < m.pfns.length; i++) {
      const users: Mapping[] | undefined = this.#usersOf.get(m.pfns[i]);
      if (users === undefined) continue;
      const at = users.indexOf(m);
      if (at < 0) continue;
      users[at] = users[users.length - 1];
      users.pop();
    }
  }

  #report(
    t: Thread,
    headline: string,
    vaddr: number,
    m: Mapping | null,
    more: readonly ReportSection[] = [],
  ): never {
    const sections = [...holderSections(this.k, vaddr, m), ...more];
    throw new SanitizerReport(t, "tlb", `BUG: TLB: ${headline}`, sections);
  }
}
