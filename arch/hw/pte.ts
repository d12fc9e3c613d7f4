/**
 * Page-table entries, bit for bit, of the three formats the presets use.
 *
 * An entry is 8 bytes, handled as two unsigned 32-bit halves. A protection is
 * a small integer of `PROT_*` bits; its low nine bits stand where x86 has
 * them, so the common encodings are an OR. Virtual addresses are their low 48
 * bits as a safe integer (32 bits for PAE). Pure: no state, no cycles.
 *
 * Sources. x86-64 and PAE: AMD64 Architecture Programmer's Manual vol. 2,
 * section 5.3 (long-mode translation), 5.2.3 (PAE), figures of the 4 KiB and
 * 2 MiB entries. ia64: Intel Itanium Architecture SDM vol. 2, section 4.1
 * (translation insertion format, VHPT short format); table depth, raw
 * pointers in upper levels and the kernel's protections: Linux
 * asm-ia64/pgtable.h.
 */

import type { MachineSpec } from "./spec.ts";

/** Translation is valid. */
export const PROT_PRESENT = 0x001;
/** Stores are allowed. */
export const PROT_WRITE = 0x002;
/** User mode may access. */
export const PROT_USER = 0x004;
/** Page-level write-through; alone, write-combining as Linux 2.6.28 programs the PAT. */
export const PROT_PWT = 0x008;
/** Page-level cache disable. */
export const PROT_PCD = 0x010;
/** Hardware has read the page. */
export const PROT_ACCESSED = 0x020;
/** Hardware has written the page. */
export const PROT_DIRTY = 0x040;
/** Third index bit into the PAT: bit 7 of a base entry, bit 12 of a large one. */
export const PROT_PAT = 0x080;
/** The TLB keeps the entry over an ordinary flush. */
export const PROT_GLOBAL = 0x100;
/** The entry maps a large page (2 MiB) rather than pointing at a table. */
export const PROT_LARGE = 0x200;
/** No instruction fetch. */
export const PROT_NX = 0x400;

/** Kernel code and data, executable: low bits 0x163. */
export const PAGE_KERNEL_EXEC = PROT_PRESENT | PROT_WRITE | PROT_ACCESSED |
  PROT_DIRTY | PROT_GLOBAL;
/** Ordinary kernel data: 0x163 and no execution. */
export const PAGE_KERNEL = PAGE_KERNEL_EXEC | PROT_NX;
/** Read-only kernel data. */
export const PAGE_KERNEL_RO = PAGE_KERNEL & ~PROT_WRITE;
/** Kernel text made read-only. */
export const PAGE_KERNEL_RX = PAGE_KERNEL_EXEC & ~PROT_WRITE;
/** Device registers, uncached. */
export const PAGE_KERNEL_NOCACHE = PAGE_KERNEL | PROT_PCD | PROT_PWT;
/** Frame buffers, write-combining. */
export const PAGE_KERNEL_WC = PAGE_KERNEL | PROT_PWT;
/** Direct map by large pages: low bits 0x1e3. */
export const PAGE_KERNEL_LARGE = PAGE_KERNEL | PROT_LARGE;
/** Large page of kernel text. */
export const PAGE_KERNEL_LARGE_EXEC = PAGE_KERNEL_EXEC | PROT_LARGE;
/** Entry that points at a kernel table (`_KERNPG_TABLE`): low bits 0x63. */
export const PROT_TABLE = PROT_PRESENT | PROT_WRITE | PROT_ACCESSED |
  PROT_DIRTY;

/** One entry on its way to or from memory; callers keep one and reuse it. */
export interface PtePair {
  /** Bits 31..0, unsigned. */
  lo: number;
  /** Bits 63..32, unsigned. */
  hi: number;
}

/** One page-table format. Levels count from the root: level 0 is read first. */
export interface PteFormat {
  /** Name as in `paging.format`. */
  readonly name: MachineSpec["paging"]["format"];
  /** log2 of the base page in bytes. */
  readonly pageShift: number;
  /** Index bits of each level, root first. */
  readonly levels: readonly number[];
  /** Significant bits of a virtual address as held here. */
  readonly vaddrBits: number;
  /** First kernel address. */
  readonly kernelStart: number;
  /** Level whose entries may map a large page; -1 = none. */
  readonly largeLevel: number;
  /** log2 of the base pages in a large page, or in a granule of identity; 0 = none. */
  readonly largePageBits: number;
  /**
   * From this address up no table is read: frame = offset from here (ia64
   * region 7). `Infinity` where every translation has a table.
   */
  readonly identityStart: number;

  /** Index into the table at `level` for `vaddr`. */
  index(vaddr: number, level: number): number;
  /** Bytes of address space under one entry at `level`. */
  spanBytes(level: number): number;
  /** Protection of an entry at `level` that points at the next table. */
  tableProt(level: number): number;
  /**
   * Encodes a leaf entry, or a table entry when `prot` is `tableProt(level)`.
   *
   * @param pfn Frame number in base pages; a large page's is aligned.
   * @param prot `PROT_*` bits.
   * @param out Receives the entry.
   */
  encode(pfn: number, prot: number, out: PtePair): void;
  /** The entry at `level` may be used by a walk. */
  isPresent(lo: number, hi: number, level: number): boolean;
  /** The present entry at `level` maps memory, rather than pointing at a table. */
  isLeaf(lo: number, hi: number, level: number): boolean;
  /** Frame number in an entry. `prot` as decoded says whether it is large. */
  pfn(lo: number, hi: number, prot: number): number;
  /** `PROT_*` bits of an entry at `level`. */
  prot(lo: number, hi: number, level: number): number;
}

const TWO_32 = 2 ** 32;

/** Level arithmetic that all formats share. */
abstract class BaseFormat {
  readonly #scales: readonly number[]; // 2^-shift: exact
  readonly #masks: readonly number[];
  readonly #spans: readonly number[];
  declare readonly vaddrBits: number;
  /** Index of the last level, whose entries map base pages. */
  declare readonly leafLevel: number;

  declare readonly pageShift: number;
  declare readonly levels: readonly number[];

  constructor(
    pageShift: number,
    levels: readonly number[],
    vaddrBits?: number,
  ) {
    this.pageShift = pageShift;
    this.levels = levels;
    const shifts = levels.map((_, i) =>
      levels.slice(i + 1).reduce((sum, bits) => sum + bits, pageShift)
    );
    this.#scales = shifts.map((shift) => 2 ** -shift);
    this.#masks = levels.map((bits) => (1 << bits) - 1);
    this.#spans = shifts.map((shift) => 2 ** shift);
    this.vaddrBits = vaddrBits ?? shifts[0] + levels[0];
    this.leafLevel = levels.length - 1;
  }

  index(vaddr: number, level: number): number {
    // `&` takes its operand modulo 2^32 and drops the fraction; the quotient is exact below 2^53.
    return (vaddr * this.#scales[level]) & this.#masks[level];
  }

  spanBytes(level: number): number {
    return this.#spans[level];
  }
}

// What the hot paths test, again: V8 reads an exported binding from memory and
// checks it each time, one of the module's own is a constant to it.
const PRESENT = PROT_PRESENT;
const LARGE = PROT_LARGE;
const PAT = PROT_PAT;
const NX = PROT_NX;

/** Bits of an x86 entry that stand where `PROT_*` has them: all but PAT, PS. */
const X86_SAME = 0x17f;
const X86_PS = 0x80; // also PAT in a base entry
const X86_LARGE_PAT = 0x1000;
const X86_NX = 0x80000000;

/** x86-64 and PAE differ in depth and in what the root entries may hold. */
class X86Format extends BaseFormat implements PteFormat {
  readonly largePageBits = 9;
  readonly identityStart = Infinity;

  declare readonly name: "x86-64" | "i386-pae";
  declare readonly kernelStart: number;

  constructor(
    name: "x86-64" | "i386-pae",
    levels: readonly number[],
    kernelStart: number,
  ) {
    super(12, levels);
    this.name = name;
    this.kernelStart = kernelStart;
  }

  get largeLevel(): number {
    return this.leafLevel - 1;
  }

  tableProt(level: number): number {
    // PAE's four root entries: R/W, U/S, A and D are reserved, must be zero.
    return this.levels[level] === 2 ? PROT_PRESENT : PROT_TABLE;
  }

  encode(pfn: number, prot: number, out: PtePair): void {
    let lo = (prot & X86_SAME) | (pfn << 12);
    if ((prot & LARGE) !== 0) {
      lo |= X86_PS;
      if ((prot & PAT) !== 0) lo |= X86_LARGE_PAT;
    } else lo |= prot & PAT;
    out.lo = lo >>> 0;
    // pfn bits 39..20 go to bits 51..32
    const hi = pfn < 0x100000 ? 0 : (pfn / 0x100000) & 0xfffff;
    out.hi = ((prot & NX) !== 0 ? hi | X86_NX : hi) >>> 0;
  }

  isPresent(lo: number, _hi: number, _level: number): boolean {
    return (lo & PRESENT) !== 0;
  }

  isLeaf(lo: number, _hi: number, level: number): boolean {
    return level === this.leafLevel ||
      (level === this.leafLevel - 1 && (lo & X86_PS) !== 0);
  }

  pfn(lo: number, hi: number, prot: number): number {
    const low = (prot & LARGE) !== 0 ? (lo >>> 21) << 9 : lo >>> 12;
    const high = hi & 0xfffff;
    return high === 0 ? low : high * 0x100000 + low;
  }

  prot(lo: number, hi: number, level: number): number {
    let prot = lo & X86_SAME;
    if (level === this.leafLevel) prot |= lo & PAT;
    else if (level === this.leafLevel - 1 && (lo & X86_PS) !== 0) {
      prot |= LARGE;
      if ((lo & X86_LARGE_PAT) !== 0) prot |= PAT;
    }
    return (hi & X86_NX) !== 0 ? prot | NX : prot;
  }
}

// ia64 leaf entry: P 0, MA 4..2, A 5, D 6, PL 8..7, AR 11..9, PPN 49..12, ED 52.
const IA64_SAME = PROT_PRESENT | PROT_ACCESSED | PROT_DIRTY;
const IA64_MA_UC = 4 << 2;
const IA64_MA_WC = 6 << 2;
const IA64_MA_MASK = 7 << 2;
const IA64_PL_3 = 3 << 7;
const IA64_AR_X = 1 << 9; // R = 0, RX = 1, RW = 2, RWX = 3
const IA64_AR_W = 2 << 9;
const IA64_ED = 1 << (52 - 32);

/**
 * Linux on ia64 with 16 KiB pages and three levels of 2048 entries.
 *
 * Regions do not fit in 48 bits, and the kernel uses two: bit 47 clear is an
 * address of region 5 (0xa..., vmalloc, by page table), bit 47 set one of
 * region 7 (0xe..., identity, inserted by the miss handler without a table, a
 * granule of 16 MiB at a time: IA64_GRANULE_16MB).
 * Upper levels hold bare physical addresses, zero meaning none. No global bit:
 * kernel regions have their own region id, so ring-0 entries decode as global.
 * Linux's ia64 PAGE_KERNEL is executable: that is PAGE_KERNEL_EXEC here. Of
 * cacheability only WB, WC and UC exist, so PCD alone decodes as PCD + PWT.
 */
class Ia64Format extends BaseFormat implements PteFormat {
  readonly name = "ia64-16k";
  readonly kernelStart = 0;
  readonly largeLevel = -1;
  readonly largePageBits = 10;
  readonly identityStart = 2 ** 47;

  constructor() {
    super(14, [11, 11, 11], 48);
  }

  tableProt(_level: number): number {
    return 0;
  }

  encode(pfn: number, prot: number, out: PtePair): void {
    out.lo = (pfn << 14) >>> 0;
    out.hi = (pfn / 0x40000) & 0x3ffff; // PPN ends at bit 49
    if (prot === 0) return; // pointer to a table
    let lo = prot & IA64_SAME;
    if ((prot & PROT_PCD) !== 0) lo |= IA64_MA_UC;
    else if ((prot & PROT_PWT) !== 0) lo |= IA64_MA_WC;
    if ((prot & PROT_USER) !== 0) lo |= IA64_PL_3;
    if ((prot & PROT_WRITE) !== 0) lo |= IA64_AR_W;
    if ((prot & PROT_NX) === 0) lo |= IA64_AR_X;
    out.lo = (out.lo | lo) >>> 0;
    out.hi |= IA64_ED;
  }

  isPresent(lo: number, hi: number, level: number): boolean {
    return level === this.leafLevel
      ? (lo & PROT_PRESENT) !== 0
      : (lo | hi) !== 0;
  }

  isLeaf(_lo: number, _hi: number, level: number): boolean {
    return level === this.leafLevel;
  }

  pfn(lo: number, hi: number, _prot: number): number {
    return (hi & 0x3ffff) * 0x40000 + (lo >>> 14);
  }

  prot(lo: number, _hi: number, level: number): number {
    if (level !== this.leafLevel) return 0;
    let prot = lo & IA64_SAME;
    const ma = lo & IA64_MA_MASK;
    if (ma === IA64_MA_WC) prot |= PROT_PWT;
    else if (ma !== 0) prot |= PROT_PCD | PROT_PWT;
    prot |= (lo & IA64_PL_3) !== 0 ? PROT_USER : PROT_GLOBAL;
    if ((lo & IA64_AR_W) !== 0) prot |= PROT_WRITE;
    if ((lo & IA64_AR_X) === 0) prot |= PROT_NX;
    return prot;
  }
}

/** AMD64 long mode: four levels of 512, 4 KiB and 2 MiB pages, 48-bit addresses. */
export const X86_64: PteFormat = new X86Format(
  "x86-64",
  [9, 9, 9, 9],
  2 ** 47,
);
/** 32-bit x86 with PAE: 4, 512, 512; the kernel has the top GiB. */
export const I386_PAE: PteFormat = new X86Format(
  "i386-pae",
  [2, 9, 9],
  0xc0000000,
);
/** Itanium Linux, 16 KiB pages, three levels of 2048. */
export const IA64_16K: PteFormat = new Ia64Format();

/** The format called `name`. */
export function pteFormat(name: MachineSpec["paging"]["format"]): PteFormat {
  switch (name) {
    case "x86-64":
      return X86_64;
    case "i386-pae":
      return I386_PAE;
    case "ia64-16k":
      return IA64_16K;
  }
}

/**
 * `vaddr` as the kernel prints it: lower-case hex, sign extended to 16 digits
 * (x86-64 `ffffc20000000000`), region restored (ia64 `a000000200000000`), or
 * 8 digits (i386).
 *
 * @example
 * ```ts
 * import { boot, printVaddr } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const { kernel, machine } = boot();
 * assertEquals(
 *   printVaddr(machine.mmu.format, kernel.vmalloc.start),
 *   "ffffc20000000000",
 * );
 * ```
 */
export function printVaddr(format: PteFormat, vaddr: number): string {
  if (format.name === "i386-pae") return vaddr.toString(16).padStart(8, "0");
  const upper = vaddr >= 2 ** 47;
  if (format.name === "x86-64") {
    return (upper ? "ffff" : "0000") + vaddr.toString(16).padStart(12, "0");
  }
  const offset = upper ? vaddr - 2 ** 47 : vaddr;
  return (upper ? "e000" : "a000") + offset.toString(16).padStart(12, "0");
}

/**
 * Reads what {@linkcode printVaddr} prints, with or without `0x`. Up to 12
 * digits are taken as the low 48 bits as they stand.
 *
 * @throws {SyntaxError} If `text` is not hexadecimal.
 * @throws {RangeError} If the format has no such address.
 */
export function parseVaddr(format: PteFormat, text: string): number {
  const digits = text.replace(/^0x/i, "");
  if (!/^[0-9a-f]{1,16}$/i.test(digits)) {
    throw new SyntaxError(
      `Cannot parse an address as it must be 1 to 16 hexadecimal digits: current value is "${text}"`,
    );
  }
  const low = parseInt(digits.slice(-12), 16);
  const top = digits.length > 12 ? parseInt(digits.slice(0, -12), 16) : 0;
  if (format.name === "i386-pae") {
    if (top === 0 && low < TWO_32) return low;
  } else if (digits.length <= 12) {
    return low;
  } else if (format.name === "x86-64") {
    if (top === (low >= 2 ** 47 ? 0xffff : 0)) return low;
  } else if (low < 2 ** 47) {
    if (top === 0xa000) return low;
    if (top === 0xe000) return low + 2 ** 47;
  }
  throw new RangeError(
    `Cannot parse an address as it must be one that ${format.name} has: current value is "${text}"`,
  );
}
