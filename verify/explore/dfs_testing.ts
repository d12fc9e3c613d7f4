/** For tests of the exhaustive search: programs, and all that they can come to. */
import { assertEquals } from "@std/assert";
import { load, type Steps, store } from "../../arch/asm.ts";
import type { Cell } from "../../arch/hw/cell.ts";
import type { Thread } from "../../kernel/thread.ts";
import { Dfs, type DfsCounts, type DfsOptions } from "./dfs.ts";
import type { ExploreMachine, TaskFunction } from "./machine.ts";

/** Functions for the CPUs, and what they have come to. */
export interface Program {
  readonly functions: readonly TaskFunction[];
  readonly outcome: () => string;
}

/** Makes them for one machine. */
type MakeProgram = (m: ExploreMachine) => Program;

/** Of the kernels searched. */
export const PARAMS = { vmap: "rewrite" };

/** All outcomes of all schedules within the bounds; an oops is one too. */
export function outcomes(
  make: MakeProgram,
  cpus: number,
  options: DfsOptions,
  sanitize: readonly string[] = [],
): { readonly all: string[]; readonly counts: DfsCounts } {
  const dfs = new Dfs(options);
  const all = new Set<string>();
  let program: Program | null = null;
  for (let more = true; more;) {
    try {
      more = dfs.run(
        { cpus, params: PARAMS, sanitize },
        (m) => (program = make(m)).functions,
        () => all.add(program!.outcome()),
      );
    } catch (error) {
      const { headline } = error as { headline?: string };
      if (headline === undefined) throw error;
      all.add(headline);
    }
  }
  return { all: [...all].sort(), counts: dfs.counts };
}

/** The same outcomes with and without reduction. @returns Runs: all, and with reduction. */
export function compare(
  make: MakeProgram,
  cpus: number,
  options: DfsOptions,
  sanitize: readonly string[] = [],
): { readonly runs: [number, number]; readonly all: string[] } {
  const full = outcomes(make, cpus, { ...options, reduce: false }, sanitize);
  const reduced = outcomes(make, cpus, options, sanitize);
  assertEquals(reduced.all, full.all);
  assertEquals(full.counts.pruned, 0);
  return {
    runs: [full.counts.executions, reduced.counts.executions],
    all: full.all,
  };
}

/** In two operations. */
export function* increment(t: Thread, cell: Cell): Steps {
  yield* store(t, cell, (yield* load(t, cell)) + 1);
}
