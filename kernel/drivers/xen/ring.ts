/**
 * Rings of requests and responses in a page that two domains share: the macros
 * of Xen's public/io/ring.h, as include/xen/interface/io/ring.h of 2.6.28 has
 * them.
 *
 * The page, little-endian:
 *
 *      0  req_prod   u32   requests that the front end has put in
 *      4  req_event  u32   the back end wants to hear of this one
 *      8  rsp_prod   u32   responses that the back end has put in
 *     12  rsp_event  u32   the front end wants to hear of this one
 *     16  unused
 *     64  entries, as many as a power of two; a response takes the place of a
 *         request that has been read
 *
 * The counters run freely over 32 bits. Each end keeps its own place in private
 * memory and reads the other's from the page, through the TLB and the page
 * tables of the CPU that runs, at whatever address it has mapped the page.
 *
 * Lock order: none; each end guards its private part by a lock of its own.
 *
 * Differs from Linux: what the other end has written is checked, as kernels do
 * since 2013: a counter that is more than a ring ahead is told from one that is
 * not (`null`), where 2.6.28 would run through the ring for ever. Barriers
 * order nothing here, since accesses happen in the order of virtual time; they
 * are charged.
 */
import { charge, type Steps, vload, vstore } from "../../../arch/asm.ts";
import type { Thread } from "../../thread.ts";

/** Offsets in the shared page, bytes. */
export const REQ_PROD = 0;
export const REQ_EVENT = 4;
export const RSP_PROD = 8;
export const RSP_EVENT = 12;
/** Where entries start, bytes. */
export const RING_OFFSET = 64;

/** mfence or a locked instruction: what mb() costs beside its accesses. */
const MB_INSTRUCTIONS = 12;

/** Entries of `entryBytes` each in a page: the largest power of two that fits (__RING_SIZE). */
export function ringSize(pageBytes: number, entryBytes: number): number {
  return 2 ** Math.floor(Math.log2((pageBytes - RING_OFFSET) / entryBytes));
}

/** `a - b` of free-running counters: 0 to 2^32 - 1. */
export function ahead(a: number, b: number): number {
  return (a - b) >>> 0;
}

/** The next value of a free-running counter. */
export function next(counter: number): number {
  return (counter + 1) >>> 0;
}

/** What both ends know of a ring; fixed. */
class RingEnd {
  /** Entries; a power of two. */
  readonly nr_ents: number;

  constructor(
    /** Address at which this end has the page. */
    readonly sring: number,
    pageBytes: number,
    /** Bytes of the larger of request and response. */
    readonly entryBytes: number,
  ) {
    this.nr_ents = ringSize(pageBytes, entryBytes);
  }

  /** Address of the entry that `counter` means (RING_GET_REQUEST, RING_GET_RESPONSE). */
  entry(counter: number): number {
    const index = counter & (this.nr_ents - 1);
    return this.sring + RING_OFFSET + index * this.entryBytes;
  }
}

/** The front end's place in a ring. Guarded by a lock of the front end's. */
export class FrontRing extends RingEnd {
  /** Requests written, told or not. */
  req_prod_pvt = 0;
  /** Responses read. */
  rsp_cons = 0;

  /** Requests that can be written now (RING_FREE_REQUESTS). */
  get free(): number {
    return this.nr_ents - ahead(this.req_prod_pvt, this.rsp_cons);
  }

  /** Whether every entry has a request under way (RING_FULL). */
  get full(): boolean {
    return this.free === 0;
  }
}

/** The back end's place in a ring. Guarded by a lock of the back end's. */
export class BackRing extends RingEnd {
  /** Responses written, told or not. */
  rsp_prod_pvt = 0;
  /** Requests read. */
  req_cons = 0;
}

/** Makes the page at `sring`, which is cleared, a ring without entries. */
export function* SHARED_RING_INIT(t: Thread, sring: number): Steps {
  charge(t, 6);
  yield* vstore(t, sring + REQ_PROD, 4, 0);
  yield* vstore(t, sring + RSP_PROD, 4, 0);
  yield* vstore(t, sring + REQ_EVENT, 4, 1);
  yield* vstore(t, sring + RSP_EVENT, 4, 1);
}

/**
 * Shows the other end the requests written.
 *
 * @returns Whether it wants to be told.
 */
export function RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(
  t: Thread,
  { sring, req_prod_pvt }: FrontRing,
): Steps<boolean> {
  return push(t, sring + REQ_PROD, sring + REQ_EVENT, req_prod_pvt);
}

/**
 * Shows the other end the responses written.
 *
 * @returns Whether it wants to be told.
 */
export function RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(
  t: Thread,
  { sring, rsp_prod_pvt }: BackRing,
): Steps<boolean> {
  return push(t, sring + RSP_PROD, sring + RSP_EVENT, rsp_prod_pvt);
}

function* push(
  t: Thread,
  prod: number,
  event: number,
  counter: number,
): Steps<boolean> {
  charge(t, 6);
  const old = yield* vload(t, prod, 4);
  yield* vstore(t, prod, 4, counter); // after wmb()
  charge(t, MB_INSTRUCTIONS); // mb(): the counter is seen before the wish is read
  const wanted = yield* vload(t, event, 4);
  return ahead(counter, wanted) < ahead(counter, old);
}

/**
 * Responses to read.
 *
 * @returns `null` = there are more than requests under way: the other end is
 *   not to be trusted.
 */
export function* RING_UNCONSUMED_RESPONSES(
  t: Thread,
  ring: FrontRing,
): Steps<number | null> {
  charge(t, 4);
  const prod = yield* vload(t, ring.sring + RSP_PROD, 4);
  const count = ahead(prod, ring.rsp_cons);
  return count <= ahead(ring.req_prod_pvt, ring.rsp_cons) ? count : null;
}

/**
 * Requests to read.
 *
 * @returns `null` = there are more than the ring has room for: the other end
 *   is not to be trusted.
 */
export function* RING_UNCONSUMED_REQUESTS(
  t: Thread,
  ring: BackRing,
): Steps<number | null> {
  charge(t, 6);
  const prod = yield* vload(t, ring.sring + REQ_PROD, 4);
  const count = ahead(prod, ring.req_cons);
  const room = ring.nr_ents - ahead(ring.req_cons, ring.rsp_prod_pvt);
  return count <= room ? count : null;
}

/**
 * Responses to read; if there are none, asks to be told of the next one, and
 * looks again.
 */
export function* RING_FINAL_CHECK_FOR_RESPONSES(
  t: Thread,
  ring: FrontRing,
): Steps<number | null> {
  const count = yield* RING_UNCONSUMED_RESPONSES(t, ring);
  if (count !== 0) return count;
  yield* vstore(t, ring.sring + RSP_EVENT, 4, next(ring.rsp_cons));
  charge(t, MB_INSTRUCTIONS);
  return yield* RING_UNCONSUMED_RESPONSES(t, ring);
}

/** {@linkcode RING_FINAL_CHECK_FOR_RESPONSES} of requests. */
export function* RING_FINAL_CHECK_FOR_REQUESTS(
  t: Thread,
  ring: BackRing,
): Steps<number | null> {
  const count = yield* RING_UNCONSUMED_REQUESTS(t, ring);
  if (count !== 0) return count;
  yield* vstore(t, ring.sring + REQ_EVENT, 4, next(ring.req_cons));
  charge(t, MB_INSTRUCTIONS);
  return yield* RING_UNCONSUMED_REQUESTS(t, ring);
}
