/**
 * Extent records and the blocks of the btree that holds them (fs/xfs/
 * xfs_bmap_btree.c).
 *
 * A record is 128 bits: unwritten 1, offset in the file 54, block 52, length 21.
 */
import { charge, type Steps } from "../../../arch/asm.ts";
import { get_be32 } from "./xfs_access.ts";
import type { Thread } from "../../thread.ts";
import { be16, be32, be64 } from "./xfs_bytes.ts";
import {
  BB_L_BLKNO,
  BB_L_CRC,
  BB_L_RIGHTSIB,
  BB_L_UUID,
  BB_LEVEL,
  BB_MAGIC,
  BB_NUMRECS,
  BMBT_REC_BYTES,
  XFS_BMAP_MAGIC,
  XFS_BTREE_LBLOCK_LEN,
} from "./xfs_format.ts";
import type { XfsBmbtIrec } from "./xfs_inode_types.ts";
import type { XfsMount } from "./xfs_mount_types.ts";
import { xfs_verify_fsbext } from "./xfs_units.ts";
import { type Verdict, verify_identity, type XfsBufOps } from "./xfs_verify.ts";

/** "No block" of a 64-bit pointer, as {@linkcode be64} gives it. */
export const NULLFSBLOCK: number = 2 ** 64;

const IDENTITY = { crc: BB_L_CRC, blkno: BB_L_BLKNO, uuid: BB_L_UUID };

/** Unpacks the four words of a record into `irec`. */
function xfs_bmbt_disk_get_all(
  w0: number,
  w1: number,
  w2: number,
  w3: number,
  irec: XfsBmbtIrec,
): void {
  irec.br_unwritten = w0 >>> 31 !== 0;
  irec.br_startoff = (w0 & 0x7fffffff) * 2 ** 23 + (w1 >>> 9);
  irec.br_startblock = (w1 & 0x1ff) * 2 ** 43 + w2 * 2 ** 11 + (w3 >>> 21);
  irec.br_blockcount = w3 & 0x1fffff;
}

/** Reads the record at virtual address `addr`. */
export function* xfs_bmbt_read_rec(
  t: Thread,
  addr: number,
  irec: XfsBmbtIrec,
): Steps {
  const w0 = yield* get_be32(t, addr);
  const w1 = yield* get_be32(t, addr + 4);
  const w2 = yield* get_be32(t, addr + 8);
  const w3 = yield* get_be32(t, addr + 12);
  charge(t, 14);
  xfs_bmbt_disk_get_all(w0, w1, w2, w3, irec);
}

/** Reads the record at byte `at` of `bytes`. */
export function xfs_bmbt_get_rec(
  bytes: Uint8Array,
  at: number,
  irec: XfsBmbtIrec,
): void {
  xfs_bmbt_disk_get_all(
    be32(bytes, at),
    be32(bytes, at + 4),
    be32(bytes, at + 8),
    be32(bytes, at + 12),
    irec,
  );
}

/** Byte in a block, or in a root of `maxrecs` records, where pointer 0 lies; `header` bytes come first. */
export function xfs_bmbt_ptr_offset(header: number, maxrecs: number): number {
  return header + maxrecs * 8;
}

function verify(
  t: Thread,
  mp: XfsMount,
  bytes: Uint8Array,
  blkno: number,
): Verdict {
  const verdict = verify_identity(t, mp, bytes, blkno, IDENTITY);
  if (verdict !== "good") return verdict;
  charge(t, 30);
  const numrecs = be16(bytes, BB_NUMRECS);
  const level = be16(bytes, BB_LEVEL);
  const right = be64(bytes, BB_L_RIGHTSIB);
  return be32(bytes, BB_MAGIC) === XFS_BMAP_MAGIC[mp.crc] &&
      level < mp.m_bm_maxlevels &&
      numrecs > 0 && numrecs <= mp.m_bmap_dmxr &&
      (right === NULLFSBLOCK || xfs_verify_fsbext(mp, right, 1))
    ? "good"
    : "corrupt";
}

/** A block of an extent btree. */
export const xfs_bmbt_buf_ops: XfsBufOps = {
  name: "xfs_bmbt_read_verify",
  code: 1,
  verify,
};

/** Byte of record `i` in a leaf. */
export function xfs_bmbt_rec_offset(mp: XfsMount, i: number): number {
  return XFS_BTREE_LBLOCK_LEN[mp.crc] + i * BMBT_REC_BYTES;
}
