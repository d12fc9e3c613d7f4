/** Where virtual time went, by kernel symbol, laid out as `readprofile` does. */
import type { MeasuredRun, ProfileLine } from "../boot/results.ts";
import { alignColumns } from "./columns.ts";

/**
 * The top of a run's profile: a total, `top` symbols, and the rest in a line.
 *
 * @example
 * ```ts
 * import { findPreset, formatProfile, runBoot } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const spec = findPreset("opteron-2x4");
 * const { runs } = runBoot({
 *   spec,
 *   layers: ["vmlist"],
 *   threads: [2],
 *   ops: 50,
 * });
 * assert(formatProfile(runs[0], 3).startsWith("vmlist, 2 threads"));
 * ```
 */
export function formatProfile(run: MeasuredRun, top = 10): string {
  const rows = profileRows(run.profile, top);
  return [
    `${runTitle(run)}: where time went (1 tick = 1 us of one CPU)`,
    ...alignColumns([
      { header: "ticks", cells: rows.map(({ ticks }) => String(ticks)) },
      {
        header: "symbol",
        cells: rows.map(({ symbol }) => symbol),
        align: "left",
      },
      {
        header: "%",
        cells: rows.map(({ percent }) => percent.toFixed(2)),
      },
    ]),
    "",
  ].join("\n");
}

/** A total, the first `top` symbols, and a row for the others if there are any. */
export function profileRows(
  profile: readonly ProfileLine[],
  top: number,
): ProfileLine[] {
  const total = sum(profile.map(({ ticks }) => ticks));
  const rows = [
    { symbol: "total", ticks: total, percent: profile.length === 0 ? 0 : 100 },
    ...profile.slice(0, top),
  ];
  const rest = profile.slice(top);
  if (rest.length > 0) {
    const ticks = sum(rest.map(({ ticks }) => ticks));
    rows.push({
      symbol: `others (${rest.length})`,
      ticks,
      percent: 100 * ticks / total,
    });
  }
  return rows;
}

/** Such as `rewrite, 8 threads`. */
export function runTitle({ vmap, threads }: MeasuredRun): string {
  return `${vmap}, ${threads} thread${threads === 1 ? "" : "s"}`;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
