/** Holds the declarations in this folder to what the package really does. */
import {
  assert,
  assertAlmostEquals,
  assertArrayIncludes,
  assertEquals,
  assertExists,
  assertFalse,
  assertGreater,
  assertGreaterOrEqual,
  assertInstanceOf,
  AssertionError,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertNotEquals,
  assertNotMatch,
  assertNotStrictEquals,
  assertObjectMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
  equal,
  fail,
  unreachable,
} from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";

function lengthOf(text: string | null): number {
  assert(text !== null);
  return text.length; // compiles only when assert() narrows
}

Deno.test("assert() narrows, and throws an AssertionError", () => {
  assertEquals(lengthOf("four"), 4);
  const error: AssertionError = assertThrows(
    () => lengthOf(null),
    AssertionError,
  );
  assertInstanceOf(error, Error);
});

Deno.test("every declared assertion exists, and passes and fails as declared", async () => {
  assertFalse(0);
  assertNotEquals(1, 2);
  assertStrictEquals("a", "a");
  assertNotStrictEquals({}, {});
  assertAlmostEquals(1, 1.05, 0.1);
  assertExists(0);
  assertGreater(2, 1);
  assertGreaterOrEqual(2, 2);
  assertLess(1, 2);
  assertLessOrEqual(2, 2);
  assertArrayIncludes([1, 2], [2]);
  assertObjectMatch({ a: 1, b: 2 }, { b: 2 });
  assertMatch("vmap", /^v/);
  assertNotMatch("vmap", /^x/);
  assertStringIncludes("vmap", "map");
  assert(equal([1], [1]));
  assertThrows(() => fail("no"), AssertionError, "no");
  assertThrows(() => unreachable(), AssertionError);
  await assertRejects(
    () => Promise.reject(new TypeError("late")),
    TypeError,
    "late",
  );
});

Deno.test("parseArgs() types declared flags", () => {
  const args = parseArgs([
    "--cpus=8",
    "-v",
    "--set=a",
    "--set",
    "b",
    "--no-colour",
    "bench",
    "--",
    "x",
  ], {
    boolean: ["v", "quiet"],
    string: ["cpus", "set", "colour", "machine", "seed", "_"],
    collect: ["set"],
    negatable: ["colour"],
    default: { machine: "opteron-2x4" },
    "--": true,
  });
  const cpus: string | undefined = args.cpus;
  const set: string[] = args.set;
  const machine: string = args.machine;
  const colour: string | false | undefined = args.colour;
  const flags: boolean[] = [args.v, args.quiet];
  assertEquals([cpus, set, machine, colour, flags], [
    "8",
    ["a", "b"],
    "opteron-2x4",
    false,
    [true, false],
  ]);
  assertEquals(args.seed, undefined);
  assertEquals([args._, args["--"]], [["bench"], ["x"]]);
});
