/**
 * The table of `xfs-large-dir`: names looked up in a virtual second, by number
 * of threads and by vmap layer, and what each costs in mappings, flushes and
 * interprocessor interrupts.
 */
import { REFERENCE_MACHINE, REFERENCE_SPEEDUP } from "../boot/reference_xfs.ts";
import type {
  BootResult,
  MachineResult,
  XfsLargeDirRun,
} from "../boot/results.ts";
import { type Column, columnOf } from "./columns.ts";
import { type Group, groupedTable } from "./groups.ts";
import { apiText, machineText } from "./table.ts";

/** The table with its title; ends with a newline. */
export function formatLargeDir(
  { machine, runs }: BootResult<XfsLargeDirRun>,
): string {
  const threads = [...new Set(runs.map((run) => run.threads))];
  const first: Column = { header: "threads", cells: threads.map(String) };
  const layers = [...new Set(runs.map(({ vmap }) => vmap))];
  const groups = layers.map((vmap) => {
    const own = runs.filter((run) => run.vmap === vmap);
    return layerGroup(threads.map((n) => own.find((r) => r.threads === n)));
  });
  return [...heading(machine, runs), "", ...groupedTable(first, groups), ""]
    .join("\n");
}

function heading(
  machine: MachineResult,
  runs: readonly XfsLargeDirRun[],
): string[] {
  const lines = [
    `xfs-large-dir on ${machine.name}: ${machineText(machine)}, ${
      machine.page_size / 1024
    } KiB pages`,
    "lookups/s: names looked up and stat'ed in a virtual second, all threads together",
    "vmaps, flushes, IPIs: for each lookup",
  ];
  if (runs.some(({ speedup }) => hasSpeedup(speedup))) {
    const then = machine.name === REFERENCE_MACHINE
      ? ` (2008, 64 CPUs: ${REFERENCE_SPEEDUP})`
      : "";
    lines.push(`speed-up: lookups/s over that of vmlist${then}`);
  }
  return lines;
}

/** Columns of one layer; `runs` has a place for each number of threads. */
function layerGroup(runs: readonly (XfsLargeDirRun | undefined)[]): Group {
  const columns = [
    columnOf("lookups/s", runs, (run) => run.lookups_per_s, 0),
    columnOf("vmaps", runs, (run) => run.vmap_ops / run.lookups),
    columnOf("flushes", runs, (run) => run.tlb_flushes / run.lookups),
    columnOf("IPIs", runs, (run) => run.ipis / run.lookups),
  ];
  const [{ vmap, buf_map }] = runs.filter((run) => run !== undefined);
  if (runs.some((run) => hasSpeedup(run?.speedup ?? null))) {
    columns.push(columnOf("speed-up", runs, (run) => run.speedup ?? NaN, 1));
  }
  return {
    title: `${vmap}, ${apiText(buf_map)}`,
    columns,
  };
}

/** Whether it compares two runs. */
function hasSpeedup(speedup: number | null): boolean {
  return speedup !== null && speedup !== 1;
}
