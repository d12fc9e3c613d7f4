/**
 * The command `deno task boot`: options in, results out, an exit code.
 *
 * Everything of the host comes through {@linkcode Io}, and standard output is a
 * pure function of the arguments and of the files they name: host times go to
 * standard error.
 */
import { formatOops } from "../../report/oops.ts";
import { unknownBootOption } from "../params.ts";
import { WorkloadError } from "../workload_error.ts";
import { oopsOf } from "../../report/oops_of.ts";
import { helpText } from "./help.ts";
import { type Io, OutputClosed } from "./io.ts";
import { type BootCommand, parseOptions } from "./options.ts";
import { Progress } from "./progress.ts";
import { oneLine, UsageError } from "./usage.ts";
import {
  type Job,
  type Outcome,
  prepare,
  type Runners,
  type Watch,
} from "./workloads.ts";

/** All went well. */
export const EXIT_OK = 0;
/** The emulated kernel failed or could not do what was asked, or vmaplab itself failed. */
export const EXIT_FAILED = 1;
/** The command line is wrong. */
export const EXIT_USAGE = 2;
/** Nobody reads the output: what a shell shows of a program that SIGPIPE ends. */
export const EXIT_PIPE = 141;

/**
 * Runs the command line `args`.
 *
 * @returns The exit code.
 */
export async function run(
  args: readonly string[],
  io: Io,
  runners: Runners,
): Promise<number> {
  try {
    const command = parseOptions(args, io);
    if (command.kind === "help") {
      io.out(helpText());
      return EXIT_OK;
    }
    const job = await prepare(command, args, io, runners);
    return bootAndReport(command, io, job);
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

function bootAndReport(command: BootCommand, io: Io, job: Job): number {
  const progress = new Progress(io, command.quiet);
  const showLog = command.format === "text" && !command.quiet;
  if (!showLog) {
    for (const name of command.params.unknown_options) {
      complain(io, oneLine(unknownBootOption(name)));
    }
  }
  const startedMs = io.nowMs();
  let outcome: Outcome;
  try {
    outcome = job(watch(progress, showLog, io));
  } catch (error) {
    progress.clear();
    return reportFailure(error, command, showLog, io);
  }
  progress.clear();
  const hostSeconds = (io.nowMs() - startedMs) / 1000;
  const text = outcome.format(command.format);
  io.out(showLog && text !== "" ? `\n${text}` : text);
  if (!command.quiet) {
    io.err(rateLine(outcome, hostSeconds));
    const { sanitize } = command;
    if (sanitize.length > 0) {
      io.err(`vmaplab: nothing found by ${sanitize.join(", ")}\n`);
    }
  }
  return EXIT_OK;
}

function watch(progress: Progress, showLog: boolean, io: Io): Watch {
  return {
    onLog: showLog
      ? (line) => {
        progress.clear();
        io.out(`${line}\n`);
      }
      : undefined,
    onProgress: (done, total, what) => progress.update(done, total, what),
  };
}

function rateLine({ count, unit }: Outcome, seconds: number): string {
  if (count === 0) {
    return `vmaplab: done in ${seconds.toFixed(1)} s on this host\n`;
  }
  const rate = seconds > 0 ? Math.round(count / seconds) : 0;
  return `vmaplab: ${count} ${unit} in ${
    seconds.toFixed(1)
  } s on this host, ${rate} ${unit === "operations" ? "ops" : unit}/s\n`;
}

/** What ended the run is said on one line of standard error; an oops also where the log shows. */
function reportFailure(
  error: unknown,
  { spec, params }: BootCommand,
  showLog: boolean,
  io: Io,
): number {
  if (error instanceof WorkloadError) {
    if (!showLog) io.err(error.log.map((line) => `${line}\n`).join(""));
    complain(io, error.message);
    return EXIT_FAILED;
  }
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
