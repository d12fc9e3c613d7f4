/**
 * Sections (`may_run_section()` of arch/asm.ts) are a short cut of the host's:
 * they do what the general case does, operation for operation.
 */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { findPreset } from "../arch/hw/presets/index.ts";
import { PAGE_KERNEL } from "../arch/hw/pte.ts";
import { withCpus } from "../arch/hw/validate.ts";
import { TimedPolicy } from "../arch/sim/policy.ts";
import { symCount } from "../arch/sim/symbol.ts";
import { OneByOne } from "../arch/testing.ts";
import { boot, type BootOptions } from "../boot/boot.ts";
import { map_touch_unmap } from "../boot/workloads/map_touch_unmap.ts";
import { GFP_KERNEL } from "../kernel/mm/gfp.ts";
import { alloc_page } from "../kernel/mm/page_alloc.ts";
import type { Page } from "../kernel/mm/page.ts";
import { vm_map_ram, vm_unmap_ram } from "../kernel/mm/vmap.ts";
import { SANITIZERS } from "../kernel/sanitizers/index.ts";

const MOST_PAGES = 64;

/** Maps as many pages as each number says, and keeps the last few mappings. */
function mapInTurn(counts: readonly number[], policy: TimedPolicy) {
  const booted = boot({
    spec: withCpus(findPreset("opteron-2x4"), 1),
    engine: { policy },
  });
  const { engine } = booted.machine;
  assertEquals(engine.hasSections, !(policy instanceof OneByOne));
  const operations: number[] = [];
  engine.observer = {
    operation: (_t, kind, _place, value) =>
      void operations.push(kind, typeof value === "number" ? value : 0),
  };
  const addrs = booted.run(function* (t) {
    const pages: Page[] = [];
    for (let i = 0; i < MOST_PAGES; i++) {
      pages.push((yield* alloc_page(t, GFP_KERNEL))!);
    }
    const mapped: [number, number][] = [];
    const addrs: number[] = [];
    for (const count of counts) {
      const some = pages.slice(0, count);
      const addr = yield* vm_map_ram(t, some, count, -1, PAGE_KERNEL);
      addrs.push(addr);
      mapped.push([addr, count]);
      if (mapped.length > 3) yield* vm_unmap_ram(t, ...mapped.shift()!);
    }
    for (const one of mapped) yield* vm_unmap_ram(t, ...one);
    return addrs;
  });
  return {
    addrs,
    operations,
    clock: engine.cpus[0].clock,
    spent: [...engine.cyclesBySym.slice(0, symCount())],
    locks: booted.kernel.lockStats.all().map((lock) => ({ ...lock })),
    check: booted.kernel.vmap.check(),
  };
}

Deno.test("a lone CPU has the same operations, addresses and times with and without sections", () => {
  fc.assert(
    fc.property(
      // Enough of the largest to use blocks up.
      fc.array(fc.integer({ min: 1, max: MOST_PAGES }), { maxLength: 80 }),
      (counts) => {
        const at_once = mapInTurn(counts, new TimedPolicy());
        const one_by_one = mapInTurn(counts, new OneByOne());
        assertEquals(at_once, one_by_one);
        assertEquals(at_once.check, []);
      },
    ),
    { numRuns: 25 },
  );
});

/** Cycles of 8 CPUs that map, touch and unmap. */
function cyclesOf(options: BootOptions): number {
  const booted = boot(options);
  const { windowCycles } = booted.run((t) =>
    map_touch_unmap(t, {
      threads: 8,
      ops: 1000,
      warmup: 20,
      pages: 4,
      api: "ram",
    })
  );
  assertEquals(booted.kernel.vmap.check(), []);
  return windowCycles;
}

Deno.test("eight CPUs take as long with sections as without, within half a percent", () => {
  const ratio = cyclesOf({}) / cyclesOf({ engine: { policy: new OneByOne() } });
  assert(Math.abs(ratio - 1) < 0.005, `${ratio}`);
});

Deno.test("eight CPUs have the same clocks under the eyes of any sanitizer", () => {
  const unwatched = cyclesOf({});
  for (const { name } of SANITIZERS) {
    assertEquals([name, cyclesOf({ sanitize: [name] })], [name, unwatched]);
  }
});

Deno.test("strict order has no sections", () => {
  const { engine } = boot({ engine: { runAheadCycles: 0 } }).machine;
  assertEquals(engine.hasSections, false);
});
