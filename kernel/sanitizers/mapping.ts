/**
 * Mappings of kernel addresses as their callers see them: from the call that
 * makes one to the call that gives it back. What sanitizers that judge
 * translations go by.
 *
 * Linux has no such record.
 */
import { printVaddr, PROT_WRITE, type PteFormat } from "../../arch/hw/pte.ts";
import type { Kernel } from "../kernel.ts";
import type { Page } from "../mm/page.ts";
import type { Thread } from "../thread.ts";
import {
  type ReportSection,
  type Spot,
  spotOf,
  spotSection,
} from "./report.ts";

/** One mapping, while any of its pages is not somebody else's. */
export class Mapping {
  /** Frame of each page, as far as it is known; -1 = not known. */
  pfns: number[] | null = null;
  writable = false;
  /** The caller has it, or has had it. */
  handed = false;
  /** When the caller began to give it back; `null` = in use. */
  unmapped: Spot | null = null;
  /** Who gives it back, until that is done. */
  by: Thread | null = null;
  /** Number of its giving back, once that is done; 0 = not yet. */
  doneSeq = 0;
  /** Pages whose last mapping this is. */
  left: number;

  constructor(
    readonly start: number,
    readonly end: number,
    readonly mapped: Spot,
    pages: number,
  ) {
    this.left = pages;
  }
}

/** The last mapping of each page of vmalloc and module space. */
export class MappingBook {
  /** Given back, and not known to be gone from page table and TLBs. */
  readonly lazy: Set<Mapping> = new Set();
  /** By page number, counted from the start of vmalloc space. */
  readonly #byPage: Map<number, Mapping> = new Map();
  readonly #perByte: number;
  readonly #pageBytes: number;
  // Limits of the two spaces, once they are known.
  #start = 0;
  #end = 0;
  #modulesStart = 0;
  #modulesEnd = 0;

  constructor(readonly k: Kernel) {
    this.#pageBytes = k.machine.memory.pageBytes;
    this.#perByte = 1 / this.#pageBytes;
  }

  /** Whether `addr` is in a space that mappings are made in, and one has been made. */
  covers(addr: number): boolean {
    return (addr >= this.#start && addr < this.#end) ||
      (addr >= this.#modulesStart && addr < this.#modulesEnd);
  }

  /** The last mapping of the page of `addr`. */
  at(addr: number): Mapping | undefined {
    return this.#byPage.get(Math.floor((addr - this.#start) * this.#perByte));
  }

  /** A mapping of `[start, end)`, made by `t` now, over what was there. */
  add(t: Thread, start: number, end: number): Mapping {
    if (this.#end === 0) this.#learn();
    // A size that is out of all reason is for others to report.
    if (end > this.#end && start < this.#end) end = this.#end;
    else if (end > this.#modulesEnd) end = this.#modulesEnd;
    const count = (end - start) * this.#perByte;
    const m = new Mapping(start, end, spotOf(t), count);
    const first = (start - this.#start) * this.#perByte;
    for (let i = 0; i < count; i++) {
      const before = this.#byPage.get(first + i);
      if (before !== undefined) this.#lose(before);
      this.#byPage.set(first + i, m);
    }
    return m;
  }

  /** The page of `addr`, one of `m`, has no translation any more. */
  forget(addr: number, m: Mapping): void {
    this.#byPage.delete(Math.floor((addr - this.#start) * this.#perByte));
    this.#lose(m);
  }

  #lose(m: Mapping): void {
    if (--m.left === 0) this.lazy.delete(m);
  }

  #learn(): void {
    const { start, end, modules } = this.k.vmalloc;
    this.#start = start;
    this.#end = end;
    this.#modulesStart = modules.start;
    this.#modulesEnd = modules.end;
  }

  /** Notes what entries of `m` from `start` on are to hold. */
  frames(
    m: Mapping,
    start: number,
    end: number,
    prot: number,
    pages: readonly Page[] | null,
    first: number,
  ): void {
    m.writable = (prot & PROT_WRITE) !== 0;
    const count = (end - start) * this.#perByte;
    const from = (start - m.start) * this.#perByte;
    const pfns = m.pfns ??= [];
    while (pfns.length < from) pfns.push(-1);
    for (let i = 0; i < count; i++) {
      pfns[from + i] = pages === null ? first + i : pages[first + i]?.pfn ?? -1;
    }
  }

  /** Frame that `addr` is to lead to, by `m`; -1 = not known. */
  frameAt(m: Mapping, addr: number): number {
    if (m.pfns === null) return -1;
    const i = Math.floor((addr - m.start) * this.#perByte);
    return i < m.pfns.length ? m.pfns[i] : -1;
  }
}

/** Who has the page of `vaddr`: the table, each TLB; and the life of `m`. */
export function holderSections(
  k: Kernel,
  vaddr: number,
  m: Mapping | null,
): ReportSection[] {
  const { mmu } = k.machine;
  const page = Math.floor(vaddr / k.vmalloc.page_size);
  const lines: string[] = [];
  const inTable = mmu.peek(k.init_mm.pgd, vaddr);
  lines.push(
    inTable < 0
      ? "the page table has no entry"
      : `the page table has frame ${inTable.toString(16)}`,
  );
  mmu.tlbs.forEach((tlb, cpu) => {
    const pfn = tlb.peek(page);
    if (pfn >= 0) {
      lines.push(`the TLB of CPU ${cpu} has frame ${pfn.toString(16)}`);
    }
  });
  const sections = [{ title: `address ${hex(mmu.format, vaddr)}:`, lines }];
  return m === null ? sections : [...sections, ...lifeSections(k, m)];
}

/** Who mapped `m`, and who unmapped it. */
function lifeSections(k: Kernel, m: Mapping): ReportSection[] {
  const { format } = k.machine.mmu;
  const what = `[${hex(format, m.start)}, ${hex(format, m.end)})`;
  const sections = [spotSection(k, `${what} mapped`, m.mapped)];
  if (m.unmapped !== null) {
    sections.push(spotSection(k, `${what} unmapped`, m.unmapped));
  }
  return sections;
}

function hex(format: PteFormat, vaddr: number): string {
  return printVaddr(format, vaddr);
}
