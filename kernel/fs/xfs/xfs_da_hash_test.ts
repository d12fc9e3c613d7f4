import { assertEquals } from "@std/assert";
import { da_hash } from "./xfs_da_hash.ts";

/** As xfs_db's `hash` command gives them. */
const VECTORS: readonly [string, number][] = [
  [".", 0x2e],
  ["..", 0x172e],
  ["a", 0x61],
  ["abc", 0x187163],
  ["abcd", 0xc38b1e4],
  ["abcde", 0x1c58f263],
  ["hello.world", 0x91251121],
  ["name296", 0xdcad27b8],
  ["x".repeat(255), 0xf0000000],
];

Deno.test("da_hash() is what xfs_db says of a name", () => {
  for (const [name, hash] of VECTORS) {
    assertEquals(da_hash(new TextEncoder().encode(name)), hash, name);
  }
});
