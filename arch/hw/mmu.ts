/**
 * Loads and stores at virtual addresses: TLB, page walk, cache line, memory.
 *
 * The page tables live in emulated frames and the TLBs are not coherent with
 * them, as on the hardware: a translation that is cached is used, whatever the
 * table says by now, until this CPU flushes it.
 *
 * Left out: speculative fills (the schedule explorer adds them), translations
 * of upper table levels as entries of their own, accesses that cross a page.
 */
import type { MachineContext } from "../asm.ts";
import type { Machine } from "./machine.ts";
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

/** Why an access faulted. */
export type FaultReason = "not present" | "write to read-only";

/** A fault that no kernel handles. */
export class PageFault extends Error {
  override name = "PageFault";
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

/** What a walk found. */
interface Walk {
  pfn: number;
  prot: number;
  /** Physical address of the entry, bytes. */
  entryAt: number;
}

/** All memory management units of one machine. */
export class Mmu {
  readonly format: PteFormat;
  readonly tlbs: readonly Tlb[];
  /** Set by the kernel; faults throw {@linkcode PageFault} until then. */
  onFault: FaultHandler | null = null;
  /** Frame of each CPU's root table; -1 = paging not set up. */
  readonly #roots: Float64Array;
  readonly #pageBytes: number;
  readonly #pageOfByte: number;
  readonly #walk: Walk = { pfn: 0, prot: 0, entryAt: 0 };

  constructor(readonly machine: Machine) {
    const { spec, engine } = machine;
    this.format = pteFormat(spec.paging.format);
    this.tlbs = engine.cpus.map(() =>
      new Tlb(spec.tlb, this.format.largePageBits)
    );
    this.#roots = new Float64Array(engine.cpus.length).fill(-1);
    this.#pageBytes = 2 ** this.format.pageShift;
    this.#pageOfByte = 1 / this.#pageBytes;
  }

  /** Loads CPU `id`'s root table register; flushes nothing. */
  setRoot(id: number, pfn: number): void {
    this.#roots[id] = pfn;
  }

  rootOf(id: number): number {
    return this.#roots[id];
  }

  /** Loads `size` bytes at `vaddr`. */
  read(t: MachineContext, vaddr: number, size: number): number {
    return this.machine.physRead(
      t,
      this.translate(t, vaddr, size, false),
      size,
    );
  }

  /** Stores `size` bytes at `vaddr`. */
  write(t: MachineContext, vaddr: number, size: number, value: number): void {
    this.machine.physWrite(
      t,
      this.translate(t, vaddr, size, true),
      size,
      value,
    );
  }

  /**
   * Physical address of `vaddr` as this CPU's TLB and tables have it, charging
   * the lookup.
   *
   * @throws {PageFault} If nothing maps it and the kernel does not handle the fault.
   */
  translate(
    t: MachineContext,
    vaddr: number,
    size: number,
    write: boolean,
  ): number {
    const vpn = Math.floor(vaddr * this.#pageOfByte);
    const offset = vaddr - vpn * this.#pageBytes;
    if (offset + size > this.#pageBytes) {
      throw new RangeError(
        `Cannot access ${size} bytes at ${
          printVaddr(this.format, vaddr)
        } as they cross a page`,
      );
    }
    const tlb = this.tlbs[t.cpu.id];
    for (;;) {
      let slot = tlb.lookup(vpn);
      if (slot < 0) slot = this.#fill(t, tlb, vaddr, vpn);
      else if (tlb.lastLevel === 2) {
        this.machine.engine.advance(t, this.machine.spec.tlb.l2HitCycles);
      }
      let reason: FaultReason = "not present";
      if (slot >= 0) {
        const flags = tlb.flagsAt(slot);
        if (!write || (flags & PROT_WRITE) !== 0) {
          if (write && (flags & PROT_DIRTY) === 0) {
            this.#setDirty(t, tlb, slot, vaddr);
          }
          return tlb.translate(slot, vpn) * this.#pageBytes + offset;
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
    const { pfn, prot } = this.#walk;
    if ((prot & PROT_LARGE) === 0) return pfn;
    const vpn = Math.floor(vaddr * this.#pageOfByte);
    return pfn + vpn % 2 ** this.format.largePageBits;
  }

  /** Drops `vaddr`'s translation from this CPU's TLB (`invlpg`). */
  flushPage(t: MachineContext, vaddr: number): void {
    this.tlbs[t.cpu.id].invalidate(Math.floor(vaddr * this.#pageOfByte));
    this.machine.engine.advance(t, this.machine.spec.tlb.invlpgCycles);
  }

  /** Flushes this CPU's TLB; `global` = kernel entries too. */
  flush(t: MachineContext, global: boolean): void {
    const { spec, engine } = this.machine;
    const tlb = this.tlbs[t.cpu.id];
    if (global) tlb.flushAll();
    else tlb.flush();
    engine.advance(
      t,
      global ? spec.tlb.flushGlobalCycles : spec.tlb.flushCycles,
    );
    engine.observer?.flush?.(t.cpu, global);
  }

  /** Walks the tables and fills the TLB. @returns The slot, or -1. */
  #fill(t: MachineContext, tlb: Tlb, vaddr: number, vpn: number): number {
    this.machine.engine.advance(t, this.machine.spec.tlb.walkCycles);
    if (vaddr >= this.format.identityStart) {
      const pfn = vpn - this.format.identityStart * this.#pageOfByte;
      return tlb.insert(vpn, pfn, PROT_WRITE | PROT_DIRTY | PROT_ACCESSED);
    }
    const root = this.#roots[t.cpu.id];
    if (root < 0 || !this.#lookup(t, root, vaddr)) return -1;
    const { pfn, prot, entryAt } = this.#walk;
    if ((prot & PROT_ACCESSED) === 0) this.#setBits(entryAt, PROT_ACCESSED);
    if ((prot & PROT_LARGE) === 0) return tlb.insert(vpn, pfn, prot);
    const slot = tlb.insertLarge(vpn, pfn, prot);
    if (slot >= 0) return slot;
    const within = vpn % 2 ** this.format.largePageBits;
    return tlb.insert(vpn, pfn + within, prot & ~PROT_LARGE);
  }

  /** Walks from `root`, charging `t` if given; the result is in `#walk`. */
  #lookup(t: MachineContext | null, root: number, vaddr: number): boolean {
    const { format, machine } = this;
    const last = format.levels.length - 1;
    const charged = machine.spec.tlb.walkCachesUpper ? last : 0;
    let table = root;
    for (let level = 0; level <= last; level++) {
      const frame = machine.memory.frame(table);
      const offset = format.index(vaddr, level) * 8;
      if (t !== null && level >= charged) {
        const done = machine.coherence.read(
          t.cpu,
          machine.lineIn(frame, offset),
        );
        machine.engine.advance(t, done - t.cpu.clock);
      }
      const words = frame.words;
      if (words === null) return false;
      const lo = words[offset >>> 2];
      const hi = words[(offset >>> 2) + 1];
      if (!format.isPresent(lo, hi, level)) return false;
      const prot = format.prot(lo, hi, level);
      const pfn = format.pfn(lo, hi, prot);
      if (format.isLeaf(lo, hi, level)) {
        this.#walk.pfn = pfn;
        this.#walk.prot = prot;
        this.#walk.entryAt = table * this.#pageBytes + offset;
        return true;
      }
      table = pfn;
    }
    return false;
  }

  /** First store through a clean translation: hardware sets the entry's dirty bit. */
  #setDirty(t: MachineContext, tlb: Tlb, slot: number, vaddr: number): void {
    tlb.addFlags(slot, PROT_DIRTY);
    const root = this.#roots[t.cpu.id];
    if (this.#lookup(t, root, vaddr)) {
      this.#setBits(this.#walk.entryAt, PROT_ACCESSED | PROT_DIRTY);
    }
  }

  /** Sets accessed and dirty bits, which stand where `PROT_*` has them in every format. */
  #setBits(entryAt: number, bits: number): void {
    const { memory } = this.machine;
    const lo = (memory.readLo(entryAt) | bits) >>> 0;
    memory.writePair(entryAt, lo, memory.readHi(entryAt));
  }
}
