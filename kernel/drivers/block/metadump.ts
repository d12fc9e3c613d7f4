/**
 * xfs_metadump files: the metadata of an XFS file system, each stretch with the
 * place it came from. Two formats, big endian both.
 *
 * Version 1 (xfsprogs up to 6.x by default) is a row of records. A record's
 * header is one block, 512 bytes in practice: magic "XFSM", how many blocks
 * follow (16 bits), log2 of the block size, flags, then the blocks' places in
 * units of 512 bytes (64 bits each). A record with fewer blocks than its header
 * has room for is the last.
 *
 * Version 2 (xfsprogs 6.7) has one header: magic "XMD2", version, two words of
 * flags, 8 bytes reserved. To the end of the file follow extents: place and
 * length in units of 512 bytes (64 and 32 bits), then the data. Bits 54 and 55
 * of the place name the device: data, log, realtime; only the first is ours.
 *
 * The first thing in either is the superblock, which says how large the disk
 * was.
 */
import { ImageError, SparseImage } from "./sparse_image.ts";

const XFS_MD_MAGIC_V1 = 0x5846534d;
const XFS_MD_MAGIC_V2 = 0x584d4432;
const XFS_SB_MAGIC = 0x58465342;
const BB_BYTES = 512;
const V1_HEADER_BYTES = 8;
const V2_HEADER_BYTES = 24;
const V2_EXTENT_BYTES = 12;
const TWO_32 = 2 ** 32;
/** Bytes copied at a time. */
const PIECE_BYTES = 2 ** 16;

/** Whether `file` begins like a metadump. */
export function isMetadump(file: SparseImage): boolean {
  const magic = new Reader(file).be32(0);
  return magic === XFS_MD_MAGIC_V1 || magic === XFS_MD_MAGIC_V2;
}

/**
 * The disk that a metadump was made of; what it left out is zeros.
 *
 * @throws {ImageError} If the file is damaged.
 */
export function parseMetadump(file: SparseImage): SparseImage {
  const reader = new Reader(file);
  return reader.be32(0) === XFS_MD_MAGIC_V1 ? parseV1(reader) : parseV2(reader);
}

/** A file by place. */
class Reader {
  readonly #word = new Uint8Array(8);
  readonly #view = new DataView(this.#word.buffer);

  constructor(readonly file: SparseImage) {}

  u8(at: number): number {
    this.file.read(at, this.#word);
    return this.#word[0];
  }

  be16(at: number): number {
    this.file.read(at, this.#word);
    return this.#view.getUint16(0);
  }

  be32(at: number): number {
    this.file.read(at, this.#word);
    return this.#view.getUint32(0);
  }

  be64(at: number): number {
    this.file.read(at, this.#word);
    return this.#view.getUint32(0) * TWO_32 + this.#view.getUint32(4);
  }

  /** Throws unless the file goes on to `end`. */
  need(end: number, what: string): void {
    const { sizeBytes } = this.file;
    if (end <= sizeBytes) return;
    throw new ImageError(
      "size",
      `${end} bytes at least, where ${what} ends`,
      sizeBytes,
    );
  }
}

/** A disk that is being put together. */
class Disk {
  readonly image: SparseImage;
  readonly #piece = new Uint8Array(PIECE_BYTES);

  /** @param superblock Where it is in the file. */
  constructor(readonly reader: Reader, superblock: number) {
    this.image = new SparseImage(diskBytes(reader, superblock));
  }

  /** Copies `length` bytes at `from` in the file to sector `daddr`. */
  copy(daddr: number, from: number, length: number): void {
    const sectors = this.image.sizeBytes / BB_BYTES;
    const last = sectors - length / BB_BYTES;
    if (!(daddr <= last)) {
      throw new ImageError(
        `address of the data at byte ${from}`,
        `0 to ${last}, inside of the disk of ${sectors} sectors`,
        daddr,
      );
    }
    for (let done = 0; done < length; done += PIECE_BYTES) {
      const piece = this.#piece.subarray(
        0,
        Math.min(PIECE_BYTES, length - done),
      );
      this.reader.file.read(from + done, piece);
      this.image.write(daddr * BB_BYTES + done, piece);
    }
  }
}

/** Size of the disk whose superblock is at `at`, bytes. */
function diskBytes(reader: Reader, at: number): number {
  const magic = reader.be32(at);
  if (magic !== XFS_SB_MAGIC) {
    throw new ImageError(
      "first block",
      `a superblock, magic 0x${XFS_SB_MAGIC.toString(16)}`,
      `magic 0x${magic.toString(16)}`,
    );
  }
  const blocksize = reader.be32(at + 4);
  const log = Math.log2(blocksize);
  if (!(log >= 9 && log <= 16 && Number.isInteger(log))) {
    throw new ImageError(
      "block size",
      "a power of two in 512..65536",
      blocksize,
    );
  }
  const dblocks = reader.be64(at + 8);
  const most = Math.floor(Number.MAX_SAFE_INTEGER / blocksize);
  if (!(dblocks >= 1 && dblocks <= most)) {
    throw new ImageError("number of blocks", `1 to ${most}`, dblocks);
  }
  return dblocks * blocksize;
}

function parseV1(reader: Reader): SparseImage {
  reader.need(V1_HEADER_BYTES, "the header");
  const log = reader.u8(6);
  if (log < 9 || log > 16) {
    throw new ImageError("log2 of the block size", "9 to 16", log);
  }
  const blockBytes = 2 ** log;
  const room = (blockBytes - V1_HEADER_BYTES) / 8;
  reader.need(2 * blockBytes, "the superblock");
  const first = reader.be64(V1_HEADER_BYTES);
  if (first !== 0) {
    throw new ImageError("first block", "the superblock, at sector 0", first);
  }
  const disk = new Disk(reader, blockBytes);
  for (let header = 0;;) {
    reader.need(header + blockBytes, "a record's header");
    const magic = reader.be32(header);
    if (magic !== XFS_MD_MAGIC_V1) {
      throw new ImageError(
        `record at byte ${header}`,
        `of magic 0x${XFS_MD_MAGIC_V1.toString(16)}`,
        `0x${magic.toString(16)}`,
      );
    }
    const count = reader.be16(header + 4);
    // A record of none ends a file whose last record is full.
    if (count > room || (count === 0 && header === 0)) {
      throw new ImageError(
        `count of blocks at byte ${header + 4}`,
        `1 to ${room}`,
        count,
      );
    }
    const data = header + blockBytes;
    reader.need(data + count * blockBytes, `the record at byte ${header}`);
    for (let i = 0; i < count; i++) {
      const daddr = reader.be64(header + V1_HEADER_BYTES + 8 * i);
      disk.copy(daddr, data + i * blockBytes, blockBytes);
    }
    if (count < room) return disk.image;
    header = data + count * blockBytes;
  }
}

function parseV2(reader: Reader): SparseImage {
  const start = V2_HEADER_BYTES + V2_EXTENT_BYTES;
  reader.need(start + BB_BYTES, "the superblock");
  const version = reader.be32(4);
  if (version !== 2) throw new ImageError("version", "2", version);
  const incompat = reader.be32(12);
  if (incompat !== 0) {
    throw new ImageError(
      "incompatible features",
      "none",
      `0x${incompat.toString(16)}`,
    );
  }
  const first = reader.be64(V2_HEADER_BYTES);
  if (first !== 0) {
    throw new ImageError("first extent", "the superblock, at sector 0", first);
  }
  const disk = new Disk(reader, start);
  const { sizeBytes } = reader.file;
  for (let at = V2_HEADER_BYTES; at < sizeBytes;) {
    const data = at + V2_EXTENT_BYTES;
    reader.need(data, "an extent's header");
    const high = reader.be32(at);
    const device = high >>> 22;
    if (device > 2) {
      throw new ImageError(
        `device of the extent at byte ${at}`,
        "0 (data), 1 (log) or 2 (realtime)",
        device,
      );
    }
    const length = reader.be32(at + 8) * BB_BYTES;
    if (length === 0) {
      throw new ImageError(
        `length of the extent at byte ${at}`,
        "1 sector at least",
        0,
      );
    }
    reader.need(data + length, `the extent at byte ${at}`);
    const daddr = (high & 0x3fffff) * TWO_32 + reader.be32(at + 4);
    if (device === 0) disk.copy(daddr, data, length);
    at = data + length;
  }
  return disk.image;
}
