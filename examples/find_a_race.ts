/**
 * A per-CPU counter that forgets preempt_disable(): right on one CPU, right in
 * nearly every run on two. A check finds the schedule under which it is not, and
 * says how to see it again.
 *
 *     deno run examples/find_a_race.ts
 */
import {
  Cell,
  checkDfs,
  checkRandom,
  enter,
  ksym,
  leave,
  load,
  preempt_disable,
  preempt_enable,
  replay,
  ScheduleError,
  type ScheduleScenario,
  type Steps,
  store,
  type Thread,
} from "../mod.ts";

const COUNT_HIT = ksym("count_hit");

/** Adds one to the counter of the CPU that it runs on. */
function* count_hit(t: Thread, hits: readonly Cell[], safe: boolean): Steps {
  enter(t, COUNT_HIT);
  if (safe) preempt_disable(t);
  const mine = hits[t.cpu.id];
  const n = yield* load(t, mine);
  // Here the scheduler may move this thread: `mine` is another CPU's then.
  yield* store(t, mine, n + 1);
  if (safe) preempt_enable(t);
  leave(t);
}

/** Two threads count three hits each. */
const counting = (safe: boolean) => (): ScheduleScenario => {
  const hits = [0, 1].map((cpu) => new Cell(`hits of CPU ${cpu}`, 0));
  const task = function* (t: Thread): Steps {
    for (let i = 0; i < 3; i++) yield* count_hit(t, hits, safe);
  };
  return {
    cpus: [task, task],
    after() {
      const sum = hits[0].value + hits[1].value;
      if (sum !== 6) throw new Error(`${sum} hits of 6 were counted`);
    },
  };
};

/** What a check that must find something finds. */
function findingOf(check: () => unknown): ScheduleError {
  try {
    check();
  } catch (error) {
    if (error instanceof ScheduleError) return error;
    throw error;
  }
  throw new Error("nothing was found");
}

/** @returns The lines to print. */
export function main(): string[] {
  const fixed = checkRandom({ iterations: 500, seed: 1 }, counting(true));
  const all = checkDfs({ preemptions: 1, migrations: 1 }, counting(true));
  const found = findingOf(() => checkRandom({ seed: 1 }, counting(false)));
  const again = findingOf(() => replay(found.schedule, counting(false)));
  // The sanitizers see two CPUs at one counter; the sum is wrong for that reason.
  const sum = findingOf(() =>
    checkRandom({ seed: 1, sanitize: [] }, counting(false))
  );
  return [
    `with preempt_disable(): ${fixed.schedules} random schedules, then all ${all.schedules} with one preemption: nothing found`,
    "without:",
    ...found.message.split("\n").map((line) => `  ${line}`.trimEnd()),
    `replayed: ${again.headline}`,
    `without sanitizers: ${sum.headline}`,
  ];
}

if (import.meta.main) console.log(main().join("\n"));
