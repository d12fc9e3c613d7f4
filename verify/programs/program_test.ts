import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { programs } from "./_arbitrary.ts";
import {
  CallKind,
  countCalls,
  describeProgram,
  formatProgram,
  HUGE,
  MAX_N,
  pagesOf,
  parseProgram,
  type Program,
} from "./program.ts";

const SEED = 1;

Deno.test("parseProgram() is the inverse of formatProgram()", () => {
  fc.assert(
    fc.property(programs, (program) => {
      const text = formatProgram(program);
      assert(/^[0-9A-Za-z.-]*$/.test(text), text);
      assertEquals(parseProgram(text), program);
    }),
    { seed: SEED, numRuns: 500 },
  );
});

Deno.test("formatProgram() leaves out what is 0", () => {
  const program: Program = {
    early: [{ kind: CallKind.EARLY_AREA, slot: 0, n: 3 }],
    tasks: [
      [
        { kind: CallKind.MAP_RAM, slot: 1, n: 2 },
        { kind: CallKind.TOUCH, slot: 11, n: 37 },
        { kind: CallKind.FREE, slot: 1, n: 0 },
        { kind: CallKind.FREE, slot: 0, n: 0 },
      ],
      [],
    ],
  };
  assertEquals(formatProgram(program), "E03-R12Tb11F1F.");
  assertEquals(countCalls(program), 5);
});

Deno.test("formatProgram() needs a task", () => {
  assertThrows(
    () => formatProgram({ early: [], tasks: [] }),
    RangeError,
    "no tasks",
  );
});

Deno.test("parseProgram() says in one line what is wrong", () => {
  const bad: Record<string, string> = {
    "M12x": "", // n of two digits: fine
    "m12": '"m12" begins no call',
    "M12 V": '" V" begins no call',
    "M12345": '"5" begins no call',
    "Q": '"Q" is no call',
    "Mz1": '"Mz1" has a slot that is not 0 to b',
    "E9-": '"E9" has a slot that is not 0 to 7',
    "E01": '"E01" must come before "-"',
    "M01-U": '"M01" cannot come before "-"',
    "U-U-U": 'has more than one "-"',
  };
  for (const [text, expected] of Object.entries(bad)) {
    if (expected === "") parseProgram(text);
    else assertThrows(() => parseProgram(text), RangeError, expected);
  }
});

Deno.test("pagesOf() has small sizes, and sizes that wrap", () => {
  assertEquals([0, 1, HUGE - 1].map(pagesOf), [0, 1, 63]);
  assertEquals(pagesOf(HUGE + 2), 2 ** 20 + 2);
  assertEquals(pagesOf(HUGE + 8 + 1) * 4096, 64 * 2 ** 40 + 4096);
  assertEquals(pagesOf(HUGE + 24) * 4096, 2 ** 48);
  assert(Number.isSafeInteger(pagesOf(MAX_N) * 4096));
});

Deno.test("describeProgram() says what each call does", () => {
  const lines = describeProgram(parseProgram("E03-R12T13F1.UM31"));
  assertEquals(lines, [
    "early:  vm_area_add_early(3 pages in eighth 0 of vmalloc space)",
    "task 0: s1 = vm_map_ram(2 pages)",
    "task 0: write(s1, page 1)",
    "task 0: vm_unmap_ram(s1)",
    "task 1: vm_unmap_aliases()",
    "task 1: s3 = vmalloc(1 page)",
  ]);
});

Deno.test("describeProgram() says both of a slot that others use", () => {
  assertEquals(describeProgram(parseProgram("V11.F1")), [
    "task 0: s1 = s1 ? free(s1) : vmap(1 page)",
    "task 1: free(s1)",
  ]);
});

Deno.test("describeProgram() knows what slots hold at the start", () => {
  const held = new Map([[1, CallKind.MAP_RAM]]);
  assertEquals(describeProgram(parseProgram("V11.F2"), held), [
    "task 0: vm_unmap_ram(s1)",
    "task 1: free(s2)  // s2 holds nothing",
  ]);
});

Deno.test("describeProgram() has a line for every call", () => {
  fc.assert(
    fc.property(programs, (program) => {
      const lines = describeProgram(program);
      assertEquals(lines.length, countCalls(program));
      for (const line of lines) assert(/^(early: |task \d:) \S/.test(line));
    }),
    { seed: SEED, numRuns: 200 },
  );
});
