import { assert, assertEquals, assertThrows } from "@std/assert";
import { VMAP_LAYERS } from "../../kernel/mm/vmalloc.ts";
import { SCHEDULE_VERSION } from "../explore/version.ts";
import { checkDfs, checkPct, checkRandom, replay } from "./check.ts";

/** A schedule of the rule alone. */
const NO_DECISIONS = `v${SCHEDULE_VERSION}.`;

const one = () => ({ cpus: [function* () {}] });

Deno.test("numbers out of bounds are refused by every check, before anything runs", () => {
  const bad: Record<string, [unknown[], string]> = {
    iterations: [
      [0, -1, 1.5, NaN, 1e10, "3"],
      "from 1 to 1000000000, or Infinity",
    ],
    seed: [[-1, 0.5, NaN, Infinity, 2 ** 53], "from 0 to 9007199254740991"],
    depth: [[0, 1e9, Infinity, NaN], "from 1 to 100"],
    preemptions: [[-1, 0.5, NaN, 101], "from 0 to 100, or Infinity"],
    ticks: [[-1, Infinity, 1e9], "from 0 to 100"],
    migrations: [[-1, Infinity, NaN], "from 0 to 100"],
    cpus: [[0, 9, 1.5, NaN], "from 1 to 8"],
    pages: [[-3.5, 0, 1, 1e9, NaN, Infinity], "from 2 to 65536"],
    maxSteps: [[0, -1, NaN, Infinity], "from 1 to 1000000000"],
  };
  for (const [name, [values, expected]] of Object.entries(bad)) {
    for (const value of values) {
      const error = assertThrows(
        () => replay(NO_DECISIONS, one, { [name]: value }),
        RangeError,
        `Cannot replay as ${name} must be a whole number ${expected}: current value is`,
      );
      assert(!error.message.includes("\n"));
    }
  }
  for (const depth of [1e9, Infinity]) {
    assertThrows(() => checkPct({ depth }, one), RangeError, `${depth}`);
  }
  assertThrows(() => checkRandom({ iterations: Infinity }, one), RangeError);
  assertThrows(() => checkDfs({ ticks: Infinity }, one), RangeError);
  const all = { preemptions: Infinity, iterations: Infinity };
  assertEquals(checkDfs(all, one).exhausted, true);
  for (const pages of [2, 65_536]) {
    checkRandom({ pages, iterations: 1 }, one);
  }
});

Deno.test("an option that a check does not know is refused, with the nearest that it does", () => {
  const refuse = (call: () => unknown, nearest: string, name: string) =>
    assertThrows(
      call,
      TypeError,
      `(nearest is "${nearest}"): current value is "${name}"`,
    );
  const options = (name: string) => ({ [name]: 1 });
  refuse(
    () => checkRandom(options("iteration"), one),
    "iterations",
    "iteration",
  );
  refuse(() => checkPct(options("dept"), one), "depth", "dept");
  refuse(() => checkDfs(options("depht"), one), "cpus", "depht");
  refuse(
    () => replay(NO_DECISIONS, one, options("sanitise")),
    "sanitize",
    "sanitise",
  );
  refuse(
    () => checkRandom({ params: options("vmap_quirks") }, one),
    "vmap_quirk",
    "vmap_quirks",
  );
  // What the check that found the schedule was told is none of replay's business.
  const all = {
    cpus: 2,
    iterations: 5,
    seed: 2,
    depth: 3,
    preemptions: 1,
    ticks: 1,
  };
  replay(NO_DECISIONS, one, all);
});

Deno.test("names of layers and sanitizers, and values of other types, are refused in a line", () => {
  const layers = { racy: VMAP_LAYERS.vmlist };
  const bad: [Record<string, unknown>, string][] = [
    [
      { params: { vmap: "nope" } },
      'params.vmap must be one of rewrite, vmlist (nearest is "rewrite"): current value is "nope"',
    ],
    [
      { layers, params: { vmap: "rasy" } },
      'one of racy, rewrite, vmlist (nearest is "racy"): current value is "rasy"',
    ],
    [
      { params: "vmlist" },
      'params must be an object: current value is "vmlist"',
    ],
    [{ layers: { racy: 3 } }, "layers must be an object of functions"],
    [{ sanitize: "tlb" }, 'must be an array of names: current value is "tlb"'],
    [
      { sanitize: ["lockdpe"] },
      '(nearest is "lockdep"): current value is "loc',
    ],
  ];
  for (const [options, expected] of bad) {
    for (const check of [checkRandom, checkPct, checkDfs]) {
      const error = assertThrows(() => check(options, one), Error, expected);
      assert(error instanceof RangeError || error instanceof TypeError);
      assert(!error.message.includes("\n"));
    }
  }
  assertThrows(
    () => checkRandom(one as unknown as object, one),
    TypeError,
    "options must be an object: current value is a function",
  );
});
