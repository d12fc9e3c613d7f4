import { assert, assertEquals } from "@std/assert";
import { sampleResult, sampleRun } from "./_sample.ts";
import { formatTable } from "./table.ts";

Deno.test("formatTable() puts both layers beside the figures of 2008", () => {
  const table = formatTable(sampleResult([
    sampleRun("vmlist", 1, 14_000.4, { reference_ns: 14700 }),
    sampleRun("vmlist", 8, 70_631, { reference_ns: 70631 }),
    sampleRun("rewrite", 1, 2900.2, { reference_ns: 2900 }),
    sampleRun("rewrite", 8, 3000, { reference_ns: 2900 }),
  ]));
  assertEquals(
    table,
    `\
map-touch-unmap of 4 pages on opteron-2x4: 8 CPUs, 2 sockets, 2 nodes, 2.3 GHz
ns/op: virtual time of one operation; flushes, IPIs: for each operation
2008: ns/op measured on the real machine; err %: against that
ratio: ns/op of vmlist over that of rewrite

         --------- vmlist, vmap() ---------  ------ rewrite, vm_map_ram() -------
threads  ns/op   2008  err %  flushes  IPIs  ns/op  2008  err %  flushes     IPIs  ratio
      1  14000  14700   -4.8      1.0   7.0   2900  2900    0.0  0.00013  0.00088    4.8
      8  70631  70631    0.0      1.0   7.0   3000  2900   +3.4  0.00013  0.00088   23.5
`,
  );
});

Deno.test("formatTable() shows no columns of 2008 where nothing was measured", () => {
  const table = formatTable(
    sampleResult([sampleRun("rewrite", 1, 99.25, { api: "vmap" })]),
  );
  assertEquals(
    table,
    `\
map-touch-unmap of 4 pages on opteron-2x4: 8 CPUs, 2 sockets, 2 nodes, 2.3 GHz
ns/op: virtual time of one operation; flushes, IPIs: for each operation

         --- rewrite, vmap() ---
threads  ns/op  flushes     IPIs
      1   99.3  0.00013  0.00088
`,
  );
});

Deno.test("formatTable() marks what did not run, and stays within 100 columns", () => {
  const layers = ["vmlist", "rewrite", "mine", "another"];
  const table = formatTable(sampleResult([
    ...layers.flatMap((vmap) =>
      [1, 2, 4].map((n) => sampleRun(vmap, n, 123_456, { reference_ns: 14700 }))
    ),
    sampleRun("rewrite", 8, 3000),
  ]));
  const lines = table.split("\n");
  assert(lines.every((line) => line.length <= 100), table);
  assert(lines.every((line) => line === line.trimEnd()), table);
  const eight = lines.filter((line) => line.startsWith("      8"));
  assertEquals(eight.length, 2);
  assertEquals(eight[0].split(/ +/).slice(1, 7), [
    "8",
    "-",
    "-",
    "-",
    "-",
    "-",
  ]);
  for (const vmap of layers) assert(table.includes(` ${vmap}, vm`), vmap);
});

Deno.test("formatTable() says how many of the CPUs run", () => {
  const result = sampleResult([sampleRun("vmlist", 1, 14_000)]);
  const machine = { ...result.machine, cpus_online: 2 };
  assert(formatTable({ ...result, machine }).includes(": 2 of 8 CPUs, "));
});

Deno.test("formatTable() says which runs of a lazy layer have paid for no flush", () => {
  const table = formatTable(sampleResult([
    sampleRun("vmlist", 1, 14_000),
    sampleRun("rewrite", 1, 600, { tlb_flushes: 0 }),
    sampleRun("rewrite", 8, 3000),
  ]));
  assert(
    table.includes("No flush fell into the runs of rewrite with threads = 1:"),
  );
});
