/**
 * Boots a machine for each vmap layer, runs the workload on it with each number
 * of threads, and gathers what came out. A pure function of its options.
 */
import { symCount, symName } from "../arch/sim/symbol.ts";
import type { MachineSpec } from "../arch/hw/spec.ts";
import { cpusOf } from "../arch/hw/validate.ts";
import type { LockClass } from "../kernel/locking/lock_stat.ts";
import type { KernelParams } from "../kernel/params.ts";
import { boot, type BootedMachine } from "./boot.ts";
import { reference_ns } from "./reference.ts";
import {
  type BootResult,
  type LockLine,
  type ProfileLine,
  RESULT_SCHEMA,
  type RunResult,
} from "./results.ts";
import { map_touch_unmap, type MapApi } from "./workloads/map_touch_unmap.ts";

/** What to boot and run. */
export interface RunOptions {
  readonly spec: MachineSpec;
  readonly params: KernelParams;
  /** As given, for the record. */
  readonly commandLine: string;
  readonly workload: string;
  /** Names of vmap layers, in order. */
  readonly layers: readonly string[];
  /** Numbers of threads, in order. */
  readonly threads: readonly number[];
  /** Pages of one mapping. */
  readonly pages: number;
  /** Operations of each thread; `null` = the layer's default. */
  readonly ops: number | null;
  /** `null` = as in 2008: vmap() on `vmlist`, vm_map_ram() elsewhere. */
  readonly api: MapApi | null;
  readonly onLog?: (line: string) => void;
  readonly onProgress?: (done: number, total: number, what: string) => void;
}

/** One tick of a profile: a microsecond of one CPU, of virtual time. */
const TICKS_PER_SECOND = 1e6;

/**
 * Operations of each thread by default. A layer that purges lazily needs
 * several purges for an average: at one thread one comes every 8192 operations
 * of 4 pages. One that flushes every time is the same each time.
 */
function default_ops(api: MapApi, layer: string): number {
  if (layer === "vmlist") return 1000;
  return api === "ram" ? 40_960 : 8192;
}

/** Counters at one edge of the window. */
interface Snapshot {
  readonly flushes: number;
  readonly ipis: number;
  readonly cycles: Float64Array;
  readonly locks: ReadonlyMap<string, LockClass>;
}

function snapshot({ machine, kernel }: BootedMachine): Snapshot {
  return {
    flushes: kernel.vmalloc.flushes,
    ipis: machine.counters.ipis,
    cycles: machine.engine.cyclesBySym.slice(0, symCount()),
    locks: new Map(
      kernel.lockStats.all().map((c) => [c.name, Object.assign({}, c)]),
    ),
  };
}

/** Boots, runs, reports. */
export function runBoot(options: RunOptions): BootResult {
  const { spec, params } = options;
  const cpus = cpusOf(spec);
  const total = options.layers.length * options.threads.length;
  const runs: RunResult[] = [];
  let dmesg: string[] = [];
  for (const layer of options.layers) {
    const first = runs.length === 0;
    const booted = boot({
      spec,
      params: { ...params, vmap: layer },
      onLog: first ? options.onLog : undefined,
    });
    for (const threads of options.threads) {
      options.onProgress?.(
        runs.length,
        total,
        `${layer}, ${threads} thread${threads === 1 ? "" : "s"}`,
      );
      runs.push(measure(booted, options, layer, threads));
    }
    if (first) dmesg = booted.dmesg();
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
    command_line: options.commandLine,
    dmesg,
    runs,
  };
}

function measure(
  booted: BootedMachine,
  options: RunOptions,
  layer: string,
  threads: number,
): RunResult {
  const { machine } = booted;
  const api = options.api ?? (layer === "vmlist" ? "vmap" : "ram");
  const ops = options.ops ?? default_ops(api, layer);
  const { pages, workload } = options;
  let start: Snapshot | null = null;
  let end: Snapshot | null = null;
  const measured = booted.run((t) =>
    map_touch_unmap(t, {
      threads,
      ops,
      warmup: Math.ceil(ops / 20),
      pages,
      api,
      onWindow: (edge) => {
        if (edge === "start") start = snapshot(booted);
        else end = snapshot(booted);
      },
    })
  );
  const ns_per_op = machine.toNs(
    measured.windowCycles * threads / measured.opsInWindow,
  );
  const locks = lockLines(booted, start!, end!);
  return {
    workload,
    vmap: layer,
    api,
    threads,
    pages,
    ops: measured.opsInWindow,
    ns_per_op: round(ns_per_op),
    reference_ns: reference_ns({
      machine: options.spec.name,
      cpus: machine.nrCpus,
      workload,
      vmap: layer,
      api,
      threads,
      pages,
    }),
    tlb_flushes: end!.flushes - start!.flushes,
    ipis: end!.ipis - start!.ipis,
    lock_wait_ns: round(locks.reduce((sum, l) => sum + l.wait_ns, 0)),
    profile: profile(booted, start!, end!),
    locks,
  };
}

/** Nanoseconds with one decimal. */
function round(ns: number): number {
  return Math.round(ns * 10) / 10;
}

/** Time by symbol between two snapshots, most first. */
function profile(
  { machine }: BootedMachine,
  start: Snapshot,
  end: Snapshot,
): ProfileLine[] {
  const perTick = machine.spec.clockHz / TICKS_PER_SECOND;
  let total = 0;
  const spent: { symbol: string; cycles: number }[] = [];
  end.cycles.forEach((after, sym) => {
    const cycles = after - (start.cycles[sym] ?? 0);
    if (cycles <= 0) return;
    total += cycles;
    spent.push({ symbol: symName(sym), cycles });
  });
  spent.sort((a, b) => b.cycles - a.cycles || (a.symbol < b.symbol ? -1 : 1));
  return spent.map(({ symbol, cycles }) => ({
    symbol,
    ticks: Math.round(cycles / perTick),
    percent: Math.round(cycles / total * 10_000) / 100,
  })).filter((line) => line.ticks > 0);
}

/** What each lock class did between two snapshots, most waited for first. */
function lockLines(
  { machine }: BootedMachine,
  start: Snapshot,
  end: Snapshot,
): LockLine[] {
  const lines: LockLine[] = [];
  for (const [name, after] of end.locks) {
    const before = start.locks.get(name);
    const acquisitions = after.acquisitions - (before?.acquisitions ?? 0);
    if (acquisitions === 0) continue;
    lines.push({
      name,
      acquisitions,
      contentions: after.contentions - (before?.contentions ?? 0),
      wait_ns: round(
        machine.toNs(after.waitCycles - (before?.waitCycles ?? 0)),
      ),
      hold_ns: round(
        machine.toNs(after.holdCycles - (before?.holdCycles ?? 0)),
      ),
    });
  }
  return lines.sort((a, b) =>
    b.wait_ns - a.wait_ns || b.hold_ns - a.hold_ns ||
    (a.name < b.name ? -1 : 1)
  );
}
