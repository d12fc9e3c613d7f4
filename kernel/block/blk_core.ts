/**
 * From a bio to its device (block/blk-core.c of 2.6.28).
 *
 * A queue is one of two kinds. A driver with a make_request_fn of its own, as
 * the RAM disk's, gets each bio at once, in the submitter's context. Others
 * have a request_fn: bios become requests in a list, first come, first served,
 * and the driver takes them from it when it can.
 *
 * Lock order:
 *
 *     q.queue_lock             interrupts off
 *
 * Left out: elevators and merging, plugging, limits on the number of requests,
 * barriers, partitions, accounting, stacked devices.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { BUG_ON } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import { EIO, ENOMEM, err, type Errno } from "../lib/errno.ts";
import {
  list_add_tail,
  list_del_init,
  list_empty,
  list_first_entry,
  ListHead,
} from "../lib/list.ts";
import {
  lockdep_assert_held,
  spin_lock_irq,
  spin_unlock_irq,
  Spinlock,
} from "../locking/spinlock.ts";
import { GFP_NOIO } from "../mm/gfp.ts";
import { kmem_cache_alloc, kmem_cache_free } from "../mm/slab.ts";
import { KERN_INFO, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import { type Bio, bio_endio } from "./bio.ts";
import { SECTOR_BYTES } from "./block_device.ts";
import { block_state } from "./block_state.ts";
import type { Request } from "./request.ts";

export { Request } from "./request.ts";

const SUBMIT_BIO = ksym("submit_bio");
const GENERIC_MAKE_REQUEST = ksym("generic_make_request");
const __MAKE_REQUEST = ksym("__make_request");
const ELV_NEXT_REQUEST = ksym("elv_next_request");
const __BLK_END_REQUEST = ksym("__blk_end_request");

/** Takes a bio. Context: process. */
export type MakeRequestFn = (t: Thread, q: RequestQueue, bio: Bio) => Steps;
/** Looks at the queue for something to start. Context: q.queue_lock held, interrupts off. */
export type RequestFn = (t: Thread, q: RequestQueue) => Steps;

/** One device's queue. */
export class RequestQueue {
  readonly queue_lock: Spinlock;
  /** Requests that the driver has not taken. Guarded by queue_lock. */
  readonly queue_head: ListHead<Request> = new ListHead<Request>();

  /** Made by {@linkcode blk_init_queue} or {@linkcode blk_queue_make_request}. */
  constructor(
    k: Kernel,
    readonly make_request_fn: MakeRequestFn,
    readonly request_fn: RequestFn | null,
  ) {
    this.queue_lock = new Spinlock(k, "q->queue_lock");
  }
}

/** A queue of requests that `rfn` serves. */
export function blk_init_queue(t: Thread, rfn: RequestFn): RequestQueue {
  charge(t, 400);
  return new RequestQueue(t.k, __make_request, rfn);
}

/** A queue of a driver that takes bios as they come. */
export function blk_queue_make_request(
  t: Thread,
  mfn: MakeRequestFn,
): RequestQueue {
  charge(t, 400);
  return new RequestQueue(t.k, mfn, null);
}

/**
 * Starts `bio`. Its bi_end_io is called when it is done or has failed, perhaps
 * before this returns.
 *
 * Context: process.
 *
 * Linux: block/blk-core.c.
 */
export function* submit_bio(t: Thread, rw: number, bio: Bio): Steps {
  enter(t, SUBMIT_BIO);
  charge(t, 12);
  bio.bi_rw = rw;
  yield* generic_make_request(t, bio);
  leave(t);
}

function* generic_make_request(t: Thread, bio: Bio): Steps {
  enter(t, GENERIC_MAKE_REQUEST);
  charge(t, 40);
  const bdev = bio.bi_bdev;
  BUG_ON(t, bdev === null, "bio without a device");
  if (bio_check_eod(t, bio)) {
    yield* bio_endio(t, bio, err(EIO));
  } else {
    const q = bdev!.queue;
    yield* q.make_request_fn(t, q, bio);
  }
  leave(t);
}

/** Whether `bio` ends beyond its device, or starts nowhere. */
function bio_check_eod(t: Thread, bio: Bio): boolean {
  const { name, sectors } = bio.bi_bdev!;
  const end = bio.bi_sector + bio.bi_size / SECTOR_BYTES;
  if (bio.bi_sector >= 0 && end <= sectors) return false;
  printk(t, KERN_INFO, "attempt to access beyond end of device");
  printk(
    t,
    KERN_INFO,
    `${name}: rw=${bio.bi_rw}, want=${end}, limit=${sectors}`,
  );
  return true;
}

/** Makes a request of `bio`, queues it, and tells the driver. */
function* __make_request(t: Thread, q: RequestQueue, bio: Bio): Steps {
  enter(t, __MAKE_REQUEST);
  charge(t, 60);
  const { request_cachep } = block_state(t);
  const rq = yield* kmem_cache_alloc(t, request_cachep, GFP_NOIO);
  if (rq === null) {
    yield* bio_endio(t, bio, err(ENOMEM)); // Linux has a reserve of them
    leave(t);
    return;
  }
  rq.bio = bio;
  yield* spin_lock_irq(t, q.queue_lock);
  list_add_tail(rq.queuelist, q.queue_head);
  yield* q.request_fn!(t, q);
  yield* spin_unlock_irq(t, q.queue_lock);
  leave(t);
}

/** The request that is to be served next; it stays queued. Locks: q.queue_lock held. */
export function elv_next_request(t: Thread, q: RequestQueue): Request | null {
  enter(t, ELV_NEXT_REQUEST);
  lockdep_assert_held(t, q.queue_lock);
  charge(t, 16);
  leave(t);
  return list_empty(q.queue_head) ? null : list_first_entry(q.queue_head);
}

/** Takes `rq` off its queue: it is the driver's. Locks: q.queue_lock held. */
export function blkdev_dequeue_request(
  t: Thread,
  q: RequestQueue,
  rq: Request,
): void {
  lockdep_assert_held(t, q.queue_lock);
  charge(t, 8);
  list_del_init(rq.queuelist);
}

/** Ends `rq`, which the driver has taken, and its bio. Locks: q.queue_lock held. */
export function* __blk_end_request(
  t: Thread,
  q: RequestQueue,
  rq: Request,
  error: 0 | Errno,
): Steps {
  enter(t, __BLK_END_REQUEST);
  lockdep_assert_held(t, q.queue_lock);
  charge(t, 30);
  const bio = rq.bio!;
  rq.bio = null;
  yield* kmem_cache_free(t, block_state(t).request_cachep, rq);
  yield* bio_endio(t, bio, error);
  leave(t);
}
