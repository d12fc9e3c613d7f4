import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { KernelBug } from "../bug.ts";
import { Rig } from "./_rig.ts";
import {
  __alloc_bootmem,
  alloc_bootmem,
  alloc_bootmem_pages,
  free_bootmem,
} from "./bootmem.ts";
import { pfn_to_page, PG_reserved } from "./page.ts";
import { alloc_page } from "./page_alloc.ts";
import { GFP_KERNEL } from "./gfp.ts";

const MiB = 2 ** 20;

Deno.test("alloc_bootmem() starts at 16 MiB, packs small requests, and takes a node if asked", () => {
  const rig = new Rig({ until: "bootmem" });
  rig.call((t) => {
    assertEquals(alloc_bootmem(t, 100), 16 * MiB);
    assertEquals(alloc_bootmem(t, 1), 16 * MiB + 128);
    assertEquals(alloc_bootmem_pages(t, 4097), 16 * MiB / 4096 + 1);
    assertEquals(alloc_bootmem_pages(t, 1, 1), 2 ** 32 / 4096);
  });
});

Deno.test("alloc_bootmem() of more than there is panics", () => {
  const rig = new Rig({ until: "bootmem" });
  const bug = assertThrows(
    () => rig.call((t) => alloc_bootmem(t, 2 ** 40)),
    KernelBug,
  );
  assertEquals(
    bug.headline,
    "Kernel panic - not syncing: bootmem alloc of 1099511627776 bytes failed!",
  );
});

Deno.test("mem= limits memory; i386 keeps bootmem out of high memory", () => {
  const small = new Rig({ params: { mem_bytes: 100 * MiB } });
  assertEquals(small.k.pages.max_pfn, 100 * MiB / 4096);
  assertEquals(small.k.pages.hasPage(100 * MiB / 4096), false);
  const { bootmem } = new Rig({ preset: "i386-4", until: "bootmem" }).k;
  assertEquals(bootmem.max_low_pfn * 4096, 896 * MiB);
  assertEquals(bootmem.max_pfn * 4096, 2048 * MiB);
});

Deno.test("what bootmem has given stays reserved; using bootmem late is a bug", () => {
  const rig = new Rig({ until: "bootmem" });
  const pfn = rig.call((t) => alloc_bootmem_pages(t, 3 * 4096));
  assert([0, 1, 2].every((i) => rig.k.bootmem.isReserved(pfn + i)));
  assertEquals(rig.k.bootmem.isReserved(pfn + 3), false);
  const up = new Rig();
  assertThrows(
    () => up.call((t) => alloc_bootmem(t, 1)),
    KernelBug,
    "after free_all_bootmem()",
  );
  assertEquals(pfn_to_page(up.k, 512).flags, PG_reserved);
  up.run(function* (t) {
    const page = (yield* alloc_page(t, GFP_KERNEL))!;
    assertEquals(up.k.bootmem.isReserved(page.pfn), false);
  });
});

Deno.test("alloc_bootmem() and free_bootmem() agree with a byte-by-byte model", () => {
  const step = fc.record({
    bytes: fc.integer({ min: 1, max: 40 }),
    shift: fc.integer({ min: 0, max: 5 }),
    free: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const rig = new Rig({ until: "bootmem" });
      const base = 16 * MiB;
      const used = new Set<number>();
      const held: [number, number][] = [];
      rig.call((t) => {
        for (const { bytes, shift, free } of steps) {
          if (free && held.length > 0) {
            const [at, n] = held.splice(bytes % held.length, 1)[0];
            for (let i = 0; i < n; i++) used.delete(at + i);
            free_bootmem(t, at, n);
            continue;
          }
          let want = base;
          const taken = () => {
            for (let i = 0; i < bytes; i++) {
              if (used.has(want + i)) return true;
            }
            return false;
          };
          while (taken()) want += 2 ** shift;
          const at = __alloc_bootmem(t, bytes, 2 ** shift, -1);
          assertEquals(at, want);
          for (let i = 0; i < bytes; i++) used.add(at + i);
          held.push([at, bytes]);
        }
        for (const [at, n] of held) free_bootmem(t, at, n);
      });
      const fresh = new Rig({ until: "bootmem" });
      assertEquals(rig.k.bootmem.free, fresh.k.bootmem.free);
    }),
    { numRuns: 50, seed: 1 },
  );
});
