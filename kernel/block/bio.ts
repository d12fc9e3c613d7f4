/**
 * Block I/O descriptors (fs/bio.c, include/linux/bio.h of 2.6.28): one transfer
 * between pieces of pages and consecutive sectors.
 *
 * Differs from Linux: no mempools behind the slabs, so bio_alloc() can fail; no
 * clones, no splitting, no bounce buffers, one reference.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { BUG_ON } from "../bug.ts";
import type { Errno } from "../lib/errno.ts";
import type { Page } from "../mm/page.ts";
import { kmem_cache_alloc, kmem_cache_free, SlabObject } from "../mm/slab.ts";
import type { Thread } from "../thread.ts";
import { block_state } from "./block_state.ts";
import type { BlockDevice } from "./block_device.ts";

const BIO_ALLOC_BIOSET = ksym("bio_alloc_bioset");
const BIO_ADD_PAGE = ksym("bio_add_page");
const BIO_PUT = ksym("bio_put");
const BIO_ENDIO = ksym("bio_endio");

/** From the device into pages. */
export const READ = 0;
/** From pages to the device. */
export const WRITE = 1;
/** Most pieces of one bio. */
export const BIO_MAX_PAGES = 256;

/** Memory of a bio's pieces. */
export class BioVecs extends SlabObject {}

/** A piece of one page. */
export interface BioVec {
  bv_page: Page;
  /** Bytes. */
  bv_offset: number;
  /** Bytes. */
  bv_len: number;
}

/** What is called when a bio is done, in whatever context the device's driver is. */
export type BioEndIo = (t: Thread, bio: Bio, error: 0 | Errno) => Steps;

/** One transfer. */
export class Bio extends SlabObject {
  /** Where it starts on the device, sectors of 512 bytes. */
  bi_sector = 0;
  bi_bdev: BlockDevice | null = null;
  /** READ or WRITE. */
  bi_rw = READ;
  /** Bytes. */
  bi_size = 0;
  /** The first `bi_vcnt` are in use. */
  readonly bi_io_vec: BioVec[] = [];
  bi_vcnt = 0;
  /** Most pieces it has room for. */
  bi_max_vecs = 0;
  bi_end_io: BioEndIo | null = null;
  /** The submitter's. */
  bi_private: unknown = null;
  /**
   * Memory of `bi_io_vec`.
   *
   * @internal
   */
  vecs: BioVecs | null = null;
}

/**
 * A bio for at most `nr_iovecs` pieces, 1 to {@linkcode BIO_MAX_PAGES}.
 *
 * Context: any without __GFP_WAIT; process with it.
 *
 * @returns `null` = out of memory.
 */
export function* bio_alloc(
  t: Thread,
  gfp: number,
  nr_iovecs: number,
): Steps<Bio | null> {
  enter(t, BIO_ALLOC_BIOSET);
  charge(t, 40);
  const state = block_state(t);
  const pool = state.bvec_pool(nr_iovecs);
  BUG_ON(t, pool === null, `bio_alloc() of ${nr_iovecs} pieces`);
  const bio = yield* kmem_cache_alloc(t, state.bio_slab, gfp);
  if (bio === null) {
    leave(t);
    return null;
  }
  const vecs = yield* kmem_cache_alloc(t, pool!.slab, gfp);
  if (vecs === null) {
    yield* kmem_cache_free(t, state.bio_slab, bio);
    leave(t);
    return null;
  }
  bio.bi_sector = 0;
  bio.bi_bdev = null;
  bio.bi_rw = READ;
  bio.bi_size = 0;
  bio.bi_vcnt = 0;
  bio.bi_max_vecs = nr_iovecs;
  bio.bi_end_io = null;
  bio.bi_private = null;
  bio.vecs = vecs;
  leave(t);
  return bio;
}

/**
 * Adds a piece. Plain.
 *
 * @returns Its length; 0 = the bio is full.
 */
export function bio_add_page(
  t: Thread,
  bio: Bio,
  page: Page,
  len: number,
  offset: number,
): number {
  enter(t, BIO_ADD_PAGE);
  charge(t, 30);
  leave(t);
  if (bio.bi_vcnt === bio.bi_max_vecs) return 0;
  const vec = bio.bi_io_vec[bio.bi_vcnt];
  if (vec === undefined) {
    bio.bi_io_vec.push({ bv_page: page, bv_offset: offset, bv_len: len });
  } else {
    vec.bv_page = page;
    vec.bv_offset = offset;
    vec.bv_len = len;
  }
  bio.bi_vcnt++;
  bio.bi_size += len;
  return len;
}

/** Frees `bio`. Context: any. */
export function* bio_put(t: Thread, bio: Bio): Steps {
  enter(t, BIO_PUT);
  charge(t, 10);
  const state = block_state(t);
  yield* kmem_cache_free(t, state.bvec_pool(bio.bi_max_vecs)!.slab, bio.vecs!);
  bio.vecs = null;
  bio.bi_private = null;
  yield* kmem_cache_free(t, state.bio_slab, bio);
  leave(t);
}

/** Ends `bio`: the driver's last word on it. Context: any. */
export function* bio_endio(t: Thread, bio: Bio, error: 0 | Errno): Steps {
  enter(t, BIO_ENDIO);
  charge(t, 8);
  if (bio.bi_end_io !== null) yield* bio.bi_end_io(t, bio, error);
  leave(t);
}
