/**
 * Loads and stores at virtual addresses: TLB, page walk, cache line, memory.
 *
 * The page tables live in emulated frames and the TLBs are not coherent with
 * them, as on the hardware: a translation that is cached is used, whatever the
 * table says by now, until this CPU flushes it.
 *
 * Speculative fills happen when the schedule explorer asks for them. Left out:
 * accesses that cross a page.
 */
import type { MachineContext } from "../op.ts";
import type { Machine } from "./machine.ts";
import type { Coherence } from "./line.ts";
import type { Frame, PhysMemory } from "./memory.ts";
import {
  printVaddr,
  PROT_ACCESSED,
  PROT_DIRTY,
  PROT_LARGE,
  PROT_WRITE,
  type PteFormat,
  pteFormat,
} from "./pte.ts";
import { Tlb } from "./tlb.ts";
import { WalkCache } from "./walk_cache.ts";

/** Why an access faulted. */
export type FaultReason = "not present" | "write to read-only";

/**
 * A fault that no kernel handles.
 *
 * @example
 * ```ts
 * import { boot, PageFault } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const { machine } = boot();
 * const fault = new PageFault(0x10, false, "not present", machine.mmu.format);
 * assertEquals(
 *   fault.message,
 *   "page fault: read at 0000000000000010: not present",
 * );
 * ```
 */
export class PageFault extends Error {
  /** Name shown before the message. */
  override name = "PageFault";
  /** An access that faulted. */
  constructor(
    /** Low 48 bits of the address. */
    readonly vaddr: number,
    readonly write: boolean,
    readonly reason: FaultReason,
    format: PteFormat,
  ) {
    super(
      `page fault: ${write ? "write" : "read"} at ${
        printVaddr(format, vaddr)
      }: ${reason}`,
    );
  }
}

/** The kernel's end of a fault. @returns Whether the access is to be tried again. */
export type FaultHandler = (
  t: MachineContext,
  vaddr: number,
  write: boolean,
  reason: FaultReason,
) => boolean;

/** Page numbers go to the TLB as 32 low bits and the rest: small integers, which the host does not allocate. */
const PAGE_HIGH = 2 ** -32;

// See pte.ts on twins of exported constants.
const WRITE = PROT_WRITE;
const DIRTY = PROT_DIRTY;
const ACCESSED = PROT_ACCESSED;
const LARGE = PROT_LARGE;

/** What a walk found: the entry's halves, and where it stands. */
interface Walk {
  lo: number;
  hi: number;
  level: number;
  table: Frame;
  /** Of the entry's low half, in the table's words. */
  word: number;
}

/**
 * All memory management units of one machine.
 *
 * @example
 * ```ts
 * import { boot, vmalloc, vmalloc_to_pfn } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const addr = yield* vmalloc(t, 4096);
 *   const { mmu } = t.machine;
 *   assertEquals(mmu.peek(t.k.init_mm.pgd, addr), vmalloc_to_pfn(t, addr));
 * });
 * ```
 */
export class Mmu {
  /** Layout of page-table entries. */
  declare readonly format: PteFormat;
  /** Each CPU's TLB, by CPU number. */
  declare readonly tlbs: readonly Tlb[];
  /** Set by the kernel; faults throw {@linkcode PageFault} until then. */
  onFault: FaultHandler | null = null;
  /** Frame of each CPU's root table; -1 = paging not set up. */
  readonly #roots: Float64Array;
  readonly #pageBytes: number = 0;
  readonly #pageOfByte: number = 0;
  readonly #walk: Walk;
  /** Each CPU's, made at its first walk; unused where the machine has none. */
  readonly #walkCaches: (WalkCache | undefined)[];
  readonly #leafLevel: number = 0;
  /** Index bits of the last level. */
  readonly #leafBits: number = 0;
  // The machine's, at hand.
  readonly #memory: PhysMemory;
  readonly #coherence: Coherence;
  readonly #l2HitCycles: number = 0;
  readonly #walkCycles: number = 0;
  readonly #walkCachesUpper: boolean = false;

  /** The machine that they are part of. */
  declare readonly machine: Machine;

  /** Made with its machine. */
  constructor(machine: Machine) {
    this.machine = machine;
    const { spec, engine } = machine;
    this.format = pteFormat(spec.paging.format);
    this.tlbs = engine.cpus.map(() =>
      new Tlb(spec.tlb, this.format.largePageBits)
    );
    this.#roots = new Float64Array(engine.cpus.length).fill(-1);
    this.#pageBytes = 1 << this.format.pageShift;
    this.#pageOfByte = 1 / this.#pageBytes;
    const table = machine.memory.frame(0);
    this.#walk = { lo: 0, hi: 0, level: 0, table, word: 0 };
    this.#walkCaches = new Array(engine.cpus.length).fill(undefined);
    this.#leafLevel = this.format.levels.length - 1;
    this.#leafBits = this.format.levels[this.#leafLevel];
    this.#memory = machine.memory;
    this.#coherence = machine.coherence;
    this.#l2HitCycles = spec.tlb.l2HitCycles;
    this.#walkCycles = spec.tlb.walkCycles;
    this.#walkCachesUpper = spec.tlb.walkCachesUpper;
  }

  /** Loads CPU `id`'s root table register; flushes nothing. For use before that CPU has used its TLB. */
  setRoot(id: number, pfn: number): void {
    this.#roots[id] = pfn;
  }

  /** Frame of CPU `id`'s root table; -1 = paging not set up. */
  rootOf(id: number): number {
    return this.#roots[id];
  }

  /** Loads `size` bytes at `vaddr`. */
  read(t: MachineContext, vaddr: number, size: number): number {
    const frame = this.translate(t, vaddr, size, false);
    return this.machine.readFrame(t, frame, this.#offset(vaddr), size);
  }

  /** Stores `size` bytes at `vaddr`. */
  write(t: MachineContext, vaddr: number, size: number, value: number): void {
    const frame = this.translate(t, vaddr, size, true);
    this.machine.writeFrame(t, frame, this.#offset(vaddr), size, value);
  }

  /** Byte of `vaddr` in its page. */
  #offset(vaddr: number): number {
    // Of a safe integer, `| 0` keeps the low 32 bits.
    return (vaddr | 0) & (this.#pageBytes - 1);
  }

  /**
   * Finds the frame of `vaddr` as this CPU's TLB and tables have it, charging
   * the lookup.
   *
   * @throws {PageFault} If nothing maps it and the kernel does not handle the fault.
   */
  translate(
    t: MachineContext,
    vaddr: number,
    size: number,
    write: boolean,
  ): Frame {
    const page = vaddr * this.#pageOfByte;
    const low = page | 0;
    const high = (page * PAGE_HIGH) | 0;
    if (this.#offset(vaddr) + size > this.#pageBytes) {
      throw new RangeError(
        `Cannot access ${size} bytes at ${
          printVaddr(this.format, vaddr)
        } as they cross a page`,
      );
    }
    const tlb = this.tlbs[t.cpu.id];
    for (;;) {
      let slot = tlb.lookupSplit(low, high);
      if (slot < 0) slot = this.#fill(t, tlb, vaddr, low, high);
      else if (tlb.lastLevel === 2) t.spend(this.#l2HitCycles);
      let reason: FaultReason = "not present";
      if (slot >= 0) {
        const flags = tlb.flagsAt(slot);
        if (!write || (flags & WRITE) !== 0) {
          if (write && (flags & DIRTY) === 0) {
            this.#setDirty(t, tlb, slot, vaddr);
          }
          return this.#memory.frame(tlb.translate(slot, low));
        }
        reason = "write to read-only";
      }
      if (this.onFault === null || !this.onFault(t, vaddr, write, reason)) {
        throw new PageFault(vaddr, write, reason, this.format);
      }
    }
  }

  /**
   * Looks `vaddr` up in the tables below `root` without charging, filling or
   * faulting: for kernel walkers' checks, sanitizers and dumps.
   *
   * @returns The frame, or -1.
   */
  peek(root: number, vaddr: number): number {
    if (!this.#lookup(null, root, vaddr)) return -1;
    const { lo, hi, level } = this.#walk;
    const prot = this.format.prot(lo, hi, level);
    const pfn = this.format.pfn(lo, hi, prot);
    if ((prot & PROT_LARGE) === 0) return pfn;
    const vpn = Math.floor(vaddr * this.#pageOfByte);
    return pfn + vpn % 2 ** this.format.largePageBits;
  }

  /** Drops `vaddr`'s translation from this CPU's TLB (`invlpg`). */
  flushPage(t: MachineContext, vaddr: number): void {
    this.#walkCaches[t.cpu.id]?.flush();
    this.tlbs[t.cpu.id].invalidate(Math.floor(vaddr * this.#pageOfByte));
    t.spend(this.machine.spec.tlb.invlpgCycles);
  }

  /** Flushes this CPU's TLB; `global` = kernel entries too. */
  flush(t: MachineContext, global: boolean): void {
    const { spec, engine } = this.machine;
    const tlb = this.tlbs[t.cpu.id];
    this.#walkCaches[t.cpu.id]?.flush();
    if (global) tlb.flushAll();
    else tlb.flush();
    t.spend(global ? spec.tlb.flushGlobalCycles : spec.tlb.flushCycles);
    engine.observer?.flush?.(t.cpu, global);
  }

  /**
   * CPU `id` fills its TLB for `vaddr` unasked, as hardware may at any time while
   * the entry is present. Charges nothing; sets no accessed bit.
   *
   * @returns Whether it did: `false` = no entry, or a translation was there.
   */
  speculate(id: number, vaddr: number): boolean {
    const root = this.#roots[id];
    const vpn = Math.floor(vaddr * this.#pageOfByte);
    const tlb = this.tlbs[id];
    if (root < 0 || tlb.holds(vpn) || !this.#lookup(null, root, vaddr)) {
      return false;
    }
    const { lo, hi, level } = this.#walk;
    const prot = this.format.prot(lo, hi, level);
    if ((prot & LARGE) !== 0) return false;
    const pfn = this.format.pfn(lo, hi, prot);
    tlb.fillSplit(vpn | 0, (vpn * PAGE_HIGH) | 0, pfn, prot);
    return true;
  }

  /** Drops `vaddr`'s translation from CPU `id`'s TLB, whoever runs there: a hypervisor's doing, which charges for it. */
  forgetPage(id: number, vaddr: number): void {
    this.#walkCaches[id]?.flush();
    this.tlbs[id].invalidate(Math.floor(vaddr * this.#pageOfByte));
  }

  /** Flushes CPU `id`'s TLB, global entries too; see {@linkcode Mmu.forgetPage}. */
  forgetAll(id: number): void {
    this.#walkCaches[id]?.flush();
    this.tlbs[id].flushAll();
    const { engine } = this.machine;
    engine.observer?.flush?.(engine.cpus[id], true);
  }

  /** Walks the tables and fills the TLB. @returns The slot, or -1. */
  #fill(
    t: MachineContext,
    tlb: Tlb,
    vaddr: number,
    low: number,
    high: number,
  ): number {
    t.spend(this.#walkCycles);
    const { format } = this;
    if (vaddr >= format.identityStart) {
      const pfn = Math.floor((vaddr - format.identityStart) * this.#pageOfByte);
      const prot = WRITE | DIRTY | ACCESSED;
      const within = pfn % 2 ** format.largePageBits;
      const vpn = high / PAGE_HIGH + (low >>> 0);
      const slot = tlb.insertLarge(vpn, pfn - within, prot);
      return slot >= 0 ? slot : tlb.fillSplit(low, high, pfn, prot);
    }
    if (!this.#walkCharged(t, vaddr, low, high)) return -1;
    const { lo, hi, level } = this.#walk;
    const prot = format.prot(lo, hi, level);
    const pfn = format.pfn(lo, hi, prot);
    if ((prot & ACCESSED) === 0) this.#setBits(ACCESSED);
    if ((prot & LARGE) === 0) return tlb.fillSplit(low, high, pfn, prot);
    const vpn = high / PAGE_HIGH + (low >>> 0);
    const slot = tlb.insertLarge(vpn, pfn, prot);
    if (slot >= 0) return slot;
    const within = vpn % 2 ** format.largePageBits;
    return tlb.fillSplit(low, high, pfn + within, prot & ~LARGE);
  }

  /** A hardware walk of page `low`, `high` of `vaddr`: through the walk cache if there is one. */
  #walkCharged(
    t: MachineContext,
    vaddr: number,
    low: number,
    high: number,
  ): boolean {
    const id = t.cpu.id;
    if (this.#walkCachesUpper) {
      const bits = this.#leafBits;
      const stretch = (low >>> bits) | (high << (32 - bits));
      const cache = this.#walkCaches[id] ??= new WalkCache();
      const table = cache.lookup(stretch);
      if (table !== null) {
        const index = low & ((1 << bits) - 1);
        return this.#entry(t, table, index, this.#leafLevel);
      }
      return this.#walkTables(t, vaddr) && this.#cacheWalk(cache, stretch);
    }
    return this.#walkTables(t, vaddr);
  }

  /** Walks from this CPU's root, charging it. */
  #walkTables(t: MachineContext, vaddr: number): boolean {
    const root = this.#roots[t.cpu.id];
    return root >= 0 && this.#lookup(t, root, vaddr);
  }

  /** Notes the last-level table that has just been walked to. @returns True. */
  #cacheWalk(cache: WalkCache, stretch: number): boolean {
    const { level, table: last } = this.#walk;
    if (level === this.#leafLevel) cache.insert(stretch, last);
    return true;
  }

  /** Walks from `root`, charging `t` if given; the result is in `#walk`. */
  #lookup(t: MachineContext | null, root: number, vaddr: number): boolean {
    const { format } = this;
    let table = root;
    for (let level = 0;; level++) {
      const index = format.index(vaddr, level);
      const found = this.#entry(t, this.#memory.frame(table), index, level);
      if (!found) return false;
      const { lo, hi } = this.#walk;
      if (format.isLeaf(lo, hi, level)) return true;
      table = format.pfn(lo, hi, 0);
    }
  }

  /** Reads entry `index` of `table`, which is one of `level`, into `#walk`. @returns Whether it is present. */
  #entry(
    t: MachineContext | null,
    table: Frame,
    index: number,
    level: number,
  ): boolean {
    const word = index * 2;
    if (t !== null) {
      const line = this.machine.lineIn(table, word * 4);
      t.spend(this.#coherence.read(t.cpu, line));
    }
    const words = table.words;
    if (words === null) return false;
    const lo = words[word] | 0; // signed: a small integer to the host
    const hi = words[word + 1] | 0;
    if (!this.format.isPresent(lo, hi, level)) return false;
    const walk = this.#walk;
    walk.lo = lo;
    walk.hi = hi;
    walk.level = level;
    if (walk.table !== table) walk.table = table; // spares the host a write barrier
    walk.word = word;
    return true;
  }

  /** First store through a clean translation: hardware sets the entry's dirty bit. */
  #setDirty(t: MachineContext, tlb: Tlb, slot: number, vaddr: number): void {
    tlb.addFlags(slot, DIRTY);
    const root = this.#roots[t.cpu.id];
    if (this.#lookup(t, root, vaddr)) {
      this.#setBits(ACCESSED | DIRTY);
    }
  }

  /** Sets bits of the entry in `#walk`; they stand where `PROT_*` has them in every format. */
  #setBits(bits: number): void {
    this.#walk.table.words![this.#walk.word] |= bits;
  }
}
