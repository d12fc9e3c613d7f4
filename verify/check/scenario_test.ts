import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { BUG_ON } from "../../kernel/bug.ts";
import { vmalloc } from "../../kernel/mm/vmalloc.ts";
import { SCHEDULE_VERSION } from "../explore/version.ts";
import { checkDfs, checkPct, checkRandom, replay } from "./check.ts";
import type { ScheduleScenario } from "./scenario.ts";
import { ScheduleError } from "./schedule_error.ts";

/** A schedule of the rule alone. */
const NO_DECISIONS = `v${SCHEDULE_VERSION}.`;

const one = () => ({ cpus: [function* () {}] });

Deno.test("what is no scenario is refused, and is no finding", () => {
  const steps = function* () {};
  const bad: [unknown, string][] = [
    [undefined, "cpus must be an array of functions: current value is undef"],
    [{}, "cpus must be an array of functions: current value is undefined"],
    [
      { cpus: steps },
      "cpus must be an array of functions: current value is a f",
    ],
    [{ cpus: [steps, 3] }, "cpus[1] must be a function: current value is 3"],
    [
      { cpus: [() => {}] },
      "cpus[0] must be a generator function: it has returned undefined",
    ],
    [
      { cpus: [steps, async () => {}] },
      "cpus[1] must be a generator function: it has returned an object",
    ],
    [{ cpus: [steps], before: 1 }, "before must be a function"],
    [
      { cpus: [steps], before: () => 5 },
      "before must return nothing, or be a generator function: it has returned 5",
    ],
    [{ cpus: [steps], after: {} }, "after must be a function"],
    [{ cpus: [steps], after: steps }, "after must be a plain function"],
    [
      { cpus: [steps], after: async () => {} },
      "after must be a plain function",
    ],
  ];
  for (const [made, expected] of bad) {
    const scenario = () => made as ScheduleScenario;
    for (const check of [checkRandom, checkPct, checkDfs]) {
      assertThrows(() => check({}, scenario), TypeError, expected);
    }
    assertThrows(() => replay(NO_DECISIONS, scenario), TypeError, expected);
  }
  assertThrows(
    () => checkRandom({}, { cpus: [steps] } as unknown as typeof one),
    TypeError,
    "scenario must be a function that makes one: current value is an object",
  );
});

Deno.test("what is thrown before the schedule begins is thrown as it is", () => {
  const wrong = [new Error("no file"), new TypeError("x is undefined")];
  for (const error of wrong) {
    let calls = 0;
    const scenarios: (() => ScheduleScenario)[] = [
      () => {
        if (calls++ === 1) throw error; // not yet when its CPUs are counted
        return one();
      },
      () => ({
        ...one(),
        before: () => {
          throw error;
        },
      }),
      () => ({
        ...one(),
        *before(t) {
          yield* vmalloc(t, 4096);
          throw error;
        },
      }),
    ];
    for (const scenario of scenarios) {
      for (const check of [checkRandom, checkPct, checkDfs]) {
        calls = 0;
        const thrown = assertThrows(() => check({}, scenario));
        assert(thrown === error, String(thrown));
      }
    }
  }
});

Deno.test("an oops before the schedule begins is a finding of no decisions", () => {
  const found = assertThrows(() =>
    checkRandom({}, () => ({
      ...one(),
      before: (t) => BUG_ON(t, true, "too early"),
    })), ScheduleError);
  assertMatch(found.headline, /too early$/);
  assertEquals(found.schedule, NO_DECISIONS);
});
