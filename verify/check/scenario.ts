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
import { show } from "./options.ts";
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
  /** Size of vmalloc space, pages: 2 to 65 536. Default: 64. */
  readonly pages?: number;
  /** Kernel parameters, `vmap` among them: the layer's name. */
  readonly params?: Partial<KernelParams>;
  /** Layers of one's own, by the name that `params.vmap` may have. */
  readonly layers?: Readonly<Record<string, VmapLayerFactory>>;
  /** Operations after which a run counts as endless, 1 to 10^9. Default: 20 000. */
  readonly maxSteps?: number;
}

/** Runs one scenario under schedules. */
export class ScenarioRunner {
  readonly machineOptions: ExploreOptions;
  /** Whether the options are not those that {@linkcode replay} takes by itself. */
  readonly #own: boolean;
  #now: ScheduleScenario;
  #clockHz = 0;
  /** What the scenario has thrown before its schedule began; `null` = nothing. */
  #mistake: { readonly thrown: unknown } | null = null;

  constructor(
    options: CheckOptions,
    readonly scenario: () => ScheduleScenario,
  ) {
    const { sanitize, cpus, pages, params, layers, maxSteps } = options;
    this.#own = [sanitize, cpus, pages, params, layers, maxSteps].some((o) =>
      o !== undefined
    );
    this.#now = makeScenario(scenario, cpus ?? 8);
    const { length } = this.#now.cpus;
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
      this.rethrowMistake(thrown);
      // Options that make no machine are no finding.
      if (m === null && !isFinding(thrown)) throw thrown;
      return { error: { thrown }, events, steps };
    }
    return { error: null, events, steps };
  }

  /** Sets the scenario up on `m`. */
  begin(m: ExploreMachine): readonly ThreadFunction[] {
    this.#clockHz = m.machine.spec.clockHz;
    try {
      this.#now = makeScenario(this.scenario, this.machineOptions.cpus!);
    } catch (thrown) {
      this.#mistake = { thrown };
      throw thrown;
    }
    const { before, cpus } = this.#now;
    if (before !== undefined) this.#runBefore(m, before);
    return cpus.map((fn, i) => (t) => {
      const steps: unknown = fn(t);
      if (isSteps(steps)) return steps;
      return this.#refuse(
        `cpus[${i}] must be a generator function: it has returned ${
          show(steps)
        }`,
      );
    });
  }

  /** An oops on the way is a finding, like any; an exception of JavaScript is the scenario's own. */
  #runBefore(
    m: ExploreMachine,
    before: NonNullable<ScheduleScenario["before"]>,
  ): void {
    let own: { readonly thrown: unknown } | null = null;
    const task = function* (t: Thread): Steps {
      try {
        const steps: unknown = before(t);
        if (isSteps(steps)) yield* steps;
        else if (steps !== undefined) {
          throw new TypeError(
            `Cannot check a scenario as before must return nothing, or be a generator function: it has returned ${
              show(steps)
            }`,
          );
        }
      } catch (thrown) {
        own = { thrown };
        throw thrown;
      }
    };
    try {
      m.run([task], new RuleChooser());
    } catch (error) {
      // A wild pointer in the kernel's code and one in the scenario's look the same.
      if (isFinding(error) && !((error as Error).cause instanceof TypeError)) {
        throw error;
      }
      this.#mistake = own ?? { thrown: error };
      throw this.#mistake.thrown;
    }
  }

  #refuse(what: string): never {
    const thrown = new TypeError(`Cannot check a scenario as ${what}`);
    this.#mistake = { thrown };
    throw thrown;
  }

  /** Throws what was thrown by the scenario itself, if `error` is what has come of it. */
  rethrowMistake(error: unknown): void {
    if (this.#mistake === null) return;
    const { thrown } = this.#mistake;
    this.#mistake = null;
    const { cause } = Object(error);
    if (error === thrown || cause === thrown) throw thrown;
  }

  /** Looks at what `m` has come to. */
  end(m: ExploreMachine): void {
    m.settle(new RuleChooser());
    m.check();
    const returned: unknown = this.#now.after?.(m.k);
    if (isSteps(returned) || returned instanceof Promise) {
      this.#refuse("after must be a plain function: nothing waits for it");
    }
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

/**
 * What `scenario` makes now.
 *
 * @param most CPUs of the machine.
 * @throws {TypeError} If it is no scenario.
 * @throws {RangeError} If it has too many functions, or none.
 */
function makeScenario(
  scenario: () => ScheduleScenario,
  most: number,
): ScheduleScenario {
  if (typeof scenario !== "function") {
    throw new TypeError(
      `Cannot check as scenario must be a function that makes one: current value is ${
        show(scenario)
      }`,
    );
  }
  const made = scenario();
  const head = "Cannot check a scenario as";
  const cpus: unknown = made?.cpus;
  if (!Array.isArray(cpus)) {
    throw new TypeError(
      `${head} cpus must be an array of functions: current value is ${
        show(made === undefined ? made : cpus)
      }`,
    );
  }
  if (!(cpus.length >= 1 && cpus.length <= most)) {
    throw new RangeError(
      `${head} cpus must have 1 to ${most} functions: current value has ${cpus.length}`,
    );
  }
  const functions = { before: made.before, after: made.after };
  cpus.forEach((fn, i) => Object.assign(functions, { [`cpus[${i}]`]: fn }));
  for (const [name, fn] of Object.entries(functions)) {
    if (typeof fn === "function") continue;
    if (fn === undefined && !name.startsWith("cpus")) continue;
    throw new TypeError(
      `${head} ${name} must be a function: current value is ${show(fn)}`,
    );
  }
  return made;
}

/** Whether a function has given what `yield*` takes. */
function isSteps(value: unknown): value is Steps<unknown> {
  return typeof value === "object" && value !== null &&
    typeof (value as Partial<Steps<unknown>>)[Symbol.iterator] === "function";
}

/** Whether a kernel has gone wrong, not a caller. */
export function isFinding(error: unknown): boolean {
  return error instanceof KernelBug || error instanceof Deadlock;
}
