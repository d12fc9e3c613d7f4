/**
 * The profile of a run as `readprofile` prints one: ticks, symbol, normalised
 * load. Beside it, where the same was measured in 2008, each symbol's share
 * then.
 */
import { REFERENCE_MACHINE, referenceProfile } from "../boot/reference_xfs.ts";
import type { XfsLargeDirRun } from "../boot/results.ts";
import { alignColumns, type Column } from "./columns.ts";
import { profileRows, runTitle } from "./profile.ts";

/** The number of threads of 2008. */
const REFERENCE_THREADS = 64;

/**
 * The top of a run's profile: a total, `top` symbols, and the rest in a line.
 *
 * @param machine Name of the machine that ran.
 */
export function formatReadprofile(
  run: XfsLargeDirRun,
  machine: string,
  top = 20,
): string {
  const rows = profileRows(run.profile, top);
  const loads = [
    run.total_load,
    ...run.profile.slice(0, top).map(({ load }) => load),
    null, // the others, if any
  ];
  const columns: Column[] = [
    { header: "ticks", cells: rows.map(({ ticks }) => String(ticks)) },
    {
      header: "symbol",
      cells: rows.map(({ symbol }) => symbol),
      align: "left",
    },
    { header: "load", cells: rows.map((_, i) => loads[i]?.toFixed(4) ?? "-") },
    { header: "%", cells: rows.map(({ percent }) => percent.toFixed(2)) },
  ];
  const then = referenceShares(run, machine);
  if (then !== null) {
    columns.push({
      header: "2008 %",
      cells: rows.map(({ symbol }) => then.get(symbol)?.toFixed(2) ?? "-"),
    });
  }
  return [
    `${runTitle(run)}: profile (1 tick = 1 us of one CPU)`,
    "load: ticks over the size of the function in 2008, bytes; - = not known",
    ...alignColumns(columns),
    "vmap layer and TLB flushes, with the interrupts that timer ticks do not see and without",
    `waits for locks: ${run.vmap_percent.toFixed(2)} % of what was not idle`,
    "",
  ].join("\n");
}

/** Share of each symbol in 2008, %, if this run is the one that was measured. */
function referenceShares(
  { vmap, threads }: XfsLargeDirRun,
  machine: string,
): ReadonlyMap<string, number> | null {
  const profile = referenceProfile(vmap);
  if (machine !== REFERENCE_MACHINE || threads !== REFERENCE_THREADS) {
    return null;
  }
  if (profile === null) return null;
  const { total, lines } = profile;
  return new Map(
    [total, ...lines].map((l) => [l.symbol, 100 * l.ticks / total.ticks]),
  );
}
