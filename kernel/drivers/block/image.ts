/** Disk images. Interface first: the bodies follow. */

/** An image that cannot be used; the message is one line and says what was found and what is expected. */
export class ImageError extends Error {
  override readonly name = "ImageError";
}

/** A disk's contents; only blocks with something but zeros take memory. */
export class SparseImage {
  constructor(
    /** Bytes of the disk; a multiple of 512. */
    readonly sizeBytes: number,
  ) {}

  /** Copies the bytes from `offset` on into `out`; beyond the end are zeros. */
  read(_offset: number, _out: Uint8Array): void {
    throw new ImageError("to come");
  }
}

/** Reads a raw image or an xfs_metadump file, not compressed. @throws {ImageError} */
export function parseImage(_chunks: Iterable<Uint8Array>): SparseImage {
  throw new ImageError("to come");
}

/** {@linkcode parseImage} of a stream, which may be gzipped. */
export function readImage(
  _stream: ReadableStream<Uint8Array>,
): Promise<SparseImage> {
  return Promise.reject(new ImageError("to come"));
}
