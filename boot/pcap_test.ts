import { assertEquals, assertThrows } from "@std/assert";
import { parsePcap, PcapError } from "./pcap.ts";

/** A capture of `frames`. */
export function pcap(
  frames: readonly Uint8Array[],
  { le = true, magic = 0xa1b2c3d4, link = 1, major = 2, wire = 0 } = {},
): Uint8Array {
  const size = frames.reduce((sum, f) => sum + 16 + f.length, 24);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic, le);
  view.setUint16(4, major, le);
  view.setUint16(6, 4, le);
  view.setUint32(16, 65535, le);
  view.setUint32(20, link, le);
  let at = 24;
  for (const frame of frames) {
    view.setUint32(at + 8, frame.length, le);
    view.setUint32(at + 12, frame.length + wire, le);
    bytes.set(frame, at + 16);
    at += 16 + frame.length;
  }
  return bytes;
}

const FRAMES = [1, 60, 1514].map((n) => new Uint8Array(n).fill(n));

Deno.test("parsePcap() reads either byte order and both units of time", () => {
  for (const le of [true, false]) {
    for (const magic of [0xa1b2c3d4, 0xa1b23c4d]) {
      const bytes = pcap(FRAMES, { le, magic });
      assertEquals(parsePcap(bytes), { frames: FRAMES, cut: 0 });
    }
  }
  assertEquals(parsePcap(pcap([])), { frames: [], cut: 0 });
  assertEquals(parsePcap(pcap(FRAMES, { wire: 5 })).cut, 3);
});

Deno.test("parsePcap() says what is wrong with a file", () => {
  const whole = pcap(FRAMES);
  const bad: [Uint8Array, string][] = [
    [whole.subarray(0, 23), "header of 24 bytes"],
    [pcap([], { magic: 1 }), "must begin with a1b2c3d4"],
    [pcap([], { magic: 0x0a0d0d0a }), "pcapng"],
    [pcap([], { link: 113 }), "current value is 113"],
    [pcap([], { major: 3 }), "version must be 2"],
    [whole.subarray(0, 30), "record 1 at byte 24"],
    [whole.subarray(0, whole.length - 1), "record 3 at byte"],
  ];
  for (const [bytes, message] of bad) {
    assertThrows(() => parsePcap(bytes), PcapError, message);
  }
  // No cut and no flipped byte of the header does anything else than throw or parse.
  for (let i = 0; i < 24 + 16; i++) {
    const bytes = whole.slice();
    bytes[i] ^= 0xff;
    try {
      parsePcap(bytes);
    } catch (error) {
      assertEquals((error as Error).name, "PcapError");
    }
  }
});
