/** The workloads that `--workload=` names: what each is given, and how its results show. */
import { formatCsv } from "../../report/csv.ts";
import { formatInjected } from "../../report/injected.ts";
import { formatJson } from "../../report/json.ts";
import { formatLargeDir } from "../../report/large_dir.ts";
import { formatLocks } from "../../report/locks.ts";
import { formatLs } from "../../report/ls.ts";
import { formatModules, formatNone } from "../../report/modules.ts";
import { formatMixed } from "../../report/mixed.ts";
import { formatProfile } from "../../report/profile.ts";
import { formatReadprofile } from "../../report/readprofile.ts";
import { formatTable } from "../../report/table.ts";
import type {
  AnyRun,
  BootResult,
  MeasuredRun,
  MixedRun,
  ModulesRun,
  NoneRun,
  XfsLargeDirRun,
  XfsLsRun,
} from "../results.ts";
import type { MachinesOptions } from "../each_machine.ts";
import { runBoot, type RunOptions } from "../run.ts";
import { type ModulesOptions, runModules, runNone } from "../run_modules.ts";
import { type MixedName, type MixedOptions, runMixed } from "../run_mixed.ts";
import {
  runXfsLargeDir,
  runXfsLs,
  type XfsLargeDirOptions,
  type XfsLsOptions,
} from "../run_xfs.ts";
import { readDisk } from "./disk_option.ts";
import { readFrames } from "./pcap_option.ts";
import type { Io } from "./io.ts";
import { readInsmod } from "./module_option.ts";
import type { BootCommand, Format } from "./options.ts";

/** Who runs each workload; {@linkcode RUNNERS} are the real ones. */
export interface Runners {
  readonly mapTouchUnmap: (options: RunOptions) => BootResult;
  readonly xfsLargeDir: (
    options: XfsLargeDirOptions,
  ) => BootResult<XfsLargeDirRun>;
  readonly xfsLs: (options: XfsLsOptions) => BootResult<XfsLsRun>;
  readonly modules: (options: ModulesOptions) => BootResult<ModulesRun>;
  readonly none: (options: MachinesOptions) => BootResult<NoneRun>;
  readonly mixed: (options: MixedOptions) => BootResult<MixedRun>;
}

/** The real ones. */
export const RUNNERS: Runners = {
  mapTouchUnmap: runBoot,
  xfsLargeDir: runXfsLargeDir,
  xfsLs: runXfsLs,
  modules: runModules,
  none: runNone,
  mixed: runMixed,
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
  const insmod = await readInsmod(command.insmod, command.ksyms, args, io);
  const { sanitize } = command;
  const machines = {
    spec,
    params,
    commandLine,
    layers,
    threads,
    insmod,
    sanitize,
  };
  switch (command.workload) {
    case "map-touch-unmap": {
      const { workload, pages, api } = command;
      const before = command.mixed
        ? await mixedOptions(command, "mixed", args, io)
        : null;
      return (watch) => {
        const mixed = before === null
          ? null
          : runners.mixed({ ...before, ...watch });
        const { onProgress } = watch;
        const result = runners.mapTouchUnmap({
          ...machines,
          workload,
          pages,
          ops,
          api,
          onProgress,
          onLog: mixed === null ? watch.onLog : undefined,
        });
        return afterMixed(mixed, result);
      };
    }
    case "xen":
    case "all": {
      const options = await mixedOptions(command, command.workload, args, io);
      return (watch) => {
        const result = runners.mixed({ ...options, ...watch });
        return {
          ...forms(result, () => mixedText(result)),
          count: mixedOps(result),
          unit: "operations",
        };
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
    case "modules": {
      // Only now: other workloads do not need them.
      const { labModules } = await import("../images/lab_modules.ts");
      const files = await labModules();
      return (watch) => {
        const result = runners.modules({ ...machines, files, ops, ...watch });
        return measured(result, () => modulesText(result));
      };
    }
    case "none":
      return (watch) => {
        const result = runners.none({ ...machines, threads: [1], ...watch });
        return {
          ...forms(result, () => formatNone(result)),
          count: 0, // nothing is measured
          unit: "operations",
        };
      };
  }
}

/** A mixed run: on the rewrite if that is among the layers, as it is about that. */
async function mixedOptions(
  command: BootCommand,
  workload: MixedName,
  args: readonly string[],
  io: Io,
): Promise<MixedOptions> {
  const { spec, params, commandLine, layers, sanitize } = command;
  const layer = layers.includes("rewrite") ? "rewrite" : layers[0];
  const { disk, directories } = await readDisk(null, args, io);
  const { labModules } = await import("../images/lab_modules.ts");
  const modules = await labModules();
  const { pcap } = command;
  const frames = pcap === null ? [] : await readFrames(pcap, args, io);
  return {
    workload,
    spec,
    params,
    commandLine,
    layer,
    disk,
    directories: directories!,
    modules,
    frames,
    insmod: await readInsmod(command.insmod, command.ksyms, args, io),
    sanitize,
  };
}

/** The benchmark's results, after those of the mixed run if there was one. */
function afterMixed(
  mixed: BootResult<MixedRun> | null,
  result: BootResult,
): Outcome {
  if (mixed === null) return measured(result, () => mapTouchUnmapText(result));
  const { dmesg, runs } = mixed;
  const all = { ...result, mixed: runs[0], dmesg };
  const { count, ...rest } = measured(
    all,
    () => joined([mixedText(mixed), mapTouchUnmapText(all)]),
  );
  return { ...rest, count: count + mixedOps(mixed) };
}

function mixedText({ runs, machine }: BootResult<MixedRun>): string {
  return joined(runs.map((run) => formatMixed(run, machine)));
}

function mixedOps({ runs }: BootResult<MixedRun>): number {
  return runs.flatMap(({ parts }) => parts)
    .reduce((sum, { ops }) => sum + ops, 0);
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
          return joined([text(), formatInjected(result)]);
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

function modulesText(result: BootResult<ModulesRun>): string {
  const parts = [formatModules(result)];
  for (const run of busiestRuns(result.runs)) {
    parts.push(formatProfile(run, TOP_SYMBOLS), formatLocks(run, TOP_LOCKS));
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
