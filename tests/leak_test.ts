/** After each workload, on both layers, everything that was taken is back. */
import { assert, assertEquals } from "@std/assert";
import { findPreset } from "../arch/hw/presets/index.ts";
import { boot } from "../boot/boot.ts";
import { map_touch_unmap } from "../boot/workloads/map_touch_unmap.ts";
import { VM_MAP } from "../kernel/mm/vm_struct.ts";
import { vm_map_ram, vm_unmap_ram, vmap, vunmap } from "../kernel/mm/vmap.ts";
import {
  drop_pages,
  inventory,
  LAYERS,
  livePagesInBlocks,
  PROT,
  settle,
  settle_blocks,
  take_pages,
} from "./_machine.ts";

for (const layer of LAYERS) {
  for (const api of ["ram", "vmap"] as const) {
    Deno.test(`${layer}: 1 to 8 threads of map, touch and unmap by ${api} leave nothing behind`, () => {
      const booted = boot({
        spec: findPreset("opteron-2x4"),
        params: { vmap: layer },
      });
      const { kernel } = booted;
      booted.run(settle);
      const start = inventory(kernel);
      assertEquals(start.lazy_nr, 0);
      for (let threads = 1; threads <= 8; threads++) {
        // From a block; and, the last size, too large for one.
        for (const pages of [4, 1 + 9 * threads, 65]) {
          const what = `${threads} threads of ${pages} pages`;
          const tables = kernel.init_mm.nr_tables;
          booted.run((t) =>
            map_touch_unmap(t, { threads, ops: 25, warmup: 2, pages, api })
          );
          assertEquals(kernel.vmap.check(), [], what);
          booted.run(settle);
          const rest = inventory(kernel);
          // Blocks with pages left to hand out stay, with nothing in them.
          assertEquals(livePagesInBlocks(kernel), 0, what);
          assertEquals(rest.areas - rest.blocks, start.areas, what);
          assertEquals(rest.pages, start.pages, what);
          assertEquals(rest.entries, start.entries, what);
          booted.run(settle_blocks);
          assertEquals(inventory(kernel), start, what);
          const added = kernel.init_mm.nr_tables - tables;
          assert(added >= 0 && added <= 64, `${added} page tables: ${what}`);
        }
      }
      assertEquals(kernel.vmap.check(), []);
      assertEquals(kernel.printk.warnings, 0);
    });
  }
}

Deno.test("inventory() misses a page, an area and a mapping in a block", () => {
  const booted = boot({ spec: findPreset("opteron-2x4") });
  const { kernel } = booted;
  booted.run(settle);
  const start = inventory(kernel);
  const [page] = booted.run((t) => take_pages(t, 1));
  assertEquals(inventory(kernel), { ...start, pages: start.pages - 1 });
  const area = booted.run((t) => vmap(t, [page], 1, VM_MAP, PROT));
  booted.run(settle);
  const { objects } = start;
  assertEquals(inventory(kernel), {
    ...start,
    pages: start.pages - 1,
    areas: start.areas + 1,
    vm_structs: start.vm_structs + 1,
    entries: start.entries + 1,
    objects: {
      ...objects,
      vm_struct: objects.vm_struct + 1,
      vmap_area: objects.vmap_area + 1,
    },
  });
  booted.run((t) => vunmap(t, area));
  const addr = booted.run((t) => vm_map_ram(t, [page], 1, -1, PROT));
  booted.run(settle_blocks);
  const kept = inventory(kernel);
  assertEquals([kept.blocks, kept.entries], [1, start.entries + 1]);
  booted.run((t) => vm_unmap_ram(t, addr, 1));
  booted.run((t) => drop_pages(t, [page]));
  booted.run(settle_blocks);
  assertEquals(inventory(kernel), start);
});
