/** Kernels with memory management up, for tests of the vmap layers and their users. */
import type { Steps } from "../../arch/asm.ts";
import { PAGE_KERNEL } from "../../arch/hw/pte.ts";
import { bring_up_memory, type MemoryOptions } from "../bring_up.ts";
import { type KernelRun, runKernel, type RunOptions } from "../testing.ts";
import type { Kernel } from "../kernel.ts";
import type { Thread } from "../thread.ts";
import { GFP_KERNEL } from "./gfp.ts";
import { alloc_page, nr_unused_pages } from "./page_alloc.ts";
import type { Page } from "./page.ts";

/** Start of vmalloc space on x86-64, low 48 bits. */
export const VMALLOC_START = 0xc20000000000;
/** Bytes of a page of the default machine. */
export const PAGE_SIZE = 4096;
/** Protection that most tests map with. */
export const PROT: number = PAGE_KERNEL;

/** What {@linkcode runVm} runs on. */
export interface VmOptions extends Omit<RunOptions, "early">, MemoryOptions {}

/** Boots a kernel with memory management and runs `main` on it. */
export function runVm<T>(
  options: VmOptions,
  main: (t: Thread) => Steps<T>,
): KernelRun<T> {
  return runKernel({
    cpus: 1,
    ...options,
    early: (t) => bring_up_memory(t, options),
  }, main);
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
