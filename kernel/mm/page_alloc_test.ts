import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import type { Steps } from "../../arch/asm.ts";
import { generic } from "../../arch/hw/presets/generic.ts";
import { findPreset } from "../../arch/hw/presets/index.ts";
import { KernelBug } from "../bug.ts";
import { list_entries } from "../lib/list.ts";
import { Rng } from "../../arch/sim/random.ts";
import type { Thread } from "../thread.ts";
import { Rig } from "./_rig.ts";
import { check_zone } from "./buddy.ts";
import { clearPageCycles } from "./clear_page.ts";
import {
  __GFP_COLD,
  __GFP_DMA,
  __GFP_DMA32,
  __GFP_NOWARN,
  __GFP_ZERO,
  GFP_ATOMIC,
  GFP_HIGHUSER,
  GFP_KERNEL,
  GFP_THISNODE,
} from "./gfp.ts";
import {
  MAX_ORDER,
  MAX_ORDER_NR_PAGES,
  type Zone,
  ZONE_DMA,
  ZONE_DMA32,
  ZONE_HIGHMEM,
  ZONE_NORMAL,
} from "./mmzone.ts";
import {
  get_page,
  type Page,
  page_address,
  page_count,
  pfn_to_page,
  PG_buddy,
  PG_reserved,
  put_page_testzero,
  virt_to_page,
} from "./page.ts";
import {
  __free_page,
  __free_pages,
  __get_free_page,
  alloc_page,
  alloc_pages,
  alloc_pages_exact,
  alloc_pages_node,
  free_cold_page,
  free_page,
  free_pages_exact,
  nr_free_pages,
  nr_unused_pages,
  put_page,
  split_page,
} from "./page_alloc.ts";
import { failPages } from "../testing.ts";

const MiB = 2 ** 20;

/** A machine of one node and `bytes`, where all of it may be used. */
function smallRig(bytes: number): Rig {
  const rig = new Rig({
    preset: "i386-4",
    params: { mem_bytes: bytes },
    until: "mem_init",
  });
  return rig;
}

/** Free blocks as `pfn/order`, sorted. */
function freeBlocks(zone: Zone): string[] {
  return zone.free_area.flatMap((area, order) =>
    list_entries(area.free_list).map((page) => `${page.pfn}/${order}`)
  ).sort();
}

/** What the free lists must be: the free pages in blocks that cannot be merged. */
function modelBlocks(zone: Zone, free: ReadonlySet<number>): string[] {
  const blocks: string[] = [];
  let pfn = zone.zone_start_pfn;
  while (pfn < zone.zone_end_pfn) {
    if (!free.has(pfn)) {
      pfn++;
      continue;
    }
    let order = 0;
    const isFree = (o: number) => {
      if (o >= MAX_ORDER || pfn % (1 << o) !== 0) return false;
      if (pfn + (1 << o) > zone.zone_end_pfn) return false;
      for (let p = pfn + (1 << (o - 1)); p < pfn + (1 << o); p++) {
        if (!free.has(p)) return false;
      }
      return true;
    };
    while (isFree(order + 1)) order++;
    blocks.push(`${pfn}/${order}`);
    pfn += 1 << order;
  }
  return blocks.sort();
}

Deno.test("the buddy allocator agrees with a set of free pages, and all memory comes back", () => {
  const command = fc.record({
    order: fc.integer({ min: 0, max: MAX_ORDER - 1 }),
    free: fc.boolean(),
    which: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
      const rig = smallRig(24 * MiB);
      const { zones } = rig.k.pages;
      const before = zones.map(freeBlocks);
      const free = new Set<number>();
      for (const zone of zones) {
        for (const block of freeBlocks(zone)) {
          const [pfn, order] = block.split("/").map(Number);
          for (let i = 0; i < 1 << order; i++) free.add(pfn + i);
        }
      }
      const held: [Page, number][] = [];
      rig.run(function* (t) {
        for (const { order, free: give, which } of commands) {
          if (give && held.length > 0) {
            const [[page, o]] = held.splice(which % held.length, 1);
            for (let i = 0; i < 1 << o; i++) free.add(page.pfn + i);
            yield* __free_pages(t, page, o);
            continue;
          }
          const page = yield* alloc_pages(t, GFP_KERNEL | __GFP_NOWARN, order);
          const most = Math.max(
            ...zones.flatMap((zone) => modelBlocks(zone, free))
              .map((block) => Number(block.split("/")[1])),
          );
          assertEquals(page !== null, most >= order);
          if (page === null) continue;
          assertEquals(page.pfn % (1 << order), 0);
          for (let i = 0; i < 1 << order; i++) {
            assert(free.delete(page.pfn + i), "handed out twice");
          }
          held.push([page, order]);
        }
      });
      for (const zone of zones) {
        check_zone(zone);
        assertEquals(freeBlocks(zone), modelBlocks(zone, free));
      }
      assertEquals(nr_free_pages(rig.k), free.size);
      rig.run(function* (t) {
        for (const [page, order] of held) yield* __free_pages(t, page, order);
      });
      assertEquals(zones.map(freeBlocks), before);
    }),
    { numRuns: 60, seed: 1 },
  );
});

Deno.test("zones of x86-64 end at 16 MiB and 4 GiB, those of i386 at 16 and 896 MiB", () => {
  const shape = (preset: string) =>
    new Rig({ preset }).k.pages.zoneinfo().map((zone) => [
      zone.node,
      zone.name,
      zone.startPfn / 256,
      (zone.startPfn + zone.spanned) / 256,
    ]);
  assertEquals(shape("opteron-2x4"), [
    [0, "DMA", 0, 16],
    [0, "DMA32", 16, 4096],
    [1, "Normal", 4096, 8192],
  ]);
  assertEquals(shape("i386-4"), [
    [0, "DMA", 0, 16],
    [0, "Normal", 16, 896],
    [0, "HighMem", 896, 2048],
  ]);
});

Deno.test("alloc_pages() takes the caller's node, and the next one when that is empty", () => {
  const rig = new Rig({ params: { mem_bytes: 2 ** 32 + 64 * MiB } });
  const nodes = rig.run(function* (t) {
    const seen = new Set<number>();
    const first = (yield* alloc_page(t, GFP_KERNEL))!;
    seen.add(first.node);
    for (let i = 0; i < 20; i++) {
      const page = yield* alloc_pages(t, GFP_KERNEL, MAX_ORDER - 1);
      if (page !== null) seen.add(page.node);
    }
    return [first.node, ...seen];
  }, 7);
  assertEquals(nodes, [1, 1, 0]);
});

Deno.test("__GFP_DMA, __GFP_DMA32 and __GFP_HIGHMEM choose zones", () => {
  const rig = new Rig();
  rig.run(function* (t) {
    const dma = (yield* alloc_page(t, GFP_KERNEL | __GFP_DMA))!;
    assertEquals(dma.zone.index, ZONE_DMA);
    assert(dma.pfn < 4096);
    const dma32 = (yield* alloc_page(t, GFP_KERNEL | __GFP_DMA32))!;
    assertEquals(dma32.zone.index, ZONE_DMA32);
    const far = (yield* alloc_pages_node(t, 1, GFP_KERNEL, 0))!;
    assertEquals(far.zone.index, ZONE_NORMAL);
  });
  const small = new Rig({ preset: "i386-4" });
  small.run(function* (t) {
    const high = (yield* alloc_page(t, GFP_HIGHUSER))!;
    assertEquals(high.zone.index, ZONE_HIGHMEM);
    assertEquals(page_address(t.k, high), 0);
    const low = (yield* alloc_page(t, GFP_KERNEL))!;
    assertEquals(low.zone.index, ZONE_NORMAL);
    assertEquals(page_address(t.k, low), 0xc0000000 + low.pfn * 4096);
    assertEquals(virt_to_page(t.k, page_address(t.k, low)), low);
  });
});

Deno.test("GFP_THISNODE fails in silence rather than go elsewhere", () => {
  const rig = new Rig({ params: { mem_bytes: 2 ** 32 + 64 * MiB } });
  rig.run(function* (t) {
    for (;;) {
      const page = yield* alloc_pages_node(t, 1, GFP_THISNODE, 4);
      if (page === null) break;
      assertEquals(page.node, 1);
    }
  });
  assertEquals(rig.k.pages.failures.printed, 0);
  assert(nr_free_pages(rig.k) > 100_000);
});

Deno.test("a CPU's list gives the page freed last, or the cold one", () => {
  const rig = new Rig();
  rig.run(function* (t) {
    const a = (yield* alloc_page(t, GFP_KERNEL))!;
    const b = (yield* alloc_page(t, GFP_KERNEL))!;
    assertEquals(b.pfn, a.pfn + 1, "a batch is in address order");
    const pcp = a.zone.pcpOf(0)!;
    assertEquals([pcp.batch, pcp.high, pcp.count], [31, 186, 29]);
    yield* __free_page(t, a);
    yield* free_cold_page(t, b);
    assertEquals(yield* alloc_page(t, GFP_KERNEL), a);
    assertEquals(yield* alloc_page(t, GFP_KERNEL | __GFP_COLD), b);
  });
});

Deno.test("a page at hand costs the same virtual time on the fast path and the long way", () => {
  const rig = new Rig();
  const cost = rig.run(function* (t) {
    const cycles: number[] = [];
    for (const hook of [null, null, () => false]) {
      failPages(rig.k, hook);
      const start = t.cpu.clock;
      const page = (yield* alloc_page(t, GFP_KERNEL))!;
      cycles.push(t.cpu.clock - start);
      yield* __free_page(t, page);
    }
    return cycles;
  });
  assert(cost[0] > cost[1], "the first one fills the list");
  assertEquals(cost[1], cost[2]);
});

Deno.test("a full list gives a batch back to the zone", () => {
  const rig = new Rig();
  rig.run(function* (t) {
    const pages: Page[] = [];
    for (let i = 0; i < 186; i++) {
      pages.push((yield* alloc_page(t, GFP_KERNEL))!);
    }
    const pcp = pages[0].zone.pcpOf(0)!;
    assertEquals(pcp.count, 0);
    let most = 0;
    for (const page of pages) {
      yield* __free_page(t, page);
      most = Math.max(most, pcp.count);
    }
    assertEquals([most, pcp.count], [185, 155]);
  });
  const before = nr_unused_pages(rig.k);
  rig.drain();
  assertEquals(nr_free_pages(rig.k), before);
  rig.k.pages.zones.forEach(check_zone);
});

Deno.test("GFP_ATOMIC goes below the watermark where GFP_KERNEL fails with a message", () => {
  const rig = new Rig({
    preset: "i386-4",
    params: { mem_bytes: 64 * MiB },
  });
  const { k } = rig;
  const before = nr_unused_pages(k);
  rig.run(function* (t) {
    const held: Page[] = [];
    for (;;) {
      const page = yield* alloc_page(t, GFP_KERNEL);
      if (page === null) break;
      held.push(page);
    }
    const min = k.pages.zones.reduce((sum, zone) => sum + zone.pages_min, 0);
    assert(nr_free_pages(k) >= min);
    let more = 0;
    for (;; more++) {
      const page = yield* alloc_page(t, GFP_ATOMIC | __GFP_NOWARN);
      if (page === null) break;
      held.push(page);
    }
    assert(more > min * 0.55, `${more} more pages below ${min}`);
    for (const page of held) yield* __free_page(t, page);
  });
  assertEquals(nr_unused_pages(k), before);
  assertEquals(k.pages.pgalloc, k.pages.pgfree);
  const log = k.printk.dmesg();
  assertStringIncludes(
    log,
    "test/0: page allocation failure. order:0, mode:0xd0",
  );
  assertStringIncludes(log, "Node 0 Normal free:");
});

Deno.test("failure messages are limited to ten in five seconds", () => {
  const rig = new Rig();
  rig.run(function* (t) {
    failPages(rig.k, (_, order) => order === 0);
    assertEquals(yield* alloc_page(t, GFP_KERNEL), null);
    failPages(rig.k, null);
    while ((yield* alloc_pages(t, GFP_THISNODE | __GFP_DMA, 10)) !== null);
    for (let i = 0; i < 30; i++) yield* alloc_pages(t, __GFP_DMA, 10);
  });
  assertEquals(rig.k.pages.failures.printed, 10);
  assertEquals(rig.k.pages.failures.missed, 20);
});

Deno.test("__GFP_ZERO clears what the last user left, and charges for it", () => {
  const rig = new Rig();
  const { memory } = rig.machine;
  rig.run(function* (t) {
    const page = (yield* alloc_page(t, GFP_KERNEL))!;
    memory.write32(page.pfn * 4096 + 8, 0xdead);
    yield* __free_page(t, page);
    assertEquals(yield* alloc_page(t, GFP_KERNEL), page);
    assertEquals(memory.read32(page.pfn * 4096 + 8), 0xdead, "stale data");
    yield* __free_page(t, page);
    const start = t.cpu.clock;
    assertEquals(yield* alloc_page(t, GFP_KERNEL | __GFP_ZERO), page);
    assert(t.cpu.clock - start > clearPageCycles(rig.machine.spec));
    assertEquals(memory.read32(page.pfn * 4096 + 8), 0);
  });
});

Deno.test("get_page() keeps a page until the last put_page()", () => {
  const rig = new Rig();
  rig.run(function* (t) {
    const page = (yield* alloc_page(t, GFP_KERNEL))!;
    yield* get_page(t, page);
    yield* __free_page(t, page);
    assertEquals(page_count(page), 1);
    yield* put_page(t, page);
    assertEquals(page_count(page), 0);
    assertEquals(yield* alloc_page(t, GFP_KERNEL), page);
  });
});

Deno.test("split_page() and alloc_pages_exact() make pages that are freed one by one", () => {
  const rig = new Rig();
  const before = nr_unused_pages(rig.k);
  rig.run(function* (t) {
    const block = (yield* alloc_pages(t, GFP_KERNEL, 2))!;
    split_page(t, block, 2);
    for (let i = 0; i < 4; i++) {
      yield* __free_page(t, pfn_to_page(t.k, block.pfn + i));
    }
    const addr = yield* alloc_pages_exact(t, 5 * 4096, GFP_KERNEL);
    assertEquals(nr_unused_pages(rig.k), before - 5);
    yield* free_pages_exact(t, addr, 5 * 4096);
    const one = yield* __get_free_page(t, GFP_KERNEL);
    yield* free_page(t, one);
    yield* free_page(t, 0);
  });
  rig.drain();
  assertEquals(nr_free_pages(rig.k), before);
});

function assertBug(rig: Rig, what: string, fn: (t: Thread) => Steps<unknown>) {
  const bug = assertThrows(() => rig.run(fn), KernelBug);
  assertStringIncludes(bug.headline, what);
}

Deno.test("a page freed twice, a reserved page, a free page taken: bad page state", () => {
  assertBug(new Rig(), "Bad page state in process 'test/0'", function* (t) {
    const page = (yield* alloc_page(t, GFP_KERNEL))!;
    yield* __free_page(t, page);
    yield* __free_page(t, page);
  });
  assertBug(new Rig(), "Bad page state", function* (t) {
    const block = (yield* alloc_pages(t, GFP_KERNEL, 3))!;
    yield* __free_pages(t, block, 3);
    yield* __free_pages(t, block, 3);
  });
  assertBug(new Rig(), "Bad page state", function* (t) {
    const image = pfn_to_page(t.k, 2 * MiB / 4096);
    assertEquals([image.flags, image._count], [PG_reserved, 1]);
    yield* __free_page(t, image);
  });
  assertBug(new Rig(), "get_page() of a free page", function* (t) {
    const page = (yield* alloc_page(t, GFP_KERNEL))!;
    yield* __free_page(t, page);
    yield* get_page(t, page);
  });
  const rig = new Rig();
  assertBug(rig, "a page in use is freed", function* (t) {
    const page = (yield* alloc_page(t, GFP_KERNEL))!;
    page.flags |= PG_buddy;
    yield* __free_page(t, page);
  });
  assertStringIncludes(rig.k.printk.dmesg(), "(buddy) mapping:");
});

Deno.test("put_page_testzero() says who was last", () => {
  new Rig().run(function* (t) {
    const page = (yield* alloc_page(t, GFP_KERNEL))!;
    yield* get_page(t, page);
    assertEquals(yield* put_page_testzero(t, page), false);
    assertEquals(yield* put_page_testzero(t, page), true);
  });
});

Deno.test("alloc_pages() before mem_init() is a boot-order bug", () => {
  assertBug(
    new Rig({ until: "zonelists" }),
    '"pages" is used before mem_init()',
    (t) => alloc_pages(t, GFP_KERNEL, 0),
  );
});

Deno.test("alloc_pages() of too high an order is null at once", () => {
  new Rig().run(function* (t) {
    assertEquals(yield* alloc_pages(t, GFP_KERNEL, MAX_ORDER), null);
  });
});

Deno.test("eight CPUs at once: nothing is handed out twice, nothing is lost", () => {
  const rig = new Rig({ params: { mem_bytes: 2 ** 32 + 256 * MiB } });
  const before = nr_unused_pages(rig.k);
  const owner = new Map<number, number>();
  rig.runAll(
    Array.from({ length: 8 }, (_, id) => [id, function* (t: Thread) {
      const rng = new Rng(id);
      const held: [Page, number][] = [];
      for (let i = 0; i < 300; i++) {
        if (held.length > 40 || (held.length > 0 && rng.below(2) === 0)) {
          const [[page, order]] = held.splice(rng.below(held.length), 1);
          for (let p = 0; p < 1 << order; p++) owner.delete(page.pfn + p);
          yield* __free_pages(t, page, order);
        } else {
          const order = rng.below(2) === 0 ? 0 : rng.below(4);
          const page = (yield* alloc_pages(t, GFP_KERNEL, order))!;
          for (let p = 0; p < 1 << order; p++) {
            assert(!owner.has(page.pfn + p));
            owner.set(page.pfn + p, id);
          }
          held.push([page, order]);
        }
      }
      for (const [page, order] of held) {
        for (let p = 0; p < 1 << order; p++) owner.delete(page.pfn + p);
        yield* __free_pages(t, page, order);
      }
    }]),
  );
  rig.drain();
  assertEquals(nr_free_pages(rig.k), before);
  rig.k.pages.zones.forEach(check_zone);
  const lock = rig.k.lockStats.get("&zone->lock");
  assert(lock.contentions > 0 && lock.acquisitions > lock.contentions);
});

Deno.test("a machine of 64 GiB boots with an object for each block", () => {
  const preset = findPreset("opteron-2x4");
  const rig = new Rig({
    spec: { memory: { ...preset.memory, bytesPerNode: 32 * 2 ** 30 } },
  });
  const blocks = 64 * 2 ** 30 / 4096 / MAX_ORDER_NR_PAGES;
  const { nrObjects } = rig.k.pages;
  assert(nrObjects <= blocks + 64, `${nrObjects} objects, ${blocks} blocks`);
});

Deno.test("4096 CPUs on 1024 nodes: lists are made for CPUs that allocate", () => {
  const rig = new Rig({ spec: generic(1024, 4) });
  rig.run(function* (t) {
    const page = (yield* alloc_page(t, GFP_KERNEL))!;
    assertEquals(page.node, 1023);
    yield* __free_page(t, page);
  }, 4095);
  const lists = rig.k.pages.zoneinfo().flatMap((zone) => zone.pagesets);
  assertEquals(lists.map(({ cpu }) => cpu), [4095]);
});

Deno.test("mem_init() reports memory as 2.6.28 does", () => {
  const log = new Rig().k.printk.dmesg();
  assert(
    /Memory: 8\d{6}k\/8388608k available \(\d+k kernel code, 0k absent, \d+k reserved, \d+k data, \d+k init\)/
      .test(log),
    log,
  );
  assertStringIncludes(log, "Built 2 zonelists in Node order");
  assertStringIncludes(log, "  DMA      0x00000000 -> 0x00001000");
});
