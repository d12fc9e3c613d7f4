/** Machines of 64, 1024 and 4096 CPUs boot, and both layers work on them. */
import { assert, assertEquals } from "@std/assert";
import { type Steps, vload, vstore } from "../arch/asm.ts";
import { generic } from "../arch/hw/presets/generic.ts";
import { boot, type BootedMachine } from "../boot/boot.ts";
import { kthread_join } from "../kernel/kthread.ts";
import { VM_MAP } from "../kernel/mm/vm_struct.ts";
import {
  vm_map_ram,
  vm_unmap_aliases,
  vm_unmap_ram,
  vmap,
  vunmap,
} from "../kernel/mm/vmap.ts";
import type { Thread } from "../kernel/thread.ts";
import {
  drop_pages,
  inventory,
  livePagesInBlocks,
  PROT,
  run_on,
  settle,
  staleTlbEntries,
  take_pages,
} from "./_machine.ts";

const PAGE = 4096;
/** Host's work of bringing a CPU up and letting it go idle, steps of the engine. */
const MOST_RESUMES_PER_CPU = 12;

function bootCpus(cpus: number, layer: string): BootedMachine {
  const booted = boot({ spec: generic(cpus / 4, 4), params: { vmap: layer } });
  const { kernel, machine } = booted;
  assertEquals(kernel.cpu_online.weight, cpus);
  const log = kernel.printk.lines();
  assertEquals(
    log[log.length - 1].text,
    `Boot complete: ${cpus} CPUs, vmap=${layer}`,
  );
  const { resumes } = machine.engine;
  assert(resumes < MOST_RESUMES_PER_CPU * cpus, `${resumes} resumes`);
  assertEquals(kernel.printk.warnings, 0);
  return booted;
}

/** Maps a page on pid 1's CPU, writes it on the last, reads it here and unmaps it. */
function* cross(t: Thread): Steps {
  const pages = yield* take_pages(t, 1);
  const addr = yield* vmap(t, pages, 1, VM_MAP, PROT);
  const far = yield* run_on(
    t,
    t.machine.nrCpus - 1,
    (p) => vstore(p, addr, 4, 99),
  );
  yield* kthread_join(t, far);
  assertEquals(yield* vload(t, addr, 4), 99);
  yield* vunmap(t, addr);
  yield* drop_pages(t, pages);
}

function globalFlushes({ machine }: BootedMachine): number[] {
  return machine.mmu.tlbs.map(({ flushesGlobal }) => flushesGlobal);
}

for (
  const [layer, cpus] of [
    ["vmlist", 64],
    ["rewrite", 64],
    ["vmlist", 1024],
  ] as const
) {
  Deno.test(`${layer}: a flush reaches each of ${cpus} CPUs`, () => {
    const booted = bootCpus(cpus, layer);
    const { kernel } = booted;
    const start = inventory(kernel);
    const before = globalFlushes(booted);
    booted.run(cross);
    booted.run(vm_unmap_aliases);
    const after = globalFlushes(booted).map((n, i) => n - before[i]);
    assertEquals(after, new Array(cpus).fill(1));
    assertEquals(staleTlbEntries(booted), []);
    assertEquals(inventory(kernel).entries, start.entries);
    if (cpus > 64) return; // a call to N CPUs takes the host N * N steps
    booted.run(settle);
    assertEquals(inventory(kernel), start);
  });
}

Deno.test("rewrite: 4096 CPUs boot, and the last reads what the first maps", () => {
  const booted = bootCpus(4096, "rewrite");
  const { kernel, machine } = booted;
  const { start, page_size } = kernel.vmalloc;
  booted.run(cross);
  assertEquals(kernel.vmap.check(), []);
  let cached = 0;
  machine.mmu.tlbs[4095].forEach((vpn) => {
    if (vpn * page_size >= start) cached++;
  });
  assertEquals(cached, 1); // unmapped, not flushed
});

/** Maps, touches and unmaps a few times. */
function* map_some(t: Thread): Steps {
  const pages = yield* take_pages(t, 4);
  for (let i = 0; i < 12; i++) {
    const addr = yield* vm_map_ram(t, pages, 4, -1, PROT);
    for (let p = 0; p < 4; p++) yield* vstore(t, addr + p * PAGE, 4, t.cpu.id);
    yield* vm_unmap_ram(t, addr, 4);
    assertEquals(yield* vload(t, addr, 4), t.cpu.id); // lazily
  }
  yield* drop_pages(t, pages);
}

for (const cpus of [64, 1024]) {
  Deno.test(`rewrite: ${cpus} CPUs map, touch and unmap, each in a block of its own, without a flush`, () => {
    const booted = bootCpus(cpus, "rewrite");
    const { kernel } = booted;
    const start = inventory(kernel);
    booted.run(function* (t) {
      const threads: Thread[] = [];
      for (let cpu = 0; cpu < cpus; cpu++) {
        threads.push(yield* run_on(t, cpu, map_some));
      }
      for (const p of threads) yield* kthread_join(t, p);
    });
    const { blocks, blocks_with_free, purges } = kernel.vmap.counters();
    assertEquals([blocks, blocks_with_free, purges], [cpus, cpus, 0]);
    assertEquals(kernel.vmalloc.flushes, 0);
    assertEquals(livePagesInBlocks(kernel), 0);
    assertEquals(kernel.vmap.check(), []);
    const { areas, pages } = inventory(kernel);
    assertEquals([areas - blocks, pages], [start.areas, start.pages]);
  });
}
