/**
 * `deno task verify`: searches for bugs, or replays one.
 *
 * Standard output is a pure function of the arguments, but for how far a search
 * with a time limit, or one that was interrupted, has come; rates and progress
 * go to standard error.
 */
import { host } from "../../boot/cli/host.ts";
import { type Io, OutputClosed } from "../../boot/cli/io.ts";
import { oneLine, UsageError } from "../../boot/cli/usage.ts";
import { formatOops } from "../../report/oops.ts";
import { oopsOf } from "../../report/oops_of.ts";
import { exploreSpec } from "../explore/machine.ts";
import { Corpus } from "../programs/corpus.ts";
import { Coverage } from "../programs/coverage.ts";
import type { Case, Finding } from "../search/case.ts";
import { minimiseCase } from "../search/minimise_case.ts";
import { formatCase } from "../search/replay_string.ts";
import {
  searching,
  type SearchProgress,
  type SearchResult,
} from "../search/search.ts";
import { retell } from "./retell.ts";
import { verifyHelp, verifyList } from "./verify_help.ts";
import { parseVerify, type VerifyCommand } from "./verify_options.ts";

const EXIT_NOTHING = 0;
const EXIT_FOUND = 1;
const EXIT_USAGE = 2;
/** As a shell shows of a program that SIGINT ends. */
const EXIT_INTERRUPTED = 130;
const EXIT_PIPE = 141;
/** Host time between two lines of progress on a terminal, and elsewhere, ms. */
const PROGRESS_MS = 500;
const PLAIN_PROGRESS_MS = 10_000;
/** Host time after which signals are looked for, ms. */
const SIGNAL_MS = 100;

/** What the command needs of the host beside {@linkcode Io}. */
export interface VerifyIo extends Io {
  /** Writes a file. @throws {Error} If it cannot; the message says why. */
  writeText(path: string, text: string): void;
  /** Text of a file; `null` = there is none. @throws {Error} If it cannot be read. */
  readIfThere(path: string): string | null;
  /** Lets signals come in. @returns Whether the user wants it to end. */
  interrupted(): Promise<boolean>;
}

type SearchCommand = Extract<VerifyCommand, { kind: "search" }>;

/** Runs the command line `args`. @returns The exit code. */
export async function verify(
  args: readonly string[],
  io: VerifyIo,
): Promise<number> {
  try {
    const command = parseVerify(args);
    switch (command.kind) {
      case "help":
        io.out(verifyHelp());
        return EXIT_NOTHING;
      case "list":
        io.out(verifyList());
        return EXIT_NOTHING;
      case "replay":
        return replay(command.case, command.trace, io);
      case "search":
        return await searchAndReport(command, io);
    }
  } catch (error) {
    if (error instanceof OutputClosed) return EXIT_PIPE;
    if (!(error instanceof UsageError)) throw error;
    complain(io, error.message);
    return EXIT_USAGE;
  }
}

async function searchAndReport(
  command: SearchCommand,
  io: VerifyIo,
): Promise<number> {
  const { options, quiet } = command;
  const corpus = loadCorpus(command, io);
  const startMs = io.nowMs();
  const { result, interrupted } = await runSearch(command, corpus, io);
  if (!quiet) {
    clear(io);
    complain(io, progressLine(result, io.nowMs() - startMs));
  }
  const { found, schedules } = result;
  const count = `${schedules} schedule${schedules === 1 ? "" : "s"}`;
  const end = interrupted ? ", interrupted" : "";
  if (found === null) {
    const programs = options.policy === "dfs"
      ? `, ${result.exhausted} of ${result.sessions} programs exhausted`
      : "";
    io.out(
      `Nothing found in ${count}${programs} (seed ${options.seed})${end}\n`,
    );
  } else {
    io.out(`Found after ${count} (seed ${options.seed})\n\n`);
    tell(found.case, found.finding, io);
  }
  saveCorpus(command, corpus, io);
  if (found !== null) return EXIT_FOUND;
  return interrupted ? EXIT_INTERRUPTED : EXIT_NOTHING;
}

/** Runs it, session by session, with a look at the clock and for signals in between. */
async function runSearch(
  { options, iterations, seconds, quiet }: SearchCommand,
  corpus: Corpus,
  io: VerifyIo,
): Promise<{ result: SearchResult; interrupted: boolean }> {
  const startMs = io.nowMs();
  const more = () => io.nowMs() - startMs < seconds * 1000;
  const steps = searching(options, { iterations, more, corpus });
  const everyMs = io.errIsTerminal ? PROGRESS_MS : PLAIN_PROGRESS_MS;
  let shownMs = startMs;
  let lookedMs = startMs;
  for (;;) {
    const { done, value } = steps.next();
    if (done) return { result: value, interrupted: false };
    const now = io.nowMs();
    if (!quiet && now - shownMs >= everyMs) {
      shownMs = now;
      clear(io);
      const line = `${progressLine(value, now - startMs)}, nothing found yet`;
      if (io.errIsTerminal) io.err(line.slice(0, io.columns - 1));
      else complain(io, line);
    }
    if (now - lookedMs < SIGNAL_MS) continue;
    lookedMs = now;
    if (await io.interrupted()) {
      return { result: { ...value, found: null }, interrupted: true };
    }
  }
}

/** Makes `c` small, and prints it. */
function tell(c: Case, finding: Finding, io: VerifyIo): void {
  const small = minimiseCase(c, finding);
  // Told from the small case's own run: a replay prints the same.
  const { finding: again, lines } = retell(small, false);
  if (again !== null) {
    io.out(report(small, again, lines));
    return;
  }
  io.out(oopsText(finding));
  complain(
    io,
    "The finding does not show again when its schedule is replayed, which is a bug of vmaplab to report, with this command line",
  );
}

function replay(c: Case, trace: boolean, io: VerifyIo): number {
  const told = retell(c, trace);
  io.out(told.trace.map((line) => `${line}\n`).join(""));
  if (told.finding === null) {
    io.out("Nothing found: the schedule ran to its end\n");
    return EXIT_NOTHING;
  }
  io.out(report(c, told.finding, told.lines));
  return EXIT_FOUND;
}

/** The oops, what led to it, and how to see it again. */
function report(c: Case, finding: Finding, lines: readonly string[]): string {
  return [
    oopsText(finding),
    "\n",
    ...lines.map((line) => `${line}\n`),
    `\nFound by: ${finding.by}\n`,
    `deno task verify --replay=${formatCase(c)}\n`,
  ].join("");
}

/** The seed that an oops ends with is left out: the replay string says it all. */
function oopsText({ error }: Finding): string {
  return formatOops(oopsOf(error, exploreSpec(1, 1).clockHz, null)!);
}

function progressLine(progress: SearchProgress, ms: number): string {
  const { schedules, steps, sessions, exhausted } = progress;
  const rate = ms > 0 ? Math.round(schedules * 1000 / ms) : 0;
  const seen = progress.coverage > 0
    ? `coverage ${progress.coverage}, ${progress.corpus} programs kept`
    : `${exhausted} of ${sessions} programs exhausted`;
  return `${schedules} schedules in ${
    (ms / 1000).toFixed(1)
  } s on this host, ${rate}/s, ${
    Math.round(steps / Math.max(1, schedules))
  } steps each, ${seen}`;
}

/** Reads the file, and sees to it that it can be written before time is spent. */
function loadCorpus({ corpus: path }: SearchCommand, io: VerifyIo): Corpus {
  const corpus = new Corpus(new Coverage());
  if (path === null) return corpus;
  try {
    const text = io.readIfThere(path);
    if (text !== null) corpus.fromJSON(JSON.parse(text));
    io.writeText(path, text ?? textOf(corpus));
  } catch (error) {
    throw new UsageError(
      `Cannot use --corpus=${path}: ${(error as Error).message}`,
    );
  }
  return corpus;
}

function saveCorpus(
  { corpus: path }: SearchCommand,
  corpus: Corpus,
  io: VerifyIo,
): void {
  if (path === null) return;
  try {
    io.writeText(path, textOf(corpus));
  } catch (error) {
    complain(io, `Cannot write ${path}: ${(error as Error).message}`);
  }
}

function textOf(corpus: Corpus): string {
  return `${JSON.stringify(corpus.toJSON(), null, 1)}\n`;
}

function clear(io: VerifyIo): void {
  if (io.errIsTerminal) io.err("\r\x1b[K");
}

function complain(io: VerifyIo, message: string): void {
  io.err(`vmaplab: ${oneLine(message)}\n`);
}

function readIfThere(path: string): string | null {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

if (import.meta.main) {
  let stop = false;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => {
      // The second time it means it.
      if (stop) Deno.exit(EXIT_INTERRUPTED);
      stop = true;
    });
  }
  Deno.exit(
    await verify(Deno.args, {
      ...host,
      writeText: Deno.writeTextFileSync,
      readIfThere,
      interrupted: async () => {
        await new Promise((resolve) => setTimeout(resolve));
        return stop;
      },
    }),
  );
}
