/** The summary of a mixed run: what each subsystem did, and what it cost the vmap layer. */
import type { MachineResult, MixedPart, MixedRun } from "../boot/results.ts";

/** Columns that are widest. */
interface Widths {
  readonly name: number;
  readonly ops: number;
}

/** The summary in text; ends with a newline. */
export function formatMixed(run: MixedRun, machine: MachineResult): string {
  const ran = run.parts.filter(({ skipped }) => skipped === null);
  const tasks = ran.reduce((sum, part) => sum + part.tasks, 0);
  const widths: Widths = {
    name: longest(run.parts.map(({ name }) => name)),
    ops: longest(ran.map(({ ops }) => `${ops}`)),
  };
  const { calls } = run;
  const returned = run.leaked_pages === 0 && run.leaked_areas === 0
    ? "all pages, all areas"
    : `not ${run.leaked_pages} pages, ${run.leaked_areas} areas`;
  return [
    `${run.workload} run on ${machine.name}, vmap=${run.vmap}: ${tasks} tasks side by side for ${
      (run.window_ns / 1e6).toFixed(1)
    } ms of virtual time`,
    ...run.parts.map((part) => line(part, widths)),
    `calls: ${
      Object.entries(calls).map(([name, n]) => `${name} ${n}`).join(", ")
    }`,
    `TLB flushes ${run.tlb_flushes}, IPIs ${run.ipis}; at most ${run.peak_areas} areas, ${run.peak_lazy_pages} pages unmapped lazily`,
    `returned: ${returned}`,
    "",
  ].join("\n");
}

function line(
  { name, ops, unit, tasks, skipped }: MixedPart,
  widths: Widths,
): string {
  const what = skipped === null
    ? `${`${ops}`.padStart(widths.ops)} ${unit} by ${tasks} ${
      tasks === 1 ? "task" : "tasks"
    }`
    : `not run: ${skipped}`;
  return `  ${name.padEnd(widths.name)}  ${what}`;
}

function longest(texts: readonly string[]): number {
  return Math.max(0, ...texts.map(({ length }) => length));
}
