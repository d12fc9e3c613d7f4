import { assert, assertEquals } from "@std/assert";
import { unpack } from "../../tests/conformance/unpack.ts";
import {
  conformance,
  type ConformanceIo,
  UnreadableFile,
} from "./conformance.ts";

const GOOD = "vanilla.edges-c4.jsonl";
const good = await unpack(GOOD);
const FILES: Readonly<Record<string, string>> = {
  [GOOD]: good,
  "differs.jsonl": good.replace(/"flushes":0/, '"flushes":7'),
  "malformed.jsonl": good.replace(/"cpu":1/, '"cpu":99'),
};

/** Runs the command; `status` gathers what a terminal would show. */
function run(args: string[], terminal = false) {
  const out: string[] = [];
  const err: string[] = [];
  const status: string[] = [];
  const io: ConformanceIo = {
    out: (line) => out.push(line),
    err: (line) => err.push(line),
    readText(path) {
      const text = FILES[path];
      if (text !== undefined) return text;
      throw new UnreadableFile(
        `Cannot read "${path}" as there is no such file`,
      );
    },
    status: terminal ? (text) => status.push(text) : null,
  };
  return { code: conformance(args, io), out, err, status };
}

Deno.test("conformance prints a line for each file and the count", () => {
  const { code, out, err } = run([GOOD, GOOD]);
  const ok = `ok ${GOOD} (174 operations)`;
  assertEquals([code, out, err], [0, [ok, ok, "2 passed, 0 failed"], []]);
});

Deno.test("conformance shows the first difference in full and goes on", () => {
  const { code, out, err } = run(["differs.jsonl", GOOD]);
  assertEquals(code, 1);
  assertEquals(out[0].split("\n").length, 3);
  assert(out[0].startsWith("FAILED differs.jsonl:2 "), out[0]);
  assert(out[0].endsWith("flushes  expected 7, got 0"), out[0]);
  assertEquals(out.slice(1), [
    `ok ${GOOD} (174 operations)`,
    "1 passed, 1 failed",
  ]);
  assertEquals(err, []);
});

Deno.test("conformance tells one line of a file that it cannot read", () => {
  for (
    const [path, message] of [
      ["missing.jsonl", 'Cannot read "missing.jsonl" as there is no such file'],
      [
        "malformed.jsonl",
        'malformed.jsonl:2: Cannot read the trace as "cpu" must be an integer in 0..3: current value is 99',
      ],
    ]
  ) {
    const alone = run([path]);
    assertEquals([alone.code, alone.out, alone.err], [2, [], [message]]);
    const { code, out, err } = run([path, GOOD]);
    assertEquals([code, out.length, err], [2, 2, [message]]);
    assertEquals(out[1], "1 passed, 1 failed");
  }
});

Deno.test("conformance refuses a command line without files, and options", () => {
  const none = run([]);
  assertEquals([none.code, none.out, none.err.length], [2, [], 1]);
  const option = run(["--fast", GOOD]);
  assertEquals([option.code, option.out, option.err], [2, [], [
    'Cannot replay as there is no such option: current value is "--fast"',
  ]]);
  const help = run(["--help"]);
  assertEquals([help.code, help.err], [0, []]);
  assert(help.out[0].startsWith("Usage:"));
});

Deno.test("conformance shows progress on a terminal alone, and clears it", () => {
  assertEquals(run([GOOD]).status, []);
  const { status, out } = run([GOOD], true);
  assert(status.some((text) => text.startsWith("[###")), status.join());
  assertEquals(status.at(-1), "");
  assertEquals(out.at(-1), "1 passed, 0 failed");
});
