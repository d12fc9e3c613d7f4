/** A small result with fixed numbers, for the tests of this folder and of the command line. */
import {
  type AnyRun,
  type BootResult,
  type MixedRun,
  RESULT_SCHEMA,
  type RunResult,
  type XfsLargeDirRun,
  type XfsLsRun,
} from "../boot/results.ts";

/** A run on `vmap`, which took `ns_per_op`. */
export function sampleRun(
  vmap: string,
  threads: number,
  ns_per_op: number,
  more: Partial<RunResult> = {},
): RunResult {
  const ops = 8000 * threads;
  const vanilla = vmap === "vmlist";
  return {
    workload: "map-touch-unmap",
    vmap,
    api: vanilla ? "vmap" : "ram",
    threads,
    pages: 4,
    ops,
    ns_per_op,
    reference_ns: null,
    tlb_flushes: vanilla ? ops : threads,
    ipis: vanilla ? 7 * ops : 7 * threads,
    lock_wait_ns: vanilla ? 1_500_000 : 0,
    profile: [
      { symbol: "default_idle", ticks: 600, percent: 60 },
      { symbol: "_write_lock", ticks: 250, percent: 25 },
      { symbol: "vmap_page_range", ticks: 100, percent: 10 },
      { symbol: "kthread", ticks: 50, percent: 5 },
    ],
    locks: vanilla
      ? [
        {
          name: "vmlist_lock",
          acquisitions: 16000,
          contentions: 300,
          wait_ns: 1_500_000,
          hold_ns: 2_000_400,
        },
        {
          name: "zone->lock",
          acquisitions: 12,
          contentions: 0,
          wait_ns: 0,
          hold_ns: 900,
        },
      ]
      : [],
    ...more,
  };
}

/** A run of xfs-large-dir on `vmap`. */
export function sampleLargeDirRun(
  vmap: string,
  threads: number,
  more: Partial<XfsLargeDirRun> = {},
): XfsLargeDirRun {
  const vanilla = vmap === "vmlist";
  const lookups = 100 * threads;
  const { locks, lock_wait_ns } = sampleRun(vmap, threads, 1);
  return {
    workload: "xfs-large-dir",
    vmap,
    buf_map: vanilla ? "vmap" : "vm_map_ram",
    threads,
    ops: lookups + threads,
    lookups,
    lookups_per_s: vanilla ? 25_000 : 500_000,
    speedup: vanilla ? 1 : 20,
    vmap_ops: 2 * lookups,
    vmap_percent: vanilla ? 12.34 : 0.5,
    tlb_flushes: vanilla ? 2 * lookups : 1,
    ipis: vanilla ? 126 * lookups : 63,
    lock_wait_ns,
    total_load: 0.0001,
    profile: [
      { symbol: "_write_lock", ticks: 590, percent: 59, load: 6.1458 },
      { symbol: "default_idle", ticks: 390, percent: 39, load: 0.8705 },
      { symbol: "nobody_knows", ticks: 20, percent: 2, load: null },
    ],
    locks,
    ...more,
  };
}

/** A listing: one name as any, one that is hard to print, one that is not UTF-8. */
export function sampleLsRun(): XfsLsRun {
  return {
    workload: "xfs-ls",
    vmap: "rewrite",
    path: "/names",
    entries: [
      { name: "a", ino: 131 },
      { name: 'b\n"\\,\u00e9', ino: 4096 },
      { name: "caf\ufffd", name_hex: "636166e9", ino: 132 },
    ],
  };
}

/** A result with `runs`, of the default machine. */
export function sampleResult<Run extends AnyRun>(
  runs: readonly Run[],
): BootResult<Run> {
  return {
    schema: RESULT_SCHEMA,
    machine: {
      name: "opteron-2x4",
      description: "a sample",
      cpus: 8,
      cpus_online: 8,
      sockets: 2,
      nodes: 2,
      clock_hz: 2_300_000_000,
      page_size: 4096,
      memory_bytes: 8589934592,
    },
    seed: 1,
    command_line: "loglevel=7",
    dmesg: ["[    0.000000] Linux version 2.6.28"],
    runs,
  };
}

/** A mixed run. */
export function sampleMixedRun(more: Partial<MixedRun> = {}): MixedRun {
  return {
    workload: "mixed",
    vmap: "rewrite",
    window_ns: 20_000_000,
    parts: [
      {
        name: "xfs",
        tasks: 5,
        ops: 1500,
        unit: "names looked up",
        skipped: null,
      },
      {
        name: "xen",
        tasks: 2,
        ops: 0,
        unit: "packets",
        skipped: "no hypervisor",
      },
    ],
    calls: {
      vmalloc: 1,
      vmap: 2,
      vm_map_ram: 3000,
      ioremap: 0,
      alloc_vm_area: 0,
      vm_unmap_aliases: 4,
    },
    tlb_flushes: 5,
    ipis: 35,
    peak_areas: 20,
    peak_lazy_pages: 1024,
    leaked_pages: 0,
    leaked_areas: 0,
    ...more,
  };
}
