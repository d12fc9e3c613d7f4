/**
 * Whole machines for the tests of this folder: used, brought to rest, and
 * counted, so that what a workload took can be compared with what it gave back.
 */
import type { Steps } from "../arch/asm.ts";
import { PAGE_KERNEL } from "../arch/hw/pte.ts";
import type { BootedMachine } from "../boot/boot.ts";
import type { Kernel } from "../kernel/kernel.ts";
import { kthread_bind, kthread_create } from "../kernel/kthread.ts";
import { bitmap_weight } from "../kernel/lib/bitmap.ts";
import { GFP_KERNEL } from "../kernel/mm/gfp.ts";
import {
  __free_page,
  alloc_page,
  nr_unused_pages,
} from "../kernel/mm/page_alloc.ts";
import type { Page } from "../kernel/mm/page.ts";
import { count_ptes, pfn_at } from "../kernel/mm/pgtable.ts";
import { RewriteLayer } from "../kernel/mm/rewrite_layer.ts";
import {
  vm_map_ram,
  vm_unmap_aliases,
  vm_unmap_ram,
} from "../kernel/mm/vmap.ts";
import { rcu_barrier } from "../kernel/rcu.ts";
import { set_cpus_allowed } from "../kernel/sched/migrate.ts";
import { wake_up_process } from "../kernel/sched/wakeup.ts";
import type { Thread } from "../kernel/thread.ts";
import { msleep } from "../kernel/timer.ts";

/** Both layers, the older first. */
export const LAYERS = ["vmlist", "rewrite"] as const;

/** Protection that the tests map with. */
export const PROT: number = PAGE_KERNEL;

/** What a kernel has in use. */
export interface Inventory {
  /** Pages nobody has, and those of page tables and slabs: what is missing is somebody's. */
  readonly pages: number;
  /** Areas that hold addresses; those of blocks included. */
  readonly areas: number;
  readonly blocks: number;
  readonly lazy_nr: number;
  readonly vm_structs: number;
  /** Page-table entries in use in vmalloc space. */
  readonly entries: number;
  /** Names of the threads there are; ksoftirqd, made when first needed, left out. */
  readonly threads: readonly string[];
  /** Live slab objects by cache; caches without any left out. */
  readonly objects: Readonly<Record<string, number>>;
}

/** Counts what `k` has in use. Page tables and empty slabs stay, so they count as free. */
export function inventory(k: Kernel): Inventory {
  const { areas, blocks, lazy_nr } = k.vmap.counters();
  const objects: Record<string, number> = {};
  for (const [name, count] of k.slab.inUse()) {
    if (count > 0) objects[name] = count;
  }
  const slabPages = k.slab.slabinfo().reduce(
    (sum, { slabs, pagesPerSlab }) => sum + slabs * pagesPerSlab,
    0,
  );
  return {
    pages: nr_unused_pages(k) + k.init_mm.nr_tables + slabPages,
    areas,
    blocks,
    lazy_nr,
    vm_structs: k.vmalloc.nr_vm_structs,
    entries: count_ptes(k, k.vmalloc.start, k.vmalloc.end),
    threads: [...k.sched.threads].map(({ name }) => name)
      .filter((name) => !name.startsWith("ksoftirqd")).sort(),
    objects,
  };
}

/**
 * Brings the kernel to rest: lazily unmapped addresses are purged, and what
 * waited for RCU is freed, the call data of this very flush included.
 */
export function* settle(t: Thread): Steps {
  yield* vm_unmap_aliases(t);
  yield* rcu_barrier(t);
  yield* msleep(t, 40); // frees what the barrier's own calls took
}

/**
 * {@linkcode settle} after handing out and taking back the rest of every CPU's
 * blocks, so that they are retired: then nothing may be left of any mapping.
 */
export function* settle_blocks(t: Thread): Steps {
  const { vmap } = t.k;
  if (vmap instanceof RewriteLayer) {
    const queues = vmap.state.vmap_block_queue;
    const page = yield* alloc_page(t, GFP_KERNEL);
    for (const cpu of t.k.cpu_online.list) {
      const queue = queues.peek(cpu);
      if (queue === null || queue.free.next === queue.free) continue;
      yield* set_cpus_allowed(t, t, [cpu]);
      while (queue.free.next !== queue.free) {
        const addr = yield* vm_map_ram(t, [page!], 1, -1, PROT);
        yield* vm_unmap_ram(t, addr, 1);
      }
    }
    yield* set_cpus_allowed(t, t, null);
    yield* __free_page(t, page!);
  }
  yield* settle(t);
}

/** Pages of blocks that are mapped by somebody. 0 in a layer without blocks. */
export function livePagesInBlocks(k: Kernel): number {
  if (!(k.vmap instanceof RewriteLayer)) return 0;
  const w = k.vmap.state;
  let live = 0;
  for (const cpu of k.cpu_possible.list) {
    const queue = w.vmap_block_queue.peek(cpu);
    if (queue === null) continue;
    for (let p = queue.free.next; p !== queue.free; p = p.next) {
      const vb = p.owner!;
      live += bitmap_weight(vb.alloc_map, w.VMAP_BBMAP_BITS) - vb.dirty;
    }
  }
  return live;
}

/** Starts `fn` on CPU number `cpu`, to stay there. */
export function* run_on(
  t: Thread,
  cpu: number,
  fn: (t: Thread) => Steps<unknown>,
): Steps<Thread> {
  const p = yield* kthread_create(t, fn, `test/${cpu}`);
  kthread_bind(p, cpu);
  yield* wake_up_process(t, p);
  return p;
}

/** `count` pages of the caller's. */
export function* take_pages(t: Thread, count: number): Steps<Page[]> {
  const pages: Page[] = [];
  for (let i = 0; i < count; i++) {
    const page = yield* alloc_page(t, GFP_KERNEL);
    if (page === null) throw new RangeError("Cannot take pages: out of memory");
    pages.push(page);
  }
  return pages;
}

/** Gives {@linkcode take_pages}' pages back. */
export function* drop_pages(t: Thread, pages: readonly Page[]): Steps {
  for (const page of pages) yield* __free_page(t, page);
}

/**
 * TLB entries for vmalloc space that say something else than the page tables,
 * in words. While nothing is under way there are none, in either layer: entries
 * are cleared and flushed by the same call.
 */
export function staleTlbEntries({ kernel, machine }: BootedMachine): string[] {
  const { start, end, page_size } = kernel.vmalloc;
  const found: string[] = [];
  machine.mmu.tlbs.forEach((tlb, cpu) => {
    tlb.forEach((vpn, pfn, _flags, place) => {
      const vaddr = vpn * page_size;
      if (place === "large" || vaddr < start || vaddr >= end) return;
      const now = pfn_at(kernel, vaddr);
      if (now === pfn) return;
      found.push(`CPU ${cpu}: ${vaddr.toString(16)} -> ${pfn}, table: ${now}`);
    });
  });
  return found;
}
