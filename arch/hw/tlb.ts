/**
 * One CPU's translation lookaside buffer: an L1 and an L2 for base pages, and
 * an array for large pages. Not coherent: an entry outlives its page-table
 * entry until this CPU flushes it. Never yields, charges nothing: the caller
 * charges by {@linkcode Tlb.lastLevel}.
 *
 * L2 is exclusive of L1, as AMD describes it for Athlon XP and its successors
 * ("QuantiSpeed Architecture" white paper, 2001: a translation is in one of
 * the two): a walk fills L1, an L1 victim moves down to L2, an L2 hit trades
 * places with a victim. Intel does not document its second level; the same
 * rule is used there.
 *
 * Replacement is round robin within a set, in the order slots were filled:
 * AMD and Intel publish no policy, LRU-like ones cost state that hardware with
 * 48 ways also avoids, and this one is deterministic. A slot emptied by
 * `invlpg` is refilled when its turn comes.
 *
 * Left out: separate instruction TLB, address-space ids, speculative fills.
 * Upper levels are cached beside it: walk_cache.ts.
 */

import type { MachineSpec } from "./spec.ts";
import { TlbArray, tlbMeta } from "./tlb_array.ts";

const TWO_32 = 2 ** 32;

/** Bits of `vpn` above the low 32. */
function highOf(vpn: number): number {
  return Math.floor(vpn / TWO_32);
}

/** Where a TLB entry sits, for dumps. */
export type TlbPlace = "l1" | "l2" | "large";

/** Receives one entry; `vpn` and `pfn` count base pages, of a large page the first. */
export type TlbVisitor = (
  vpn: number,
  pfn: number,
  flags: number,
  place: TlbPlace,
) => void;

/**
 * One CPU's TLB. Page numbers are in base pages throughout; `flags` are
 * `PROT_*` bits of `pte.ts`.
 *
 * Slots are valid until the next insert, invalidate, flush or lookup.
 * Invariant: a page number is in at most one of L1 and L2.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   vfree,
 *   vm_unmap_aliases,
 *   vmalloc,
 *   vstore,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const stale = boot().run(function* (t) {
 *   const addr = yield* vmalloc(t, 4096);
 *   yield* vstore(t, addr, 8, 1);
 *   yield* vfree(t, addr); // lazily: page table and TLB still have it
 *   const tlb = t.machine.mmu.tlbs[t.cpu.id];
 *   const before = tlb.holds(addr / 4096);
 *   yield* vm_unmap_aliases(t);
 *   return [before, tlb.holds(addr / 4096)];
 * });
 * assertEquals(stale, [true, false]);
 * ```
 */
export class Tlb {
  /** Level that served the last lookup: 1, 2, or 0 for a miss. Large-page hits count as 1. */
  lastLevel: 0 | 1 | 2 = 0;

  /** Lookups served by L1. */
  hitsL1 = 0;
  /** Lookups served by L2. */
  hitsL2 = 0;
  /** Lookups served by the large-page array. */
  hitsLarge = 0;
  /** Lookups that found nothing. */
  misses = 0;
  /** Calls of {@linkcode flush}. */
  flushes = 0;
  /** Calls of {@linkcode flushAll}. */
  flushesGlobal = 0;
  /** Calls of {@linkcode invalidate}. */
  invalidations = 0;
  /** Valid entries lost to make room. */
  evictions = 0;

  readonly #l1: TlbArray;
  readonly #l2: TlbArray;
  readonly #large: TlbArray;
  readonly #largeBase: number = 0; // slot of the large array's entry 0
  readonly #largePageBits: number = 0;
  readonly #largePages: number = 0;
  readonly #largeScale: number = 0;

  /**
   * An empty TLB; allocates with its first entry.
   *
   * @param spec Geometry; `l1.entries` is at least 1.
   * @param largePageBits log2 of the base pages in a large page; 0 = no large pages.
   */
  constructor(
    spec: Pick<MachineSpec["tlb"], "l1" | "l2" | "large">,
    largePageBits = 9,
  ) {
    if (!(spec.l1.entries >= 1)) {
      throw new RangeError(
        `Cannot create a TLB as l1 must have >= 1 entry: current value is ${spec.l1.entries}`,
      );
    }
    this.#l1 = new TlbArray("l1", spec.l1);
    this.#l2 = new TlbArray("l2", spec.l2);
    this.#large = new TlbArray("large", spec.large);
    this.#largeBase = spec.l1.entries;
    this.#largePageBits = largePageBits;
    this.#largePages = 1 << largePageBits;
    this.#largeScale = 1 / this.#largePages;
  }

  /** Entries held now, of all kinds. */
  get size(): number {
    return this.#l1.count + this.#l2.count + this.#large.count;
  }

  /**
   * Slot of the entry that translates base page `vpn`, stale or not, or -1.
   * Looks at L1, then L2 (a hit there moves to L1), then the large pages.
   */
  lookup(vpn: number): number {
    return this.lookupSplit(vpn | 0, highOf(vpn));
  }

  /** {@linkcode lookup} of a page number given as its low 32 and its high bits. */
  lookupSplit(low: number, high: number): number {
    const slot = this.#l1.find(low, high);
    if (slot >= 0) {
      this.hitsL1++;
      this.lastLevel = 1;
      return slot;
    }
    if (this.#l2.count > 0) {
      const below = this.#l2.find(low, high);
      if (below >= 0) return this.#refill(below);
    }
    return this.#lookupLarge(low, high);
  }

  /** As {@linkcode lookup}, for callers who know that only a large page can cover `vpn`. */
  lookupLarge(vpn: number): number {
    return this.#lookupLarge(vpn | 0, highOf(vpn));
  }

  #lookupLarge(low: number, high: number): number {
    if (this.#large.count > 0) {
      const bits = this.#largePageBits; // above 0, as there are large pages
      const number = (low >>> bits) | (high << (32 - bits));
      const slot = this.#large.find(number, high >>> bits);
      if (slot >= 0) {
        this.hitsLarge++;
        this.lastLevel = 1;
        return this.#largeBase + slot;
      }
    }
    this.misses++;
    this.lastLevel = 0;
    return -1;
  }

  /** Frame in `slot`; of a large page, its first. */
  pfnAt(slot: number): number {
    return slot < this.#largeBase
      ? this.#l1.pfnAt(slot)
      : this.#large.pfnAt(slot - this.#largeBase);
  }

  /** Frame that `slot` gives for `vpn`, the page just looked up. */
  translate(slot: number, vpn: number): number {
    if (slot < this.#largeBase) return this.#l1.pfnAt(slot);
    return this.#large.pfnAt(slot - this.#largeBase) +
      (vpn & (this.#largePages - 1));
  }

  /** Protection in `slot`. */
  flagsAt(slot: number): number {
    return slot < this.#largeBase
      ? this.#l1.flagsAt(slot)
      : this.#large.flagsAt(slot - this.#largeBase);
  }

  /** Sets `bits` (accessed, dirty) in `slot`'s protection. */
  addFlags(slot: number, bits: number): void {
    if (slot < this.#largeBase) this.#l1.addFlags(slot, bits);
    else this.#large.addFlags(slot - this.#largeBase, bits);
  }

  /** Caches base page `vpn` in L1, over an older entry if there is one; returns its slot. */
  insert(vpn: number, pfn: number, flags: number): number {
    const l1 = this.#l1;
    const low = vpn | 0;
    const high = highOf(vpn);
    const slot = l1.find(low, high);
    if (slot < 0) {
      const below = this.#l2.find(low, high);
      if (below >= 0) this.#l2.drop(below);
      return this.fillSplit(low, high, pfn, flags);
    }
    l1.set(slot, tlbMeta(high, pfn, flags), pfn);
    return slot;
  }

  /** {@linkcode insert} of a page that {@linkcode lookupSplit} has just missed. */
  fillSplit(low: number, high: number, pfn: number, flags: number): number {
    return this.#fillL1(low, tlbMeta(high, pfn, flags), pfn);
  }

  /** Caches the large page that covers `vpn`; `pfn` is its first frame. Returns its slot, or -1 if the CPU has none for large pages. */
  insertLarge(vpn: number, pfn: number, flags: number): number {
    const large = this.#large;
    if (large.entries === 0) return -1;
    const number = Math.floor(vpn * this.#largeScale);
    const low = number | 0;
    const high = highOf(number);
    const meta = tlbMeta(high, pfn, flags);
    let slot = large.find(low, high);
    if (slot >= 0) large.set(slot, meta, pfn);
    else {
      slot = large.put(low, meta, pfn);
      if (large.oldMeta !== 0) this.evictions++;
    }
    return this.#largeBase + slot;
  }

  /** `invlpg`: drops whatever translates `vpn`, global or not; returns the entries dropped. */
  invalidate(vpn: number): number {
    this.invalidations++;
    return dropPage(this.#l1, vpn) + dropPage(this.#l2, vpn) +
      dropPage(this.#large, Math.floor(vpn * this.#largeScale));
  }

  /** Drops all but global entries, as a write to CR3 does. */
  flush(): void {
    this.flushes++;
    this.#l1.clearNonGlobal();
    this.#l2.clearNonGlobal();
    this.#large.clearNonGlobal();
  }

  /** Drops everything, as toggling CR4.PGE does. */
  flushAll(): void {
    this.flushesGlobal++;
    this.#l1.clear();
    this.#l2.clear();
    this.#large.clear();
  }

  /** Visits every entry: L1, L2, then large pages, each by slot. Changes nothing. */
  forEach(visit: TlbVisitor): void {
    visitAll(this.#l1, 1, "l1", visit);
    visitAll(this.#l2, 1, "l2", visit);
    visitAll(this.#large, this.#largePages, "large", visit);
  }

  /** Frame that base page `vpn` is translated to, or -1. Counts and moves nothing: for sanitizers. */
  peek(vpn: number): number {
    const low = vpn | 0;
    const high = highOf(vpn);
    let slot = this.#l1.find(low, high);
    if (slot >= 0) return this.#l1.pfnAt(slot);
    slot = this.#l2.find(low, high);
    if (slot >= 0) return this.#l2.pfnAt(slot);
    const number = Math.floor(vpn * this.#largeScale);
    slot = this.#large.find(number | 0, highOf(number));
    return slot < 0
      ? -1
      : this.#large.pfnAt(slot) + (vpn & (this.#largePages - 1));
  }

  /** True if some entry translates `vpn`. Counts and moves nothing: for sanitizers. */
  holds(vpn: number): boolean {
    const low = vpn | 0;
    const high = highOf(vpn);
    const number = Math.floor(vpn * this.#largeScale);
    return this.#l1.find(low, high) >= 0 || this.#l2.find(low, high) >= 0 ||
      this.#large.find(number | 0, highOf(number)) >= 0;
  }

  /** Moves L2's `below` up to L1. @returns Its slot there. */
  #refill(below: number): number {
    const l2 = this.#l2;
    const low = l2.lowAt(below);
    const meta = l2.metaAt(below);
    const pfn = l2.pfnLowAt(below);
    l2.drop(below);
    this.hitsL2++;
    this.lastLevel = 2;
    return this.#fillL1(low, meta, pfn);
  }

  /** Puts an entry into L1; what has to make room moves down to L2. */
  #fillL1(low: number, meta: number, pfn: number): number {
    const l1 = this.#l1;
    const slot = l1.put(low, meta, pfn);
    if (l1.oldMeta !== 0) {
      const l2 = this.#l2;
      if (l2.entries === 0) this.evictions++;
      else {
        l2.put(l1.oldLow, l1.oldMeta, l1.oldPfn);
        if (l2.oldMeta !== 0) this.evictions++;
      }
    }
    return slot;
  }
}

function dropPage(array: TlbArray, vpn: number): number {
  const slot = array.find(vpn | 0, highOf(vpn));
  if (slot < 0) return 0;
  array.drop(slot);
  return 1;
}

function visitAll(
  array: TlbArray,
  pages: number,
  place: TlbPlace,
  visit: TlbVisitor,
): void {
  for (let slot = 0, left = array.count; left > 0; slot++) {
    if (!array.isValid(slot)) continue;
    left--;
    visit(
      array.vpnAt(slot) * pages,
      array.pfnAt(slot),
      array.flagsAt(slot),
      place,
    );
  }
}
