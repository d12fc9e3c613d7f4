import { assertEquals } from "@std/assert";
import { formatOops, type OopsReport, timeStamp } from "./oops.ts";

const BUG: OopsReport = {
  headline: "kernel BUG at vb_free: freed twice",
  atNs: 1_234_567_890,
  where: { cpu: 3, comm: "test/3", pid: 12, trace: ["vb_free", "kthread"] },
  waiting: [],
  seed: 42,
};

Deno.test("formatOops() lays a BUG out as 2.6.28 does", () => {
  assertEquals(
    formatOops(BUG),
    [
      "------------[ cut here ]------------",
      "kernel BUG at vb_free: freed twice",
      "invalid opcode: 0000 [#1] SMP",
      "CPU 3",
      "Pid: 12, comm: test/3 Not tainted 2.6.28 #1",
      "Call Trace:",
      " vb_free",
      " kthread",
      "---[ end trace 0000000000000001 ]---",
      "Seed: 42 (the same arguments give the same oops)",
    ].map((line) => `[    1.234567] ${line}\n`).join(""),
  );
});

Deno.test("formatOops() names the instruction and the error code of a fault", () => {
  const headline =
    "BUG: unable to handle kernel paging request at ffffc20000000000 (write, not present)";
  assertEquals(
    formatOops({ ...BUG, headline, atNs: null }).split("\n").slice(0, 4),
    [headline, "IP: vb_free", "Oops: 0002 [#1] SMP", "CPU 3"],
  );
});

Deno.test("formatOops() lists who waits for what in a deadlock", () => {
  assertEquals(
    formatOops({
      headline: "deadlock: no CPU can go on",
      atNs: null,
      where: null,
      waiting: [{
        cpu: 0,
        comm: "test/0",
        pid: 5,
        what: "load of a.lock, held by test/1 on CPU 1",
        trace: ["_spin_lock"],
      }],
      seed: 0,
    }),
    `\
BUG: deadlock: no CPU can go on
CPU 0: test/0:5 waits for load of a.lock, held by test/1 on CPU 1
Call Trace:
 _spin_lock
---[ end trace 0000000000000001 ]---
Seed: 0 (the same arguments give the same oops)
`,
  );
});

Deno.test("timeStamp() has microseconds", () => {
  assertEquals(timeStamp(0), "[    0.000000]");
  assertEquals(timeStamp(61_000_000_999), "[   61.000000]");
});

Deno.test("formatOops() prints each paragraph of a sanitizer's report before the end", () => {
  const report: OopsReport = {
    ...BUG,
    headline:
      "INFO: inconsistent lock state: a is {IN-HARDIRQ} and {HARDIRQ-ON}",
    sections: [
      { title: "no locks held by test/3.", lines: [] },
      { title: "(a) became {IN-HARDIRQ-W} by x:", lines: ["f", "g"] },
    ],
  };
  const lines = formatOops(report).split("\n");
  assertEquals(lines[0], `[    1.234567] ${report.headline}`);
  assertEquals(lines.slice(6), [
    "[    1.234567]",
    "[    1.234567] no locks held by test/3.",
    "[    1.234567]",
    "[    1.234567] (a) became {IN-HARDIRQ-W} by x:",
    "[    1.234567]  f",
    "[    1.234567]  g",
    "[    1.234567] ---[ end trace 0000000000000001 ]---",
    "[    1.234567] Seed: 42 (the same arguments give the same oops)",
    "",
  ]);
});
