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
  /** log2 of L1_CACHE_BYTES. */
  readonly lineShift: number;

  constructor(readonly k: Kernel, readonly table: SystemHash) {
    const { machine } = k;
    const { memory, mmu, spec } = machine;
    this.lineShift = Math.log2(spec.memory.lineBytes);
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

/** What a parent at `address` adds to the hash of a name: `(address ^ GOLDEN_RATIO_PRIME) / lineBytes`. */
export function address_seed(address: Halves, lineShift: number): Halves {
  const hi = address.hi ^ GOLDEN_HI;
  const lo = address.lo ^ GOLDEN_LO;
  return { hi: shiftedHi(hi, lineShift), lo: shiftedLo(hi, lo, lineShift) };
}

/**
 * The hash of an inode number in the superblock at `address`, folded:
 * `(ino * address) ^ (GOLDEN_RATIO_PRIME + ino) / lineBytes`.
 */
export function inode_hash(
  address: Halves,
  ino: number,
  lineShift: number,
  shift: number,
): number {
  const { hi, lo } = address;
  const inoLo = ino >>> 0;
  const inoHi = Math.floor(ino / TWO_32) >>> 0;
  const productHi = (mulHigh(inoLo, lo) + Math.imul(inoLo, hi) +
    Math.imul(inoHi, lo)) | 0;
  const sumLo = GOLDEN_LO + inoLo;
  const sumHi = (GOLDEN_HI + inoHi + (sumLo >= TWO_32 ? 1 : 0)) | 0;
  return fold_hash(
    productHi ^ shiftedHi(sumHi, lineShift),
    Math.imul(inoLo, lo) ^ shiftedLo(sumHi, sumLo | 0, lineShift),
    shift,
  );
}

/** Where the direct map has `paddr`, all 64 bits. */
export function kernel_address(k: Kernel, paddr: number): Halves {
  const { mmu, spec } = k.machine;
  const vaddr = parseVaddr(mmu.format, spec.layout.directMapStart) + paddr;
  return {
    hi: (Math.floor(vaddr / TWO_32) | 0xffff0000) >>> 0,
    lo: vaddr % TWO_32,
  };
}

function shiftedHi(hi: number, shift: number): number {
  return hi >>> shift;
}

function shiftedLo(hi: number, lo: number, shift: number): number {
  return ((lo >>> shift) | (hi << (32 - shift))) >>> 0;
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
