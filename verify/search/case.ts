/**
 * A case: a machine, and the rounds that it runs, each a program and a schedule.
 * Everything that a finding needs to show again.
 */
import { Deadlock } from "../../arch/sim/engine.ts";
import type { Observer } from "../../arch/sim/observer.ts";
import { KernelBug } from "../../kernel/bug.ts";
import { SanitizerReport } from "../../kernel/sanitizers/report.ts";
import type { Chooser } from "../explore/chooser.ts";
import type { ScheduleEvent } from "../explore/event.ts";
import { ExploreMachine, type ExploreOptions } from "../explore/machine.ts";
import { Replay } from "../explore/replay.ts";
import { RuleChooser } from "../explore/rule.ts";
import type { Program } from "../programs/program.ts";
import { earlyFunction, isRefusal } from "../programs/interpret.ts";
import { World } from "../programs/world.ts";

/** The machine of a case and its kernel. */
export interface CaseMachine {
  /** CPUs, 1 to 8; programs have as many tasks. */
  readonly cpus: number;
  /** CPUs that the kernel is built for. */
  readonly nrCpus: number;
  /** Pages of vmalloc space. */
  readonly pages: number;
  /** Lazily freed pages that bring about a purge. */
  readonly lazyMax: number;
  /** Vmap layer. */
  readonly vmap: string;
  /** Historic bugs that are back. */
  readonly quirks: readonly string[];
  /** Sanitizers that are on. */
  readonly sanitize: readonly string[];
  /** Kinds of allocations that may fail, by the names of the kernel parameters. */
  readonly faults: readonly string[];
}

/** One round of a case. */
export interface Round {
  readonly program: Program;
  readonly events: readonly ScheduleEvent[];
  /** Ends with everything given back, grace periods over, and a look at the whole. */
  readonly clean: boolean;
}

/** See the file's head. */
export interface Case {
  readonly machine: CaseMachine;
  readonly rounds: readonly Round[];
}

/** What ended a case. */
export interface Finding {
  /** First line of its oops: findings of one headline are one bug. */
  readonly headline: string;
  /** Who found it: a sanitizer's name, or `"kernel"` for an oops of its own, or `"deadlock"`. */
  readonly by: string;
  readonly error: KernelBug | Deadlock;
}

/** What an explorer's machine for `machine` is made of; `program` is the first that it runs. */
export function exploreOptions(
  machine: CaseMachine,
  program: Program,
): ExploreOptions {
  return {
    cpus: machine.cpus,
    nrCpus: machine.nrCpus,
    pages: machine.pages,
    sanitize: machine.sanitize,
    params: {
      vmap: machine.vmap,
      vmap_quirk: new Set(machine.quirks),
      lazy_max: machine.lazyMax,
    },
    early: earlyFunction(program),
  };
}

/** A machine and the world of its programs; after a finding it is of no more use. */
export class Lab {
  readonly world: World;
  /** Decisions taken in the last round. */
  decisions: ScheduleEvent[] = [];
  readonly #rule = new RuleChooser();

  /** @param faults Kinds of allocations that may fail. */
  constructor(readonly machine: ExploreMachine, faults: readonly string[]) {
    this.world = new World(machine);
    if (faults.length === 0) return;
    const { driver, k } = machine;
    k.faults.decide = (_t, { name }) =>
      faults.includes(name) && driver.allocationFails();
  }

  /** One that has just booted. @throws What booting has found: see {@linkcode findingOf}. */
  static boot(machine: CaseMachine, program: Program): Lab {
    const options = exploreOptions(machine, program);
    return new Lab(new ExploreMachine(options), machine.faults);
  }

  /** Runs a round. @throws What it has found. */
  run(program: Program, chooser: Chooser): void {
    const { driver } = this.machine;
    const functions = this.world.functions(program);
    this.decisions = [];
    try {
      this.machine.run(functions, chooser);
    } finally {
      this.decisions = driver.events.slice();
    }
  }

  /** Gives everything back, ends grace periods, and looks at the whole. @throws What it has found. */
  clean(): void {
    this.machine.run(this.world.cleanup(), this.#rule);
    this.machine.settle(this.#rule);
    this.machine.check();
    const lost = this.world.leaks();
    if (lost.length > 0) {
      const sections = [{ title: "Lost in this round:", lines: lost }];
      const [t] = this.machine.tasks;
      throw new SanitizerReport(t, "leaks", "memory leak", sections);
    }
  }
}

/** What `error` says of the kernel. @throws `error`, if it is not the kernel's. */
export function findingOf(error: unknown): Finding {
  if (error instanceof Deadlock) {
    return { headline: error.headline, by: "deadlock", error };
  }
  if (!(error instanceof KernelBug)) throw error;
  const by = (error as { sanitizer?: string }).sanitizer ?? "kernel";
  return { headline: error.headline, by, error };
}

/** Called before each round of a case; what it returns watches the round. */
export type Watch = (lab: Lab, round: number) => Observer;

/** Runs a case. @returns What ends it; `null` = nothing does. */
export function runCase(c: Case, watch?: Watch): Finding | null {
  const { events } = c.rounds[c.rounds.length - 1];
  return runWith(c, new Replay(events), watch).finding;
}

/**
 * Runs a case, its last round under `chooser` instead of its schedule.
 *
 * @returns What ends it; decisions and operations of the last round.
 */
export function runWith(
  c: Case,
  chooser: Chooser,
  watch?: Watch,
): { finding: Finding | null; events: ScheduleEvent[]; steps: number } {
  let lab: Lab | null = null;
  let finding: Finding | null = null;
  try {
    lab = Lab.boot(c.machine, c.rounds[0].program);
    const last = c.rounds.length - 1;
    for (let i = 0; i <= last; i++) {
      const { program, events, clean } = c.rounds[i];
      lab.machine.driver.watcher = watch?.(lab, i) ?? null;
      lab.run(program, i === last ? chooser : new Replay(events));
      if (clean) lab.clean();
    }
  } catch (error) {
    const ended = findingOf(error);
    if (lab === null || !isRefusal(error, lab.world)) finding = ended;
  }
  const steps = lab?.machine.driver.step ?? 0;
  return { finding, events: lab?.decisions ?? [], steps };
}
