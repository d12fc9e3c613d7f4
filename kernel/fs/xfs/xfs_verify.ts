/**
 * Reading metadata and believing it: checksums, identity and structure of a
 * block are looked at once, when it has come from the disk, over the contents
 * of its pages; whoever uses it later reads through the buffer's mapping and
 * looks at little more than the magic number.
 *
 * Differs from Linux: read verifiers came with 3.10, and run at the end of the
 * I/O; 2.6.28 looked at magic numbers each time and trusted the rest. Here the
 * reader runs the verifier after the I/O, and the mount remembers which blocks
 * have passed, as pages outlive buffers. A block that fails is verified again,
 * with its messages, by the next who reads it.
 */
import { charge, type Steps } from "../../../arch/asm.ts";
import { EBADMSG, err, type Errno, EUCLEAN } from "../../lib/errno.ts";
import type { Thread } from "../../thread.ts";
import {
  XBF_LOCK,
  XBF_MAPPED,
  xfs_buf_read,
  xfs_buf_relse,
  type XfsBuf,
} from "./xfs_buf.ts";
import { be64, same_bytes } from "./xfs_bytes.ts";
import { xfs_verify_cksum } from "./crc32c.ts";
import { BBSIZE } from "./xfs_format.ts";
import { xfs_buf_ioerror_alert, xfs_verifier_error } from "./xfs_message.ts";
import type { XfsMount } from "./xfs_mount_types.ts";

/** What a verifier says. */
export type Verdict = "good" | "bad crc" | "corrupt";

/** A kind of block. */
export interface XfsBufOps {
  /** Name of its verifier, for messages. */
  readonly name: string;
  /** Of this kind alone; positive. */
  readonly code: number;
  /** Plain; charges for what it looks at. `blkno`: the sector it was read from. */
  verify(t: Thread, mp: XfsMount, bytes: Uint8Array, blkno: number): Verdict;
}

/** Where version 5 puts a block's identity, bytes. */
export interface Identity {
  readonly crc: number;
  /** Own address, 64 bits, sectors. */
  readonly blkno: number;
  readonly uuid: number;
}

/** Verifies what version 5 adds to every block: checksum, file system, address. Version 4: nothing. */
export function verify_identity(
  t: Thread,
  mp: XfsMount,
  bytes: Uint8Array,
  blkno: number,
  at: Identity,
): Verdict {
  if (mp.crc === 0) return "good";
  if (!xfs_verify_cksum(t, bytes, 0, bytes.length, at.crc)) return "bad crc";
  charge(t, 12);
  return same_bytes(bytes, at.uuid, mp.m_sb.sb_meta_uuid) &&
      be64(bytes, at.blkno) === blkno
    ? "good"
    : "corrupt";
}

/** Copies `out.length` bytes from byte `offset` of `bp` on, as its pages have them. */
function read_pages(
  t: Thread,
  bp: XfsBuf,
  offset: number,
  out: Uint8Array,
): void {
  const { memory } = t.k.machine;
  const size = memory.pageBytes;
  let at = bp.b_bn * BBSIZE % size + offset;
  for (let done = 0; done < out.length;) {
    const page = bp.b_pages[Math.floor(at / size)];
    const n = Math.min(out.length - done, size - at % size);
    const paddr = page.pfn * size + at % size;
    memory.readBytes(paddr, out.subarray(done, done + n));
    done += n;
    at += n;
  }
}

/** `length` bytes from byte `offset` of `bp` on, as its pages have them. */
export function page_range(
  t: Thread,
  bp: XfsBuf,
  offset: number,
  length: number,
): Uint8Array {
  const bytes = new Uint8Array(length);
  read_pages(t, bp, offset, bytes);
  return bytes;
}

/** The contents of `bps`, one after the other, as their pages have them. */
export function page_contents(t: Thread, bps: readonly XfsBuf[]): Uint8Array {
  let total = 0;
  for (const bp of bps) total += bp.b_count_desired;
  const bytes = new Uint8Array(total);
  let done = 0;
  for (const bp of bps) {
    const end = done + bp.b_count_desired;
    read_pages(t, bp, 0, bytes.subarray(done, end));
    done = end;
  }
  return bytes;
}

/** Whether `bps` have been verified as one structure of that kind. */
function has_passed(
  mp: XfsMount,
  bps: readonly XfsBuf[],
  ops: XfsBufOps,
): boolean {
  const passed = mp.m_verified.get(bps[0].b_bn);
  if (passed === undefined || passed.code !== ops.code) return false;
  const { rest } = passed;
  if (rest.length !== bps.length - 1) return false;
  for (let i = 0; i < rest.length; i++) {
    if (rest[i] !== bps[i + 1].b_bn) return false;
  }
  return true;
}

/**
 * Verifies what `bps` hold, one structure, unless that has been done. Plain.
 *
 * @returns 0; -EUCLEAN; -EBADMSG if the checksum is wrong.
 */
export function xfs_buf_verify(
  t: Thread,
  mp: XfsMount,
  bps: readonly XfsBuf[],
  ops: XfsBufOps,
): 0 | Errno {
  const blkno = bps[0].b_bn;
  if (has_passed(mp, bps, ops)) return 0;
  const bytes = page_contents(t, bps);
  const verdict = ops.verify(t, mp, bytes, blkno);
  if (verdict === "good") {
    const rest = bps.slice(1).map(({ b_bn }) => b_bn);
    mp.m_verified.set(blkno, { code: ops.code, rest });
    return 0;
  }
  mp.m_corruptions++;
  const badCrc = verdict === "bad crc";
  xfs_verifier_error(t, mp, badCrc, ops.name, blkno, bytes);
  return err(badCrc ? EBADMSG : EUCLEAN);
}

/**
 * Reads `len` sectors at `blkno`: locked, mapped and, if `ops` says how,
 * verified. Says so in the log if that fails.
 *
 * @returns -EIO, -ENOMEM; -EUCLEAN if the contents are bad.
 */
export function* xfs_trans_read_buf(
  t: Thread,
  mp: XfsMount,
  blkno: number,
  len: number,
  ops: XfsBufOps | null,
): Steps<XfsBuf | Errno> {
  charge(t, 12);
  const bp = yield* xfs_buf_read(
    t,
    mp.m_ddev_targp,
    blkno,
    len,
    XBF_LOCK | XBF_MAPPED,
  );
  if (typeof bp === "number") {
    xfs_buf_ioerror_alert(t, mp, "xfs_trans_read_buf", blkno, len, -bp);
    return bp;
  }
  if (ops === null) return bp;
  const error = xfs_buf_verify(t, mp, [bp], ops);
  if (error === 0) return bp;
  xfs_buf_ioerror_alert(t, mp, "xfs_trans_read_buf", blkno, len, -error);
  yield* xfs_buf_relse(t, bp);
  return err(EUCLEAN);
}
