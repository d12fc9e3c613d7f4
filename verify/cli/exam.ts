/**
 * `deno task verify:exam`: the long exam. Each quirk is searched for with five
 * seeds, a minute each at most; the table goes to standard output, or, with
 * --write, into docs/VERIFY.md.
 *
 * Seconds are those of the host, one core: what else runs on it shows.
 */
import { readFlags } from "../../boot/cli/flags.ts";
import { host } from "../../boot/cli/host.ts";
import { UsageError } from "../../boot/cli/usage.ts";
import { type Quirk, quirkYears } from "../../kernel/mm/quirks.ts";
import { EXAM, examine, type ExamResult } from "../search/exam.ts";

const SEEDS = [1, 2, 3, 4, 5];
/** Host time for one seed of one quirk, ms. */
const LIMIT_MS = 60_000;
const DOC = new URL("../../docs/VERIFY.md", import.meta.url);
const BEGIN = "<!-- exam: begin -->\n";
const END = "<!-- exam: end -->\n";
const HEADER = [
  "| Id | Quirk | Fixed by | In | Years | Found by | Seconds | Schedules | Replay |",
  "| -- | ----- | -------- | -- | ----- | -------- | ------- | --------- | ------ |",
];
const HELP = `Usage: deno task verify:exam [--write]

Searches for each historic bug with seeds 1 to 5, a minute each at most, and
prints the table of docs/VERIFY.md; with --write, into that file.

Exit code: 0 all found by each seed, 1 not all, 2 the command line is wrong.
`;

interface Timed extends ExamResult {
  readonly ms: number;
}

function timed(quirk: Quirk, seed: number, minimise: boolean): Timed {
  const start = host.nowMs();
  let ms = 0;
  const more = () => (ms = host.nowMs() - start) < LIMIT_MS;
  return {
    ...examine(quirk, seed, { iterations: Infinity, more }, minimise),
    ms,
  };
}

/** @returns The row, and whether some seed has found nothing. */
function row(quirk: Quirk): { text: string; missed: boolean } {
  const runs = SEEDS.map((seed, i) => timed(quirk, seed, i === 0));
  const found = runs.filter(({ by }) => by !== null);
  const replay = runs[0].replay;
  const sanitizers = [...new Set(found.map(({ by }) => by))].join(", ");
  const { id, name, fixedBy, fixedIn } = quirk;
  const years = quirkYears(quirk);
  const missed = found.length < SEEDS.length;
  const cells = [
    id,
    `\`${name}\``,
    fixedBy,
    fixedIn,
    years === null ? "-" : years.toFixed(1),
    missed
      ? `${sanitizers} (${found.length} of ${SEEDS.length} seeds)`
      : sanitizers,
    secondsText(median(runs.map(({ ms }) => ms))),
    String(median(runs.map(({ schedules }) => schedules))),
    replay === null ? "-" : `\`${replay}\``,
  ];
  return { text: `| ${cells.join(" | ")} |`, missed };
}

function secondsText(ms: number): string {
  return ms < 10 ? "< 0.01" : (ms / 1000).toFixed(2);
}

/** Of an odd number of values. */
function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}

/** Runs the exam. @returns The exit code. */
function exam(args: readonly string[]): number {
  let write: boolean;
  try {
    const flags = readFlags(args, [], ["write", "help"]);
    if (flags.help) {
      host.out(HELP);
      return 0;
    }
    write = flags.write;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    host.err(`vmaplab: ${error.message}\n`);
    return 2;
  }
  const rows = EXAM.map((quirk) => {
    const { text, missed } = row(quirk);
    host.err(`${text}\n`);
    return { text, missed };
  });
  const table = [...HEADER, ...rows.map(({ text }) => text), ""].join("\n");
  if (write) {
    const [before, rest] = Deno.readTextFileSync(DOC).split(BEGIN);
    const [, after] = rest.split(END);
    const text = `${before}${BEGIN}\n${table}\n${END}${after}`;
    Deno.writeTextFileSync(DOC, text);
  } else {
    host.out(table);
  }
  const missed = rows.filter((row) => row.missed).length;
  if (missed > 0) host.err(`vmaplab: ${missed} quirks were not always found\n`);
  return missed > 0 ? 1 : 0;
}

if (import.meta.main) Deno.exit(exam(Deno.args));
