import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { programs } from "./_arbitrary.ts";
import {
  CallKind,
  formatProgram,
  parseProgram,
  type Program,
} from "./program.ts";
import { shrinkCandidates } from "./shrink.ts";

/** What shrinking lowers: calls first, then their kinds, then their numbers. */
function weightOf({ early, tasks }: Program): number {
  const harder: number[] = [CallKind.FREE_TWICE, CallKind.BURST];
  return [early, ...tasks].flat().reduce(
    (sum, { kind, n }) =>
      sum + 2 ** 24 + (harder.includes(kind) ? 2 ** 17 : 0) + n,
    0,
  );
}

Deno.test("shrinkCandidates() are smaller, of as many tasks, and no program twice in a row", () => {
  fc.assert(
    fc.property(programs, (program) => {
      const weight = weightOf(program);
      for (const smaller of shrinkCandidates(program)) {
        assert(weightOf(smaller) < weight, formatProgram(smaller));
        assertEquals(smaller.tasks.length, program.tasks.length);
        assertEquals(parseProgram(formatProgram(smaller)), smaller);
      }
    }),
    { seed: 1, numRuns: 300 },
  );
});

Deno.test("shrinkCandidates() take the biggest steps first", () => {
  const texts = [...shrinkCandidates(parseProgram("U-R12F1.V22"))]
    .map(formatProgram);
  assertEquals(texts.slice(0, 5), [
    "U-.V22", // without a task
    "U-R12.V22", // without a call
    "U-F1.V22",
    "U-R12F1.",
    "R12F1.V22",
  ]);
  assertEquals(texts.slice(5), [
    "U-R1F1.V22", // with a lower number
    "U-R11F1.V22",
    "U-R12F1.V2",
    "U-R12F1.V21",
  ]);
});

/** Shrinks as long as `fails`. */
function shrink(program: Program, fails: (p: Program) => boolean): Program {
  for (;;) {
    const smaller = shrinkCandidates(program).find(fails);
    if (smaller === undefined) return program;
    program = smaller;
  }
}

Deno.test("shrinkCandidates() lead to the calls that matter", () => {
  const program = parseProgram("E03U-M12B3fV25T13F1.L4D3K21U.N5aR61");
  const fails = ({ tasks }: Program) =>
    tasks[0].some(({ kind }) => kind === CallKind.TOUCH) &&
    tasks[1].some(({ kind, n }) => kind === CallKind.READ && n > 0);
  assertEquals(formatProgram(shrink(program, fails)), "T1.K21.");
});
