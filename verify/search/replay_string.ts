/**
 * Cases as short strings, for `--replay=`:
 *
 *     2/c2n4p64l12/full-blocks-skipped/all/PROGRAM:SCHEDULE=/PROGRAM:SCHEDULE/1a2b
 *
 * version; machine (CPUs, NR_CPUS, pages, lazy_max, faults); quirks and, if it is
 * not the default, the layer; sanitizers; rounds, those that end clean with `=`; a
 * check word, by which one that has been cut off or mistyped is known. Who changes
 * a string by hand writes `-` instead of that. No character means anything to a
 * shell.
 */
import { nearest } from "../../arch/sim/nearest.ts";
import { QUIRKS } from "../../kernel/mm/quirks.ts";
import { VMAP_LAYERS } from "../../kernel/mm/vmalloc.ts";
import { SANITIZERS } from "../../kernel/sanitizers/index.ts";
import { EventKind, formatEvents, parseEvents } from "../explore/event.ts";
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

/** The layer that need not be named, and what comes before the name of another. */
const REWRITE = "rewrite";
const LAYER = "vmap-";
/** Sizes that a machine may have; the kernel itself goes further. */
const MAX_NR_CPUS = 4096;
const MIN_PAGES = 16;
const MAX_PAGES = 4096;

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
  const layer = vmap === REWRITE ? [] : [`${LAYER}${vmap}`];
  const text = [
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
  return `${text}/${checkWord(text)}`;
}

/** FNV-1a of `text`, 20 bits of it, in base 36. */
function checkWord(text: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return ((hash ^ (hash >>> 12)) & 0xfffff).toString(36).padStart(4, "0");
}

/**
 * The inverse of {@linkcode formatCase}.
 *
 * @throws {ReplayError} If `text` is no case of this version.
 */
export function parseCase(text: string): Case {
  const [version, shape, what, sanitize, ...rest] = text.split("/");
  if (!/^\d+$/.test(version)) {
    throw new ReplayError(
      `Cannot replay "${
        short(text)
      }" as it must begin with a version: expected what verify printed after --replay=, such as ${SCHEDULE_VERSION}/c2n4p64l12/..`,
    );
  }
  if (Number(version) !== SCHEDULE_VERSION) {
    throw new ReplayError(
      `Cannot replay a string of version ${version} as this is version ${SCHEDULE_VERSION}: use the vmaplab that printed it`,
    );
  }
  const check = rest.pop();
  const body = text.slice(0, text.lastIndexOf("/"));
  if (rest.length === 0 || (check !== "-" && check !== checkWord(body))) {
    throw new ReplayError(
      `Cannot replay "${
        short(text)
      }" as its last word does not fit the rest: it has been cut off or changed (who changes it on purpose writes - there)`,
    );
  }
  const machine = parseMachine(shape, words(what), words(sanitize));
  return {
    machine,
    rounds: rest.map((round, i) => parseRound(round, i, machine)),
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
  inRange("NR_CPUS", nrCpus, cpus, MAX_NR_CPUS);
  inRange("pages", pages, MIN_PAGES, MAX_PAGES);
  const faults = FAULTS.filter(({ letter }) => match[5]?.includes(letter));
  const layer = what.find((word) => word.startsWith(LAYER));
  const vmap = layer === undefined ? REWRITE : layer.slice(LAYER.length);
  known("layer", [vmap], Object.keys(VMAP_LAYERS));
  const quirks = what.filter((word) => word !== layer);
  known("quirk", quirks, QUIRKS.map(({ name }) => name));
  if (quirks.length > 0 && vmap !== REWRITE) {
    throw new ReplayError(
      `Cannot replay with the quirk "${
        quirks[0]
      }" as it is one of ${REWRITE}: the layer is ${vmap}`,
    );
  }
  const names = SANITIZERS.map(({ name }) => name);
  const all = sanitize.length === 1 && sanitize[0] === "all";
  if (!all) known("sanitizer", sanitize, names);
  return {
    cpus,
    nrCpus,
    pages,
    lazyMax,
    vmap,
    quirks,
    sanitize: all ? names : sanitize,
    faults: faults.map(({ name }) => name),
  };
}

/** Reads round `i`, and checks it against the machine. */
function parseRound(text: string, i: number, machine: CaseMachine): Round {
  const match = /^([^:]*):([^=]*)(=?)$/.exec(text);
  if (match === null) {
    throw new ReplayError(
      `Cannot replay the round "${text}": expected PROGRAM:SCHEDULE`,
    );
  }
  let round: Round;
  try {
    round = {
      program: parseProgram(match[1]),
      events: parseEvents(match[2]),
      clean: match[3] !== "",
    };
  } catch (error) {
    if (error instanceof RangeError) throw new ReplayError(error.message);
    throw error;
  }
  const { early, tasks } = round.program;
  const { cpus } = machine;
  if (tasks.length > cpus) {
    throw new ReplayError(
      `Cannot replay the round "${text}" as it has ${tasks.length} tasks: the machine has ${cpus} CPUs`,
    );
  }
  if (i > 0 && early.length > 0) {
    throw new ReplayError(
      `Cannot replay the round "${text}" as calls before vmalloc_init() belong to the first round`,
    );
  }
  const wrong = round.events.find(({ kind, a, b }) =>
    kind !== EventKind.FAIL &&
    (a >= cpus || (kind === EventKind.MIGRATE && b >= cpus))
  );
  if (wrong !== undefined) {
    throw new ReplayError(
      `Cannot replay the round "${text}" as it names a CPU that the machine has not: it has ${cpus}`,
    );
  }
  return round;
}

function inRange(what: string, value: number, min: number, max: number): void {
  if (value >= min && value <= max) return;
  throw new ReplayError(
    `Cannot replay a machine as ${what} must be ${min} to ${max}: current value is ${value}`,
  );
}

function known(
  what: string,
  given: readonly string[],
  names: readonly string[],
): void {
  for (const [i, name] of given.entries()) {
    if (given.indexOf(name) !== i) {
      throw new ReplayError(
        `Cannot replay with the ${what} "${name}" as it is named twice`,
      );
    }
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
