/**
 * The command `deno task boot`: options in, results out, an exit code.
 *
 * Everything of the host comes through {@linkcode Io}, and standard output is a
 * pure function of the arguments: host times go to standard error.
 */
import { formatCsv } from "../../report/csv.ts";
import { formatJson } from "../../report/json.ts";
import { formatLocks } from "../../report/locks.ts";
import { formatOops } from "../../report/oops.ts";
import { formatProfile } from "../../report/profile.ts";
import { formatTable } from "../../report/table.ts";
import { unknownBootOption } from "../params.ts";
import type { BootResult, RunResult } from "../results.ts";
import type { RunOptions } from "../run.ts";
import { oopsOf } from "./failure.ts";
import { helpText } from "./help.ts";
import { type Io, OutputClosed } from "./io.ts";
import { type BootCommand, parseOptions } from "./options.ts";
import { Progress } from "./progress.ts";
import { oneLine, UsageError } from "./usage.ts";

/** Boots and runs; `boot/run.ts` has the real one. */
export type Runner = (options: RunOptions) => BootResult;

/** All went well. */
export const EXIT_OK = 0;
/** The emulated kernel, or vmaplab itself, failed. */
export const EXIT_FAILED = 1;
/** The command line is wrong. */
export const EXIT_USAGE = 2;
/** Nobody reads the output: what a shell shows of a program that SIGPIPE ends. */
export const EXIT_PIPE = 141;

/** Symbols of each profile, lock classes of each list. */
const TOP_SYMBOLS = 10;
const TOP_LOCKS = 5;

/**
 * Runs the command line `args`.
 *
 * @returns The exit code.
 */
export function run(args: readonly string[], io: Io, runner: Runner): number {
  try {
    const command = parseOptions(args, io);
    if (command.kind === "help") {
      io.out(helpText());
      return EXIT_OK;
    }
    return bootAndReport(command, io, runner);
  } catch (error) {
    if (error instanceof OutputClosed) return EXIT_PIPE;
    if (error instanceof UsageError) {
      complain(io, error.message);
      return EXIT_USAGE;
    }
    internalError(io, error);
    return EXIT_FAILED;
  }
}

function bootAndReport(command: BootCommand, io: Io, runner: Runner): number {
  const progress = new Progress(io, command.quiet);
  const showLog = command.format === "text" && !command.quiet;
  if (!showLog) {
    for (const name of command.params.unknown_options) {
      complain(io, oneLine(unknownBootOption(name)));
    }
  }
  const startedMs = io.nowMs();
  let result: BootResult;
  try {
    result = runner(runOptions(command, progress, showLog, io));
  } catch (error) {
    progress.clear();
    return reportOops(error, command, showLog, io);
  }
  progress.clear();
  const hostSeconds = (io.nowMs() - startedMs) / 1000;
  io.out(formatResult(result, command, showLog));
  if (!command.quiet) io.err(rateLine(result, hostSeconds));
  return EXIT_OK;
}

function runOptions(
  command: BootCommand,
  progress: Progress,
  showLog: boolean,
  io: Io,
): RunOptions {
  const { spec, params, commandLine, workload } = command;
  const { layers, threads, pages, ops, api } = command;
  return {
    spec,
    params,
    commandLine,
    workload,
    layers,
    threads,
    pages,
    ops,
    api,
    onLog: showLog
      ? (line) => {
        progress.clear();
        io.out(`${line}\n`);
      }
      : undefined,
    onProgress: (done, total, what) => progress.update(done, total, what),
  };
}

function formatResult(
  result: BootResult,
  { format }: BootCommand,
  afterLog: boolean,
): string {
  switch (format) {
    case "json":
      return formatJson(result);
    case "csv":
      return formatCsv(result);
    case "text": {
      const parts = [formatTable(result)];
      for (const run of busiestRuns(result)) {
        parts.push(
          formatProfile(run, TOP_SYMBOLS),
          formatLocks(run, TOP_LOCKS),
        );
      }
      const text = parts.filter((part) => part !== "").join("\n");
      return afterLog ? `\n${text}` : text;
    }
  }
}

/** The run with most threads of each layer. */
function busiestRuns({ runs }: BootResult): RunResult[] {
  const busiest = new Map<string, RunResult>();
  for (const run of runs) {
    const other = busiest.get(run.vmap);
    if (other === undefined || run.threads > other.threads) {
      busiest.set(run.vmap, run);
    }
  }
  return [...busiest.values()];
}

function rateLine({ runs }: BootResult, seconds: number): string {
  const ops = runs.reduce((sum, run) => sum + run.ops, 0);
  const rate = seconds > 0 ? Math.round(ops / seconds) : 0;
  return `vmaplab: ${ops} operations in ${
    seconds.toFixed(1)
  } s on this host, ${rate} ops/s\n`;
}

/** An oops ends the log where the log shows; a line on standard error goes with it. */
function reportOops(
  error: unknown,
  { spec, params }: BootCommand,
  showLog: boolean,
  io: Io,
): number {
  const report = oopsOf(error, spec.clockHz, params.seed);
  if (report === null) throw error;
  const text = formatOops(report);
  if (showLog) io.out(text);
  else io.err(text);
  complain(
    io,
    `Cannot finish the run as the kernel oopsed: ${report.headline}`,
  );
  return EXIT_FAILED;
}

function complain(io: Io, message: string): void {
  io.err(`vmaplab: ${oneLine(message)}\n`);
}

/** A mistake in vmaplab itself: says so, then where, for whoever mends it. */
function internalError(io: Io, error: unknown): void {
  const { name, message, stack } = error instanceof Error
    ? error
    : { name: "Error", message: String(error), stack: undefined };
  complain(
    io,
    `Cannot finish the run as vmaplab itself failed, which is a bug to report: ${name}: ${message}`,
  );
  const frames = stack?.split("\n").filter((line) => /^\s+at /.test(line)) ??
    [];
  io.err(frames.map((line) => `${line}\n`).join(""));
}
