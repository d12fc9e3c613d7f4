/**
 * Disk images: what a RAM disk holds, read from a raw image of a disk, from an
 * xfs_metadump file (metadump.ts), or from one of these gzipped. Host side: it
 * costs no virtual time and no emulated memory.
 *
 * A file is taken in as it is first, blocks of zeros left out, and looked at
 * when it has ended; so any kind may come in chunks of any size, and a 300 MiB
 * image of a new file system costs what it holds. Whatever is wrong with a file
 * is one {@linkcode ImageError}; what is wrong with the file system in it is
 * for the file system to find.
 */
import { isMetadump, parseMetadump } from "./metadump.ts";
import { ImageError, SparseImage } from "./sparse_image.ts";

export { ImageError, SparseImage } from "./sparse_image.ts";

/** Disks consist of sectors of this size, bytes. */
const SECTOR_BYTES = 512;
/** First two bytes of a gzip file (RFC 1952). */
const GZIP_MAGIC = [0x1f, 0x8b] as const;

/** Takes an image in, chunk by chunk. */
class ImageBuilder {
  readonly #file = new SparseImage(Infinity);
  #length = 0;

  /** More of the file. The bytes are copied. */
  push(chunk: Uint8Array): void {
    this.#file.write(this.#length, chunk);
    this.#length += chunk.length;
  }

  /** The file has ended. */
  finish(): SparseImage {
    const file = this.#file.resized(this.#length);
    if (isMetadump(file)) return parseMetadump(file);
    if (this.#length === 0 || this.#length % SECTOR_BYTES !== 0) {
      throw new ImageError(
        "size",
        `a multiple of ${SECTOR_BYTES} bytes, and not 0`,
        this.#length,
      );
    }
    return file;
  }
}

/**
 * Reads a raw image or an xfs_metadump file, not compressed.
 *
 * @throws {ImageError} If it cannot be used.
 */
export function parseImage(chunks: Iterable<Uint8Array>): SparseImage {
  const builder = new ImageBuilder();
  for (const chunk of chunks) builder.push(chunk);
  return builder.finish();
}

/**
 * {@linkcode parseImage} of a stream, which may be gzipped.
 *
 * @throws {ImageError} If it cannot be used. Errors of the stream itself are
 *   passed on.
 *
 * @example
 * ```ts
 * import { readImage } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const raw = new Blob([new Uint8Array(8192)]).stream(); // or a file's stream
 * const gzipped = raw.pipeThrough(new CompressionStream("gzip"));
 * assertEquals((await readImage(gzipped)).sizeBytes, 8192);
 * ```
 */
export async function readImage(
  stream: ReadableStream<Uint8Array>,
): Promise<SparseImage> {
  const source = stream.getReader();
  const head = await readHead(source);
  if (head[0] !== GZIP_MAGIC[0] || head[1] !== GZIP_MAGIC[1]) {
    return await drain(head, source);
  }
  const failure: { ofSource: unknown } = { ofSource: null };
  const unzipped = replay(head, source, failure).pipeThrough(
    new DecompressionStream("gzip") as ReadableWritablePair<
      Uint8Array,
      Uint8Array
    >,
  );
  try {
    return await drain(new Uint8Array(0), unzipped.getReader());
  } catch (error) {
    if (error instanceof ImageError) throw error;
    if (failure.ofSource !== null) throw failure.ofSource;
    throw new ImageError(
      "gzip data",
      "whole",
      error instanceof Error ? error.message : String(error),
    );
  }
}

/** The first bytes of a stream, two at least if it has them. */
async function readHead(
  source: ReadableStreamDefaultReader<Uint8Array>,
): Promise<Uint8Array> {
  let head: Uint8Array = new Uint8Array(0);
  while (head.length < GZIP_MAGIC.length) {
    const { done, value } = await source.read();
    if (done) break;
    const longer = new Uint8Array(head.length + value.length);
    longer.set(head);
    longer.set(value, head.length);
    head = longer;
  }
  return head;
}

/** `head`, and then the rest of `source`. */
function replay(
  head: Uint8Array,
  source: ReadableStreamDefaultReader<Uint8Array>,
  failure: { ofSource: unknown },
): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(head),
    async pull(controller) {
      try {
        const { done, value } = await source.read();
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        failure.ofSource = error;
        controller.error(error);
      }
    },
    cancel: (reason) => source.cancel(reason),
  });
}

/** Builds an image of `head` and what `source` still has. */
async function drain(
  head: Uint8Array,
  source: ReadableStreamDefaultReader<Uint8Array>,
): Promise<SparseImage> {
  const builder = new ImageBuilder();
  try {
    builder.push(head);
    for (;;) {
      const { done, value } = await source.read();
      if (done) return builder.finish();
      builder.push(value);
    }
  } catch (error) {
    // Nobody wants the rest. If the stream itself has failed, this does nothing.
    await source.cancel(error).catch(() => {});
    throw error;
  }
}
