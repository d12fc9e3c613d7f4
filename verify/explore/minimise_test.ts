import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { minimiseEvents } from "./minimise.ts";

Deno.test("minimiseEvents() leaves nothing that can be left out", () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.nat(40), { maxLength: 40 }),
      fc.array(fc.nat(40), { maxLength: 4 }),
      (events, wanted) => {
        const needed = wanted.filter((w) => events.includes(w));
        const fails = (list: readonly number[]) =>
          needed.every((w) => list.includes(w));
        const least = minimiseEvents(events, fails);
        assertEquals(least, events.filter((e) => needed.includes(e)));
      },
    ),
    { seed: 5 },
  );
});

Deno.test("minimiseEvents() keeps what needs each other", () => {
  // Fails with an even number of entries that has the first one.
  const fails = (list: readonly number[]) =>
    list.length % 2 === 0 && list[0] === 1 && list.length > 0;
  const least = minimiseEvents([1, 2, 3, 4, 5, 6], fails);
  assert(fails(least));
  for (let i = 0; i < least.length; i++) {
    assert(!fails(least.filter((_, j) => j !== i)));
  }
});

Deno.test("minimiseEvents() asks no more often than it may", () => {
  let asked = 0;
  const fails = (list: readonly number[]) => {
    asked++;
    return list.includes(50);
  };
  const events = Array.from({ length: 100 }, (_, i) => i);
  const least = minimiseEvents(events, fails, 10);
  assertEquals(asked, 10);
  assert(least.includes(50) && least.length < 100);
});

Deno.test("minimiseEvents() of something that fails by itself is empty", () => {
  assertEquals(minimiseEvents([1, 2, 3], () => true), []);
  assertEquals(minimiseEvents([1], () => true), []);
  assertEquals(minimiseEvents([], () => true), []);
});
