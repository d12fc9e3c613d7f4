import { Jitter } from "../../arch/testing.ts";
import { assert, assertEquals } from "@std/assert";
import type { Steps } from "../../arch/asm.ts";
import { findPreset } from "../../arch/hw/presets/index.ts";
import { withCpus } from "../../arch/hw/validate.ts";
import type { Thread } from "../../kernel/thread.ts";
import { gnttab_free_count } from "../../kernel/xen/grant_table.ts";
import { nr_evtchns } from "../../kernel/xen/events.ts";
import { boot } from "../boot.ts";
import { inventory, settle } from "./inventory.ts";
import { xen_blk_exercise } from "./xen_blk_part.ts";
import { xen_net_exercise } from "./xen_net_part.ts";

function run<T>(vmap: string, fn: (t: Thread) => Steps<T>) {
  const spec = withCpus(findPreset("xen-pv"), 4);
  return boot({ spec, params: { vmap } }).run(fn);
}

/** All that must be the same again. */
function* state(t: Thread) {
  yield* settle(t);
  return {
    ...inventory(t.k),
    vm_structs: t.k.vmalloc.nr_vm_structs,
    grants: yield* gnttab_free_count(t),
    ports: nr_evtchns(t),
    nodes: t.k.xen_devices!.store.nodes.size,
    watches: t.k.xen_devices!.domU.watches.size,
    watches0: t.k.xen_devices!.dom0.watches.size,
    active: t.machine.xen!.domains.get(1)!.grants.active.size,
    mapped: t.machine.xen!.domains.get(0)!.grants.maptrack.size,
    slab: [...t.k.slab.inUse()].filter(([name]) => name !== "vmap_block"),
    threads: t.k.sched.threads.size,
  };
}

for (const vmap of ["rewrite", "vmlist"]) {
  Deno.test(`exercises of disks and interfaces find every byte, and give everything back: ${vmap}`, () => {
    run(vmap, function* (t) {
      yield* xen_blk_exercise(t, { tasks: 1, ops: 1 });
      yield* xen_net_exercise(t, { tasks: 1, bursts: 1 });
      const before = yield* state(t);
      const blk = yield* xen_blk_exercise(t, { tasks: 6, ops: 10 });
      assertEquals(blk.reads, 60);
      assert(blk.requests > 60);
      assertEquals(blk.maps, blk.segments);
      const net = yield* xen_net_exercise(t, { tasks: 3, bursts: 8 });
      assertEquals(net.frames, 3 * 8 * 16);
      assertEquals(yield* state(t), before);
    });
  });
}

Deno.test("xen_net_exercise() sends the frames it is given, but those that no interface can carry", () => {
  run("rewrite", function* (t) {
    const frames = [13, 14, 100, 1514, 1515].map((n) => new Uint8Array(n));
    const net = yield* xen_net_exercise(t, { tasks: 1, frames });
    assertEquals(net.frames, 16); // a burst, over and over the three
    assertEquals(net.bytes, 6 * 14 + 5 * 100 + 5 * 1514);
  });
});

Deno.test("in many orders, with a ring that is full, every byte is found and given back", () => {
  const spec = withCpus(findPreset("xen-pv"), 3);
  for (let seed = 1; seed <= 6; seed++) {
    const engine = { policy: new Jitter(seed), runAheadCycles: 0 };
    boot({ spec, params: { seed }, engine }).run(function* (t) {
      yield* xen_blk_exercise(t, { tasks: 1, ops: 1 });
      yield* xen_net_exercise(t, { tasks: 1, bursts: 1 });
      const before = yield* state(t);
      const blk = yield* xen_blk_exercise(t, { tasks: 24, ops: 2 });
      assertEquals(blk.reads, 48);
      const net = yield* xen_net_exercise(t, { tasks: 2, bursts: 3 });
      assertEquals(net.frames, 2 * 3 * 16);
      assertEquals(yield* state(t), before);
    });
  }
});

Deno.test("the same seed gives the same clocks", () => {
  const clocks = () => {
    const booted = boot({ spec: withCpus(findPreset("xen-pv"), 4) });
    booted.run(function* (t) {
      yield* xen_blk_exercise(t, { tasks: 4, ops: 5 });
      yield* xen_net_exercise(t, { tasks: 2, bursts: 3 });
    });
    return booted.machine.engine.cpus.map(({ clock }) => clock);
  };
  assertEquals(clocks(), clocks());
});
