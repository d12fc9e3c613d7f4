import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { jsonErrorAt } from "./json_position.ts";

Deno.test("jsonErrorAt() finds where JSON ends", () => {
  const cases: [string, [number, number] | null][] = [
    ['{"a": [1, -2.5e3, true, null, "\\u00e9\\n"]}', null],
    [" [ ] ", null],
    ["", [1, 1]],
    ["{", [1, 2]],
    ['{"a":1,}', [1, 8]],
    ['{"a": x}', [1, 7]],
    ['{\n"a":\n\n  nul}', [4, 3]],
    ["[1 2]", [1, 4]],
    ["1 x", [1, 3]],
    ["01", [1, 2]],
    ['"a\nb"', [1, 3]],
    ['"\\x"', [1, 2]],
  ];
  for (const [text, at] of cases) {
    const found = jsonErrorAt(text);
    assertEquals(found && [found.line, found.column], at, text);
  }
});

Deno.test("jsonErrorAt() finds fault with what JSON.parse() does, and with nothing else", () => {
  const text = fc.oneof(
    fc.json(),
    fc.string(),
    fc.tuple(fc.json(), fc.nat(), fc.constantFrom(...'{}[],:"\\ 01-e\n', ""))
      .map(([json, at, c]) => {
        const cut = at % (json.length + 1);
        return json.slice(0, cut) + c + json.slice(cut + 1);
      }),
  );
  fc.assert(
    fc.property(text, (text) => {
      let valid = true;
      try {
        JSON.parse(text);
      } catch {
        valid = false;
      }
      assertEquals(jsonErrorAt(text) === null, valid);
    }),
    { numRuns: 500 },
  );
});
