import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { type AccessSize, PhysMemory } from "./memory.ts";

function memory(bytesPerNode = 2 ** 20, nodes = 2): PhysMemory {
  return new PhysMemory({
    topology: { sockets: nodes, coresPerSocket: 1, nodes },
    memory: { bytesPerNode, lineBytes: 64 },
    paging: { format: "x86-64", pageShift: 12 },
  });
}

Deno.test("PhysMemory deals contiguous frames to nodes", () => {
  const m = memory();
  assertEquals(m.nrFrames, 512);
  assertEquals([0, 255, 256, 511].map((pfn) => m.nodeOf(pfn)), [0, 0, 1, 1]);
  assertThrows(
    () => m.frame(512),
    RangeError,
    "Cannot reach a frame as pfn must be an integer in 0..511: current value is 512",
  );
  for (const pfn of [-1, 0.5, NaN, 2 ** 32, 2 ** 32 + 1, 2 ** 40 - 1]) {
    assertThrows(() => m.frame(pfn), RangeError);
    assertEquals(m.has(pfn), false);
  }
});

Deno.test("PhysMemory backs a frame at its first non-zero write only", () => {
  const m = memory(2 ** 36, 64); // 4 TiB
  assertEquals(m.readNumber(2 ** 41 + 8, 8), 0);
  assertEquals(m.peek(2 ** 29), undefined);
  m.writeNumber(2 ** 41, 8, 0);
  assertEquals(m.nrBacked, 0);
  m.writeWord(2 ** 41 + 4, 0x12345678);
  assertEquals(m.nrBacked, 1);
  assertEquals(m.frame(2 ** 29).words![1], 0x12345678);
  m.zero(2 ** 29);
  assertEquals(m.readWord(2 ** 41 + 4), 0);
  m.zero(7);
  assertEquals(m.nrBacked, 1);
});

Deno.test("PhysMemory is little endian at every size and alignment", () => {
  const m = memory();
  m.writeNumber(0x1000, 8, 2 ** 53 - 2);
  assertEquals(m.readLo(0x1000), 0xfffffffe);
  assertEquals(m.readHi(0x1000), 0x1fffff);
  assertEquals(m.readNumber(0x1000, 8), 2 ** 53 - 2);
  assertEquals(m.read8(0x1000), 0xfe);
  m.writeNumber(0x1008, 8, -2);
  assertEquals([m.readLo(0x1008), m.readHi(0x1008)], [0xfffffffe, 0xffffffff]);
  m.write32(0x1ffe, 0xaabbccdd); // over a frame boundary
  assertEquals(m.read16(0x1ffe), 0xccdd);
  assertEquals(m.read16(0x2000), 0xaabb);
  assertEquals(m.read32(0x1ffe), 0xaabbccdd);
  assertThrows(() => m.readWord(2), RangeError, "multiple of 4 bytes");
});

Deno.test("PhysMemory agrees with a flat array of bytes", () => {
  const size = fc.constantFrom<AccessSize>(1, 2, 4, 8);
  const step = fc.tuple(fc.nat(0x2ff0), size, fc.maxSafeNat());
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const m = memory();
    const flat = new DataView(new ArrayBuffer(0x3000));
    for (const [at, bytes, value] of steps) {
      m.writeNumber(at, bytes, value);
      for (let i = 0; i < bytes; i++) {
        flat.setUint8(at + i, Number(BigInt(value) >> BigInt(8 * i) & 255n));
      }
      let want = 0;
      for (let i = bytes - 1; i >= 0; i--) {
        want = want * 256 + flat.getUint8(at + i);
      }
      assertEquals(m.readNumber(at, bytes), want);
    }
    const got = new Uint8Array(0x3000);
    m.readBytes(0, got);
    assertEquals(got, new Uint8Array(flat.buffer));
    m.writeBytes(0x11, got.subarray(0, 0x2801));
    m.copy(9, 1);
    const copied = new Uint8Array(0x1000), source = new Uint8Array(0x1000);
    m.readBytes(0x9000, copied);
    m.readBytes(0x1000, source);
    assertEquals(copied, source);
  }));
});

Deno.test("PhysMemory.copy() of an untouched frame clears the other", () => {
  const m = memory();
  m.writeWord(0x5000, 1);
  m.copy(5, 6);
  assertEquals(m.readWord(0x5000), 0);
});
