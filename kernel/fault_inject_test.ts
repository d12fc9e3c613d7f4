import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { FaultAttr, should_fail } from "./fault_inject.ts";
import { __GFP_NOFAIL, __GFP_ZERO, GFP_ATOMIC, GFP_KERNEL } from "./mm/gfp.ts";
import {
  __free_page,
  __free_pages,
  alloc_page,
  alloc_pages,
} from "./mm/page_alloc.ts";
import { pte_alloc_kernel } from "./mm/pgtable.ts";
import {
  kfree,
  kmalloc,
  kmalloc_node,
  kmem_cache_alloc,
  kmem_cache_alloc_node,
  kmem_cache_create,
  kmem_cache_free,
  kzalloc,
  SlabObject,
} from "./mm/slab.ts";
import { runVm } from "./mm/vm_testing.ts";
import { ENOMEM, err } from "./lib/errno.ts";
import type { FaultSetting } from "./params.ts";
import { smp_call_function_single } from "./smp.ts";
import type { Thread } from "./thread.ts";

function setting(
  interval: number,
  probability: number,
  space = 0,
  times = -1,
): FaultSetting {
  return { interval, probability, space, times };
}

/** Which of `calls` about `size` fail, as a string of `.` and `x`. */
function pattern(s: FaultSetting, calls: number, size = 1, seed = 1): string {
  let text = "";
  // deno-lint-ignore require-yield -- should_fail() is plain
  runVm({}, function* (t) {
    const attr = new FaultAttr("test", seed);
    attr.set(s);
    for (let i = 0; i < calls; i++) {
      text += should_fail(t, attr, size) ? "x" : ".";
    }
  });
  return text;
}

Deno.test("should_fail() counts calls for the interval, and space and times first", () => {
  assertEquals(pattern(setting(1, 100), 6), "xxxxxx");
  assertEquals(pattern(setting(0, 100), 6), "xxxxxx");
  assertEquals(pattern(setting(3, 100), 9), "..x..x..x");
  assertEquals(pattern(setting(1, 100, 0, 2), 6), "xx....");
  assertEquals(pattern(setting(1, 100, 0, 0), 6), "......");
  assertEquals(pattern(setting(1, 0), 6), "......");
  // 100 bytes are free, 30 at a time: what is left after three is less than that.
  assertEquals(pattern(setting(1, 100, 100), 6, 30), "...xxx");
  // Calls that use the space up do not count for the interval.
  assertEquals(pattern(setting(2, 100, 4, 2), 9, 2), "..x.x....");
});

Deno.test("should_fail() fails as many as the probability says, by the seed", () => {
  const one = pattern(setting(1, 30), 2000);
  const failed = one.replaceAll(".", "").length;
  assert(failed > 520 && failed < 680, `${failed} of 2000`); // 600, sigma 20
  assertEquals(pattern(setting(1, 30), 2000), one);
  assert(pattern(setting(1, 30), 2000, 1, 2) !== one);
});

Deno.test("nothing fails before arm() and after disarm(); decide() needs neither", () => {
  runVm({ params: { fail_page_alloc: setting(1, 100) } }, function* (t) {
    const { faults } = t.k;
    const works = function* () {
      const page = yield* alloc_page(t, GFP_KERNEL);
      if (page !== null) yield* __free_page(t, page);
      return page !== null;
    };
    assert(faults.wanted);
    assertEquals([faults.active, yield* works()], [false, true]);
    faults.arm();
    assertEquals([faults.active, yield* works()], [true, false]);
    faults.disarm();
    assertEquals([faults.active, yield* works()], [false, true]);
    faults.decide = () => false;
    assertEquals([faults.active, yield* works()], [true, true]);
    faults.decide = () => true;
    assertEquals(yield* works(), false);
    faults.decide = null;
    assertEquals([faults.active, yield* works()], [false, true]);
    assertEquals(faults.fail_page_alloc.injected, 2);
  });
});

/** Every way of asking for memory, by what refuses it, with the size that it is asked about. */
Deno.test("each kind of request asks once, with its size, unless it must not fail", () => {
  runVm({ cpus: 8 }, function* (t) {
    const { faults } = t.k;
    const cache = kmem_cache_create(t, "c", 200, () => new SlabObject());
    const asked: [string, number][] = [];
    const objects = [
      () => kmem_cache_alloc(t, cache, GFP_KERNEL),
      () => kmem_cache_alloc(t, cache, GFP_ATOMIC | __GFP_ZERO),
      () => kmem_cache_alloc_node(t, cache, GFP_KERNEL, t.cpu.node),
      () => kmem_cache_alloc_node(t, cache, GFP_KERNEL, 1 - t.cpu.node),
      () => kmalloc(t, 100, GFP_ATOMIC),
      () => kzalloc(t, 100, GFP_KERNEL),
      () => kmalloc_node(t, 100, GFP_KERNEL, 1 - t.cpu.node),
    ];
    for (const round of ["slab at hand", "arrays filled"]) {
      faults.decide = (_, { name }, size) => {
        asked.push([name, size]);
        return name === "failslab";
      };
      for (const alloc of objects) assertEquals(yield* alloc(), null);
      assertEquals(asked.splice(0), [
        ...Array(4).fill(["failslab", 200]),
        ...Array(3).fill(["failslab", 128]),
      ], round);
      faults.decide = null;
      for (const alloc of objects) yield* kfree(t, yield* alloc());
    }
    faults.decide = (_, { name }, size) => {
      asked.push([name, size]);
      return true;
    };
    const never = GFP_KERNEL | __GFP_NOFAIL;
    const obj = (yield* kmem_cache_alloc(t, cache, never))!;
    const page = (yield* alloc_page(t, never))!;
    assertEquals(asked, []);
    assertEquals(yield* alloc_pages(t, GFP_KERNEL, 3), null);
    assertEquals(asked.splice(0), [["fail_page_alloc", 8]]);
    const nowhere = t.k.vmalloc.start + 2 ** 40;
    const table = yield* pte_alloc_kernel(t, t.k.init_mm, nowhere);
    assertEquals([table, asked.splice(0)], [
      err(ENOMEM),
      [["fail_page_table", 1]],
    ]);
    faults.decide = null;
    yield* kmem_cache_free(t, cache, obj);
    yield* __free_pages(t, page, 0);
  });
});

Deno.test("a request that is let through costs the same virtual time with faults on and off", () => {
  const cycles = (on: boolean) =>
    runVm({ cpus: 1 }, function* (t) {
      const cache = kmem_cache_create(t, "c", 200, () => new SlabObject());
      if (on) t.k.faults.decide = () => false;
      const start = t.cpu.clock;
      for (let i = 0; i < 100; i++) {
        const obj = yield* kmem_cache_alloc(t, cache, GFP_KERNEL);
        const buf = yield* kzalloc(t, 300, GFP_KERNEL);
        const page = yield* alloc_page(t, GFP_KERNEL);
        if (i % 3 !== 0) continue;
        yield* kfree(t, obj);
        yield* kfree(t, buf);
        yield* __free_page(t, page!);
      }
      return t.cpu.clock - start;
    }).result;
  assertEquals(cycles(true), cycles(false));
});

Deno.test("failures are reported with a call trace, ten in five seconds at most", () => {
  const { k } = runVm({ params: { failslab: setting(1, 100) } }, function* (t) {
    t.k.faults.arm();
    for (let i = 0; i < 30; i++) {
      assertEquals(yield* kmalloc(t, 10, GFP_KERNEL), null);
    }
  });
  const log = k.printk.dmesg();
  assertEquals(log.split("FAULT_INJECTION: forcing a failure").length - 1, 10);
  assertStringIncludes(
    log,
    "name failslab, interval 1, probability 100, space 0, times -1",
  );
  assertStringIncludes(log, "  __kmalloc\n");
  const { printed, missed } = k.faults.messages;
  assertEquals([printed, missed, k.faults.injected], [10, 20, 30]);
});

Deno.test("each kind draws from a stream of its own", () => {
  const pages = (params: Record<string, FaultSetting>) =>
    runVm({ params }, function* (t) {
      yield* kfree(t, yield* kmalloc(t, 10, GFP_ATOMIC)); // the slab's pages
      t.k.faults.arm();
      let text = "";
      for (let i = 0; i < 200; i++) {
        yield* kfree(t, yield* kmalloc(t, 10, GFP_ATOMIC));
        const page = yield* alloc_page(t, GFP_KERNEL);
        text += page === null ? "x" : ".";
        if (page !== null) yield* __free_page(t, page);
      }
      return text;
    }).result;
  const fail_page_alloc = setting(1, 50);
  const alone = pages({ fail_page_alloc });
  assertStringIncludes(alone, "x.");
  assertEquals(pages({ fail_page_alloc, failslab: setting(1, 100) }), alone);
});

/** Cycles that a call of CPU 1 takes with late interrupts, and how many were late. */
function callCycles(probability: number): { cycles: number; late: number } {
  const { result, k } = runVm({
    cpus: 2,
    params: { ipi_delay: { probability, cycles: 100_000 } },
  }, function* (t: Thread) {
    t.k.faults.arm();
    const start = t.cpu.clock;
    for (let i = 0; i < 20; i++) {
      yield* smp_call_function_single(t, 1, () => {}, null, true);
    }
    return t.cpu.clock - start;
  });
  return { cycles: result, late: k.faults.lateIpis };
}

Deno.test("ipi_delay: so many interrupts are late, and their senders wait", () => {
  const never = callCycles(0);
  const some = callCycles(50);
  const always = callCycles(100);
  assertEquals([never.late, always.late], [0, 20]);
  assert(some.late > 3 && some.late < 17, `${some.late}`);
  assert(some.cycles > never.cycles + 100_000);
  assert(always.cycles > never.cycles + 500_000); // 20 of 50 000 on average
  assert(always.cycles < never.cycles + 20 * 100_000);
  assertEquals(callCycles(50), some);
});
