import { assert, assertEquals } from "@std/assert";
import { sampleResult, sampleRun } from "./_sample.ts";
import { formatCsv } from "./csv.ts";
import { formatInjected } from "./injected.ts";
import { formatJson } from "./json.ts";

const injected = {
  failslab: 1,
  fail_page_alloc: 20,
  fail_page_table: 0,
  late_ipis: 3,
  failed_ops: 17,
};

Deno.test("formatInjected() says what was injected into each run, and nothing of others", () => {
  const runs = [
    sampleRun("vmlist", 1, 14_700),
    sampleRun("rewrite", 8, 2900, { injected }),
  ];
  assertEquals(formatInjected(sampleResult([runs[0]])), "");
  assertEquals(
    formatInjected(sampleResult(runs)),
    "map-touch-unmap, vmap=rewrite, threads=8: 17 operations failed (injected: 1 slab object, 20 blocks of pages, 0 page tables; 3 late IPIs)\n",
  );
});

Deno.test("formatJson() and formatCsv() have what was injected, of runs that something was to be injected into", () => {
  const run = sampleRun("rewrite", 8, 2900, { injected });
  const result = sampleResult([run]);
  assertEquals(JSON.parse(formatJson(result)), result);
  const [header, row] = formatCsv(result).split("\n");
  const [plainHeader, plainRow] = formatCsv(
    sampleResult([sampleRun("rewrite", 8, 2900)]),
  ).split("\n");
  assertEquals(
    header,
    `${plainHeader},failslab,fail_page_alloc,fail_page_table,late_ipis,failed_ops`,
  );
  assertEquals(row, `${plainRow},1,20,0,3,17`);
  assert(!plainHeader.includes("failslab"));
});
