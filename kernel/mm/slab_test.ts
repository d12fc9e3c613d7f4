import {
  assert,
  assertEquals,
  assertNotEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import type { Steps } from "../../arch/asm.ts";
import { findPreset } from "../../arch/hw/presets/index.ts";
import { KernelBug } from "../bug.ts";
import { Rng } from "../../arch/sim/random.ts";
import type { Thread } from "../thread.ts";
import { Rig } from "./_rig.ts";
import { check_zone } from "./buddy.ts";
import { __GFP_NOWARN, __GFP_ZERO, GFP_ATOMIC, GFP_KERNEL } from "./gfp.ts";
import { pfn_to_page, PG_slab } from "./page.ts";
import { nr_unused_pages } from "./page_alloc.ts";
import { slab_layout, slab_limits } from "./slab_layout.ts";
import { check_cache } from "./slab_check.ts";
import {
  kfree,
  kmalloc,
  KmallocObject,
  kmem_cache_alloc,
  kmem_cache_alloc_node,
  kmem_cache_create,
  kmem_cache_destroy,
  kmem_cache_free,
  kmem_cache_shrink,
  type KmemCache,
  ksize,
  kzalloc,
  slab_object_live,
  SlabObject,
} from "./slab.ts";

class Thing extends SlabObject {
  value = 0;
}

function things(rig: Rig, bytes = 200): KmemCache<Thing> {
  return rig.call((t) =>
    kmem_cache_create(t, "thing", bytes, () => new Thing())
  );
}

Deno.test("kmem_cache_alloc() gives the object freed last, as it was left", () => {
  const rig = new Rig();
  const cache = things(rig);
  rig.run(function* (t) {
    const a = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
    const b = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
    assertNotEquals(a.paddr, b.paddr);
    a.value = 7;
    yield* kmem_cache_free(t, cache, a);
    assertEquals(slab_object_live(a), false);
    const c = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
    assert(c === a);
    assertEquals([c.value, slab_object_live(c)], [7, true]);
    assertEquals(c.line, rig.machine.lineAt(c.paddr));
  });
  assertEquals(rig.k.slab.inUse().get("thing"), 2);
});

Deno.test("the fast path neither waits nor takes a lock", () => {
  const rig = new Rig();
  const cache = things(rig);
  rig.run(function* (t) {
    const a = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
    yield* kmem_cache_free(t, cache, a);
    const { acquisitions } = rig.k.lockStats.get("&parent->list_lock");
    for (let i = 0; i < 100; i++) {
      const b = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
      yield* kmem_cache_free(t, cache, b);
    }
    assertEquals(
      rig.k.lockStats.get("&parent->list_lock").acquisitions,
      acquisitions,
    );
    assertEquals(t.depth, 1);
  });
});

Deno.test("slab layouts and array sizes are those of 2.6.28", () => {
  const { spec } = new Rig().machine;
  const shape = (bytes: number) => {
    const layout = slab_layout(spec, bytes, true)!;
    return [layout.size, layout.num, layout.gfporder, layout.offSlab];
  };
  assertEquals(shape(32), [32, 112, 0, false]);
  assertEquals(shape(64), [64, 59, 0, false]);
  assertEquals(shape(128), [128, 30, 0, false]);
  assertEquals(shape(256), [256, 15, 0, false]);
  assertEquals(shape(512), [512, 8, 0, true]);
  assertEquals(shape(4096), [4096, 1, 0, true]);
  assertEquals(shape(131072), [131072, 1, 5, true]);
  assertEquals(slab_layout(spec, 2 ** 23, true), null);
  const sizes = (bytes: number) => {
    const { limit, batchcount, shared } = slab_limits(bytes, 4096, 8);
    return [limit, batchcount, shared];
  };
  assertEquals(sizes(256), [120, 60, 480]);
  assertEquals(sizes(512), [54, 27, 216]);
  assertEquals(sizes(4096), [24, 12, 96]);
  assertEquals(sizes(8192), [8, 4, 0]);
  assertEquals(sizes(262144), [1, 1, 0]);
});

Deno.test("objects of one slab do not overlap and lie on pages marked as slab", () => {
  const rig = new Rig();
  const cache = things(rig);
  rig.run(function* (t) {
    const got: Thing[] = [];
    for (let i = 0; i < 300; i++) {
      got.push((yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!);
    }
    const starts = got.map((obj) => obj.paddr).sort((a, b) => a - b);
    for (let i = 1; i < starts.length; i++) {
      assert(starts[i] - starts[i - 1] >= 200);
    }
    for (const at of starts) {
      const first = pfn_to_page(t.k, Math.floor(at / 4096));
      const last = pfn_to_page(t.k, Math.floor((at + 199) / 4096));
      assert((first.flags & last.flags & PG_slab) !== 0);
    }
    assert(
      new Set(starts.map((at) => at % 4096 % 200)).size > 1,
      "slabs are coloured",
    );
  });
});

Deno.test("random allocs and frees on all CPUs agree with a set, and destroy gives all memory back", () => {
  const job = fc.record({
    cpu: fc.nat(7),
    count: fc.integer({ min: 1, max: 150 }),
    free: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.array(job, { maxLength: 40 }),
      fc.constantFrom(40, 300, 2000, 9000),
      (jobs, bytes) => {
        const rig = new Rig();
        const before = nr_unused_pages(rig.k);
        const cache = things(rig, bytes);
        const live: Thing[] = [];
        const addresses = new Set<number>();
        for (const { cpu, count, free } of jobs) {
          rig.run(function* (t) {
            for (let i = 0; i < count; i++) {
              if (free) {
                if (live.length === 0) break;
                const obj = live.splice((i * 7919) % live.length, 1)[0];
                addresses.delete(obj.paddr);
                yield* kmem_cache_free(t, cache, obj);
                continue;
              }
              const obj = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
              assert(!addresses.has(obj.paddr), "handed out twice");
              assertEquals(obj._slab!.node, t.cpu.node);
              addresses.add(obj.paddr);
              live.push(obj);
            }
          }, cpu);
          check_cache(cache);
          assertEquals(cache.active, live.length);
        }
        rig.run(function* (t) {
          for (const obj of live) yield* kmem_cache_free(t, cache, obj);
        });
        for (let cpu = 0; cpu < 8; cpu++) {
          rig.run((t) => kmem_cache_shrink(t, cache), cpu);
        }
        assertEquals(cache.slabs, 0);
        rig.run((t) => kmem_cache_destroy(t, cache));
        assertEquals(nr_unused_pages(rig.k), before);
        rig.k.pages.zones.forEach(check_zone);
      },
    ),
    { numRuns: 25, seed: 1 },
  );
});

Deno.test("eight CPUs at once pass objects around: nothing twice, nothing lost", () => {
  const rig = new Rig();
  const cache = things(rig, 128);
  const pool: Thing[] = [];
  const live = new Set<Thing>();
  rig.runAll(
    Array.from({ length: 8 }, (_, id) => [id, function* (t: Thread): Steps {
      const rng = new Rng(id);
      for (let i = 0; i < 1500; i++) {
        if (pool.length > 0 && rng.below(2) === 0) {
          const obj = pool.splice(rng.below(pool.length), 1)[0];
          live.delete(obj);
          yield* kmem_cache_free(t, cache, obj);
        } else {
          const obj = (yield* kmem_cache_alloc(t, cache, GFP_ATOMIC))!;
          assert(!live.has(obj));
          live.add(obj);
          pool.push(obj);
        }
      }
    }]),
  );
  check_cache(cache);
  assertEquals(cache.active, live.size);
  assert(rig.k.lockStats.get("&alc->lock").acquisitions > 0);
});

Deno.test("kmem_cache_alloc_node() takes another node's memory; it goes home when freed", () => {
  const rig = new Rig();
  const cache = things(rig);
  rig.run(function* (t) {
    const got: Thing[] = [];
    for (let i = 0; i < 13; i++) {
      const obj = (yield* kmem_cache_alloc_node(t, cache, GFP_KERNEL, 1))!;
      assertEquals(obj._slab!.node, 1);
      got.push(obj);
    }
    for (const obj of got) yield* kmem_cache_free(t, cache, obj);
    const home = cache.nodelists[1]!.shared!;
    assertEquals(home.avail, 12, "the alien array held 12, then was drained");
    const local = (yield* kmem_cache_alloc_node(t, cache, GFP_KERNEL, -1))!;
    assertEquals(local._slab!.node, 0);
  });
  check_cache(cache);
});

Deno.test("a node without memory is served from others", () => {
  const rig = new Rig({ params: { mem_bytes: 2 ** 30 } });
  const cache = things(rig);
  rig.run(function* (t) {
    const obj = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
    assertEquals([t.cpu.node, obj._slab!.node], [1, 0]);
    yield* kmem_cache_free(t, cache, obj);
  }, 7);
});

Deno.test("memory runs out: null, and all of it comes back", () => {
  const rig = new Rig({
    preset: "i386-4",
    params: { mem_bytes: 32 * 2 ** 20 },
  });
  const before = nr_unused_pages(rig.k);
  const cache = things(rig, 3000);
  rig.run(function* (t) {
    const got: Thing[] = [];
    for (;;) {
      const obj = yield* kmem_cache_alloc(t, cache, GFP_KERNEL | __GFP_NOWARN);
      if (obj === null) break;
      got.push(obj);
    }
    assert(got.length > 1000);
    check_cache(cache);
    for (const obj of got) yield* kmem_cache_free(t, cache, obj);
    assertEquals(yield* kmem_cache_shrink(t, cache), 0);
  });
  assertEquals(nr_unused_pages(rig.k), before);
});

function assertBug(rig: Rig, what: string, fn: (t: Thread) => Steps<unknown>) {
  const bug = assertThrows(() => rig.run(fn), KernelBug);
  assertStringIncludes(bug.headline, what);
}

Deno.test("freeing twice, to the wrong cache, or what no cache made, is a bug", () => {
  const rig = new Rig();
  const cache = things(rig);
  assertBug(rig, "cache `thing': double free detected", function* (t) {
    const obj = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
    yield* kmem_cache_free(t, cache, obj);
    yield* kmem_cache_free(t, cache, obj);
  });
  const other = new Rig();
  const [a, b] = [things(other), things(other)];
  assertBug(other, "object of cache `thing' freed to cache `thing'", function* (
    t,
  ) {
    const obj = (yield* kmem_cache_alloc(t, a, GFP_KERNEL))!;
    yield* kmem_cache_free(t, b, obj);
  });
  assertBug(
    new Rig(),
    "object of no cache freed to kfree()",
    (t) => kfree(t, new KmallocObject()),
  );
});

Deno.test("kmem_cache_create() before kmem_cache_init() is a boot-order bug", () => {
  assertThrows(
    () => things(new Rig({ until: "mem_init" })),
    KernelBug,
    '"slab" is used before kmem_cache_init()',
  );
});

Deno.test("kmem_cache_destroy() of a cache in use says so and keeps it", () => {
  const rig = new Rig();
  const cache = things(rig);
  rig.run(function* (t) {
    const obj = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
    yield* kmem_cache_destroy(t, cache);
    assertEquals(cache.destroyed, false);
    yield* kmem_cache_free(t, cache, obj);
    yield* kmem_cache_destroy(t, cache);
  });
  assertEquals(cache.destroyed, true);
  assertEquals(rig.k.slab.inUse().has("thing"), false);
  assertStringIncludes(rig.k.printk.dmesg(), "Can't free all objects");
});

Deno.test("kmalloc() takes the next larger size; too much is null with a message", () => {
  const rig = new Rig();
  rig.run(function* (t) {
    for (
      const [bytes, size] of [
        [0, 32],
        [33, 64],
        [129, 192],
        [193, 256],
        [
          4097,
          8192,
        ],
        [131072, 131072],
        [2 ** 22, 2 ** 22],
      ]
    ) {
      const obj = (yield* kmalloc(t, bytes, GFP_KERNEL))!;
      assertEquals(ksize(obj), size);
      yield* kfree(t, obj);
    }
    assertEquals(yield* kmalloc(t, 2 ** 22 + 1, GFP_KERNEL), null);
    yield* kfree(t, null);
    assertEquals(ksize(null), 0);
  });
  assertStringIncludes(rig.k.printk.dmesg(), "kmalloc: 4194305 bytes are too");
});

Deno.test("kzalloc() clears its bytes and nobody else's", () => {
  const rig = new Rig();
  const { memory } = rig.machine;
  rig.run(function* (t) {
    const a = (yield* kmalloc(t, 64, GFP_KERNEL))!;
    const b = (yield* kmalloc(t, 64, GFP_KERNEL))!;
    memory.write32(a.paddr, 1);
    memory.write32(b.paddr, 2);
    yield* kfree(t, a);
    assert((yield* kmalloc(t, 64, GFP_KERNEL | __GFP_ZERO)) === a);
    assertEquals([memory.read32(a.paddr), memory.read32(b.paddr)], [0, 2]);
    yield* kfree(t, b);
    assert((yield* kzalloc(t, 64, GFP_KERNEL)) === b);
    assertEquals(memory.read32(b.paddr), 0);
  });
});

Deno.test("small neighbours share a cache line unless SLAB_HWCACHE_ALIGN", () => {
  const rig = new Rig({ spec: findPreset("opteron-2x4") });
  const cache = things(rig, 24);
  rig.run(function* (t) {
    const a = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
    const lines = new Set([a.line]);
    for (let i = 0; i < 7; i++) {
      lines.add((yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!.line);
    }
    assert(lines.size < 8);
  });
});
