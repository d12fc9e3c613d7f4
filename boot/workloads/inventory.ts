/** What a kernel has in use, so that what a workload took can be compared with what it gave back. */
import type { Steps } from "../../arch/asm.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import { nr_unused_pages } from "../../kernel/mm/page_alloc.ts";
import { vm_unmap_aliases } from "../../kernel/mm/vmap.ts";
import { rcu_barrier } from "../../kernel/rcu.ts";
import type { Thread } from "../../kernel/thread.ts";
import { msleep } from "../../kernel/timer.ts";

/** Counts of what is in use. */
export interface Inventory {
  /** Pages that somebody has; page tables and slabs, which stay, left out. */
  readonly pages: number;
  /** Areas that hold addresses, those of per-CPU blocks, which stay, left out. */
  readonly areas: number;
}

/** Counts what `k` has in use. Costs no virtual time. */
export function inventory(k: Kernel): Inventory {
  const { areas, blocks } = k.vmap.counters();
  let kept = k.init_mm.nr_tables;
  for (const { slabs, pagesPerSlab } of k.slab.slabinfo()) {
    kept += slabs * pagesPerSlab;
  }
  const unused = nr_unused_pages(k) + kept;
  return { pages: k.bootmem.max_pfn - unused, areas: areas - blocks };
}

/** Purges what is unmapped lazily, and waits for what waits for RCU. */
export function* settle(t: Thread): Steps {
  yield* vm_unmap_aliases(t);
  yield* rcu_barrier(t);
  yield* msleep(t, 40); // frees what the barrier's own calls took
}
