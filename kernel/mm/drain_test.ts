import { assert, assertEquals } from "@std/assert";
import type { Kernel } from "../kernel.ts";
import { on_each_cpu } from "../smp.ts";
import { runKernel } from "../testing.ts";
import type { Thread } from "../thread.ts";
import { boot_memory } from "./_rig.ts";
import { check_zone } from "./buddy.ts";
import { GFP_ATOMIC } from "./gfp.ts";
import {
  __free_page,
  alloc_page,
  nr_free_pages,
  nr_unused_pages,
} from "./page_alloc.ts";
import { drain_all_pages } from "./percpu_pages.ts";
import {
  kmem_cache_alloc,
  kmem_cache_create,
  kmem_cache_free,
  kmem_cache_shrink,
  SlabObject,
} from "./slab.ts";
import { check_cache } from "./slab_check.ts";

/** Pages that slabs hold; calls to other CPUs take objects, too. */
function slabPages(k: Kernel): number {
  return k.slab.slabinfo().reduce(
    (sum, cache) => sum + cache.slabs * cache.pagesPerSlab,
    0,
  );
}

Deno.test("drain_all_pages() and kmem_cache_shrink() reach every CPU", () => {
  const { result: k } = runKernel(
    { early: (t) => boot_memory(t) },
    function* (t) {
      const { k } = t;
      const cache = kmem_cache_create(t, "thing", 100, () => new SlabObject());
      const before = nr_unused_pages(k) + slabPages(k);
      yield* on_each_cpu(
        t,
        function* (t: Thread) {
          const page = (yield* alloc_page(t, GFP_ATOMIC))!;
          const obj = (yield* kmem_cache_alloc(t, cache, GFP_ATOMIC))!;
          yield* kmem_cache_free(t, cache, obj);
          yield* __free_page(t, page);
        },
        null,
        true,
      );
      assert(cache.array.every((ac) => ac !== undefined));
      assert(nr_free_pages(k) < nr_unused_pages(k));
      assertEquals(yield* kmem_cache_shrink(t, cache), 0);
      assertEquals(cache.slabs, 0);
      yield* drain_all_pages(t);
      assertEquals(nr_free_pages(k) + slabPages(k), before);
      return k;
    },
  );
  k.pages.zones.forEach(check_zone);
  k.slab.caches.forEach(check_cache);
});
