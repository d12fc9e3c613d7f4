/**
 * Boots a machine for each vmap layer and each number of threads, and gathers
 * what a workload says of it. A pure function of its options.
 */
import type { MachineSpec } from "../arch/hw/spec.ts";
import { cpusOf } from "../arch/hw/validate.ts";
import type { VmapLayerFactory } from "../kernel/mm/vmap_layer.ts";
import { DEFAULT_PARAMS, type KernelParams } from "../kernel/params.ts";
import { boot, type BootedMachine } from "./boot.ts";
import { injectedFaults } from "./injected.ts";
import { type Insmod, insmod } from "./insmod.ts";
import {
  type AnyRun,
  type BootResult,
  type MachineResult,
  RESULT_SCHEMA,
} from "./results.ts";

/** Which machines to boot; what every workload's options have. */
export interface MachinesOptions {
  /** The machine; a preset, or one's own. */
  readonly spec: MachineSpec;
  /** Names of vmap layers, in order; a machine is booted for each. */
  readonly layers: readonly string[];
  /** Numbers of threads, in order; one run each. */
  readonly threads: readonly number[];
  /** Layers that `layers` may name besides the kernel's own. */
  readonly vmapLayers?: Readonly<Record<string, VmapLayerFactory>>;
  /** Modules to load on every machine before anything else. Left out: none. */
  readonly insmod?: Insmod;
  /** Kernel parameters; {@linkcode DEFAULT_PARAMS} for those left out. `vmap` is each of `layers` in turn. */
  readonly params?: Partial<KernelParams>;
  /** The parameters as given, for the record. Left out: empty. */
  readonly commandLine?: string;
  /** Sanitizers to switch on, as boot() takes them. Left out: none. */
  readonly sanitize?: readonly string[];
  /** Called with each line of the first boot's log. */
  readonly onLog?: (line: string) => void;
  /** Called before each run with the runs done, the runs there are, and what comes. */
  readonly onProgress?: (done: number, total: number, what: string) => void;
}

/** Runs one workload on a machine that has just booted; reports its progress, 0 to 1. */
export type MeasureRun<Run> = (
  booted: BootedMachine,
  layer: string,
  threads: number,
  onShare: (share: number) => void,
) => Run;

/** Calls `measure` for each layer and each number of threads, by layer first. */
export function eachMachine<Run extends AnyRun>(
  options: MachinesOptions,
  measure: MeasureRun<Run>,
): BootResult<Run> {
  const { spec } = options;
  const params = { ...DEFAULT_PARAMS, ...options.params };
  const total = options.layers.length * options.threads.length;
  const runs: Run[] = [];
  let dmesg: string[] = [];
  for (const layer of options.layers) {
    for (const threads of options.threads) {
      const done = runs.length;
      // A machine of its own, so that no row hangs on the rows before it.
      const booted = boot({
        spec,
        params: { ...params, vmap: layer },
        layers: options.vmapLayers,
        sanitize: options.sanitize,
        onLog: done === 0 ? options.onLog : undefined,
      });
      const what = `${layer}, ${threads} thread${threads === 1 ? "" : "s"}`;
      const onShare = (share: number) =>
        options.onProgress?.(done + share, total, what);
      onShare(0);
      if (options.insmod !== undefined) insmod(booted, options.insmod);
      const run = measure(booted, layer, threads, onShare);
      runs.push(withInjected(run, booted));
      if (done === 0) dmesg = booted.dmesg();
      booted.checkQuiet();
    }
  }
  options.onProgress?.(total, total, "done");
  return {
    schema: RESULT_SCHEMA,
    machine: machineResult(spec, params),
    seed: params.seed,
    command_line: options.commandLine ?? "",
    dmesg,
    runs,
  };
}

/** `run` with what was injected into it, if anything was to be. */
export function withInjected<Run extends AnyRun>(
  run: Run,
  { kernel }: BootedMachine,
): Run {
  const injected = injectedFaults(kernel);
  return injected === null ? run : { ...run, injected };
}

/** What results say of a machine. */
export function machineResult(
  spec: MachineSpec,
  { nr_cpus }: KernelParams,
): MachineResult {
  const cpus = cpusOf(spec);
  return {
    name: spec.name,
    description: spec.description,
    cpus,
    cpus_online: Math.min(cpus, nr_cpus ?? cpus),
    sockets: spec.topology.sockets,
    nodes: spec.topology.nodes,
    clock_hz: spec.clockHz,
    page_size: 2 ** spec.paging.pageShift,
    memory_bytes: spec.memory.bytesPerNode * spec.topology.nodes,
  };
}
