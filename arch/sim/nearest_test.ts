import { assertEquals } from "@std/assert";
import { editDistance, nearest } from "./nearest.ts";

Deno.test("editDistance() counts edits", () => {
  const cases: [string, string, number][] = [
    ["", "", 0],
    ["", "abc", 3],
    ["abc", "abc", 0],
    ["abc", "abd", 1],
    ["abc", "ac", 1],
    ["abc", "acb", 1],
    ["kitten", "sitting", 3],
  ];
  for (const [a, b, edits] of cases) {
    assertEquals(editDistance(a, b), edits);
    assertEquals(editDistance(b, a), edits);
  }
});

Deno.test("nearest() picks the closest choice, the first of equals", () => {
  const choices = ["opteron-2x4", "xeon-2s", "i386-4", "generic"];
  assertEquals(nearest("opteron2x4", choices), "opteron-2x4");
  assertEquals(nearest("XEON", choices), "xeon-2s");
  assertEquals(nearest("genric", choices), "generic");
  assertEquals(nearest("b", ["a", "c"]), "a");
  assertEquals(nearest("x", []), undefined);
});
