import { assertEquals, assertStrictEquals } from "@std/assert";
import { StackDepot } from "./stacks.ts";

Deno.test("StackDepot keeps each stack once, innermost first, and mixes up none", () => {
  const depot = new StackDepot();
  const stacks: number[][] = [[]];
  for (let a = 0; a < 40; a++) {
    for (let b = 0; b < 40; b++) stacks.push([a, b], [b, a, 1], [a]);
  }
  const saved = stacks.map((stack) => depot.save(stack, stack.length));
  saved.forEach((found, i) => {
    assertEquals(found, stacks[i].toReversed());
    assertStrictEquals(depot.save([...stacks[i], 7], stacks[i].length), found);
  });
});
