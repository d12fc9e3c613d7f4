import { assertEquals } from "@std/assert";
import { CpuMask } from "./cpumask.ts";
import { Rng } from "../arch/sim/random.ts";

Deno.test("CpuMask behaves like a set of numbers", () => {
  const rng = new Rng(1);
  const mask = new CpuMask(100);
  const model = new Set<number>();
  for (let i = 0; i < 2000; i++) {
    const cpu = rng.below(100);
    if (rng.below(2) === 0) {
      mask.set(cpu);
      model.add(cpu);
    } else {
      mask.clear(cpu);
      model.delete(cpu);
    }
    if (i % 50 === 0) {
      const sorted = [...model].sort((a, b) => a - b);
      assertEquals(mask.list, sorted);
      assertEquals(mask.weight, sorted.length);
      assertEquals(mask.first(), sorted[0] ?? -1);
      assertEquals(mask.has(cpu), model.has(cpu));
    }
  }
});

Deno.test("CpuMask.list is a snapshot", () => {
  const mask = new CpuMask(64);
  mask.set(3);
  const before = mask.list;
  mask.set(63);
  assertEquals(before, [3]);
  assertEquals(mask.list, [3, 63]);
});

Deno.test("CpuMask.assignAndNot() subtracts", () => {
  const a = new CpuMask(70);
  const b = new CpuMask(70);
  for (const cpu of [0, 31, 32, 69]) a.set(cpu);
  for (const cpu of [31, 50]) b.set(cpu);
  const c = new CpuMask(70);
  c.assignAndNot(a, b);
  assertEquals(c.list, [0, 32, 69]);
  assertEquals(c.weight, 3);
});
