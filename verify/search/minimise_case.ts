/**
 * Makes a case smaller while it still shows the same finding: fewer rounds, then
 * smaller programs, then fewer decisions.
 *
 * The same headline counts as the same finding. A program that is cut changes
 * what every later decision falls on; so a cut that loses the finding is tried
 * again under a few schedules of its own before it is given up.
 */
import { Rng } from "../../arch/sim/random.ts";
import { EventKind } from "../explore/event.ts";
import { minimiseEvents } from "../explore/minimise.ts";
import { Pct } from "../explore/pct.ts";
import { RandomWalk } from "../explore/random_walk.ts";
import { Replay } from "../explore/replay.ts";
import { countCalls, type Program } from "../programs/program.ts";
import { shrinkCandidates } from "../programs/shrink.ts";
import { type Case, type Finding, runCase, runWith } from "./case.ts";

/** Runs of cases that one minimisation may take. */
const BUDGET = 4000;
/** Of these, for schedules of a single switch. */
const SINGLE_BUDGET = 600;
/** Schedules that a program which has been cut is tried under. */
const TRIES = 24;

/** See the file's head. @returns The smaller case; `c` itself if it does not fail. */
export function minimiseCase(c: Case, finding: Finding): Case {
  return new Minimiser(finding.headline).minimise(c);
}

class Minimiser {
  #left = BUDGET;

  constructor(readonly headline: string) {}

  minimise(c: Case): Case {
    if (!this.#fails(c)) return c;
    let best = this.#fewerRounds(c);
    best = this.#fewerDecisions(best);
    for (let size = Infinity; this.#left > 0 && sizeOf(best) < size;) {
      size = sizeOf(best);
      best = this.#smallerPrograms(best);
      best = this.#fewerRounds(best); // some have no calls left
      best = this.#fewerDecisions(best);
      best = this.#plainerDecisions(best);
    }
    return best;
  }

  #fails(c: Case): boolean {
    this.#left--;
    return runCase(c)?.headline === this.headline;
  }

  /** The last round alone, if that will do; else as few as will. */
  #fewerRounds(c: Case): Case {
    const { rounds } = c;
    for (let n = 1; n < rounds.length; n *= 2) {
      const tail = { ...c, rounds: rounds.slice(-n) };
      if (this.#fails(tail)) {
        c = tail;
        break;
      }
    }
    const kept = minimiseEvents(
      c.rounds,
      (some) =>
        some.length > 0 && this.#left > 0 &&
        this.#fails({ ...c, rounds: some }),
    );
    c = this.#joinClean({ ...c, rounds: kept });
    // A round that need not end clean does not.
    c.rounds.forEach((round, i) => {
      if (!round.clean) return;
      const dirty = this.#withRound(c, i, { clean: false });
      if (this.#fails(dirty)) c = dirty;
    });
    return c;
  }

  /** A round without calls that ends clean: the one before may do so instead. */
  #joinClean(c: Case): Case {
    for (let i = c.rounds.length - 1; i > 0; i--) {
      const { program, clean } = c.rounds[i];
      if (!clean || countCalls(program) > 0) continue;
      const joined = this.#withRound(c, i - 1, { clean: true });
      const shorter = { ...c, rounds: joined.rounds.toSpliced(i, 1) };
      if (this.#left > 0 && this.#fails(shorter)) c = shorter;
    }
    return c;
  }

  #fewerDecisions(c: Case): Case {
    for (let i = 0; i < c.rounds.length; i++) {
      const events = minimiseEvents(
        c.rounds[i].events,
        (some) =>
          this.#left > 0 &&
          this.#fails(this.#withRound(c, i, { events: some })),
      );
      c = this.#withRound(c, i, { events });
    }
    return c;
  }

  /**
   * The last round under a single switch, if there is one that will do; else with
   * a switch in the place of each decision that is anything else.
   */
  #plainerDecisions(c: Case): Case {
    const i = c.rounds.length - 1;
    const { events } = c.rounds[i];
    const plain = events.every(({ kind }) => kind === EventKind.SWITCH);
    if (events.length === 0 || (events.length === 1 && plain)) return c;
    const { cpus } = c.machine;
    const { steps } = runWith(c, new Replay(events));
    const until = Math.max(0, this.#left - SINGLE_BUDGET);
    for (let at = 0; at <= steps; at++) {
      for (let a = 0; a < cpus && this.#left > until; a++) {
        const event = { at, kind: EventKind.SWITCH, a, b: 0 };
        const single = this.#withRound(c, i, { events: [event] });
        if (this.#fails(single)) return single;
      }
    }
    events.forEach(({ at, kind, a }, n) => {
      if (kind === EventKind.SWITCH || this.#left <= 0) return;
      const others = c.rounds[i].events.slice();
      others[n] = { at, kind: EventKind.SWITCH, a, b: 0 };
      const plainer = this.#withRound(c, i, { events: others });
      if (this.#fails(plainer)) c = plainer;
    });
    return c;
  }

  #smallerPrograms(c: Case): Case {
    for (let i = 0; i < c.rounds.length; i++) {
      for (let cut = true; cut && this.#left > 0;) {
        cut = false;
        for (const program of shrinkCandidates(c.rounds[i].program)) {
          if (this.#left <= 0) break;
          const smaller = this.#tryProgram(c, i, program);
          if (smaller === null) continue;
          c = smaller;
          cut = true;
          break;
        }
      }
    }
    return c;
  }

  /** `c` with another program in round `i`, if some schedule still shows the finding. */
  #tryProgram(c: Case, i: number, program: Program): Case | null {
    const same = this.#withRound(c, i, { program });
    if (this.#fails(same)) return same;
    // Another schedule of an early round changes all that follows: the last only.
    if (i !== c.rounds.length - 1) return null;
    for (let seed = 0; seed < TRIES && this.#left > 0; seed++) {
      this.#left--;
      const rng = new Rng(seed);
      const chooser = seed % 2 === 0 ? new RandomWalk(rng) : new Pct(rng, 3);
      const run = runWith(same, chooser);
      if (run.finding?.headline !== this.headline) continue;
      const found = this.#withRound(same, i, { events: run.events });
      if (this.#fails(found)) return found;
    }
    return null;
  }

  #withRound(
    c: Case,
    i: number,
    change: Partial<Case["rounds"][number]>,
  ): Case {
    const rounds = c.rounds.slice();
    rounds[i] = { ...rounds[i], ...change };
    return { ...c, rounds };
  }
}

/** What a minimisation brings down: calls and decisions. */
function sizeOf({ rounds }: Case): number {
  return rounds.reduce(
    (sum, { program, events }) => sum + countCalls(program) + events.length,
    rounds.length,
  );
}
