/**
 * Who has a buffer: references, and its lock. With the last reference a buffer
 * goes: its address, its hold on the pages, itself. There is no list of unused
 * ones (that came in 2.6.37): what is cached is the pages.
 *
 * Lock order:
 *
 *     b_sema
 *       hash.bh_lock
 */
import {
  atomic_add_return,
  charge,
  enter,
  ksym,
  leave,
  type Steps,
} from "../../../arch/asm.ts";
import { BUG_ON } from "../../bug.ts";
import { list_del_init } from "../../lib/list.ts";
import { _atomic_dec_and_lock } from "../../locking/dec_and_lock.ts";
import { down, down_trylock, up } from "../../locking/semaphore.ts";
import { spin_unlock } from "../../locking/spinlock.ts";
import { kmem_cache_free } from "../../mm/slab.ts";
import type { Thread } from "../../thread.ts";
import { xfs_buf_unmap } from "./xfs_buf_map.ts";
import { xfs_buf_free_pages } from "./xfs_buf_pages.ts";
import type { XfsBuf } from "./xfs_buf_types.ts";

const XFS_BUF_HOLD = ksym("xfs_buf_hold");
const XFS_BUF_RELE = ksym("xfs_buf_rele");
const XFS_BUF_FREE = ksym("xfs_buf_free");
const XFS_BUF_LOCK = ksym("xfs_buf_lock");
const XFS_BUF_COND_LOCK = ksym("xfs_buf_cond_lock");
const XFS_BUF_UNLOCK = ksym("xfs_buf_unlock");

/** Takes a reference to a buffer that somebody holds. */
export function* xfs_buf_hold(t: Thread, bp: XfsBuf): Steps {
  enter(t, XFS_BUF_HOLD);
  charge(t, 4);
  yield* atomic_add_return(t, bp.b_hold, 1);
  leave(t);
}

/** Drops a reference; with the last one the buffer goes. Context: process. */
export function* xfs_buf_rele(t: Thread, bp: XfsBuf): Steps {
  enter(t, XFS_BUF_RELE);
  charge(t, 10);
  const { bh_lock } = bp.b_hash;
  BUG_ON(t, bp.b_hold.value <= 0, "xfs_buf_rele() of a buffer that is free");
  if (yield* _atomic_dec_and_lock(t, bp.b_hold, bh_lock)) {
    charge(t, 8);
    list_del_init(bp.b_hash_list);
    yield* spin_unlock(t, bh_lock);
    yield* xfs_buf_free(t, bp);
  }
  leave(t);
}

/** Nobody knows `bp` any more. */
function* xfs_buf_free(t: Thread, bp: XfsBuf): Steps {
  enter(t, XFS_BUF_FREE);
  charge(t, 14);
  // The pages go back while the address may still wait to be unmapped.
  yield* xfs_buf_unmap(t, bp);
  yield* xfs_buf_free_pages(t, bp);
  yield* kmem_cache_free(t, t.k.xfs_buf!.xfs_buf_zone, bp);
  leave(t);
}

/** Takes the buffer's lock. Context: process. */
export function* xfs_buf_lock(t: Thread, bp: XfsBuf): Steps {
  enter(t, XFS_BUF_LOCK);
  charge(t, 6);
  yield* down(t, bp.b_sema);
  leave(t);
}

/** Takes the buffer's lock if it is free. @returns Whether it was. */
export function* xfs_buf_cond_lock(t: Thread, bp: XfsBuf): Steps<boolean> {
  enter(t, XFS_BUF_COND_LOCK);
  charge(t, 6);
  const failed = yield* down_trylock(t, bp.b_sema);
  leave(t);
  return failed === 0;
}

/** Gives the buffer's lock up. */
export function* xfs_buf_unlock(t: Thread, bp: XfsBuf): Steps {
  enter(t, XFS_BUF_UNLOCK);
  charge(t, 6);
  yield* up(t, bp.b_sema);
  leave(t);
}

/** Gives up lock and reference: what xfs_buf_read() took. Context: process. */
export function* xfs_buf_relse(t: Thread, bp: XfsBuf): Steps {
  yield* xfs_buf_unlock(t, bp);
  yield* xfs_buf_rele(t, bp);
}
