/**
 * Cases as short strings, for `--replay=`:
 *
 *     1/c2n4p64l12/full-blocks-skipped/all/PROGRAM:SCHEDULE=/PROGRAM:SCHEDULE
 *
 * version; machine; quirks and, if it is not the default, the layer; sanitizers;
 * rounds, those that end clean with `=`. No character means anything to a shell.
 */
import { nearest } from "../../arch/sim/nearest.ts";
import { QUIRKS } from "../../kernel/mm/quirks.ts";
import { SANITIZERS } from "../../kernel/sanitizers/index.ts";
import { formatEvents, parseEvents } from "../explore/event.ts";
import { SCHEDULE_VERSION } from "../explore/version.ts";
import { formatProgram, parseProgram } from "../programs/program.ts";
import type { Case, CaseMachine, Round } from "./case.ts";

/** Kinds of allocations that may fail, and their letters. */
export const FAULTS: readonly {
  readonly name: string;
  readonly letter: string;
}[] = [
  { name: "failslab", letter: "s" },
  { name: "fail_page_alloc", letter: "p" },
  { name: "fail_page_table", letter: "t" },
];

/** A string that is no case, or of another version. The message is one line. */
export class ReplayError extends RangeError {
  /** Name shown before the message. */
  override name = "ReplayError";
}

/** `c` as a string. */
export function formatCase({ machine, rounds }: Case): string {
  const { cpus, nrCpus, pages, lazyMax, vmap, quirks, sanitize } = machine;
  const faults = FAULTS.map(({ name, letter }) =>
    machine.faults.includes(name) ? letter : ""
  ).join("");
  const all = SANITIZERS.every(({ name }) => sanitize.includes(name));
  const layer = vmap === "rewrite" ? [] : [`vmap-${vmap}`];
  return [
    String(SCHEDULE_VERSION),
    `c${cpus}n${nrCpus}p${pages}l${lazyMax}${
      faults === "" ? "" : `f${faults}`
    }`,
    [...layer, ...quirks].join("+"),
    all ? "all" : sanitize.join("+"),
    ...rounds.map(({ program, events, clean }) =>
      `${formatProgram(program)}:${formatEvents(events)}${clean ? "=" : ""}`
    ),
  ].join("/");
}

/**
 * The inverse of {@linkcode formatCase}.
 *
 * @throws {ReplayError} If `text` is no case of this version.
 */
export function parseCase(text: string): Case {
  const [version, shape, what, sanitize, ...rounds] = text.split("/");
  if (!/^\d+$/.test(version)) {
    throw new ReplayError(
      `Cannot replay "${
        short(text)
      }" as it must begin with a version: expected what verify printed after --replay=, such as ${SCHEDULE_VERSION}/c2n4p64l12/...`,
    );
  }
  if (Number(version) !== SCHEDULE_VERSION) {
    throw new ReplayError(
      `Cannot replay a string of version ${version} as this is version ${SCHEDULE_VERSION}: use the vmaplab that printed it`,
    );
  }
  if (rounds.length === 0) {
    throw new ReplayError(
      `Cannot replay "${
        short(text)
      }" as it has no rounds: it may have been cut off`,
    );
  }
  return {
    machine: parseMachine(shape, words(what), words(sanitize)),
    rounds: rounds.map(parseRound),
  };
}

function parseMachine(
  shape: string,
  what: readonly string[],
  sanitize: readonly string[],
): CaseMachine {
  const match = /^c([1-8])n(\d{1,4})p(\d{1,4})l(\d{1,9})(?:f([spt]+))?$/.exec(
    shape,
  );
  if (match === null) {
    throw new ReplayError(
      `Cannot replay a machine "${shape}": expected CPUs, NR_CPUS, pages and lazy_max, such as c2n4p64l12`,
    );
  }
  const [cpus, nrCpus, pages, lazyMax] = match.slice(1, 5).map(Number);
  const faults = FAULTS.filter(({ letter }) => match[5]?.includes(letter));
  const layer = what.find((word) => word.startsWith("vmap-"));
  const quirks = what.filter((word) => word !== layer);
  known("quirk", quirks, QUIRKS.map(({ name }) => name));
  const names = SANITIZERS.map(({ name }) => name);
  const on = sanitize[0] === "all" ? names : sanitize;
  known("sanitizer", on, names);
  return {
    cpus,
    nrCpus,
    pages,
    lazyMax,
    vmap: layer === undefined ? "rewrite" : layer.slice("vmap-".length),
    quirks,
    sanitize: on,
    faults: faults.map(({ name }) => name),
  };
}

function parseRound(text: string): Round {
  const match = /^([^:]*):([^=]*)(=?)$/.exec(text);
  if (match === null) {
    throw new ReplayError(
      `Cannot replay the round "${text}": expected PROGRAM:SCHEDULE`,
    );
  }
  try {
    return {
      program: parseProgram(match[1]),
      events: parseEvents(match[2]),
      clean: match[3] !== "",
    };
  } catch (error) {
    if (error instanceof RangeError) throw new ReplayError(error.message);
    throw error;
  }
}

function known(
  what: string,
  given: readonly string[],
  names: readonly string[],
): void {
  for (const name of given) {
    if (names.includes(name)) continue;
    throw new ReplayError(
      `Cannot replay with the ${what} "${name}" as there is no such ${what}: did you mean "${
        nearest(name, names)
      }"?`,
    );
  }
}

function words(text: string | undefined): string[] {
  return text === undefined || text === "" ? [] : text.split("+");
}

function short(text: string): string {
  return text.length <= 40 ? text : `${text.slice(0, 40)}...`;
}
