import { assertEquals } from "@std/assert";
import type { RewriteLayer } from "./rewrite_layer.ts";
import { vmap_bbmap_bits } from "./rewrite_state.ts";
import { vm_map_ram, vm_unmap_ram } from "./vmalloc.ts";
import {
  pageOf,
  PROT,
  runVm,
  take_pages,
  type VmOptions,
} from "./vm_testing.ts";

/** What vmalloc space is taken to be, pages of 4 KiB. */
const SPACE_64 = 128 * 2 ** 30 / 4096;
const SPACE_32 = 128 * 2 ** 20 / 4096;

Deno.test("vmap_bbmap_bits() is a share of the space for each CPU, within limits", () => {
  assertEquals(vmap_bbmap_bits(8, 64, SPACE_64, false), 1024);
  assertEquals(vmap_bbmap_bits(4096, 64, SPACE_64, false), 512);
  assertEquals(vmap_bbmap_bits(1, 32, SPACE_32, false), 1024);
  assertEquals(vmap_bbmap_bits(8, 32, SPACE_32, false), 256);
  assertEquals(vmap_bbmap_bits(64, 32, SPACE_32, false), 64); // two requests
  assertEquals(vmap_bbmap_bits(3, 32, SPACE_32, false), 512);
  assertEquals(vmap_bbmap_bits(3, 32, SPACE_32, true), 682);
  assertEquals(vmap_bbmap_bits(4, 1, 0, false), 2);
  assertEquals(vmap_bbmap_bits(3, 4, 512, true), 10);
});

function sizes(params: VmOptions["params"]): [number, number] {
  // deno-lint-ignore require-yield
  return runVm({ params }, function* (t) {
    const { VMAP_MAX_ALLOC, VMAP_BBMAP_BITS } =
      (t.k.vmap as RewriteLayer).state;
    return [VMAP_MAX_ALLOC, VMAP_BBMAP_BITS] as [number, number];
  }).result;
}

Deno.test("vmap.max_alloc= and vmap.space= make blocks small", () => {
  assertEquals(sizes({}), [64, 1024]);
  assertEquals(sizes({ vmap_max_alloc: 4 }), [4, 1024]);
  assertEquals(sizes({ vmap_space: 0 }), [64, 128]);
  assertEquals(sizes({ vmap_max_alloc: 1, vmap_space: 0 }), [1, 2]);
  const [maxAlloc, bits] = sizes({ vmap_max_alloc: 4, vmap_space: 2 ** 15 });
  assertEquals([maxAlloc, bits], [4, 32]); // built for 64 CPUs
});

Deno.test("vmap.max_alloc=: what is larger has an area of its own", () => {
  const params = { vmap_max_alloc: 4, vmap_space: 0 };
  const got = runVm({ params }, function* (t) {
    const pages = yield* take_pages(t, 5);
    const at: number[] = [];
    for (const n of [4, 5, 4, 1]) {
      at.push(yield* vm_map_ram(t, pages, n, -1, PROT));
    }
    const { blocks, areas } = t.k.vmap.counters();
    for (const [i, n] of [4, 5, 4, 1].entries()) {
      yield* vm_unmap_ram(t, at[i], n);
    }
    assertEquals(t.k.vmap.check(), []);
    return { at: at.map(pageOf), blocks, areas };
  }).result;
  assertEquals(got, { at: [0, 9, 4, 16], blocks: 2, areas: 3 });
});
