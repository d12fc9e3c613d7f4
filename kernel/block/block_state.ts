/** What the block layer of one kernel keeps: slabs, made when the first bio is. */
import type { Thread } from "../thread.ts";
import {
  kmem_cache_create,
  type KmemCache,
  SLAB_HWCACHE_ALIGN,
} from "../mm/slab.ts";
import { Bio, BioVecs } from "./bio.ts";
import { Request } from "./request.ts";

/** sizeof(struct bio), sizeof(struct bio_vec), sizeof(struct request) on 64 bits, bytes. */
const BIO_BYTES = 120;
const BIO_VEC_BYTES = 16;
const REQUEST_BYTES = 288;
/** Sizes of the pools of pieces (fs/bio.c). */
const BVEC_POOLS: readonly number[] = [1, 4, 16, 64, 128, 256];

/** Memory for pieces, up to a number of them. */
export interface BvecPool {
  readonly nr_vecs: number;
  readonly slab: KmemCache<BioVecs>;
}

/** `k.block`. */
export class BlockState {
  readonly bio_slab: KmemCache<Bio>;
  readonly request_cachep: KmemCache<Request>;
  readonly #pools: readonly BvecPool[];

  constructor(t: Thread) {
    this.bio_slab = kmem_cache_create(
      t,
      "bio",
      BIO_BYTES,
      () => new Bio(),
      SLAB_HWCACHE_ALIGN,
    );
    this.#pools = BVEC_POOLS.map((nr_vecs) => ({
      nr_vecs,
      slab: kmem_cache_create(
        t,
        `biovec-${nr_vecs}`,
        nr_vecs * BIO_VEC_BYTES,
        () => new BioVecs(),
        SLAB_HWCACHE_ALIGN,
      ),
    }));
    this.request_cachep = kmem_cache_create(
      t,
      "blkdev_requests",
      REQUEST_BYTES,
      () => new Request(),
    );
  }

  /** The smallest pool for `nr` pieces; `null` = there is none. */
  bvec_pool(nr: number): BvecPool | null {
    if (nr < 1) return null;
    return this.#pools.find(({ nr_vecs }) => nr_vecs >= nr) ?? null;
  }
}

/** The block layer's state, made at its first use. */
export function block_state(t: Thread): BlockState {
  return t.k.block ??= new BlockState(t);
}
