/** Guests of Xen for this folder's tests: a machine, and work that turns pages over between vm_map_ram() and page tables. */
import { PAGE_KERNEL } from "../../arch/hw/pte.ts";
import { findPreset } from "../../arch/hw/presets/index.ts";
import type { Steps } from "../../arch/asm.ts";
import { vstore } from "../../arch/asm.ts";
import { boot, type BootedMachine } from "../../boot/boot.ts";
import { activate_mm, do_fork, exit_mmap, mm_alloc } from "../fork.ts";
import { kthread_bind, kthread_create, kthread_join } from "../kthread.ts";
import { GFP_KERNEL } from "../mm/gfp.ts";
import { handle_mm_fault, type UserMm, type Vma } from "../mm/memory.ts";
import type { Page } from "../mm/page.ts";
import { __free_page, alloc_page } from "../mm/page_alloc.ts";
import { vm_map_ram, vm_unmap_ram } from "../mm/vmap.ts";
import { wake_up_process } from "../sched/wakeup.ts";
import type { Thread } from "../thread.ts";

/** A booted guest. */
export function bootGuest(
  quirks: readonly string[] = [],
  seed = 1,
): BootedMachine {
  return boot({
    spec: findPreset("xen-pv"),
    params: { xen_quirk: new Set(quirks), seed },
  });
}

/** Text, data, a heap and a stack, far enough apart for a leaf table each. */
export const VMAS: readonly Vma[] = [
  { start: 0x400000, end: 0x404000, writable: false },
  { start: 0x600000, end: 0x608000, writable: true },
  { start: 0x40000000, end: 0x40004000, writable: true },
  { start: 0x7ffffffe0000, end: 0x7ffffffe4000, writable: true },
];

const HEAP = 0x40000000;

/** An address space with a page at the start of each range but the heap, in use. */
export function* first_mm(t: Thread): Steps<UserMm> {
  const mm = yield* mm_alloc(t, VMAS);
  if (typeof mm === "number") throw new Error("no memory");
  for (const { start, writable } of VMAS) {
    if (start !== HEAP) yield* handle_mm_fault(t, mm, start, writable);
  }
  yield* activate_mm(t, mm);
  return mm;
}

/** Maps pages, touches them, unmaps them and gives them back, `rounds` times. */
export function* map_churn(t: Thread, rounds: number): Steps {
  for (let n = 0; n < rounds; n++) {
    const pages: Page[] = [];
    for (let i = 0; i < 4; i++) {
      pages.push((yield* alloc_page(t, GFP_KERNEL))!);
    }
    const addr = yield* vm_map_ram(t, pages, 4, -1, PAGE_KERNEL);
    for (let i = 0; i < 4; i++) yield* vstore(t, addr + i * 4096, 8, n);
    yield* vm_unmap_ram(t, addr, 4);
    for (const page of pages) yield* __free_page(t, page);
  }
}

/** Forks, has the child write and add pages, and waits for it, `rounds` times; maps in between. */
export function* fork_churn(t: Thread, rounds: number): Steps {
  const mm = yield* first_mm(t);
  for (let n = 0; n < rounds; n++) {
    yield* map_churn(t, 2);
    const p = yield* do_fork(t, mm, function* (self, child) {
      for (const { start, end, writable } of VMAS) {
        yield* handle_mm_fault(self, child, start, writable);
        yield* handle_mm_fault(self, child, end - 4096, writable);
        yield* map_churn(self, 1);
      }
    }, `child/${n}`);
    if (typeof p === "number") throw new Error("no memory");
    yield* kthread_join(t, p);
  }
  yield* exit_mmap(t, mm);
}

/** Runs each function as a thread of its own, one on each CPU from 0 on. */
export function* on_cpus(
  t: Thread,
  work: readonly ((t: Thread) => Steps<unknown>)[],
): Steps {
  const threads: Thread[] = [];
  for (const [cpu, fn] of work.entries()) {
    const p = yield* kthread_create(t, fn, `churn/${cpu}`);
    kthread_bind(p, cpu);
    threads.push(p);
  }
  for (const p of threads) yield* wake_up_process(t, p);
  for (const p of threads) yield* kthread_join(t, p);
}
