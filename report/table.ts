/**
 * The headline table: how long an operation takes, by number of threads and by
 * vmap layer, beside what was measured on the real machine in 2008.
 */
import type { BootResult, MachineResult, RunResult } from "../boot/results.ts";
import { type Column, columnOf, fixed } from "./columns.ts";
import { type Group, groupedTable } from "./groups.ts";

/** Layers whose ratio the table shows: the old one over the new one. */
const VANILLA = "vmlist";
const REWRITE = "rewrite";

/**
 * The table, with a title for each workload; ends with a newline unless empty.
 *
 * @example
 * ```ts
 * import { findPreset, formatTable, runBoot } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const spec = findPreset("opteron-2x4");
 * const result = runBoot({ spec, layers: ["rewrite"], threads: [1], ops: 50 });
 * assert(formatTable(result).includes("rewrite"));
 * ```
 */
export function formatTable(result: BootResult): string {
  const workloads = unique(result.runs.map(({ workload }) => workload));
  return workloads.map((workload) => {
    const runs = result.runs.filter((run) => run.workload === workload);
    return [
      ...heading(result.machine, runs),
      "",
      ...body(runs),
      ...withoutPurge(runs),
      "",
    ].join("\n");
  }).join("\n");
}

function heading(machine: MachineResult, runs: readonly RunResult[]): string[] {
  const pages = unique(runs.map((run) => run.pages)).join(", ");
  const lines = [
    `${runs[0].workload} of ${pages} pages on ${machine.name}: ${
      machineText(machine)
    }`,
    "ns/op: virtual time of one operation; flushes, IPIs: for each operation",
  ];
  if (runs.some((run) => run.reference_ns !== null)) {
    lines.push("2008: ns/op measured on the real machine; err %: against that");
  }
  const layers = new Set(runs.map(({ vmap }) => vmap));
  if (layers.has(VANILLA) && layers.has(REWRITE)) {
    lines.push(`ratio: ns/op of ${VANILLA} over that of ${REWRITE}`);
  }
  return lines;
}

/** A word on runs too short for what a lazy layer puts off. */
function withoutPurge(runs: readonly RunResult[]): string[] {
  const lazy = runs.filter(({ vmap, tlb_flushes }) =>
    vmap !== VANILLA && tlb_flushes === 0
  );
  if (lazy.length === 0) return [];
  const threads = lazy.map((run) => run.threads).join(",");
  return [
    "",
    `No flush fell into the runs of ${
      lazy[0].vmap
    } with threads = ${threads}: too few`,
    "operations for a figure that pays for what is put off (see --ops in --help)",
  ];
}

/** Such as `8 CPUs, 2 sockets, 2 nodes, 2.3 GHz`. */
export function machineText(machine: MachineResult): string {
  const { cpus, cpus_online } = machine;
  return [
    (cpus_online < cpus ? `${cpus_online} of ` : "") + counted(cpus, "CPU"),
    counted(machine.sockets, "socket"),
    counted(machine.nodes, "node"),
    `${machine.clock_hz / 1e9} GHz`,
  ].join(", ");
}

function body(runs: readonly RunResult[]): string[] {
  const threads = unique(runs.map((run) => run.threads));
  const threadColumn: Column = {
    header: "threads",
    cells: threads.map(String),
  };
  const layers = unique(runs.map(({ vmap }) => vmap));
  const groups = layers.map((vmap) => {
    const own = runs.filter((run) => run.vmap === vmap);
    return layerGroup(threads.map((n) => own.find((r) => r.threads === n)));
  });
  const ratio = ratioColumn(runs, threads);
  if (ratio !== null) groups.push({ title: "", columns: [ratio] });
  return groupedTable(threadColumn, groups);
}

/** Columns of one layer; `runs` has a place for each number of threads. */
function layerGroup(runs: readonly (RunResult | undefined)[]): Group {
  const some = runs.filter((run) => run !== undefined);
  const ns = some.map((run) => run.ns_per_op);
  const decimals = ns.every((value) => value >= 100) ? 0 : 1;
  const columns = [
    columnOf("ns/op", runs, (run) => run.ns_per_op, decimals),
  ];
  if (some.some((run) => run.reference_ns !== null)) {
    columns.push({
      header: "2008",
      cells: runs.map((run) => run?.reference_ns?.toFixed(0) ?? "-"),
    }, {
      header: "err %",
      cells: runs.map((run) => run === undefined ? "-" : errorText(run)),
    });
  }
  columns.push(
    columnOf("flushes", runs, (run) => run.tlb_flushes / run.ops),
    columnOf("IPIs", runs, (run) => run.ipis / run.ops),
  );
  const [{ vmap, api }] = some;
  return { title: `${vmap}, ${apiText(api)}`, columns };
}

/** Calls that map, by what results call them. */
const CALLS: Readonly<Record<string, string>> = {
  ram: "vm_map_ram()",
  vm_map_ram: "vm_map_ram()",
  vmap: "vmap()",
};

/** What was called to map; for titles. */
export function apiText(api: string): string {
  return CALLS[api] ?? api;
}

/** Such as `+3.1`; a dash if there is nothing to compare with. */
function errorText({ ns_per_op, reference_ns }: RunResult): string {
  if (reference_ns === null) return "-";
  const percent = (ns_per_op / reference_ns - 1) * 100;
  const text = percent.toFixed(1);
  if (Number(text) === 0) return "0.0";
  return percent > 0 ? `+${text}` : text;
}

function ratioColumn(
  runs: readonly RunResult[],
  threads: readonly number[],
): Column | null {
  const find = (vmap: string, n: number) =>
    runs.find((run) => run.vmap === vmap && run.threads === n)?.ns_per_op ??
      NaN;
  const ratios = threads.map((n) => find(VANILLA, n) / find(REWRITE, n));
  if (ratios.every(Number.isNaN)) return null;
  return {
    header: "ratio",
    cells: ratios.map((ratio) => fixed(ratio, 1)),
  };
}

function counted(n: number, what: string): string {
  return `${n} ${what}${n === 1 ? "" : "s"}`;
}

function unique<T>(items: readonly T[]): T[] {
  return [...new Set(items)];
}
