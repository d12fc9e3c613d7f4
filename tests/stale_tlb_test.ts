/** A TLB entry is served as long as nobody flushes it, whatever the tables say. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { pstore, vload, vstore } from "../arch/asm.ts";
import { findPreset } from "../arch/hw/presets/index.ts";
import { printVaddr } from "../arch/hw/pte.ts";
import { boot, type BootedMachine } from "../boot/boot.ts";
import { KernelBug } from "../kernel/bug.ts";
import { kthread_join } from "../kernel/kthread.ts";
import { GFP_KERNEL } from "../kernel/mm/gfp.ts";
import { __free_page, alloc_page } from "../kernel/mm/page_alloc.ts";
import { pfn_at, vunmap_page_range } from "../kernel/mm/pgtable.ts";
import { flush_tlb_kernel_range } from "../kernel/mm/tlb.ts";
import { VM_MAP } from "../kernel/mm/vm_struct.ts";
import { vm_unmap_aliases, vmap, vunmap } from "../kernel/mm/vmap.ts";
import { set_cpus_allowed } from "../kernel/sched/migrate.ts";
import type { Thread } from "../kernel/thread.ts";
import { PROT, run_on, staleTlbEntries, take_pages } from "./_machine.ts";

const PAGE = 4096;
/** A reader that nothing stops gives up. */
const MOST_LOADS = 20_000;

function bootLayer(vmap: string): BootedMachine {
  return boot({
    spec: findPreset("opteron-2x4"),
    params: { vmap },
    engine: { runAheadCycles: 0 }, // so that no store shows before its turn
  });
}

/** Maps a page on CPU `cpu`, writes 1111 there, unmaps; then its next owner writes 2222. */
function* map_unmap_reuse(t: Thread, cpu: number) {
  yield* set_cpus_allowed(t, t, [cpu]);
  const [page] = yield* take_pages(t, 1);
  const addr = yield* vmap(t, [page], 1, VM_MAP, PROT);
  yield* vstore(t, addr + 8, 4, 1111);
  yield* vunmap(t, addr);
  yield* __free_page(t, page);
  const reused = yield* alloc_page(t, GFP_KERNEL);
  assertEquals(reused, page);
  yield* pstore(t, page.pfn * PAGE + 8, 4, 2222);
  return addr;
}

/** Message of the oops that `addr` must bring about. */
function pagingRequest(booted: BootedMachine, addr: number): string {
  const at = printVaddr(booted.machine.mmu.format, addr);
  return `BUG: unable to handle kernel paging request at ${at} (read, not present)`;
}

Deno.test("rewrite: after vunmap() a CPU reads the page's next owner through the old address", () => {
  const booted = bootLayer("rewrite");
  const { machine, kernel } = booted;
  const flushes = kernel.vmalloc.flushes;
  const addr = booted.run((t) => map_unmap_reuse(t, 5));
  assertEquals(kernel.vmalloc.flushes, flushes);
  assert(machine.mmu.tlbs[5].holds(addr / PAGE));
  assertEquals(booted.run((t) => vload(t, addr + 8, 4)), 2222);
  booted.run(vm_unmap_aliases);
  assert(!machine.mmu.tlbs[5].holds(addr / PAGE));
  const bug = assertThrows(
    () => booted.run((t) => vload(t, addr + 8, 4)),
    KernelBug,
  );
  assertEquals(bug.headline, pagingRequest(booted, addr + 8));
  assertEquals([bug.cpu, bug.comm, bug.pid], [5, "init", 1]);
});

Deno.test("vmlist: after vunmap() the same read oopses at once and names the address", () => {
  const booted = bootLayer("vmlist");
  const { machine, kernel } = booted;
  const flushes = kernel.vmalloc.flushes;
  const addr = booted.run((t) => map_unmap_reuse(t, 5));
  assertEquals(kernel.vmalloc.flushes, flushes + 1);
  assert(!machine.mmu.tlbs[5].holds(addr / PAGE));
  const bug = assertThrows(
    () => booted.run((t) => vload(t, addr + 8, 4)),
    KernelBug,
  );
  assertEquals(bug.headline, pagingRequest(booted, addr + 8));
  assertEquals(bug.cpu, 5);
});

Deno.test("a cleared entry is served by the TLB that has it, and faults on the CPU that has not", () => {
  for (const cpu of [2, 6]) {
    const booted = bootLayer("rewrite");
    const { kernel, machine } = booted;
    const addr = booted.run(function* (t) {
      yield* set_cpus_allowed(t, t, [2]);
      const [page] = yield* take_pages(t, 1);
      const addr = yield* vmap(t, [page], 1, VM_MAP, PROT);
      yield* vstore(t, addr, 4, 1111);
      yield* vunmap_page_range(t, addr, addr + PAGE);
      return addr;
    });
    assertEquals(pfn_at(kernel, addr), -1);
    assertEquals(staleTlbEntries(booted).length, 1);
    const read = () =>
      booted.run(function* (t) {
        yield* set_cpus_allowed(t, t, [cpu]);
        return yield* vload(t, addr, 4);
      });
    if (cpu === 2) {
      const { misses } = machine.mmu.tlbs[2];
      assertEquals(read(), 1111);
      assertEquals(machine.mmu.tlbs[2].misses, misses);
      booted.run((t) => flush_tlb_kernel_range(t, addr, addr + PAGE));
      assertEquals(staleTlbEntries(booted), []);
    }
    const bug = assertThrows(read, KernelBug);
    assertEquals(bug.headline, pagingRequest(booted, addr));
    assertEquals(bug.cpu, cpu);
  }
});

Deno.test("a write that TLB and table disagree on goes to the old frame", () => {
  const booted = bootLayer("rewrite");
  const [inOld, inNew] = booted.run(function* (t) {
    const [before, after] = yield* take_pages(t, 2);
    const addr = yield* vmap(t, [before], 1, VM_MAP, PROT);
    yield* vstore(t, addr, 4, 1);
    // Remapped without a flush: the bug that lazy unmapping must never have.
    yield* vunmap_page_range(t, addr, addr + PAGE);
    const { mmu, memory } = t.machine;
    const twin = yield* vmap(t, [after], 1, VM_MAP, PROT);
    yield* vstore(t, addr, 4, 77);
    yield* vstore(t, twin, 4, 88);
    assertEquals(mmu.peek(t.k.init_mm.pgd, twin), after.pfn);
    return [before, after].map(({ pfn }) => memory.readNumber(pfn * PAGE, 4));
  });
  assertEquals([inOld, inNew], [77, 88]);
});

Deno.test("while a purge clears entries a reader elsewhere sees them until its own flush", () => {
  const booted = bootLayer("rewrite");
  const { kernel } = booted;
  let addr = 0;
  let loads = 0;
  let stale = 0;
  let purged = false;
  const bug = assertThrows(() =>
    booted.run(function* (t) {
      yield* set_cpus_allowed(t, t, [0]);
      const pages = yield* take_pages(t, 64);
      addr = yield* vmap(t, pages, 64, VM_MAP, PROT);
      yield* vstore(t, addr, 4, 1111);
      const reader = yield* run_on(t, 7, function* (p) {
        while (loads < MOST_LOADS) { // ends in the fault
          const cleared = pfn_at(kernel, addr) < 0;
          assertEquals(yield* vload(p, addr, 4), 1111);
          loads++;
          if (cleared) stale++;
        }
      });
      while (loads < 100) yield* vload(t, addr + 8 * PAGE, 4); // meanwhile
      yield* vunmap(t, addr);
      assertEquals(stale, 0);
      yield* vm_unmap_aliases(t);
      purged = true;
      yield* kthread_join(t, reader);
    }), KernelBug);
  assertEquals(bug.headline, pagingRequest(booted, addr));
  assertEquals([bug.cpu, bug.comm], [7, "test/7"]);
  assert(stale > 10, `${stale} stale of ${loads}`);
  assert(!purged, "the reader faults before the purger has heard of all");
});
