/** One suite for every layer. */
import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { pload, pstore, type Steps, vload, vstore } from "../../arch/asm.ts";
import { KernelBug } from "../bug.ts";
import { kthread_join, kthread_run } from "../kthread.ts";
import type { KernelParams } from "../params.ts";
import type { Thread } from "../thread.ts";
import { GFP_KERNEL } from "./gfp.ts";
import { __free_page, alloc_page } from "./page_alloc.ts";
import type { Page } from "./page.ts";
import { count_ptes } from "./pgtable.ts";
import { VM_MAP } from "./vm_struct.ts";
import { PAGE_SIZE, PROT, runVm, take_pages, usage } from "./vm_testing.ts";
import {
  vfree,
  vm_map_ram,
  vm_unmap_aliases,
  vm_unmap_ram,
  vmalloc,
  vmalloc_to_page,
  vmap,
  vunmap,
} from "./vmalloc.ts";

/** Bytes of memory of the machines that run out of it. */
const SMALL_MEMORY = 48 * 2 ** 20;

/** Ways to map `pages`, each with its way to unmap. */
const ways: {
  name: string;
  map: (t: Thread, pages: Page[]) => Steps<number>;
  unmap: (t: Thread, addr: number, count: number) => Steps;
}[] = [
  {
    name: "vmap",
    map: (t, pages) => vmap(t, pages, pages.length, VM_MAP, PROT),
    unmap: vunmap,
  },
  {
    name: "vm_map_ram",
    map: (t, pages) => vm_map_ram(t, pages, pages.length, -1, PROT),
    unmap: vm_unmap_ram,
  },
];

function* worker(t: Thread, n: number): Steps {
  for (let i = 0; i < 150; i++) {
    const count = 1 + (i * 7 + n) % 12;
    const pages = yield* take_pages(t, count);
    const [way, other] = i % 3 === 0 ? [ways[0], ways[1]] : [ways[1], ways[0]];
    const addr = yield* way.map(t, pages);
    const twin = yield* other.map(t, pages);
    for (let p = 0; p < count; p++) {
      yield* vstore(t, addr + p * PAGE_SIZE, 4, n * 1000 + p);
      assertEquals(yield* vload(t, twin + p * PAGE_SIZE, 4), n * 1000 + p);
    }
    yield* way.unmap(t, addr, count);
    yield* other.unmap(t, twin, count);
    if (i % 40 === n) yield* vm_unmap_aliases(t);
    const block = yield* vmalloc(t, 3 * PAGE_SIZE);
    yield* vfree(t, block);
    for (const page of pages) yield* __free_page(t, page);
  }
}

for (const layer of ["rewrite", "vmlist"] as const) {
  const params: Partial<KernelParams> = { vmap: layer };
  const lazy = layer === "rewrite";

  for (const { name, map, unmap } of ways) {
    Deno.test(`${layer}: ${name} shows each page where it belongs`, () => {
      runVm({ params }, function* (t) {
        for (const count of [1, 4, 9, 64, 65, 600]) {
          const pages = yield* take_pages(t, count);
          pages.reverse(); // not in the order of memory
          const addr = yield* map(t, pages);
          assert(addr > 0);
          for (let i = 0; i < count; i++) {
            const at = addr + i * PAGE_SIZE + 8 * (i % 500);
            assertEquals(vmalloc_to_page(t, at), pages[i]);
            const frame = pages[i].pfn * PAGE_SIZE + 8 * (i % 500);
            yield* vstore(t, at, 4, 1000 + i);
            assertEquals(yield* pload(t, frame, 4), 1000 + i);
            yield* pstore(t, frame, 4, 2000 + i);
            assertEquals(yield* vload(t, at, 4), 2000 + i);
          }
          assertEquals(t.k.vmap.check(), []);
          yield* unmap(t, addr, count);
        }
        yield* vm_unmap_aliases(t);
        const { start, end } = t.k.vmalloc;
        assertEquals(count_ptes(t.k, start, end), 0);
      });
    });

    Deno.test(`${layer}: after ${name}, unmap and vm_unmap_aliases an access oopses`, () => {
      let reached = false;
      const bug = assertThrows(() =>
        runVm({ params }, function* (t) {
          const pages = yield* take_pages(t, 4);
          const addr = yield* map(t, pages);
          yield* vstore(t, addr, 4, 1);
          yield* unmap(t, addr, 4);
          yield* vm_unmap_aliases(t);
          reached = true;
          yield* vload(t, addr, 4);
        }), KernelBug);
      assert(reached);
      assertStringIncludes(bug.headline, "paging request at ffffc2000");
    });

    Deno.test(`${layer}: ${name} gives back what it took`, () => {
      runVm({ params, pages: 20000 }, function* (t) {
        const pages = yield* take_pages(t, 40);
        // Sizes that differ fragment blocks for good (B3).
        const sizes = name === "vmap" ? 40 : 1;
        const before: Record<string, number>[] = [];
        for (let round = 0; round < 4; round++) {
          for (let i = 0; i < 3000; i++) {
            const count = 8 + i % sizes % 32;
            const addr = yield* map(t, pages.slice(0, count));
            assert(addr > 0, `nothing left in round ${round}`);
            yield* unmap(t, addr, count);
          }
          yield* vm_unmap_aliases(t);
          before.push(usage(t.k));
        }
        assertEquals(t.k.vmap.check(), []);
        // Some blocks wait for the rest of their pages, and RCU for its time.
        const live = before.map((u) => u["vm_struct"] ?? 0);
        assertEquals(live, [0, 0, 0, 0]);
        assertEquals(t.k.vmap.counters().lazy_nr, 0);
      });
    });
  }

  Deno.test(`${layer}: the guard page faults`, () => {
    const bug = assertThrows(() =>
      runVm({ params }, function* (t) {
        const addr = yield* vmalloc(t, 2 * PAGE_SIZE);
        yield* vstore(t, addr + 2 * PAGE_SIZE - 4, 4, 1);
        yield* vstore(t, addr + 2 * PAGE_SIZE, 4, 1);
      }), KernelBug);
    assertStringIncludes(bug.headline, "ffffc20000002000");
  });

  Deno.test(`${layer}: space runs out, says so, and comes back`, () => {
    const { k } = runVm({ params, pages: 64 }, function* (t) {
      const pages = yield* take_pages(t, 30);
      const a = yield* vmap(t, pages, 30, VM_MAP, PROT);
      const b = yield* vmap(t, pages, 30, VM_MAP, PROT);
      assert(a > 0 && b > 0);
      assertEquals(yield* vmap(t, pages, 30, VM_MAP, PROT), 0);
      yield* vunmap(t, a);
      assertEquals(yield* vmap(t, pages, 30, VM_MAP, PROT), a);
      assertEquals(t.k.vmap.check(), []);
    });
    assertEquals(k.vmalloc.failures, 1);
    const said = k.printk.lines().filter(({ text }) =>
      text.includes("use vmalloc=<size> to increase size.")
    );
    assertEquals(said.length, 1);
  });

  Deno.test(`${layer}: a request that memory cannot meet leaves nothing behind`, () => {
    runVm(
      { params: { ...params, mem_bytes: SMALL_MEMORY } },
      function* (t) {
        const free = SMALL_MEMORY / PAGE_SIZE - 1;
        const seen: Record<string, number>[] = [];
        for (let i = 0; i < 3; i++) {
          assertEquals(yield* vmalloc(t, free * PAGE_SIZE), 0);
          yield* vm_unmap_aliases(t);
          seen.push(usage(t.k));
        }
        assertEquals(seen[2].vm_struct, seen[1].vm_struct);
        assertEquals(seen[2].pages, seen[1].pages);
        assertEquals(t.k.vmap.check(), []);
        const { start, end } = t.k.vmalloc;
        assertEquals(count_ptes(t.k, start, end), 0);
      },
    );
  });

  Deno.test(`${layer}: mapping without memory for page tables or descriptors fails cleanly`, () => {
    runVm({ params: { ...params, mem_bytes: SMALL_MEMORY } }, function* (t) {
      const hog: Page[] = [];
      for (;;) {
        const page = yield* alloc_page(t, GFP_KERNEL);
        if (page === null) break;
        hog.push(page);
      }
      assertEquals(yield* vmap(t, hog, 8, VM_MAP, PROT), 0);
      assertEquals(yield* vm_map_ram(t, hog, 8, -1, PROT), 0);
      assertEquals(t.k.vmap.check(), []);
      for (let i = 0; i < 100; i++) yield* __free_page(t, hog.pop()!);
      yield* vm_unmap_aliases(t);
      const addr = yield* vmap(t, hog, 8, VM_MAP, PROT);
      assert(addr > 0);
      yield* vunmap(t, addr);
    });
  });

  Deno.test(`${layer}: eight CPUs map, touch and unmap without treading on each other`, () => {
    runVm({ params: { ...params, lazy_max: 600 }, cpus: 8 }, function* (t) {
      const threads: Thread[] = [];
      for (let n = 0; n < 8; n++) {
        threads.push(yield* kthread_run(t, (t) => worker(t, n), `map/${n}`));
      }
      for (const p of threads) yield* kthread_join(t, p);
      assertEquals(t.k.vmap.check(), []);
      yield* vm_unmap_aliases(t);
      const { start, end } = t.k.vmalloc;
      assertEquals(count_ptes(t.k, start, end), 0);
      assertEquals(t.k.vmalloc.vmlist, null);
    });
  });

  Deno.test(`${layer}: ${lazy ? "one flush serves many frees" : "every free flushes"}`, () => {
    runVm({ params: { ...params, lazy_max: 100 } }, function* (t) {
      const pages = yield* take_pages(t, 4);
      for (let i = 0; i < 60; i++) {
        const addr = yield* vmap(t, pages, 4, VM_MAP, PROT);
        yield* vunmap(t, addr);
      }
      // 5 pages each with the guard: more than 100 at every 21st.
      assertEquals(t.k.vmalloc.flushes, lazy ? 2 : 60);
    });
  });
}
