import { assertEquals } from "@std/assert";
import { FakeIo } from "./_fake_io.ts";
import { Progress, progressLine } from "./progress.ts";

Deno.test("progressLine() fills with the share done, and never wraps", () => {
  assertEquals(
    progressLine(1, 4, "vmlist, 2 threads", 80),
    "[######..................] 1/4 vmlist, 2 threads",
  );
  assertEquals(progressLine(1, 4, "vmlist", 20).length, 19);
  assertEquals(progressLine(5, 4, "x", 80), `[${"#".repeat(24)}] 5/4 x`);
  assertEquals(progressLine(0, 0, "x", 80), `[${".".repeat(24)}] 0/0 x`);
});

Deno.test("Progress shows on a terminal alone, and clears what it drew", () => {
  for (
    const [terminal, quiet] of [[false, false], [false, true], [true, true]]
  ) {
    const io = new FakeIo({}, terminal);
    const progress = new Progress(io, quiet);
    progress.update(1, 2, "x");
    progress.clear();
    assertEquals(io.stderr, "");
  }
  const io = new FakeIo({}, true);
  const progress = new Progress(io, false);
  progress.clear();
  assertEquals(io.stderr, "");
  progress.update(1, 2, "x");
  progress.update(1, 2, "x");
  progress.clear();
  progress.clear();
  assertEquals(
    io.stderr,
    `\r\x1b[K[${"#".repeat(12)}${".".repeat(12)}] 1/2 x\r\x1b[K`,
  );
});
