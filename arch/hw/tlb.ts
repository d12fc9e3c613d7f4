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

import { PROT_GLOBAL } from "./pte.ts";
import type { MachineSpec, TlbLevelSpec } from "./spec.ts";

/** Ways up to which scanning a set beats hashing. */
const MAX_SCANNED_WAYS = 8;

// An entry is four words, so that a set of four ways is one host cache line:
// low 32 bits of vpn; high bits of pfn and vpn, validity, flags; low 32 bits of
// pfn; next in chain.
const WORDS = 4;
const HIGH = 1;
const PFN = 2;
const NEXT = 3;
const PFN_HIGH_SHIFT = 24; // 8 bits
const VPN_HIGH_SHIFT = 16; // 8 bits, above the PROT_* flags
const VALID = 0x8000; // no PROT_* bit
const FLAGS = VALID - 1;
const TWO_32 = 2 ** 32;

const NO_WORDS = new Int32Array(0);

/** One array of entries, `ways` to a set. Allocates at its first entry. */
class EntryArray {
  /** Valid entries. */
  count = 0;
  /** Valid entries without PROT_GLOBAL. */
  private nonGlobal = 0;
  /** Entries, then the next way to replace of each set, then chain heads. */
  private words = NO_WORDS;

  readonly entries: number;
  private readonly ways: number;
  private readonly setMask: number;
  private readonly turnsAt: number;

  // More than MAX_SCANNED_WAYS: chains of slots by hash of vpn, -1 ends one.
  private readonly hashed: boolean;
  private readonly hashMask: number;
  private readonly headsAt: number;

  constructor(what: string, spec: TlbLevelSpec) {
    this.entries = spec.entries;
    this.ways = Math.max(spec.ways, 1);
    const sets = spec.entries / this.ways;
    if (
      !(spec.entries >= 0 && spec.entries <= 32767) ||
      (spec.entries > 0 && (!Number.isInteger(sets) || (sets & (sets - 1))))
    ) {
      throw new RangeError(
        `Cannot create a TLB as ${what} entries must be <= 32767 and ways times a power of two: current value is ${spec.entries} entries, ${spec.ways} ways`,
      );
    }
    this.setMask = sets - 1;
    this.hashed = this.ways > MAX_SCANNED_WAYS;
    this.hashMask = this.hashed
      ? 2 ** Math.ceil(Math.log2(spec.entries * 2)) - 1
      : -1;
    this.turnsAt = spec.entries * WORDS;
    this.headsAt = this.turnsAt + sets;
  }

  /** Slot of the page whose number has these low 32 and high bits, or -1. */
  find(low: number, high: number): number {
    if (this.count === 0) return -1;
    const words = this.words;
    if (this.hashed) {
      let slot = words[this.headsAt + this.bucket(low)];
      while (slot >= 0) {
        const at = slot * WORDS;
        if (
          words[at] === low && vpnHigh(words[at + HIGH]) === high
        ) break;
        slot = words[at + NEXT];
      }
      return slot;
    }
    const first = (low & this.setMask) * this.ways;
    for (let slot = first; slot < first + this.ways; slot++) {
      const at = slot * WORDS;
      if (
        words[at] === low && vpnHigh(words[at + HIGH]) === high &&
        (words[at + HIGH] & VALID) !== 0
      ) return slot;
    }
    return -1;
  }

  isValid(slot: number): boolean {
    return this.words !== NO_WORDS &&
      (this.words[slot * WORDS + HIGH] & VALID) !== 0;
  }

  lowAt(slot: number): number {
    return this.words[slot * WORDS];
  }

  highAt(slot: number): number {
    return vpnHigh(this.words[slot * WORDS + HIGH]);
  }

  vpnAt(slot: number): number {
    const at = slot * WORDS;
    return vpnHigh(this.words[at + HIGH]) * TWO_32 +
      (this.words[at] >>> 0);
  }

  pfnAt(slot: number): number {
    const at = slot * WORDS;
    return (this.words[at + HIGH] >>> PFN_HIGH_SHIFT) * TWO_32 +
      (this.words[at + PFN] >>> 0);
  }

  flagsAt(slot: number): number {
    return this.words[slot * WORDS + HIGH] & FLAGS;
  }

  addFlags(slot: number, bits: number): void {
    this.words[slot * WORDS + HIGH] |= bits;
  }

  /** The slot that the next entry for page `low` goes to; its occupant, if any, must leave first. */
  victim(low: number): number {
    if (this.words === NO_WORDS) this.allocate();
    const set = low & this.setMask;
    const way = this.words[this.turnsAt + set];
    this.words[this.turnsAt + set] = way + 1 === this.ways ? 0 : way + 1;
    return set * this.ways + way;
  }

  /** Fills the empty `slot`, one of the page's set. */
  fill(
    slot: number,
    low: number,
    high: number,
    pfn: number,
    flags: number,
  ): void {
    const words = this.words;
    const at = slot * WORDS;
    words[at] = low;
    words[at + HIGH] = (Math.floor(pfn / TWO_32) << PFN_HIGH_SHIFT) |
      (high << VPN_HIGH_SHIFT) | VALID | flags;
    words[at + PFN] = pfn;
    this.count++;
    if ((flags & PROT_GLOBAL) === 0) this.nonGlobal++;
    if (!this.hashed) return;
    const head = this.headsAt + this.bucket(low);
    words[at + NEXT] = words[head];
    words[head] = slot;
  }

  /** Empties the valid `slot`. */
  drop(slot: number): void {
    const words = this.words;
    const at = slot * WORDS;
    this.count--;
    if ((words[at + HIGH] & PROT_GLOBAL) === 0) this.nonGlobal--;
    words[at + HIGH] = 0;
    if (!this.hashed) return;
    let link = this.headsAt + this.bucket(words[at]);
    while (words[link] !== slot) link = words[link] * WORDS + NEXT;
    words[link] = words[at + NEXT];
  }

  /** Empties every slot; costs nothing when there is nothing to drop. */
  clear(): void {
    if (this.count === 0) return;
    this.count = 0;
    this.nonGlobal = 0;
    this.words.fill(0, 0, this.turnsAt);
    if (this.hashed) this.words.fill(-1, this.headsAt);
  }

  /** Empties every slot that is not global. */
  clearNonGlobal(): void {
    if (this.nonGlobal === this.count) return this.clear();
    for (let slot = 0; this.nonGlobal > 0; slot++) {
      if (!this.isValid(slot)) continue;
      if ((this.flagsAt(slot) & PROT_GLOBAL) === 0) this.drop(slot);
    }
  }

  /** Hash of the low 32 bits of a page number; blocks are 2^10 pages, so those bits are mixed in. */
  private bucket(low: number): number {
    return (low ^ (low >>> 5) ^ (low >>> 10)) & this.hashMask;
  }

  private allocate(): void {
    this.words = new Int32Array(this.headsAt + this.hashMask + 1);
    this.words.fill(-1, this.headsAt);
  }
}

/** Bits of `vpn` above the low 32. */
function highOf(vpn: number): number {
  return Math.floor(vpn / TWO_32);
}

function vpnHigh(word: number): number {
  return (word >>> VPN_HIGH_SHIFT) & 0xff;
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

  readonly #l1: EntryArray;
  readonly #l2: EntryArray;
  readonly #large: EntryArray;
  readonly #largeBase: number; // slot of the large array's entry 0
  readonly #largePages: number;
  readonly #largeScale: number;

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
    this.#l1 = new EntryArray("l1", spec.l1);
    this.#l2 = new EntryArray("l2", spec.l2);
    this.#large = new EntryArray("large", spec.large);
    this.#largeBase = spec.l1.entries;
    this.#largePages = 2 ** largePageBits;
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
      const number = (high * TWO_32 + (low >>> 0)) * this.#largeScale;
      const slot = this.#large.find(number | 0, highOf(number));
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
    const allowed = bits & FLAGS & ~PROT_GLOBAL;
    if (slot < this.#largeBase) this.#l1.addFlags(slot, allowed);
    else this.#large.addFlags(slot - this.#largeBase, allowed);
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
    l1.drop(slot);
    l1.fill(slot, low, high, pfn, flags);
    return slot;
  }

  /** {@linkcode insert} of a page that {@linkcode lookupSplit} has just missed. */
  fillSplit(low: number, high: number, pfn: number, flags: number): number {
    const l1 = this.#l1;
    const slot = l1.victim(low);
    this.#demote(slot);
    l1.fill(slot, low, high, pfn, flags);
    return slot;
  }

  /** Caches the large page that covers `vpn`; `pfn` is its first frame. Returns its slot, or -1 if the CPU has none for large pages. */
  insertLarge(vpn: number, pfn: number, flags: number): number {
    const large = this.#large;
    if (large.entries === 0) return -1;
    const number = Math.floor(vpn * this.#largeScale);
    const low = number | 0;
    const high = highOf(number);
    let slot = large.find(low, high);
    if (slot >= 0) large.drop(slot);
    else {
      slot = large.victim(low);
      if (large.isValid(slot)) {
        large.drop(slot);
        this.evictions++;
      }
    }
    large.fill(slot, low, high, pfn, flags);
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

  /** True if some entry translates `vpn`. Counts and moves nothing: for sanitizers. */
  holds(vpn: number): boolean {
    const low = vpn | 0;
    const high = highOf(vpn);
    const number = Math.floor(vpn * this.#largeScale);
    return this.#l1.find(low, high) >= 0 || this.#l2.find(low, high) >= 0 ||
      this.#large.find(number | 0, highOf(number)) >= 0;
  }

  #refill(below: number): number {
    const l2 = this.#l2;
    const low = l2.lowAt(below);
    const high = l2.highAt(below);
    const pfn = l2.pfnAt(below);
    const flags = l2.flagsAt(below);
    l2.drop(below);
    const slot = this.#l1.victim(low);
    this.#demote(slot);
    this.#l1.fill(slot, low, high, pfn, flags);
    this.hitsL2++;
    this.lastLevel = 2;
    return slot;
  }

  /** Moves L1's `slot`, if valid, down to L2. */
  #demote(slot: number): void {
    const l1 = this.#l1;
    if (!l1.isValid(slot)) return;
    const low = l1.lowAt(slot);
    const high = l1.highAt(slot);
    const pfn = l1.pfnAt(slot);
    const flags = l1.flagsAt(slot);
    l1.drop(slot);
    const l2 = this.#l2;
    if (l2.entries === 0) {
      this.evictions++;
      return;
    }
    const to = l2.victim(low);
    if (l2.isValid(to)) {
      l2.drop(to);
      this.evictions++;
    }
    l2.fill(to, low, high, pfn, flags);
  }
}

function dropPage(array: EntryArray, vpn: number): number {
  const slot = array.find(vpn | 0, highOf(vpn));
  if (slot < 0) return 0;
  array.drop(slot);
  return 1;
}

function visitAll(
  array: EntryArray,
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
