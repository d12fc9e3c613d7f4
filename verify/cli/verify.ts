/**
 * `deno task verify`: searches for bugs, or replays one.
 *
 * Standard output is a pure function of the arguments, but for how far a search
 * with a time limit has come; rates and progress go to standard error.
 */
import { oopsOf } from "../../report/oops_of.ts";
import { host } from "../../boot/cli/host.ts";
import { type Io, OutputClosed } from "../../boot/cli/io.ts";
import { oneLine, UsageError } from "../../boot/cli/usage.ts";
import { formatOops } from "../../report/oops.ts";
import { Corpus } from "../programs/corpus.ts";
import { Coverage } from "../programs/coverage.ts";
import { describeProgram } from "../programs/program.ts";
import {
  type Case,
  type Finding,
  type Lab,
  runCase,
  type Watch,
} from "../search/case.ts";
import { minimiseCase } from "../search/minimise_case.ts";
import { formatCase } from "../search/replay_string.ts";
import { search, type SearchProgress } from "../search/search.ts";
import { exploreSpec } from "../explore/machine.ts";
import { StepTrace } from "../explore/trace.ts";
import { verifyHelp, verifyList } from "./verify_help.ts";
import { parseVerify, type VerifyCommand } from "./verify_options.ts";

const EXIT_NOTHING = 0;
const EXIT_FOUND = 1;
const EXIT_USAGE = 2;
const EXIT_PIPE = 141;
/** Host time between two lines of progress, ms. */
const PROGRESS_MS = 500;

/** What the command needs of the host beside {@linkcode Io}. */
export interface VerifyIo extends Io {
  /** Writes a file. @throws {Error} If it cannot; the message says why. */
  writeText(path: string, text: string): void;
  /** Text of a file; `null` = there is none. @throws {Error} If it cannot be read. */
  readIfThere(path: string): string | null;
}

type SearchCommand = Extract<VerifyCommand, { kind: "search" }>;

/** Runs the command line `args`. @returns The exit code. */
export function verify(args: readonly string[], io: VerifyIo): number {
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
        return replay(command, io);
      case "search":
        return searchAndReport(command, io);
    }
  } catch (error) {
    if (error instanceof OutputClosed) return EXIT_PIPE;
    if (!(error instanceof UsageError)) throw error;
    io.err(`vmaplab: ${oneLine(error.message)}\n`);
    return EXIT_USAGE;
  }
}

function searchAndReport(command: SearchCommand, io: VerifyIo): number {
  const { options, iterations, seconds, quiet } = command;
  const corpus = loadCorpus(command, io);
  const startMs = io.nowMs();
  let shownMs = startMs;
  const more = (progress: SearchProgress): boolean => {
    const now = io.nowMs();
    if (!quiet && io.errIsTerminal && now - shownMs >= PROGRESS_MS) {
      shownMs = now;
      io.err(`\r\x1b[K${progressLine(progress, now - startMs)}`);
    }
    return now - startMs < seconds * 1000;
  };
  const result = search(options, { iterations, more, corpus });
  if (!quiet) {
    io.err(
      `${io.errIsTerminal ? "\r\x1b[K" : ""}vmaplab: ${
        progressLine(result, io.nowMs() - startMs)
      }\n`,
    );
  }
  if (command.corpus !== null) {
    io.writeText(
      command.corpus,
      `${JSON.stringify(corpus.toJSON(), null, 1)}\n`,
    );
  }
  const { found } = result;
  if (found === null) {
    io.out(
      `Nothing found in ${result.schedules} schedules (seed ${options.seed})\n`,
    );
    return EXIT_NOTHING;
  }
  io.out(
    `Found after ${result.schedules} schedules (seed ${options.seed})\n\n`,
  );
  const small = minimiseCase(found.case, found.finding);
  // Told from the small case's own run: a replay prints the same.
  io.out(report(small, runCase(small) ?? found.finding));
  return EXIT_FOUND;
}

function replay(
  command: Extract<VerifyCommand, { kind: "replay" }>,
  io: VerifyIo,
): number {
  const { case: c, trace } = command;
  const traces: StepTrace[] = [];
  const watch: Watch = (lab: Lab) => {
    const steps = new StepTrace(lab.machine);
    traces.push(steps);
    return steps;
  };
  const finding = runCase(c, trace ? watch : undefined);
  traces.forEach((steps, i) => {
    io.out(`Round ${i + 1}:\n${steps.lines().join("\n")}\n\n`);
  });
  if (finding === null) {
    io.out("Nothing found: the schedule ran to its end\n");
    return EXIT_NOTHING;
  }
  io.out(report(c, finding));
  return EXIT_FOUND;
}

/** The oops, the program, and how to see it again. */
function report(c: Case, finding: Finding): string {
  const oops = oopsOf(finding.error, exploreSpec(1, 1).clockHz, null)!;
  const n = c.rounds.length;
  const rounds = c.rounds.flatMap(({ program, clean }, i) => {
    const calls = describeProgram(program);
    return [
      n === 1 ? "Program:" : `Program, round ${i + 1} of ${n}:`,
      ...calls.map((call) => `  ${call}`),
      ...(clean ? ["  afterwards: all is given back, grace periods end"] : []),
    ];
  });
  return [
    formatOops(oops),
    ...rounds.map((line) => `${line}\n`),
    `\nFound by: ${finding.by}\n`,
    `deno task verify --replay=${formatCase(c)}\n`,
  ].join("");
}

function progressLine(
  { schedules, steps, coverage, corpus }: SearchProgress,
  ms: number,
): string {
  const rate = ms > 0 ? Math.round(schedules * 1000 / ms) : 0;
  return `${schedules} schedules in ${
    (ms / 1000).toFixed(1)
  } s on this host, ${rate}/s, ${
    Math.round(steps / Math.max(1, schedules))
  } steps each, coverage ${coverage}, ${corpus} programs kept`;
}

function loadCorpus({ corpus: path }: SearchCommand, io: VerifyIo): Corpus {
  const corpus = new Corpus(new Coverage());
  if (path === null) return corpus;
  try {
    const text = io.readIfThere(path);
    if (text !== null) corpus.fromJSON(JSON.parse(text));
  } catch (error) {
    throw new UsageError(
      `Cannot use --corpus=${path}: ${(error as Error).message}`,
    );
  }
  return corpus;
}

if (import.meta.main) {
  Deno.exit(verify(Deno.args, {
    ...host,
    writeText: (path, text) => Deno.writeTextFileSync(path, text),
    readIfThere: (path) => {
      try {
        return Deno.readTextFileSync(path);
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) return null;
        throw error;
      }
    },
  }));
}
