/**
 * blkfront's requests on their way to the back end and back
 * (drivers/block/xen-blkfront.c of 2.6.28). See blkfront.ts for how the two ends
 * come together.
 *
 * Each piece of a request is a page granted to the back end for as long as the
 * request is in the ring. A request that does not fit waits, on the queue or
 * half in the ring, until responses have made room.
 *
 * Lock order:
 *
 *     q.queue_lock (Linux: blkif_io_lock)      interrupts off; ring, shadows
 *
 * Differs from Linux: a request has as many pieces as its bio, since there is no
 * limit that a queue could tell the block layer; what has more than eleven goes
 * through the ring in several parts, and ends when the last of them has. A back
 * end that writes nonsense (a response that nobody waits for, a counter too far
 * ahead) loses the device, as in kernels since 2021: everything under way fails
 * with -EIO. Left out: barriers.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  vstore,
} from "../../../arch/asm.ts";
import { type Bio, WRITE } from "../../block/bio.ts";
import {
  __blk_end_request,
  blk_init_queue,
  blkdev_dequeue_request,
  elv_next_request,
  type Request,
  type RequestQueue,
} from "../../block/blk_core.ts";
import { type BlockDevice, SECTOR_BYTES } from "../../block/block_device.ts";
import { EIO, ENOMEM, err, type Errno } from "../../lib/errno.ts";
import {
  lockdep_assert_held,
  spin_lock_irqsave,
  spin_unlock_irqrestore,
} from "../../locking/spinlock.ts";
import type { Page } from "../../mm/page.ts";
import { KERN_WARNING, printk } from "../../printk.ts";
import type { Thread } from "../../thread.ts";
import { notify_remote_via_evtchn } from "../../xen/events.ts";
import {
  gnttab_end_foreign_access,
  gnttab_grant_foreign_access_ref,
} from "../../xen/grant_table.ts";
import {
  BLKIF_MAX_SEGMENTS_PER_REQUEST,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_RSP_OKAY,
  type BlkifSegment,
  readResponse,
  writeRequest,
} from "./blkif.ts";
import {
  type FrontRing,
  next,
  RING_FINAL_CHECK_FOR_RESPONSES,
  RING_PUSH_REQUESTS_AND_CHECK_NOTIFY,
  RING_UNCONSUMED_RESPONSES,
  RSP_EVENT,
} from "./ring.ts";
import { xenbus_dev_fatal, type XenbusDevice } from "./xenbus.ts";
import { xs_defer } from "./xenstore.ts";

const BLKIF_COMPLETION = ksym("blkif_completion");
const BLKIF_INTERRUPT = ksym("blkif_interrupt");
const BLKIF_QUEUE_REQUEST = ksym("blkif_queue_request");
const DO_BLKIF_REQUEST = ksym("do_blkif_request");

/** A bio on its way through the ring, whole or in parts. Guarded by the queue's lock. */
class BlkRequest {
  /** Next piece to go into the ring. */
  vec = 0;
  /** Where that piece starts on the disk, sectors. */
  sector: number;
  /** Parts in the ring. */
  parts = 0;
  error: 0 | Errno = 0;
  readonly bio: Bio;

  constructor(readonly rq: Request) {
    this.bio = rq.bio!;
    this.sector = this.bio.bi_sector;
  }

  /** Whether nothing of it is to go into the ring any more. */
  get sent(): boolean {
    return this.error !== 0 || this.vec === this.bio.bi_vcnt;
  }
}

/** What an id in the ring stands for. */
interface BlkShadow {
  /** `null` = the id is free. */
  request: BlkRequest | null;
  /** Grants of the pieces, in order. */
  readonly grefs: number[];
}

/** One disk's front end. */
export class BlkfrontInfo {
  /** The disk, once connected. */
  gd: BlockDevice | null = null;
  readonly queue: RequestQueue;

  // Fixed from the set-up to the end.
  ring_page: Page | null = null;
  ring_ref = 0;
  evtchn = 0;

  // Guarded by queue.queue_lock.
  ring!: FrontRing;
  state: "new" | "connected" | "gone" = "new";
  readonly shadow: BlkShadow[] = [];
  readonly free_ids: number[] = [];
  /** Half in the ring. */
  current: BlkRequest | null = null;
  /** Requests put into the ring, and pieces of them. */
  requests = 0;
  segments = 0;
  /** Grants that could not be revoked, since the back end had them mapped. */
  stuck: number[] = [];

  constructor(t: Thread, readonly dev: XenbusDevice, readonly vdevice: number) {
    this.queue = blk_init_queue(t, (t) => do_blkif_request(t, this));
  }
}

/** The queue has something, or the ring has room. Locks: queue_lock held, interrupts off. */
function* do_blkif_request(t: Thread, info: BlkfrontInfo): Steps {
  enter(t, DO_BLKIF_REQUEST);
  const { queue, ring } = info;
  lockdep_assert_held(t, queue.queue_lock);
  if (info.state === "gone") yield* fail_queued(t, info);
  let queued = 0;
  while (info.state === "connected") {
    const request = info.current ?? take_request(t, info);
    info.current = request;
    if (request === null || (!request.sent && ring.full)) break;
    if (!request.sent) {
      const error = yield* blkif_queue_request(t, info, request);
      if (error === 0) queued++;
      else if (info.free_ids.length < ring.nr_ents) break; // others will give grants back
      else request.error = error;
    }
    if (!request.sent) continue;
    info.current = null;
    yield* end_if_done(t, info, request);
  }
  if (queued > 0 && (yield* RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(t, ring))) {
    yield* notify_remote_via_evtchn(t, info.evtchn);
  }
  leave(t);
}

/** The next request of the queue, taken off it. */
function take_request(t: Thread, info: BlkfrontInfo): BlkRequest | null {
  const rq = elv_next_request(t, info.queue);
  if (rq === null) return null;
  blkdev_dequeue_request(t, info.queue, rq);
  const request = new BlkRequest(rq);
  const { bi_io_vec, bi_vcnt } = request.bio;
  for (let i = 0; i < bi_vcnt; i++) {
    const { bv_offset, bv_len } = bi_io_vec[i];
    // A segment is in sectors; 2.6.28 takes it for granted.
    if (bv_len < SECTOR_BYTES || (bv_offset | bv_len) % SECTOR_BYTES !== 0) {
      request.error = err(EIO);
    }
  }
  return request;
}

/** Puts as many pieces of `request` into the ring as an entry holds. */
function* blkif_queue_request(
  t: Thread,
  info: BlkfrontInfo,
  request: BlkRequest,
): Steps<0 | Errno> {
  enter(t, BLKIF_QUEUE_REQUEST);
  charge(t, 40);
  const { ring, dev } = info;
  const { bio } = request;
  const id = info.free_ids[info.free_ids.length - 1];
  const { grefs } = info.shadow[id];
  const end = Math.min(
    bio.bi_vcnt,
    request.vec + BLKIF_MAX_SEGMENTS_PER_REQUEST,
  );
  const seg: BlkifSegment[] = [];
  const write = bio.bi_rw === WRITE;
  let sectors = 0;
  for (let i = request.vec; i < end; i++) {
    const { bv_page, bv_offset, bv_len } = bio.bi_io_vec[i];
    charge(t, 20);
    const gref = yield* gnttab_grant_foreign_access_ref(
      t,
      dev.otherend_id,
      bv_page.pfn,
      write,
    );
    if (gref < 0) {
      yield* revoke(t, info, grefs);
      leave(t);
      return err(ENOMEM);
    }
    grefs.push(gref);
    const first_sect = bv_offset / SECTOR_BYTES;
    const last_sect = first_sect + bv_len / SECTOR_BYTES - 1;
    seg.push({ gref, first_sect, last_sect });
    sectors += bv_len / SECTOR_BYTES;
  }
  info.free_ids.pop();
  info.shadow[id].request = request;
  yield* writeRequest(t, ring.entry(ring.req_prod_pvt), {
    operation: write ? BLKIF_OP_WRITE : BLKIF_OP_READ,
    nr_segments: seg.length,
    handle: info.vdevice,
    idLow: id,
    idHigh: 0,
    sector_number: request.sector,
    seg,
  });
  ring.req_prod_pvt = next(ring.req_prod_pvt);
  request.vec = end;
  request.sector += sectors;
  request.parts++;
  info.requests++;
  info.segments += seg.length;
  leave(t);
  return 0;
}

/** The back end has said something. Context: interrupt. */
export function* blkif_interrupt(t: Thread, info: BlkfrontInfo): Steps {
  enter(t, BLKIF_INTERRUPT);
  const { queue } = info;
  const flags = yield* spin_lock_irqsave(t, queue.queue_lock);
  if (info.state === "connected") {
    const wrong = yield* read_responses(t, info);
    if (wrong !== null) yield* distrust(t, info, wrong);
    yield* do_blkif_request(t, info); // there is room now
  }
  yield* spin_unlock_irqrestore(t, queue.queue_lock, flags);
  leave(t);
}

/** @returns What is wrong with the ring; `null` = nothing. */
function* read_responses(t: Thread, info: BlkfrontInfo): Steps<string | null> {
  const { ring } = info;
  for (;;) {
    const count = ring.rsp_cons === ring.req_prod_pvt
      ? yield* nothing_under_way(t, ring)
      : yield* RING_FINAL_CHECK_FOR_RESPONSES(t, ring);
    if (count === null) return "more responses than requests";
    if (count === 0) return null;
    for (let i = 0; i < count; i++) {
      const rsp = yield* readResponse(t, ring.entry(ring.rsp_cons));
      ring.rsp_cons = next(ring.rsp_cons);
      const shadow = rsp.idHigh === 0 ? info.shadow[rsp.idLow] : undefined;
      const request = shadow?.request ?? null;
      if (shadow === undefined || request === null) {
        return "a response that nobody waits for";
      }
      yield* blkif_completion(t, info, rsp.idLow);
      if (rsp.status !== BLKIF_RSP_OKAY) {
        printk(
          t,
          KERN_WARNING,
          `Bad return from blkdev data request: ${rsp.status}`,
        );
        request.error = err(EIO);
      }
      yield* end_if_done(t, info, request);
    }
  }
}

/** Every request has its response: the next one is worth an event. */
function* nothing_under_way(t: Thread, ring: FrontRing): Steps<number | null> {
  yield* vstore(t, ring.sring + RSP_EVENT, 4, next(ring.rsp_cons));
  return yield* RING_UNCONSUMED_RESPONSES(t, ring);
}

/** Takes a part's pages back and its id. */
function* blkif_completion(t: Thread, info: BlkfrontInfo, id: number): Steps {
  enter(t, BLKIF_COMPLETION);
  const shadow = info.shadow[id];
  yield* revoke(t, info, shadow.grefs);
  shadow.request!.parts--;
  shadow.request = null;
  info.free_ids.push(id);
  leave(t);
}

export function* revoke(t: Thread, info: BlkfrontInfo, grefs: number[]): Steps {
  while (grefs.length > 0) {
    const gref = grefs.pop()!;
    if (!(yield* gnttab_end_foreign_access(t, gref))) {
      info.stuck.push(gref);
    }
  }
}

/** Ends `request` if all of it went through the ring, or it has failed and nothing is there. */
function* end_if_done(
  t: Thread,
  info: BlkfrontInfo,
  request: BlkRequest,
): Steps {
  if (!request.sent || request.parts > 0 || request === info.current) return;
  yield* __blk_end_request(t, info.queue, request.rq, request.error);
}

/** The back end writes nonsense: it gets nothing any more. Locks: queue_lock held. */
function* distrust(t: Thread, info: BlkfrontInfo, why: string): Steps {
  printk(t, KERN_WARNING, `blkfront: ${info.gd!.name}: ${why}`);
  yield* fail_all(t, info);
  const { dev } = info;
  yield* xs_defer(
    t,
    dev.bus.xs,
    (t) => xenbus_dev_fatal(t, dev, err(EIO), `bad ring: ${why}`),
  );
}

/** Fails all that is under way. Locks: queue_lock held. */
export function* fail_all(t: Thread, info: BlkfrontInfo): Steps {
  info.state = "gone";
  const { current } = info;
  info.current = null;
  if (current !== null) {
    current.error = err(EIO);
    yield* end_if_done(t, info, current);
  }
  for (let id = 0; id < info.shadow.length; id++) {
    const { request } = info.shadow[id];
    if (request === null) continue;
    request.error = err(EIO);
    yield* blkif_completion(t, info, id);
    yield* end_if_done(t, info, request);
  }
  yield* fail_queued(t, info);
}

function* fail_queued(t: Thread, info: BlkfrontInfo): Steps {
  for (;;) {
    const rq = elv_next_request(t, info.queue);
    if (rq === null) return;
    blkdev_dequeue_request(t, info.queue, rq);
    yield* __blk_end_request(t, info.queue, rq, err(EIO));
  }
}
