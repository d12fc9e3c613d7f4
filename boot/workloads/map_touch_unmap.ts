/**
 * The benchmark of the rewrite: N kernel threads in parallel, each mapping a
 * few pages of its own, writing a word to every one, and unmapping them.
 *
 * Every thread does a few operations to warm up, pauses until the machine is
 * quiet, waits for the others, and goes on until together they have done N times
 * `ops`: every operation that counts ran beside N - 1 busy threads, whoever of
 * them an unfair lock favoured.
 *
 * Fault injection begins at the line; an operation that fails counts as one that
 * was done, and as failed.
 */
import * as asm from "../../arch/asm.ts";
import type { Steps } from "../../arch/asm.ts";
import { PAGE_KERNEL } from "../../arch/hw/pte.ts";
import { BUG } from "../../kernel/bug.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import {
  kthread_bind,
  kthread_create,
  kthread_join,
} from "../../kernel/kthread.ts";
import { GFP_KERNEL } from "../../kernel/mm/gfp.ts";
import { __free_page, alloc_page } from "../../kernel/mm/page_alloc.ts";
import type { Page } from "../../kernel/mm/page.ts";
import { VM_MAP } from "../../kernel/mm/vm_struct.ts";
import * as vmap_api from "../../kernel/mm/vmap.ts";
import * as sched from "../../kernel/sched/sched.ts";
import { wake_up_process } from "../../kernel/sched/wakeup.ts";
import type { Thread } from "../../kernel/thread.ts";
import { msleep } from "../../kernel/timer.ts";
import { armFaults, failedOp, holdFaults } from "../injected.ts";
import { Barrier } from "./barrier.ts";
import { spread } from "./spread.ts";

// Functions as constants of this module: docs/ARCHITECTURE.md, "What V8 likes".
const { charge, enter, ksym, leave, vstore } = asm;
const { vm_map_ram, vm_unmap_ram, vmap, vunmap } = vmap_api;
const { cond_resched, need_resched } = sched;

const TEST_THREAD = ksym("map_touch_unmap");

/** Which calls map and unmap. */
export type MapApi = "ram" | "vmap";

/** What to run. */
export interface MapTouchUnmap {
  /** Kernel threads in parallel. */
  readonly threads: number;
  /** Operations that count, for each thread on average. */
  readonly ops: number;
  /** Operations of each thread before that. */
  readonly warmup: number;
  /** Pages of one mapping. */
  readonly pages: number;
  /** Calls that map and unmap. */
  readonly api: MapApi;
  /** Called when the last thread is at the line, and when all operations are done. */
  readonly onWindow?: (edge: "start" | "end") => void;
  /** Called now and then with the operations done. */
  readonly onProgress?: (done: number) => void;
}

/** What came out. */
export interface Measured {
  /** From the last thread's arrival at the line to the end of the last operation, cycles. */
  readonly windowCycles: number;
  /** Operations in that time. */
  readonly opsInWindow: number;
}

/** The loop, its calls, the look whether to reschedule. */
const LOOP_INSTRUCTIONS = 15;
/** One store and its part of the loop. */
const TOUCH_INSTRUCTIONS = 3;
/**
 * Pause before the start, so that every run finds the other CPUs the same:
 * idle, ticks stopped. RCU callbacks that flushes have left keep the ticks of
 * some going for a while, and an interrupt of those reads the clock source less
 * often.
 */
const QUIET_MS = 40;
/** Operations between two calls of `onProgress`. */
const PROGRESS_OPS = 256;

/** What the threads of one run share. */
class Run {
  readonly line: Barrier;
  readonly total: number;
  done = 0;
  startedAt = 0;
  endedAt = 0;

  constructor(k: Kernel, readonly what: MapTouchUnmap) {
    this.line = new Barrier(k, what.threads);
    this.total = what.threads * what.ops;
  }
}

/**
 * Runs the benchmark: threads that map a few pages, write a word to every one,
 * and unmap them, until each has done its share.
 *
 * Context: process.
 *
 * @example
 * ```ts
 * import { boot, map_touch_unmap } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const machine = boot();
 * const { windowCycles, opsInWindow } = machine.run((t) =>
 *   map_touch_unmap(t, {
 *     threads: 2,
 *     ops: 50,
 *     warmup: 5,
 *     pages: 4,
 *     api: "ram",
 *   })
 * );
 * assert(opsInWindow >= 50);
 * assert(machine.machine.toNs(windowCycles) > 0);
 * ```
 */
export function* map_touch_unmap(
  t: Thread,
  what: MapTouchUnmap,
): Steps<Measured> {
  holdFaults(t.k);
  const run = new Run(t.k, what);
  const threads: Thread[] = [];
  const cpus = spread(t);
  for (let i = 0; i < what.threads; i++) {
    const p = yield* kthread_create(
      t,
      (self) => worker(self, run),
      `vmap_test/${i}`,
    );
    kthread_bind(p, cpus[i % cpus.length]);
    yield* wake_up_process(t, p);
    threads.push(p);
  }
  for (let i = 0; i < threads.length; i++) yield* kthread_join(t, threads[i]);
  return { windowCycles: run.endedAt - run.startedAt, opsInWindow: run.done };
}

function* worker(t: Thread, run: Run): Steps {
  enter(t, TEST_THREAD);
  const { what } = run;
  const calls = CALLS[what.api];
  const pages = yield* take_pages(t, what.pages);
  const pageBytes = t.machine.memory.pageBytes;
  for (let i = 0;; i++) {
    if (i === what.warmup) yield* line_up(t, run);
    charge(t, LOOP_INSTRUCTIONS);
    const addr = yield* calls.map(t, pages);
    if (addr === 0) failedOp(t, "no room to map in");
    else {
      for (let page = 0; page < pages.length; page++) {
        charge(t, TOUCH_INSTRUCTIONS);
        yield* vstore(t, addr + page * pageBytes, 8, i);
      }
      yield* calls.unmap(t, addr, pages.length);
    }
    if (need_resched(t)) yield* cond_resched(t);
    if (i >= what.warmup && !book(t, run)) break;
  }
  for (let i = 0; i < pages.length; i++) yield* __free_page(t, pages[i]);
  leave(t);
}

/** Waits for a quiet machine, and for the others. */
function* line_up(t: Thread, run: Run): Steps {
  yield* msleep(t, QUIET_MS);
  yield* run.line.wait(t, () => {
    run.startedAt = t.cpu.clock;
    armFaults(t.k);
    run.what.onWindow?.("start");
  });
}

/** Counts an operation. @returns Whether more are wanted. */
function book(t: Thread, run: Run): boolean {
  run.done++;
  if (run.done < run.total) {
    if (run.done % PROGRESS_OPS === 0) run.what.onProgress?.(run.done);
    return true;
  }
  if (run.done === run.total) {
    run.endedAt = t.cpu.clock;
    run.what.onWindow?.("end");
  } else run.done = run.total; // under way when the last one was booked
  return false;
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

/** One way of mapping pages and unmapping them. */
interface MapCalls {
  map(t: Thread, pages: Page[]): Steps<number>;
  unmap(t: Thread, addr: number, count: number): Steps;
}

const CALLS: Readonly<Record<MapApi, MapCalls>> = {
  ram: {
    map: (t, pages) => vm_map_ram(t, pages, pages.length, -1, PAGE_KERNEL),
    unmap: vm_unmap_ram,
  },
  vmap: {
    map: (t, pages) => vmap(t, pages, pages.length, VM_MAP, PAGE_KERNEL),
    unmap: vunmap,
  },
};
