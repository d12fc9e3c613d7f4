import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { hash_long } from "./hash.ts";

Deno.test("hash_long() gives the high bits of the 64-bit product", () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.maxSafeNat(), fc.nat(2 ** 31 - 1), fc.nat(4096)),
      fc.integer({ min: 1, max: 31 }),
      (n, bits) => {
        const product = BigInt.asUintN(64, BigInt(n) * 0x9e37fffffffc0001n);
        assertEquals(hash_long(n, bits), Number(product >> BigInt(64 - bits)));
      },
    ),
    { seed: 1, numRuns: 2000 },
  );
});
