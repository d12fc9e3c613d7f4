import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { pload, type Steps, vload, vstore } from "../../arch/asm.ts";
import {
  PAGE_KERNEL_EXEC,
  PROT_NX,
  PROT_PCD,
  PROT_USER,
} from "../../arch/hw/pte.ts";
import { findPreset } from "../../arch/hw/presets/index.ts";
import { KernelBug } from "../bug.ts";
import { EINVAL } from "../lib/errno.ts";
import { on_each_cpu } from "../smp.ts";
import { runKernel } from "../testing.ts";
import type { Thread } from "../thread.ts";
import { __GFP_ZERO, GFP_KERNEL } from "./gfp.ts";
import { ioremap, iounmap } from "./ioremap.ts";
import { alloc_page } from "./page_alloc.ts";
import { page_address } from "./page.ts";
import { count_ptes, find_pte_table, MmStruct, pfn_at } from "./pgtable.ts";
import { remap_vmalloc_range } from "./remap_vmalloc.ts";
import { VM_ALLOC, VM_IOREMAP, VM_MAP } from "./vm_struct.ts";
import { PAGE_SIZE, PROT, runVm, take_pages, usage } from "./vm_testing.ts";
import {
  __get_vm_area,
  __vmalloc,
  __vmalloc_area,
  alloc_vm_area,
  free_vm_area,
  get_vm_area,
  vfree,
  vm_map_ram,
  vm_unmap_aliases,
  vmalloc,
  vmalloc_32,
  vmalloc_exec,
  vmalloc_node,
  vmalloc_to_page,
  vmalloc_user,
  vmap,
  vunmap,
  vzalloc,
} from "./vmalloc.ts";
import { vread, vwrite } from "./vread.ts";

/** Bus addresses of a device, above all memory of the default machine. */
const DEVICE = 0x20_0000_0000;

/** `PROT_*` bits of the kernel's entry for `vaddr`. */
function prot_at(t: Thread, vaddr: number): number {
  const { memory, mmu } = t.machine;
  const { format } = mmu;
  const leaf = format.levels.length - 1;
  const table = find_pte_table(t.k, t.k.init_mm.pgd, vaddr);
  const at = table * memory.pageBytes + format.index(vaddr, leaf) * 8;
  return format.prot(memory.readLo(at), memory.readHi(at), leaf);
}

Deno.test("init_memory_mapping() maps all memory at the direct map", () => {
  runVm({}, function* (t) {
    const page = (yield* alloc_page(t, GFP_KERNEL))!;
    yield* vstore(t, page_address(t.k, page) + 12, 4, 77);
    assertEquals(yield* pload(t, page.pfn * PAGE_SIZE + 12, 4), 77);
    const top = t.machine.memory.nrFrames - 1;
    assertEquals(pfn_at(t.k, 0x880000000000 + top * PAGE_SIZE), top);
    assertEquals(pfn_at(t.k, 0x880000000000 + (top + 1) * PAGE_SIZE), -1);
  });
});

for (const preset of ["i386-4", "xeon-2s"]) {
  Deno.test(`vmalloc(), vmap() and vm_map_ram() work on ${preset}`, () => {
    const whole = findPreset(preset);
    const spec = { ...whole, topology: { ...whole.topology, cpus: 1 } };
    for (const vmap_layer of ["rewrite", "vmlist"] as const) {
      runVm({ spec, params: { vmap: vmap_layer } }, function* (t) {
        const { page_size } = t.k.vmalloc;
        const a = yield* vmalloc(t, 5 * page_size - 3);
        yield* vstore(t, a + 5 * page_size - 4, 4, 9);
        const pages = yield* take_pages(t, 40);
        const b = yield* vmap(t, pages, 40, VM_MAP, PROT);
        const c = yield* vm_map_ram(t, pages, 40, -1, PROT);
        yield* vstore(t, b + 39 * page_size + 8, 4, 5);
        assertEquals(yield* vload(t, c + 39 * page_size + 8, 4), 5);
        yield* vunmap(t, b);
        yield* vfree(t, a);
        yield* vm_unmap_aliases(t);
        const { start, end } = t.k.vmalloc;
        assert(start <= a && c + 40 * page_size <= end);
        assertEquals(t.k.vmap.check(), []);
      });
    }
  });
}

Deno.test("vmap() and vm_map_ram() of more pages than the caller has is the caller's mistake", () => {
  const message = "Cannot map as pages must have as many as are to be mapped";
  for (const call of ["vmap", "vm_map_ram"] as const) {
    assertThrows(
      () =>
        runVm({}, function* (t) {
          const pages = yield* take_pages(t, 1);
          if (call === "vmap") yield* vmap(t, pages, 2, VM_MAP, PROT);
          else yield* vm_map_ram(t, pages, 2, -1, PROT);
        }),
      RangeError,
      `${message}: current value is 1 pages, 2 wanted so far`,
    );
  }
});

Deno.test("vmalloc= moves the limits of vmalloc space", () => {
  const limits = (preset: string, vmalloc_bytes: number | null) => {
    const whole = findPreset(preset);
    const spec = { ...whole, topology: { ...whole.topology, cpus: 1 } };
    // deno-lint-ignore require-yield
    return runVm({ spec, params: { vmalloc_bytes } }, function* (t) {
      return [t.k.vmalloc.start, t.k.vmalloc.end];
    }).result;
  };
  assertEquals(limits("i386-4", null), [0xf8800000, 0xff9fe000]);
  assertEquals(limits("i386-4", 64 * 2 ** 20), [0xfc800000, 0xff9fe000]);
  assertEquals(limits("opteron-2x4", 2 ** 26), [
    0xc20000000000,
    0xc20004000000,
  ]);
});

Deno.test("vmalloc() of more than 512 pages takes its array from vmalloc(), and gives it back", () => {
  runVm({}, function* (t) {
    const a = yield* vmalloc(t, 512 * PAGE_SIZE);
    assertEquals(t.k.vmap.counters().areas, 1);
    const b = yield* vmalloc(t, 513 * PAGE_SIZE);
    assertEquals(t.k.vmap.counters().areas, 3);
    assertEquals(count_ptes(t.k, a, b + 10 * 2 ** 20), 512 + 513 + 2);
    yield* vfree(t, a);
    yield* vfree(t, b);
    yield* vm_unmap_aliases(t);
    assertEquals(t.k.vmap.counters().areas, 0);
  });
});

Deno.test("the vmalloc() family: cleared, executable, on a node, below 4 GiB", () => {
  runVm({ cpus: 8 }, function* (t) {
    const bytes = 3 * PAGE_SIZE;
    const zeroed = yield* vzalloc(t, bytes);
    assertEquals(yield* vload(t, zeroed + bytes - 4, 4), 0);
    const exec = yield* vmalloc_exec(t, bytes);
    assertEquals(prot_at(t, exec) & PROT_NX, 0);
    assertEquals(prot_at(t, zeroed) & PROT_NX, PROT_NX);
    for (const node of [0, 1]) {
      const addr = yield* vmalloc_node(t, bytes, node);
      assertEquals(vmalloc_to_page(t, addr)!.node, node);
    }
    const low = yield* vmalloc_32(t, bytes);
    assert(vmalloc_to_page(t, low)!.pfn < 2 ** 20);
    assertEquals(yield* vmalloc(t, 0), 0);
    assertEquals(yield* vmalloc(t, 2 ** 45), 0);
    const gfp = GFP_KERNEL | __GFP_ZERO;
    const x = yield* __vmalloc(t, bytes, gfp, PAGE_KERNEL_EXEC);
    assertEquals(prot_at(t, x) & PROT_NX, 0);
  });
});

Deno.test("vmalloc() and vfree() leave nothing behind", () => {
  runVm({ params: { lazy_max: 0 } }, function* (t) {
    const seen: Record<string, number>[] = [];
    for (let i = 0; i < 3; i++) {
      const addr = yield* vmalloc(t, 700 * PAGE_SIZE);
      yield* vfree(t, addr);
      seen.push(usage(t.k));
    }
    assertEquals(seen[2].vm_struct, undefined);
    assertEquals(seen[2].pages, seen[1].pages);
  });
});

Deno.test("__get_vm_area() serves the modules' range and leaves vmalloc space alone", () => {
  runVm({}, function* (t) {
    const { start, end } = t.k.vmalloc.modules;
    const area = (yield* __get_vm_area(t, 9000, VM_ALLOC, start, end))!;
    assertEquals(area.addr, start);
    const addr = yield* __vmalloc_area(t, area, GFP_KERNEL, PAGE_KERNEL_EXEC);
    yield* vstore(t, addr + 9000, 4, 3);
    assertEquals(yield* vmalloc(t, 100), t.k.vmalloc.start);
    const next = (yield* __get_vm_area(t, 100, VM_ALLOC, start, end))!;
    assertEquals(next.addr, start + 5 * PAGE_SIZE);
    yield* vfree(t, addr);
    assertEquals(t.k.vmap.check(), []);
  });
});

Deno.test("vfree() of what is not there warns and goes on", () => {
  const { k } = runVm({}, function* (t) {
    yield* vfree(t, 0);
    yield* vfree(t, t.k.vmalloc.start);
    yield* vfree(t, t.k.vmalloc.start + 12);
  });
  assertEquals(k.printk.warnings, 2);
  const log = k.printk.dmesg();
  assertStringIncludes(
    log,
    "Trying to vfree() nonexistent vm area (ffffc20000000000)",
  );
  assertStringIncludes(
    log,
    "Trying to vfree() bad address (ffffc2000000000c)",
  );
});

Deno.test("vmalloc() and vfree() in an interrupt are bugs", () => {
  for (
    const bad of [
      (t: Thread) => vmalloc(t, 1),
      (t: Thread) => vfree(t, t.k.vmalloc.start),
      (t: Thread) => vunmap(t, t.k.vmalloc.start),
    ]
  ) {
    const bug = assertThrows(() =>
      runVm({ cpus: 2 }, function* (t) {
        const here = t.cpu.id;
        const func = (t: Thread): Steps<unknown> | void => {
          if (t.cpu.id !== here) return bad(t);
        };
        yield* on_each_cpu(t, func, null, true);
      }), KernelBug);
    assertStringIncludes(bug.headline, "in interrupt");
  }
});

Deno.test("calls before vmalloc_init() oops, but for vm_unmap_aliases()", () => {
  runKernel({ cpus: 1 }, (t) => vm_unmap_aliases(t));
  for (
    const early of [
      (t: Thread) => vmalloc(t, 1),
      (t: Thread) => get_vm_area(t, 1, VM_ALLOC),
      (t: Thread) => vm_map_ram(t, [], 1, -1, PROT),
    ]
  ) {
    const bug = assertThrows(
      () => runKernel<unknown>({ cpus: 1 }, early),
      KernelBug,
    );
    assertStringIncludes(bug.headline, "before vmalloc_init()");
  }
});

Deno.test("ioremap() aligns to the power of two above the size, within limits", () => {
  runVm({}, function* (t) {
    const blocker = yield* get_vm_area(t, 1, VM_ALLOC);
    assert(blocker !== null);
    for (
      const [bytes, align] of [
        [1, 12],
        [4095, 12],
        [4096, 13],
        [4097, 13],
        [0x8000, 16],
        [0x80000, 19],
        [2 ** 22, 19],
      ]
    ) {
      const area = (yield* get_vm_area(t, bytes, VM_IOREMAP))!;
      assertEquals(area.addr % 2 ** align, 0, `${bytes} bytes`);
      yield* free_vm_area(t, area);
      yield* vm_unmap_aliases(t);
    }
  });
});

Deno.test("ioremap() maps device memory uncached and iounmap() takes it back", () => {
  runVm({}, function* (t) {
    const addr = yield* ioremap(t, DEVICE + 0x123, 0x2000);
    assertEquals(addr % PAGE_SIZE, 0x123);
    const base = addr - 0x123;
    assertEquals(count_ptes(t.k, base, base + 4 * PAGE_SIZE), 3);
    assertEquals(pfn_at(t.k, base + PAGE_SIZE), DEVICE / PAGE_SIZE + 1);
    assertEquals(prot_at(t, base) & PROT_PCD, PROT_PCD);
    yield* iounmap(t, addr);
    yield* vm_unmap_aliases(t);
    assertEquals(count_ptes(t.k, base, base + 4 * PAGE_SIZE), 0);
    assertEquals(yield* ioremap(t, 0x100000, 0x1000), 0); // memory
    assertEquals(yield* ioremap(t, DEVICE, 0), 0);
    yield* iounmap(t, base); // says "bad address", does nothing
    assertStringIncludes(t.k.printk.dmesg(), "iounmap: bad address");
  });
});

Deno.test("alloc_vm_area() has its page tables and no entries", () => {
  runVm({}, function* (t) {
    const area = (yield* alloc_vm_area(t, 600 * PAGE_SIZE))!;
    const { addr } = area;
    assert(find_pte_table(t.k, t.k.init_mm.pgd, addr) >= 0);
    const last = addr + 600 * PAGE_SIZE;
    assert(find_pte_table(t.k, t.k.init_mm.pgd, last) >= 0);
    assertEquals(count_ptes(t.k, addr, last + PAGE_SIZE), 0);
    yield* free_vm_area(t, area);
  });
});

Deno.test("vread() and vwrite() copy areas and step over what lies between", () => {
  runVm({}, function* (t) {
    const a = yield* vzalloc(t, PAGE_SIZE);
    const hole = (yield* get_vm_area(t, PAGE_SIZE, VM_ALLOC))!;
    const b = yield* vzalloc(t, PAGE_SIZE);
    const from = a + PAGE_SIZE - 6;
    const span = b + 7 - from;
    const data = Uint8Array.from({ length: span }, (_, i) => 1 + i % 250);
    assertEquals(yield* vwrite(t, data, from), span);
    const back = new Uint8Array(span).fill(255);
    assertEquals(yield* vread(t, back, from), span);
    const want = data.map((v, i) => i < 6 || i >= b - from ? v : 0);
    assertEquals(back, want);
    assert(hole.addr > a && hole.addr < b);
    // Nothing above the last area is touched.
    const end = b + PAGE_SIZE - 2;
    assertEquals(yield* vread(t, new Uint8Array(10), end), 2);
  });
});

Deno.test("remap_vmalloc_range() maps vmalloc_user() memory, and no more than that", () => {
  runVm({}, function* (t) {
    const addr = yield* vmalloc_user(t, 8 * PAGE_SIZE);
    const plain = yield* vmalloc(t, 8 * PAGE_SIZE);
    const root = (yield* alloc_page(t, GFP_KERNEL | __GFP_ZERO))!;
    const vm_mm = new MmStruct(t.k, root.pfn);
    const at = 0x40000000;
    const map = (pages: number, from: number, pgoff: number) => {
      const vm_end = at + pages * PAGE_SIZE;
      const vma = { vm_mm, vm_start: at, vm_end, vm_flags: 0 };
      return remap_vmalloc_range(t, vma, from, pgoff);
    };
    for (
      const [pages, from, pgoff] of [
        [9, addr, 0],
        [8, addr, 1],
        [1, addr, 8],
        [1, addr, 2 ** 52], // the sum would wrap
        [1, addr, -1],
        [1, addr + 8, 0],
        [1, addr + PAGE_SIZE, 0],
        [1, plain, 0],
      ]
    ) {
      const error = yield* map(pages, from, pgoff);
      assertEquals(error, -EINVAL, `${pages} pages at ${pgoff}`);
    }
    assertEquals(yield* map(5, addr, 3), 0);
    const { mmu, memory } = t.machine;
    for (let i = 0; i < 5; i++) {
      const page = vmalloc_to_page(t, addr + (3 + i) * PAGE_SIZE)!;
      assertEquals(mmu.peek(vm_mm.pgd, at + i * PAGE_SIZE), page.pfn);
      assertEquals(page._count, 2);
    }
    const table = find_pte_table(t.k, vm_mm.pgd, at);
    const lo = memory.readLo(table * PAGE_SIZE);
    assertEquals(lo & PROT_USER, PROT_USER);
  });
});
