import {
  assert,
  assertEquals,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { Rng } from "./random.ts";

const draw = (rng: Rng, n: number) =>
  Array.from({ length: n }, () => rng.nextU32());

Deno.test("Rng gives the same stream for the same seed, and another for another", () => {
  assertEquals(draw(new Rng(7), 100), draw(new Rng(7), 100));
  assertNotEquals(draw(new Rng(7), 4), draw(new Rng(8), 4));
  assertNotEquals(draw(new Rng(7), 4), draw(new Rng(7 + 2 ** 32), 4));
});

Deno.test("Rng of seed 1 starts as it always has", () => {
  assertEquals(draw(new Rng(1), 4), [
    2442144158,
    3238099751,
    3819917871,
    2104621829,
  ]);
});

Deno.test("Rng steps as xoshiro128** does in 64-bit arithmetic", () => {
  const u32 = (x: bigint) => BigInt.asUintN(32, x);
  const rotl = (x: bigint, k: bigint) => u32(x << k) | (x >> (32n - k));
  const mix = (x: bigint) => {
    x = u32((x ^ (x >> 16n)) * 0x85ebca6bn);
    x = u32((x ^ (x >> 13n)) * 0xc2b2ae35n);
    return x ^ (x >> 16n);
  };
  fc.assert(fc.property(fc.maxSafeNat(), (seed) => {
    const high = mix(BigInt(seed) >> 32n);
    let [s0, s1, s2, s3] = [1n, 2n, 3n, 4n].map((i) =>
      mix(u32(BigInt(seed) + i * 0x9e3779b9n) ^ high)
    );
    const expected = Array.from({ length: 50 }, () => {
      const result = u32(rotl(u32(s1 * 5n), 7n) * 9n);
      const shifted = u32(s1 << 9n);
      s2 ^= s0;
      s3 ^= s1;
      s1 ^= s2;
      s0 ^= s3;
      s2 ^= shifted;
      s3 = rotl(s3, 11n);
      return Number(result);
    });
    assertEquals(draw(new Rng(seed), 50), expected);
  }));
});

Deno.test("Rng.below() stays below n and reaches every value about equally often", () => {
  const rng = new Rng(2);
  const counts = new Array(7).fill(0);
  for (let i = 0; i < 70_000; i++) counts[rng.below(7)]++;
  for (const count of counts) {
    assert(Math.abs(count - 10_000) < 500, `${counts}`);
  }
  assertEquals(rng.below(1), 0);
  assert(rng.below(2 ** 32) < 2 ** 32);
  // 3 * 2^30 wastes a quarter of all draws: without rejection the lowest third came up half of the time.
  let low = 0;
  for (let i = 0; i < 30_000; i++) if (rng.below(3 * 2 ** 30) < 2 ** 30) low++;
  assert(Math.abs(low - 10_000) < 500, `${low}`);
});

Deno.test("Rng refuses bad arguments", () => {
  assertThrows(() => new Rng(-1), RangeError, "current value is -1");
  assertThrows(() => new Rng(0.5), RangeError);
  assertThrows(() => new Rng(0).below(0), RangeError, "current value is 0");
  assertThrows(() => new Rng(0).below(2 ** 32 + 1), RangeError);
});

Deno.test("Rng.shuffle() keeps the items and reaches every order", () => {
  const rng = new Rng(3);
  const orders = new Map<string, number>();
  for (let i = 0; i < 6_000; i++) {
    const order = rng.shuffle([1, 2, 3]).join("");
    orders.set(order, (orders.get(order) ?? 0) + 1);
  }
  assertEquals([...orders.keys()].sort(), [
    "123",
    "132",
    "213",
    "231",
    "312",
    "321",
  ]);
  for (const count of orders.values()) assert(Math.abs(count - 1_000) < 150);
});
