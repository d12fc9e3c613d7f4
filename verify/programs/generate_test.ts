import { assert, assertEquals } from "@std/assert";
import { Rng } from "../../arch/sim/random.ts";
import { generate, mutate } from "./generate.ts";
import {
  CallKind,
  formatProgram,
  HUGE,
  parseProgram,
  type Program,
} from "./program.ts";

function many(count: number): Program[] {
  const rng = new Rng(1);
  return Array.from({ length: count }, () => generate(rng, 2));
}

Deno.test("generate() makes small programs that have a text form", () => {
  for (const program of many(500)) {
    assertEquals(program.tasks.length, 2);
    assertEquals(program.early, []);
    for (const calls of program.tasks) {
      assert(calls.length >= 1 && calls.length <= 3);
    }
    assertEquals(parseProgram(formatProgram(program)), program);
  }
});

Deno.test("generate() makes equal programs of equal seeds", () => {
  const rngs = [new Rng(7), new Rng(7)];
  for (let i = 0; i < 100; i++) {
    const [a, b] = rngs.map((rng) => generate(rng, 3, true));
    assertEquals(a, b);
  }
});

Deno.test("generate() uses every call, huge sizes and none at all", () => {
  const calls = many(3000).flatMap(({ tasks }) => tasks.flat());
  const kinds = new Set(calls.map(({ kind }) => kind));
  assertEquals(kinds.size, CallKind.EARLY_AREA);
  const ram = calls.filter(({ kind }) => kind === CallKind.MAP_RAM);
  assert(ram.some(({ n }) => n === 0));
  assert(ram.some(({ n }) => n >= HUGE));
});

Deno.test("generate() does something early in some programs that may", () => {
  const rng = new Rng(1);
  const texts = Array.from(
    { length: 100 },
    () => formatProgram(generate(rng, 2, true)),
  );
  const early = texts.filter((text) => text.includes("-"));
  assert(early.length > 30 && early.length < 70, `${early.length}`);
  assert(early.some((text) => text.includes("E")));
  assert(early.some((text) => text.startsWith("U")));
});

Deno.test("mutate() changes programs, keeps their tasks and their size in bounds", () => {
  const rng = new Rng(1);
  let program = generate(rng, 2, true);
  const { early } = program;
  let changed = 0;
  for (let i = 0; i < 2000; i++) {
    const before = formatProgram(program);
    program = mutate(rng, program);
    const text = formatProgram(program);
    if (text !== before) changed++;
    assertEquals(parseProgram(text), program);
    assertEquals(program.tasks.length, 2);
    for (const calls of program.tasks) assert(calls.length <= 6);
  }
  assert(changed > 1500, `${changed}`);
  assertEquals(program.early, early);
});

Deno.test("mutate() copes with a program of nothing", () => {
  const rng = new Rng(1);
  const empty = parseProgram(".");
  for (let i = 0; i < 50; i++) mutate(rng, empty);
  assertEquals(empty, parseProgram("."));
});
