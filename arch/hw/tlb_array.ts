/**
 * One array of TLB entries, `ways` to a set, replaced round robin.
 *
 * Entries are words of one typed array, and their second word, `meta`, moves
 * between arrays as it is: a miss costs an eviction here, another in the next
 * level and a fill, which no object should stand between.
 */
import { PROT_GLOBAL } from "./pte.ts";
import type { TlbLevelSpec } from "./spec.ts";

/** Ways up to which scanning a set beats hashing. */
const MAX_SCANNED_WAYS = 8;

// An entry is four words, so that a set of four ways is one host cache line:
// low 32 bits of vpn; meta; low 32 bits of pfn; next in chain. Meta is the high
// bits of pfn and vpn, validity, flags; 0 = an empty slot.
const WORDS = 4;
const META = 1;
const PFN = 2;
const NEXT = 3;
const PFN_HIGH_SHIFT = 24; // 8 bits
const VPN_HIGH_SHIFT = 16; // 8 bits, above the PROT_* flags
const VALID = 0x8000; // no PROT_* bit
const KEY = (0xff << VPN_HIGH_SHIFT) | VALID;
/** The bits of `meta` that are `PROT_*` flags. */
const FLAGS = VALID - 1;
const GLOBAL = PROT_GLOBAL;
const TWO_32 = 2 ** 32;

const NO_WORDS = new Int32Array(0);

/** The second word of an entry. `high` = the page number's bits above 32. */
export function tlbMeta(high: number, pfn: number, flags: number): number {
  const pfnHigh = pfn < TWO_32 ? 0 : Math.floor(pfn / TWO_32);
  return (pfnHigh << PFN_HIGH_SHIFT) | (high << VPN_HIGH_SHIFT) | VALID | flags;
}

/** The array; allocates at its first entry. */
export class TlbArray {
  /** Valid entries. */
  count = 0;
  /** Valid entries without PROT_GLOBAL. */
  #nonGlobal = 0;
  /** Entries, then the next way to replace of each set, then chain heads. */
  #words = NO_WORDS;

  /** What {@linkcode put} has replaced, as words; `oldMeta` 0 = nothing. */
  oldLow = 0;
  oldMeta = 0;
  oldPfn = 0;

  declare readonly entries: number;
  readonly #ways: number = 0;
  readonly #setMask: number = 0;
  readonly #turnsAt: number = 0;

  // More than MAX_SCANNED_WAYS: chains of slots by hash of vpn, -1 ends one.
  readonly #hashed: boolean = false;
  readonly #hashMask: number = 0;
  readonly #headsAt: number = 0;

  constructor(what: string, spec: TlbLevelSpec) {
    this.entries = spec.entries;
    this.#ways = Math.max(spec.ways, 1);
    const sets = spec.entries / this.#ways;
    if (
      !(spec.entries >= 0 && spec.entries <= 32767) ||
      (spec.entries > 0 && (!Number.isInteger(sets) || (sets & (sets - 1))))
    ) {
      throw new RangeError(
        `Cannot create a TLB as ${what} entries must be <= 32767 and ways times a power of two: current value is ${spec.entries} entries, ${spec.ways} ways`,
      );
    }
    this.#setMask = sets - 1;
    this.#hashed = this.#ways > MAX_SCANNED_WAYS;
    this.#hashMask = this.#hashed
      ? (1 << Math.ceil(Math.log2(spec.entries * 2))) - 1
      : -1;
    this.#turnsAt = spec.entries * WORDS;
    this.#headsAt = this.#turnsAt + sets;
  }

  /** Slot of the page whose number has these low 32 and high bits, or -1. */
  find(low: number, high: number): number {
    if (this.count === 0) return -1;
    const words = this.#words;
    const key = (high << VPN_HIGH_SHIFT) | VALID;
    if (this.#hashed) {
      let slot = words[this.#headsAt + (hash(low) & this.#hashMask)];
      while (slot >= 0) {
        const at = slot * WORDS;
        if (words[at] === low && (words[at + META] & KEY) === key) break;
        slot = words[at + NEXT];
      }
      return slot;
    }
    const ways = this.#ways;
    const first = (low & this.#setMask) * ways;
    for (let way = 0; way < ways; way++) {
      const at = (first + way) * WORDS;
      if (words[at] === low && (words[at + META] & KEY) === key) {
        return first + way;
      }
    }
    return -1;
  }

  isValid(slot: number): boolean {
    return this.metaAt(slot) !== 0;
  }

  lowAt(slot: number): number {
    return this.#words[slot * WORDS];
  }

  /** 0 = an empty slot. */
  metaAt(slot: number): number {
    return this.count === 0 ? 0 : this.#words[slot * WORDS + META];
  }

  /** Low 32 bits of the frame. */
  pfnLowAt(slot: number): number {
    return this.#words[slot * WORDS + PFN];
  }

  vpnAt(slot: number): number {
    const at = slot * WORDS;
    const high = (this.#words[at + META] >>> VPN_HIGH_SHIFT) & 0xff;
    return high * TWO_32 + (this.#words[at] >>> 0);
  }

  pfnAt(slot: number): number {
    const at = slot * WORDS;
    const high = this.#words[at + META] >>> PFN_HIGH_SHIFT;
    const low = this.#words[at + PFN];
    if (high === 0 && low >= 0) return low; // a small integer
    return high * TWO_32 + (low >>> 0);
  }

  flagsAt(slot: number): number {
    return this.#words[slot * WORDS + META] & FLAGS;
  }

  addFlags(slot: number, bits: number): void {
    this.#words[slot * WORDS + META] |= bits & FLAGS & ~GLOBAL;
  }

  /**
   * Puts an entry, given as its words, into the slot whose turn it is in the
   * page's set. What was there is in `oldLow`, `oldMeta` and `oldPfn` then.
   *
   * @returns The slot.
   */
  put(low: number, meta: number, pfn: number): number {
    if (this.#words === NO_WORDS) this.#allocate();
    const words = this.#words;
    const set = low & this.#setMask;
    const turnAt = this.#turnsAt + set;
    const way = words[turnAt];
    words[turnAt] = way + 1 === this.#ways ? 0 : way + 1;
    const slot = set * this.#ways + way;
    const at = slot * WORDS;
    const old = words[at + META];
    this.oldMeta = old;
    if (old === 0) {
      this.count++;
      if ((meta & GLOBAL) === 0) this.#nonGlobal++;
    } else {
      this.oldLow = words[at];
      this.oldPfn = words[at + PFN];
      if (((old ^ meta) & GLOBAL) !== 0) {
        this.#nonGlobal += (meta & GLOBAL) === 0 ? 1 : -1;
      }
      if (this.#hashed) this.#unlink(slot);
    }
    words[at] = low;
    words[at + META] = meta;
    words[at + PFN] = pfn;
    if (this.#hashed) {
      const head = this.#headsAt + (hash(low) & this.#hashMask);
      words[at + NEXT] = words[head];
      words[head] = slot;
    }
    return slot;
  }

  /** Changes what the valid `slot` says of its page. */
  set(slot: number, meta: number, pfn: number): void {
    const at = slot * WORDS;
    const old = this.#words[at + META];
    if (((old ^ meta) & GLOBAL) !== 0) {
      this.#nonGlobal += (meta & GLOBAL) === 0 ? 1 : -1;
    }
    this.#words[at + META] = meta;
    this.#words[at + PFN] = pfn;
  }

  /** Empties the valid `slot`. */
  drop(slot: number): void {
    const at = slot * WORDS;
    this.count--;
    if ((this.#words[at + META] & GLOBAL) === 0) this.#nonGlobal--;
    this.#words[at + META] = 0;
    if (this.#hashed) this.#unlink(slot);
  }

  /** Empties every slot; costs nothing when there is nothing to drop. */
  clear(): void {
    if (this.count === 0) return;
    this.count = 0;
    this.#nonGlobal = 0;
    this.#words.fill(0, 0, this.#turnsAt);
    if (this.#hashed) this.#words.fill(-1, this.#headsAt);
  }

  /** Empties every slot that is not global. */
  clearNonGlobal(): void {
    if (this.#nonGlobal === this.count) return this.clear();
    for (let slot = 0; this.#nonGlobal > 0; slot++) {
      if (!this.isValid(slot)) continue;
      if ((this.flagsAt(slot) & GLOBAL) === 0) this.drop(slot);
    }
  }

  /** Takes `slot` off its chain. */
  #unlink(slot: number): void {
    const words = this.#words;
    const at = slot * WORDS;
    let link = this.#headsAt + (hash(words[at]) & this.#hashMask);
    while (words[link] !== slot) link = words[link] * WORDS + NEXT;
    words[link] = words[at + NEXT];
  }

  #allocate(): void {
    this.#words = new Int32Array(this.#headsAt + this.#hashMask + 1);
    this.#words.fill(-1, this.#headsAt);
  }
}

/** Of the low 32 bits of a page number; blocks are 2^10 pages, so those bits are mixed in. */
function hash(low: number): number {
  return low ^ (low >>> 5) ^ (low >>> 10);
}
