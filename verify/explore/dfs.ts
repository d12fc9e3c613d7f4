/**
 * Exhaustive search: all schedules of one program from one state, depth first,
 * by running it again and again on machines that have just booted. Each run
 * repeats the decisions of the one before up to the last point where there is
 * something else to try.
 *
 * A *transition* is what a CPU does from one decision to the next: one operation
 * on shared state and the plain code after it. Before each, the choices are
 *
 *     go(cpu)         without taking an interrupt
 *     interrupt(cpu)  takes the first that is on its way, and begins to handle it
 *     tick(cpu)       a timer tick, and what the kernel does in it; a few a run
 *     migrate(a, b)   their tasks change places; a few a run
 *
 * Going on is free while it lasts; so is any choice once who ran has to stop.
 * Any other choice is a *preemption*, of which a run has at most so many
 * (Musuvathi and Qadeer, "Iterative context bounding for systematic testing of
 * multithreaded programs", PLDI 2007).
 *
 * Reduction: sleep sets (Godefroid, "Partial-order methods for the verification
 * of concurrent systems", LNCS 1032, 1996). Once choice x has been searched at a
 * point, it sleeps while y is searched there, until something happens that x
 * depends on: y, x from there would be x, y again, in another order. Why that is
 * sound here:
 *
 * - A sleeping transition has been executed from this point or from an earlier
 *   one, and all that has been executed since was independent of it. So it would
 *   touch exactly what it touched then: its footprint is known, not guessed.
 * - What CPUs share is reached through cache lines; what is not, is guarded by a
 *   lock whose line is in the footprint, or belongs to one CPU (CONTRIBUTING.md).
 *   The exceptions are things of their own in a footprint (footprint.ts), or
 *   depend on everything, as ticks and migrations do. Any access counts; a spin
 *   counts as a read of the line that it waits for, so what wakes somebody up
 *   depends on his last look.
 * - Sanitizers judge by the order of what they are told. What they are told of
 *   several CPUs' doings, and of which the order matters, is such a thing too
 *   (footprint.ts says what else they may be told).
 * - Virtual time does not choose. It differs between two orders of independent
 *   transitions, and so may code that asks for the time, or waits for a timer.
 *
 * A bound and sleep sets do not go together by themselves: x, y may lie within
 * the bound at the price of more preemptions than y, x takes, and be cut off
 * (Coons, Musuvathi and McKinley, "Bounded partial-order reduction", OOPSLA
 * 2013). So a choice is put to sleep in two cases only:
 *
 * - The search below it was complete: no choice was cut off by the bound there,
 *   or because of what sleeps for the second reason.
 * - It was to go on, for free. Let x be that, y a preemption, and y .. x .. a run
 *   in which x sleeps until its turn. Then x, y .. costs no more: it stops the
 *   same CPU, later by x; the switch back to it is made where x was, or saved.
 *   That run comes earlier in the search, or one that costs no more stands for
 *   it, which comes earlier still.
 *
 * Not covered: what the driver does not choose here (TLB fills and evictions,
 * failing allocations); variables of JavaScript that functions of several CPUs
 * share without saying so (`ExploreMachine.shared`); the order of lines in the
 * kernel log.
 */

import type { Chooser } from "./chooser.ts";
import {
  advance,
  type Budget,
  ChoiceKind,
  openPoint,
  type Point,
} from "./dfs_point.ts";
import type { Driver } from "./driver.ts";
import type { ScheduleEvent } from "./event.ts";
import { FootprintRecorder } from "./footprint_recorder.ts";
import {
  ExploreMachine,
  type ExploreOptions,
  type TaskFunction,
} from "./machine.ts";
import { canInterrupt } from "./moves.ts";

/** Options of {@linkcode Dfs}. */
export interface DfsOptions {
  /** Most preemptions of a run; `Infinity` = as many as there are. Default: 2. */
  readonly preemptions?: number;
  /** Most timer ticks of a run. Default: 0. */
  readonly ticks?: number;
  /** Most migrations of a run. Default: 0. */
  readonly migrations?: number;
  /** Whether to leave out runs that only differ in the order of independent transitions. Default: true. */
  readonly reduce?: boolean;
}

/** What a search has come to so far. */
export interface DfsCounts {
  /** Runs that came to their end. */
  executions: number;
  /** Choices that were left out because they slept, and runs given up because all did. */
  pruned: number;
  /** Choices that were left out because of the bound on preemptions. */
  bounded: number;
  /** Operations on shared state, all runs together. */
  steps: number;
}

/** Thrown to give a run up. */
class AllAsleep extends Error {
  override name = "AllAsleep";
}

/** See the file's head. */
export class Dfs implements Chooser {
  due = Infinity;
  /** The machine of the last run; `null` = there was none. */
  machine: ExploreMachine | null = null;
  /** Decisions of the last run. */
  events: readonly ScheduleEvent[] = [];
  /** What it has come to so far. */
  readonly counts: DfsCounts = {
    executions: 0,
    pruned: 0,
    bounded: 0,
    steps: 0,
  };
  readonly #bounds: Budget;
  readonly #reduce: boolean;
  readonly #path: Point[] = [];
  /** Points of this run so far. */
  #depth = 0;
  #recorder!: FootprintRecorder;
  #exhausted = false;
  /** Who ran had to stop, so that any choice is free. */
  #stopped = false;
  /** The rule's choice stands, unless another is made. */
  #byRule = false;

  constructor(options: DfsOptions = {}) {
    this.#bounds = {
      preemptions: options.preemptions ?? 2,
      ticks: options.ticks ?? 0,
      migrations: options.migrations ?? 0,
    };
    this.#reduce = options.reduce ?? true;
  }

  /** Whether no schedule is left. While it is `false` there may be none, if all that are left turn out to be such as have been run. */
  get exhausted(): boolean {
    return this.#exhausted;
  }

  /**
   * Runs the next schedule, on a machine of its own, if there is one:
   * `while (dfs.run(...)) runs++;`
   *
   * @param program What each CPU does; called anew for each run.
   * @param after Called when the run has come to its end.
   * @returns Whether it has run one. `false` = there was none left, `after` has
   * not been called, and there is nothing to count.
   * @throws What the run, or `after`, has found: that was a run too. The next call
   * goes on with the next schedule.
   */
  run(
    options: ExploreOptions,
    program: (m: ExploreMachine) => readonly TaskFunction[],
    after: (m: ExploreMachine) => void = () => {},
  ): boolean {
    while (!this.#exhausted) {
      const recorder = new FootprintRecorder();
      this.events = [];
      const m = new ExploreMachine({
        ...options,
        coherence: recorder.coherence,
      });
      this.machine = m;
      const functions = program(m);
      recorder.attach(m);
      this.#recorder = recorder;
      try {
        m.run(functions, this);
      } catch (error) {
        if (error instanceof AllAsleep) continue;
        throw error;
      } finally {
        this.#close();
        this.counts.steps += m.driver.step;
        this.events = m.driver.events.slice();
        this.#exhausted = !advance(this.#path, this.#reduce);
      }
      this.counts.executions++;
      after(m);
      return true;
    }
    return false;
  }

  begin(): void {
    this.#depth = 0;
    this.due = 0;
    this.#stopped = true;
  }

  blocked(d: Driver): null {
    // The choice is made in decide(), which comes at once.
    this.due = d.step;
    this.#stopped = true;
    this.#byRule = true;
    return null;
  }

  decide(d: Driver): void {
    this.#close();
    const { current } = d;
    const point = this.#depth < this.#path.length
      ? this.#path[this.#depth]
      : this.#open(d);
    this.#depth++;
    const choice = point.choices[point.at];
    this.due = choice.kind === ChoiceKind.MIGRATE ? d.step : d.step + 1;
    const rule = this.#byRule ? current : null;
    const wasStopped = this.#stopped;
    this.#byRule = false;
    const { cpus } = d.k.machine.engine;
    const cpu = cpus[choice.a];
    switch (choice.kind) {
      case ChoiceKind.GO:
        if (rule === null && !wasStopped && cpu === current) break;
        if (canInterrupt(cpu)) d.hold(cpu);
        else if (cpu !== rule) d.run(cpu);
        break;
      case ChoiceKind.INTERRUPT:
        if (cpu !== rule) d.run(cpu);
        break;
      case ChoiceKind.TICK:
        this.#recorder.everything();
        d.tick(cpu);
        break;
      case ChoiceKind.MIGRATE:
        this.#recorder.everything();
        d.migrate(cpu, cpus[choice.b]);
        return; // whoever had to stop still has
    }
    this.#stopped = false;
  }

  /** The transition under way has ended: what has it touched? */
  #close(): void {
    if (this.#depth === 0) return;
    const point = this.#path[this.#depth - 1];
    const footprint = this.#recorder.take(point.choices[point.at].a);
    point.footprint ??= footprint;
  }

  /** A point that no run has come to before. */
  #open(d: Driver): Point {
    const path = this.#path;
    const above = path.length === 0 ? null : path[path.length - 1];
    const point = openPoint(
      d,
      above,
      this.#stopped,
      this.#bounds,
      this.counts,
    );
    if (point.choices.length === 0) {
      if (above !== null && !point.complete) above.completeBelow = false;
      throw new AllAsleep();
    }
    path.push(point);
    return point;
  }
}
