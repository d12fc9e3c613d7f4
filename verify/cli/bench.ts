/**
 * `deno task bench`: what emulation costs the host: maps, boots and trees
 * (bench_boot.ts), and schedules of the explorer.
 *
 * Times are this host's and differ from run to run; steps do not.
 */
import { oneOf, only, readFlags } from "../../boot/cli/flags.ts";
import { host } from "../../boot/cli/host.ts";
import type { Io } from "../../boot/cli/io.ts";
import { oneLine, UsageError } from "../../boot/cli/usage.ts";
import { examOptions } from "../search/exam.ts";
import { search } from "../search/search.ts";
import { type BootBench, bootTables, measureBoots, pad } from "./bench_boot.ts";

/** One row of the last table. */
export interface ExploreRow {
  readonly cpus: number;
  readonly sanitizers: "all" | "none";
  readonly schedules: number;
  /** Operations on shared state of a schedule. */
  readonly steps_per_schedule: number;
  readonly host_us_per_schedule: number;
  readonly schedules_per_s: number;
}

/** All of it. */
export interface BenchResult extends BootBench {
  readonly explore: readonly ExploreRow[];
}

const FORMATS = ["text", "json"] as const;
const HELP = `Usage: deno task bench [--format=text|json]

Measures what emulation costs this host: maps (the fastest of five runs, after
some that warm up), boots, searches of the tree, schedules of the explorer. About
half a minute.

The task raises V8's limits on inlining (deno.json), for about a tenth; without:

  deno run verify/cli/bench.ts

Exit code: 0, or 2 if the command line is wrong.
`;

/** Schedules that count, after as many of another seed for the host's compiler. */
const SCHEDULES = 40_000;

/** The exam's search on the default kernel, which has nothing to find. */
function measureExplore(io: Io, sanitizers: "all" | "none"): ExploreRow {
  const run = (seed: number) => {
    const options = examOptions([], seed);
    return search(
      sanitizers === "all" ? options : { ...options, sanitize: [] },
      { iterations: SCHEDULES },
    );
  };
  run(2);
  const startMs = io.nowMs();
  const { schedules, steps } = run(1);
  const ms = io.nowMs() - startMs;
  return {
    cpus: examOptions([], 1).cpus,
    sanitizers,
    schedules,
    steps_per_schedule: Math.round(steps / schedules),
    host_us_per_schedule: Math.round(ms * 10_000 / schedules) / 10,
    schedules_per_s: Math.round(schedules * 1000 / ms),
  };
}

/** Runs everything; about half a minute. */
export function measure(io: Io): BenchResult {
  const boots = measureBoots(io);
  if (io.errIsTerminal) io.err("bench: schedules\n");
  return {
    ...boots,
    explore: [measureExplore(io, "none"), measureExplore(io, "all")],
  };
}

/** The tables as text. */
export function formatBench(result: BenchResult): string {
  const lines = [
    ...bootTables(result),
    "",
    "small schedules of the two-CPU exam, one core",
    "cpus  sanitizers  schedules  steps each  host us each  schedules/s",
    ...result.explore.map((r) =>
      `${pad(r.cpus, 4)}${r.sanitizers.padStart(12)}${pad(r.schedules, 11)}${
        pad(r.steps_per_schedule, 12)
      }${r.host_us_per_schedule.toFixed(1).padStart(14)}${
        pad(r.schedules_per_s, 13)
      }`
    ),
  ];
  return `${lines.join("\n")}\n`;
}

/** Runs the command line `args`. @returns The exit code. */
export function bench(args: readonly string[], io: Io): number {
  let format: typeof FORMATS[number];
  try {
    const flags = readFlags(args, ["format"], ["help"]);
    if (flags.help) {
      io.out(HELP);
      return 0;
    }
    format = oneOf("--format", only(flags, "format") ?? "text", FORMATS);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    io.err(`vmaplab: ${oneLine(error.message)}\n`);
    return 2;
  }
  const result = measure(io);
  io.out(
    format === "json"
      ? `${JSON.stringify(result, null, 2)}\n`
      : formatBench(result),
  );
  return 0;
}

if (import.meta.main) Deno.exit(bench(Deno.args, host));
