import { Jitter } from "../../arch/testing.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Steps, vload, vstore } from "../../arch/asm.ts";
import {
  PAGE_KERNEL,
  PROT_NX,
  PROT_PCD,
  PROT_PWT,
  PROT_WRITE,
} from "../../arch/hw/pte.ts";
import { findPreset } from "../../arch/hw/presets/index.ts";
import { KernelBug } from "../bug.ts";
import { EFAULT, EINVAL } from "../lib/errno.ts";
import { kthread_bind, kthread_create, kthread_join } from "../kthread.ts";
import { wake_up_process } from "../sched/wakeup.ts";
import type { Thread } from "../thread.ts";
import { keep_alias_log } from "./alias_log.ts";
import { alias_line, find_aliases } from "./alias_report.ts";
import { GFP_KERNEL } from "./gfp.ts";
import { __get_free_pages } from "./get_free_pages.ts";
import { __free_page, alloc_page } from "./page_alloc.ts";
import { type Page, page_address } from "./page.ts";
import { prot_of } from "./pageattr.ts";
import {
  set_memory_nx,
  set_memory_ro,
  set_memory_rw,
  set_memory_uc,
  set_memory_wb,
  set_memory_wc,
  set_memory_x,
} from "./set_memory.ts";
import { pageattr_state } from "./pageattr_state.ts";
import { runVm, type VmOptions } from "./vm_testing.ts";
import { vfree, vmalloc } from "./vmalloc.ts";
import { vm_map_ram, vm_unmap_ram } from "./vmap.ts";

const TYPE = PROT_PCD | PROT_PWT;

function run<T>(
  main: (t: Thread) => Steps<T>,
  options: VmOptions = { cpus: 4 },
): T {
  return runVm(options, main).result;
}

function* take(t: Thread): Steps<{ page: Page; addr: number }> {
  const page = (yield* alloc_page(t, GFP_KERNEL))!;
  return { page, addr: page_address(t.k, page) };
}

/** Maps `page`, writes to it there, and unmaps it: lazily. */
function* leave_alias(t: Thread, page: Page): Steps<number> {
  const addr = yield* vm_map_ram(t, [page], 1, -1, PAGE_KERNEL);
  yield* vstore(t, addr, 4, 1);
  yield* vm_unmap_ram(t, addr, 1);
  return addr;
}

function quirk(name: string): VmOptions {
  return { cpus: 4, params: { pageattr_quirk: new Set([name]) } };
}

Deno.test("set_memory_uc() splits the large page, changes one page, and set_memory_wb() changes it back", () => {
  run(function* (t) {
    const { page, addr } = yield* take(t);
    yield* vstore(t, addr, 4, 7);
    const { nr_tables } = t.k.init_mm;
    assertEquals(yield* set_memory_uc(t, addr, 1), 0);
    assertEquals(prot_of(t.k, addr) & TYPE, PROT_PCD);
    assertEquals(prot_of(t.k, addr - 4096) & TYPE, 0);
    assertEquals(prot_of(t.k, addr + 4096) & TYPE, 0);
    assertEquals(pageattr_state(t.k).splits, 1);
    assertEquals(yield* vload(t, addr, 4), 7);
    assertEquals(yield* set_memory_wb(t, addr, 1), 0);
    assertEquals(prot_of(t.k, addr) & TYPE, 0);
    assertEquals(pageattr_state(t.k).splits, 1);
    assertEquals(t.k.init_mm.nr_tables, nr_tables + 1);
    yield* __free_page(t, page);
  });
});

Deno.test("set_memory_*() on i386 with PAE splits large pages too", () => {
  const spec = findPreset("i386-4");
  run(function* (t) {
    const { addr } = yield* take(t);
    assertEquals(yield* set_memory_wc(t, addr, 1), 0);
    assertEquals(prot_of(t.k, addr) & TYPE, PROT_PWT);
    assertEquals(pageattr_state(t.k).splits, 1);
    assertEquals(yield* set_memory_wb(t, addr, 1), 0);
  }, { spec });
});

Deno.test("a page that is not write-back gets no other type until it is", () => {
  run(function* (t) {
    const { addr } = yield* take(t);
    assertEquals(yield* set_memory_wb(t, addr, 1), -EINVAL);
    assertEquals(yield* set_memory_wc(t, addr, 1), 0);
    assertEquals(yield* set_memory_uc(t, addr, 1), -EINVAL);
    assertEquals(yield* set_memory_wb(t, addr, 1), 0);
    assertEquals(yield* set_memory_uc(t, addr, 1), 0);
  });
});

Deno.test("set_memory_wb() of pages of which one is write-back changes none", () => {
  run(function* (t) {
    const addr = yield* __get_free_pages(t, GFP_KERNEL, 1); // two pages
    assertEquals(yield* set_memory_uc(t, addr, 1), 0);
    assertEquals(yield* set_memory_wb(t, addr, 2), -EINVAL);
    assertEquals(yield* set_memory_wc(t, addr, 1), -EINVAL); // still uncached
    assertEquals(yield* set_memory_wb(t, addr, 1), 0);
  });
});

Deno.test("set_memory_uc() of a number of pages that is none is the caller's mistake", () => {
  for (const numpages of [-1, 0.5, NaN]) {
    assertThrows(
      () =>
        run(function* (t) {
          yield* set_memory_ro(t, (yield* take(t)).addr, numpages);
        }),
      RangeError,
      `numpages must be an integer >= 0: current value is ${numpages}`,
    );
    run(function* (t) { // nothing has been claimed
      const { addr } = yield* take(t);
      let refused: unknown = null;
      try {
        yield* set_memory_uc(t, addr, numpages);
      } catch (error) {
        refused = error;
      }
      assert(refused instanceof RangeError);
      assertEquals(yield* set_memory_uc(t, addr, 1), 0);
      assertEquals(yield* set_memory_wb(t, addr, 1), 0);
    });
  }
});

Deno.test("set_memory_uc() of a vmalloc address, and of nothing, is refused", () => {
  run(function* (t) {
    const addr = yield* vmalloc(t, 4096);
    assertEquals(yield* set_memory_uc(t, addr, 1), -EINVAL);
    assertEquals(yield* set_memory_ro(t, addr + 4096, 1), -EFAULT);
    yield* vfree(t, addr);
  });
});

Deno.test("set_memory_ro() of a vmalloc address takes the direct map's writing away too", () => {
  const store = (through: "area" | "direct map", rw: boolean) =>
    run(function* (t) {
      const addr = yield* vmalloc(t, 4096);
      const pfn = t.machine.mmu.peek(t.k.init_mm.pgd, addr);
      const direct = page_address(t.k, t.k.pages.page(pfn));
      yield* vstore(t, addr, 4, 1);
      yield* vstore(t, direct, 4, 1);
      yield* set_memory_ro(t, addr, 1);
      if (rw) yield* set_memory_rw(t, addr, 1);
      yield* vstore(t, through === "area" ? addr : direct, 4, 2);
      return yield* vload(t, addr, 4);
    });
  for (const through of ["area", "direct map"] as const) {
    assertThrows(() => store(through, false), KernelBug, "write to read-only");
    assertEquals(store(through, true), 2);
  }
});

Deno.test("a TLB that has not heard of stores being allowed faults once, and goes on", () => {
  const run_on_3 = function* (t: Thread, fn: (u: Thread) => Steps<unknown>) {
    const p = yield* kthread_create(t, fn, "other");
    kthread_bind(p, 3);
    yield* wake_up_process(t, p);
    yield* kthread_join(t, p);
  };
  run(function* (t) {
    const { addr } = yield* take(t);
    yield* set_memory_ro(t, addr, 1);
    yield* run_on_3(t, (u) => vload(u, addr, 4));
    yield* set_memory_rw(t, addr, 1);
    yield* run_on_3(t, (u) => vstore(u, addr, 4, 9));
    assertEquals(yield* vload(t, addr, 4), 9);
    const faults = t.k.machine.mmu.tlbs[3].invalidations;
    assertEquals(faults, 1);
  }, quirk("no-flush"));
});

Deno.test("set_memory_x() and set_memory_nx() leave the direct map alone", () => {
  run(function* (t) {
    const addr = yield* vmalloc(t, 8192);
    assertEquals(yield* set_memory_x(t, addr, 2), 0);
    assertEquals(prot_of(t.k, addr) & PROT_NX, 0);
    assertEquals(pageattr_state(t.k).splits, 0);
    assertEquals(yield* set_memory_nx(t, addr, 2), 0);
    assertEquals(prot_of(t.k, addr + 4096) & PROT_NX, PROT_NX);
  });
});

Deno.test("a whole large page is changed in one go", () => {
  run(function* (t) {
    const start = t.k.pages.directMapStart + 64 * 2 ** 20;
    assertEquals(yield* set_memory_x(t, start, 512), 0);
    const { splits, changes } = pageattr_state(t.k);
    assertEquals([splits, changes], [0, 1]);
    assertEquals(prot_of(t.k, start + 511 * 4096) & PROT_NX, 0);
  });
});

Deno.test("change_page_attr() gets rid of lazy aliases first", () => {
  run(function* (t) {
    keep_alias_log(t.k);
    const { page, addr } = yield* take(t);
    yield* leave_alias(t, page);
    const frames = new Set([page.pfn]);
    const inPlace = find_aliases(t.k, frames).filter((a) => a.record !== null);
    assertEquals(inPlace.map((a) => a.tlbOf), [-1, t.cpu.id]);
    assertEquals(yield* set_memory_uc(t, addr, 1), 0);
    assertEquals(find_aliases(t.k, frames), []);
  });
});

Deno.test("without vm_unmap_aliases() a lazy alias keeps another memory type, and the report names it", () => {
  const error = assertThrows(() =>
    run(function* (t) {
      keep_alias_log(t.k);
      const { page, addr } = yield* take(t);
      yield* leave_alias(t, page);
      yield* set_memory_uc(t, addr, 1);
    }, quirk("no-unmap-aliases")), KernelBug);
  assert(
    /^kernel BUG at change_page_attr_set_clr: conflicting memory types [0-9a-f]+-[0-9a-f]+ write-back<->uncached-minus: alias ffffc2[0-9a-f]{10} of frame [0-9a-f]+, writable write-back, in the page table: mapped by \w+ \(init, CPU \d\) at \d\.\d{6}, unmapped by \w+ \(init, CPU \d\) at \d\.\d{6}$/
      .test(error.headline),
    error.headline,
  );
});

Deno.test("without vm_unmap_aliases() a lazy alias writes to read-only memory", () => {
  assertThrows(
    () =>
      run(function* (t) {
        keep_alias_log(t.k);
        const { page, addr } = yield* take(t);
        yield* leave_alias(t, page);
        yield* set_memory_ro(t, addr, 1);
      }, quirk("no-unmap-aliases")),
    KernelBug,
    "can be written: alias ffffc2",
  );
});

Deno.test("without a flush another CPU's TLB keeps the old type", () => {
  assertThrows(
    () =>
      run(function* (t) {
        const { addr } = yield* take(t);
        const p = yield* kthread_create(t, (u) => vstore(u, addr, 4, 1), "w");
        kthread_bind(p, 3);
        yield* wake_up_process(t, p);
        yield* kthread_join(t, p);
        yield* set_memory_uc(t, addr, 1);
      }, quirk("no-flush")),
    KernelBug,
    "in the TLB of CPU 3",
  );
});

Deno.test("a mapping in use with another type is reported", () => {
  const error = assertThrows(() =>
    run(function* (t) {
      keep_alias_log(t.k);
      const { page, addr } = yield* take(t);
      yield* vm_map_ram(t, [page], 1, -1, PAGE_KERNEL);
      yield* set_memory_uc(t, addr, 1);
    }), KernelBug);
  assert(error.headline.endsWith("still in use"), error.headline);
});

Deno.test("a writable mapping in use of a page made read-only is its owner's affair", () => {
  run(function* (t) {
    keep_alias_log(t.k);
    const { page, addr } = yield* take(t);
    const alias = yield* vm_map_ram(t, [page], 1, -1, PAGE_KERNEL);
    assertEquals(yield* set_memory_ro(t, addr, 1), 0);
    yield* vstore(t, alias, 4, 5);
    assertEquals(yield* vload(t, addr, 4), 5);
    yield* vm_unmap_ram(t, alias, 1);
    assertEquals(yield* set_memory_rw(t, addr, 1), 0);
    assertEquals(prot_of(t.k, addr) & PROT_WRITE, PROT_WRITE);
  });
});

Deno.test("alias_line() of what nobody has recorded says so", () => {
  run(function* (t) {
    const { page } = yield* take(t);
    const addr = yield* vm_map_ram(t, [page], 1, -1, PAGE_KERNEL);
    const [alias] = find_aliases(t.k, new Set([page.pfn]));
    assertEquals(alias.vaddr, addr);
    assert(alias_line(t.k, alias).endsWith("mapped by an unknown caller"));
  });
});

/** Three CPUs that change pages of one large page, and a fourth that reads them. */
function changers(seed: number, names: string[] = []): number {
  const options: VmOptions = {
    cpus: 4,
    params: { pageattr_quirk: new Set(names) },
    engine: { policy: new Jitter(seed), runAheadCycles: 0 },
  };
  return run(function* (t) {
    keep_alias_log(t.k);
    const taken: { page: Page; addr: number }[] = [];
    for (let i = 0; i < 3; i++) taken.push(yield* take(t));
    const threads: Thread[] = [];
    for (let cpu = 0; cpu < 4; cpu++) {
      const p = yield* kthread_create(t, function* (u) {
        for (let i = 0; i < 4; i++) {
          const { page, addr } = taken[cpu % 3];
          if (cpu === 3) {
            for (const other of taken) yield* vload(u, other.addr, 4);
            continue;
          }
          yield* leave_alias(u, page);
          const change = i % 2 === 0 ? set_memory_uc : set_memory_wc;
          assertEquals(yield* change(u, addr, 1), 0);
          assertEquals(yield* vload(u, addr, 4), 1);
          assertEquals(yield* set_memory_wb(u, addr, 1), 0);
        }
      }, `cpa/${cpu}`);
      kthread_bind(p, cpu);
      yield* wake_up_process(t, p);
      threads.push(p);
    }
    for (const p of threads) yield* kthread_join(t, p);
    for (const { addr } of taken) assertEquals(prot_of(t.k, addr) & TYPE, 0);
    return pageattr_state(t.k).splits;
  }, options);
}

Deno.test("pages of one large page change on three CPUs in any order, which splits it once", () => {
  for (let seed = 1; seed <= 12; seed++) assertEquals(changers(seed), 1);
});

Deno.test("no-unmap-aliases is found out in any order", () => {
  for (let seed = 1; seed <= 5; seed++) {
    const what = () => changers(seed, ["no-unmap-aliases"]);
    assertThrows(what, KernelBug, "conflicting memory types");
  }
});
