import { assertEquals } from "@std/assert";
import { sampleRun } from "./_sample.ts";
import { formatLocks } from "./locks.ts";
import { formatProfile } from "./profile.ts";

Deno.test("formatProfile() shows a total, the top, and the rest in a line", () => {
  assertEquals(
    formatProfile(sampleRun("rewrite", 8, 2900), 2),
    `\
rewrite, 8 threads: where time went (1 tick = 1 us of one CPU)
ticks  symbol             %
 1000  total         100.00
  600  default_idle   60.00
  250  _write_lock    25.00
  150  others (2)     15.00
`,
  );
});

Deno.test("formatProfile() of nothing is a total of 0", () => {
  assertEquals(
    formatProfile(sampleRun("rewrite", 1, 2900, { profile: [] })),
    `\
rewrite, 1 thread: where time went (1 tick = 1 us of one CPU)
ticks  symbol     %
    0  total   0.00
`,
  );
});

Deno.test("formatLocks() shows locks that somebody waited for", () => {
  assertEquals(
    formatLocks(sampleRun("vmlist", 2, 33_600)),
    `\
vmlist, 2 threads: locks waited for
class name   contentions  waittime-avg us  waittime-total us  acquisitions  holdtime-total us
vmlist_lock          300              5.0             1500.0         16000             2000.4
`,
  );
  assertEquals(formatLocks(sampleRun("rewrite", 2, 3000)), "");
});
