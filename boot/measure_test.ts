/** A booted machine measures what ran between two moments, and costs nothing. */
import { assert, assertEquals } from "@std/assert";
import { charge_cycles, enter, ksym, leave } from "../arch/asm.ts";
import { findPreset } from "../arch/hw/presets/index.ts";
import {
  spin_lock,
  spin_unlock,
  Spinlock,
} from "../kernel/locking/spinlock.ts";
import { flush_tlb_all, flush_tlb_kernel_range } from "../kernel/mm/tlb.ts";
import { vfree, vmalloc } from "../kernel/mm/vmalloc.ts";
import { VmlistLayer } from "../kernel/mm/vmlist_layer.ts";
import type { Thread } from "../kernel/thread.ts";
import { boot } from "./boot.ts";
import { runBoot } from "./run.ts";

const PROBE = ksym("measure_probe");
const CYCLES = 2_300_000; // a millisecond at 2.3 GHz

// deno-lint-ignore require-yield
function* probe(t: Thread) {
  enter(t, PROBE);
  charge_cycles(t, CYCLES);
  leave(t);
}

Deno.test("profile() counts ticks of a microsecond since the snapshot", () => {
  const machine = boot();
  machine.run(probe);
  const before = machine.snapshot();
  machine.run(probe);
  const ticks = (lines: ReturnType<typeof machine.profile>) =>
    lines.find(({ symbol }) => symbol === "measure_probe")?.ticks;
  assertEquals(ticks(machine.profile()), 2000);
  assertEquals(ticks(machine.profile(before)), 1000);
  assertEquals(machine.profile(machine.snapshot()), []);
  const percent = machine.profile().reduce((sum, l) => sum + l.percent, 0);
  assert(percent > 99 && percent < 101, `${percent} %`);
});

Deno.test("profile() counts the CPUs that sleep all the while, and no more than the time between", () => {
  const machine = boot();
  machine.run(probe); // the others sleep longer than what is measured
  const before = machine.snapshot();
  machine.run(probe);
  const idle = machine.profile(before)
    .find(({ symbol }) => symbol === "default_idle")!.ticks;
  assert(idle >= 7000 && idle < 7100, `${idle} ticks of 7 CPUs in 1000`);
});

Deno.test("lockStat() counts what happened to a class of locks since the snapshot", () => {
  const machine = boot();
  const lock = new Spinlock(machine.kernel, "measure_lock");
  const hold = function* (t: Thread) {
    yield* spin_lock(t, lock);
    charge_cycles(t, CYCLES);
    yield* spin_unlock(t, lock);
  };
  machine.run(hold);
  const before = machine.snapshot();
  machine.run(hold);
  const find = (lines: ReturnType<typeof machine.lockStat>) =>
    lines.find(({ name }) => name === "measure_lock")!;
  const line = find(machine.lockStat(before));
  assertEquals([line.acquisitions, line.contentions, line.wait_ns], [1, 0, 0]);
  assert(line.hold_ns >= 1e6 && line.hold_ns < 1.001e6, `${line.hold_ns} ns`);
  assertEquals(find(machine.lockStat()).acquisitions, 2);
});

Deno.test("counters() counts flushes, interrupts, TLB misses and areas", () => {
  const machine = boot();
  const before = machine.counters();
  machine.run((t) => flush_tlb_kernel_range(t, 0, 4096));
  machine.run((t) => flush_tlb_all(t));
  machine.run((t) => vmalloc(t, 4096));
  const after = machine.counters();
  assertEquals(after.tlbFlushes - before.tlbFlushes, 1);
  assert(after.ipis - before.ipis >= 14);
  assertEquals(
    after.tlb.map((tlb, cpu) =>
      tlb.flushesGlobal - before.tlb[cpu].flushesGlobal
    ),
    [2, 2, 2, 2, 2, 2, 2, 2],
  );
  assertEquals(after.vmap.areas - before.vmap.areas, 1);
  assert(after.atNs > before.atNs);
});

Deno.test("measuring costs no virtual time", () => {
  const clocks = [false, true].map((look) => {
    const machine = boot();
    for (let i = 0; i < 3; i++) {
      machine.run(function* (t) {
        yield* vfree(t, yield* vmalloc(t, 8192));
      });
      if (look) [machine.profile(), machine.lockStat(), machine.counters()];
    }
    return machine.machine.engine.cpus.map(({ clock }) => clock);
  });
  assertEquals(clocks[0], clocks[1]);
});

Deno.test("runBoot() runs a layer of one's own, with defaults for the rest", () => {
  const result = runBoot({
    spec: findPreset("opteron-2x4"),
    layers: ["mine", "rewrite"],
    vmapLayers: { mine: (k) => new VmlistLayer(k) },
    threads: [1],
    ops: 20,
  });
  assertEquals(
    result.runs.map(({ vmap, api, pages, workload }) => [
      vmap,
      api,
      pages,
      workload,
    ]),
    [["mine", "ram", 4, "map-touch-unmap"], [
      "rewrite",
      "ram",
      4,
      "map-touch-unmap",
    ]],
  );
  assertEquals([result.command_line, result.seed], ["", 1]);
});
