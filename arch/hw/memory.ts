/**
 * Physical memory: page frames, backed by host memory only once something
 * other than zero is written to them.
 *
 * RAM starts at frame 0 and is contiguous; node `n` of a NUMA machine owns
 * frames `[n * framesPerNode, (n + 1) * framesPerNode)`. Bytes are little
 * endian. Nothing here charges cycles: that is done where a CPU touches a
 * {@linkcode Frame}'s cache lines.
 *
 * Left out against real machines: holes (PCI window, BIOS), ECC, devices.
 */

import type { CacheLine } from "./line.ts";
import type { MachineSpec } from "./spec.ts";

/** log2 of the frames in one chunk of the frame table: 16 MiB of 4 KiB pages. */
const CHUNK_SHIFT = 12;
const CHUNK_MASK = 2 ** CHUNK_SHIFT - 1;
const TWO_32 = 2 ** 32;

/** Width of a memory access, bytes. */
export type AccessSize = 1 | 2 | 4 | 8;

/**
 * One page of RAM: its contents, and the coherence state of its lines.
 *
 * @example
 * ```ts
 * import { alloc_page, boot, GFP_KERNEL, pstore } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const booted = boot();
 * const pfn = booted.run(function* (t) {
 *   const page = yield* alloc_page(t, GFP_KERNEL);
 *   yield* pstore(t, page!.pfn * 4096 + 3, 1, 0xab);
 *   return page!.pfn;
 * });
 * assertEquals(booted.machine.memory.frame(pfn).bytes[3], 0xab);
 * ```
 */
export class Frame {
  /** Contents as little-endian 32-bit words; `null` while every byte is zero and never written. */
  words: Uint32Array | null = null;
  /** Cache lines of this frame by index, filled in as CPUs touch them; `null` before the first. */
  lines: (CacheLine | undefined)[] | null = null;

  readonly #memory: PhysMemory;
  #bytes: Uint8Array | null = null;

  /** Its number. */
  declare readonly pfn: number;

  /** Made by {@linkcode PhysMemory.frame} alone. */
  constructor(memory: PhysMemory, pfn: number) {
    this.pfn = pfn;
    this.#memory = memory;
  }

  /** The contents as words, backed from now on. */
  back(): Uint32Array {
    if (this.words !== null) return this.words;
    this.#memory.nrBacked++;
    return this.words = new Uint32Array(this.#memory.pageBytes / 4);
  }

  /** The contents as bytes, backed from now on; shares storage with `words` (little-endian hosts, as Deno's all are). */
  get bytes(): Uint8Array {
    return this.#bytes ??= new Uint8Array(this.back().buffer);
  }
}

/**
 * All RAM of one machine. Never yields and charges nothing.
 *
 * @example
 * ```ts
 * import { boot } from "@vmaplab/vmaplab";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const { memory } = boot().machine;
 * assertEquals(memory.pageBytes, 4096);
 * assertEquals(memory.nodeOf(0), 0);
 * assertEquals(memory.nodeOf(memory.nrFrames - 1), 1);
 * assert(memory.nrBacked < memory.nrFrames / 100);
 * ```
 */
export class PhysMemory {
  /** Bytes of one frame. */
  declare readonly pageBytes: number;
  /** Frames of the whole machine. */
  declare readonly nrFrames: number;
  /** Frames of each NUMA node. */
  declare readonly framesPerNode: number;
  /** Frames that host memory stands behind. */
  nrBacked = 0;

  // Chunk i holds frames [i << CHUNK_SHIFT, (i + 1) << CHUNK_SHIFT).
  readonly #chunks: ((Frame | undefined)[] | undefined)[];
  readonly #frameOfByte: number = 0; // 1 / pageBytes: exact, a power of two

  /** Memory of the size `spec` states; costs a pointer for each 4096 frames until used. */
  constructor(spec: Pick<MachineSpec, "memory" | "paging" | "topology">) {
    this.pageBytes = 1 << spec.paging.pageShift;
    this.#frameOfByte = 1 / this.pageBytes;
    this.framesPerNode = Math.floor(spec.memory.bytesPerNode / this.pageBytes);
    this.nrFrames = this.framesPerNode * spec.topology.nodes;
    if (!(this.nrFrames >= 1 && this.nrFrames <= 2 ** 31)) {
      throw new RangeError(
        `Cannot create memory as it must be 1 to 2147483648 frames: current value is ${this.nrFrames}`,
      );
    }
    this.#chunks = new Array(Math.ceil(this.nrFrames / (CHUNK_MASK + 1)))
      .fill(undefined);
  }

  /** NUMA node that owns frame `pfn`. */
  nodeOf(pfn: number): number {
    this.#check(pfn);
    return Math.floor(pfn / this.framesPerNode);
  }

  /**
   * Frame `pfn`, created if nobody asked for it before.
   *
   * @throws {RangeError} If the machine has no such frame.
   */
  frame(pfn: number): Frame {
    this.#check(pfn);
    const chunk = this.#chunks[pfn >>> CHUNK_SHIFT];
    if (chunk !== undefined) {
      const frame = chunk[pfn & CHUNK_MASK];
      if (frame !== undefined) return frame;
    }
    return this.#create(pfn);
  }

  /** Frame `pfn` if anybody asked for it before; for dumps and sanitizers, which must not grow memory. */
  peek(pfn: number): Frame | undefined {
    this.#check(pfn);
    return this.#chunks[pfn >>> CHUNK_SHIFT]?.[pfn & CHUNK_MASK];
  }

  /** True if the machine has frame `pfn`. */
  has(pfn: number): boolean {
    return pfn >>> 0 === pfn && pfn < this.nrFrames;
  }

  /** Word at `paddr` (bytes, a multiple of 4), unsigned. */
  readWord(paddr: number): number {
    const pfn = Math.floor(paddr * this.#frameOfByte);
    const offset = paddr - pfn * this.pageBytes;
    if ((offset & 3) !== 0) throw misaligned("read", paddr);
    const frame = this.peek(pfn);
    if (frame === undefined || frame.words === null) return 0;
    return frame.words[offset >>> 2];
  }

  /** Stores the low 32 bits of `value` at `paddr` (bytes, a multiple of 4). */
  writeWord(paddr: number, value: number): void {
    const pfn = Math.floor(paddr * this.#frameOfByte);
    const offset = paddr - pfn * this.pageBytes;
    if ((offset & 3) !== 0) throw misaligned("write", paddr);
    const frame = this.frame(pfn);
    if (frame.words === null) {
      if (value >>> 0 === 0) return; // still all zero
      frame.back();
    }
    frame.words![offset >>> 2] = value;
  }

  /** Byte at `paddr`, unsigned. */
  read8(paddr: number): number {
    const shift = (paddr % 4) * 8;
    return (this.readWord(paddr - paddr % 4) >>> shift) & 0xff;
  }

  /** Stores the low 8 bits of `value` at `paddr`. */
  write8(paddr: number, value: number): void {
    const at = paddr - paddr % 4;
    const shift = (paddr % 4) * 8;
    const rest = this.readWord(at) & ~(0xff << shift);
    this.writeWord(at, rest | (value & 0xff) << shift);
  }

  /** 16 bits at `paddr`, at any alignment, unsigned. */
  read16(paddr: number): number {
    if (paddr % 2 === 0) {
      return (this.readWord(paddr - paddr % 4) >>> (paddr % 4) * 8) & 0xffff;
    }
    return this.read8(paddr) | this.read8(paddr + 1) << 8;
  }

  /** Stores the low 16 bits of `value` at `paddr`, at any alignment. */
  write16(paddr: number, value: number): void {
    this.write8(paddr, value);
    this.write8(paddr + 1, value >>> 8);
  }

  /** 32 bits at `paddr`, at any alignment, unsigned. */
  read32(paddr: number): number {
    if (paddr % 4 === 0) return this.readWord(paddr);
    return (this.read16(paddr) | this.read16(paddr + 2) << 16) >>> 0;
  }

  /** Stores the low 32 bits of `value` at `paddr`, at any alignment. */
  write32(paddr: number, value: number): void {
    if (paddr % 4 === 0) return this.writeWord(paddr, value);
    this.write16(paddr, value);
    this.write16(paddr + 2, value >>> 16);
  }

  /** Low 32 bits of the 8 bytes at `paddr`. */
  readLo(paddr: number): number {
    return this.read32(paddr);
  }

  /** High 32 bits of the 8 bytes at `paddr`. */
  readHi(paddr: number): number {
    return this.read32(paddr + 4);
  }

  /** Stores 8 bytes at `paddr`, given as unsigned 32-bit halves. */
  writePair(paddr: number, lo: number, hi: number): void {
    this.write32(paddr, lo);
    this.write32(paddr + 4, hi);
  }

  /**
   * `size` bytes at `paddr`, at any alignment, as an unsigned number.
   *
   * An 8-byte value above 2^53 comes back rounded: use {@linkcode readLo} and
   * {@linkcode readHi} where every bit counts.
   */
  readNumber(paddr: number, size: AccessSize): number {
    switch (size) {
      case 1:
        return this.read8(paddr);
      case 2:
        return this.read16(paddr);
      case 4:
        return this.read32(paddr);
      case 8:
        return this.readHi(paddr) * TWO_32 + this.readLo(paddr);
    }
  }

  /** Stores the low `size` bytes of the integer `value` (two's complement if negative) at `paddr`, at any alignment. */
  writeNumber(paddr: number, size: AccessSize, value: number): void {
    switch (size) {
      case 1:
        return this.write8(paddr, value);
      case 2:
        return this.write16(paddr, value);
      case 4:
        return this.write32(paddr, value);
      case 8: // both halves are taken modulo 2^32 when stored
        return this.writePair(paddr, value, Math.floor(value / TWO_32));
    }
  }

  /** Copies RAM from `paddr` on into `out`; the range may cross frames. */
  readBytes(paddr: number, out: Uint8Array): void {
    for (let done = 0; done < out.length;) {
      const pfn = Math.floor((paddr + done) * this.#frameOfByte);
      const offset = paddr + done - pfn * this.pageBytes;
      const n = Math.min(out.length - done, this.pageBytes - offset);
      const frame = this.peek(pfn);
      if (frame === undefined || frame.words === null) {
        out.fill(0, done, done + n);
      } else out.set(frame.bytes.subarray(offset, offset + n), done);
      done += n;
    }
  }

  /** Copies `bytes` into RAM from `paddr` on; the range may cross frames. */
  writeBytes(paddr: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      const pfn = Math.floor((paddr + done) * this.#frameOfByte);
      const offset = paddr + done - pfn * this.pageBytes;
      const n = Math.min(bytes.length - done, this.pageBytes - offset);
      this.frame(pfn).bytes.set(bytes.subarray(done, done + n), offset);
      done += n;
    }
  }

  /** Clears frame `pfn`. */
  zero(pfn: number): void {
    this.peek(pfn)?.words?.fill(0);
  }

  /** Copies frame `from` over frame `to`. */
  copy(to: number, from: number): void {
    const words = this.peek(from)?.words;
    if (words == null) this.zero(to);
    else this.frame(to).back().set(words);
  }

  #check(pfn: number): void {
    // The first test also refuses fractions and corrupt 40-bit frame numbers.
    if ((pfn | 0) === pfn && pfn >= 0 && pfn < this.nrFrames) return;
    throw new RangeError(
      `Cannot reach a frame as pfn must be an integer in 0..${
        this.nrFrames - 1
      }: current value is ${pfn}`,
    );
  }

  #create(pfn: number): Frame {
    const chunk = this.#chunks[pfn >>> CHUNK_SHIFT] ??= new Array(
      CHUNK_MASK + 1,
    ).fill(undefined);
    return chunk[pfn & CHUNK_MASK] = new Frame(this, pfn);
  }
}

function misaligned(verb: string, paddr: number): RangeError {
  return new RangeError(
    `Cannot ${verb} a word as paddr must be a multiple of 4 bytes: current value is ${paddr}`,
  );
}
