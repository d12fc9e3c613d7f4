/**
 * Reading buffers (xfs_buf_iorequest() and what comes of it).
 *
 * An I/O has one part for each bio and one for who starts it, so that it cannot
 * end before it has been started whole. The last part to go ends it: wakes who
 * waits for it, or, if nobody does, has a worker release the buffer.
 *
 * Lock order: bp.b_sema is held throughout, by who asked or, after him, by the
 * I/O.
 *
 * Left out: writing, and with it delayed writes, pins and barriers.
 */
import {
  atomic_add_return,
  charge,
  enter,
  ksym,
  leave,
  type Steps,
} from "../../../arch/asm.ts";
import {
  type Bio,
  bio_add_page,
  bio_alloc,
  BIO_MAX_PAGES,
  bio_put,
  READ,
} from "../../block/bio.ts";
import { submit_bio } from "../../block/blk_core.ts";
import { SECTOR_BYTES } from "../../block/block_device.ts";
import { ENOMEM, err, type Errno } from "../../lib/errno.ts";
import { down, up } from "../../locking/semaphore.ts";
import { ClearPageUptodate, SetPageUptodate } from "../../mm/filemap.ts";
import { GFP_NOIO } from "../../mm/gfp.ts";
import type { Thread } from "../../thread.ts";
import { queue_work } from "../../workqueue.ts";
import { xfs_buf_hold, xfs_buf_rele, xfs_buf_relse } from "./xfs_buf_hold.ts";
import { set_page_region } from "./xfs_buf_pages.ts";
import {
  BBSHIFT,
  XBF_ASYNC,
  XBF_DONE,
  XBF_READ,
  XBF_READ_AHEAD,
  type XfsBuf,
} from "./xfs_buf_types.ts";

const XFS_BUF_IOSTART = ksym("xfs_buf_iostart");
const XFS_BUF_IOREQUEST = ksym("xfs_buf_iorequest");
const _XFS_BUF_IOAPPLY = ksym("_xfs_buf_ioapply");
const XFS_BUF_BIO_END_IO = ksym("xfs_buf_bio_end_io");
const XFS_BUF_IOEND = ksym("xfs_buf_ioend");
const XFS_BUF_IOWAIT = ksym("xfs_buf_iowait");

/**
 * Reads `bp`, and waits unless `flags` have XBF_ASYNC: then the buffer is the
 * I/O's, which releases it.
 *
 * Context: process. Locks: bp.b_sema held.
 *
 * @returns 0, or what went wrong: -EIO, -ENOMEM.
 */
export function* xfs_buf_iostart(
  t: Thread,
  bp: XfsBuf,
  flags: number,
): Steps<0 | Errno> {
  enter(t, XFS_BUF_IOSTART);
  charge(t, 12);
  const kept = XBF_READ | XBF_ASYNC | XBF_READ_AHEAD;
  bp.b_flags = (bp.b_flags & ~kept) | (flags & kept);
  bp.b_error = 0;
  const waits = (flags & XBF_ASYNC) === 0;
  yield* xfs_buf_iorequest(t, bp);
  let error: 0 | Errno = 0;
  if (waits) {
    enter(t, XFS_BUF_IOWAIT);
    charge(t, 8);
    yield* down(t, bp.b_iodonesema);
    error = bp.b_error;
    leave(t);
  }
  leave(t);
  return error;
}

function* xfs_buf_iorequest(t: Thread, bp: XfsBuf): Steps {
  enter(t, XFS_BUF_IOREQUEST);
  charge(t, 12);
  t.k.xfs_buf!.stats.reads++;
  // The buffer must outlast this function, whatever the I/O does to it.
  yield* xfs_buf_hold(t, bp);
  bp.b_io_remaining.value = 1; // nobody else knows of an I/O
  yield* _xfs_buf_ioapply(t, bp);
  yield* _xfs_buf_ioend(t, bp, false);
  yield* xfs_buf_rele(t, bp);
  leave(t);
}

/** Starts as many bios as it takes. */
function* _xfs_buf_ioapply(t: Thread, bp: XfsBuf): Steps {
  enter(t, _XFS_BUF_IOAPPLY);
  charge(t, 40);
  const { pageBytes } = t.machine.memory;
  let sector = bp.b_file_offset / SECTOR_BYTES;
  let offset = bp.b_offset;
  let left = bp.b_buffer_length;
  if (reads_whole_page(bp, pageBytes)) {
    // The rest of the page is metadata too, which will be asked for soon.
    sector -= offset / SECTOR_BYTES;
    offset = 0;
    left = pageBytes;
  }
  const nr_pages = bp.b_page_count;
  for (let i = 0; i < nr_pages && left > 0;) {
    const room = Math.min(nr_pages - i, BIO_MAX_PAGES);
    const bio = yield* bio_alloc(t, GFP_NOIO, room);
    if (bio === null) {
      bp.b_error = err(ENOMEM);
      break;
    }
    bio.bi_bdev = bp.b_target.bt_bdev;
    bio.bi_sector = sector;
    bio.bi_private = bp;
    bio.bi_end_io = xfs_buf_bio_end_io;
    for (const end = i + room; i < end; i++) {
      const nbytes = Math.min(left, pageBytes - offset);
      charge(t, 10);
      bio_add_page(t, bio, bp.b_pages[i], nbytes, offset);
      sector += nbytes >> BBSHIFT;
      left -= nbytes;
      offset = 0;
    }
    yield* atomic_add_return(t, bp.b_io_remaining, 1);
    yield* submit_bio(t, READ, bio);
  }
  leave(t);
}

/** Whether to read the whole of the one page that `bp` is a part of: a block is no smaller, and the device has it. */
function reads_whole_page(bp: XfsBuf, pageBytes: number): boolean {
  if (bp.b_target.bt_bsize < pageBytes) return false;
  if (bp.b_buffer_length >= pageBytes || bp.b_page_count !== 1) return false;
  const end = bp.b_file_offset - bp.b_offset + pageBytes;
  return end <= bp.b_target.bt_bdev.sectors * SECTOR_BYTES;
}

/** A part has been done. Context: that of the device's driver. */
function* xfs_buf_bio_end_io(t: Thread, bio: Bio, error: 0 | Errno): Steps {
  enter(t, XFS_BUF_BIO_END_IO);
  charge(t, 16);
  const bp = bio.bi_private as XfsBuf;
  const { pageBytes } = t.machine.memory;
  if (error !== 0) bp.b_error = error;
  for (let i = bio.bi_vcnt - 1; i >= 0; i--) {
    const { bv_page, bv_offset, bv_len } = bio.bi_io_vec[i];
    charge(t, 10);
    if (error !== 0) yield* ClearPageUptodate(t, bv_page);
    else if (bv_len === pageBytes) yield* SetPageUptodate(t, bv_page);
    else yield* set_page_region(t, bv_page, bv_offset, bv_len);
  }
  yield* _xfs_buf_ioend(t, bp, true);
  yield* bio_put(t, bio);
  leave(t);
}

/** A part of the I/O has gone. */
function* _xfs_buf_ioend(t: Thread, bp: XfsBuf, schedule: boolean): Steps {
  charge(t, 4);
  if ((yield* atomic_add_return(t, bp.b_io_remaining, -1)) !== 0) return;
  yield* xfs_buf_ioend(t, bp, schedule);
}

/** The I/O has ended. `schedule` = this is no place to release buffers. */
function* xfs_buf_ioend(t: Thread, bp: XfsBuf, schedule: boolean): Steps {
  enter(t, XFS_BUF_IOEND);
  charge(t, 10);
  bp.b_flags &= ~(XBF_READ | XBF_READ_AHEAD);
  if (bp.b_error === 0) bp.b_flags |= XBF_DONE;
  if ((bp.b_flags & XBF_ASYNC) === 0) {
    yield* up(t, bp.b_iodonesema);
  } else if (schedule) {
    yield* queue_work(t, t.k.xfs_buf!.xfslogd_workqueue, bp.b_iodone_work);
  } else {
    yield* xfs_buf_iodone_work(t, bp);
  }
  leave(t);
}

/** Ends an I/O that nobody waits for. Context: process. */
export function* xfs_buf_iodone_work(t: Thread, bp: XfsBuf): Steps {
  charge(t, 4);
  bp.b_flags &= ~XBF_ASYNC;
  yield* xfs_buf_relse(t, bp);
}
