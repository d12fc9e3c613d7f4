/**
 * Programs that reached something new, to be changed and tried again. Those that
 * reach what few rounds do are chosen more often, those that have been chosen
 * often less so; when there are too many, the most ordinary one goes.
 */
import type { Rng } from "../../arch/sim/random.ts";
import type { Coverage } from "./coverage.ts";
import { formatProgram, parseProgram, type Program } from "./program.ts";

/** Version of the file's form. */
const VERSION = 1;
/** Programs drawn, of which the best is chosen. */
const DRAWS = 2;
/** What a program from a file, of which nobody knows what it reaches, counts as: neither rare nor ordinary. */
const UNKNOWN = 16;
/** How much of what a program reached is remembered. */
const REMEMBERED = 8;
/** An entry's rarity is looked up every so many times that it is drawn: it changes slowly, and looking is what choosing costs. */
const REFRESH = 4;

/** One program. */
export interface CorpusEntry {
  readonly program: Program;
  /** Schedule that showed it: policy by name and seed. */
  readonly policy: string;
  readonly seed: number;
  /** The rarest of what it reached; empty = read from a file and not run yet. */
  readonly reached: Uint16Array;
}

/** An entry, and how it has fared. */
interface Kept extends CorpusEntry {
  /** How often it has been chosen, and drawn. */
  chosen: number;
  drawn: number;
  /** Rounds that reached the rarest of what it did, up to 255, when last looked up. */
  rarest: number;
}

/** See the file's head. */
export class Corpus {
  readonly #entries: Kept[] = [];
  readonly #texts: Set<string> = new Set();

  /**
   * An empty one.
   *
   * @param capacity Most programs, at least 1.
   */
  constructor(readonly coverage: Coverage, readonly capacity = 1000) {
    if (!(Number.isInteger(capacity) && capacity >= 1)) {
      throw new RangeError(
        `Cannot make a corpus as capacity must be >= 1: current value is ${capacity}`,
      );
    }
  }

  /** Programs in it. */
  get size(): number {
    return this.#entries.length;
  }

  /** In the order of their coming. */
  get entries(): readonly CorpusEntry[] {
    return this.#entries;
  }

  /** Keeps `program`, unless it is there already. If there are too many then, the most ordinary one goes. */
  add(
    program: Program,
    policy: string,
    seed: number,
    reached: Uint16Array = new Uint16Array(0),
  ): void {
    const text = formatProgram(program);
    if (this.#texts.has(text)) return;
    this.#texts.add(text);
    const { map } = this.coverage;
    const rarest = reached.toSorted((a, b) => map[a] - map[b] || a - b)
      .slice(0, REMEMBERED);
    this.#entries.push({
      program,
      policy,
      seed,
      reached: rarest,
      chosen: 0,
      drawn: 0,
      rarest: rarest.length === 0 ? UNKNOWN : map[rarest[0]],
    });
    if (this.#entries.length > this.capacity) this.#drop();
  }

  /** One to be changed; `null` = there is none. */
  choose(rng: Rng): CorpusEntry | null {
    const entries = this.#entries;
    if (entries.length === 0) return null;
    let best = entries[rng.below(entries.length)];
    let lowest = this.#score(best);
    for (let i = 1; i < DRAWS; i++) {
      const entry = entries[rng.below(entries.length)];
      const score = this.#score(entry);
      if (score >= lowest) continue;
      best = entry;
      lowest = score;
    }
    best.chosen++;
    return best;
  }

  /** For a file. */
  toJSON(): unknown {
    return {
      version: VERSION,
      programs: this.#entries.map(({ program, policy, seed }) => ({
        program: formatProgram(program),
        policy,
        seed,
      })),
    };
  }

  /**
   * Adds what {@linkcode Corpus.toJSON} gave.
   *
   * @throws {RangeError} If it is something else.
   */
  fromJSON(json: unknown): void {
    if (!isRecord(json) || !Array.isArray(json.programs)) {
      throw new RangeError(
        'Cannot read a corpus as it has no list "programs"',
      );
    }
    if (json.version !== VERSION) {
      throw new RangeError(
        `Cannot read a corpus as its version must be ${VERSION}: current value is ${
          JSON.stringify(json.version)
        }`,
      );
    }
    const read = json.programs.map(readEntry);
    for (const { program, policy, seed } of read) {
      this.add(program, policy, seed);
    }
  }

  /** Low = rare, and seldom chosen. */
  #score(entry: Kept): number {
    if (entry.drawn++ % REFRESH === 0) this.#lookUp(entry);
    return entry.rarest * (1 + entry.chosen);
  }

  #lookUp(entry: Kept): void {
    const { map } = this.coverage;
    const { reached } = entry;
    if (reached.length === 0) return;
    let rarest = 255;
    for (let i = 0; i < reached.length; i++) {
      const rounds = map[reached[i]];
      if (rounds < rarest) rarest = rounds;
    }
    entry.rarest = rarest;
  }

  /** The newest stays. */
  #drop(): void {
    const entries = this.#entries;
    let worst = 0;
    let most = -1;
    for (let i = 0; i < entries.length - 1; i++) {
      const { rarest } = entries[i];
      if (rarest > most) {
        worst = i;
        most = rarest;
      }
    }
    const [dropped] = entries.splice(worst, 1);
    this.#texts.delete(formatProgram(dropped.program));
  }
}

function readEntry(json: unknown, i: number): CorpusEntry {
  const reached = new Uint16Array(0);
  if (isRecord(json)) {
    const { program, policy, seed } = json;
    if (
      typeof program === "string" && typeof policy === "string" &&
      Number.isSafeInteger(seed) && (seed as number) >= 0
    ) {
      return {
        program: parseProgram(program),
        policy,
        seed: seed as number,
        reached,
      };
    }
  }
  throw new RangeError(
    `Cannot read a corpus as entry ${i} is not a program with its policy and its seed`,
  );
}

function isRecord(json: unknown): json is Record<string, unknown> {
  return typeof json === "object" && json !== null;
}
