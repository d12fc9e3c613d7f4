/**
 * The tables of docs/COST_MODEL.md on the large-directory XFS workload: the
 * profiles of 2008 beside those of altix-64, symbol by symbol, and how both
 * layers scale. Takes minutes.
 *
 * Run as docs/boot_steps.ts is.
 */
import { findPreset } from "../arch/hw/presets/index.ts";
import { withCpus } from "../arch/hw/validate.ts";
import { xfsLargeDirImage } from "../boot/images/xfs_large_dir.ts";
import { referenceProfile } from "../boot/reference_xfs.ts";
import type { ProfileLine, XfsLargeDirRun } from "../boot/results.ts";
import { runXfsLargeDir } from "../boot/run_xfs.ts";
import { main, markdownTable } from "./boot_steps.ts";

/** The machine and the number of tasks of 2008. */
const MACHINE = "altix-64";
const CPUS = 64;
const SCALING: readonly number[] = [1, 2, 4, 8, 16, 32, 64, 256];
/** Symbols of ours that 2008 did not list are shown from this share on, %. */
const SHOWN_FROM = 0.5;
const WRITE_LOCK = "_write_lock";
const IDLE = "default_idle";

/** Runs of both layers on machines of `cpus` CPUs, a task on each. */
async function runs(cpus: number): Promise<XfsLargeDirRun[]> {
  const { disk, directories } = await xfsLargeDirImage();
  const result = runXfsLargeDir({
    spec: withCpus(findPreset(MACHINE), cpus),
    layers: ["vmlist", "rewrite"],
    threads: [cpus],
    disk,
    directories,
    path: "/tree",
  });
  return [...result.runs];
}

function percentOf(profile: readonly ProfileLine[], symbol: string): number {
  return profile.find((line) => line.symbol === symbol)?.percent ?? 0;
}

/** Every symbol of 2008 in its order, then ours that it did not list. */
function profileTable(run: XfsLargeDirRun): string {
  const { total, lines } = referenceProfile(run.vmap)!;
  const ticks = run.profile.reduce((sum, line) => sum + line.ticks, 0);
  const rows = [[
    "total",
    String(total.ticks),
    "100.00",
    String(ticks),
    "100.00",
    String(Math.round(ticks / total.ticks)),
  ]];
  for (const { symbol, ticks } of lines) {
    const ours = run.profile.find((line) => line.symbol === symbol);
    rows.push([
      `\`${symbol}\``,
      String(ticks),
      percent(100 * ticks / total.ticks),
      ours ? String(ours.ticks) : "-",
      ours ? percent(ours.percent) : "-",
      ours ? String(Math.round(ours.ticks / ticks)) : "-",
    ]);
  }
  const listed = new Set(lines.map(({ symbol }) => symbol));
  for (const { symbol, ticks, percent: share } of run.profile) {
    if (listed.has(symbol) || share < SHOWN_FROM) continue;
    const own = [String(ticks), percent(share)];
    rows.push([`\`${symbol}\``, "-", "-", ...own, "-"]);
  }
  return markdownTable([
    "Symbol",
    "2008, ticks",
    "2008, %",
    "here, ticks",
    "here, %",
    "here for one of 2008",
  ], rows);
}

/** Locks that somebody waited for. */
function locksTable(run: XfsLargeDirRun): string {
  const rows = run.locks.filter(({ contentions }) => contentions > 0)
    .slice(0, 8).map((
      { name, contentions, acquisitions, wait_ns, hold_ns },
    ) => [
      `\`${name}\``,
      String(acquisitions),
      String(contentions),
      String(Math.round(wait_ns / 1000)),
      String(Math.round(hold_ns / 1000)),
    ]);
  const head = ["Lock", "taken", "waited for", "waited, us", "held, us"];
  return markdownTable(head, rows);
}

function scalingTable(
  all: readonly (readonly [cpus: number, XfsLargeDirRun[]])[],
): string {
  const rows = all.map(([cpus, [before, after]]) => [
    String(cpus),
    String(before.lookups_per_s),
    String(after.lookups_per_s),
    after.speedup!.toFixed(1),
    (before.ipis / before.lookups).toFixed(1),
    (after.ipis / after.lookups).toFixed(3),
    percent(percentOf(before.profile, WRITE_LOCK)),
    percent(percentOf(before.profile, IDLE)),
    percent(percentOf(after.profile, IDLE)),
    percent(after.vmap_percent),
  ]);
  return markdownTable([
    "CPUs",
    "before, lookups/s",
    "after, lookups/s",
    "speed-up",
    "before, IPIs a lookup",
    "after, IPIs a lookup",
    `before, \`${WRITE_LOCK}\` %`,
    "before, idle %",
    "after, idle %",
    "after, vmap and flushes %",
  ], rows);
}

function percent(value: number): string {
  return value.toFixed(2);
}

/** The tables, by the name in their markers. */
export async function xfsTables(): Promise<ReadonlyMap<string, string>> {
  const all: [number, XfsLargeDirRun[]][] = [];
  for (const cpus of SCALING) all.push([cpus, await runs(cpus)]);
  const [before, after] = all.find(([cpus]) => cpus === CPUS)![1];
  return new Map([
    ["xfs-before", profileTable(before)],
    ["xfs-before-locks", locksTable(before)],
    ["xfs-after", profileTable(after)],
    ["xfs-after-locks", locksTable(after)],
    ["xfs-scaling", scalingTable(all)],
  ]);
}

if (import.meta.main) {
  main(new URL("COST_MODEL.md", import.meta.url), await xfsTables());
}
