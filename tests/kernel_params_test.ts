/** What is written on the kernel command line shows in the machine that boots. */
import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { type Steps, vload } from "../arch/asm.ts";
import { generic } from "../arch/hw/presets/generic.ts";
import { findPreset } from "../arch/hw/presets/index.ts";
import { printVaddr } from "../arch/hw/pte.ts";
import { boot, type BootedMachine } from "../boot/boot.ts";
import { xfsLargeDirImage } from "../boot/images/xfs_large_dir.ts";
import { parseCommandLine } from "../boot/params.ts";
import { runXfsLargeDir } from "../boot/run_xfs.ts";
import { KernelBug } from "../kernel/bug.ts";
import { EINVAL } from "../kernel/lib/errno.ts";
import { GFP_KERNEL } from "../kernel/mm/gfp.ts";
import { alloc_page } from "../kernel/mm/page_alloc.ts";
import { free_vm_area, get_vm_area } from "../kernel/mm/vm_area.ts";
import { vfree } from "../kernel/mm/vfree.ts";
import { VM_MAP } from "../kernel/mm/vm_struct.ts";
import { is_vmalloc_addr, vmalloc } from "../kernel/mm/vmalloc.ts";
import { set_cpus_allowed } from "../kernel/sched/migrate.ts";
import type { Thread } from "../kernel/thread.ts";
import { inventory, LAYERS, run_on, settle } from "./_machine.ts";

const PAGE = 4096;
const MiB = 2 ** 20;
const GiB = 2 ** 30;
const opteron = findPreset("opteron-2x4");

/** Boots `spec` with a kernel command line. */
function bootWith(line: string, spec = opteron): BootedMachine {
  return boot({ spec, params: parseCommandLine(line).params });
}

Deno.test("nr_cpus= leaves CPUs off, and nothing runs there", () => {
  for (const [n, online] of [[1, 1], [3, 3], [8, 8], [100, 8]]) {
    const booted = bootWith(`nr_cpus=${n}`);
    const { kernel, machine } = booted;
    assertEquals(kernel.cpu_online.weight, online);
    assertEquals(
      machine.engine.cpus.map((cpu) => cpu.clock > 0),
      machine.engine.cpus.map(({ id }) => id < online),
    );
    assertStringIncludes(kernel.printk.dmesg(), `Brought up ${online} CPUs`);
    const last = booted.run((t) => set_cpus_allowed(t, t, [online - 1]));
    assertEquals(last, 0);
    if (online === 8) continue;
    const beyond = booted.run((t) => set_cpus_allowed(t, t, [online]));
    assertEquals(beyond, -EINVAL);
  }
});

Deno.test("mem= is all the memory there is", () => {
  const booted = bootWith("mem=64M hashdist=0");
  const { kernel } = booted;
  assertEquals(kernel.bootmem.max_pfn, 64 * MiB / PAGE);
  assertStringIncludes(kernel.printk.dmesg(), "k/65536k available");
  const got = booted.run(function* (t) {
    const start = t.machine.memory.nrFrames;
    assertEquals(start, 8 * GiB / PAGE);
    let pages = 0;
    for (;; pages++) {
      const page = yield* alloc_page(t, GFP_KERNEL);
      if (page === null) return pages;
      assert(page.pfn < 64 * MiB / PAGE);
    }
  });
  assert(got > 45 * MiB / PAGE && got < 64 * MiB / PAGE, `${got} pages`);
  assertStringIncludes(kernel.printk.dmesg(), "page allocation failure");
});

Deno.test("vmalloc= is all the room there is", () => {
  for (const vmap of LAYERS) {
    const booted = bootWith(`vmap=${vmap} vmalloc=32M hashdist=0`);
    const { kernel } = booted;
    const { start, end } = kernel.vmalloc;
    assertEquals(end - start, 32 * MiB);
    // A guard page goes with every area.
    const most = booted.run((t) => get_vm_area(t, 32 * MiB - PAGE, VM_MAP));
    assertEquals(most!.addr, start);
    booted.run((t) => free_vm_area(t, most!));
    assertEquals(kernel.vmalloc.failures, 0);
    const more = booted.run((t) => get_vm_area(t, 32 * MiB, VM_MAP));
    assertEquals(more, null);
    assertEquals(kernel.vmalloc.failures, 1);
  }
});

Deno.test("vmalloc= of a 32-bit kernel is taken out of low memory", () => {
  const i386 = findPreset("i386-4");
  const usable = (line: string) => {
    const booted = bootWith(line, i386);
    const { vmalloc: space, bootmem } = booted.kernel;
    const areas = booted.run(function* (t) {
      let areas = 0;
      while ((yield* vmalloc(t, 4 * MiB)) !== 0) areas++;
      return areas;
    });
    return {
      low: bootmem.max_low_pfn * PAGE / MiB,
      start: printVaddr(booted.machine.mmu.format, space.start),
      areas,
    };
  };
  assertEquals(usable(""), { low: 896, start: "f8800000", areas: 28 });
  assertEquals(usable("vmalloc=256M"), {
    low: 768,
    start: "f0800000",
    areas: 60,
  });
  assertEquals(usable("vmalloc=64M"), {
    low: 960,
    start: "fc800000",
    areas: 12,
  });
});

Deno.test("hashdist= says where the hash tables come from, and when", () => {
  for (
    const [line, distributed] of [
      ["hashdist=0", false],
      ["hashdist=1", true],
      ["", true], // the preset's default
    ] as const
  ) {
    const booted = bootWith(line);
    const { kernel, machine } = booted;
    const tables = Object.values(kernel.hash_caches!);
    assertEquals(tables.length, 2);
    const directMap = Number(machine.spec.layout.directMapStart);
    for (const { table, sizeBytes } of tables) {
      const inVmalloc = booted.run(function* (t) {
        for (const at of [0, sizeBytes - 8]) {
          assertEquals(yield* vload(t, table + at, 8), 0);
        }
        return is_vmalloc_addr(t, table);
      });
      assertEquals(inVmalloc, distributed, line);
      if (distributed) continue;
      const first = (table - directMap) / PAGE;
      assert(kernel.bootmem.isReserved(first));
      assert(kernel.bootmem.isReserved(first + sizeBytes / PAGE - 1));
    }
    // An area each, and one each for their arrays of pages.
    const { areas } = kernel.vmap.counters();
    assertEquals(areas, distributed ? 4 : 0);
    const log = booted.dmesg().map((l) => l.slice(l.indexOf("]") + 2));
    const at = (start: string) => log.findIndex((l) => l.startsWith(start));
    assert(at("Dentry cache hash table entries:") > 0);
    const late = at("Dentry cache hash table entries:") > at("Memory:");
    assertEquals(late, distributed);
  }
});

/** Frees areas of `pages` pages, guard included. @returns How many until a flush. */
function* frees_until_flush(t: Thread, pages: number): Steps<number> {
  const { flushes } = t.k.vmalloc;
  for (let frees = 1;; frees++) {
    const area = yield* get_vm_area(t, (pages - 1) * PAGE, VM_MAP);
    yield* free_vm_area(t, area!);
    if (t.k.vmalloc.flushes > flushes) return frees;
  }
}

Deno.test("lazy_max= pages may wait for a purge, and no more", () => {
  for (const [lazy_max, frees] of [[0, 1], [9, 1], [10, 2], [99, 10]]) {
    const booted = bootWith(`lazy_max=${lazy_max}`);
    booted.run(settle);
    assertEquals(booted.kernel.vmap.counters().lazy_max, lazy_max);
    const got = booted.run((t) => frees_until_flush(t, 10));
    assertEquals(got, frees, `lazy_max=${lazy_max}`);
    assertEquals(booted.kernel.vmap.counters().lazy_nr, 0);
  }
});

Deno.test("without lazy_max= 32 MiB may wait for every bit of the number of online CPUs", () => {
  for (
    const [spec, cpus, bits] of [
      [opteron, 1, 1],
      [opteron, 2, 2],
      [opteron, 3, 2],
      [opteron, 4, 3],
      [opteron, 7, 3],
      [opteron, 8, 4],
      [generic(8, 4), 15, 4],
      [generic(8, 4), 16, 5],
      [generic(8, 4), 32, 6],
    ] as const
  ) {
    const booted = bootWith(`nr_cpus=${cpus}`, spec);
    booted.run(settle);
    const { lazy_max } = booted.kernel.vmap.counters();
    assertEquals(lazy_max, bits * 32 * MiB / PAGE, `${cpus} CPUs`);
    // So many may wait: it is the page too many that purges.
    const frees = booted.run((t) => frees_until_flush(t, 16 * MiB / PAGE));
    assertEquals(frees, 2 * bits + 1, `${cpus} CPUs`);
  }
});

Deno.test("panic_on_warn ends the run where it would have gone on", () => {
  const bad = (booted: BootedMachine) =>
    booted.run((t) => vfree(t, t.k.vmalloc.start + GiB));
  const lenient = bootWith("");
  bad(lenient);
  assertEquals(lenient.kernel.printk.warnings, 1);
  assert(lenient.run((t) => vmalloc(t, 1)) > 0);

  const bug = assertThrows(() => bad(bootWith("panic_on_warn")), KernelBug);
  assertStringIncludes(bug.headline, "panic_on_warn set");
  assertStringIncludes(bug.headline, "nonexistent vm area");
  assert(bug.trace.includes("vfree"), `${bug.trace}`);
});

Deno.test("loglevel= keeps messages from the console, not from the log", () => {
  const printed = (line: string) => {
    const seen: string[] = [];
    const { params } = parseCommandLine(line);
    const booted = boot({ spec: opteron, params, onLog: (l) => seen.push(l) });
    booted.run((t) => vfree(t, t.k.vmalloc.start - PAGE)); // warns
    return { seen, dmesg: booted.dmesg() };
  };
  const all = printed("loglevel=8");
  assertEquals(all.seen, all.dmesg);
  const warnings = printed("loglevel=5");
  assert(warnings.seen.some((l) => l.includes("WARNING: at")));
  assert(!warnings.seen.some((l) => l.includes("Brought up")));
  // But for the command line itself, and the time that printing it takes.
  const texts = (lines: string[]) =>
    lines.map((line) => line.slice(line.indexOf("]") + 2))
      .filter((text) => !text.startsWith("Kernel command line:"));
  assertEquals(texts(warnings.dmesg), texts(all.dmesg));
  assertEquals(texts(all.dmesg).length, all.dmesg.length - 1);
  assertEquals(printed("quiet").seen, []);
});

Deno.test("vmap= chooses the layer, vmap.quirk= puts a bug of its back", () => {
  assertEquals(bootWith("vmap=vmlist").kernel.vmap.name, "vmlist");
  const lost = (line: string) => {
    const booted = bootWith(`vmalloc=1M hashdist=0 ${line}`);
    booted.run(settle);
    const before = inventory(booted.kernel);
    assertEquals(booted.run((t) => get_vm_area(t, MiB, VM_MAP)), null);
    booted.run(settle);
    const { objects } = inventory(booted.kernel);
    return (objects.vmap_area ?? 0) - (before.objects.vmap_area ?? 0);
  };
  assertEquals(lost("vmap=rewrite"), 0);
  assertEquals(lost("vmap=rewrite vmap.quirk=leak-on-failure"), 1);
});

Deno.test("threads started on a CPU number stay on it", () => {
  const booted = bootWith("nr_cpus=5");
  const ran = booted.run(function* (t) {
    const ran: number[] = [];
    for (const cpu of [4, 0, 2]) {
      yield* run_on(t, cpu, function* (p) {
        yield* vfree(p, yield* vmalloc(p, 1));
        ran.push(p.cpu.id);
      });
    }
    yield* settle(t);
    return ran;
  });
  assertEquals(ran.toSorted(), [0, 2, 4]);
});

Deno.test("xfs.buf_map= is how XFS maps its buffers, whichever layer runs", async () => {
  const { disk, directories } = await xfsLargeDirImage();
  for (const vmap of LAYERS) {
    for (const buf_map of [null, "vmap", "vm_map_ram"] as const) {
      const line = buf_map === null ? "" : `xfs.buf_map=${buf_map}`;
      const { runs } = runXfsLargeDir({
        spec: opteron,
        params: parseCommandLine(line).params,
        layers: [vmap],
        threads: [2],
        ops: 20,
        disk,
        directories: directories.slice(4, 8),
        path: "/tree",
      });
      const own = vmap === "vmlist" ? "vmap" : "vm_map_ram";
      assertEquals(runs[0].buf_map, buf_map ?? own);
      assert(runs[0].vmap_ops > 20, `${runs[0].vmap_ops} of ${line}`);
    }
  }
});
