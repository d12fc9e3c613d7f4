/**
 * The eight cells of the 2008 table, run on a machine: two layers, four numbers
 * of threads.
 */
import { OpKind } from "../../arch/asm.ts";
import type { MachineSpec } from "../../arch/hw/spec.ts";
import { DEFAULT_PARAMS } from "../../kernel/params.ts";
import { boot } from "../boot.ts";
import { reference_ns } from "../reference.ts";
import type { LockLine, ProfileLine } from "../results.ts";
import { map_touch_unmap } from "../workloads/map_touch_unmap.ts";

export const LAYERS = ["vmlist", "rewrite"] as const;
export const THREADS = [1, 2, 4, 8] as const;
/** Pages of one mapping, as in 2008. */
const PAGES = 4;

/** A layer of the table. */
export type Layer = typeof LAYERS[number];

/** How much to run. */
export interface Amount {
  /** Operations of each thread on `vmlist`. */
  readonly vmlistOps: number;
  /**
   * Operations of all threads together on `rewrite`. One purge comes every 33
   * blocks of 256 operations: whole purges, 8448 operations each, make an
   * average that does not depend on where the window begins.
   */
  readonly rewriteOps: number;
}

/** For studies, which run the cells a hundred times. */
export const STUDY: Amount = { vmlistOps: 400, rewriteOps: 2 * 8448 };

/** How to run. */
export interface CellOptions {
  readonly amount?: Amount;
  /** Left out: the default seed. */
  readonly seed?: number;
  /** Left out: the engine's own. */
  readonly runAheadCycles?: number;
}

/** Time of one operation, ns, by layer and by place in {@linkcode THREADS}. */
export type Cells = Readonly<Record<Layer, readonly number[]>>;

/** One cell, looked at closely. */
export interface Closeup {
  readonly threads: number;
  readonly ops: number;
  readonly nsPerOp: number;
  readonly profile: readonly ProfileLine[];
  readonly locks: readonly LockLine[];
  /** Reads of the clock source, all CPUs. */
  readonly clockReads: number;
}

/** 2008's cells. */
export const MEASURED: Cells = {
  vmlist: THREADS.map((threads) => measured("vmlist", threads)),
  rewrite: THREADS.map((threads) => measured("rewrite", threads)),
};

function measured(vmap: Layer, threads: number): number {
  return reference_ns({
    machine: "opteron-2x4",
    cpus: 8,
    asReleased: true,
    workload: "map-touch-unmap",
    vmap,
    api: vmap === "vmlist" ? "vmap" : "ram",
    threads,
    pages: PAGES,
  })!;
}

/** Operations of each of `threads` threads. */
function opsOf(layer: Layer, threads: number, amount: Amount): number {
  return layer === "vmlist"
    ? amount.vmlistOps
    : Math.ceil(amount.rewriteOps / threads);
}

/** Runs `layer` with each number of `threads` on one machine. @returns What each took, looked at closely. */
export function closeups(
  spec: MachineSpec,
  layer: Layer,
  threads: readonly number[],
  options: CellOptions = {},
): Closeup[] {
  const { amount = STUDY, seed = DEFAULT_PARAMS.seed } = options;
  const booted = boot({
    spec,
    params: { vmap: layer, seed },
    engine: options.runAheadCycles === undefined
      ? undefined
      : { runAheadCycles: options.runAheadCycles },
  });
  const { engine } = booted.machine;
  return threads.map((count) => {
    const ops = opsOf(layer, count, amount);
    let clockReads = 0;
    let start = booted.snapshot();
    let profile: readonly ProfileLine[] = [];
    let locks: readonly LockLine[] = [];
    const { windowCycles, opsInWindow } = booted.run((t) =>
      map_touch_unmap(t, {
        threads: count,
        ops,
        warmup: Math.ceil(ops / 20),
        pages: PAGES,
        api: layer === "vmlist" ? "vmap" : "ram",
        onWindow: (edge) => {
          if (edge === "start") {
            start = booted.snapshot();
            engine.observer = {
              operation: (_t, kind) => {
                if (kind === OpKind.CLOCK) clockReads++;
              },
            };
          } else {
            engine.observer = null;
            profile = booted.profile(start);
            locks = booted.lockStat(start);
          }
        },
      })
    );
    const nsPerOp = booted.machine.toNs(windowCycles * count / opsInWindow);
    return {
      threads: count,
      ops: opsInWindow,
      nsPerOp,
      profile,
      locks,
      clockReads,
    };
  });
}

/** One cell, ns. */
export function cell(
  spec: MachineSpec,
  layer: Layer,
  threads: number,
  options: CellOptions = {},
): number {
  return closeups(spec, layer, [threads], options)[0].nsPerOp;
}

/** All eight cells. */
export function cells(spec: MachineSpec, options: CellOptions = {}): Cells {
  const of = (layer: Layer) =>
    closeups(spec, layer, THREADS, options).map(({ nsPerOp }) => nsPerOp);
  return { vmlist: of("vmlist"), rewrite: of("rewrite") };
}
