import { assertEquals } from "@std/assert";
import { sampleResult, sampleRun } from "./_sample.ts";
import { formatJson } from "./json.ts";

Deno.test("formatJson() gives the documented keys in the documented order, whatever the object's", () => {
  const run = sampleRun("rewrite", 1, 2900, { reference_ns: 2900 });
  const shuffled = Object.fromEntries(Object.entries(run).reverse());
  const text = formatJson(sampleResult([shuffled as unknown as typeof run]));
  assertEquals(text, formatJson(sampleResult([run])));
  const document = JSON.parse(text);
  assertEquals(Object.keys(document), [
    "schema",
    "machine",
    "seed",
    "command_line",
    "runs",
    "dmesg",
  ]);
  assertEquals(Object.keys(document.runs[0]), [
    "workload",
    "vmap",
    "api",
    "threads",
    "pages",
    "ops",
    "ns_per_op",
    "reference_ns",
    "tlb_flushes",
    "ipis",
    "lock_wait_ns",
    "profile",
    "locks",
  ]);
  assertEquals(Object.keys(document.runs[0].profile[0]), [
    "symbol",
    "ticks",
    "percent",
  ]);
  assertEquals(document.schema, 1);
});

Deno.test("formatJson() loses nothing, and says null for what was not measured", () => {
  const result = sampleResult([sampleRun("vmlist", 2, 33_600.5)]);
  assertEquals(JSON.parse(formatJson(result)), result);
  assertEquals(JSON.parse(formatJson(result)).runs[0].reference_ns, null);
});
