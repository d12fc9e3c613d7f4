/**
 * What a block ring holds: the x86-64 layout of Xen's public/io/blkif.h
 * (include/xen/interface/io/blkif.h of 2.6.28), read and written field by field.
 *
 *     request, 112 bytes                      response, 16 bytes
 *       0  operation      u8                    0  id         u64
 *       1  nr_segments    u8                    8  operation  u8
 *       2  handle         u16                  10  status     s16
 *       8  id             u64
 *      16  sector_number  u64
 *      24  seg[11], 8 bytes each: gref u32, first_sect u8, last_sect u8
 *
 * A ring of one page has 32 of them. 64-bit fields are two of 32 bits here,
 * since a number holds 53 bits: an id goes back as it came, whatever it is.
 */
import { charge, type Steps, vload, vstore } from "../../../arch/asm.ts";
import type { Thread } from "../../thread.ts";

export const BLKIF_OP_READ = 0;
export const BLKIF_OP_WRITE = 1;
export const BLKIF_RSP_OKAY = 0;
export const BLKIF_RSP_ERROR = -1;
export const BLKIF_RSP_EOPNOTSUPP = -2;
/** Most pieces of a request. */
export const BLKIF_MAX_SEGMENTS_PER_REQUEST = 11;
/** A bit of the back end's key `info`. */
export const VDISK_READONLY = 4;
/** Bytes of a ring's entry: the request is the larger. */
export const BLKIF_ENTRY_BYTES = 112;

const REQ_ID = 8;
const REQ_SECTOR = 16;
const REQ_SEG = 24;
const SEG_BYTES = 8;
const RSP_OPERATION = 8;
const RSP_STATUS = 10;
const TWO_32 = 2 ** 32;

/** A piece of a page that was granted: sectors of 512 bytes, both included. */
export interface BlkifSegment {
  gref: number;
  first_sect: number;
  last_sect: number;
}

/** A request as it was read. */
export interface BlkifRequest {
  readonly operation: number;
  /** As the page says: 0 to 255. */
  readonly nr_segments: number;
  readonly handle: number;
  readonly idLow: number;
  readonly idHigh: number;
  /** Above 2^53 it is not exact, and beyond any disk. */
  readonly sector_number: number;
  /** As many as nr_segments says, if that is allowed; else none. */
  readonly seg: readonly BlkifSegment[];
}

/** What a response says. */
export interface BlkifResponse {
  readonly idLow: number;
  readonly idHigh: number;
  readonly operation: number;
  readonly status: number;
}

/** Writes a request at `at`. */
export function* writeRequest(
  t: Thread,
  at: number,
  req: BlkifRequest,
): Steps {
  charge(t, 8 + 3 * req.seg.length);
  yield* vstore(t, at, 1, req.operation);
  yield* vstore(t, at + 1, 1, req.nr_segments);
  yield* vstore(t, at + 2, 2, req.handle);
  yield* vstore(t, at + REQ_ID, 4, req.idLow);
  yield* vstore(t, at + REQ_ID + 4, 4, req.idHigh);
  const { sector_number } = req;
  yield* vstore(t, at + REQ_SECTOR, 4, sector_number % TWO_32);
  yield* vstore(t, at + REQ_SECTOR + 4, 4, Math.floor(sector_number / TWO_32));
  for (let i = 0; i < req.seg.length; i++) {
    const seg = at + REQ_SEG + i * SEG_BYTES;
    const { gref, first_sect, last_sect } = req.seg[i];
    yield* vstore(t, seg, 4, gref);
    yield* vstore(t, seg + 4, 1, first_sect);
    yield* vstore(t, seg + 5, 1, last_sect);
  }
}

/** Copies the request at `at` out of the ring, once: its writer may go on writing. */
export function* readRequest(t: Thread, at: number): Steps<BlkifRequest> {
  charge(t, 10);
  const operation = yield* vload(t, at, 1);
  const nr_segments = yield* vload(t, at + 1, 1);
  const handle = yield* vload(t, at + 2, 2);
  const idLow = yield* vload(t, at + REQ_ID, 4);
  const idHigh = yield* vload(t, at + REQ_ID + 4, 4);
  const low = yield* vload(t, at + REQ_SECTOR, 4);
  const high = yield* vload(t, at + REQ_SECTOR + 4, 4);
  const seg: BlkifSegment[] = [];
  if (nr_segments <= BLKIF_MAX_SEGMENTS_PER_REQUEST) {
    for (let i = 0; i < nr_segments; i++) {
      charge(t, 4);
      const from = at + REQ_SEG + i * SEG_BYTES;
      const gref = yield* vload(t, from, 4);
      const first_sect = yield* vload(t, from + 4, 1);
      const last_sect = yield* vload(t, from + 5, 1);
      seg.push({ gref, first_sect, last_sect });
    }
  }
  const sector_number = high * TWO_32 + low;
  return { operation, nr_segments, handle, idLow, idHigh, sector_number, seg };
}

/** Writes a response at `at`. */
export function* writeResponse(
  t: Thread,
  at: number,
  { idLow, idHigh, operation, status }: BlkifResponse,
): Steps {
  charge(t, 5);
  yield* vstore(t, at, 4, idLow);
  yield* vstore(t, at + 4, 4, idHigh);
  yield* vstore(t, at + RSP_OPERATION, 1, operation);
  yield* vstore(t, at + RSP_STATUS, 2, status & 0xffff);
}

/** Reads the response at `at`. */
export function* readResponse(t: Thread, at: number): Steps<BlkifResponse> {
  charge(t, 5);
  const idLow = yield* vload(t, at, 4);
  const idHigh = yield* vload(t, at + 4, 4);
  const operation = yield* vload(t, at + RSP_OPERATION, 1);
  const status = signed16(yield* vload(t, at + RSP_STATUS, 2));
  return { idLow, idHigh, operation, status };
}

/** `value`, 16 bits, as a signed number. */
export function signed16(value: number): number {
  return value << 16 >> 16;
}
