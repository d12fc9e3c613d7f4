import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  __ffs,
  ALIGN,
  ALIGN_DOWN,
  ffs,
  fls,
  fls64,
  get_order,
  hweight32,
  ilog2,
  IS_ALIGNED,
  is_power_of_2,
  roundup_pow_of_two,
} from "./bitops.ts";

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const wide = fc.oneof(fc.maxSafeNat(), fc.nat({ max: 52 }).map((e) => 2 ** e));
const binary = (x: number) => x === 0 ? "" : BigInt(x).toString(2);

Deno.test("fls(), ffs() and hweight32() agree with the binary digits", () => {
  fc.assert(fc.property(u32, (x) => {
    const digits = binary(x);
    assertEquals(fls(x), digits.length);
    assertEquals(
      ffs(x),
      digits === "" ? 0 : digits.length - digits.lastIndexOf("1"),
    );
    if (x !== 0) assertEquals(__ffs(x), ffs(x) - 1);
    assertEquals(hweight32(x), digits.replaceAll("0", "").length);
  }));
  assertEquals([fls(0), fls(1), fls(2 ** 31), ffs(0), ffs(2 ** 31)], [
    0,
    1,
    32,
    0,
    32,
  ]);
  assertEquals([hweight32(0), hweight32(0xffffffff), hweight32(-1)], [
    0,
    32,
    32,
  ]);
});

Deno.test("fls64() and the powers of two hold beyond 32 bits", () => {
  fc.assert(fc.property(wide, (x) => {
    assertEquals(fls64(x), binary(x).length);
    assertEquals(is_power_of_2(x), /^10*$/.test(binary(x)));
    if (x === 0) return;
    assertEquals(ilog2(x), binary(x).length - 1);
    const up = roundup_pow_of_two(x);
    assert(is_power_of_2(up) && up >= x && up / 2 < x);
  }));
  assertEquals([fls64(2 ** 32 - 1), fls64(2 ** 32), fls64(2 ** 53)], [
    32,
    33,
    54,
  ]);
});

Deno.test("ALIGN() and ALIGN_DOWN() are exact beyond 32 bits", () => {
  const address = fc.integer({ min: 0, max: 2 ** 48 });
  fc.assert(fc.property(address, fc.nat({ max: 40 }), (x, shift) => {
    const a = 2n ** BigInt(shift);
    const down = BigInt(x) & ~(a - 1n);
    assertEquals(BigInt(ALIGN_DOWN(x, 2 ** shift)), down);
    assertEquals(
      BigInt(ALIGN(x, 2 ** shift)),
      down === BigInt(x) ? down : down + a,
    );
    assertEquals(IS_ALIGNED(x, 2 ** shift), down === BigInt(x));
  }));
  assertEquals(ALIGN(2 ** 47 + 1, 4096), 2 ** 47 + 4096);
});

Deno.test("get_order() holds the size, and no smaller order does", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 2 ** 48 }),
      fc.constantFrom(12, 14, 16),
      (size, shift) => {
        const order = get_order(size, shift);
        assert(2 ** (order + shift) >= size);
        assert(order === 0 || 2 ** (order + shift - 1) < size);
      },
    ),
  );
});

Deno.test("get_order() of 0 is as huge as in Linux", () => {
  assertEquals(get_order(0, 12), 52);
});
