import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Rng } from "../../arch/sim/random.ts";
import { programs } from "./_arbitrary.ts";
import { Corpus } from "./corpus.ts";
import { Coverage } from "./coverage.ts";
import { formatProgram, parseProgram } from "./program.ts";

/** With `rounds[i]` rounds for bit i. */
function coverageOf(rounds: readonly number[]): Coverage {
  const coverage = new Coverage();
  rounds.forEach((n, i) => coverage.map[i] = n);
  return coverage;
}

function texts(corpus: Corpus): string[] {
  return corpus.entries.map(({ program }) => formatProgram(program));
}

function countChosen(
  corpus: Corpus,
  rng: Rng,
  times: number,
  text: string,
): number {
  let count = 0;
  for (let i = 0; i < times; i++) {
    if (formatProgram(corpus.choose(rng)!.program) === text) count++;
  }
  return count;
}

Deno.test("Corpus has no program twice", () => {
  const corpus = new Corpus(new Coverage());
  corpus.add(parseProgram("U."), "random", 1);
  corpus.add(parseProgram("U."), "pct", 2);
  assertEquals(corpus.size, 1);
  assertEquals(corpus.entries[0].policy, "random");
});

Deno.test("Corpus drops the most ordinary program when it is full", () => {
  const corpus = new Corpus(coverageOf([9, 200, 1]), 2);
  corpus.add(parseProgram("U"), "pct", 1, Uint16Array.of(0, 1));
  corpus.add(parseProgram("UU"), "pct", 1, Uint16Array.of(1));
  corpus.add(parseProgram("UUU"), "pct", 1, Uint16Array.of(1, 2));
  assertEquals(texts(corpus), ["U", "UUU"]);
  corpus.add(parseProgram("UU"), "pct", 1, Uint16Array.of(1));
  assertEquals(texts(corpus), ["UUU", "UU"]); // the newest stays at first
});

Deno.test("Corpus chooses what reaches the rare more often", () => {
  const corpus = new Corpus(coverageOf([1, 100]));
  const rng = new Rng(1);
  assertEquals(corpus.choose(rng), null);
  for (let i = 0; i < 9; i++) {
    corpus.add(parseProgram(`M0${i + 1}`), "pct", 1, Uint16Array.of(1));
  }
  corpus.add(parseProgram("U"), "pct", 1, Uint16Array.of(0));
  const rare = countChosen(corpus, rng, 1000, "U");
  assert(rare > 200 && rare < 350, `${rare}`); // 1 - 0.9 ** 3 of them
});

Deno.test("Corpus chooses what has been chosen less often", () => {
  const corpus = new Corpus(coverageOf([1, 3]));
  corpus.add(parseProgram("U"), "pct", 1, Uint16Array.of(0));
  corpus.add(parseProgram("UU"), "pct", 1, Uint16Array.of(1));
  const rare = countChosen(corpus, new Rng(1), 1000, "U");
  assert(rare > 700 && rare < 800, `${rare}`); // three times as often
});

Deno.test("Corpus notices when what was rare no longer is", () => {
  const coverage = coverageOf([1, 100]);
  const corpus = new Corpus(coverage);
  corpus.add(parseProgram("U"), "pct", 1, Uint16Array.of(0));
  corpus.add(parseProgram("UU"), "pct", 1, Uint16Array.of(1));
  coverage.map[0] = 200;
  const rng = new Rng(1);
  // At once, or nearly: an entry is looked up again every few times.
  assert(countChosen(corpus, rng, 200, "U") < 100);
});

Deno.test("Corpus comes back from JSON", () => {
  fc.assert(
    fc.property(fc.array(programs, { maxLength: 5 }), (list) => {
      const corpus = new Corpus(new Coverage());
      list.forEach((program, i) => corpus.add(program, "pct", i));
      const read = new Corpus(new Coverage());
      read.fromJSON(JSON.parse(JSON.stringify(corpus)));
      assertEquals(texts(read), texts(corpus));
      assertEquals(read.toJSON(), corpus.toJSON());
    }),
    { seed: 1, numRuns: 100 },
  );
});

Deno.test("Corpus says in one line why a file is none", () => {
  const entry = { program: "U.", policy: "pct", seed: 1 };
  const bad: [unknown, string][] = [
    [null, 'no list "programs"'],
    [[], 'no list "programs"'],
    [{ version: 1 }, 'no list "programs"'],
    [{ version: 2, programs: [] }, "version must be 1: current value is 2"],
    [{ version: 1, programs: [entry, 3] }, "entry 1 is not a program"],
    [{ version: 1, programs: [{ ...entry, seed: -1 }] }, "entry 0"],
    [{ version: 1, programs: [{ ...entry, program: "q" }] }, '"q" begins no'],
  ];
  const corpus = new Corpus(new Coverage());
  for (const [json, expected] of bad) {
    const error = assertThrows(
      () => corpus.fromJSON(json),
      RangeError,
      expected,
    );
    assert(!error.message.includes("\n"));
  }
  assertEquals(corpus.size, 0);
});

Deno.test("Corpus needs room for a program", () => {
  assertThrows(() => new Corpus(new Coverage(), 0), RangeError, "capacity");
});
