/** The benchmark `map-touch-unmap`: runs it, and gathers what came out. */
import type { BootedMachine } from "./boot.ts";
import { eachMachine, type MachinesOptions } from "./each_machine.ts";
import {
  locksBetween,
  profileBetween,
  roundNs,
  type Snapshot,
} from "./measure.ts";
import { reference_ns } from "./reference.ts";
import type { BootResult, RunResult } from "./results.ts";
import { map_touch_unmap, type MapApi } from "./workloads/map_touch_unmap.ts";

/** What to boot and run. */
export interface RunOptions extends MachinesOptions {
  /** Name of the workload; there is `"map-touch-unmap"`. */
  readonly workload?: string;
  /** Pages of one mapping. Left out: 4. */
  readonly pages?: number;
  /** Operations of each thread; `null` or left out: the layer's default. */
  readonly ops?: number | null;
  /** `null` or left out: as in 2008, vmap() on `vmlist`, vm_map_ram() elsewhere. */
  readonly api?: MapApi | null;
}

/** Operations of each thread by default: on vmlist, and elsewhere by call. */
export const DEFAULT_OPS = { vmlist: 1000, ram: 40_960, vmap: 8192 } as const;

/**
 * Operations of each thread by default. A layer that purges lazily needs
 * several purges for an average: at one thread one comes every 33 blocks, 8448
 * operations of 4 pages. One that flushes every time is the same each time.
 */
function defaultOps(api: MapApi, layer: string): number {
  if (layer === "vmlist") return DEFAULT_OPS.vmlist;
  return DEFAULT_OPS[api];
}

/**
 * Runs the benchmark with each layer and each number of threads, on a machine
 * that has just booted: N kernel threads in parallel map a few pages, write a word to
 * every one, and unmap them. A pure function of its options.
 *
 * @returns Times in virtual ns, counts, profiles and lock statistics of each run.
 * @throws {KernelBug} If a kernel oopses; an unknown layer is a panic.
 * @throws {Deadlock} If nothing can go on.
 *
 * @example
 * ```ts
 * import { findPreset, runBoot } from "@vmaplab/vmaplab";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const { runs } = runBoot({
 *   spec: findPreset("opteron-2x4"),
 *   layers: ["vmlist", "rewrite"],
 *   threads: [2],
 *   ops: 100,
 * });
 * const [old, rewrite] = runs;
 * assertEquals(old.vmap, "vmlist");
 * assert(old.ns_per_op > 3 * rewrite.ns_per_op);
 * ```
 */
export function runBoot(options: RunOptions): BootResult {
  return eachMachine(
    options,
    (booted, layer, threads, onShare) =>
      measure(booted, options, layer, threads, onShare),
  );
}

function measure(
  booted: BootedMachine,
  options: RunOptions,
  layer: string,
  threads: number,
  onShare: (share: number) => void,
): RunResult {
  const { machine, kernel } = booted;
  const api = options.api ?? (layer === "vmlist" ? "vmap" : "ram");
  const ops = options.ops ?? defaultOps(api, layer);
  const { pages = 4, workload = "map-touch-unmap" } = options;
  let start: Snapshot | null = null;
  let end: Snapshot | null = null;
  const measured = booted.run((t) =>
    map_touch_unmap(t, {
      threads,
      ops,
      warmup: Math.ceil(ops / 20),
      pages,
      api,
      onProgress: (done) => onShare(done / (threads * ops)),
      onWindow: (edge) => {
        if (edge === "start") start = booted.snapshot();
        else end = booted.snapshot();
      },
    })
  );
  const ns_per_op = machine.toNs(
    measured.windowCycles * threads / measured.opsInWindow,
  );
  const locks = locksBetween(start!, end!);
  return {
    workload,
    vmap: layer,
    api,
    threads,
    pages,
    ops: measured.opsInWindow,
    ns_per_op: roundNs(ns_per_op),
    reference_ns: reference_ns({
      machine: options.spec.name,
      cpus: kernel.cpu_online.weight,
      asReleased: kernel.params.vmap_quirk.size === 0 &&
        kernel.params.lazy_max === null,
      workload,
      vmap: layer,
      api,
      threads,
      pages,
    }),
    tlb_flushes: end!.tlbFlushes - start!.tlbFlushes,
    ipis: end!.ipis - start!.ipis,
    lock_wait_ns: roundNs(locks.reduce((sum, l) => sum + l.wait_ns, 0)),
    profile: profileBetween(start!, end!),
    locks,
  };
}
