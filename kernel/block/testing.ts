/** A disk that takes its time, for tests: requests wait in a queue for a thread that serves them. */
import type { Steps } from "../../arch/asm.ts";
import type { SparseImage } from "../drivers/block/image.ts";
import { kthread_run, kthread_should_stop, kthread_stop } from "../kthread.ts";
import { EIO, err } from "../lib/errno.ts";
import { list_empty } from "../lib/list.ts";
import { spin_lock_irq, spin_unlock_irq } from "../locking/spinlock.ts";
import { AddressSpace } from "../mm/filemap.ts";
import { truncate_inode_pages } from "../mm/truncate.ts";
import { wait_event, WaitQueue, wake_up } from "../sched/wait.ts";
import type { Thread } from "../thread.ts";
import { msleep } from "../timer.ts";
import {
  __blk_end_request,
  blk_init_queue,
  blkdev_dequeue_request,
  elv_next_request,
  type Request,
  type RequestQueue,
} from "./blk_core.ts";
import { type BlockDevice, SECTOR_BYTES } from "./block_device.ts";

/** Serves one request at a time, each in `delayMs`. */
export class SlowDisk implements BlockDevice {
  readonly hardsect_size = SECTOR_BYTES;
  readonly sectors: number;
  readonly queue: RequestQueue;
  readonly mapping: AddressSpace;
  /** Whether a read that touches `sector` fails. */
  should_fail: ((sector: number) => boolean) | null = null;
  /** Told the sector of each request as it is queued. */
  onQueued: ((sector: number) => void) | null = null;
  delayMs = 2;
  /** Requests served. */
  served = 0;
  readonly #work: WaitQueue;
  #thread!: Thread;
  #current: Request | null = null;

  private constructor(
    t: Thread,
    readonly name: string,
    readonly image: SparseImage,
  ) {
    this.sectors = image.sizeBytes / SECTOR_BYTES;
    this.mapping = new AddressSpace(t.k, name);
    this.#work = new WaitQueue(t.k, "slow disk");
    this.queue = blk_init_queue(t, (t, q) => {
      this.onQueued?.(q.queue_head.prev.owner!.bio!.bi_sector);
      return wake_up(t, this.#work);
    });
  }

  static *create(t: Thread, name: string, image: SparseImage): Steps<SlowDisk> {
    const disk = new SlowDisk(t, name, image);
    disk.#thread = yield* kthread_run(t, (p) => disk.#serve(p), name);
    return disk;
  }

  /** Waits until nothing is queued or under way. */
  *drain(t: Thread): Steps {
    while (!list_empty(this.queue.queue_head) || this.#current !== null) {
      yield* msleep(t, 1);
    }
  }

  *destroy(t: Thread): Steps {
    yield* kthread_stop(t, this.#thread);
    yield* truncate_inode_pages(t, this.mapping, 0);
  }

  *#serve(t: Thread): Steps {
    const { queue } = this;
    for (;;) {
      yield* wait_event(
        t,
        this.#work,
        () => !list_empty(queue.queue_head) || kthread_should_stop(t),
      );
      yield* spin_lock_irq(t, queue.queue_lock);
      const rq = elv_next_request(t, queue);
      if (rq !== null) blkdev_dequeue_request(t, queue, rq);
      this.#current = rq;
      yield* spin_unlock_irq(t, queue.queue_lock);
      if (rq === null) return;
      yield* msleep(t, this.delayMs);
      const error = this.#copy(t, rq) ? 0 : err(EIO);
      yield* spin_lock_irq(t, queue.queue_lock);
      yield* __blk_end_request(t, queue, rq, error);
      this.#current = null;
      this.served++;
      yield* spin_unlock_irq(t, queue.queue_lock);
    }
  }

  #copy(t: Thread, { bio }: Request): boolean {
    const { memory } = t.machine;
    let sector = bio!.bi_sector;
    for (const vec of bio!.bi_io_vec.slice(0, bio!.bi_vcnt)) {
      const piece = new Uint8Array(vec.bv_len);
      const end = sector + vec.bv_len / SECTOR_BYTES;
      for (let s = sector; s < end; s++) {
        if (this.should_fail?.(s)) return false;
      }
      this.image.read(sector * SECTOR_BYTES, piece);
      memory.writeBytes(
        vec.bv_page.pfn * memory.pageBytes + vec.bv_offset,
        piece,
      );
      sector = end;
    }
    return true;
  }
}
