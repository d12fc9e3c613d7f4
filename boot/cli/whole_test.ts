/** The command line with a real machine behind it, in this process. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { FakeIo } from "./_fake_io.ts";
import { run } from "./command.ts";
import { RUNNERS } from "./workloads.ts";

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
