import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  add64,
  addr64,
  fitsS32,
  fitsU32,
  hex64,
  number64,
  sub64,
  type U64,
  vaddrOf,
} from "./u64.ts";

const word = fc.record({
  lo: fc.oneof(fc.nat(0xffffffff), fc.constantFrom(0, 0xffffffff, 2 ** 31)),
  hi: fc.oneof(fc.nat(0xffffffff), fc.constantFrom(0, 0xffffffff, 2 ** 31)),
});

function big({ lo, hi }: U64): bigint {
  return BigInt(hi) << 32n | BigInt(lo);
}

Deno.test("add64() and sub64() wrap as 64 bits do", () => {
  fc.assert(
    fc.property(word, word, (a, b) => {
      assertEquals(big(add64(a, b)), BigInt.asUintN(64, big(a) + big(b)));
      assertEquals(big(sub64(a, b)), BigInt.asUintN(64, big(a) - big(b)));
    }),
    { seed: 1 },
  );
});

Deno.test("fitsU32() and fitsS32() agree with big integers", () => {
  fc.assert(
    fc.property(word, (a) => {
      assertEquals(fitsU32(a), BigInt.asUintN(32, big(a)) === big(a));
      const s = BigInt.asIntN(64, big(a));
      assertEquals(fitsS32(a), BigInt.asIntN(32, s) === s);
    }),
    { seed: 1 },
  );
});

Deno.test("addr64() extends the sign of 48 bits, and number64() never looks small", () => {
  assertEquals(hex64(addr64(0xffffa0000000)), "ffffffffa0000000");
  assertEquals(hex64(addr64(0x7fff00000001)), "00007fff00000001");
  assertEquals(vaddrOf(addr64(0xffffa0000123)), 0xffffa0000123);
  assertEquals(number64({ lo: 5, hi: 1 }), 2 ** 32 + 5);
  assertEquals(number64({ lo: 5, hi: 2 ** 31 }) > 2 ** 53, true);
});
