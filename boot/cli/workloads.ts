/** The workloads that `--workload=` names: what each is given, and how its results show. */
import { formatCsv } from "../../report/csv.ts";
import { formatJson } from "../../report/json.ts";
import { formatLargeDir } from "../../report/large_dir.ts";
import { formatLocks } from "../../report/locks.ts";
import { formatLs } from "../../report/ls.ts";
import { formatProfile } from "../../report/profile.ts";
import { formatReadprofile } from "../../report/readprofile.ts";
import { formatTable } from "../../report/table.ts";
import type {
  AnyRun,
  BootResult,
  MeasuredRun,
  XfsLargeDirRun,
  XfsLsRun,
} from "../results.ts";
import { runBoot, type RunOptions } from "../run.ts";
import {
  runXfsLargeDir,
  runXfsLs,
  type XfsLargeDirOptions,
  type XfsLsOptions,
} from "../run_xfs.ts";
import { readDisk } from "./disk_option.ts";
import type { Io } from "./io.ts";
import type { BootCommand, Format } from "./options.ts";

/** Who runs each workload; {@linkcode RUNNERS} are the real ones. */
export interface Runners {
  readonly mapTouchUnmap: (options: RunOptions) => BootResult;
  readonly xfsLargeDir: (
    options: XfsLargeDirOptions,
  ) => BootResult<XfsLargeDirRun>;
  readonly xfsLs: (options: XfsLsOptions) => BootResult<XfsLsRun>;
}

/** The real ones. */
export const RUNNERS: Runners = {
  mapTouchUnmap: runBoot,
  xfsLargeDir: runXfsLargeDir,
  xfsLs: runXfsLs,
};

/** Who is told of a run under way. */
export type Watch = Pick<RunOptions, "onLog" | "onProgress">;

/** What came of a workload. */
export interface Outcome {
  /** The results in one of their forms. */
  format(form: Format): string;
  /** Things that were done, and what they are. */
  readonly count: number;
  readonly unit: string;
}

/** A workload with all it needs. */
export type Job = (watch: Watch) => Outcome;

/** Symbols of each profile, lock classes of each list. */
const TOP_SYMBOLS = 10;
const TOP_READPROFILE = 20;
const TOP_LOCKS = 5;
/** Where the embedded image has its 64 directories. */
const EMBEDDED_TREE = "/tree";

/**
 * Reads what the workload needs of the host, so that it can run without.
 *
 * @param args All arguments, to show the command that would work.
 * @throws {UsageError} If a file will not do.
 */
export async function prepare(
  command: BootCommand,
  args: readonly string[],
  io: Io,
  runners: Runners,
): Promise<Job> {
  const { spec, params, commandLine, layers, threads, ops } = command;
  const { diskDriver } = command;
  const machines = { spec, params, commandLine, layers, threads };
  switch (command.workload) {
    case "map-touch-unmap": {
      const { workload, pages, api } = command;
      return (watch) => {
        const result = runners.mapTouchUnmap(
          { ...machines, workload, pages, ops, api, ...watch },
        );
        return measured(result, () => mapTouchUnmapText(result));
      };
    }
    case "xfs-large-dir": {
      const { disk, directories } = await readDisk(command.disk, args, io);
      const path = command.path ?? (directories === null ? "/" : EMBEDDED_TREE);
      return (watch) => {
        const result = runners.xfsLargeDir(
          { ...machines, disk, diskDriver, directories, path, ops, ...watch },
        );
        return measured(result, () => largeDirText(result));
      };
    }
    case "xfs-ls": {
      const { disk } = await readDisk(command.disk, args, io);
      const path = command.path ?? "/";
      return (watch) => {
        const result = runners.xfsLs(
          { ...machines, threads: [1], disk, diskDriver, path, ...watch },
        );
        return {
          ...forms(result, () => formatLs(result)),
          count: result.runs.reduce((sum, r) => sum + r.entries.length, 0),
          unit: "names",
        };
      };
    }
  }
}

function measured<Run extends AnyRun & MeasuredRun>(
  result: BootResult<Run>,
  text: () => string,
): Outcome {
  return {
    ...forms(result, text),
    count: result.runs.reduce((sum, run) => sum + run.ops, 0),
    unit: "operations",
  };
}

function forms(
  result: BootResult<AnyRun>,
  text: () => string,
): Pick<Outcome, "format"> {
  return {
    format(form) {
      switch (form) {
        case "json":
          return formatJson(result);
        case "csv":
          return formatCsv(result);
        case "text":
          return text();
      }
    },
  };
}

function mapTouchUnmapText(result: BootResult): string {
  const parts = [formatTable(result)];
  for (const run of busiestRuns(result.runs)) {
    parts.push(formatProfile(run, TOP_SYMBOLS), formatLocks(run, TOP_LOCKS));
  }
  return joined(parts);
}

function largeDirText(result: BootResult<XfsLargeDirRun>): string {
  const parts = [formatLargeDir(result)];
  for (const run of busiestRuns(result.runs)) {
    parts.push(
      formatReadprofile(run, result.machine.name, TOP_READPROFILE),
      formatLocks(run, TOP_LOCKS),
    );
  }
  return joined(parts);
}

function joined(parts: readonly string[]): string {
  return parts.filter((part) => part !== "").join("\n");
}

/** The run with most threads of each layer. */
function busiestRuns<Run extends MeasuredRun>(runs: readonly Run[]): Run[] {
  const busiest = new Map<string, Run>();
  for (const run of runs) {
    const other = busiest.get(run.vmap);
    if (other === undefined || run.threads > other.threads) {
      busiest.set(run.vmap, run);
    }
  }
  return [...busiest.values()];
}
