import { assert, assertEquals } from "@std/assert";
import { Rng } from "../../arch/sim/random.ts";
import { ExploreMachine } from "../explore/machine.ts";
import { RandomWalk } from "../explore/random_walk.ts";
import { RuleChooser } from "../explore/rule.ts";
import { Coverage } from "./coverage.ts";
import { generate } from "./generate.ts";
import { parseProgram } from "./program.ts";
import { World } from "./world.ts";

/** Runs programs, and watches them. */
function watch(coverage: Coverage, texts: readonly string[]): number[] {
  const machine = new ExploreMachine();
  const world = new World(machine);
  machine.driver.watcher = coverage;
  return texts.map((text) => {
    coverage.begin();
    machine.run(world.functions(parseProgram(text)), new RuleChooser());
    coverage.state(machine.k);
    return coverage.newBits;
  });
}

Deno.test("Coverage tells what is new, once", () => {
  const coverage = new Coverage();
  const same = new Array(8).fill("M01FU.");
  const news = watch(coverage, [...same, "R01F.", ".", "."]);
  assert(news[0] > 10, "everything is new");
  assertEquals(news[7], 0, "nothing is");
  assert(news[8] > 0, "another call");
  assertEquals(news[10], 0);
  assertEquals(coverage.newBits, 0);
  assertEquals(coverage.count, news.reduce((a, b) => a + b));
});

Deno.test("Coverage counts the rounds that reach each", () => {
  const coverage = new Coverage();
  watch(coverage, ["U.", "U.", "U."]);
  const reached = coverage.reached();
  assert(reached.length > 0);
  assert(Array.from(reached).some((bit) => coverage.map[bit] === 3));
  assertEquals(new Set(reached).size, reached.length);
});

Deno.test("Coverage is the same of the same rounds", () => {
  const texts = ["R01R11F.U", "V33F3.M21", "A41.F4U"];
  const [a, b] = [new Coverage(), new Coverage()];
  assertEquals(watch(a, texts), watch(b, texts));
  assertEquals(a.map, b.map);
});

Deno.test("Coverage grows ever slower", () => {
  const coverage = new Coverage();
  const rng = new Rng(1);
  const machine = new ExploreMachine();
  const world = new World(machine);
  const walk = new RandomWalk(rng);
  machine.driver.watcher = coverage;
  const counts = [0];
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 150; j++) {
      const program = generate(rng, 2);
      // A second free ends the machine, as it may.
      if (program.tasks.some((calls) => calls.some(({ kind }) => kind === 7))) {
        continue;
      }
      coverage.begin();
      machine.run(world.functions(program), walk);
      coverage.state(machine.k);
    }
    counts.push(coverage.count);
  }
  const [, first, second, third] = counts;
  assert(second - first < first / 2, `${counts}`);
  assert(third - second <= second - first, `${counts}`);
});

Deno.test("Coverage tells small counts apart, and large ones by half powers of two", () => {
  const newBitsOf = (coverage: Coverage, lazy_nr: number) => {
    const { k } = new ExploreMachine();
    const counters = k.vmap.counters();
    k.vmap.counters = () => ({ ...counters, lazy_nr });
    coverage.begin();
    coverage.state(k);
    return coverage.newBits;
  };
  const coverage = new Coverage();
  newBitsOf(coverage, 0);
  const seen: number[] = [];
  for (let n = 1; n < 64; n++) {
    if (newBitsOf(coverage, n) > 0) seen.push(n);
  }
  assertEquals(seen, [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48]);
});
