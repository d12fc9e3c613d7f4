/**
 * alloc_large_system_hash() (mm/page_alloc.c): boot-time hash tables, sized by
 * how much memory there is, from wherever memory can be had at that point of
 * the boot: bootmem, vmalloc space (`hashdist=1`), or the page allocator.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { KernelBug } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import { get_order, ilog2, roundup_pow_of_two } from "../lib/bitops.ts";
import { KERN_INFO, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import { alloc_bootmem } from "./bootmem.ts";
import { __GFP_ZERO, GFP_ATOMIC } from "./gfp.ts";
import { alloc_pages_exact } from "./page_alloc.ts";
import { __vmalloc } from "./vmalloc.ts";
import { PAGE_KERNEL, parseVaddr } from "../../arch/hw/pte.ts";

const ALLOC_LARGE_SYSTEM_HASH = ksym("alloc_large_system_hash");
const MiB = 2 ** 20;

/** A hash table in emulated memory. */
export interface SystemHash {
  /** Kernel virtual address. */
  readonly table: number;
  /** log2 of the buckets. */
  readonly shift: number;
  /** Buckets less one. */
  readonly mask: number;
  /** Bytes. */
  readonly sizeBytes: number;
}

/** When the table is allocated. */
export type HashPhase = "early" | "late";

/** Whether large tables are spread over the nodes by vmalloc: `hashdist=`, or the machine's default. */
export function hashdist(k: Kernel): boolean {
  return k.params.hashdist ?? k.machine.spec.kernel.hashdist;
}

/**
 * A table of zeroed buckets.
 *
 * @param bucketBytes Bytes of one bucket.
 * @param scale One bucket for each `2 ** scale` bytes of low memory.
 * @param phase "early" = from bootmem; "late" = from vmalloc with hashdist, else from pages.
 * @throws {KernelBug} If not even a page can be had.
 */
export function* alloc_large_system_hash(
  t: Thread,
  name: string,
  bucketBytes: number,
  scale: number,
  phase: HashPhase,
): Steps<SystemHash> {
  enter(t, ALLOC_LARGE_SYSTEM_HASH);
  charge(t, 200);
  const { k } = t;
  const { pageBytes, max_low_pfn } = k.bootmem;
  const lowBytes = Math.ceil(max_low_pfn * pageBytes / MiB) * MiB;
  let entries = Math.max(lowBytes / 2 ** scale, pageBytes / bucketBytes);
  entries = roundup_pow_of_two(entries);
  while (entries * bucketBytes > lowBytes / 16) entries /= 2;
  let table = 0;
  for (;;) {
    const bytes = entries * bucketBytes;
    table = yield* get_table(t, bytes, phase);
    if (table !== 0 || bytes <= pageBytes) break;
    entries /= 2;
  }
  if (table === 0) {
    throw new KernelBug(
      t,
      `Kernel panic - not syncing: Failed to allocate ${name} hash table`,
    );
  }
  const sizeBytes = entries * bucketBytes;
  const order = get_order(sizeBytes, ilog2(pageBytes));
  printk(
    t,
    KERN_INFO,
    `${name} hash table entries: ${entries} (order: ${order}, ${sizeBytes} bytes)`,
  );
  leave(t);
  return { table, shift: ilog2(entries), mask: entries - 1, sizeBytes };
}

/** @returns Kernel virtual address; 0 = none. */
function* get_table(t: Thread, bytes: number, phase: HashPhase): Steps<number> {
  if (phase === "early") {
    const { mmu, spec } = t.machine;
    const start = parseVaddr(mmu.format, spec.layout.directMapStart);
    return start + alloc_bootmem(t, bytes);
  }
  if (hashdist(t.k)) {
    return yield* __vmalloc(t, bytes, GFP_ATOMIC | __GFP_ZERO, PAGE_KERNEL);
  }
  return yield* alloc_pages_exact(t, bytes, GFP_ATOMIC | __GFP_ZERO);
}
