import { assert, assertEquals } from "@std/assert";
import { runKernel } from "../../testing.ts";
import { crc32c, xfs_calc_cksum, xfs_verify_cksum } from "./crc32c.ts";

function finished(bytes: Uint8Array): number {
  return ~crc32c(0xffffffff, bytes) >>> 0;
}

Deno.test("crc32c() gives the values of RFC 3720, appendix B.4", () => {
  const ascending = Uint8Array.from({ length: 32 }, (_, i) => i);
  assertEquals(finished(new Uint8Array(32)), 0x8a9136aa);
  assertEquals(finished(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assertEquals(finished(ascending), 0x46dd794e);
  assertEquals(finished(ascending.toReversed()), 0x113fdb5c);
});

Deno.test("crc32c() of the digits is the check value of the polynomial", () => {
  assertEquals(finished(new TextEncoder().encode("123456789")), 0xe3069283);
});

Deno.test("a structure's checksum takes its own field as zero", () => {
  const bytes = Uint8Array.from({ length: 64 }, (_, i) => i * 7);
  const zeroed = bytes.slice(8, 56);
  zeroed.fill(0, 12, 16);
  const sum = xfs_calc_cksum(bytes, 8, 48, 12);
  assertEquals(sum, finished(zeroed));
  new DataView(bytes.buffer).setUint32(20, sum, true);
  // deno-lint-ignore require-yield -- it is plain
  runKernel({ cpus: 1 }, function* (t) {
    const before = t.cpu.clock;
    assert(xfs_verify_cksum(t, bytes, 8, 48, 12));
    assert(t.cpu.clock - before >= 48);
    bytes[40] ^= 1;
    assert(!xfs_verify_cksum(t, bytes, 8, 48, 12));
  });
});
