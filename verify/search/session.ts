/**
 * Sessions: one machine and the rounds that it runs until it is given up. What
 * a round leaves behind makes the next one's states deep; booting once for many
 * rounds makes them cheap. A session follows from its seed alone (and from the
 * corpus, if there is one), so its rounds can be told again.
 */
import { Rng } from "../../arch/sim/random.ts";
import type { Chooser } from "../explore/chooser.ts";
import { Dfs } from "../explore/dfs.ts";
import { Pct } from "../explore/pct.ts";
import { RandomWalk } from "../explore/random_walk.ts";
import { RuleChooser } from "../explore/rule.ts";
import type { Coverage } from "../programs/coverage.ts";
import type { Corpus } from "../programs/corpus.ts";
import { generate, mutate } from "../programs/generate.ts";
import type { Program } from "../programs/program.ts";
import { isRefusal } from "../programs/interpret.ts";
import {
  type Case,
  type CaseMachine,
  exploreOptions,
  type Finding,
  findingOf,
  Lab,
  type Round,
} from "./case.ts";

/** How schedules are chosen. */
export type PolicyName = "mix" | "random" | "pct" | "dfs" | "rr";

/** What to search with. */
export interface SearchOptions {
  /** CPUs, 1 to 4. */
  readonly cpus: number;
  readonly vmap: string;
  readonly quirks: readonly string[];
  readonly sanitize: readonly string[];
  readonly policy: PolicyName;
  /** Ordering constraints of a bug (pct), preemptions of a schedule (dfs). */
  readonly depth: number;
  /** Kinds of allocations that may fail, by the names of the kernel parameters. */
  readonly faults: readonly string[];
  readonly seed: number;
}

/** What a session came to. */
export interface SessionResult {
  /** Rounds that were run. */
  readonly rounds: number;
  /** Operations on shared state, all rounds together. */
  readonly steps: number;
  /** Of `dfs`: whether all schedules of the program were run. */
  readonly exhausted: boolean;
  /** What was found, and the rounds that led there; `null` = nothing. */
  readonly found: { readonly finding: Finding; readonly case: Case } | null;
}

/** Sessions of a seed, at most; seeds are below 2^32. */
const SESSIONS = 2 ** 20;
/** Most allocations of a session that fail, in percent of those that may. */
const MAX_FAIL_PERCENT = 20;
/** Rounds of a session; of `dfs`, schedules of one program. */
const SESSION_ROUNDS = 128;
const DFS_ROUNDS = 2048;
/** Calls of a task in a program whose schedules are all to be run. */
const DFS_CALLS = 2;
/** Rounds that end clean, in percent. */
const CLEAN_PERCENT = 20;
/** Programs that are made from one in the corpus, in percent. */
const MUTATE_PERCENT = 50;
/** The sanitizer that costs as much as all others: every other session has it. */
const DEAREST = "kasan";
/** Sizes that machines come in: pages of vmalloc space, and lazy_max. */
const SPACES = [40, 64, 96];
const LAZY_MAX = [2, 12, 12, 1000];
/** Most CPUs that the kernel is built for. */
const NR_CPUS = 4;

/** Runs session number `nr`, of at most `limit` rounds; one that takes long asks `more` whether to go on. */
export function runSession(
  options: SearchOptions,
  nr: number,
  limit: number,
  coverage: Coverage | null,
  corpus: Corpus | null,
  more: () => boolean,
): SessionResult {
  const rng = new Rng(options.seed * SESSIONS + nr);
  return options.policy === "dfs"
    ? runDfs(options, rng, Math.min(limit, DFS_ROUNDS), more)
    : runRounds(
      options,
      rng,
      nr,
      Math.min(limit, SESSION_ROUNDS),
      coverage,
      corpus,
    );
}

/** All schedules of one small program, each on a machine that has just booted. */
function runDfs(
  options: SearchOptions,
  rng: Rng,
  limit: number,
  more: () => boolean,
): SessionResult {
  const machine = pickMachine(rng, options, 0);
  const { early, tasks } = generate(rng, machine.cpus, true);
  const program = {
    early,
    tasks: tasks.map((ops) => ops.slice(0, DFS_CALLS)),
  };
  const dfs = new Dfs({ preemptions: options.depth, ticks: 1 });
  const boot = exploreOptions(machine, program);
  let lab: Lab | null = null;
  let rounds = 0;
  while (!dfs.exhausted && rounds < limit && more()) {
    try {
      const ran = dfs.run(boot, (m) => {
        lab = new Lab(m, machine.faults);
        return lab.world.functions(program);
      }, () => lab!.clean());
      if (ran) rounds++;
    } catch (error) {
      rounds++;
      const finding = findingOf(error);
      if (lab !== null && isRefusal(error, (lab as Lab).world)) continue;
      const round = { program, events: dfs.events, clean: true };
      const found = { finding, case: { machine, rounds: [round] } };
      return { rounds, steps: dfs.counts.steps, exhausted: false, found };
    }
  }
  const { exhausted } = dfs;
  return { rounds, steps: dfs.counts.steps, exhausted, found: null };
}

function runRounds(
  options: SearchOptions,
  rng: Rng,
  nr: number,
  limit: number,
  coverage: Coverage | null,
  corpus: Corpus | null,
): SessionResult {
  const machine = pickMachine(rng, options, nr);
  const chooser = pickChooser(rng, options);
  const rounds: Round[] = [];
  let steps = 0;
  let lab: Lab | null = null;
  let program = generate(rng, machine.cpus, true);
  let found: SessionResult["found"] = null;
  try {
    rounds.push({ program, events: [], clean: false });
    lab = Lab.boot(machine, program);
    const { driver } = lab.machine;
    for (let i = 0; i < limit; i++) {
      if (i > 0) {
        program = nextProgram(rng, machine.cpus, corpus);
        rounds.push({ program, events: [], clean: false });
      }
      const clean = rng.below(100) < CLEAN_PERCENT;
      // To watch costs some percent: every other round will do.
      const watched = i % 2 === 0 ? coverage : null;
      driver.watcher = watched;
      watched?.begin();
      lab.run(program, chooser);
      steps += driver.step;
      rounds[i] = { program, events: lab.decisions, clean };
      if (watched !== null) {
        watched.state(lab.machine.k);
        // Kept: what it has reached is another start to go on from.
        if (watched.newBits > 0) {
          corpus?.add(program, options.policy, nr, watched.reached());
        }
      }
      if (clean) lab.clean();
    }
  } catch (error) {
    const finding = findingOf(error);
    if (lab === null || !isRefusal(error, lab.world)) {
      const last = rounds[rounds.length - 1];
      if (lab !== null && last.events.length === 0) {
        rounds[rounds.length - 1] = { ...last, events: lab.decisions };
      }
      found = { finding, case: { machine, rounds } };
    }
  }
  return { rounds: rounds.length, steps, exhausted: false, found };
}

function nextProgram(
  rng: Rng,
  tasks: number,
  corpus: Corpus | null,
): Program {
  if (corpus !== null && rng.below(100) < MUTATE_PERCENT) {
    const known = corpus.choose(rng);
    if (known !== null && known.program.tasks.length === tasks) {
      // What came before vmalloc_init() can come but once.
      return { ...mutate(rng, known.program), early: [] };
    }
  }
  return generate(rng, tasks);
}

/** @param nr Number of the session. */
function pickMachine(
  rng: Rng,
  options: SearchOptions,
  nr: number,
): CaseMachine {
  const { cpus, vmap, quirks, faults } = options;
  const sanitize = nr % 2 === 0 || options.sanitize.length === 1
    ? options.sanitize
    : options.sanitize.filter((name) => name !== DEAREST);
  return {
    cpus,
    nrCpus: cpus + rng.below(Math.max(1, NR_CPUS - cpus + 1)),
    pages: SPACES[rng.below(SPACES.length)],
    lazyMax: LAZY_MAX[rng.below(LAZY_MAX.length)],
    vmap,
    quirks,
    sanitize,
    faults,
  };
}

function pickChooser(rng: Rng, options: SearchOptions): Chooser {
  const { policy, depth, faults } = options;
  const own = new Rng(rng.nextU32());
  const failPercent = faults.length === 0 ? 0 : 1 + rng.below(MAX_FAIL_PERCENT);
  const pct = policy === "pct" || (policy === "mix" && rng.below(2) === 0);
  if (policy === "rr") return new RuleChooser();
  return pct
    ? new Pct(own, depth, failPercent)
    : new RandomWalk(own, failPercent);
}
