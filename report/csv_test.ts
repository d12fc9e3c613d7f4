import { assertEquals } from "@std/assert";
import { sampleResult, sampleRun } from "./_sample.ts";
import { formatCsv } from "./csv.ts";

Deno.test("formatCsv() writes a header and a line a run", () => {
  assertEquals(
    formatCsv(sampleResult([
      sampleRun("vmlist", 1, 14_700.5, { reference_ns: 14700 }),
      sampleRun("rewrite", 8, 2900),
    ])),
    `\
schema,machine,cpus,seed,workload,vmap,api,threads,pages,ops,ns_per_op,reference_ns,tlb_flushes,ipis,lock_wait_ns
1,opteron-2x4,8,1,map-touch-unmap,vmlist,vmap,1,4,8000,14700.5,14700,8000,56000,1500000
1,opteron-2x4,8,1,map-touch-unmap,rewrite,ram,8,4,64000,2900,,8,56,0
`,
  );
});

Deno.test("formatCsv() quotes commas and quotes", () => {
  const result = sampleResult([sampleRun("rewrite", 1, 2900)]);
  const machine = { ...result.machine, name: 'a "b", c' };
  const line = formatCsv({ ...result, machine }).split("\n")[1];
  assertEquals(line.startsWith('1,"a ""b"", c",8,'), true);
});
