/**
 * The workloads `modules` and `none`, each on machines that have just booted:
 * runs them, and gathers what came out.
 */
import { proc_modules } from "../kernel/module/sys_module.ts";
import type { BootedMachine } from "./boot.ts";
import { eachMachine, type MachinesOptions } from "./each_machine.ts";
import {
  locksBetween,
  profileBetween,
  roundNs,
  type Snapshot,
} from "./measure.ts";
import type { BootResult, ModulesRun, NoneRun } from "./results.ts";
import { WorkloadError } from "./workload_error.ts";
import { module_churn, type ModuleFiles } from "./workloads/modules.ts";

/** What `modules` takes. */
export interface ModulesOptions extends MachinesOptions {
  /** The modules. */
  readonly files: ModuleFiles;
  /** Modules that each task loads and unloads; `null` or left out: 40. */
  readonly ops?: number | null;
}

/** Enough that the last tasks do not end alone; a purge takes a few thousand pages of areas, seen with 8 tasks. */
const DEFAULT_OPS = 40;

/**
 * Loads and unloads modules, with each layer and each number of tasks, on a
 * machine of its own each.
 *
 * @throws {WorkloadError} If the machine is not an x86-64.
 * @throws {KernelBug} If a section is not what another linker makes of it.
 *
 * @example
 * ```ts
 * import { findPreset, labModules, runModules } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const { runs } = runModules({
 *   spec: findPreset("opteron-2x4"),
 *   layers: ["rewrite"],
 *   threads: [2],
 *   ops: 3,
 *   files: await labModules(),
 * });
 * assert(runs[0].sections > 6 * 10); // every one as it should be
 * ```
 */
export function runModules(options: ModulesOptions): BootResult<ModulesRun> {
  const { spec } = options;
  if (spec.paging.format !== "x86-64") {
    throw new WorkloadError(
      `Cannot load the modules on ${spec.name} as they are x86-64 objects`,
      [],
    );
  }
  return eachMachine(
    options,
    (booted, layer, threads, onShare) =>
      measure(booted, options, layer, threads, onShare),
  );
}

function measure(
  booted: BootedMachine,
  options: ModulesOptions,
  vmap: string,
  threads: number,
  onShare: (share: number) => void,
): ModulesRun {
  const ops = options.ops ?? DEFAULT_OPS;
  let start: Snapshot | null = null;
  let end: Snapshot | null = null;
  const measured = booted.run((t) =>
    module_churn(t, {
      threads,
      ops,
      files: options.files,
      onProgress: (done) => onShare(done / (threads * ops)),
      onWindow: (edge) => {
        if (edge === "start") start = booted.snapshot();
        else end = booted.snapshot();
      },
    })
  );
  const locks = locksBetween(start!, end!);
  const seconds = booted.machine.toNs(measured.windowCycles) / 1e9;
  return {
    workload: "modules",
    vmap,
    threads,
    ops: measured.opsInWindow,
    loads_per_s: Math.round(measured.opsInWindow / seconds),
    sections: measured.sections,
    section_bytes: measured.bytes,
    refusals: measured.refusals,
    tlb_flushes: end!.tlbFlushes - start!.tlbFlushes,
    ipis: end!.ipis - start!.ipis,
    lock_wait_ns: roundNs(locks.reduce((sum, l) => sum + l.wait_ns, 0)),
    profile: profileBetween(start!, end!),
    locks,
  };
}

/**
 * Boots, loads what is to be loaded, and does nothing else.
 *
 * @throws {WorkloadError} If a module does not load.
 *
 * @example
 * ```ts
 * import { findPreset, labModules, runNone } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const { lab_base } = await labModules();
 * const { runs } = runNone({
 *   spec: findPreset("opteron-2x4"),
 *   layers: ["rewrite"],
 *   threads: [1],
 *   insmod: { files: [{ path: "base.ko", bytes: lab_base }], symbols: [] },
 * });
 * assertEquals(runs[0].modules, [
 *   "lab_base 1704 0 - Live 0xffffffffa0000000",
 * ]);
 * ```
 */
export function runNone(options: MachinesOptions): BootResult<NoneRun> {
  return eachMachine(options, (booted, vmap) => ({
    workload: "none",
    vmap,
    modules: booted.kernel.module === null
      ? []
      : booted.run((t) => proc_modules(t)),
  }));
}
