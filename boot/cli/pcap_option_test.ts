import { assertEquals, assertRejects } from "@std/assert";
import { FakeIo } from "./_fake_io.ts";
import { readFrames } from "./pcap_option.ts";
import { UsageError } from "./usage.ts";

const FILE = Uint8Array.fromHex(
  "d4c3b2a1" + "0200" + "0400" + "00000000" + "00000000" + "ffff0000" +
    "01000000" + // header
    "00000000" + "00000000" + "0f000000" + "0f000000" +
    "01020304050607080910111213140f",
);

Deno.test("readFrames() reads frames, and says which file will not do", async () => {
  const io = new FakeIo({ "a.pcap": FILE, "b.pcap": FILE.subarray(0, 50) });
  const frame = FILE.subarray(40);
  assertEquals(await readFrames("a.pcap", [], io), [frame]);
  await assertRejects(
    () => readFrames("b.pcap", [], io),
    UsageError,
    'Cannot read capture "b.pcap" as record 1 at byte 24 ends beyond the file',
  );
  const empty = new FakeIo({ "e.pcap": FILE.subarray(0, 24) });
  await assertRejects(
    () => readFrames("e.pcap", [], empty),
    UsageError,
    'Cannot use capture "e.pcap" as it must have a frame of 14 to 1514 bytes: it has 0 frames',
  );
  await assertRejects(
    () => readFrames("c.pcap", [], io),
    UsageError,
    'Cannot read capture "c.pcap": ',
  );
});
