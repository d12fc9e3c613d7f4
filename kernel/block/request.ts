/** One entry of a device's queue (include/linux/blkdev.h: struct request). */
import { ListHead } from "../lib/list.ts";
import { SlabObject } from "../mm/slab.ts";
import type { Bio } from "./bio.ts";

/** A transfer that waits for its device, or is under way: one bio, since nothing merges them. */
export class Request extends SlabObject {
  /** On its queue, until the driver takes it off. Guarded by the queue's lock. */
  readonly queuelist: ListHead<Request> = new ListHead<Request>(this);
  bio: Bio | null = null;
}
