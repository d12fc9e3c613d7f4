import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { KernelBug } from "../bug.ts";
import { drain_all_pages } from "../mm/percpu_pages.ts";
import { nr_unused_pages } from "../mm/page_alloc.ts";
import { vm_map_ram, vm_unmap_aliases } from "../mm/vmap.ts";
import { vstore } from "../../arch/asm.ts";
import { PAGE_KERNEL } from "../../arch/hw/pte.ts";
import { page_address, pfn_to_page } from "../mm/page.ts";
import { exit_mmap } from "../fork.ts";
import {
  bootGuest,
  first_mm,
  fork_churn,
  map_churn,
  on_cpus,
} from "./testing.ts";

const churn = (forks: number, maps: number) => [
  (t: Parameters<typeof fork_churn>[0]) => fork_churn(t, forks),
  (t: Parameters<typeof fork_churn>[0]) => fork_churn(t, forks),
  (t: Parameters<typeof fork_churn>[0]) => map_churn(t, maps),
  (t: Parameters<typeof fork_churn>[0]) => map_churn(t, maps),
];

Deno.test("a booted guest's page tables are pinned and read-only to it", () => {
  const { kernel, machine } = bootGuest();
  const x = machine.xen!;
  const { pgd } = kernel.init_mm;
  const info = x.frameInfo(pgd);
  assertEquals([info.type, info.pinned, info.typeCount], ["l4", true, 1]);
  assertEquals(x.frames.nrTyped, kernel.init_mm.nr_tables);
  assertEquals(x.log, []);
});

Deno.test("xen_pgd_pin() and exit_mmap() make a tree page tables and back", () => {
  const booted = bootGuest();
  const x = booted.machine.xen!;
  const before = x.frames.nrTyped;
  booted.run(function* (t) {
    const mm = yield* first_mm(t);
    assert(mm.pinned);
    assertEquals(x.frames.nrTyped - before, mm.nr_tables);
    const { type, pinned } = x.frameInfo(mm.pgd);
    assertEquals([type, pinned], ["l4", true]);
    const { pgd } = mm;
    yield* exit_mmap(t, mm);
    assertEquals(x.frames.nrTyped, before);
    assertEquals(x.frameInfo(pgd).type, "writable"); // the direct map's entry
    assertEquals(x.frameInfo(pgd).typeCount, 1);
  });
  assertEquals(x.log, []);
});

Deno.test("pin and unpin among vm_map_ram() of other CPUs are never refused, and all memory comes back", () => {
  for (const seed of [1, 2, 3]) {
    const booted = bootGuest([], seed);
    const x = booted.machine.xen!;
    const k = booted.kernel;
    // Once, so that caches and tables of the kernel's space are there.
    booted.run((t) => on_cpus(t, churn(2, 8)));
    booted.run(vm_unmap_aliases);
    booted.run(drain_all_pages);
    const before = { typed: x.frames.nrTyped, free: nr_unused_pages(k) };
    booted.run((t) => on_cpus(t, churn(10, 80)));
    booted.run(vm_unmap_aliases);
    booted.run(drain_all_pages);
    assertEquals(x.log, []);
    assertEquals(x.frames.refusals, 0);
    assertEquals(x.frames.check(), []);
    assert(x.counters.pins > 40, `${x.counters.pins} pins`);
    const tables = x.frames.nrTyped - before.typed;
    // Slabs may have grown; tables of the kernel's space stay.
    const lost = before.free - nr_unused_pages(k) - tables;
    assert(lost <= 16, `${lost} pages are gone`);
    assertEquals(k.vmap.check(), []);
  }
});

for (
  const [quirk, seen] of [
    ["no-unmap-aliases-on-pin", /multicall\(s\) failed/],
    ["late-unmap-aliases", /multicall\(s\) failed/],
    [
      "no-unmap-aliases-on-alloc-ptpage",
      /an entry of a page table is refused|a new page table is refused/,
    ],
  ] as const
) {
  Deno.test(`xen.quirk=${quirk} ends in a refusal that names the alias`, () => {
    const booted = bootGuest([quirk]);
    const bug = assertThrows(
      () => booted.run((t) => on_cpus(t, churn(20, 200))),
      KernelBug,
    );
    assertMatch(bug.message, seen);
    assertMatch(
      bug.message,
      /alias ffffc2[0-9a-f]{10} of frame [0-9a-f]+, writable write-back, in the page table: mapped by \S+ \(.*CPU \d\) at \d+\.\d+, unmapped by \S+ \(.*CPU \d\) at \d+\.\d+/,
    );
    const log = booted.machine.xen!.log;
    assertMatch(
      log[0],
      /^\(XEN\) mm\.c:\d+:d1 Bad type \(saw 74000000000000\d\d != exp [1-4]0{15}\) for mfn [0-9a-f]+ \(pfn [0-9a-f]+\)$/,
    );
    const pinning = log.some((line) => /Error while pinning mfn/.test(line));
    assertEquals(pinning, quirk !== "no-unmap-aliases-on-alloc-ptpage");
    assert(booted.dmesg().some((line) => line.includes(log[0])));
    // The same error ever after: the machine is dead.
    assertThrows(() => booted.run(vm_unmap_aliases), KernelBug);
  });
}

Deno.test("a store to a page table by its direct-map address is a fault", () => {
  const booted = bootGuest();
  const bug = assertThrows(
    () =>
      booted.run(function* (t) {
        const mm = yield* first_mm(t);
        yield* vstore(t, page_address(t.k, pfn_to_page(t.k, mm.pgd)), 8, 0);
      }),
    KernelBug,
  );
  assertMatch(bug.message, /paging request .*\(write, write to read-only\)/);
});

Deno.test("mapping a page table writable by vmap() is refused", () => {
  const booted = bootGuest();
  const bug = assertThrows(
    () =>
      booted.run(function* (t) {
        const mm = yield* first_mm(t);
        const page = pfn_to_page(t.k, mm.pgd);
        yield* vm_map_ram(t, [page], 1, -1, PAGE_KERNEL);
      }),
    KernelBug,
  );
  assertMatch(bug.message, /an entry of the kernel's space is refused/);
});

Deno.test("the same seed gives the same clocks", () => {
  const clocks = [0, 1].map(() => {
    const booted = bootGuest();
    booted.run((t) => on_cpus(t, churn(3, 20)));
    return booted.machine.engine.cpus.map(({ clock }) => clock);
  });
  assertEquals(clocks[0], clocks[1]);
});
