/**
 * The table of `modules`: modules loaded and unloaded in a virtual second, by
 * number of tasks and by vmap layer. And the listing of `none`.
 */
import type { BootResult, ModulesRun, NoneRun } from "../boot/results.ts";
import { type Column, columnOf } from "./columns.ts";
import { type Group, groupedTable } from "./groups.ts";
import { machineText } from "./table.ts";

/** The table with its title; ends with a newline. */
export function formatModules(
  { machine, runs }: BootResult<ModulesRun>,
): string {
  const threads = [...new Set(runs.map((run) => run.threads))];
  const first: Column = { header: "threads", cells: threads.map(String) };
  const layers = [...new Set(runs.map(({ vmap }) => vmap))];
  const groups = layers.map((vmap) => {
    const own = runs.filter((run) => run.vmap === vmap);
    return layerGroup(
      vmap,
      threads.map((n) => own.find((r) => r.threads === n)),
    );
  });
  const sections = runs.reduce((sum, run) => sum + run.sections, 0);
  return [
    `modules on ${machine.name}: ${machineText(machine)}`,
    "loads/s: modules loaded, compared and unloaded in a virtual second, all tasks together",
    "flushes, IPIs: for each module; mutex wait: for module_mutex, of the tasks' time",
    `${sections} sections read back: all as another linker has them`,
    "",
    ...groupedTable(first, groups),
    "",
  ].join("\n");
}

/** Columns of one layer; `runs` has a place for each number of threads. */
function layerGroup(
  title: string,
  runs: readonly (ModulesRun | undefined)[],
): Group {
  const columns = [
    columnOf("loads/s", runs, (run) => run.loads_per_s, 0),
    columnOf("flushes", runs, (run) => run.tlb_flushes / run.ops),
    columnOf("IPIs", runs, (run) => run.ipis / run.ops),
    columnOf("mutex wait %", runs, mutexPercent, 1),
  ];
  return { title, columns };
}

/** Share of the tasks' time that they waited for module_mutex. */
function mutexPercent(
  { ops, loads_per_s, threads, locks }: ModulesRun,
): number {
  const mutex = locks.find(({ name }) => name === "module_mutex");
  const tasksNs = 1e9 * ops / loads_per_s * threads;
  return 100 * (mutex?.wait_ns ?? 0) / tasksNs;
}

/** Lines of /proc/modules of each run. */
export function formatNone({ runs }: BootResult<NoneRun>): string {
  return runs.flatMap(({ modules }) => modules.map((line) => `${line}\n`))
    .join("");
}
