/**
 * `deno task verify:exam`: the long exam. Each quirk is searched for with five
 * seeds, a minute each at most; the table goes to standard output, or, with
 * --write, into docs/VERIFY.md.
 *
 * Seconds are those of the host, one core: what else runs on it shows.
 */
import { type Quirk, quirkYears } from "../../kernel/mm/quirks.ts";
import { EXAM, examine, type ExamResult } from "../search/exam.ts";

const SEEDS = [1, 2, 3, 4, 5];
/** Host time for one seed of one quirk, ms. */
const LIMIT_MS = 60_000;
const DOC = new URL("../../docs/VERIFY.md", import.meta.url);
const BEGIN = "<!-- exam: begin -->\n";
const END = "<!-- exam: end -->\n";

interface Timed extends ExamResult {
  readonly ms: number;
}

function timed(quirk: Quirk, seed: number, minimise: boolean): Timed {
  const start = performance.now();
  let ms = 0;
  const more = () => (ms = performance.now() - start) < LIMIT_MS;
  return {
    ...examine(quirk, seed, { iterations: Infinity, more }, minimise),
    ms,
  };
}

function row(quirk: Quirk): string {
  const runs = SEEDS.map((seed, i) => timed(quirk, seed, i === 0));
  const found = runs.filter(({ by }) => by !== null);
  const replay = runs[0].replay;
  const sanitizers = [...new Set(found.map(({ by }) => by))].join(", ");
  const { id, name, fixedBy, fixedIn } = quirk;
  const years = quirkYears(quirk);
  return [
    id,
    `\`${name}\``,
    fixedBy,
    fixedIn,
    years === null ? "-" : years.toFixed(1),
    found.length === SEEDS.length
      ? sanitizers
      : `${sanitizers} (${found.length} of ${SEEDS.length} seeds)`,
    secondsText(median(runs.map(({ ms }) => ms))),
    String(median(runs.map(({ schedules }) => schedules))),
    replay === null ? "-" : `\`${replay}\``,
  ].join(" | ");
}

function secondsText(ms: number): string {
  return ms < 10 ? "< 0.01" : (ms / 1000).toFixed(2);
}

/** Of an odd number of values. */
function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}

if (import.meta.main) {
  const rows = EXAM.map((quirk) => {
    const text = `| ${row(quirk)} |`;
    console.error(text);
    return text;
  });
  const table = [
    "| Id | Quirk | Fixed by | In | Years | Found by | Seconds | Schedules | Replay |",
    "| -- | ----- | -------- | -- | ----- | -------- | ------- | --------- | ------ |",
    ...rows,
    "",
  ].join("\n");
  if (!Deno.args.includes("--write")) {
    console.log(table);
  } else {
    const text = Deno.readTextFileSync(DOC);
    const [before, rest] = text.split(BEGIN);
    const [, after] = rest.split(END);
    Deno.writeTextFileSync(DOC, `${before}${BEGIN}\n${table}\n${END}${after}`);
  }
}
