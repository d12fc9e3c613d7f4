/** A disk's contents in host memory, blocks of zeros left out. */

/** Bytes kept together; a block of zeros is not kept. */
const BLOCK_BYTES = 4096;
/** Most bytes that one image may keep: chosen as what a host has to spare. */
const MAX_DATA_BYTES = 2 ** 30;

/**
 * An image that cannot be used. The message is one line: what must be what, and
 * what it is.
 *
 * @example
 * ```ts
 * import { ImageError, readImage } from "@vmaplab/vmaplab";
 * import { assertRejects } from "@std/assert";
 *
 * await assertRejects(
 *   () => readImage(new Blob(["not a disk"]).stream()),
 *   ImageError,
 *   "size must be a multiple of 512 bytes",
 * );
 * ```
 */
export class ImageError extends Error {
  /** Name shown before the message. */
  override readonly name = "ImageError";

  /**
   * Builds the message from its parts.
   *
   * @param what Part of the image, such as `"size"`.
   * @param expected What it must be, in words.
   * @param value What it is.
   */
  constructor(what: string, expected: string, readonly value: number | string) {
    super(
      `Cannot use image as its ${what} must be ${expected}: current value is ${value}`,
    );
  }
}

/**
 * What a disk holds.
 *
 * @example
 * ```ts
 * import { SparseImage } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const disk = new SparseImage(2 ** 40); // zeros take no memory
 * disk.write(2 ** 39, new Uint8Array([1, 2, 3]));
 * const out = new Uint8Array(4);
 * disk.read(2 ** 39, out);
 * assertEquals([...out], [1, 2, 3, 0]);
 * assertEquals(disk.dataBytes, 4096);
 * ```
 */
export class SparseImage {
  readonly #blocks: Map<number, Uint8Array>;

  /** A disk of zeros. */
  constructor(
    /** Bytes of the disk. */
    readonly sizeBytes: number,
    blocks: Map<number, Uint8Array> = new Map(),
  ) {
    this.#blocks = blocks;
  }

  /** Bytes of host memory that its blocks take. */
  get dataBytes(): number {
    return this.#blocks.size * BLOCK_BYTES;
  }

  /** The same blocks, on a disk of another size. */
  resized(sizeBytes: number): SparseImage {
    return new SparseImage(sizeBytes, this.#blocks);
  }

  /** Copies the bytes from `offset` on into `out`; beyond the end there are zeros. */
  read(offset: number, out: Uint8Array): void {
    for (let done = 0; done < out.length;) {
      const at = offset + done;
      const start = at % BLOCK_BYTES;
      const n = Math.min(out.length - done, BLOCK_BYTES - start);
      const block = this.#blocks.get((at - start) / BLOCK_BYTES);
      if (block === undefined) out.fill(0, done, done + n);
      else out.set(block.subarray(start, start + n), done);
      done += n;
    }
  }

  /**
   * Sets the bytes from `offset` on.
   *
   * @throws {ImageError} If that is too much for the host.
   */
  write(offset: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      const at = offset + done;
      const start = at % BLOCK_BYTES;
      const n = Math.min(bytes.length - done, BLOCK_BYTES - start);
      const number = (at - start) / BLOCK_BYTES;
      let block = this.#blocks.get(number);
      if (block !== undefined || !isZero(bytes, done, n)) {
        block ??= this.#add(number);
        block.set(bytes.subarray(done, done + n), start);
      }
      done += n;
    }
  }

  #add(number: number): Uint8Array {
    if (this.dataBytes >= MAX_DATA_BYTES) {
      throw new ImageError(
        "contents that are not zero",
        `at most ${MAX_DATA_BYTES} bytes`,
        "more",
      );
    }
    const block = new Uint8Array(BLOCK_BYTES);
    this.#blocks.set(number, block);
    return block;
  }
}

function isZero(bytes: Uint8Array, start: number, length: number): boolean {
  if ((bytes.byteOffset + start) % 4 === 0 && length % 4 === 0) {
    const words = new Uint32Array(
      bytes.buffer,
      bytes.byteOffset + start,
      length / 4,
    );
    for (let i = 0; i < words.length; i++) if (words[i] !== 0) return false;
    return true;
  }
  const end = start + length;
  for (let i = start; i < end; i++) if (bytes[i] !== 0) return false;
  return true;
}
