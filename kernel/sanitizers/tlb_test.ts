import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type Steps, vload, vstore } from "../../arch/asm.ts";
import { kthread_join, kthread_run } from "../kthread.ts";
import { __free_page } from "../mm/page_alloc.ts";
import { vunmap_page_range } from "../mm/pgtable.ts";
import { VM_MAP } from "../mm/vm_struct.ts";
import {
  PAGE_SIZE,
  PROT,
  take_pages,
  VMALLOC_START,
  type VmOptions,
} from "../mm/vm_testing.ts";
import {
  vfree,
  vm_map_ram,
  vm_unmap_aliases,
  vm_unmap_ram,
  vmalloc,
  vmap,
  vunmap,
} from "../mm/vmalloc.ts";
import { vread } from "../mm/vread.ts";
import type { Thread } from "../thread.ts";
import { foundIn } from "./found_testing.ts";
import type { SanitizerReport } from "./report.ts";
import { randomUse } from "./use_testing.ts";

/** Runs `main` under the sanitizer. @returns What it has found; `null` = nothing. */
function found(
  main: (t: Thread) => Steps<unknown>,
  options: VmOptions = {},
): SanitizerReport | null {
  return foundIn("tlb", main, options);
}

/** The same, with quirks put back. */
function foundWith(
  quirk: string,
  main: (t: Thread) => Steps<unknown>,
): SanitizerReport | null {
  return found(main, { params: { vmap_quirk: new Set([quirk]) } });
}

/** `report` in lines, headline first. */
function text(report: SanitizerReport | null): string {
  assert(report !== null, "nothing found");
  const { headline, sections } = report;
  return [headline, ...sections.flatMap((s) => [s.title, ...s.lines])]
    .join("\n");
}

Deno.test("an access after vunmap() is found while the translation is left", () => {
  const report = found(function* (t) {
    const pages = yield* take_pages(t, 1);
    const addr = yield* vmap(t, pages, 1, VM_MAP, PROT);
    yield* vstore(t, addr, 8, 1);
    yield* vunmap(t, addr);
    yield* vload(t, addr, 8);
  });
  const lines = text(report);
  assertStringIncludes(
    lines,
    "BUG: TLB: use of an address after it was unmapped\n",
  );
  assertStringIncludes(lines, "mapped by init:1 on CPU 0 at");
  assertStringIncludes(lines, "unmapped by init:1 on CPU 0 at");
  assertStringIncludes(lines, "\nvunmap\n");
  assertStringIncludes(lines, "the page table has frame");
  assertStringIncludes(lines, "the TLB of CPU 0 has frame");
});

Deno.test("an access after vm_unmap_ram() and after vfree() is found too", () => {
  const ram = found(function* (t) {
    const pages = yield* take_pages(t, 1);
    const addr = yield* vm_map_ram(t, pages, 1, -1, PROT);
    yield* vm_unmap_ram(t, addr, 1);
    yield* vstore(t, addr, 8, 1);
  });
  assertEquals(
    ram?.headline,
    "BUG: TLB: use of an address after it was unmapped",
  );
  const freed = found(function* (t) {
    const addr = yield* vmalloc(t, PAGE_SIZE);
    yield* vstore(t, addr, 8, 1);
    yield* vfree(t, addr);
    yield* vstore(t, addr, 8, 1);
  });
  assertEquals(freed?.headline, ram?.headline);
});

Deno.test("purge-without-flush: the TLB that has the old page is named", () => {
  const reuse = function* (t: Thread) {
    const [old, fresh] = yield* take_pages(t, 2);
    const a = yield* vmap(t, [old], 1, VM_MAP, PROT);
    yield* vstore(t, a, 8, 1);
    yield* vunmap(t, a);
    for (let i = 0; i < 3; i++) {
      // A purge for want of room: vm_unmap_aliases() would be found out first.
      const b = yield* vmap(t, [fresh], 1, VM_MAP, PROT);
      yield* vunmap(t, b);
    }
  };
  const params = { lazy_max: 0 };
  assertEquals(found(reuse, { params }), null);
  const quirk = { ...params, vmap_quirk: new Set(["purge-without-flush"]) };
  const lines = text(found(reuse, { params: quirk }));
  assertStringIncludes(lines, "address reused without a TLB flush\n");
  assertStringIncludes(lines, "the TLB of CPU 0 has frame");
});

Deno.test("posted-search: entries in use where a mapping is made", () => {
  const report = foundWith("posted-search", function* (t) {
    const pages = yield* take_pages(t, 4);
    const a = yield* vmap(t, pages, 1, VM_MAP, PROT);
    yield* vmap(t, pages, 4, VM_MAP, PROT);
    yield* vunmap(t, a);
    yield* vm_unmap_aliases(t);
    yield* vmap(t, pages, 4, VM_MAP, PROT);
  });
  assertEquals(
    report?.headline,
    "BUG: TLB: address reused while its entry is in use",
  );
});

/** Fills a block of 1024 pages and unmaps some of it. */
function* full_block(t: Thread): Steps<number> {
  const pages = yield* take_pages(t, 64);
  const at: number[] = [];
  for (let i = 0; i < 16; i++) {
    at.push(yield* vm_map_ram(t, pages, 64, -1, PROT));
  }
  yield* vm_unmap_ram(t, at[5], 64);
  return at[5];
}

Deno.test("full-blocks-skipped: an alias is left by vm_unmap_aliases()", () => {
  const main = function* (t: Thread) {
    yield* full_block(t);
    yield* vm_unmap_aliases(t);
  };
  assertEquals(found(main), null);
  const lines = text(foundWith("full-blocks-skipped", main));
  assertStringIncludes(lines, "alias alive after vm_unmap_aliases()\n");
  assertStringIncludes(lines, "vm_unmap_aliases() called by init:1");
});

Deno.test("an alias in a TLB alone is one too; what was mapped anew is none", () => {
  const main = function* (t: Thread, again: boolean) {
    const [page, other] = yield* take_pages(t, 2);
    const a = yield* vmap(t, [page], 1, VM_MAP, PROT);
    yield* vunmap(t, a);
    t.machine.mmu.speculate(1, a); // CPU 1, idle
    const p = yield* kthread_run(t, vm_unmap_aliases, "aliases");
    yield* kthread_join(t, p);
    if (again) yield* vmap(t, [other], 1, VM_MAP, PROT);
  };
  const options = (quirks: string[]): VmOptions => ({
    cpus: 2,
    params: { vmap_quirk: new Set(quirks) },
  });
  for (const again of [false, true]) {
    assertEquals(found((t) => main(t, again), options([])), null);
  }
  const quirks = options(["purge-without-flush"]);
  const lines = text(found((t) => main(t, false), quirks));
  assertStringIncludes(lines, "alias alive after vm_unmap_aliases()\n");
  assertStringIncludes(lines, "the page table has no entry");
  assertStringIncludes(lines, "the TLB of CPU 1 has frame");
});

Deno.test("a frame allocated again while a mapping in use leads to it is found", () => {
  const main = function* (t: Thread, unmap: boolean) {
    const pages = yield* take_pages(t, 1);
    const addr = yield* vmap(t, pages, 1, VM_MAP, PROT);
    if (unmap) yield* vunmap(t, addr); // lazily: the window that is allowed
    yield* __free_page(t, pages[0]);
    yield* take_pages(t, 1);
  };
  assertEquals(found((t) => main(t, true)), null);
  const lines = text(found((t) => main(t, false)));
  assertStringIncludes(lines, "frame reused while it is mapped\n");
  assertStringIncludes(lines, "freed by init:1");
});

Deno.test("an access through what the TLB had before is found", () => {
  const report = found(function* (t) {
    const [old, fresh] = yield* take_pages(t, 2);
    const a = yield* vmap(t, [old], 1, VM_MAP, PROT);
    yield* vunmap(t, a);
    yield* vm_unmap_aliases(t);
    const b = yield* vmap(t, [fresh], 1, VM_MAP, PROT);
    assertEquals(a, b);
    // What a TLB that is not flushed would have.
    const tlb = t.machine.mmu.tlbs[t.cpu.id];
    tlb.insert(a / PAGE_SIZE, old.pfn, PROT);
    yield* vload(t, b, 8);
  });
  assertEquals(
    report?.headline,
    "BUG: TLB: access through a stale translation",
  );
});

Deno.test("clearing entries that are in use is found", () => {
  const report = found(function* (t) {
    const addr = yield* vmalloc(t, PAGE_SIZE);
    yield* vunmap_page_range(t, addr, addr + PAGE_SIZE);
  });
  assertEquals(
    report?.headline,
    "BUG: TLB: page-table entries of a mapping in use cleared",
  );
});

Deno.test("vread() of vmalloc space is no use after unmapping", () => {
  const reader = function* (t: Thread) {
    const buf = new Uint8Array(64);
    for (let i = 0; i < 30; i++) yield* vread(t, buf, VMALLOC_START);
  };
  const report = found(function* (t) {
    const p = yield* kthread_run(t, reader, "reader");
    for (let i = 0; i < 30; i++) {
      const addr = yield* vmalloc(t, PAGE_SIZE);
      yield* vfree(t, addr);
    }
    yield* kthread_join(t, p);
  }, { cpus: 2, params: { lazy_max: 0 } });
  assertEquals(report, null);
});

Deno.test("a fill ahead of use and a lost translation cost no time, and do what hardware may", () => {
  const main = function* (t: Thread) {
    const pages = yield* take_pages(t, 1);
    const addr = yield* vmap(t, pages, 1, VM_MAP, PROT);
    const at = t.cpu.clock;
    assertEquals(t.machine.mmu.speculate(0, addr), true);
    assertEquals(t.machine.mmu.speculate(0, addr), false);
    assertEquals(t.machine.mmu.speculate(0, addr + PAGE_SIZE), false);
    const tlb = t.machine.mmu.tlbs[0];
    assertEquals(tlb.peek(addr / PAGE_SIZE), pages[0].pfn);
    t.machine.mmu.forgetPage(0, addr);
    assertEquals(tlb.holds(addr / PAGE_SIZE), false);
    assertEquals(t.cpu.clock, at);
  };
  assertEquals(found(main), null);
});

for (const vmap of ["rewrite", "vmlist"]) {
  for (const cpus of [1, 2]) {
    Deno.test(`${vmap}: random use of all calls on ${cpus} CPUs is clean, and takes the same time`, () => {
      for (let seed = 1; seed <= 10; seed++) {
        assertEquals(
          randomUse(["tlb"], { vmap, cpus, seed }),
          randomUse([], { vmap, cpus, seed }),
        );
      }
    });
  }
}
