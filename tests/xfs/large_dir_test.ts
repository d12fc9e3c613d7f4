/** The XFS workloads on whole machines: right results, nothing left behind, and wrong ones noticed. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { findPreset } from "../../arch/hw/presets/index.ts";
import { boot } from "../../boot/boot.ts";
import type { ListedDirectory } from "../../boot/images/listed.ts";
import { xfsLargeDirImage } from "../../boot/images/xfs_large_dir.ts";
import type { XfsLargeDirRun } from "../../boot/results.ts";
import {
  runXfsLargeDir,
  runXfsLs,
  type XfsLargeDirOptions,
} from "../../boot/run_xfs.ts";
import { parseCommandLine } from "../../boot/params.ts";
import { FLUSH_SYMBOLS } from "../../boot/vmap_symbols.ts";
import { xfs_large_dir } from "../../boot/workloads/xfs_large_dir.ts";
import { list_tree } from "../../boot/workloads/xfs_list.ts";
import { WorkloadError } from "../../boot/workload_error.ts";
import { mount_disk, umount_disk } from "../../boot/xfs_disk.ts";
import { KernelBug } from "../../kernel/bug.ts";
import type { Thread } from "../../kernel/thread.ts";
import {
  inventory,
  LAYERS,
  settle_blocks,
  staleTlbEntries,
} from "../_machine.ts";

const image = await xfsLargeDirImage();
const { disk } = image;
/** All but most of the tree's, so that reading them in does not take long. */
const directories = image.directories.slice(0, 12);
const opteron = findPreset("opteron-2x4");

function options(more: Partial<XfsLargeDirOptions> = {}): XfsLargeDirOptions {
  return {
    spec: opteron,
    layers: LAYERS,
    threads: [4],
    disk,
    directories,
    path: "/tree",
    ops: 20,
    ...more,
  };
}

Deno.test("xfs-large-dir finds every name on both layers, the same way twice", () => {
  const { runs } = runXfsLargeDir(options());
  assertEquals(runs.map(({ vmap, threads }) => [vmap, threads]), [
    ["vmlist", 4],
    ["rewrite", 4],
  ]);
  const [before, after] = runs;
  assertEquals([before.buf_map, after.buf_map], ["vmap", "vm_map_ram"]);
  for (const run of runs) {
    assertEquals([run.workload, run.ops], ["xfs-large-dir", 80]);
    assert(run.lookups > 70 && run.lookups <= 80, `${run.lookups} lookups`);
    assert(run.vmap_ops >= run.lookups / 2, `${run.vmap_ops} mappings`);
    assert(run.lookups_per_s > 0 && run.profile.length > 20);
  }
  assertEquals(before.speedup, 1);
  assert(after.speedup! > 1, `${after.speedup} times faster`);
  assert(before.tlb_flushes > after.tlb_flushes);
  assertEquals(runXfsLargeDir(options()).runs, runs);
});

Deno.test("xfs-large-dir makes a list itself of a disk that nobody has one of", () => {
  const { runs } = runXfsLargeDir(
    options({ directories: null, path: "/names", layers: ["rewrite"] }),
  );
  assertEquals([runs[0].ops, runs[0].speedup], [80, null]);
});

Deno.test("list_tree() finds what the embedded image's list says", () => {
  const booted = boot({ spec: opteron });
  const mounted = booted.run((t) => mount_disk(t, disk));
  assert(typeof mounted !== "number");
  for (const dir of directories.slice(1, 6)) {
    if (dir.path.length === 5) continue; // /tree, with all below it
    const found = booted.run((t) => list_tree(t, dir.path));
    assert(typeof found !== "number");
    assertEquals(listing(found), listing([dir]));
  }
  booted.run((t) => umount_disk(t, mounted));
});

/** In any order. */
function listing(all: readonly ListedDirectory[]): Map<string, number[]> {
  return new Map(
    all.flatMap(({ path, entries }) =>
      entries.map(({ name, ino, mode }) =>
        [`${path.toHex()} ${name.toHex()}`, [ino, mode]] as const
      )
    ),
  );
}

Deno.test("xfs-ls says what is not there, and what does not mount", () => {
  const ls = (path: string, image = disk) =>
    runXfsLs({
      spec: opteron,
      layers: ["rewrite"],
      threads: [1],
      disk: image,
      path,
    });
  assertEquals(ls("/").runs[0].entries.map(({ name }) => name), [
    "bigdir",
    "names",
    "tree",
  ]);
  const cases: [string, string][] = [
    ["/nope", 'Cannot list "/nope": ENOENT (No such file or directory)'],
    ["/names/a", 'Cannot list "/names/a": ENOTDIR (Not a directory)'],
    [
      `/${"x".repeat(256)}`,
      `Cannot list "/${"x".repeat(256)}": ENAMETOOLONG (File name too long)`,
    ],
  ];
  for (const [path, message] of cases) {
    const error = assertThrows(() => ls(path), WorkloadError);
    assertEquals(error.message, message);
  }
  const empty = disk.resized(2 ** 20); // cut off
  const error = assertThrows(() => ls("/", empty), WorkloadError);
  assert(
    error.message.startsWith("Cannot mount the disk as xfs: "),
    error.message,
  );
  assert(error.log.some((line) => line.includes("XFS")), error.log.join("\n"));
});

/** The list with one name's inode number, or its mode, or its name changed. */
function falsified(
  change: (
    entry: ListedDirectory["entries"][number],
  ) => ListedDirectory["entries"][number],
): ListedDirectory[] {
  return directories.map((dir, i) =>
    i !== 4 ? dir : { ...dir, entries: dir.entries.map(change) }
  );
}

Deno.test("a lookup that finds something else than is listed ends the run", () => {
  const lies = [
    falsified((entry) => ({ ...entry, ino: entry.ino + 1 })),
    falsified((entry) => ({ ...entry, mode: entry.mode ^ 0o111 })),
    falsified((entry) => ({ ...entry, name: entry.name.slice(1) })),
  ];
  for (const directories of lies) {
    const error = assertThrows(
      () => runXfsLargeDir(options({ directories, layers: ["rewrite"] })),
      KernelBug,
    );
    assert(
      error.headline.startsWith("kernel BUG at xfs_large_dir: "),
      error.headline,
    );
  }
});

/** The rewrite, with every address free for use at once when it is unmapped. */
const EAGER = "xfs.buf_map=vmap lazy_max=0";

Deno.test("purge-without-flush: lookups go wrong as soon as addresses are reused", () => {
  const withLine = (line: string) => () =>
    runXfsLargeDir(options({
      layers: ["rewrite"],
      params: parseCommandLine(line).params,
      ops: 50,
    }));
  const { runs } = withLine(EAGER)();
  assertEquals(runs[0].ops, 200);
  assert(runs[0].tlb_flushes > runs[0].lookups, "nothing was reused");
  assertThrows(withLine(`${EAGER} vmap.quirk=purge-without-flush`), KernelBug);
});

for (const layer of LAYERS) {
  Deno.test(`${layer}: the XFS workloads leave nothing behind`, () => {
    const booted = boot({ spec: opteron, params: { vmap: layer } });
    const { kernel } = booted;
    const once = (threads: number) => {
      const mounted = booted.run((t) => mount_disk(t, disk));
      assert(typeof mounted !== "number");
      const measured = booted.run((t: Thread) =>
        xfs_large_dir(t, { threads, ops: 25, warmup: 5, directories })
      );
      assertEquals(measured.opsInWindow, 25 * threads);
      booted.run((t) => umount_disk(t, mounted));
      assertEquals(kernel.vmap.check(), []);
      booted.run(settle_blocks);
      return inventory(kernel);
    };
    const first = once(1); // caches and threads that stay are made now
    assertEquals(first.lazy_nr, 0);
    for (const threads of [2, 8]) assertEquals(once(threads), first);
    assertEquals(staleTlbEntries(booted), []);
    assertEquals(kernel.printk.warnings, 0);
  });
}

Deno.test("each run of xfs-large-dir has what its columns promise", () => {
  const { runs } = runXfsLargeDir(options({ threads: [1, 3], ops: 10 }));
  assertEquals(
    runs.map(({ speedup }) => speedup !== null),
    Array(4).fill(true),
  );
  // The functions' sizes are those of an ia64 kernel.
  const loads = (run: XfsLargeDirRun) =>
    run.profile.filter(({ load }) => load !== null).map((l) => l.symbol);
  assertEquals(loads(runs[3]), []);
  const spec = findPreset("altix-64");
  const altix = runXfsLargeDir(options({ spec, threads: [3], ops: 10 })).runs;
  assert(loads(altix[1]).includes("default_idle"));
  assert(altix[1].profile.some(({ load }) => load === null));
});

Deno.test("altix-64: 64 tasks spend their time as those of 2008 did, and become as much faster", () => {
  const one = (layer: string, ops: number) => {
    const { runs } = runXfsLargeDir(options({
      spec: findPreset("altix-64"),
      directories: image.directories,
      layers: [layer],
      threads: [64],
      ops,
    }));
    return runs[0];
  };
  const before = one("vmlist", 24);
  const [first, second] = before.profile;
  assertEquals([first.symbol, second.symbol], ["_write_lock", "default_idle"]);
  assert(first.percent >= 40, `${first.percent} % in _write_lock`);
  const place = (symbol: string) =>
    before.profile.findIndex((line) => line.symbol === symbol);
  const flush = FLUSH_SYMBOLS.map(place).filter((at) => at >= 0);
  assertEquals(Math.min(...flush), place("smp_call_function"));
  assert(place("smp_call_function") < place("__get_vm_area_node"));
  const after = one("rewrite", 128);
  assert(after.vmap_percent < 1, `${after.vmap_percent} % for mappings`);
  const speedup = after.lookups_per_s / before.lookups_per_s;
  assert(speedup > 10 && speedup < 40, `${speedup} times faster`);
});
