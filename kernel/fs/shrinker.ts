/**
 * Reclaim of dentries and inodes (mm/vmscan.c: shrink_slab(); the shrinkers of
 * fs/dcache.c and fs/inode.c).
 *
 * A stand-in for memory pressure. In Linux an allocation that finds its zones
 * below their watermarks reclaims directly: it asks every shrinker for objects,
 * 128 at a time, whatever locks of the file system its caller holds; kswapd does
 * the same in the background. What memory there is on these machines is never
 * used up by what they run, so the limit is set in dentries: d_alloc() reclaims
 * while more than `k.vfs.dentry_limit` are unused. All CPUs may be at it at
 * once, as in Linux. Inodes follow: those that pruned dentries let go are freed
 * in the same round, all but `k.vfs.inode_limit`.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { __GFP_FS, GFP_KERNEL } from "../mm/gfp.ts";
import { cond_resched } from "../sched/sched.ts";
import type { Thread } from "../thread.ts";
import { prune_dcache } from "./dcache_shrink.ts";
import { prune_icache } from "./inode_shrink.ts";
import type { Vfs } from "./vfs.ts";

const SHRINK_SLAB = ksym("shrink_slab");
const SHRINK_DCACHE_MEMORY = ksym("shrink_dcache_memory");
const SHRINK_ICACHE_MEMORY = ksym("shrink_icache_memory");

/** Objects that a shrinker is asked for at a time. */
export const SHRINK_BATCH = 128;
/** Rounds of one reclaim: priorities 12 to 0 of try_to_free_pages(). */
const ROUNDS = 13;

/** Reclaims until no more than `dentry_limit` dentries are unused, or nothing helps. Context: process. */
export function* shrink_slab(t: Thread, v: Vfs): Steps {
  enter(t, SHRINK_SLAB);
  for (
    let n = 0;
    n < ROUNDS && v.dentry_stat.nr_unused > v.dentry_limit;
    n++
  ) {
    charge(t, 60); // scans and deltas of both
    yield* shrink_dcache_memory(t, SHRINK_BATCH, GFP_KERNEL);
    if (v.inodes_stat.nr_unused > v.inode_limit) {
      yield* shrink_icache_memory(t, SHRINK_BATCH, GFP_KERNEL);
    }
    yield* cond_resched(t);
  }
  leave(t);
}

/**
 * Frees about `nr` unused dentries; 0 = only tells.
 *
 * @returns How many could be freed; -1 = not from here.
 */
export function* shrink_dcache_memory(
  t: Thread,
  nr: number,
  gfp_mask: number,
): Steps<number> {
  if (nr > 0 && (gfp_mask & __GFP_FS) === 0) return -1;
  enter(t, SHRINK_DCACHE_MEMORY);
  charge(t, 8);
  if (nr > 0) yield* prune_dcache(t, nr);
  leave(t);
  return t.k.vfs!.dentry_stat.nr_unused;
}

/** {@linkcode shrink_dcache_memory} for inodes. */
export function* shrink_icache_memory(
  t: Thread,
  nr: number,
  gfp_mask: number,
): Steps<number> {
  if (nr > 0 && (gfp_mask & __GFP_FS) === 0) return -1;
  enter(t, SHRINK_ICACHE_MEMORY);
  charge(t, 8);
  if (nr > 0) yield* prune_icache(t, nr);
  leave(t);
  return t.k.vfs!.inodes_stat.nr_unused;
}
