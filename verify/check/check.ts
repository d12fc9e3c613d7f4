/**
 * Checks kernel code of one's own under many schedules, in any test runner.
 *
 * A scenario says what the CPUs do; a check runs it again and again on a small
 * machine that has just booted, each time under another schedule: who runs next
 * at each operation on shared state, when interrupts and ticks arrive, when
 * tasks migrate, when a TLB fills unasked. What goes wrong, an oops, a report of
 * a sanitizer or an assertion of the scenario, is thrown as a
 * {@linkcode ScheduleError}, with as few decisions as still show it.
 *
 * Virtual time decides nothing here, so a race of two instructions is as easy
 * to hit as one of two milliseconds. Not modelled: memory that is weakly ordered.
 */
import { Rng } from "../../arch/sim/random.ts";
import type { Chooser } from "../explore/chooser.ts";
import { Dfs } from "../explore/dfs.ts";
import { Pct } from "../explore/pct.ts";
import { RandomWalk } from "../explore/random_walk.ts";
import { Replay } from "../explore/replay.ts";
import {
  type CheckOptions,
  isFinding,
  ScenarioRunner,
  type ScheduleScenario,
} from "./scenario.ts";
import { validateOptions } from "./options.ts";
import { parseSchedule } from "./schedule_error.ts";

/** Options of {@linkcode checkRandom}. */
export interface CheckRandomOptions extends CheckOptions {
  /** Schedules, 1 to 10^9. Default: 1000. */
  readonly iterations?: number;
  /** Seed, a safe integer, not negative: the same one gives the same schedules. Default: 1. */
  readonly seed?: number;
}

/** Options of {@linkcode checkPct}. */
export interface CheckPctOptions extends CheckRandomOptions {
  /** Ordering constraints that a bug takes, 1 to 100: one more than the switches in the wrong place. Default: 3. */
  readonly depth?: number;
}

/** Options of {@linkcode checkDfs}. */
export interface CheckDfsOptions extends CheckOptions {
  /** Times that a CPU which could go on is stopped, at most, in one schedule: 0 to 100; `Infinity` = no bound. Default: 2. */
  readonly preemptions?: number;
  /** Timer ticks in one schedule, at most: 0 to 100. Default: 0. */
  readonly ticks?: number;
  /** Migrations in one schedule, at most: 0 to 100. Default: 0. */
  readonly migrations?: number;
  /** Schedules after which it gives up: 1 to 10^9; `Infinity` = no limit. Default: `Infinity`. */
  readonly iterations?: number;
}

/** What a check has done that found nothing. */
export interface CheckResult {
  /** Schedules that were run. */
  readonly schedules: number;
  /** Whether there is no other schedule within the bounds. */
  readonly exhausted: boolean;
  /** Operations on shared state, all schedules together. */
  readonly steps: number;
  /** Schedules, or beginnings of some, that were left out because they are others in a different order. */
  readonly pruned: number;
}

/**
 * Runs `scenario` under random schedules.
 *
 * @param options How many, from which seed, on what machine.
 * @param scenario Called anew for each schedule, and once before: state that
 * functions share belongs inside of it.
 * @throws {ScheduleError} At the first schedule under which something is wrong.
 * @throws {RangeError} If an option is out of its range.
 * @throws {TypeError} If there is no such option, or `scenario` makes no scenario.
 *
 * @example A per-CPU counter without preempt_disable()
 * ```ts
 * import {
 *   Cell,
 *   checkRandom,
 *   load,
 *   preempt_disable,
 *   preempt_enable,
 *   replay,
 *   ScheduleError,
 *   type ScheduleScenario,
 *   store,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const counting = (safe: boolean) => (): ScheduleScenario => {
 *   const hits = [0, 1].map((cpu) => new Cell(`hits of CPU ${cpu}`, 0));
 *   return {
 *     cpus: hits.map(() =>
 *       function* (t) {
 *         if (safe) preempt_disable(t);
 *         const mine = hits[t.cpu.id];
 *         const n = yield* load(t, mine);
 *         // Without: migrated here, it writes another CPU's counter.
 *         yield* store(t, mine, n + 1);
 *         if (safe) preempt_enable(t);
 *       }
 *     ),
 *     after: () => assertEquals(hits[0].value + hits[1].value, 2),
 *   };
 * };
 * checkRandom({ iterations: 200, seed: 1 }, counting(true));
 *
 * const error = assertThrows(
 *   () => checkRandom({ iterations: 200, seed: 1 }, counting(false)),
 *   ScheduleError,
 * );
 * assertThrows(
 *   () => replay(error.schedule, counting(false)),
 *   ScheduleError,
 *   error.headline,
 * );
 * ```
 */
export function checkRandom(
  options: CheckRandomOptions,
  scenario: () => ScheduleScenario,
): CheckResult {
  validateOptions("checkRandom", options);
  const { seed = 1 } = options;
  return iterate(
    "checkRandom",
    options,
    scenario,
    new RandomWalk(new Rng(seed)),
  );
}

/**
 * Runs `scenario` under schedules that keep few CPUs waiting in the right places:
 * probabilistic concurrency testing. A bug that takes `depth` ordering
 * constraints is found with a probability of at least `1 / (cpus * steps **
 * (depth - 1))` in each, `steps` the operations of a schedule.
 *
 * @param options How many, from which seed, how deep, on what machine.
 * @param scenario Called anew for each schedule.
 * @throws {ScheduleError} At the first schedule under which something is wrong.
 * @throws {RangeError} If an option is out of its range.
 * @throws {TypeError} If there is no such option, or `scenario` makes no scenario.
 *
 * @example
 * ```ts
 * import { checkPct, vmalloc, vstore } from "@vmaplab/vmaplab";
 * import { assertEquals, assertNotEquals } from "@std/assert";
 *
 * const { schedules } = checkPct({ iterations: 50, depth: 3 }, () => {
 *   const got: number[] = [];
 *   return {
 *     cpus: [0, 1].map((i) =>
 *       function* (t) {
 *         got[i] = yield* vmalloc(t, 4096);
 *         yield* vstore(t, got[i], 8, i);
 *       }
 *     ),
 *     after: () => assertNotEquals(got[0], got[1]),
 *   };
 * });
 * assertEquals(schedules, 50);
 * ```
 */
export function checkPct(
  options: CheckPctOptions,
  scenario: () => ScheduleScenario,
): CheckResult {
  validateOptions("checkPct", options);
  const { seed = 1, depth = 3 } = options;
  return iterate("checkPct", options, scenario, new Pct(new Rng(seed), depth));
}

/**
 * Runs `scenario` under all schedules with few preemptions, but for those that
 * differ only in the order of what does not depend on one another. Interrupts
 * arrive at any operation; ticks and migrations are choices as many times as the
 * options say. TLBs fill on demand alone, allocations do not fail.
 *
 * How many there are grows fast with the operations and with each preemption;
 * two are enough for most bugs.
 *
 * @param options What is bounded, on what machine.
 * @param scenario Called anew for each schedule. It must do the same each time,
 * and may share nothing between CPUs but what lies on cache lines.
 * @returns `exhausted` says whether that was all.
 * @throws {ScheduleError} At the first schedule under which something is wrong.
 * @throws {RangeError} If an option is out of its range.
 * @throws {TypeError} If there is no such option, or `scenario` makes no scenario.
 *
 * @example
 * ```ts
 * import {
 *   Cell,
 *   checkDfs,
 *   load,
 *   spin_lock,
 *   spin_unlock,
 *   Spinlock,
 *   store,
 * } from "@vmaplab/vmaplab";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const result = checkDfs({ preemptions: 2 }, () => {
 *   const jobs = new Cell("jobs", 0);
 *   let lock: Spinlock;
 *   return {
 *     before: (t) => void (lock = new Spinlock(t.k, "jobs_lock")),
 *     cpus: [0, 1].map(() =>
 *       function* (t) {
 *         yield* spin_lock(t, lock);
 *         yield* store(t, jobs, (yield* load(t, jobs)) + 1);
 *         yield* spin_unlock(t, lock);
 *       }
 *     ),
 *     after: () => assertEquals(jobs.value, 2),
 *   };
 * });
 * assert(result.exhausted && result.schedules > 1);
 * ```
 */
export function checkDfs(
  options: CheckDfsOptions,
  scenario: () => ScheduleScenario,
): CheckResult {
  validateOptions("checkDfs", options);
  const { iterations = Infinity } = options;
  const dfs = new Dfs(options);
  const { counts } = dfs;
  const run = new ScenarioRunner(options, scenario);
  let more = true;
  try {
    while (more && counts.executions < iterations) {
      more = dfs.run(
        run.machineOptions,
        (m) => run.begin(m),
        (m) => run.end(m),
      );
    }
  } catch (error) {
    run.rethrowMistake(error);
    if (dfs.machine === null && !isFinding(error)) throw error;
    run.found(
      error,
      dfs.events,
      `Found by checkDfs, schedule ${counts.executions + 1}`,
    );
  }
  const { executions, steps, pruned } = counts;
  return { schedules: executions, exhausted: !more, steps, pruned };
}

/**
 * Runs `scenario` under one schedule.
 *
 * @param schedule Of a {@linkcode ScheduleError} that this scenario gave.
 * @param scenario Called once.
 * @param options Of the check that gave the schedule, as far as they concern the
 * machine; the others do not matter.
 * @throws {ScheduleError} If something is wrong, as it was then.
 * @throws {RangeError} If `schedule` is none, or one of another version, or an
 * option is out of its range.
 * @throws {TypeError} If there is no such option, or `scenario` makes no scenario.
 *
 * @example
 * ```ts
 * import {
 *   Cell,
 *   checkRandom,
 *   replay,
 *   ScheduleError,
 *   type ScheduleScenario,
 *   store,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const scenario = (): ScheduleScenario => {
 *   const last = new Cell("last", -1);
 *   return {
 *     cpus: [0, 1].map((i) => (t) => store(t, last, i)),
 *     after: () => assertEquals(last.value, 1),
 *   };
 * };
 * const options = { sanitize: [] };
 * const found = assertThrows(
 *   () => checkRandom(options, scenario),
 *   ScheduleError,
 * );
 * assertThrows(
 *   () => replay(found.schedule, scenario, options),
 *   ScheduleError,
 *   found.headline,
 * );
 * ```
 */
export function replay(
  schedule: string,
  scenario: () => ScheduleScenario,
  options: CheckOptions = {},
): CheckResult {
  validateOptions("replay", options);
  const events = parseSchedule(schedule);
  const run = new ScenarioRunner(options, scenario);
  const { error, steps } = run.once(new Replay(events));
  if (error !== null) {
    throw run.toError(error.thrown, events, "");
  }
  return { schedules: 1, exhausted: false, steps, pruned: 0 };
}

/** Runs as many schedules as `options` say, or up to the first finding. */
function iterate(
  name: string,
  options: CheckRandomOptions,
  scenario: () => ScheduleScenario,
  chooser: Chooser,
): CheckResult {
  const { iterations = 1000, seed = 1 } = options;
  const run = new ScenarioRunner(options, scenario);
  let total = 0;
  for (let i = 1; i <= iterations; i++) {
    const { error, steps, events } = run.once(chooser);
    total += steps;
    if (error !== null) {
      run.found(
        error.thrown,
        events,
        `Found by ${name}, seed ${seed}, schedule ${i}`,
      );
    }
  }
  return { schedules: iterations, exhausted: false, steps: total, pruned: 0 };
}
