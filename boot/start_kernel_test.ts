import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { assertThrows } from "@std/assert";
import { vstore } from "../arch/asm.ts";
import { findPreset } from "../arch/hw/presets/index.ts";
import { KernelBug } from "../kernel/bug.ts";
import { boot } from "./boot.ts";
import { START_KERNEL_STEPS } from "./start_kernel.ts";
import type { BootStep } from "./step.ts";

const spec = findPreset("opteron-2x4");

function indexOf(name: string): number {
  const at = START_KERNEL_STEPS.findIndex((step) => step.name === name);
  assert(at >= 0, name);
  return at;
}

/** The usual steps with `name` moved behind `after`. */
function moved(name: string, after: string): BootStep[] {
  const steps = START_KERNEL_STEPS.filter((step) => step.name !== name);
  const at = steps.findIndex((step) => step.name === after);
  steps.splice(at + 1, 0, START_KERNEL_STEPS[indexOf(name)]);
  return steps;
}

Deno.test("start_kernel() calls vmalloc_init() before what must not use it yet, as 2.6.28 does", () => {
  const order = [
    "setup_arch",
    "sched_init",
    "vmalloc_init",
    "vfs_caches_init_early",
    "mem_init",
    "kmem_cache_init",
    "setup_per_cpu_pageset",
    "vfs_caches_init",
    "rest_init",
  ].map(indexOf);
  assertEquals(order, order.toSorted((a, b) => a - b));
});

Deno.test("every step does something or says why not", () => {
  for (const { name, run, nothing } of START_KERNEL_STEPS) {
    assert((run === undefined) !== (nothing === undefined), name);
  }
});

Deno.test("vmalloc_init() after its user oopses and names what is missing", () => {
  const error = assertThrows(
    () =>
      boot({
        spec,
        params: { hashdist: true },
        steps: moved("vmalloc_init", "vfs_caches_init"),
      }),
    KernelBug,
  );
  assertStringIncludes(error.headline, "NULL pointer dereference");
  assertStringIncludes(error.headline, "vmalloc_init");
  assertEquals(error.trace.at(-2), "start_kernel");
});

Deno.test("a step before what it needs oopses and names it", () => {
  const error = assertThrows(
    () => boot({ spec, steps: moved("mem_init", "setup_per_cpu_pageset") }),
    KernelBug,
  );
  assertStringIncludes(error.headline, "mem_init");
});

Deno.test("options that nobody knows are in the log, in order", () => {
  const { kernel } = boot({
    spec,
    params: { unknown_options: ["root", "foo"] },
  });
  assertStringIncludes(
    kernel.printk.dmesg(),
    "Unknown boot option `root': ignoring\n",
  );
});

Deno.test("a machine that has oopsed says so again, whatever is run on it", () => {
  const machine = boot({ spec });
  const oops = assertThrows(
    () =>
      machine.run(function* (t) {
        yield* vstore(t, 0xd00000000000, 8, 1); // nothing is mapped there
      }),
    KernelBug,
  );
  const again = assertThrows(() => machine.run(() => []), KernelBug);
  assertEquals(again, oops);
});
