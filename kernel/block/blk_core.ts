/** Request queues (block/blk-core.c). Interface first: the bodies follow. */
import type { Steps } from "../../arch/asm.ts";
import { BUG } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import { Spinlock } from "../locking/spinlock.ts";
import type { Thread } from "../thread.ts";
import type { Bio } from "./bio.ts";

/** One device's queue. */
export class RequestQueue {
  readonly queue_lock: Spinlock;

  constructor(
    k: Kernel,
    readonly make_request_fn: (
      t: Thread,
      q: RequestQueue,
      bio: Bio,
    ) => Steps<unknown>,
  ) {
    this.queue_lock = new Spinlock(k, "q->queue_lock");
  }
}

/** Starts `bio`; its end_io() is called when it is done, perhaps before this returns. */
export function submit_bio(t: Thread, _rw: number, _bio: Bio): Steps {
  return BUG(t, "submit_bio() is to come");
}
