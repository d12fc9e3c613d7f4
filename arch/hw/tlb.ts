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
 * Left out: separate instruction TLB, paging-structure caches (their effect is
 * `tlb.walkCachesUpper`), address-space ids, speculative fills.
 */

import { PROT_GLOBAL } from "./pte.ts";
import type { MachineSpec, TlbLevelSpec } from "./spec.ts";

/** Ways up to which scanning a set beats hashing. */
const MAX_SCANNED_WAYS = 8;

const NO_F64 = new Float64Array(0);
const NO_U16 = new Uint16Array(0);
const NO_I16 = new Int16Array(0);
const EMPTY = -1; // in `vpns`

/** One array of entries, `ways` to a set. Allocates at its first entry. */
class EntryArray {
  /** Valid entries. */
  count = 0;
  /** Valid entries without PROT_GLOBAL. */
  private nonGlobal = 0;
  vpns = NO_F64;
  pfns = NO_F64;
  flags = NO_U16;

  readonly entries: number;
  private readonly ways: number;
  private readonly setMask: number;
  /** Next way to replace, by set. */
  private turns = NO_U16;

  // More than MAX_SCANNED_WAYS: chains of slots by hash of vpn, -1 ends one.
  private readonly hashed: boolean;
  private readonly hashMask: number;
  private heads = NO_I16;
  private nexts = NO_I16;

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
      : 0;
  }

  /** Slot of `vpn`, or -1. */
  find(vpn: number): number {
    if (this.count === 0) return -1;
    const vpns = this.vpns;
    if (this.hashed) {
      let slot = this.heads[this.bucket(vpn)];
      while (slot >= 0 && vpns[slot] !== vpn) slot = this.nexts[slot];
      return slot;
    }
    const first = (vpn & this.setMask) * this.ways;
    for (let slot = first; slot < first + this.ways; slot++) {
      if (vpns[slot] === vpn) return slot;
    }
    return -1;
  }

  /** The slot that the next entry for `vpn` goes to; its occupant, if any, must leave first. */
  victim(vpn: number): number {
    if (this.vpns === NO_F64) this.allocate();
    const set = vpn & this.setMask;
    const way = this.turns[set];
    this.turns[set] = way + 1 === this.ways ? 0 : way + 1;
    return set * this.ways + way;
  }

  /** Fills the empty `slot`, one of `vpn`'s set. */
  fill(slot: number, vpn: number, pfn: number, flags: number): void {
    this.vpns[slot] = vpn;
    this.pfns[slot] = pfn;
    this.flags[slot] = flags;
    this.count++;
    if ((flags & PROT_GLOBAL) === 0) this.nonGlobal++;
    if (!this.hashed) return;
    const bucket = this.bucket(vpn);
    this.nexts[slot] = this.heads[bucket];
    this.heads[bucket] = slot;
  }

  /** Empties the valid `slot`. */
  drop(slot: number): void {
    const vpn = this.vpns[slot];
    this.vpns[slot] = EMPTY;
    this.count--;
    if ((this.flags[slot] & PROT_GLOBAL) === 0) this.nonGlobal--;
    if (!this.hashed) return;
    const bucket = this.bucket(vpn);
    let at = this.heads[bucket];
    if (at === slot) {
      this.heads[bucket] = this.nexts[slot];
      return;
    }
    while (this.nexts[at] !== slot) at = this.nexts[at];
    this.nexts[at] = this.nexts[slot];
  }

  /** Empties every slot; costs nothing when there is nothing to drop. */
  clear(): void {
    if (this.count === 0) return;
    this.count = 0;
    this.nonGlobal = 0;
    this.vpns.fill(EMPTY);
    this.heads.fill(-1);
  }

  /** Empties every slot that is not global. */
  clearNonGlobal(): void {
    if (this.nonGlobal === this.count) return this.clear();
    for (let slot = 0; this.nonGlobal > 0; slot++) {
      if (this.vpns[slot] === EMPTY) continue;
      if ((this.flags[slot] & PROT_GLOBAL) === 0) this.drop(slot);
    }
  }

  private bucket(vpn: number): number {
    const x = vpn | 0; // low 32 bits; blocks are 2^10 pages, so mix those in
    return (x ^ (x >>> 5) ^ (x >>> 10)) & this.hashMask;
  }

  private allocate(): void {
    this.vpns = new Float64Array(this.entries).fill(EMPTY);
    this.pfns = new Float64Array(this.entries);
    this.flags = new Uint16Array(this.entries);
    this.turns = new Uint16Array(this.setMask + 1);
    if (!this.hashed) return;
    this.heads = new Int16Array(this.hashMask + 1).fill(-1);
    this.nexts = new Int16Array(this.entries);
  }
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
    const slot = this.#l1.find(vpn);
    if (slot >= 0) {
      this.hitsL1++;
      this.lastLevel = 1;
      return slot;
    }
    if (this.#l2.count > 0) {
      const below = this.#l2.find(vpn);
      if (below >= 0) return this.#refill(below, vpn);
    }
    return this.lookupLarge(vpn);
  }

  /** As {@linkcode lookup}, for callers who know that only a large page can cover `vpn`. */
  lookupLarge(vpn: number): number {
    if (this.#large.count > 0) {
      const slot = this.#large.find(Math.floor(vpn * this.#largeScale));
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
      ? this.#l1.pfns[slot]
      : this.#large.pfns[slot - this.#largeBase];
  }

  /** Frame that `slot` gives for `vpn`, the page just looked up. */
  translate(slot: number, vpn: number): number {
    if (slot < this.#largeBase) return this.#l1.pfns[slot];
    return this.#large.pfns[slot - this.#largeBase] +
      (vpn & (this.#largePages - 1));
  }

  /** Protection in `slot`. */
  flagsAt(slot: number): number {
    return slot < this.#largeBase
      ? this.#l1.flags[slot]
      : this.#large.flags[slot - this.#largeBase];
  }

  /** Sets `bits` (accessed, dirty) in `slot`'s protection. */
  addFlags(slot: number, bits: number): void {
    if (slot < this.#largeBase) this.#l1.flags[slot] |= bits & ~PROT_GLOBAL;
    else this.#large.flags[slot - this.#largeBase] |= bits & ~PROT_GLOBAL;
  }

  /** Caches base page `vpn` in L1, over an older entry if there is one; returns its slot. */
  insert(vpn: number, pfn: number, flags: number): number {
    const l1 = this.#l1;
    const slot = l1.find(vpn);
    if (slot < 0) {
      const below = this.#l2.find(vpn);
      if (below >= 0) this.#l2.drop(below);
      return this.fill(vpn, pfn, flags);
    }
    l1.drop(slot);
    l1.fill(slot, vpn, pfn, flags);
    return slot;
  }

  /** {@linkcode insert} of a `vpn` that {@linkcode lookup} has just missed. */
  fill(vpn: number, pfn: number, flags: number): number {
    const l1 = this.#l1;
    const slot = l1.victim(vpn);
    this.#demote(slot);
    l1.fill(slot, vpn, pfn, flags);
    return slot;
  }

  /** Caches the large page that covers `vpn`; `pfn` is its first frame. Returns its slot, or -1 if the CPU has none for large pages. */
  insertLarge(vpn: number, pfn: number, flags: number): number {
    const large = this.#large;
    if (large.entries === 0) return -1;
    const number = Math.floor(vpn * this.#largeScale);
    let slot = large.find(number);
    if (slot >= 0) large.drop(slot);
    else {
      slot = large.victim(number);
      if (large.vpns[slot] !== EMPTY) {
        large.drop(slot);
        this.evictions++;
      }
    }
    large.fill(slot, number, pfn, flags);
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
    return this.#l1.find(vpn) >= 0 || this.#l2.find(vpn) >= 0 ||
      this.#large.find(Math.floor(vpn * this.#largeScale)) >= 0;
  }

  #refill(below: number, vpn: number): number {
    const { pfns, flags } = this.#l2;
    const pfn = pfns[below], flag = flags[below];
    this.#l2.drop(below);
    const slot = this.#l1.victim(vpn);
    this.#demote(slot);
    this.#l1.fill(slot, vpn, pfn, flag);
    this.hitsL2++;
    this.lastLevel = 2;
    return slot;
  }

  /** Moves L1's `slot`, if valid, down to L2. */
  #demote(slot: number): void {
    const { vpns, pfns, flags } = this.#l1;
    const vpn = vpns[slot];
    if (vpn === EMPTY) return;
    this.#l1.drop(slot);
    const l2 = this.#l2;
    if (l2.entries === 0) {
      this.evictions++;
      return;
    }
    const to = l2.victim(vpn);
    if (l2.vpns[to] !== EMPTY) {
      l2.drop(to);
      this.evictions++;
    }
    l2.fill(to, vpn, pfns[slot], flags[slot]);
  }
}

function dropPage(array: EntryArray, vpn: number): number {
  const slot = array.find(vpn);
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
    const vpn = array.vpns[slot];
    if (vpn === EMPTY) continue;
    left--;
    visit(vpn * pages, array.pfns[slot], array.flags[slot], place);
  }
}
