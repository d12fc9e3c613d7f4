/**
 * altix-64: an ia64 kernel with 16 KiB pages works from page tables to the
 * benchmark, on one CPU and on 64.
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ksym, vload, vstore } from "../arch/asm.ts";
import { findPreset } from "../arch/hw/presets/index.ts";
import { printVaddr } from "../arch/hw/pte.ts";
import { withCpus } from "../arch/hw/validate.ts";
import { Deadlock } from "../arch/sim/engine.ts";
import { boot, type BootedMachine } from "../boot/boot.ts";
import { map_touch_unmap } from "../boot/workloads/map_touch_unmap.ts";
import { KernelBug } from "../kernel/bug.ts";
import { kthread_join } from "../kernel/kthread.ts";
import { Mutex, mutex_lock } from "../kernel/locking/mutex.ts";
import { ioremap, iounmap } from "../kernel/mm/ioremap.ts";
import { page_address } from "../kernel/mm/page.ts";
import { count_ptes } from "../kernel/mm/pgtable.ts";
import { VM_MAP } from "../kernel/mm/vm_struct.ts";
import { vfree } from "../kernel/mm/vfree.ts";
import { vmalloc, vmalloc_to_pfn, vzalloc } from "../kernel/mm/vmalloc.ts";
import { vm_unmap_aliases, vmap, vunmap } from "../kernel/mm/vmap.ts";
import { cycles_seen_by_ticks } from "../kernel/profile.ts";
import {
  drop_pages,
  inventory,
  LAYERS,
  PROT,
  run_on,
  settle,
  settle_blocks,
  staleTlbEntries,
  take_pages,
} from "./_machine.ts";

const ALTIX = findPreset("altix-64");
const PAGE = 16384;

function bootAltix(vmap: string, cpus = 64, seed = 1): BootedMachine {
  return boot({ spec: withCpus(ALTIX, cpus), params: { vmap, seed } });
}

for (const layer of LAYERS) {
  Deno.test(`altix-64, ${layer}: vmalloc(), vmap() and ioremap() through tables of 16 KiB pages`, () => {
    const booted = bootAltix(layer);
    const { kernel, machine } = booted;
    const { format } = machine.mmu;
    assertEquals(kernel.vmalloc.page_size, PAGE);
    booted.run(settle);
    const start = inventory(kernel);
    booted.run(function* (t) {
      const addr = yield* vmalloc(t, 3 * PAGE + 1);
      assert(printVaddr(format, addr).startsWith("a00000020"));
      for (let i = 0; i < 4; i++) {
        yield* vstore(t, addr + i * PAGE, 8, 100 + i);
        yield* vstore(t, addr + (i + 1) * PAGE - 4, 4, 200 + i);
      }
      const { memory } = machine;
      for (let i = 0; i < 4; i++) {
        const paddr = vmalloc_to_pfn(t, addr + i * PAGE) * PAGE;
        assertEquals(memory.readNumber(paddr, 8), 100 + i);
        assertEquals(memory.readNumber(paddr + PAGE - 4, 4), 200 + i);
        assertEquals(yield* vload(t, addr + i * PAGE, 8), 100 + i);
      }
      assertEquals(vmalloc_to_pfn(t, addr + 4 * PAGE), -1); // the guard page

      const pages = yield* take_pages(t, 5);
      const alias = yield* vmap(t, pages, 5, VM_MAP, PROT);
      yield* vstore(t, alias + 4 * PAGE + 8, 4, 77);
      const linear = page_address(t.k, pages[4]);
      assert(printVaddr(format, linear).startsWith("e00000"));
      assertEquals(yield* vload(t, linear + 8, 4), 77); // region 7: no table
      yield* vunmap(t, alias);
      yield* drop_pages(t, pages);

      const device = yield* ioremap(t, 0x4000000000 + 64, 2 * PAGE);
      assertEquals(device % PAGE, 64);
      assertEquals(vmalloc_to_pfn(t, device), 0x4000000000 / PAGE);
      yield* iounmap(t, device);
      yield* vfree(t, addr);

      // Across a last-level table: 2048 entries of 16 KiB.
      const large = yield* vzalloc(t, 40 * 2 ** 20);
      assert(large % 2 ** 25 + 40 * 2 ** 20 > 2 ** 25);
      assertEquals(yield* vload(t, large + 40 * 2 ** 20 - 8, 8), 0);
      yield* vfree(t, large);
    });
    booted.run(settle_blocks);
    assertEquals(inventory(kernel), start);
    assertEquals(staleTlbEntries(booted), []);
    assertEquals(kernel.printk.warnings, 0);
  });

  Deno.test(`altix-64, ${layer}: an unmapped address faults`, () => {
    const booted = bootAltix(layer, 2);
    assertThrows(
      () => booted.run((t) => vstore(t, t.k.vmalloc.end - PAGE, 8, 1)),
      KernelBug,
    );
  });

  Deno.test(`altix-64, ${layer}: a flush reaches all 64 CPUs, once`, () => {
    const booted = bootAltix(layer);
    const { machine, kernel } = booted;
    const flushed = () => machine.mmu.tlbs.map((tlb) => tlb.flushesGlobal);
    const { start, end } = kernel.vmalloc;
    const entries = count_ptes(kernel, start, end); // of large hash tables
    const before = flushed();
    const { ipis } = machine.counters;
    booted.run(function* (t) {
      const pages = yield* take_pages(t, 1);
      const addr = yield* vmap(t, pages, 1, VM_MAP, PROT);
      for (const cpu of [1, 31, 63]) {
        const p = yield* run_on(t, cpu, (p) => vstore(p, addr, 4, cpu));
        yield* kthread_join(t, p);
      }
      yield* vunmap(t, addr);
      yield* vm_unmap_aliases(t);
      yield* drop_pages(t, pages);
    });
    assertEquals(flushed().map((n, i) => n - before[i]), Array(64).fill(1));
    assertEquals(kernel.vmalloc.flushes, 1);
    assert(machine.counters.ipis - ipis >= 63);
    assertEquals(staleTlbEntries(booted), []);
    assertEquals(count_ptes(kernel, start, end), entries);
  });

  for (const api of ["ram", "vmap"] as const) {
    Deno.test(`altix-64, ${layer}: 64 threads map, touch and unmap by ${api}, the same each time`, () => {
      const once = (seed: number) => {
        const booted = bootAltix(layer, 64, seed);
        const measured = booted.run((t) =>
          map_touch_unmap(t, {
            threads: 64,
            ops: 3,
            warmup: 1,
            pages: 4,
            api,
          })
        );
        assertEquals(measured.opsInWindow, 192);
        assertEquals(booted.kernel.vmap.check(), []);
        assertEquals(booted.kernel.printk.warnings, 0);
        booted.run(settle_blocks);
        const { machine } = booted;
        return {
          measured,
          clocks: machine.engine.cpus.map((cpu) => cpu.clock),
          spent: booted.profile(),
          resumes: machine.engine.resumes,
        };
      };
      const first = once(1);
      assertEquals(once(1), first);
      assert(once(2).measured.windowCycles !== first.measured.windowCycles);
    });
  }
}

Deno.test("altix-64: one translation of region 7 covers a granule of 16 MiB", () => {
  const booted = bootAltix("rewrite", 2);
  const misses = booted.run(function* (t) {
    const tlb = t.machine.mmu.tlbs[t.cpu.id];
    const granule = 2 ** 47 + 2 ** 30;
    const seen: number[] = [];
    for (const offset of [0, PAGE, 2 ** 24 - 8, 2 ** 24, 8]) {
      const before = tlb.misses;
      yield* vload(t, granule + offset, 8);
      seen.push(tlb.misses - before);
    }
    return seen;
  });
  assertEquals(misses, [1, 0, 0, 1, 0]);
});

Deno.test("altix-64: vmlist's time is the lock's, the idle CPUs' and the flush's, as ticks see it", () => {
  const booted = bootAltix("vmlist");
  const { kernel } = booted;
  let start = booted.snapshot();
  let taken = kernel.irq.interrupted.slice();
  let end = start;
  booted.run((t) =>
    map_touch_unmap(t, {
      threads: 40,
      ops: 5,
      warmup: 1,
      pages: 4,
      api: "vmap",
      onWindow: (edge) => {
        const now = booted.snapshot();
        const irqs = kernel.irq.interrupted.slice();
        if (edge === "start") [start, taken] = [now, irqs];
        else [end, taken] = [now, irqs.map((n, i) => n - taken[i])];
      },
    })
  );
  const spent = end.cycles.map((n, i) => n - (start.cycles[i] ?? 0));
  const seen = cycles_seen_by_ticks(spent, taken);
  const sum = (cycles: Float64Array) => cycles.reduce((a, b) => a + b, 0);
  assert(Math.abs(sum(seen) / sum(spent) - 1) < 1e-9);
  const share = (symbol: string) => seen[ksym(symbol)] / sum(seen);
  assert(share("_write_lock") > 0.4, `${share("_write_lock")}`);
  assert(share("default_idle") > 0.2, `${share("default_idle")}`);
  assert(share("smp_call_function") > 0.003);
  assertEquals(share("handle_IPI"), 0);
  assert(spent[ksym("handle_IPI")] > 0);
});

Deno.test("altix-64: a machine on which everybody sleeps is a deadlock, not an endless tick", () => {
  const booted = bootAltix("rewrite", 8);
  assertThrows(
    () =>
      booted.run(function* (t) {
        const mutex = new Mutex(t.k, "test_mutex");
        yield* mutex_lock(t, mutex);
        const p = yield* run_on(t, 3, (p) => mutex_lock(p, mutex));
        yield* kthread_join(t, p);
      }),
    Deadlock,
  );
});

Deno.test("altix-64: 1 to 1024 CPUs boot", () => {
  for (const cpus of [1, 2, 3, 256, 1024]) {
    const { kernel } = bootAltix("rewrite", cpus);
    assertEquals(kernel.cpu_online.weight, cpus);
    assertEquals(kernel.printk.warnings, 0);
    assertEquals(kernel.arch, "ia64");
  }
});
