/**
 * blkback's thread, which serves requests from the ring (drivers/xen/blkback of
 * linux-2.6.18-xen). See blkback.ts for how the two ends come together.
 *
 * A request's pages are mapped in slots of an area: the hypervisor writes the
 * entries. The thread reads the ring; whoever ends a request's bio writes the
 * response.
 *
 * Lock order:
 *
 *     be.blk_ring_lock          interrupts off; responses, free slots
 *
 * What the front end writes is copied once, then checked: an unknown operation,
 * a number of segments or a segment that cannot be, a sector beyond the disk and
 * a grant that does not map get an error response; a counter that cannot be
 * closes the device.
 *
 * Differs from Linux: the bio is of the pages that the slots map, found by their
 * address; the first bytes of each piece are read through it, so that a slot
 * without its page is found out. Left out: barriers, a pool of slots for all
 * disks together.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  vload,
} from "../../../arch/asm.ts";
import {
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_okay,
  type MapGrantRef,
  type UnmapGrantRef,
} from "../../../arch/xen/abi.ts";
import {
  type Bio,
  bio_add_page,
  bio_alloc,
  bio_put,
  READ,
  WRITE,
} from "../../block/bio.ts";
import { submit_bio } from "../../block/blk_core.ts";
import { type BlockDevice, SECTOR_BYTES } from "../../block/block_device.ts";
import { kthread_should_stop } from "../../kthread.ts";
import { EPROTO, err, type Errno } from "../../lib/errno.ts";
import {
  spin_lock_irqsave,
  spin_unlock_irqrestore,
  Spinlock,
} from "../../locking/spinlock.ts";
import { GFP_KERNEL } from "../../mm/gfp.ts";
import type { VmStruct } from "../../mm/vm_struct.ts";
import { vmalloc_to_page } from "../../mm/vmalloc.ts";
import { KERN_DEBUG, printk } from "../../printk.ts";
import { cond_resched } from "../../sched/sched.ts";
import { wait_event, WaitQueue, wake_up } from "../../sched/wait.ts";
import type { Thread } from "../../thread.ts";
import { notify_remote_via_evtchn } from "../../xen/events.ts";
import {
  HYPERVISOR_map_grant_ref,
  HYPERVISOR_unmap_grant_ref,
} from "../../xen/hypercall.ts";
import {
  BLKIF_MAX_SEGMENTS_PER_REQUEST,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
  type BlkifRequest,
  readRequest,
  writeResponse,
} from "./blkif.ts";
import {
  type BackRing,
  next,
  RING_FINAL_CHECK_FOR_REQUESTS,
  RING_PUSH_RESPONSES_AND_CHECK_NOTIFY,
  RING_UNCONSUMED_REQUESTS,
} from "./ring.ts";
import { xenbus_dev_fatal, type XenbusDevice } from "./xenbus.ts";

const BLKIF_BE_INT = ksym("blkif_be_int");
const FAST_FLUSH_AREA = ksym("fast_flush_area");
const MAKE_RESPONSE = ksym("make_response");
const __END_BLOCK_IO_OP = ksym("__end_block_io_op");
const DISPATCH_RW_BLOCK_IO = ksym("dispatch_rw_block_io");
const DO_BLOCK_IO_OP = ksym("do_block_io_op");
const BLKIF_SCHEDULE = ksym("blkif_schedule");

/** Requests under way at a time; with eleven slots each they fill an area's largest alignment. */
export const BLKIF_REQS = 8;

/** A request under way: its slots, and what is mapped there. */
export class PendingReq {
  /** The request; `null` = free. */
  request: BlkifRequest | null = null;
  /** Handles of what is mapped in its slots, in order. */
  readonly handles: number[] = [];

  /** @param vaddr Address of its first slot. */
  constructor(readonly vaddr: number) {}
}

/** What a disk's back end has done. */
export interface BlkbackCounts {
  /** Requests answered with success, and with an error. */
  okay: number;
  errors: number;
  /** Grants mapped. */
  maps: number;
}

/** One disk's back end. */
export class Blkback {
  readonly blk_ring_lock: Spinlock;
  readonly wq: WaitQueue;
  readonly pending_wq: WaitQueue;
  readonly counts: BlkbackCounts = { okay: 0, errors: 0, maps: 0 };

  // From connect to disconnect.
  ring: BackRing | null = null;
  evtchn = 0;
  area: VmStruct | null = null;
  thread: Thread | null = null;

  // Guarded by blk_ring_lock.
  free: PendingReq[] = [];
  /** The front end has sent an event since the thread looked. */
  waiting_reqs = false;

  constructor(
    t: Thread,
    readonly dev: XenbusDevice,
    readonly bdev: BlockDevice,
  ) {
    this.blk_ring_lock = new Spinlock(t.k, "blkif->blk_ring_lock");
    this.wq = new WaitQueue(t.k, "blkif->wq");
    this.pending_wq = new WaitQueue(t.k, "pending_free_wq");
  }
}

/** The front end has said something. Context: interrupt. */
export function* blkif_be_int(t: Thread, be: Blkback): Steps {
  enter(t, BLKIF_BE_INT);
  charge(t, 6);
  be.waiting_reqs = true;
  yield* wake_up(t, be.wq);
  leave(t);
}

/** The thread of a disk. */
export function* blkif_schedule(t: Thread, be: Blkback): Steps {
  enter(t, BLKIF_SCHEDULE);
  for (;;) {
    yield* wait_event(
      t,
      be.wq,
      () => be.waiting_reqs || kthread_should_stop(t),
    );
    if (kthread_should_stop(t)) break;
    be.waiting_reqs = false;
    if (yield* do_block_io_op(t, be)) continue;
    const what = "the front end's ring has more requests than room";
    yield* xenbus_dev_fatal(t, be.dev, err(EPROTO), what);
    yield* wait_event(t, be.wq, () => kthread_should_stop(t));
    break;
  }
  leave(t);
}

/** Serves what is in the ring. @returns Whether its counters can be. */
function* do_block_io_op(t: Thread, be: Blkback): Steps<boolean> {
  enter(t, DO_BLOCK_IO_OP);
  const ring = be.ring!;
  let count = yield* RING_UNCONSUMED_REQUESTS(t, ring);
  while (count !== null && count > 0) {
    for (let i = 0; i < count && !kthread_should_stop(t); i++) {
      yield* wait_event(t, be.pending_wq, () => be.free.length > 0);
      if (kthread_should_stop(t)) break;
      const request = yield* readRequest(t, ring.entry(ring.req_cons));
      ring.req_cons = next(ring.req_cons);
      yield* dispatch_rw_block_io(t, be, request);
      yield* cond_resched(t);
    }
    if (kthread_should_stop(t)) break;
    count = yield* RING_FINAL_CHECK_FOR_REQUESTS(t, ring);
  }
  leave(t);
  return count !== null;
}

/** What is wrong with a request; `null` = nothing that can be seen. */
export function badRequest(
  { operation, nr_segments, sector_number, seg }: BlkifRequest,
  sectors: number,
  pageBytes: number,
): string | null {
  if (operation !== BLKIF_OP_READ && operation !== BLKIF_OP_WRITE) {
    return `unknown operation [${operation}]`;
  }
  if (nr_segments === 0 || nr_segments > BLKIF_MAX_SEGMENTS_PER_REQUEST) {
    return `Bad number of segments in request (${nr_segments})`;
  }
  let count = 0;
  for (const { first_sect, last_sect } of seg) {
    if (last_sect < first_sect || last_sect >= pageBytes / SECTOR_BYTES) {
      return `Bad segment: sectors ${first_sect} to ${last_sect} of a page`;
    }
    count += last_sect - first_sect + 1;
  }
  if (sector_number + count <= sectors) return null;
  return `access denied: ${
    operation === BLKIF_OP_WRITE ? "write" : "read"
  } of [${sector_number},${
    sector_number + count
  }] on a disk of ${sectors} sectors`;
}

/** Maps a request's pages and starts its bio. */
function* dispatch_rw_block_io(
  t: Thread,
  be: Blkback,
  request: BlkifRequest,
): Steps {
  enter(t, DISPATCH_RW_BLOCK_IO);
  charge(t, 80);
  const { pageBytes } = t.machine.memory;
  const flags = yield* spin_lock_irqsave(t, be.blk_ring_lock);
  const pending = be.free.pop()!; // this thread alone takes any
  yield* spin_unlock_irqrestore(t, be.blk_ring_lock, flags);
  pending.request = request;
  const wrong = badRequest(request, be.bdev.sectors, pageBytes);
  if (wrong !== null) {
    printk(t, KERN_DEBUG, `blkback: ${wrong}`);
    const known = request.operation <= BLKIF_OP_WRITE;
    const status = known ? BLKIF_RSP_ERROR : BLKIF_RSP_EOPNOTSUPP;
    yield* __end_block_io_op(t, be, pending, status);
  } else if (yield* map_segments(t, be, pending)) {
    yield* start_bio(t, be, pending);
  } else {
    printk(t, KERN_DEBUG, "blkback: invalid buffer -- could not remap it");
    yield* __end_block_io_op(t, be, pending, BLKIF_RSP_ERROR);
  }
  leave(t);
}

/** Has every segment's page mapped in its slot. @returns Whether all are. */
function* map_segments(
  t: Thread,
  be: Blkback,
  pending: PendingReq,
): Steps<boolean> {
  const { pageBytes } = t.machine.memory;
  const { operation, seg } = pending.request!;
  const readonly = operation === BLKIF_OP_WRITE; // the disk reads the page
  const ops = seg.map(({ gref }, i) => ({
    host_addr: pending.vaddr + i * pageBytes,
    flags: GNTMAP_host_map | (readonly ? GNTMAP_readonly : 0),
    ref: gref,
    dom: be.dev.otherend_id,
  } as MapGrantRef));
  yield* HYPERVISOR_map_grant_ref(t, ops);
  let mapped = true;
  for (const op of ops) {
    pending.handles.push(op.status === GNTST_okay ? op.handle! : -1);
    if (op.status === GNTST_okay) be.counts.maps++;
    else mapped = false;
  }
  return mapped;
}

function* start_bio(t: Thread, be: Blkback, pending: PendingReq): Steps {
  const { pageBytes } = t.machine.memory;
  const { seg, operation, sector_number } = pending.request!;
  const bio = yield* bio_alloc(t, GFP_KERNEL, seg.length);
  if (bio === null) {
    yield* __end_block_io_op(t, be, pending, BLKIF_RSP_ERROR);
    return;
  }
  bio.bi_bdev = be.bdev;
  bio.bi_sector = sector_number;
  for (let i = 0; i < seg.length; i++) {
    const { first_sect, last_sect } = seg[i];
    const vaddr = pending.vaddr + i * pageBytes;
    const offset = first_sect * SECTOR_BYTES;
    const length = (last_sect - first_sect + 1) * SECTOR_BYTES;
    yield* vload(t, vaddr + offset, 8);
    bio_add_page(t, bio, vmalloc_to_page(t, vaddr)!, length, offset);
  }
  bio.bi_end_io = function* (t: Thread, bio: Bio, error: 0 | Errno) {
    yield* bio_put(t, bio);
    const status = error === 0 ? BLKIF_RSP_OKAY : BLKIF_RSP_ERROR;
    yield* __end_block_io_op(t, be, pending, status);
  };
  yield* submit_bio(t, operation === BLKIF_OP_WRITE ? WRITE : READ, bio);
}

/** The request is done: its pages go back before the front end hears of it. */
function* __end_block_io_op(
  t: Thread,
  be: Blkback,
  pending: PendingReq,
  status: number,
): Steps {
  enter(t, __END_BLOCK_IO_OP);
  yield* fast_flush_area(t, pending);
  const { idLow, idHigh, operation } = pending.request!;
  pending.request = null;
  if (status === BLKIF_RSP_OKAY) be.counts.okay++;
  else be.counts.errors++;
  enter(t, MAKE_RESPONSE);
  const ring = be.ring!;
  const flags = yield* spin_lock_irqsave(t, be.blk_ring_lock);
  const at = ring.entry(ring.rsp_prod_pvt);
  yield* writeResponse(t, at, { idLow, idHigh, operation, status });
  ring.rsp_prod_pvt = next(ring.rsp_prod_pvt);
  const wanted = yield* RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(t, ring);
  be.free.push(pending);
  yield* spin_unlock_irqrestore(t, be.blk_ring_lock, flags);
  leave(t);
  if (wanted) yield* notify_remote_via_evtchn(t, be.evtchn);
  yield* wake_up(t, be.pending_wq);
  leave(t);
}

/** Unmaps what is in the slots of `pending`. */
function* fast_flush_area(t: Thread, pending: PendingReq): Steps {
  enter(t, FAST_FLUSH_AREA);
  const { pageBytes } = t.machine.memory;
  const ops: UnmapGrantRef[] = [];
  pending.handles.forEach((handle, i) => {
    const host_addr = pending.vaddr + i * pageBytes;
    if (handle >= 0) ops.push({ host_addr, handle });
  });
  pending.handles.length = 0;
  if (ops.length > 0) yield* HYPERVISOR_unmap_grant_ref(t, ops);
  leave(t);
}
