import { assertEquals, assertThrows } from "@std/assert";
import { FakeIo } from "./_fake_io.ts";
import { ReadError } from "./io.ts";
import { findMachine } from "./machine_option.ts";
import { UsageError } from "./usage.ts";

const FILES = {
  "mine.json": '\ufeff{ "extends": "opteron-2x4", "name": "mine" }',
  "dir/fast.json": '{ "extends": "opteron-2x4", "clockHz": 3000000000 }',
  "broken.json": '{\n  "name": "x",\n  oops\n}\n',
  "empty.json": "",
  "typo.json": '{ "extends": "opteron-2x4", "clokHz": 1 }',
  "list.json": "[]",
  "denied.json": new ReadError("denied", "Permission denied"),
  "my machine.json": new ReadError("no permission", "Requires read access"),
  "dir/": new ReadError("a directory", "Is a directory"),
  "bad.json": new ReadError("other", "input/output error"),
};

function find(value: string) {
  return findMachine(
    value,
    [`--machine=${value}`, "--seed=3"],
    new FakeIo(FILES),
  );
}

Deno.test("findMachine() knows presets and reads files", () => {
  assertEquals(find("i386-4").name, "i386-4");
  assertEquals(find("mine.json").name, "mine");
});

Deno.test("findMachine() does not let a changed machine go by a preset's name", () => {
  assertEquals(find("dir/fast.json").name, "fast.json");
});

Deno.test("findMachine() says in one line why a file will not do", () => {
  const cases: [string, string][] = [
    [
      "none.json",
      'Cannot read machine file "none.json": there is no such file',
    ],
    ["dir/", 'Cannot read machine file "dir/": it is a directory'],
    [
      "denied.json",
      'Cannot read machine file "denied.json": the operating system denies it',
    ],
    [
      "my machine.json",
      "Cannot read machine file \"my machine.json\": this takes permission: run deno run '--allow-read=my machine.json' boot/cli/main.ts '--machine=my machine.json' --seed=3",
    ],
    [
      "bad.json",
      'Cannot read machine file "bad.json": input/output error',
    ],
    [
      "broken.json",
      'Cannot read machine file "broken.json": it is not JSON, see line 3, column 3',
    ],
    [
      "empty.json",
      'Cannot read machine file "empty.json": it is not JSON, see line 1, column 1',
    ],
  ];
  for (const [value, message] of cases) {
    const error = assertThrows(() => find(value), UsageError);
    assertEquals(error.message, message);
  }
  for (const value of ["typo.json", "list.json"]) {
    assertThrows(
      () => find(value),
      UsageError,
      `Cannot use machine file "${value}" as `,
    );
  }
});
