import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Steps } from "../../arch/asm.ts";
import type { Thread } from "../thread.ts";
import { VM_IOREMAP, VM_MAP, type VmStruct } from "./vm_struct.ts";
import {
  PAGE_SIZE,
  pageOf,
  PROT,
  runVm,
  take_pages,
  VMALLOC_START,
} from "./vm_testing.ts";
import {
  free_vm_area,
  get_vm_area,
  vm_map_ram,
  vm_unmap_aliases,
  vm_unmap_ram,
  vmap,
  vunmap,
} from "./vmalloc.ts";
import { type PlaceModel, RewriteModel, VmlistModel } from "./vmap_model.ts";
import type { Page } from "./page.ts";

/** Room for five blocks at most, so that everything runs out often. */
const SPACE = 9000;
const LAZY_MAX = 2500;
const MAX_PAGES = 300;

type Op =
  | { op: "area"; bytes: number }
  | { op: "map"; pages: number }
  | { op: "ram"; pages: number }
  | { op: "free"; which: number }
  | { op: "aliases" };

const sizes = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 8 }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: MAX_PAGES }) },
  { weight: 1, arbitrary: fc.constantFrom(32, 33, 63, 64, 65, 128, 129) },
);

const op: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant("area" as const),
      bytes: fc.oneof(
        fc.integer({ min: 0, max: 4 * 2 ** 20 }),
        fc.constantFrom(4095, 4096, 4097, 32768, 524288),
      ),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ op: fc.constant("map" as const), pages: sizes }),
  },
  {
    weight: 8,
    arbitrary: fc.record({ op: fc.constant("ram" as const), pages: sizes }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      op: fc.constant("free" as const),
      which: fc.nat(),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ op: "aliases" as const }) },
);

/** Something live: how to free it here and in the model. */
interface Live {
  free(t: Thread): Steps;
  model(): void;
}

function* allocate(
  t: Thread,
  o: Op,
  pages: readonly Page[],
  model: PlaceModel,
  live: Live[],
): Steps {
  if (o.op === "area") {
    const area: VmStruct | null = yield* get_vm_area(t, o.bytes, VM_IOREMAP);
    const bits = o.bytes === 0 ? 0 : Math.floor(Math.log2(o.bytes)) + 1;
    const align = 2 ** (Math.max(12, Math.min(bits, 19)) - 12);
    const at = model.area(Math.ceil(o.bytes / PAGE_SIZE), align);
    assertEquals(area === null ? -1 : pageOf(area.addr), at);
    if (area === null) return;
    live.push({
      free: (t) => free_vm_area(t, area),
      model: () => model.freeArea(at),
    });
  } else if (o.op === "map") {
    const addr = yield* vmap(t, pages, o.pages, VM_MAP, PROT);
    const at = model.area(o.pages, 1);
    assertEquals(pageOf(addr), at);
    if (at < 0) return;
    live.push({
      free: (t) => vunmap(t, addr),
      model: () => model.freeArea(at),
    });
  } else if (o.op === "ram") {
    const addr = yield* vm_map_ram(t, pages, o.pages, -1, PROT);
    const at = model.ram(o.pages);
    assertEquals(pageOf(addr), at);
    if (at < 0) return;
    live.push({
      free: (t) => vm_unmap_ram(t, addr, o.pages),
      model: () => model.freeRam(at, o.pages),
    });
  }
}

function* replay(
  t: Thread,
  ops: readonly Op[],
  model: PlaceModel,
): Steps {
  const pages = yield* take_pages(t, MAX_PAGES);
  const live: Live[] = [];
  for (const o of ops) {
    if (o.op === "aliases") {
      yield* vm_unmap_aliases(t);
      model.aliases();
    } else if (o.op === "free") {
      if (live.length === 0) continue;
      const [victim] = live.splice(o.which % live.length, 1);
      yield* victim.free(t);
      victim.model();
    } else yield* allocate(t, o, pages, model, live);
    const { flushes, last_flush_start, last_flush_end } = t.k.vmalloc;
    assertEquals(flushes, model.flushes);
    assertEquals(t.k.vmap.counters().lazy_nr, model.lazy);
    if (flushes === 0) continue;
    assertEquals(
      [last_flush_start, last_flush_end],
      model.lastFlush.map((p) => VMALLOC_START + p * PAGE_SIZE),
    );
  }
  assertEquals(t.k.vmap.check(), []);
}

for (const vmap of ["rewrite", "vmlist"] as const) {
  Deno.test(`${vmap} places and flushes as the slow model does`, () => {
    fc.assert(
      fc.property(
        fc.array(op, { minLength: 20, maxLength: 250 }),
        (ops) => {
          const model = vmap === "rewrite"
            ? new RewriteModel(SPACE, LAZY_MAX)
            : new VmlistModel(SPACE);
          const params = { vmap, lazy_max: LAZY_MAX };
          runVm({ pages: SPACE, params }, (t) => replay(t, ops, model));
        },
      ),
      { numRuns: 40, seed: 20081018 },
    );
  });
}
