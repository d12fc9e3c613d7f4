/**
 * The buckets of dentry_hashtable and inode_hashtable. The tables lie in
 * emulated memory, in the direct map or in vmalloc space; a list head is an
 * object, made when its bucket is first used, and so is the bucket's line. A
 * look at a bucket is a load at its address: through the TLB, which tables from
 * vmalloc space (hashdist=1) fill with their pages.
 *
 * Hashes are 64 bits wide in Linux, and here two halves.
 */
import { type Steps, vload } from "../../arch/asm.ts";
import type { CacheLine } from "../../arch/hw/line.ts";
import { parseVaddr } from "../../arch/hw/pte.ts";
import type { Kernel } from "../kernel.ts";
import { HlistHead, type HlistNode } from "../lib/hlist.ts";
import type { SystemHash } from "../mm/large_system_hash.ts";
import type { Thread } from "../thread.ts";

/** GOLDEN_RATIO_PRIME of 64-bit kernels, in halves. */
const GOLDEN_HI = 0x9e37ffff;
const GOLDEN_LO = 0xfffc0001;
const TWO_32 = 2 ** 32;
/** Bytes of a bucket. */
const BUCKET_BYTES = 8;
const CHUNK_SHIFT = 9;
const CHUNK_MASK = (1 << CHUNK_SHIFT) - 1;

/** One bucket, and its line. */
export class Bucket<T> extends HlistHead<T> {
  constructor(readonly line: CacheLine) {
    super();
  }
}

/** The bucket that `node` is in. */
export function bucket_of<T>(node: HlistNode<T>): Bucket<T> {
  return node.head as Bucket<T>; // no other heads have such nodes
}

/** One table. */
export class HashBuckets<T> {
  readonly #chunks: ((Bucket<T> | null)[] | null)[];
  readonly #directMap: number;
  readonly #directEnd: number;

  constructor(readonly k: Kernel, readonly table: SystemHash) {
    const { machine } = k;
    const { memory, mmu, spec } = machine;
    this.#chunks = new Array((table.mask >> CHUNK_SHIFT) + 1).fill(null);
    this.#directMap = parseVaddr(mmu.format, spec.layout.directMapStart);
    this.#directEnd = this.#directMap + memory.nrFrames * memory.pageBytes;
  }

  /** Virtual address of bucket `index`. */
  addressOf(index: number): number {
    return this.table.table + index * BUCKET_BYTES;
  }

  /** Loads bucket `index`'s pointer: what looking at it costs. */
  load(t: Thread, index: number): Steps<number> {
    return vload(t, this.addressOf(index), BUCKET_BYTES);
  }

  /** Bucket `index` if anything has ever been in it. */
  peek(index: number): Bucket<T> | null {
    const chunk = this.#chunks[index >> CHUNK_SHIFT];
    return chunk === null ? null : chunk[index & CHUNK_MASK];
  }

  /** Bucket `index`. */
  get(index: number): Bucket<T> {
    const chunk = this.#chunks[index >> CHUNK_SHIFT] ??= new Array(
      CHUNK_MASK + 1,
    ).fill(null);
    return chunk[index & CHUNK_MASK] ??= new Bucket<T>(this.#line(index));
  }

  #line(index: number): CacheLine {
    const { machine, init_mm } = this.k;
    const vaddr = this.addressOf(index);
    if (vaddr >= this.#directMap && vaddr < this.#directEnd) {
      return machine.lineAt(vaddr - this.#directMap);
    }
    const { pageBytes } = machine.memory;
    const pfn = machine.mmu.peek(init_mm.pgd, vaddr);
    return machine.lineAt(pfn * pageBytes + vaddr % pageBytes);
  }
}

/** A number of 64 bits. */
export interface Halves {
  hi: number;
  lo: number;
}

/** `value ^ (value ^ GOLDEN_RATIO_PRIME) >> shift`, of which a table's mask takes the low bits. */
export function fold_hash(hi: number, lo: number, shift: number): number {
  const mixedLo = lo ^ GOLDEN_LO;
  const mixedHi = hi ^ GOLDEN_HI;
  return lo ^ ((mixedLo >>> shift) | (mixedHi << (32 - shift)));
}

/** `(address ^ GOLDEN_RATIO_PRIME) / lineBytes`: what a parent adds to the hash of a name. */
export function address_seed(k: Kernel, paddr: number, into: Halves): void {
  const { hi, lo } = kernelAddress(k, paddr);
  shiftRight(k, hi ^ GOLDEN_HI, lo ^ GOLDEN_LO, into);
}

/** `(ino * sb) ^ (GOLDEN_RATIO_PRIME + ino) / lineBytes`, folded: the hash of an inode number. */
export function inode_hash(
  k: Kernel,
  sbPaddr: number,
  ino: number,
  shift: number,
): number {
  const { hi, lo } = kernelAddress(k, sbPaddr);
  const inoLo = ino >>> 0;
  const inoHi = Math.floor(ino / TWO_32) >>> 0;
  const productHi = mulHigh(inoLo, lo) + Math.imul(inoLo, hi) +
    Math.imul(inoHi, lo);
  const sumLo = GOLDEN_LO + inoLo;
  const rest: Halves = { hi: 0, lo: 0 };
  const carry = sumLo >= TWO_32 ? 1 : 0;
  shiftRight(k, (GOLDEN_HI + inoHi + carry) | 0, sumLo | 0, rest);
  return fold_hash(productHi ^ rest.hi, Math.imul(inoLo, lo) ^ rest.lo, shift);
}

/** Where the direct map has `paddr`, all 64 bits. */
function kernelAddress(k: Kernel, paddr: number): Halves {
  const { mmu, spec } = k.machine;
  const vaddr = parseVaddr(mmu.format, spec.layout.directMapStart) + paddr;
  return {
    hi: (Math.floor(vaddr / TWO_32) | 0xffff0000) >>> 0,
    lo: vaddr >>> 0,
  };
}

function shiftRight(k: Kernel, hi: number, lo: number, into: Halves): void {
  const shift = Math.log2(k.machine.spec.memory.lineBytes);
  into.lo = ((lo >>> shift) | (hi << (32 - shift))) >>> 0;
  into.hi = hi >>> shift;
}

/** High half of the product of two unsigned 32-bit numbers. */
function mulHigh(a: number, b: number): number {
  const aLo = a & 0xffff;
  const aHi = a >>> 16;
  const bLo = b & 0xffff;
  const bHi = b >>> 16;
  const cross = aHi * bLo + ((aLo * bLo) >>> 16);
  const middle = aLo * bHi + (cross % 0x10000);
  return (aHi * bHi + Math.floor(cross / 0x10000) +
    Math.floor(middle / 0x10000)) >>> 0;
}
