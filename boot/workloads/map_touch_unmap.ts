/**
 * The benchmark of the rewrite: N kernel threads in parallel, each mapping a
 * few pages of its own, writing a word to every one, and unmapping them.
 *
 * Every thread does a few operations to warm up, waits for the others, does its
 * share, and goes on until the last has done its own, so that every operation
 * that counts ran beside N - 1 busy threads.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  vstore,
} from "../../arch/asm.ts";
import { PAGE_KERNEL } from "../../arch/hw/pte.ts";
import { BUG } from "../../kernel/bug.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import { kthread_join, kthread_run } from "../../kernel/kthread.ts";
import { GFP_KERNEL } from "../../kernel/mm/gfp.ts";
import { __free_page, alloc_page } from "../../kernel/mm/page_alloc.ts";
import type { Page } from "../../kernel/mm/page.ts";
import { VM_MAP } from "../../kernel/mm/vm_struct.ts";
import {
  vm_map_ram,
  vm_unmap_ram,
  vmap,
  vunmap,
} from "../../kernel/mm/vmap.ts";
import { cond_resched } from "../../kernel/sched/sched.ts";
import type { Thread } from "../../kernel/thread.ts";
import { Barrier } from "./barrier.ts";

const TEST_THREAD = ksym("map_touch_unmap");

/** Which calls map and unmap. */
export type MapApi = "ram" | "vmap";

/** What to run. */
export interface MapTouchUnmap {
  readonly threads: number;
  /** Operations of each thread that count. */
  readonly ops: number;
  /** Operations of each thread before that. */
  readonly warmup: number;
  /** Pages of one mapping. */
  readonly pages: number;
  readonly api: MapApi;
  /** Called when the last thread is at the line, and when the last has done its share. */
  readonly onWindow?: (edge: "start" | "end") => void;
  /** Called now and then with the operations done. */
  readonly onProgress?: (done: number) => void;
}

/** What came out. */
export interface Measured {
  /** From the last thread's arrival at the line to the end of the last share, cycles. */
  readonly windowCycles: number;
  /** Operations in all between the window's edges, those beyond the shares included. */
  readonly opsInWindow: number;
}

/** Operations between two calls of `onProgress`. */
const PROGRESS_OPS = 256;

/** What the threads of one run share. */
class Run {
  readonly line: Barrier;
  /** Threads that have not done their share. */
  left: number;
  done = 0;
  startedAt = 0;
  endedAt = 0;

  constructor(k: Kernel, readonly what: MapTouchUnmap) {
    this.line = new Barrier(k, what.threads);
    this.left = what.threads;
  }
}

/** Runs the benchmark. Context: process. */
export function* map_touch_unmap(
  t: Thread,
  what: MapTouchUnmap,
): Steps<Measured> {
  const run = new Run(t.k, what);
  const threads: Thread[] = [];
  for (let i = 0; i < what.threads; i++) {
    threads.push(
      yield* kthread_run(t, (self) => worker(self, run), `vmap_test/${i}`),
    );
  }
  for (let i = 0; i < threads.length; i++) yield* kthread_join(t, threads[i]);
  return { windowCycles: run.endedAt - run.startedAt, opsInWindow: run.done };
}

function* worker(t: Thread, run: Run): Steps {
  enter(t, TEST_THREAD);
  const { what } = run;
  const one = what.api === "ram" ? ram_once : vmap_once;
  const pages = yield* take_pages(t, what.pages);
  for (let i = 0; i < what.warmup; i++) yield* one(t, pages);
  yield* run.line.wait(t, () => {
    run.startedAt = t.cpu.clock;
    what.onWindow?.("start");
  });
  for (let i = 0; i < what.ops; i++) {
    yield* one(t, pages);
    yield* cond_resched(t);
    book(run);
  }
  if (--run.left === 0) {
    run.endedAt = t.cpu.clock;
    what.onWindow?.("end");
  }
  while (run.left > 0) {
    yield* one(t, pages);
    yield* cond_resched(t);
    book(run);
  }
  for (let i = 0; i < pages.length; i++) yield* __free_page(t, pages[i]);
  leave(t);
}

/** Counts an operation of the window. */
function book(run: Run): void {
  if (run.left === 0) return;
  run.done++;
  if (run.done % PROGRESS_OPS === 0) run.what.onProgress?.(run.done);
}

function* take_pages(t: Thread, count: number): Steps<Page[]> {
  const pages: Page[] = [];
  for (let i = 0; i < count; i++) {
    const page = yield* alloc_page(t, GFP_KERNEL);
    if (page === null) BUG(t, "no memory for the benchmark's pages");
    pages.push(page!);
  }
  return pages;
}

/** One operation by vm_map_ram(). */
function* ram_once(t: Thread, pages: Page[]): Steps {
  charge(t, 12); // the loop, three calls
  const addr = yield* vm_map_ram(t, pages, pages.length, -1, PAGE_KERNEL);
  if (addr === 0) BUG(t, "vm_map_ram failed");
  yield* touch(t, addr, pages.length);
  yield* vm_unmap_ram(t, addr, pages.length);
}

/** One operation by vmap(). */
function* vmap_once(t: Thread, pages: Page[]): Steps {
  charge(t, 12);
  const addr = yield* vmap(t, pages, pages.length, VM_MAP, PAGE_KERNEL);
  if (addr === 0) BUG(t, "vmap failed");
  yield* touch(t, addr, pages.length);
  yield* vunmap(t, addr);
}

/** Writes a word to each page. */
function* touch(t: Thread, addr: number, pages: number): Steps {
  const pageBytes = t.machine.memory.pageBytes;
  for (let i = 0; i < pages; i++) {
    charge(t, 3);
    yield* vstore(t, addr + i * pageBytes, 8, addr + i);
  }
}
