import { assert, assertEquals } from "@std/assert";
import { pload, pstore, type Steps } from "../arch/asm.ts";
import { findPreset } from "../arch/hw/presets/index.ts";
import { boot } from "../boot/boot.ts";
import { activate_mm, do_fork, dup_mm, exit_mmap, mm_alloc } from "./fork.ts";
import { kthread_join } from "./kthread.ts";
import { EFAULT, ENOMEM, err } from "./lib/errno.ts";
import {
  follow_page,
  handle_mm_fault,
  type UserMm,
  type Vma,
} from "./mm/memory.ts";
import { page_count } from "./mm/page.ts";
import { nr_unused_pages } from "./mm/page_alloc.ts";
import type { Thread } from "./thread.ts";
import { failPages } from "./testing.ts";

const DATA = 0x600000;
const VMAS: readonly Vma[] = [
  { start: 0x400000, end: 0x402000, writable: false },
  { start: DATA, end: 0x604000, writable: true },
  { start: 0x7fffffff0000, end: 0x7fffffff4000, writable: true },
];

/** A process with all pages of text and data, in use. */
function* new_mm(t: Thread): Steps<UserMm> {
  const mm = yield* mm_alloc(t, VMAS);
  if (typeof mm === "number") throw new Error("no memory");
  for (const { start, end, writable } of VMAS) {
    for (let at = start; at < end; at += 4096) {
      assertEquals(yield* handle_mm_fault(t, mm, at, writable), 0);
    }
  }
  yield* activate_mm(t, mm);
  return mm;
}

/** Physical address of `vaddr` in `mm`. */
function at(t: Thread, mm: UserMm, vaddr: number): number {
  return follow_page(t, mm, vaddr)!.pfn * 4096;
}

for (const machine of ["opteron-2x4", "xen-pv"]) {
  const start = () => boot({ spec: findPreset(machine) });

  Deno.test(`${machine}: a child shares its parent's pages until one writes, and the last one keeps them`, () => {
    const booted = start();
    booted.run(function* (t) {
      const mm = yield* new_mm(t);
      assertEquals(mm.rss, 10);
      yield* pstore(t, at(t, mm, DATA), 8, 41);
      const p = yield* do_fork(t, mm, function* (self, child) {
        assertEquals(child.rss, 10);
        assertEquals(at(self, child, DATA), at(self, mm, DATA));
        assertEquals(page_count(follow_page(self, mm, DATA)!), 2);
        yield* handle_mm_fault(self, child, DATA, true);
        assert(at(self, child, DATA) !== at(self, mm, DATA));
        assertEquals(yield* pload(self, at(self, child, DATA), 8), 41);
        yield* pstore(self, at(self, child, DATA), 8, 42);
        return "done";
      }, "child");
      if (typeof p === "number") throw new Error("no memory");
      assertEquals(yield* kthread_join(t, p), "done");
      const before = at(t, mm, DATA);
      yield* handle_mm_fault(t, mm, DATA, true); // its own again
      assertEquals(at(t, mm, DATA), before);
      assertEquals(yield* pload(t, before, 8), 41);
      yield* exit_mmap(t, mm);
      assertEquals([mm.rss, mm.nr_tables], [0, 1]);
    });
    assertEquals(booted.machine.xen?.frames.check() ?? [], []);
  });

  Deno.test(`${machine}: faults outside of ranges and writes to text are refused`, () => {
    start().run(function* (t) {
      const mm = yield* new_mm(t);
      for (const [vaddr, write] of [[0, false], [0x402000, false]] as const) {
        assertEquals(yield* handle_mm_fault(t, mm, vaddr, write), err(EFAULT));
      }
      assertEquals(yield* handle_mm_fault(t, mm, 0x400000, true), err(EFAULT));
      yield* exit_mmap(t, mm);
    });
  });

  Deno.test(`${machine}: a fork that finds no memory gives everything back`, () => {
    const booted = start();
    booted.run(function* (t) {
      const mm = yield* new_mm(t);
      // Once, so that slabs of what is asked for here are there.
      yield* exit_mmap(t, (yield* dup_mm(t, mm)) as UserMm);
      const before = nr_unused_pages(t.k);
      let failures = 0;
      for (let nth = 0;; nth++) {
        let left = nth;
        failPages(t.k, () => left-- === 0);
        const copy = yield* dup_mm(t, mm);
        failPages(t.k, null);
        if (typeof copy !== "number") {
          yield* exit_mmap(t, copy);
          break;
        }
        failures++;
        assertEquals(copy, err(ENOMEM));
        assertEquals(nr_unused_pages(t.k), before);
      }
      assert(failures >= 8, `${failures} failures`); // every table of the copy
      assertEquals(nr_unused_pages(t.k), before);
      yield* exit_mmap(t, mm);
    });
    assertEquals(booted.machine.xen?.log ?? [], []);
  });
}
