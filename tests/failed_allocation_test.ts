/**
 * Every page that vmalloc(), vmap() and their kin ask for is refused once, and
 * once with all that follow: the answer is NULL, and nothing stays behind.
 *
 * For that each call is made where it needs everything anew: descriptors from
 * slabs that are full, addresses behind a hole of 512 GiB, where no page table
 * is.
 */
import { assert, assertEquals } from "@std/assert";
import type { Steps } from "../arch/asm.ts";
import { findPreset } from "../arch/hw/presets/index.ts";
import { withCpus } from "../arch/hw/validate.ts";
import { boot, type BootedMachine } from "../boot/boot.ts";
import { GFP_KERNEL } from "../kernel/mm/gfp.ts";
import { ioremap, iounmap } from "../kernel/mm/ioremap.ts";
import type { Page } from "../kernel/mm/page.ts";
import {
  kmem_cache_alloc,
  kmem_cache_free,
  kmem_cache_shrink,
  type SlabObject,
} from "../kernel/mm/slab.ts";
import {
  alloc_vm_area,
  find_vm_area,
  free_vm_area,
  get_vm_area,
} from "../kernel/mm/vm_area.ts";
import { vfree } from "../kernel/mm/vfree.ts";
import { VM_MAP } from "../kernel/mm/vm_struct.ts";
import { vmalloc, vmalloc_user } from "../kernel/mm/vmalloc.ts";
import { vm_map_ram, vm_unmap_ram, vmap, vunmap } from "../kernel/mm/vmap.ts";
import type { Thread } from "../kernel/thread.ts";
import {
  inventory,
  LAYERS,
  PROT,
  settle_blocks,
  take_pages,
} from "./_machine.ts";
import { failPages } from "../kernel/testing.ts";

const PAGE = 4096;
/** Addresses under one entry of the root table: behind them every table is new. */
const HOLE = 512 * 2 ** 30;
/** Bus addresses that are no memory. */
const DEVICE = 0x20_0000_0000;
/** Caches whose slabs are filled up before each call. */
const CACHES = /^(vm_struct|vmap_area|vmap_block|size-(32|64|128|4096))$/;

/** A call, and its undoing. */
interface Call {
  readonly name: string;
  readonly make: (t: Thread, pages: readonly Page[]) => Steps<number>;
  readonly undo: (t: Thread, addr: number) => Steps;
  /** Pages that it asks for: slabs, page tables, contents. */
  readonly asks: { readonly vmlist: number; readonly rewrite: number };
}

const CALLS: readonly Call[] = [
  {
    // A slab of vm_structs, one of arrays, three page tables, three pages; in the
    // rewrite a slab of vmap_areas too.
    name: "vmalloc() of 3 pages",
    make: (t) => vmalloc(t, 3 * PAGE),
    undo: vfree,
    asks: { vmlist: 8, rewrite: 9 },
  },
  {
    name: "vmalloc() of 520 pages", // the array comes from vmalloc() itself
    make: (t) => vmalloc(t, 520 * PAGE),
    undo: vfree,
    asks: { vmlist: 528, rewrite: 529 },
  },
  {
    name: "vmalloc_user() of 2 pages",
    make: (t) => vmalloc_user(t, 2 * PAGE),
    undo: vfree,
    asks: { vmlist: 7, rewrite: 8 },
  },
  {
    name: "vmap() of 3 pages",
    make: (t, pages) => vmap(t, pages, 3, VM_MAP, PROT),
    undo: vunmap,
    asks: { vmlist: 4, rewrite: 5 },
  },
  {
    name: "vm_map_ram() of 4 pages",
    make: (t, pages) => vm_map_ram(t, pages, 4, -1, PROT),
    undo: (t, addr) => vm_unmap_ram(t, addr, 4),
    asks: { vmlist: 4, rewrite: 5 },
  },
  {
    name: "vm_map_ram() of 65 pages",
    make: (t, pages) => vm_map_ram(t, pages, 65, -1, PROT),
    undo: (t, addr) => vm_unmap_ram(t, addr, 65),
    asks: { vmlist: 4, rewrite: 4 },
  },
  {
    name: "ioremap() of 5 pages",
    make: (t) => ioremap(t, DEVICE, 5 * PAGE),
    undo: iounmap,
    asks: { vmlist: 4, rewrite: 5 },
  },
  {
    name: "alloc_vm_area() of 3 pages",
    *make(t) {
      return (yield* alloc_vm_area(t, 3 * PAGE))?.addr ?? 0;
    },
    *undo(t, addr) {
      const area = yield* find_vm_area(t, addr);
      yield* free_vm_area(t, area!);
    },
    asks: { vmlist: 4, rewrite: 5 },
  },
];

/** Takes every free object of `CACHES`, so that the next one needs a page. */
function* fill_slabs(t: Thread): Steps<SlabObject[]> {
  const taken: SlabObject[] = [];
  for (const cache of t.k.slab.caches) {
    if (!CACHES.test(cache.name)) continue;
    yield* kmem_cache_shrink(t, cache);
    while (cache.active < cache.slabs * cache.layout.num) {
      taken.push(yield* kmem_cache_alloc(t, cache, GFP_KERNEL));
    }
  }
  return taken;
}

function* empty_slabs(t: Thread, taken: readonly SlabObject[]): Steps {
  for (const obj of taken) yield* kmem_cache_free(t, obj._slab!.cache, obj);
}

/** How requests are refused: the n-th alone, or all from the n-th on. */
type Mode = "one" | "rest";

/** Makes `call` behind `holes` holes, its `n`-th page refused. @returns Its answer, and the pages it asked for. */
function* make_failing(
  t: Thread,
  call: Call,
  pages: readonly Page[],
  n: number,
  mode: Mode,
  holes: number,
): Steps<{ addr: number; asked: number }> {
  const hole = yield* get_vm_area(t, holes * HOLE, VM_MAP);
  const taken = yield* fill_slabs(t);
  let asked = 0;
  failPages(t.k, (by) => {
    if (by.task !== t) return false;
    asked++;
    return mode === "one" ? asked === n : asked >= n;
  });
  const addr = yield* call.make(t, pages);
  failPages(t.k, null);
  if (addr !== 0) yield* call.undo(t, addr);
  yield* empty_slabs(t, taken);
  yield* free_vm_area(t, hole!);
  yield* settle_blocks(t);
  return { addr, asked };
}

/** Refuses each page in turn until the call gets through. @returns Pages it takes. */
function exhaust(booted: BootedMachine, call: Call, mode: Mode): number {
  const { kernel } = booted;
  const pages = booted.run((t) => take_pages(t, 65));
  booted.run(settle_blocks);
  const before = inventory(kernel);
  let holes = 0;
  for (let n = 1;; n++) {
    // Of hundreds of pages alike, some.
    if (n > 12 && n < call.asks.vmlist - 4 && n % 97 !== 0) continue;
    const what = `page ${n} refused, mode "${mode}"`;
    const { addr, asked } = booted.run((t) =>
      make_failing(t, call, pages, n, mode, ++holes)
    );
    assertEquals(kernel.vmap.check(), [], what);
    assertEquals(inventory(kernel), before, what);
    if (asked < n) { // there was no n-th
      assert(addr > 0, what);
      return asked;
    }
    assertEquals(addr, 0, what);
  }
}

for (const layer of LAYERS) {
  for (const call of CALLS) {
    Deno.test(`${layer}: ${call.name} gives NULL and leaves nothing whichever page is refused`, () => {
      const spec = withCpus(findPreset("opteron-2x4"), 4); // one node
      for (const mode of ["one", "rest"] as const) {
        const booted = boot({ spec, params: { vmap: layer } });
        const asked = exhaust(booted, call, mode);
        assertEquals(asked, call.asks[layer]);
        assertEquals(booted.kernel.printk.warnings, 0);
      }
    });
  }
}
