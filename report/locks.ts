/** Lock classes of a run, most waited for first: the columns of `/proc/lock_stat` that the model has. */
import type { MeasuredRun } from "../boot/results.ts";
import { alignColumns } from "./columns.ts";
import { runTitle } from "./profile.ts";

/**
 * The `top` lock classes that somebody waited for; `""` if nobody waited at
 * all.
 *
 * @example
 * ```ts
 * import { findPreset, formatLocks, runBoot } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const spec = findPreset("opteron-2x4");
 * const { runs } = runBoot({
 *   spec,
 *   layers: ["vmlist"],
 *   threads: [2],
 *   ops: 50,
 * });
 * assert(formatLocks(runs[0], 3).includes("vmlist_lock"));
 * ```
 */
export function formatLocks(run: MeasuredRun, top = 5): string {
  const locks = run.locks.filter(({ contentions }) => contentions > 0)
    .slice(0, top);
  if (locks.length === 0) return "";
  const us = (ns: number) => (ns / 1000).toFixed(1);
  return [
    `${runTitle(run)}: locks waited for`,
    ...alignColumns([
      {
        header: "class name",
        cells: locks.map(({ name }) => name),
        align: "left",
      },
      {
        header: "contentions",
        cells: locks.map(({ contentions }) => String(contentions)),
      },
      {
        header: "waittime-avg us",
        cells: locks.map((lock) => us(lock.wait_ns / lock.contentions)),
      },
      {
        header: "waittime-total us",
        cells: locks.map((lock) => us(lock.wait_ns)),
      },
      {
        header: "acquisitions",
        cells: locks.map(({ acquisitions }) => String(acquisitions)),
      },
      {
        header: "holdtime-total us",
        cells: locks.map((lock) => us(lock.hold_ns)),
      },
    ]),
    "",
  ].join("\n");
}
