/** Kernels with memory management up, for tests of the vmap layers and their users. */
import type { Steps } from "../../arch/asm.ts";
import { PAGE_KERNEL } from "../../arch/hw/pte.ts";
import { type KernelRun, runKernel, type RunOptions } from "../testing.ts";
import type { Kernel } from "../kernel.ts";
import type { Thread } from "../thread.ts";
import { setup_bootmem_allocator } from "./bootmem.ts";
import { do_page_fault } from "./fault.ts";
import { GFP_KERNEL } from "./gfp.ts";
import { init_memory_mapping } from "./init.ts";
import { alloc_page, nr_unused_pages } from "./page_alloc.ts";
import type { Page } from "./page.ts";
import { build_all_zonelists, mem_init, page_alloc_init } from "./page_init.ts";
import { setup_per_cpu_pageset } from "./percpu_pages.ts";
import { kmem_cache_init } from "./slab.ts";
import type { VmapLayerFactory } from "./vmap_layer.ts";
import { vmalloc_init } from "./vmalloc.ts";

/** Start of vmalloc space on x86-64, low 48 bits. */
export const VMALLOC_START = 0xc20000000000;
/** Bytes of a page of the default machine. */
export const PAGE_SIZE = 4096;
/** Protection that most tests map with. */
export const PROT: number = PAGE_KERNEL;

/** What {@linkcode runVm} runs on. */
export interface VmOptions extends Omit<RunOptions, "early"> {
  /** Size of vmalloc space, pages; the machine's if absent. */
  readonly pages?: number;
  readonly layers?: Readonly<Record<string, VmapLayerFactory>>;
  /** Runs before vmalloc_init(). */
  readonly before?: (t: Thread) => void;
}

/** Boots a kernel with memory management and runs `main` on it. */
export function runVm<T>(
  options: VmOptions,
  main: (t: Thread) => Steps<T>,
): KernelRun<T> {
  return runKernel({
    cpus: 1,
    ...options,
    early: (t) => bootMemory(t, options),
  }, main);
}

function* bootMemory(t: Thread, options: VmOptions): Steps {
  const k = t.k;
  k.machine.mmu.onFault = (c, vaddr, write, reason) =>
    do_page_fault(c as Thread, vaddr, write, reason);
  setup_bootmem_allocator(t);
  yield* init_memory_mapping(t);
  build_all_zonelists(t);
  page_alloc_init(t);
  const { pages, layers, before } = options;
  if (pages !== undefined) {
    const end = VMALLOC_START + pages * PAGE_SIZE;
    k.vmalloc_range = { start: VMALLOC_START, end };
  }
  if (layers !== undefined) k.vmap_layers = layers;
  before?.(t);
  vmalloc_init(t);
  yield* mem_init(t);
  kmem_cache_init(t);
  setup_per_cpu_pageset(t);
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

/** Objects and pages in use, for comparing before and after. Page tables are not counted: they stay. */
export function usage(k: Kernel): Record<string, number> {
  const use: Record<string, number> = {};
  for (const [name, count] of k.slab.inUse()) if (count > 0) use[name] = count;
  use.pages = nr_unused_pages(k) + k.init_mm.nr_tables;
  return use;
}

/** Pages from the start of vmalloc space to `addr`; -1 for NULL. */
export function pageOf(addr: number): number {
  return addr === 0 ? -1 : (addr - VMALLOC_START) / PAGE_SIZE;
}
