import { assertEquals, assertRejects } from "@std/assert";
import { FakeIo } from "./_fake_io.ts";
import { readCapture } from "./pcap_option.ts";
import { UsageError } from "./usage.ts";

const FILE = Uint8Array.fromHex(
  "d4c3b2a1" + "0200" + "0400" + "00000000" + "00000000" + "ffff0000" +
    "01000000" + // header
    "00000000" + "00000000" + "04000000" + "04000000" + "01020304",
);

Deno.test("readCapture() reads frames, and says which file will not do", async () => {
  const io = new FakeIo({ "a.pcap": FILE, "b.pcap": FILE.subarray(0, 40) });
  assertEquals(await readCapture("a.pcap", [], io), {
    frames: [new Uint8Array([1, 2, 3, 4])],
    cut: 0,
  });
  await assertRejects(
    () => readCapture("b.pcap", [], io),
    UsageError,
    'Cannot read capture "b.pcap" as record 1 at byte 24 ends beyond the file',
  );
  await assertRejects(
    () => readCapture("c.pcap", [], io),
    UsageError,
    'Cannot read capture "c.pcap": ',
  );
});
