/**
 * What the two rings of a network interface hold: Xen's public/io/netif.h
 * (include/xen/interface/io/netif.h of 2.6.28), read and written field by field.
 *
 *     tx request, 12 bytes        tx response, 4 bytes
 *       0  gref    u32              0  id      u16
 *       4  offset  u16              2  status  s16
 *       6  flags   u16
 *       8  id      u16
 *      10  size    u16
 *
 *     rx request, 8 bytes         rx response, 8 bytes
 *       0  id      u16              0  id      u16
 *       4  gref    u32              2  offset  u16
 *                                   4  flags   u16
 *                                   6  status  s16: bytes, or an error
 *
 * Rings of one page have 256 entries each.
 */
import { charge, type Steps, vload, vstore } from "../../../arch/asm.ts";
import type { Thread } from "../../thread.ts";
import { signed16 } from "./blkif.ts";

export const NETIF_TX_ENTRY_BYTES = 12;
export const NETIF_RX_ENTRY_BYTES = 8;
/** The frame goes on in the next request; nobody here offers `feature-sg`. */
export const NETTXF_more_data = 4;
export const NETIF_RSP_DROPPED = -2;
export const NETIF_RSP_ERROR = -1;
export const NETIF_RSP_OKAY = 0;

/** A frame to send. */
export interface NetifTxRequest {
  readonly gref: number;
  readonly offset: number;
  readonly flags: number;
  readonly id: number;
  readonly size: number;
}

/** A page for a frame to come. */
export interface NetifRxRequest {
  readonly id: number;
  readonly gref: number;
}

/** What came of a frame sent. */
export interface NetifTxResponse {
  readonly id: number;
  readonly status: number;
}

/** A frame that came. */
export interface NetifRxResponse {
  readonly id: number;
  readonly offset: number;
  readonly flags: number;
  readonly status: number;
}

/** Writes a tx request at `at`. */
export function* writeTxRequest(
  t: Thread,
  at: number,
  req: NetifTxRequest,
): Steps {
  charge(t, 6);
  yield* vstore(t, at, 4, req.gref);
  yield* vstore(t, at + 4, 2, req.offset);
  yield* vstore(t, at + 6, 2, req.flags);
  yield* vstore(t, at + 8, 2, req.id);
  yield* vstore(t, at + 10, 2, req.size);
}

/** Copies the tx request at `at` out of the ring. */
export function* readTxRequest(t: Thread, at: number): Steps<NetifTxRequest> {
  charge(t, 6);
  const gref = yield* vload(t, at, 4);
  const offset = yield* vload(t, at + 4, 2);
  const flags = yield* vload(t, at + 6, 2);
  const id = yield* vload(t, at + 8, 2);
  const size = yield* vload(t, at + 10, 2);
  return { gref, offset, flags, id, size };
}

/** Writes a tx response at `at`. */
export function* writeTxResponse(
  t: Thread,
  at: number,
  { id, status }: NetifTxResponse,
): Steps {
  charge(t, 3);
  yield* vstore(t, at, 2, id);
  yield* vstore(t, at + 2, 2, status & 0xffff);
}

/** Reads the tx response at `at`. */
export function* readTxResponse(t: Thread, at: number): Steps<NetifTxResponse> {
  charge(t, 3);
  const id = yield* vload(t, at, 2);
  const status = signed16(yield* vload(t, at + 2, 2));
  return { id, status };
}

/** Writes an rx request at `at`. */
export function* writeRxRequest(
  t: Thread,
  at: number,
  { id, gref }: NetifRxRequest,
): Steps {
  charge(t, 3);
  yield* vstore(t, at, 2, id);
  yield* vstore(t, at + 4, 4, gref);
}

/** Copies the rx request at `at` out of the ring. */
export function* readRxRequest(t: Thread, at: number): Steps<NetifRxRequest> {
  charge(t, 3);
  const id = yield* vload(t, at, 2);
  const gref = yield* vload(t, at + 4, 4);
  return { id, gref };
}

/** Writes an rx response at `at`. */
export function* writeRxResponse(
  t: Thread,
  at: number,
  { id, offset, flags, status }: NetifRxResponse,
): Steps {
  charge(t, 5);
  yield* vstore(t, at, 2, id);
  yield* vstore(t, at + 2, 2, offset);
  yield* vstore(t, at + 4, 2, flags);
  yield* vstore(t, at + 6, 2, status & 0xffff);
}

/** Reads the rx response at `at`. */
export function* readRxResponse(t: Thread, at: number): Steps<NetifRxResponse> {
  charge(t, 5);
  const id = yield* vload(t, at, 2);
  const offset = yield* vload(t, at + 2, 2);
  const flags = yield* vload(t, at + 4, 2);
  const status = signed16(yield* vload(t, at + 6, 2));
  return { id, offset, flags, status };
}
