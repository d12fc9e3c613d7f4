/**
 * `deno task conformance FILE...`: replays trace files of recorded allocator
 * operations and says where the kernel is not as recorded.
 *
 * Results go to stdout, a line for each file that passes, the first difference
 * in full for each that does not, then the count. What cannot be read is told
 * on stderr. The code is 0 if all passed, 1 if one differed, 2 if one could not
 * be read or the command line is wrong; each file is tried whatever became of
 * the others. Progress is shown on a terminal alone.
 */
import { formatResult, replayTrace } from "../conformance.ts";
import { parseTrace, TraceSyntaxError } from "../conformance_trace.ts";

const USAGE = `Usage: deno task conformance FILE...

Replays traces of vmap operations, recorded from the real C code, on the
emulated kernel, and compares each result, flush and count with the recording.

  --help  Print this and exit

Exit code: 0 all passed, 1 a difference was found, 2 a file or the command line
cannot be used.`;

/** Cells of the progress bar. */
const BAR_CELLS = 24;
/** Width of a terminal that does not tell. */
const DEFAULT_COLUMNS = 80;

/** What the command needs of its surroundings. */
export interface ConformanceIo {
  /** Prints a line to stdout. */
  out(line: string): void;
  /** Prints a line to stderr. */
  err(line: string): void;
  /** Contents of a file. @throws {Error} If it cannot be read; the message says why. */
  readText(path: string): string;
  /** Shows `status` instead of what it showed before; `""` = nothing. `null` = no terminal. */
  readonly status: ((status: string) => void) | null;
}

/** Runs the command. @returns Its exit code. */
export function conformance(
  args: readonly string[],
  io: ConformanceIo,
): number {
  if (args.includes("--help")) {
    io.out(USAGE);
    return 0;
  }
  const option = args.find((arg) => arg.startsWith("-"));
  if (option !== undefined) {
    io.err(
      `Cannot replay as there is no such option: current value is "${option}"`,
    );
    return 2;
  }
  if (args.length === 0) {
    io.err("Cannot replay as no file is given: see --help");
    return 2;
  }
  const counts = { passed: 0, failed: 0, unread: 0 };
  args.forEach((path, i) => counts[replayFile(path, i, args.length, io)]++);
  io.status?.("");
  if (counts.unread < args.length) {
    io.out(`${counts.passed} passed, ${counts.failed + counts.unread} failed`);
  }
  if (counts.unread > 0) return 2;
  return counts.failed > 0 ? 1 : 0;
}

function replayFile(
  path: string,
  index: number,
  total: number,
  io: ConformanceIo,
): "passed" | "failed" | "unread" {
  const { status } = io;
  const onProgress = status === null
    ? undefined
    : (done: number, all: number) =>
      status(
        progress((index + done / all) / total, `${index + 1}/${total} ${path}`),
      );
  try {
    const result = replayTrace(parseTrace(io.readText(path), path), {
      onProgress,
    });
    status?.("");
    io.out(formatResult(result));
    return result.difference === null ? "passed" : "failed";
  } catch (error) {
    status?.("");
    if (error instanceof TraceSyntaxError || error instanceof UnreadableFile) {
      io.err(error.message);
      return "unread";
    }
    // The emulator itself went wrong: worth its stack, and the other files go on.
    io.out(`FAILED ${path}: ${error}`);
    io.err(error instanceof Error ? error.stack ?? error.message : `${error}`);
    return "failed";
  }
}

function progress(share: number, what: string): string {
  const full = Math.floor(share * BAR_CELLS);
  return `[${"#".repeat(full)}${"-".repeat(BAR_CELLS - full)}] ${what}`;
}

/** A file that cannot be read. */
export class UnreadableFile extends Error {
  /** Name shown before the message. */
  override name = "UnreadableFile";
}

function readText(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    throw new UnreadableFile(`Cannot read "${path}" as ${reason(error)}`);
  }
}

function reason(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such file";
  if (error instanceof Deno.errors.IsADirectory) return "it is a directory";
  if (error instanceof Deno.errors.NotCapable) {
    return "permission is missing: run with --allow-read";
  }
  return error instanceof Error ? error.message : String(error);
}

/** Shows `status` on the terminal's last line, cut to its width. */
function showStatus(status: string): void {
  const { columns } = Deno.consoleSize();
  const line = status.slice(0, (columns || DEFAULT_COLUMNS) - 1);
  Deno.stderr.writeSync(new TextEncoder().encode(`\r\x1b[K${line}`));
}

if (import.meta.main) {
  Deno.exitCode = conformance(Deno.args, {
    out: console.log,
    err: console.error,
    readText,
    status: Deno.stderr.isTerminal() ? showStatus : null,
  });
}
