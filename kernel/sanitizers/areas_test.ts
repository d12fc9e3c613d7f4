import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Steps } from "../../arch/asm.ts";
import { KernelBug } from "../bug.ts";
import type { RewriteLayer } from "../mm/rewrite_layer.ts";
import { vmap_page_range, vunmap_page_range } from "../mm/pgtable.ts";
import {
  __insert_vmap_area,
  mark_lazy_free,
  VmapArea,
} from "../mm/vmap_area.ts";
import { VM_ALLOC, VM_MAP, VmStruct } from "../mm/vm_struct.ts";
import {
  PAGE_SIZE,
  PROT,
  take_pages,
  VMALLOC_START,
  type VmOptions,
} from "../mm/vm_testing.ts";
import {
  get_vm_area,
  vfree,
  vm_area_add_early,
  vm_map_ram,
  vm_unmap_aliases,
  vm_unmap_ram,
  vmalloc,
  vmap,
  vunmap,
} from "../mm/vmalloc.ts";
import type { Thread } from "../thread.ts";
import { roomFor } from "./area_requests.ts";
import { foundIn } from "./found_testing.ts";
import type { SanitizerReport } from "./report.ts";
import { randomUse } from "./use_testing.ts";

/**
 * Runs `main` with `quirks` under the sanitizer, and looks at all in the end.
 *
 * @returns What it has found; `null` = nothing.
 */
function found(
  quirks: readonly string[],
  main: (t: Thread) => Steps<unknown>,
  options: VmOptions = {},
): SanitizerReport | null {
  const params = { ...options.params, vmap_quirk: new Set(quirks) };
  return foundIn("areas", function* (t) {
    yield* main(t);
    t.k.sanitizers!.quiet(t, t.k);
  }, { ...options, params });
}

/** `main` is clean by default, and found as `headline` with `quirk`. */
function shows(
  quirk: string,
  headline: string,
  main: (t: Thread) => Steps<unknown>,
  options: VmOptions = {},
): SanitizerReport {
  assertEquals(found([], main, options), null);
  const report = found([quirk], main, options);
  assert(report !== null, "nothing found");
  assertEquals(report.headline, `BUG: vmap: ${headline}`);
  assertEquals(report.sanitizer, "areas");
  return report;
}

Deno.test("posted-search: the areas that overlap are shown", () => {
  const { sections } = shows("posted-search", "areas overlap", function* (t) {
    const pages = yield* take_pages(t, 4);
    const a = yield* vmap(t, pages, 1, VM_MAP, PROT);
    yield* vmap(t, pages, 4, VM_MAP, PROT);
    yield* vunmap(t, a);
    yield* vm_unmap_aliases(t);
    yield* vmap(t, pages, 4, VM_MAP, PROT);
  });
  assertEquals(sections[0].lines, ["[ffffc20000000000, ffffc20000005000)"]);
  assertStringIncludes(sections[1].title, "taken by init:1 on CPU 0 at");
  assert(sections[1].lines.includes("vmap"));
});

/** An area laid over another by hand. */
function* overlay(t: Thread): Steps {
  const addr = yield* vmalloc(t, 4 * PAGE_SIZE);
  const w = (t.k.vmap as RewriteLayer).state;
  const va = new VmapArea(w);
  va.va_start = addr + PAGE_SIZE;
  va.va_end = addr + 2 * PAGE_SIZE;
  w.vmap_area_lock.owner = t;
  __insert_vmap_area(t, w, va);
}

Deno.test("insert-overlap: what the insertion does not see is found", () => {
  const report = found(["insert-overlap"], overlay);
  assertEquals(report?.headline, "BUG: vmap: areas overlap");
});

Deno.test("no-overflow-check: an area that wraps is found", () => {
  shows(
    "no-overflow-check",
    "area wraps around the end of addresses",
    function* (t) {
      yield* get_vm_area(t, PAGE_SIZE, VM_ALLOC);
      yield* get_vm_area(t, 64 * 2 ** 40, VM_ALLOC);
    },
  );
});

Deno.test("no-overflow-check: an area that has wrapped once round is too small", () => {
  shows("no-overflow-check", "area smaller than asked for", function* (t) {
    yield* get_vm_area(t, 2 ** 48, VM_ALLOC);
  });
});

Deno.test("clear-after-dirty: entries cleared that a purge may have given away are found", () => {
  shows(
    "clear-after-dirty",
    "entries of a free area cleared by other than the purge",
    function* (t) {
      const pages = yield* take_pages(t, 1);
      const a = yield* vm_map_ram(t, pages, 1, -1, PROT);
      const b = yield* vm_map_ram(t, pages, 1, -1, PROT);
      yield* vm_unmap_ram(t, a, 1);
      yield* vm_unmap_ram(t, b, 1);
    },
    { params: { vmap_max_alloc: 1, vmap_space: 0 } },
  );
});

Deno.test("retry-from-failure: a refusal although a purge has made room is found", () => {
  const { sections } = shows(
    "retry-from-failure",
    "allocation refused that would have fitted",
    function* (t) {
      const pages = yield* take_pages(t, 8);
      const a = yield* vmap(t, pages, 8, VM_MAP, PROT);
      yield* vunmap(t, a);
      yield* vmap(t, pages, 8, VM_MAP, PROT);
    },
    { pages: 16 },
  );
  assertEquals(sections[0].lines, ["[ffffc20000000000, ffffc20000009000)"]);
});

Deno.test("a refusal for want of room is right", () => {
  const report = found([], function* (t) {
    const pages = yield* take_pages(t, 8);
    const at: number[] = [];
    for (let i = 0; i < 8; i++) {
      at.push(yield* vmap(t, pages, 2, VM_MAP, PROT));
    }
    assertEquals(at.filter((addr) => addr !== 0).length, 4);
    yield* vunmap(t, at[1]);
    yield* vunmap(t, at[3]);
    assertEquals(yield* vmap(t, pages, 4, VM_MAP, PROT), 0); // holes of 3
  }, { pages: 16 });
  assertEquals(report, null);
});

Deno.test("roomFor() wants a free page on either side", () => {
  const at = (size: number, align: number, ...inUse: [number, number][]) =>
    roomFor(
      { size, align, vstart: 16, vend: 32 },
      inUse.map(([start, end]) => ({ start, end })),
      1,
    );
  assertEquals(at(16, 1), 16);
  assertEquals(at(17, 1), -1);
  assertEquals(at(4, 1, [16, 20]), 21);
  assertEquals(at(4, 1, [21, 32]), 16);
  assertEquals(at(4, 1, [20, 32]), -1); // without a page before the next
  assertEquals(at(4, 1, [10, 16]), 17);
  assertEquals(at(4, 1, [10, 15]), 16);
  assertEquals(at(4, 8, [10, 16]), 24);
  assertEquals(at(4, 1, [16, 30], [18, 20]), -1); // nested: one is gone by now
});

Deno.test("lazy-counter-after-flag: pages that are free and not counted are found", () => {
  shows(
    "lazy-counter-after-flag",
    "lazily freed pages are not counted",
    function* (t) {
      yield* vfree(t, yield* vmalloc(t, PAGE_SIZE));
    },
  );
});

Deno.test("free-before-unlink: addresses of a listed vm_struct handed out are found", () => {
  // With nobody else about: the purge comes at once, the list is looked at by hand.
  const report = found(["free-before-unlink"], function* (t) {
    const vm = (yield* get_vm_area(t, PAGE_SIZE, VM_ALLOC))!;
    const w = (t.k.vmap as RewriteLayer).state;
    yield* mark_lazy_free(t, w, w.vmap_area_list.next.owner!);
    yield* vm_unmap_aliases(t);
    assert(vm === t.k.vmalloc.vmlist);
    yield* vmalloc(t, PAGE_SIZE);
  });
  assertEquals(
    report?.headline,
    "BUG: vmap: addresses of a listed vm_struct handed out",
  );
});

Deno.test("no-vmlist-import: what was there before vmalloc_init() is handed out", () => {
  shows(
    "no-vmlist-import",
    "addresses of a listed vm_struct handed out",
    function* (t) {
      const pages = yield* take_pages(t, 2);
      yield* vmap(t, pages, 2, VM_MAP, PROT);
    },
    {
      before: (t) => {
        const vm = new VmStruct();
        vm.reset(VM_ALLOC, 8 * PAGE_SIZE, 0);
        vm.addr = VMALLOC_START;
        vm_area_add_early(t, vm);
      },
    },
  );
});

Deno.test("size-in-32-bits: a mapping with fewer pages than asked for is found", () => {
  shows(
    "size-in-32-bits",
    "vm_map_ram() has not mapped what was asked for",
    function* (t) {
      const pages = yield* take_pages(t, 65);
      if (t.k.vmalloc.quirks.shortSize) {
        yield* vm_map_ram(t, pages, 0x100041, -1, PROT);
      } else yield* vm_map_ram(t, pages, 65, -1, PROT);
    },
  );
});

Deno.test("unchecked-dirty: a second vm_unmap_ram() that is accepted is found", () => {
  const main = function* (t: Thread): Steps {
    const pages = yield* take_pages(t, 1);
    const addr = yield* vm_map_ram(t, pages, 1, -1, PROT);
    yield* vm_unmap_ram(t, addr, 1);
    yield* vm_unmap_ram(t, addr, 1);
  };
  const report = found(["unchecked-dirty"], main);
  assertEquals(report?.headline, "BUG: vmap: address freed a second time");
  assertStringIncludes(report!.sections[1].title, "freed by init:1");
  // The default traps it.
  let oops = "";
  try {
    found([], main);
  } catch (error) {
    if (error instanceof KernelBug) oops = error.headline;
  }
  assertStringIncludes(oops, "not mapped");
});

Deno.test("a second vfree() that is refused is no finding; the address may be used again", () => {
  const report = found([], function* (t) {
    const addr = yield* vmalloc(t, PAGE_SIZE);
    yield* vfree(t, addr);
    yield* vfree(t, addr); // warns
    yield* vm_unmap_aliases(t);
    assertEquals(yield* vmalloc(t, PAGE_SIZE), addr);
    yield* vfree(t, addr);
  });
  assertEquals(report, null);
});

Deno.test("rescan-after-new-block: a second block for one request is found", () => {
  const report = found([], function* (t) {
    const pages = yield* take_pages(t, 1);
    yield* vm_map_ram(t, pages, 1, -1, PROT);
    t.k.sanitizers!.blockRequest(t, true);
    t.k.sanitizers!.blockMade(t);
    t.k.sanitizers!.blockMade(t); // as after a migration
  });
  assertEquals(report?.headline, "BUG: vmap: two blocks made for one request");
});

Deno.test("mappings outside of areas, and in free ones, are found", () => {
  const outside = found([], function* (t) {
    yield* vmalloc(t, PAGE_SIZE);
    const pages = yield* take_pages(t, 1);
    const at = VMALLOC_START + 64 * PAGE_SIZE;
    yield* vmap_page_range(t, at, at + PAGE_SIZE, PROT, pages);
  });
  assertEquals(outside?.headline, "BUG: vmap: mapping made outside of areas");
  const free = found([], function* (t) {
    const addr = yield* vmalloc(t, PAGE_SIZE);
    yield* vunmap_page_range(t, addr, addr + PAGE_SIZE);
    yield* vfree(t, addr);
    const pages = yield* take_pages(t, 1);
    yield* vmap_page_range(t, addr, addr + PAGE_SIZE, PROT, pages);
  });
  assertEquals(free?.headline, "BUG: vmap: mapping made in a free area");
});

Deno.test("an area freed twice is found", () => {
  const report = found([], function* (t) {
    yield* vmalloc(t, PAGE_SIZE);
    const w = (t.k.vmap as RewriteLayer).state;
    const va = w.vmap_area_list.next.owner!;
    yield* mark_lazy_free(t, w, va);
    yield* mark_lazy_free(t, w, va);
  });
  assertEquals(report?.headline, "BUG: vmap: area freed a second time");
});

Deno.test("a vm_struct that shares its area is found, as static-vmap-area makes it", () => {
  const report = found([], function* (t) {
    const vm = (yield* get_vm_area(t, PAGE_SIZE, VM_ALLOC))!;
    const other = new VmStruct();
    other.reset(VM_ALLOC, vm.size, 0);
    other.addr = vm.addr;
    t.k.sanitizers!.vmListed(t, other);
  });
  assertEquals(report?.headline, "BUG: vmap: vm_structs overlap");
});

Deno.test("what the layer's own check() says is reported without its numbers", () => {
  const report = found([], function* (t) {
    yield* vmalloc(t, PAGE_SIZE);
    (t.k.vmap as RewriteLayer).state.vmap_lazy_nr.value = 7;
  });
  assertEquals(
    report?.headline,
    "BUG: vmap: inconsistent: vmap_lazy_nr is N, lazily freed areas have N pages",
  );
});

for (const vmap of ["rewrite", "vmlist"]) {
  for (const cpus of [1, 2]) {
    Deno.test(`${vmap}: random use of all calls on ${cpus} CPUs is clean, and takes the same time`, () => {
      for (let seed = 1; seed <= 10; seed++) {
        assertEquals(
          randomUse(["tlb", "areas"], { vmap, cpus, seed }),
          randomUse([], { vmap, cpus, seed }),
        );
      }
    });
  }
}
