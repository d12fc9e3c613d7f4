import { assert, assertEquals, assertThrows } from "@std/assert";
import { findPreset } from "../../arch/hw/presets/index.ts";
import { withTables } from "../../docs/boot_steps.ts";
import { FakeIo } from "./_fake_io.ts";
import { main, nudged } from "./calibrate.ts";
import {
  constantsText,
  costOf,
  costs,
  withConstants,
} from "./calibrate_constants.ts";
import { bisect, fit } from "./calibrate_fit.ts";

const spec = findPreset("opteron-2x4");
const canRead =
  (await Deno.permissions.query({ name: "read" })).state === "granted";

/** Largest difference between a constant of the preset and what fits best. */
const FIT_ERROR = 0.03;

Deno.test({
  name: "docs/COST_MODEL.md has the preset's constants and their sources",
  ignore: !canRead,
  fn() {
    const url = new URL("../../docs/COST_MODEL.md", import.meta.url);
    const page = Deno.readTextFileSync(url);
    // To bring it up to date: deno task calibrate --write
    const table = new Map([["constants", constantsText(spec)]]);
    assertEquals(page, withTables(page, table));
  },
});

Deno.test("the preset has the constants that fit the one-thread row", () => {
  const { cyclesPerInstruction, readCycles } = fit(spec);
  const cpi = spec.cyclesPerInstruction / cyclesPerInstruction;
  const read = spec.clocksource.readCycles / readCycles;
  assert(Math.abs(cpi - 1) < FIT_ERROR, `${cyclesPerInstruction} fits best`);
  assert(Math.abs(read - 1) < FIT_ERROR, `${readCycles} cycles fit best`);
});

Deno.test("bisect() finds where a growing function crosses, and says when it does not", () => {
  assertEquals(bisect((x) => x * x, 50, [0, 100], 1), 7);
  assertEquals(bisect((x) => 2 * x, 3, [1, 4], 1 / 512), 1.5);
  assertThrows(() => bisect((x) => x, 200, [0, 100], 1), RangeError, "200");
});

Deno.test("withConstants() changes a copy", () => {
  const other = withConstants(spec, { "cache.hitCycles": 9, "kernel.hz": 100 });
  assertEquals(costOf(other, "cache.hitCycles"), 9);
  assertEquals(other.kernel.hz, 100);
  assertEquals(other.sources, spec.sources);
  assertEquals(costOf(spec, "cache.hitCycles"), 3);
});

Deno.test("costs() are the numbers that are no sizes", () => {
  const all = costs(spec);
  assert(all.includes("cyclesPerInstruction"));
  assert(all.includes("tlb.walkCycles"));
  assert(!all.includes("tlb.l1.entries"));
  assert(!all.includes("topology.sockets"));
});

Deno.test("nudged() moves a constant by a fifth, a whole number by one at least", () => {
  assertEquals(nudged(1000), [800, 1200]);
  assertEquals(nudged(3), [2, 4]);
  assertEquals(nudged(2.2), [1.76, 2.64]);
});

Deno.test("calibrate refuses other options with one line", () => {
  const io = new FakeIo();
  assertEquals(main(["--fit"], io), 2);
  assertEquals(io.stdout, "");
  assertEquals(io.stderr.split("\n").length, 2);
  assertEquals(main(["--help"], io), 0);
  assert(io.stdout.startsWith("usage: deno task calibrate"));
});
