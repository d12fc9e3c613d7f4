/**
 * The checksum of version 5 metadata: CRC-32C (Castagnoli; RFC 3720, appendix
 * B.4), a table look-up for each byte as crypto/crc32c.c of 2.6.28 did it.
 */
import { charge, enter, ksym, leave } from "../../../arch/asm.ts";
import type { Thread } from "../../thread.ts";

const CRC32C_LE = ksym("crc32c_le");

/** The polynomial, lowest bit first. */
const POLYNOMIAL = 0x82f63b78;
/** Load a byte, exclusive or, mask, look up, shift, exclusive or, count. */
const INSTRUCTIONS_PER_BYTE = 6;

const TABLE: Uint32Array = makeTable();

function makeTable(): Uint32Array {
  const table = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    let crc = i;
    for (let bit = 0; bit < 8; bit++) {
      crc = (crc & 1) !== 0 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    }
    table[i] = crc;
  }
  return table;
}

/** Goes on with `crc` over bytes `[start, end)` of `bytes`; no inversion at either end. */
export function crc32c(
  crc: number,
  bytes: Uint8Array,
  start = 0,
  end = bytes.length,
): number {
  let c = crc;
  for (let i = start; i < end; i++) {
    c = (c >>> 8) ^ TABLE[(c ^ bytes[i]) & 0xff];
  }
  return c >>> 0;
}

/** What a structure's checksum field should hold: that over all of it, the field (at `offset`) taken as zero. */
export function xfs_calc_cksum(
  bytes: Uint8Array,
  start: number,
  length: number,
  offset: number,
): number {
  let crc = crc32c(0xffffffff, bytes, start, start + offset);
  for (let i = 0; i < 4; i++) crc = (crc >>> 8) ^ TABLE[crc & 0xff];
  crc = crc32c(crc >>> 0, bytes, start + offset + 4, start + length);
  return ~crc >>> 0;
}

/**
 * Whether the checksum at `offset` of the `length` bytes at `start` is right.
 * Plain; charges for every byte.
 */
export function xfs_verify_cksum(
  t: Thread,
  bytes: Uint8Array,
  start: number,
  length: number,
  offset: number,
): boolean {
  enter(t, CRC32C_LE);
  charge(t, 30 + INSTRUCTIONS_PER_BYTE * length);
  const at = start + offset;
  const found = (bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16 |
    bytes[at + 3] << 24) >>> 0;
  const right = found === xfs_calc_cksum(bytes, start, length, offset);
  leave(t);
  return right;
}
