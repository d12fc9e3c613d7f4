/**
 * Bringing up the page allocator: zones, the page map, and the hand-over of
 * what bootmem has left (mm/page_alloc.c, arch/x86/mm/init_64.c).
 *
 * Order at boot: setup_bootmem_allocator(), build_all_zonelists(),
 * page_alloc_init(), mem_init(), kmem_cache_init(), setup_per_cpu_pageset().
 *
 * Differs from Linux: the zones are found by build_all_zonelists() instead of
 * paging_init(); free memory is handed over in the largest blocks there are
 * instead of 64 pages at a time, with the same free lists in the end.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  local_irq_restore,
  local_irq_save,
  type Steps,
} from "../../arch/asm.ts";
import { BUG_ON, KernelBug } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import { spin_lock, spin_unlock } from "../locking/spinlock.ts";
import { KERN_DEBUG, KERN_INFO, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import { __free_one_page } from "./buddy.ts";
import {
  MAX_ORDER,
  Zone,
  ZONE_DMA,
  ZONE_DMA32,
  ZONE_HIGHMEM,
  ZONE_NAMES,
  ZONE_NORMAL,
} from "./mmzone.ts";
import { nr_free_pages, PageAllocator } from "./page_alloc.ts";

const BUILD_ALL_ZONELISTS = ksym("build_all_zonelists");
const FREE_ALL_BOOTMEM = ksym("free_all_bootmem");
const MEM_INIT = ksym("mem_init");

const MiB = 2 ** 20;
const GiB = 2 ** 30;
/** sizeof(struct page), by sizeof(long): what the page map takes for each page. */
const STRUCT_PAGE_BYTES_32 = 32;
const STRUCT_PAGE_BYTES_64 = 56;
/** Of the kernel image, for the boot message; the rest is code. */
const IMAGE_DATA_BYTES = 3 * MiB;
const IMAGE_INIT_BYTES = MiB / 2;

/** Zones of an architecture: number, and first byte past it. */
function zoneLimits(k: Kernel): readonly (readonly [number, number])[] {
  switch (k.machine.spec.paging.format) {
    case "x86-64":
      return [
        [ZONE_DMA, 16 * MiB],
        [ZONE_DMA32, 4 * GiB],
        [ZONE_NORMAL, Infinity],
      ];
    case "i386-pae": {
      const low = k.bootmem.max_low_pfn * k.machine.memory.pageBytes;
      return [[ZONE_DMA, 16 * MiB], [ZONE_NORMAL, low], [
        ZONE_HIGHMEM,
        Infinity,
      ]];
    }
    case "ia64-16k":
      return [[ZONE_DMA, 4 * GiB], [ZONE_NORMAL, Infinity]];
  }
}

/** The zones of each node that have memory. */
function find_zones(k: Kernel): Zone[] {
  const { memory, spec } = k.machine;
  const limits = zoneLimits(k);
  const zones: Zone[] = [];
  for (let node = 0; node < spec.topology.nodes; node++) {
    let pfn = node * memory.framesPerNode;
    const end = Math.min(pfn + memory.framesPerNode, k.bootmem.max_pfn);
    for (const [index, bytes] of limits) {
      const stop = Math.min(end, Math.floor(bytes / memory.pageBytes));
      if (stop <= pfn) continue;
      zones.push(new Zone(k, node, index, pfn, stop));
      pfn = stop;
    }
  }
  return zones;
}

/** Takes the memory of the page map, on each node if it fits there. */
function alloc_mem_map(t: Thread, zones: readonly Zone[]): void {
  const { bootmem } = t.k;
  const { pageBytes } = bootmem;
  const struct = t.machine.spec.paging.format === "i386-pae"
    ? STRUCT_PAGE_BYTES_32
    : STRUCT_PAGE_BYTES_64;
  for (const zone of zones) {
    charge(t, 100);
    const pages = Math.ceil(zone.spanned_pages * struct / pageBytes);
    const bytes = pages * pageBytes;
    const limit = bootmem.max_low_pfn * pageBytes;
    const from = Math.max(zone.zone_start_pfn * pageBytes, 16 * MiB);
    const to = Math.min(zone.zone_end_pfn * pageBytes, limit);
    let at = bootmem.find(bytes, pageBytes, from, to);
    if (at < 0) at = bootmem.find(bytes, pageBytes, 0, limit);
    BUG_ON(t, at < 0, "no memory for the page map");
    bootmem.reserve(at, at + bytes);
    zone.present_pages -= pages;
  }
}

/** Finds the zones and the order in which each node tries them. Boot. */
export function build_all_zonelists(t: Thread): void {
  enter(t, BUILD_ALL_ZONELISTS);
  const { k } = t;
  k.need(t, "bootmem", "setup_bootmem_allocator");
  const zones = find_zones(k);
  alloc_mem_map(t, zones);
  const pages = new PageAllocator(k, zones);
  k.bootmem.pages = pages;
  printk(t, KERN_DEBUG, zoneRanges(pages).join("\n"));
  charge(t, 60 * zones.length);
  const total = zones.reduce((sum, zone) => sum + zone.present_pages, 0);
  printk(
    t,
    KERN_INFO,
    `Built ${pages.zonesByNode.length} zonelists in ${
      pages.zonesByNode.length > 1 ? "Node" : "Zone"
    } order.  Total pages: ${total}`,
  );
  leave(t);
}

function zoneRanges(pages: PageAllocator): string[] {
  const hex = (pfn: number) => `0x${pfn.toString(16).padStart(8, "0")}`;
  const lines = ["Zone PFN ranges:"];
  ZONE_NAMES.forEach((name, index) => {
    const zones = pages.zones.filter((zone) => zone.index === index);
    if (zones.length === 0) return;
    const start = hex(zones[0].zone_start_pfn);
    const end = hex(zones[zones.length - 1].zone_end_pfn);
    lines.push(`  ${name.padEnd(8)} ${start} -> ${end}`);
  });
  return lines;
}

/** Registers for CPUs that go away. Nothing: CPUs stay. */
export function page_alloc_init(t: Thread): void {
  charge(t, 20);
}

/**
 * Hands all memory that bootmem has left to the page allocator.
 *
 * Context: boot, one CPU. Locks: takes zone.lock.
 *
 * @returns Pages handed over.
 */
export function* free_all_bootmem(t: Thread): Steps<number> {
  enter(t, FREE_ALL_BOOTMEM);
  const { bootmem } = t.k;
  const pages = bootmem.pages;
  if (pages === null) {
    throw new KernelBug(
      t,
      'BUG: unable to handle kernel NULL pointer dereference: "zones" is used before build_all_zonelists()',
    );
  }
  BUG_ON(t, bootmem.retired, "free_all_bootmem() called twice");
  bootmem.retired = true;
  let total = 0;
  for (const range of bootmem.free) { // fixed from now on
    let pfn = Math.ceil(range.start / pages.pageBytes);
    const end = Math.floor(range.end / pages.pageBytes);
    while (pfn < end) {
      const zone = pages.zoneOf(pfn);
      const stop = Math.min(end, zone.zone_end_pfn);
      yield* free_range(t, pages, zone, pfn, stop);
      total += stop - pfn;
      pfn = stop;
    }
  }
  leave(t);
  return total;
}

/** Frees `[pfn, end)` of one zone in the largest aligned blocks. */
function* free_range(
  t: Thread,
  pages: PageAllocator,
  zone: Zone,
  pfn: number,
  end: number,
): Steps {
  const flags = local_irq_save(t);
  yield* spin_lock(t, zone.lock);
  while (pfn < end) {
    let order = MAX_ORDER - 1;
    while (pfn % (1 << order) !== 0 || pfn + (1 << order) > end) order--;
    charge(t, 8 << order); // Linux clears PG_reserved and the count of each page
    __free_one_page(t, pages.page(pfn), zone, order);
    pfn += 1 << order;
  }
  yield* spin_unlock(t, zone.lock);
  local_irq_restore(t, flags);
}

/** Brings the page allocator up: `k.pages` is usable from here on. Boot, one CPU. */
export function* mem_init(t: Thread): Steps {
  enter(t, MEM_INIT);
  const { k } = t;
  k.need(t, "bootmem", "setup_bootmem_allocator");
  // Blocks find their buddies through k.pages.
  if (k.bootmem.pages !== null) k.pages = k.bootmem.pages;
  yield* free_all_bootmem(t);
  printk(t, KERN_INFO, memoryLine(k));
  leave(t);
}

/** `"Memory: 8000000k/8388608k available (...)"`, as mem_init() prints it. */
export function memoryLine(k: Kernel): string {
  const { bootmem } = k;
  const kB = (bytes: number) => `${Math.floor(bytes / 1024)}k`;
  const all = bootmem.max_pfn * bootmem.pageBytes;
  const free = nr_free_pages(k) * bootmem.pageBytes;
  const code = bootmem.imageBytes - IMAGE_DATA_BYTES - IMAGE_INIT_BYTES;
  const high = (bootmem.max_pfn - bootmem.max_low_pfn) * bootmem.pageBytes;
  const isI386 = k.machine.spec.paging.format === "i386-pae";
  return `Memory: ${kB(free)}/${kB(all)} available (${kB(code)} kernel code, ${
    isI386 ? "" : "0k absent, "
  }${kB(all - free)} reserved, ${kB(IMAGE_DATA_BYTES)} data, ${
    kB(IMAGE_INIT_BYTES)
  } init${isI386 ? `, ${kB(high)} highmem` : ""})`;
}
