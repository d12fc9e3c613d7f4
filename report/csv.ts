/** Results as CSV (RFC 4180, lines end in LF): a line a run, no profile. */
import type { BootResult, RunResult } from "../boot/results.ts";

type Field = string | number | null;

/** Columns in order, each with what it shows. */
const COLUMNS: readonly [
  string,
  (result: BootResult, run: RunResult) => Field,
][] = [
  ["schema", (result) => result.schema],
  ["machine", (result) => result.machine.name],
  ["cpus", (result) => result.machine.cpus],
  ["seed", (result) => result.seed],
  ["workload", (_, run) => run.workload],
  ["vmap", (_, run) => run.vmap],
  ["api", (_, run) => run.api],
  ["threads", (_, run) => run.threads],
  ["pages", (_, run) => run.pages],
  ["ops", (_, run) => run.ops],
  ["ns_per_op", (_, run) => run.ns_per_op],
  ["reference_ns", (_, run) => run.reference_ns],
  ["tlb_flushes", (_, run) => run.tlb_flushes],
  ["ipis", (_, run) => run.ipis],
  ["lock_wait_ns", (_, run) => run.lock_wait_ns],
];

/**
 * A header line, then a line a run. An empty field stands for `null`.
 *
 * @example
 * ```ts
 * import { findPreset, formatCsv, runBoot } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const spec = findPreset("opteron-2x4");
 * const result = runBoot({ spec, layers: ["rewrite"], threads: [1], ops: 50 });
 * const [header, row] = formatCsv(result).split("\n");
 * assertEquals(header.split(",").length, row.split(",").length);
 * ```
 */
export function formatCsv(result: BootResult): string {
  const rows = result.runs.map((run) =>
    COLUMNS.map(([, valueOf]) => csvField(valueOf(result, run)))
  );
  return [COLUMNS.map(([name]) => name), ...rows]
    .map((row) => `${row.join(",")}\n`).join("");
}

function csvField(value: Field): string {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
