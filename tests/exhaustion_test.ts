/** Kernel addresses run out on `i386-4`, where there are 114 MiB of them, and come back. */
import { assert, assertEquals } from "@std/assert";
import { type Steps, vload, vstore } from "../arch/asm.ts";
import { findPreset } from "../arch/hw/presets/index.ts";
import { boot, type BootedMachine } from "../boot/boot.ts";
import { kthread_join } from "../kernel/kthread.ts";
import { vfree } from "../kernel/mm/vfree.ts";
import { vmalloc } from "../kernel/mm/vmalloc.ts";
import { vm_map_ram, vm_unmap_ram } from "../kernel/mm/vmap.ts";
import type { Thread } from "../kernel/thread.ts";
import {
  drop_pages,
  inventory,
  LAYERS,
  PROT,
  run_on,
  settle,
  settle_blocks,
  take_pages,
} from "./_machine.ts";

const MiB = 2 ** 20;
const PAGE = 4096;
const CHUNK = 4 * MiB;
/** 0xff9fe000 - 0xf8800000, of the machine's layout. */
const SPACE = 0x71fe000;

/** What each kernel says; the second came with the rewrite. */
const WARNINGS: Readonly<Record<string, string>> = {
  vmlist:
    "allocation failed: out of vmalloc space - use vmalloc=<size> to increase size.",
  rewrite: "vmap allocation failed: use vmalloc=<size> to increase size.",
};

function bootSmall(vmap: string): BootedMachine {
  const booted = boot({ spec: findPreset("i386-4"), params: { vmap } });
  booted.run(settle);
  return booted;
}

/** Lines of the log that say `text`. */
function said(booted: BootedMachine, text: string): number {
  return booted.kernel.printk.lines().filter((l) => l.text === text).length;
}

/** Takes chunks until there is no room; marks each at both ends. */
function* take_all(t: Thread, bytes = CHUNK): Steps<number[]> {
  const taken: number[] = [];
  for (;;) {
    const addr = yield* vmalloc(t, bytes);
    if (addr === 0) return taken;
    taken.push(addr);
    yield* vstore(t, addr, 4, taken.length);
    yield* vstore(t, addr + bytes - 4, 4, ~taken.length >>> 0);
  }
}

/** Looks for the marks, and frees. */
function* free_all(t: Thread, taken: readonly number[], bytes = CHUNK): Steps {
  for (const [i, addr] of taken.entries()) {
    assertEquals(yield* vload(t, addr, 4), i + 1);
    assertEquals(yield* vload(t, addr + bytes - 4, 4), ~(i + 1) >>> 0);
    yield* vfree(t, addr);
  }
}

for (const vmap of LAYERS) {
  Deno.test(`${vmap}: vmalloc() until there is no room gives NULL and the kernel's warning`, () => {
    const booted = bootSmall(vmap);
    const { kernel } = booted;
    const start = inventory(kernel);
    const memory = start.pages;
    for (let round = 1; round <= 2; round++) {
      const taken = booted.run(take_all);
      assertEquals(taken.length, Math.floor(SPACE / (CHUNK + 2 * PAGE)));
      assertEquals(kernel.vmalloc.failures, round);
      assertEquals(said(booted, WARNINGS[vmap]), round);
      // It is addresses that are out: of memory there is plenty.
      assert(inventory(kernel).pages > memory / 2);
      assertEquals(kernel.vmap.check(), []);
      // What is left between and behind still serves small requests.
      const small = booted.run((t) => vmalloc(t, MiB));
      assert(small > taken[taken.length - 1]);
      booted.run((t) => vfree(t, small));
      booted.run((t) => free_all(t, taken));
      booted.run(settle);
      assertEquals(inventory(kernel), start);
      assertEquals(kernel.vmap.check(), []);
    }
  });

  Deno.test(`${vmap}: vm_map_ram() until there is no room, on every CPU at once`, () => {
    const booted = bootSmall(vmap);
    const { kernel } = booted;
    const start = inventory(kernel);
    const counts: number[] = [];
    for (let round = 1; round <= 2; round++) {
      const total = booted.run(function* (t) {
        const pages = yield* take_pages(t, 32);
        const got: number[][] = [[], [], [], []];
        let left = 4;
        const threads: Thread[] = [];
        for (let cpu = 0; cpu < 4; cpu++) {
          threads.push(
            yield* run_on(t, cpu, function* (p) {
              for (;;) {
                const addr = yield* vm_map_ram(p, pages, 32, -1, PROT);
                if (addr === 0) break;
                got[cpu].push(addr);
              }
              left--;
            }),
          );
        }
        for (const p of threads) yield* kthread_join(t, p);
        assertEquals(left, 0);
        assertEquals(t.k.vmap.check(), []);
        const all = got.flat();
        assertEquals(new Set(all).size, all.length);
        assertEquals(yield* vmalloc(t, CHUNK), 0);
        for (const addr of all) yield* vm_unmap_ram(t, addr, 32);
        yield* drop_pages(t, pages);
        return all.length;
      });
      counts.push(total);
      assert(said(booted, WARNINGS[vmap]) >= 5 * round);
      booted.run(settle_blocks);
      assertEquals(inventory(kernel), start);
    }
    // A vmap() takes 33 pages with its guard. A block of 256 pages serves eight
    // calls and wastes as much again: the page kept free after it, aligned.
    const most = vmap === "vmlist"
      ? Math.floor(SPACE / (33 * PAGE))
      : 8 * Math.ceil(SPACE / (2 * 256 * PAGE));
    assertEquals(counts, [most, most]);
  });

  Deno.test(`${vmap}: warnings about space are ten at most, failures are all counted`, () => {
    const booted = bootSmall(vmap);
    booted.run(function* (t) {
      for (let i = 0; i < 25; i++) {
        assertEquals(yield* vmalloc(t, SPACE), 0);
      }
    });
    assertEquals(booted.kernel.vmalloc.failures, 25);
    assertEquals(said(booted, WARNINGS[vmap]), 10);
  });
}

Deno.test("rewrite: a request that finds no room purges, and then has what was freed lazily", () => {
  const booted = bootSmall("rewrite");
  const { kernel } = booted;
  const start = inventory(kernel);
  const taken = booted.run(take_all);
  assertEquals(kernel.vmalloc.failures, 1);
  const { purges } = kernel.vmap.counters();
  const { flushes } = kernel.vmalloc;
  booted.run((t) => free_all(t, taken.slice(0, 20)));
  const waiting = kernel.vmap.counters();
  assertEquals(waiting.lazy_nr, 20 * (CHUNK / PAGE + 1));
  assert(waiting.lazy_nr < waiting.lazy_max);
  assertEquals([waiting.purges, kernel.vmalloc.flushes], [purges, flushes]);

  const large = booted.run((t) => vmalloc(t, 60 * MiB));
  assertEquals(large, taken[0]);
  assertEquals(kernel.vmap.counters().purges, purges + 1);
  assertEquals(kernel.vmalloc.flushes, flushes + 1);
  assertEquals(kernel.vmap.counters().lazy_nr, 0);
  assertEquals(kernel.vmalloc.failures, 1);
  assertEquals(said(booted, WARNINGS.rewrite), 1);
  booted.run((t) => vfree(t, large));
  booted.run(function* (t) {
    for (const addr of taken.slice(20)) yield* vfree(t, addr);
  });
  booted.run(settle);
  assertEquals(inventory(kernel), start);
});

Deno.test("vmlist: what is freed is there for the next request, without a purge", () => {
  const booted = bootSmall("vmlist");
  const { kernel } = booted;
  const taken = booted.run(take_all);
  const { flushes } = kernel.vmalloc;
  booted.run((t) => vfree(t, taken[3]));
  assertEquals(kernel.vmalloc.flushes, flushes + 1);
  assertEquals(booted.run((t) => vmalloc(t, CHUNK)), taken[3]);
  assertEquals(kernel.vmalloc.failures, 1);
});
