/** The mixed run: boots a machine of its own, runs the parts on it, and gathers what came out. */
import type { Steps } from "../arch/asm.ts";
import type { Errno } from "../kernel/lib/errno.ts";
import { block_state } from "../kernel/block/block_state.ts";
import { module_state } from "../kernel/module/module.ts";
import { NATIVE_LDT } from "../kernel/ldt.ts";
import { XEN_LDT } from "../kernel/xen/ldt.ts";
import { init_xfs_fs } from "../kernel/fs/xfs/xfs_super.ts";
import type { SparseImage } from "../kernel/drivers/block/image.ts";
import { KERN_INFO, printk } from "../kernel/printk.ts";
import type { Thread } from "../kernel/thread.ts";
import { DEFAULT_PARAMS } from "../kernel/params.ts";
import { boot, type BootedMachine } from "./boot.ts";
import {
  machineResult,
  type MachinesOptions,
  withInjected,
} from "./each_machine.ts";
import type { Initcall } from "./host_door.ts";
import { insmod } from "./insmod.ts";
import type { LabModuleName } from "./images/lab_modules.ts";
import type { ListedDirectory } from "./images/listed.ts";
import { roundNs } from "./measure.ts";
import {
  type BootResult,
  type MixedRun,
  RESULT_SCHEMA,
  type VmapCalls,
} from "./results.ts";
import {
  AttributesPart,
  LdtPart,
  ReaderPart,
  TextPart,
  Watched,
} from "./workloads/attributes_part.ts";
import { mixed_run } from "./workloads/mixed.ts";
import { modulesPart } from "./workloads/modules_part.ts";
import type { PartMaker } from "./workloads/part.ts";
import { xenBlkPart } from "./workloads/xen_blk_part.ts";
import { XENBUS_INITCALL } from "./workloads/xen_exercise.ts";
import { xenNetPart } from "./workloads/xen_net_part.ts";
import { NoXenPart, ProcessPart, RamPart } from "./workloads/xen_parts.ts";
import { XfsPart } from "./workloads/xfs_part.ts";
import { WorkloadError } from "./workload_error.ts";

/** The mixed runs there are: before the benchmark, Xen's parts alone, everything for longer. */
export type MixedName = "mixed" | "xen" | "all";

/** What to run. */
export interface MixedOptions
  extends Omit<MachinesOptions, "layers" | "threads"> {
  readonly workload: MixedName;
  /** Name of the vmap layer. */
  readonly layer: string;
  /** A disk with XFS on it. */
  readonly disk: SparseImage;
  /** What is on it. */
  readonly directories: readonly ListedDirectory[];
  /** What the network carries; left out: frames that are made up. */
  readonly frames?: readonly Uint8Array[];
  /** Kernel modules. */
  readonly modules: Readonly<Record<LabModuleName, Uint8Array>>;
}

/** The RAM disk's driver, with what the block layer has for all. */
const BRD_INIT: Initcall = {
  name: "brd_init",
  // deno-lint-ignore require-yield -- an initcall like the others
  *fn(t: Thread): Steps {
    block_state(t);
    printk(t, KERN_INFO, "brd: module loaded");
  },
};
/** The module loader: what it knows of modules and exported symbols. */
const PROC_MODULES_INIT: Initcall = {
  name: "proc_modules_init",
  // deno-lint-ignore require-yield -- an initcall like the others
  *fn(t: Thread): Steps {
    module_state(t.k);
  },
};

/** Virtual time of each run, ms. */
const WINDOW_MS: Readonly<Record<MixedName, number>> = {
  mixed: 20,
  xen: 60,
  all: 60,
};

/**
 * Runs several subsystems side by side on a machine that has just booted.
 *
 * @throws {WorkloadError} If something was not given back.
 * @throws {KernelBug} If the kernel oopses.
 */
export function runMixed(options: MixedOptions): BootResult<MixedRun> {
  const { spec, workload, layer } = options;
  const small = spec.paging.format === "i386-pae";
  const params = {
    ...DEFAULT_PARAMS,
    ...options.params,
    // By vm_map_ram(), XFS of 2.6.28 runs out of addresses on 32 bits (B3).
    xfs_buf_map: options.params?.xfs_buf_map ?? (small ? "vmap" : null),
    vmap: layer,
  };
  const makers = partsOf(options);
  const booted = boot({
    spec,
    params,
    layers: options.vmapLayers,
    sanitize: options.sanitize,
    initcalls: initcallsOf(makers),
    onLog: options.onLog,
  });
  options.onProgress?.(0, 1, workload);
  if (options.insmod !== undefined) insmod(booted, options.insmod);
  const run = measure(booted, options, makers);
  const result: BootResult<MixedRun> = {
    schema: RESULT_SCHEMA,
    machine: machineResult(spec, params),
    seed: params.seed,
    command_line: options.commandLine ?? "",
    dmesg: booted.dmesg(),
    runs: [withInjected(run, booted)],
  };
  booted.checkQuiet();
  options.onProgress?.(1, 1, workload);
  return result;
}

/** The parts of each run, on any machine; those that a machine cannot run say so. */
function partsOf(
  { spec, workload, disk, directories, modules, frames }: MixedOptions,
): readonly PartMaker[] {
  const hasXen = spec.xen !== undefined;
  const driver = hasXen ? "blkfront" : "brd";
  const xfs: PartMaker = {
    initcalls: [
      BRD_INIT,
      { name: "init_xfs_fs", fn: init_xfs_fs },
      ...(hasXen ? [XENBUS_INITCALL] : []),
    ],
    make: (k) => new XfsPart(k, 3, disk, directories, driver),
  };
  const xen: readonly PartMaker[] = hasXen
    ? [
      { initcalls: [], make: (k) => new ProcessPart(k, 2) },
      { initcalls: [], make: (k) => new RamPart(k, 2) },
      xenBlkPart(2),
      xenNetPart(2, frames),
    ]
    : [{ initcalls: [], make: () => new NoXenPart() }];
  const churn: PartMaker = {
    ...modulesPart(modules, 2),
    initcalls: [PROC_MODULES_INIT],
  };
  const watched = new Watched();
  const attributes: PartMaker = {
    initcalls: [],
    make: (k) => new AttributesPart(k, 2, watched),
  };
  const reader: PartMaker = {
    initcalls: [],
    make: () => new ReaderPart(watched),
  };
  const text: PartMaker = { initcalls: [], make: (k) => new TextPart(k) };
  const ldt: PartMaker = {
    initcalls: [],
    make: (k) => new LdtPart(k, 1, k.xen === null ? NATIVE_LDT : XEN_LDT),
  };
  switch (workload) {
    case "mixed":
    case "all":
      return [xfs, churn, attributes, reader, text, ldt, ...xen];
    case "xen":
      return [xfs, ...xen, ldt];
  }
}

/** Each once, in the order of the parts. */
function initcallsOf(makers: readonly PartMaker[]): Initcall[] {
  const byName = new Map<string, Initcall>();
  for (const call of makers.flatMap(({ initcalls }) => initcalls)) {
    if (!byName.has(call.name)) byName.set(call.name, reported(call));
  }
  return [...byName.values()];
}

/** `initcall` that logs that it is done, as `initcall_debug` does. */
function reported({ name, fn }: Initcall): Initcall {
  return {
    name,
    *fn(t: Thread): Steps {
      const start = t.cpu.clock;
      const result = yield* fn(t) as Steps<Errno | 0 | void>;
      const us = Math.round(t.machine.toNs(t.cpu.clock - start) / 1000);
      printk(
        t,
        KERN_INFO,
        `initcall ${name} returned ${
          typeof result === "number" ? result : 0
        } after ${us} usecs`,
      );
    },
  };
}

function measure(
  booted: BootedMachine,
  options: MixedOptions,
  makers: readonly PartMaker[],
): MixedRun {
  const { machine, kernel } = booted;
  const { workload, layer } = options;
  let start = countsOf(booted);
  let end = start;
  const done = booted.run((t) =>
    mixed_run(t, {
      parts: makers.map((maker) => maker.make(kernel)),
      windowCycles: machine.toCycles(WINDOW_MS[workload] * 1e6),
      onProgress: (share) => options.onProgress?.(share, 1, workload),
      onRound: (edge) => {
        if (edge === "start") start = countsOf(booted);
        else end = countsOf(booted);
      },
    })
  );
  const leaked_pages = done.after.pages - done.before.pages;
  const leaked_areas = done.after.areas - done.before.areas;
  const run: MixedRun = {
    workload,
    vmap: layer,
    window_ns: roundNs(machine.toNs(done.windowCycles)),
    parts: done.parts.map(({ part, ops, skipped }) => ({
      name: part.name,
      tasks: part.tasks,
      ops,
      unit: part.unit,
      skipped,
    })),
    calls: {
      vmalloc: end.vmalloc - start.vmalloc,
      vmap: end.vmap - start.vmap,
      vm_map_ram: end.vm_map_ram - start.vm_map_ram,
      ioremap: end.ioremap - start.ioremap,
      alloc_vm_area: end.alloc_vm_area - start.alloc_vm_area,
      vm_unmap_aliases: end.vm_unmap_aliases - start.vm_unmap_aliases,
    },
    tlb_flushes: end.flushes - start.flushes,
    ipis: end.ipis - start.ipis,
    peak_areas: done.peakAreas,
    peak_lazy_pages: done.peakLazyPages,
    leaked_pages,
    leaked_areas,
  };
  if (leaked_pages === 0 && leaked_areas === 0) return run;
  booted.checkQuiet(); // which can say whose they are
  throw new WorkloadError(
    `Cannot finish the run as not everything was given back: ${leaked_pages} pages, ${leaked_areas} areas`,
    booted.dmesg(),
  );
}

interface Counts extends VmapCalls {
  readonly flushes: number;
  readonly ipis: number;
}

function countsOf({ machine, kernel }: BootedMachine): Counts {
  const { vmalloc } = kernel;
  return {
    vmalloc: vmalloc.nr_vmalloc,
    vmap: vmalloc.nr_vmap,
    vm_map_ram: vmalloc.nr_vm_map_ram,
    ioremap: vmalloc.nr_ioremap,
    alloc_vm_area: vmalloc.nr_alloc_vm_area,
    vm_unmap_aliases: vmalloc.nr_unmap_aliases,
    flushes: vmalloc.flushes,
    ipis: machine.counters.ipis,
  };
}
