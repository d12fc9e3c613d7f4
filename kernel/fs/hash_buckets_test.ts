import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { address_seed, fold_hash, inode_hash } from "./hash_buckets.ts";
import { name_hash } from "./qstr.ts";

const GOLDEN = 0x9e37fffffffc0001n;
const MASK64 = (1n << 64n) - 1n;

function halves(x: bigint): { hi: number; lo: number } {
  return { hi: Number(x >> 32n), lo: Number(x & 0xffffffffn) };
}

const address = fc.bigInt({ min: 0n, max: 1n << 40n })
  .map((x) => 0xffff880000000000n + x);
const bits = fc.integer({ min: 1, max: 26 });
const lineShift = fc.constantFrom(6, 7);

Deno.test("hashes of names and inode numbers are those of 64-bit arithmetic", () => {
  fc.assert(
    fc.property(
      address,
      fc.bigInt({ min: 0n, max: 0xffffffffn }),
      fc.bigInt({ min: 0n, max: (1n << 53n) - 1n }),
      bits,
      lineShift,
      (parent, hash, ino, bits, lineShift) => {
        const mask = (1n << BigInt(bits)) - 1n;
        const fold = (x: bigint) =>
          Number((x ^ ((x ^ GOLDEN) >> BigInt(bits))) & mask);

        let sum = (hash + ((parent ^ GOLDEN) >> BigInt(lineShift))) & MASK64;
        const seed = address_seed(halves(parent), lineShift);
        const lo = seed.lo + Number(hash);
        const hi = seed.hi + (lo >= 2 ** 32 ? 1 : 0);
        assertEquals(
          fold_hash(hi | 0, lo | 0, bits) & Number(mask),
          fold(sum),
        );

        sum = ((ino * parent) & MASK64) ^
          (((GOLDEN + ino) & MASK64) >> BigInt(lineShift));
        assertEquals(
          inode_hash(halves(parent), Number(ino), lineShift, bits) &
            Number(mask),
          fold(sum),
        );
      },
    ),
    { seed: 1, numRuns: 2000 },
  );
});

Deno.test("names hash to 32 bits, each byte counts", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const hash = (text: string) => name_hash(bytes(text), 0, text.length);
  assertEquals(hash(""), 0);
  // (0 + (97 << 4) + (97 >> 4)) * 11
  assertEquals(hash("a"), (97 * 16 + 6) * 11);
  const names = new Set<number>();
  for (let i = 0; i < 20_000; i++) names.add(hash(`file-${i}`));
  assert(names.size > 19_990, `${names.size}`);
  assert(hash("x".repeat(255)) < 2 ** 32);
});
