import { assertEquals } from "@std/assert";
import { sampleLargeDirRun, sampleLsRun, sampleResult } from "./_sample.ts";
import { formatCsv } from "./csv.ts";
import { formatJson } from "./json.ts";
import { formatLargeDir } from "./large_dir.ts";
import { formatLs, printable } from "./ls.ts";
import { formatReadprofile } from "./readprofile.ts";

const RUNS = [
  sampleLargeDirRun("vmlist", 8),
  sampleLargeDirRun("vmlist", 64),
  sampleLargeDirRun("rewrite", 64),
];

Deno.test("formatLargeDir() has a row for each number of threads, a dash for what did not run", () => {
  assertEquals(
    formatLargeDir(sampleResult(RUNS)),
    `\
xfs-large-dir on opteron-2x4: 8 CPUs, 2 sockets, 2 nodes, 2.3 GHz, 4 KiB pages
lookups/s: names looked up and stat'ed in a virtual second, all threads together
vmaps, flushes, IPIs: for each lookup
speed-up: lookups/s over that of vmlist

         ------- vmlist, vmap() --------  ---------- rewrite, vm_map_ram() ----------
threads  lookups/s  vmaps  flushes  IPIs  lookups/s  vmaps  flushes    IPIs  speed-up
      8      25000    2.0      2.0   126          -      -        -       -         -
     64      25000    2.0      2.0   126     500000    2.0  0.00016  0.0098      20.0
`,
  );
});

Deno.test("formatLargeDir() has the speed-up of 2008 on that machine alone", () => {
  const result = sampleResult(RUNS);
  const machine = { ...result.machine, name: "altix-64" };
  const line = "speed-up: lookups/s over that of vmlist (2008, 64 CPUs: 20)\n";
  assertEquals(formatLargeDir({ ...result, machine }).includes(line), true);
});

Deno.test("formatLargeDir() shows no speed-up where there is nothing to compare with", () => {
  const lonely = sampleLargeDirRun("rewrite", 4, { speedup: null });
  assertEquals(
    formatLargeDir(sampleResult([lonely])).includes("speed-up"),
    false,
  );
});

Deno.test("formatReadprofile() shows ticks, symbol and load, and the shares of 2008 beside the run that was measured", () => {
  const run = sampleLargeDirRun("vmlist", 64);
  assertEquals(
    formatReadprofile(run, "altix-64", 2),
    `\
vmlist, 64 threads: profile (1 tick = 1 us of one CPU)
load: ticks over the size of the function in 2008, bytes; - = not known
ticks  symbol          load       %  2008 %
 1000  total         0.0001  100.00  100.00
  590  _write_lock   6.1458   59.00   59.08
  390  default_idle  0.8705   39.00   39.15
   20  others (1)         -    2.00       -
vmap layer and TLB flushes, with the interrupts that timer ticks do not see and without
waits for locks: 12.34 % of what was not idle
`,
  );
  assertEquals(formatReadprofile(run, "opteron-2x4").includes("2008 %"), false);
  const fewer = sampleLargeDirRun("vmlist", 32);
  assertEquals(formatReadprofile(fewer, "altix-64").includes("2008 %"), false);
});

Deno.test("formatJson() of xfs-large-dir has lookups_per_s, speedup and loads", () => {
  const result = sampleResult(RUNS);
  const text = formatJson(result);
  assertEquals(JSON.parse(text), result);
  const { runs } = JSON.parse(text);
  assertEquals(Object.keys(runs[0]), [
    "workload",
    "vmap",
    "buf_map",
    "threads",
    "ops",
    "lookups",
    "lookups_per_s",
    "speedup",
    "vmap_ops",
    "vmap_percent",
    "tlb_flushes",
    "ipis",
    "lock_wait_ns",
    "total_load",
    "profile",
    "locks",
  ]);
  assertEquals(Object.keys(runs[0].profile[0]), [
    "symbol",
    "ticks",
    "percent",
    "load",
  ]);
});

Deno.test("formatJson() of xfs-ls has a name's bytes where they are not UTF-8, and only there", () => {
  const result = sampleResult([sampleLsRun()]);
  const { runs } = JSON.parse(formatJson(result));
  assertEquals(runs, result.runs);
  assertEquals(Object.keys(runs[0]), ["workload", "vmap", "path", "entries"]);
  assertEquals(Object.keys(runs[0].entries[0]), ["name", "ino"]);
  assertEquals(Object.keys(runs[0].entries[2]), ["name", "name_hex", "ino"]);
});

Deno.test("formatCsv() has a line for each run of xfs-large-dir, and for each name of xfs-ls", () => {
  assertEquals(
    formatCsv(sampleResult(RUNS.slice(1))),
    `\
schema,machine,cpus,seed,workload,vmap,buf_map,threads,ops,lookups,lookups_per_s,speedup,vmap_ops,vmap_percent,tlb_flushes,ipis,lock_wait_ns
1,opteron-2x4,8,1,xfs-large-dir,vmlist,vmap,64,6464,6400,25000,1,12800,12.34,12800,806400,1500000
1,opteron-2x4,8,1,xfs-large-dir,rewrite,vm_map_ram,64,6464,6400,500000,20,12800,0.5,1,63,0
`,
  );
  assertEquals(
    formatCsv(sampleResult([sampleLsRun()])),
    `\
schema,machine,cpus,seed,workload,vmap,path,ino,name,name_hex
1,opteron-2x4,8,1,xfs-ls,rewrite,/names,131,a,
1,opteron-2x4,8,1,xfs-ls,rewrite,/names,4096,"b
""\\,\u00e9",
1,opteron-2x4,8,1,xfs-ls,rewrite,/names,132,caf\ufffd,636166e9
`,
  );
  const empty = { ...sampleLsRun(), entries: [] };
  assertEquals(formatCsv(sampleResult([empty])).split("\n").length, 2);
});

Deno.test("formatLs() puts any name on one line", () => {
  assertEquals(
    formatLs(sampleResult([sampleLsRun()])),
    ` 131  a
4096  b\\x0a"\\\\,\u00e9
 132  caf\\xe9
`,
  );
  assertEquals(printable("\u2028\x7f \\x41"), "\\u2028\\x7f \\\\x41");
});
