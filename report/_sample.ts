/** A small result with fixed numbers, for the tests of this folder and of the command line. */
import {
  type BootResult,
  RESULT_SCHEMA,
  type RunResult,
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

/** A result with `runs`, of the default machine. */
export function sampleResult(runs: readonly RunResult[]): BootResult {
  return {
    schema: RESULT_SCHEMA,
    machine: {
      name: "opteron-2x4",
      description: "a sample",
      cpus: 8,
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
