/**
 * A disk image in few bytes: its sectors that hold anything but zeros, each
 * byte less the one a stride before it. Directories, inodes and leaf entries
 * are arrays of records that differ little from one to the next, so with the
 * right stride, chosen for each sector, nearly all of it becomes zeros, which
 * gzip then shrinks (as PNG does with rows of pixels).
 *
 * Layout, big-endian: sectors of the disk, sectors kept (32 bits each); for each
 * kept one how many it comes after the one before (32 bits); for each its
 * stride in units of 8 bytes, 0 = none (8 bits); then the bytes.
 */
import { SparseImage } from "../../kernel/drivers/block/image.ts";

const SECTOR_BYTES = 512;
const HEADER_BYTES = 8;
const STRIDE_UNIT = 8;
/** Longest stride that is tried, units: a directory entry of 280 bytes. */
const MAX_STRIDE = 35;

/** Packs the image `raw`, a multiple of 512 bytes. */
export function packImage(raw: Uint8Array): Uint8Array<ArrayBuffer> {
  const used = usedSectors(raw);
  const count = used.length;
  const packed = new Uint8Array(
    HEADER_BYTES + count * (4 + 1 + SECTOR_BYTES),
  );
  const view = new DataView(packed.buffer);
  view.setUint32(0, raw.length / SECTOR_BYTES);
  view.setUint32(4, count);
  const data = new Uint8Array(count * SECTOR_BYTES);
  let last = 0;
  used.forEach((sector, i) => {
    view.setUint32(HEADER_BYTES + 4 * i, sector - last);
    last = sector;
    data.set(sectorOf(raw, sector), i * SECTOR_BYTES);
  });
  const strides = packed.subarray(HEADER_BYTES + 4 * count);
  const out = strides.subarray(count);
  for (let i = 0; i < count; i++) {
    const start = i * SECTOR_BYTES;
    strides[i] = bestStride(data, start);
    subtract(data, start, strides[i] * STRIDE_UNIT, out);
  }
  return packed;
}

/** The disk that {@linkcode packImage} has packed. */
export function unpackImage(packed: Uint8Array): SparseImage {
  const view = new DataView(packed.buffer, packed.byteOffset);
  const disk = new SparseImage(view.getUint32(0) * SECTOR_BYTES);
  const count = view.getUint32(4);
  const strides = HEADER_BYTES + 4 * count;
  const data = packed.slice(strides + count);
  let sector = 0;
  for (let i = 0; i < count; i++) {
    sector += view.getUint32(HEADER_BYTES + 4 * i);
    const stride = packed[strides + i] * STRIDE_UNIT;
    const start = i * SECTOR_BYTES;
    const end = start + SECTOR_BYTES;
    if (stride > 0) {
      for (let at = start; at < end; at++) data[at] += data[at - stride];
    }
    disk.write(sector * SECTOR_BYTES, data.subarray(start, end));
  }
  return disk;
}

function usedSectors(raw: Uint8Array): number[] {
  const used: number[] = [];
  for (let sector = 0; sector < raw.length / SECTOR_BYTES; sector++) {
    if (sectorOf(raw, sector).some((byte) => byte !== 0)) used.push(sector);
  }
  return used;
}

/** The stride that leaves most zeros, units. */
function bestStride(data: Uint8Array, start: number): number {
  let best = 0;
  let fewest = Infinity;
  for (let stride = 0; stride <= MAX_STRIDE; stride++) {
    if (stride * STRIDE_UNIT > start) break;
    const left = nonZeros(data, start, stride * STRIDE_UNIT);
    if (left < fewest) {
      fewest = left;
      best = stride;
    }
  }
  return best;
}

function nonZeros(data: Uint8Array, start: number, stride: number): number {
  let count = 0;
  for (let at = start; at < start + SECTOR_BYTES; at++) {
    if (data[at] !== (stride === 0 ? 0 : data[at - stride])) count++;
  }
  return count;
}

function subtract(
  data: Uint8Array,
  start: number,
  stride: number,
  out: Uint8Array,
): void {
  for (let at = start; at < start + SECTOR_BYTES; at++) {
    out[at] = data[at] - (stride === 0 ? 0 : data[at - stride]);
  }
}

function sectorOf(raw: Uint8Array, sector: number): Uint8Array {
  return raw.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
}
