/**
 * Boots a machine for each vmap layer and each number of threads, runs the
 * workload on it, and gathers what came out. A pure function of its options.
 */
import type { MachineSpec } from "../arch/hw/spec.ts";
import { cpusOf } from "../arch/hw/validate.ts";
import type { VmapLayerFactory } from "../kernel/mm/vmap_layer.ts";
import { DEFAULT_PARAMS, type KernelParams } from "../kernel/params.ts";
import { boot, type BootedMachine } from "./boot.ts";
import {
  locksBetween,
  profileBetween,
  roundNs,
  type Snapshot,
} from "./measure.ts";
import { reference_ns } from "./reference.ts";
import { type BootResult, RESULT_SCHEMA, type RunResult } from "./results.ts";
import { map_touch_unmap, type MapApi } from "./workloads/map_touch_unmap.ts";

/** What to boot and run. */
export interface RunOptions {
  /** The machine; a preset, or one's own. */
  readonly spec: MachineSpec;
  /** Names of vmap layers, in order; a machine is booted for each. */
  readonly layers: readonly string[];
  /** Numbers of threads, in order; one run each. */
  readonly threads: readonly number[];
  /** Layers that `layers` may name besides the kernel's own. */
  readonly vmapLayers?: Readonly<Record<string, VmapLayerFactory>>;
  /** Kernel parameters; {@linkcode DEFAULT_PARAMS} for those left out. `vmap` is each of `layers` in turn. */
  readonly params?: Partial<KernelParams>;
  /** The parameters as given, for the record. Left out: empty. */
  readonly commandLine?: string;
  /** Name of the workload; there is `"map-touch-unmap"`. */
  readonly workload?: string;
  /** Pages of one mapping. Left out: 4. */
  readonly pages?: number;
  /** Operations of each thread; `null` or left out: the layer's default. */
  readonly ops?: number | null;
  /** `null` or left out: as in 2008, vmap() on `vmlist`, vm_map_ram() elsewhere. */
  readonly api?: MapApi | null;
  /** Called with each line of the first boot's log. */
  readonly onLog?: (line: string) => void;
  /** Called before each run with the runs done, the runs there are, and what comes. */
  readonly onProgress?: (done: number, total: number, what: string) => void;
}

/**
 * Operations of each thread by default. A layer that purges lazily needs
 * several purges for an average: at one thread one comes every 33 blocks, 8448
 * operations of 4 pages. One that flushes every time is the same each time.
 */
function defaultOps(api: MapApi, layer: string): number {
  if (layer === "vmlist") return 1000;
  return api === "ram" ? 40_960 : 8192;
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
  const { spec } = options;
  const params = { ...DEFAULT_PARAMS, ...options.params };
  const cpus = cpusOf(spec);
  const total = options.layers.length * options.threads.length;
  const runs: RunResult[] = [];
  let dmesg: string[] = [];
  for (const layer of options.layers) {
    for (const threads of options.threads) {
      const done = runs.length;
      // A machine of its own, so that no row hangs on the rows before it.
      const booted = boot({
        spec,
        params: { ...params, vmap: layer },
        layers: options.vmapLayers,
        onLog: done === 0 ? options.onLog : undefined,
      });
      const what = `${layer}, ${threads} thread${threads === 1 ? "" : "s"}`;
      const onShare = (share: number) =>
        options.onProgress?.(done + share, total, what);
      onShare(0);
      runs.push(measure(booted, options, layer, threads, onShare));
      if (done === 0) dmesg = booted.dmesg();
    }
  }
  options.onProgress?.(total, total, "done");
  return {
    schema: RESULT_SCHEMA,
    machine: {
      name: spec.name,
      description: spec.description,
      cpus,
      sockets: spec.topology.sockets,
      nodes: spec.topology.nodes,
      clock_hz: spec.clockHz,
      page_size: 2 ** spec.paging.pageShift,
      memory_bytes: spec.memory.bytesPerNode * spec.topology.nodes,
    },
    seed: params.seed,
    command_line: options.commandLine ?? "",
    dmesg,
    runs,
  };
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
