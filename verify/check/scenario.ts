/**
 * A scenario and the machine it runs on: what the checks of check.ts share. Each
 * run has a machine that has just booted, so a schedule is all that a run
 * depends on.
 */
import type { Steps } from "../../arch/asm.ts";
import { Deadlock } from "../../arch/sim/engine.ts";
import { KernelBug } from "../../kernel/bug.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import type { ThreadFunction } from "../../kernel/kthread.ts";
import type { VmapLayerFactory } from "../../kernel/mm/vmap_layer.ts";
import type { KernelParams } from "../../kernel/params.ts";
import { SANITIZERS } from "../../kernel/sanitizers/index.ts";
import type { Thread } from "../../kernel/thread.ts";
import type { Chooser } from "../explore/chooser.ts";
import type { ScheduleEvent } from "../explore/event.ts";
import { ExploreMachine, type ExploreOptions } from "../explore/machine.ts";
import { minimiseEvents } from "../explore/minimise.ts";
import { Replay } from "../explore/replay.ts";
import { RuleChooser } from "../explore/rule.ts";
import { sameFinding, ScheduleError } from "./schedule_error.ts";

/** What runs under one schedule. */
export interface ScheduleScenario {
  /** What each CPU does: number i begins on CPU i. 1 to 8 of them. */
  readonly cpus: readonly ThreadFunction[];
  /** Runs on CPU 0 before the others start, under no schedule: makes what they share. */
  readonly before?: (t: Thread) => Steps<unknown> | void;
  /** Looks at what has come out, when all have ended and grace periods are over. Throws if it is wrong. */
  readonly after?: (k: Kernel) => void;
}

/** Options of all checks: the machine, and what is watched. */
export interface CheckOptions {
  /** CPUs of the machine, 1 to 8. Default: as many as the scenario has functions, and two at least. */
  readonly cpus?: number;
  /** Names of the sanitizers that are on. Default: all. */
  readonly sanitize?: readonly string[];
  /** Size of vmalloc space, pages. Default: 64. */
  readonly pages?: number;
  /** Kernel parameters, `vmap` among them: the layer's name. */
  readonly params?: Partial<KernelParams>;
  /** Layers of one's own, by the name that `params.vmap` may have. */
  readonly layers?: Readonly<Record<string, VmapLayerFactory>>;
  /** Operations after which a run counts as endless. Default: 20 000. */
  readonly maxSteps?: number;
}

/** Runs one scenario under schedules. */
export class ScenarioRunner {
  readonly machineOptions: ExploreOptions;
  /** Whether the options are not those that {@linkcode replay} takes by itself. */
  readonly #own: boolean;
  #now: ScheduleScenario;
  #clockHz = 0;

  constructor(
    options: CheckOptions,
    readonly scenario: () => ScheduleScenario,
  ) {
    const { sanitize, cpus, pages, params, layers, maxSteps } = options;
    this.#own = [sanitize, cpus, pages, params, layers, maxSteps].some((o) =>
      o !== undefined
    );
    this.#now = scenario();
    const { length } = this.#now.cpus;
    if (!(length >= 1 && length <= (cpus ?? 8))) {
      throw new RangeError(
        `Cannot check a scenario as cpus must have 1 to ${
          cpus ?? 8
        } functions: current value has ${length}`,
      );
    }
    this.machineOptions = {
      sanitize: sanitize ?? SANITIZERS.map(({ name }) => name),
      cpus: cpus ?? Math.max(2, length),
      pages,
      params,
      layers,
      maxSteps,
    };
  }

  /** Runs the scenario under the schedule of `chooser`. @returns What has ended it, if it did not end by itself. */
  once(chooser: Chooser): {
    readonly error: { readonly thrown: unknown } | null;
    readonly events: ScheduleEvent[];
    readonly steps: number;
  } {
    let m: ExploreMachine | null = null;
    let events: ScheduleEvent[] = [];
    let steps = 0;
    try {
      m = new ExploreMachine(this.machineOptions);
      const functions = this.begin(m);
      try {
        m.run(functions, chooser);
      } finally {
        events = m.driver.events.slice();
        steps = m.driver.step;
      }
      this.end(m);
    } catch (thrown) {
      // Options that make no machine are no finding.
      if (m === null && !isFinding(thrown)) throw thrown;
      return { error: { thrown }, events, steps };
    }
    return { error: null, events, steps };
  }

  /** Sets the scenario up on `m`. */
  begin(m: ExploreMachine): readonly ThreadFunction[] {
    this.#clockHz = m.machine.spec.clockHz;
    this.#now = this.scenario();
    const { before, cpus } = this.#now;
    if (before !== undefined) {
      m.run([function* (t) {
        const steps = before(t);
        if (steps !== undefined) yield* steps;
      }], new RuleChooser());
    }
    return cpus;
  }

  /** Looks at what `m` has come to. */
  end(m: ExploreMachine): void {
    m.settle(new RuleChooser());
    m.check();
    this.#now.after?.(m.k);
  }

  /** Ends the check with the shortest schedule that shows the same. */
  found(
    error: unknown,
    events: readonly ScheduleEvent[],
    how: string,
  ): never {
    const again = (list: readonly ScheduleEvent[]) => {
      const result = this.once(new Replay(list));
      return result.error !== null && sameFinding(result.error.thrown, error)
        ? result.error
        : null;
    };
    if (again(events) === null) {
      throw this.toError(
        error,
        events,
        `${how}\nIt does not show again: does the scenario keep state from one call to the next?`,
      );
    }
    const least = minimiseEvents(events, (list) => again(list) !== null);
    throw this.toError(again(least)!.thrown, least, how);
  }

  /** What is thrown. */
  toError(
    error: unknown,
    events: readonly ScheduleEvent[],
    found: string,
  ): ScheduleError {
    return new ScheduleError({
      error,
      events,
      found,
      clockHz: this.#clockHz,
      again: `replay(SCHEDULE, scenario${this.#own ? ", options" : ""})`,
    });
  }
}

/** Whether a kernel has gone wrong, not a caller. */
export function isFinding(error: unknown): boolean {
  return error instanceof KernelBug || error instanceof Deadlock;
}
