/** Block I/O descriptors (fs/bio.c, include/linux/bio.h). Interface first: the bodies follow. */
import type { Steps } from "../../arch/asm.ts";
import { BUG } from "../bug.ts";
import type { Errno } from "../lib/errno.ts";
import type { Page } from "../mm/page.ts";
import { SlabObject } from "../mm/slab.ts";
import type { Thread } from "../thread.ts";
import type { BlockDevice } from "./block_device.ts";

export const READ = 0;
export const WRITE = 1;

/** A stretch of one page. */
export interface BioVec {
  bv_page: Page;
  /** Bytes. */
  bv_offset: number;
  /** Bytes. */
  bv_len: number;
}

/** One transfer between pages and consecutive sectors. */
export class Bio extends SlabObject {
  bi_sector = 0;
  bi_bdev: BlockDevice | null = null;
  bi_rw = READ;
  /** Bytes. */
  bi_size = 0;
  /** Filled up to {@linkcode bi_vcnt}. */
  readonly bi_io_vec: BioVec[] = [];
  bi_vcnt = 0;
  bi_end_io: ((t: Thread, bio: Bio, error: 0 | Errno) => Steps) | null = null;
  /** The submitter's. */
  bi_private: unknown = null;
}

/** A bio for at most `nr_iovecs` stretches; `null` = out of memory. */
export function bio_alloc(
  t: Thread,
  _gfp: number,
  _nr_iovecs: number,
): Steps<Bio | null> {
  return BUG(t, "bio_alloc() is to come");
}
/** Adds a stretch. @returns Its length; 0 = the bio is full. */
export function bio_add_page(
  t: Thread,
  _bio: Bio,
  _page: Page,
  _len: number,
  _offset: number,
): number {
  return BUG(t, "bio_add_page() is to come");
}
export function bio_put(t: Thread, _bio: Bio): Steps {
  return BUG(t, "bio_put() is to come");
}
/** Ends `bio`: the driver's last word. */
export function bio_endio(t: Thread, _bio: Bio, _error: 0 | Errno): Steps {
  return BUG(t, "bio_endio() is to come");
}
