/** The command line with a real machine behind it, in this process. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { eachMachine } from "../each_machine.ts";
import { get_vm_area } from "../../kernel/mm/vmalloc.ts";
import { VM_MAP } from "../../kernel/mm/vm_struct.ts";
import { FakeIo } from "./_fake_io.ts";
import { run } from "./command.ts";
import { RUNNERS, type Runners } from "./workloads.ts";

Deno.test("run() boots both layers, and prints the same bytes twice", async () => {
  for (const format of ["text", "json", "csv"]) {
    const args = ["--cpus=2", "--ops=20", `--format=${format}`, "--seed=5"];
    const [first, second] = [new FakeIo(), new FakeIo()];
    assertEquals(await run(args, first, RUNNERS), 0, first.stderr);
    assertEquals(await run(args, second, RUNNERS), 0);
    assertEquals(first.stdout, second.stdout);
    if (format === "json") {
      const { seed, runs } = JSON.parse(first.stdout);
      assertEquals(seed, 5);
      assertEquals(
        runs.map((r: { vmap: string; threads: number }) => [r.vmap, r.threads]),
        [["vmlist", 1], ["vmlist", 2], ["rewrite", 1], ["rewrite", 2]],
      );
    }
  }
});

Deno.test("run() shows how a kernel that runs out of address space ends", async () => {
  const io = new FakeIo();
  const args = ["--machine=i386-4", "--threads=1", "--ops=1", "--pages=9000"];
  assertEquals(await run([...args, "--append=vmalloc=32M"], io, RUNNERS), 1);
  assertStringIncludes(io.stdout, "kernel BUG at map_touch_unmap: ");
  assertStringIncludes(io.stdout, "]  map_touch_unmap\n");
  assert(!io.stdout.includes(".ts:"), "a JavaScript stack shows");
  assertEquals(io.stderr.split("\n").length, 2);
});

Deno.test("run() --sanitize=all prints the same bytes as without: sanitizers take no virtual time", async () => {
  const runs = [
    "--ops=40",
    "--workload=map-touch-unmap --ops=40",
    "--workload=xfs-ls",
    "--workload=modules --ops=4",
    "--workload=none --machine=xen-pv",
  ];
  for (const line of runs) {
    const args = ["--cpus=2", ...line.split(" ")];
    const [plain, watched] = [new FakeIo(), new FakeIo()];
    assertEquals(await run(args, plain, RUNNERS), 0, plain.stderr);
    const code = await run([...args, "--sanitize=all"], watched, RUNNERS);
    assertEquals(code, 0, watched.stderr);
    assertEquals(watched.stdout, plain.stdout);
  }
});

Deno.test("run() ends with what a sanitizer found: both stacks, the seed, exit code 1", async () => {
  const io = new FakeIo();
  const args = [
    "--sanitize=race",
    "--append=vmap.quirk=static-vmap-area",
    "--vmap=rewrite",
    "--api=vmap",
    "--workload=map-touch-unmap",
    "--cpus=2",
    "--threads=2",
    "--ops=10",
  ];
  assertEquals(await run(args, io, RUNNERS), 1);
  const lines = io.stdout.split("\n").map((line) => line.slice(15));
  const headline =
    "BUG: KCSAN: data-race in __get_vm_area_node / __get_vm_area_node";
  const oops = lines.slice(lines.indexOf(headline));
  assertEquals(oops.filter((line) => line.startsWith("CPU ")).length, 1);
  const sections = oops.filter((line) =>
    line.includes(" to va of 8 bytes by ")
  );
  assertEquals(sections.length, 2);
  assertEquals(oops.filter((line) => line === " __get_vm_area_node").length, 3);
  assertEquals(
    oops.at(-2),
    "Seed: 1 (the same arguments give the same oops)",
  );
  assertStringIncludes(io.stderr, headline);
  assertEquals(io.stderr.trimEnd().split("\n").length, 1);
});

Deno.test("run() ends with what sanitizers find when the run is over: a leak, areas that do not add up", async () => {
  const headlines: Readonly<Record<string, string>> = {
    kasan: "BUG: KASAN: memory leak: vm_struct",
    areas: "BUG: vmap: inconsistent: ",
  };
  for (const [name, headline] of Object.entries(headlines)) {
    for (const layer of ["vmlist", "rewrite"]) {
      const runners: Runners = {
        ...RUNNERS,
        none: (options) =>
          eachMachine(options, (booted, vmap) => {
            booted.run((t) => get_vm_area(t, 4096, VM_MAP));
            const { vmalloc } = booted.kernel;
            if (name === "areas") vmalloc.vmlist!.addr += 8192;
            else vmalloc.vmlist = null; // what was there is nobody's
            return { workload: "none", vmap, modules: [] };
          }),
      };
      const args = ["--workload=none", `--vmap=${layer}`, "--cpus=2"];
      const io = new FakeIo();
      assertEquals(await run(args, io, runners), 0, io.stderr);
      const watched = [...args, `--sanitize=${name}`];
      assertEquals(await run(watched, io, runners), 1, `${name}, ${layer}`);
      assertStringIncludes(io.stderr, headline);
    }
  }
});
