import { assertEquals } from "@std/assert";
import type { ModulesRun } from "../boot/results.ts";
import { sampleResult } from "./_sample.ts";
import { formatCsv } from "./csv.ts";
import { formatJson } from "./json.ts";
import { formatModules, formatNone } from "./modules.ts";

function sampleModulesRun(vmap: string, threads: number): ModulesRun {
  return {
    workload: "modules",
    vmap,
    threads,
    ops: 40 * threads,
    loads_per_s: 10_000,
    sections: 478 * threads,
    section_bytes: 804_286 * threads,
    refusals: 11,
    tlb_flushes: vmap === "vmlist" ? 120 * threads : 0,
    ipis: 800,
    lock_wait_ns: 2_500_000,
    profile: [{ symbol: "load_module", ticks: 100, percent: 100 }],
    locks: [{
      name: "module_mutex",
      acquisitions: 167,
      contentions: 20,
      wait_ns: 2_000_000 * threads,
      hold_ns: 3_000_000,
    }],
  };
}

const RESULT = sampleResult([
  sampleModulesRun("vmlist", 1),
  sampleModulesRun("vmlist", 2),
  sampleModulesRun("rewrite", 2),
]);

Deno.test("formatModules() has a row for each number of tasks, and dashes for what did not run", () => {
  assertEquals(formatModules(RESULT).split("\n").slice(3), [
    "2390 sections read back: all as another linker has them",
    "",
    "         -------------- vmlist --------------  ------------- rewrite --------------",
    "threads  loads/s  flushes  IPIs  mutex wait %  loads/s  flushes  IPIs  mutex wait %",
    "      1    10000      3.0    20          50.0        -        -     -             -",
    "      2    10000      3.0    10          25.0    10000        0    10          25.0",
    "",
  ]);
});

Deno.test("JSON and CSV of modules lose nothing that they should have", () => {
  assertEquals(JSON.parse(formatJson(RESULT)), RESULT);
  assertEquals(formatCsv(RESULT).split("\n").slice(0, 2), [
    "schema,machine,cpus,seed,workload,vmap,threads,ops,loads_per_s,sections,section_bytes,refusals,tlb_flushes,ipis,lock_wait_ns",
    "1,opteron-2x4,8,1,modules,vmlist,1,40,10000,478,804286,11,120,800,2500000",
  ]);
});

Deno.test("formatNone() lists the modules of each run", () => {
  const none = (modules: string[]) =>
    sampleResult([{ workload: "none", vmap: "rewrite", modules } as const]);
  assertEquals(formatNone(none([])), "");
  assertEquals(formatNone(none(["a 1 0 - Live 0x0"])), "a 1 0 - Live 0x0\n");
});
