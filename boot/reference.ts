/**
 * Figures measured on a real machine in 2008, nanoseconds per map + touch +
 * unmap of 4 pages with N threads in parallel: Nick Piggin, "[patch] mm:
 * rewrite vmap layer", linux-mm, 19 August 2008; "4 core, 2 socket opteron".
 */
const NS_PER_OP: Readonly<Record<string, Readonly<Record<number, number>>>> = {
  vmlist: { 1: 14700, 2: 33600, 4: 49500, 8: 70631 },
  rewrite: { 1: 2900, 2: 3000, 4: 2800, 8: 2900 },
};

/** What a run must match to be the one that was measured. */
export interface ReferenceRun {
  readonly machine: string;
  /** CPUs online. */
  readonly cpus: number;
  /** No quirk put back, no threshold changed. */
  readonly asReleased: boolean;
  readonly workload: string;
  readonly vmap: string;
  readonly api: string;
  readonly threads: number;
  readonly pages: number;
}

/** The figure of 2008 for `run`; `null` if that was not measured. */
export function reference_ns(run: ReferenceRun): number | null {
  const same = run.machine === "opteron-2x4" && run.cpus === 8 &&
    run.asReleased &&
    run.workload === "map-touch-unmap" && run.pages === 4 &&
    run.api === (run.vmap === "vmlist" ? "vmap" : "ram");
  return same ? NS_PER_OP[run.vmap]?.[run.threads] ?? null : null;
}
