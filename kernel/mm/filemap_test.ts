import {
  assert,
  assertEquals,
  assertNotStrictEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import type { Steps } from "../../arch/asm.ts";
import { KernelBug } from "../bug.ts";
import { kthread_join, kthread_run } from "../kthread.ts";
import { EEXIST, err } from "../lib/errno.ts";
import { spend } from "../testing.ts";
import type { Thread } from "../thread.ts";
import { msleep } from "../timer.ts";
import {
  add_to_page_cache_lru,
  AddressSpace,
  check_mapping,
  find_get_page,
  find_lock_page,
  find_or_create_page,
  lock_page,
  mark_page_accessed,
  page_cache_release,
  page_waitqueue,
  PageLocked,
  PageUptodate,
  remove_from_page_cache,
  SetPageUptodate,
  trylock_page,
  unlock_page,
  wait_on_page_locked,
} from "./filemap.ts";
import { __GFP_NOWARN, GFP_KERNEL } from "./gfp.ts";
import { alloc_page } from "./page_alloc.ts";
import type { Page } from "./page.ts";
import { truncate_inode_pages } from "./truncate.ts";
import { PAGE_SIZE, runVm, take_pages, usage } from "./vm_testing.ts";
import { failPages } from "../testing.ts";

/** Pages in use, slab pages left out: a slab that is empty stays. */
function inUse(t: Thread): Record<string, number> {
  const use = usage(t.k);
  use.pages += t.k.slab.slabinfo().reduce(
    (sum, { slabs, pagesPerSlab }) => sum + slabs * pagesPerSlab,
    0,
  );
  return use;
}

Deno.test("the page cache does what a map does, and gives everything back", () => {
  type Op = readonly ["get" | "lock" | "create" | "truncate", number];
  const index = fc.oneof(
    fc.nat(5),
    fc.nat(200),
    fc.constantFrom(4095, 4096, 2 ** 18, 2 ** 31, 2 ** 40),
  );
  const op = fc.tuple(
    fc.constantFrom("get", "get", "lock", "create", "create", "truncate"),
    index,
  ) as fc.Arbitrary<Op>;
  fc.assert(
    fc.property(fc.array(op, { maxLength: 60 }), (ops) => {
      runVm({}, function* (t) {
        yield* truncate_inode_pages(t, new AddressSpace(t.k, "none"), 0);
        const start = inUse(t);
        const mapping = new AddressSpace(t.k, "test");
        const model = new Map<number, Page>();
        for (const [what, index] of ops) {
          const known = model.get(index) ?? null;
          if (what === "truncate") {
            yield* truncate_inode_pages(t, mapping, index * PAGE_SIZE);
            for (const i of [...model.keys()]) if (i >= index) model.delete(i);
          } else if (what === "get") {
            const page = yield* find_get_page(t, mapping, index);
            assert(page === known);
            if (page !== null) {
              assertEquals([page._count, PageLocked(page)], [2, false]);
              yield* page_cache_release(t, page);
            }
          } else {
            const page = what === "lock"
              ? yield* find_lock_page(t, mapping, index)
              : yield* find_or_create_page(t, mapping, index, GFP_KERNEL);
            if (what === "lock" || known !== null) assert(page === known);
            if (page !== null) {
              assertEquals([page._count, PageLocked(page)], [2, true]);
              assertEquals([page.mapping, page.index], [mapping, index]);
              model.set(index, page);
              yield* unlock_page(t, page);
              yield* page_cache_release(t, page);
            }
          }
          assertEquals(mapping.nrpages, model.size);
          assertEquals(check_mapping(mapping), []);
        }
        yield* truncate_inode_pages(t, mapping, 0);
        assertEquals(check_mapping(mapping), []);
        assertEquals(inUse(t), start);
      });
    }),
    { seed: 1, numRuns: 60 },
  );
});

Deno.test("many threads find one page at an index, one at a time locked, while others truncate", () => {
  fc.assert(
    fc.property(fc.nat(2 ** 30), (seed) => {
      runVm({ cpus: 8, seed }, function* (t) {
        const mapping = new AddressSpace(t.k, "test");
        const start = inUse(t);
        const holders = new Map<number, number>();
        const threads: Thread[] = [];
        for (let i = 0; i < 8; i++) {
          threads.push(
            yield* kthread_run(t, function* (p) {
              for (let n = 0; n < 40; n++) {
                const index = (i * 7 + n * n + seed) % 5;
                const page = (yield* find_or_create_page(
                  p,
                  mapping,
                  index,
                  GFP_KERNEL,
                ))!;
                assertEquals(page.index, index);
                assertEquals(holders.get(page.pfn), undefined);
                holders.set(page.pfn, i);
                yield* spend(p, 500 + ((seed * (n + 1)) % 2000));
                assertEquals(holders.get(page.pfn), i);
                holders.delete(page.pfn);
                yield* unlock_page(p, page);
                yield* page_cache_release(p, page);
              }
            }, `w/${i}`),
          );
        }
        const cutter = yield* kthread_run(t, function* (p) {
          for (let n = 0; n < 30; n++) {
            const page = yield* find_get_page(p, mapping, n % 5);
            if (page !== null) {
              yield* wait_on_page_locked(p, page);
              yield* page_cache_release(p, page);
            }
            yield* cut_one(p, mapping, n % 5);
            yield* spend(p, 1000);
          }
        }, "cutter");
        for (const p of [...threads, cutter]) yield* kthread_join(t, p);
        assertEquals(holders.size, 0);
        assertEquals(check_mapping(mapping), []);
        for (let i = 0; i < 5; i++) yield* cut_one(t, mapping, i);
        assertEquals(mapping.nrpages, 0);
        assertEquals(inUse(t).pages, start.pages);
      });
    }),
    { seed: 1, numRuns: 12 },
  );
});

/** Takes page `index` alone out. */
function* cut_one(t: Thread, mapping: AddressSpace, index: number): Steps {
  const page = yield* find_lock_page(t, mapping, index);
  if (page === null) return;
  yield* remove_from_page_cache(t, page);
  yield* unlock_page(t, page);
  yield* page_cache_release(t, page); // the cache's
  yield* page_cache_release(t, page);
}

Deno.test("find_or_create_page() of two at once makes one page, and both get it in turn", () => {
  runVm({ cpus: 2 }, function* (t) {
    const mapping = new AddressSpace(t.k, "test");
    const got: Page[] = [];
    const threads: Thread[] = [];
    for (let i = 0; i < 2; i++) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          const page = yield* find_or_create_page(p, mapping, 3, GFP_KERNEL);
          got.push(page!);
          yield* msleep(p, 2);
          yield* unlock_page(p, page!);
        }, `w/${i}`),
      );
    }
    for (const p of threads) yield* kthread_join(t, p);
    assert(got[0] === got[1]);
    assertEquals([got[0]._count, mapping.nrpages], [3, 1]);
    // A page of one's own is refused where there is one, and is as before.
    const [own] = yield* take_pages(t, 1);
    const error = yield* add_to_page_cache_lru(t, own, mapping, 3, GFP_KERNEL);
    assertEquals(error, err(EEXIST));
    assertEquals([own._count, own.flags, own.mapping], [1, 0, null]);
  });
});

Deno.test("unlock_page() wakes a waiter of its own page, though others share the queue", () => {
  runVm({ cpus: 4 }, function* (t) {
    const pages = yield* take_pages(t, 3000);
    const first = pages[0];
    const wq = page_waitqueue(t, first);
    const other = pages.find((p, i) => i > 0 && page_waitqueue(t, p) === wq)!;
    assertNotStrictEquals(other, undefined);
    const order: string[] = [];
    const threads: Thread[] = [];
    yield* lock_page(t, first);
    yield* lock_page(t, other);
    for (const [name, page] of [["first", first], ["other", other]] as const) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          yield* lock_page(p, page);
          order.push(name);
          yield* unlock_page(p, page);
        }, name),
      );
      yield* msleep(t, 5);
    }
    yield* unlock_page(t, other); // the second in the queue
    yield* msleep(t, 5);
    assertEquals(order, ["other"]);
    const waiter = yield* kthread_run(t, function* (p) {
      yield* wait_on_page_locked(p, first);
      order.push("watcher");
    }, "watcher");
    yield* msleep(t, 5);
    assertEquals(order, ["other"]);
    yield* unlock_page(t, first);
    for (const p of [...threads, waiter]) yield* kthread_join(t, p);
    assertEquals(order.slice().sort(), ["first", "other", "watcher"]);
    assertEquals(yield* trylock_page(t, first), true);
    assertEquals(yield* trylock_page(t, first), false);
  });
});

Deno.test("a page that is truncated while it is waited for is looked up anew", () => {
  runVm({ cpus: 2 }, function* (t) {
    const mapping = new AddressSpace(t.k, "test");
    const old = (yield* find_or_create_page(t, mapping, 0, GFP_KERNEL))!;
    let found: Page | null = null;
    const p = yield* kthread_run(t, function* (p) {
      found = yield* find_or_create_page(p, mapping, 0, GFP_KERNEL);
    }, "waiter");
    yield* msleep(t, 5);
    yield* remove_from_page_cache(t, old);
    yield* unlock_page(t, old);
    yield* kthread_join(t, p);
    assertNotStrictEquals(found, old);
    assertEquals((found as Page | null)!.mapping, mapping);
    assertEquals(old._count, 2); // the cache's and this thread's
  });
});

Deno.test("find_or_create_page() without memory for the page, or for the tree, leaves nothing behind", () => {
  runVm({}, function* (t) {
    const mapping = new AddressSpace(t.k, "test");
    const page = (yield* find_or_create_page(t, mapping, 1, GFP_KERNEL))!;
    yield* unlock_page(t, page);
    const gfp = GFP_KERNEL | __GFP_NOWARN;
    // Every node of the slab at hand goes, so that the next needs a page.
    const cache = t.k.page_cache!.radix_tree_node_cachep;
    let asked = 0;
    for (let failing = 0; failing < 2; failing++) {
      let index = 64;
      for (;;) {
        const start = inUse(t);
        const nodes = cache.active;
        asked = 0;
        failPages(t.k, () => asked++ >= failing);
        const got = yield* find_or_create_page(t, mapping, index, gfp);
        failPages(t.k, null);
        if (got === null) {
          assertEquals(inUse(t), start);
          assertEquals(cache.active, nodes);
          break;
        }
        yield* unlock_page(t, got);
        yield* page_cache_release(t, got);
        index += 64;
        assert(index < 64 * 40);
      }
    }
    yield* page_cache_release(t, page);
    yield* truncate_inode_pages(t, mapping, 0);
    assertEquals(check_mapping(mapping), []);
  });
});

Deno.test("the bits of a page: uptodate, referenced, and an unlock without a lock", () => {
  runVm({}, function* (t) {
    const page = (yield* alloc_page(t, GFP_KERNEL))!;
    assertEquals(PageUptodate(page), false);
    yield* SetPageUptodate(t, page);
    assertEquals(PageUptodate(page), true);
    const before = t.cpu.clock;
    yield* mark_page_accessed(t, page);
    const first = t.cpu.clock - before;
    yield* mark_page_accessed(t, page);
    assert(t.cpu.clock - before - first < first); // no atomic the second time
    yield* page_cache_release(t, page);
  });
  assertThrows(
    () =>
      runVm({}, function* (t) {
        const [page] = yield* take_pages(t, 1);
        yield* unlock_page(t, page);
      }),
    KernelBug,
    "not locked",
  );
});
