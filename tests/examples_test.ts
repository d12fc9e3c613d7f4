/** The examples print what their comments say, without permissions. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { main as broken_boot_order } from "../examples/broken_boot_order.ts";
import { main as driver } from "../examples/driver.ts";
import { main as find_a_race } from "../examples/find_a_race.ts";
import { main as first_boot } from "../examples/first_boot.ts";
import { main as own_layer } from "../examples/own_layer.ts";

const canRun =
  (await Deno.permissions.query({ name: "run" })).state === "granted" &&
  (await Deno.permissions.query({ name: "read" })).state === "granted";

Deno.test("examples/first_boot.ts prints a log and a profile, the same each time", () => {
  const lines = first_boot();
  assertEquals(first_boot(), lines);
  const end = lines.indexOf("");
  assertMatch(lines[0], /^\[ {4}0\.00000\d\] Linux version 2\.6\.28-vmaplab/);
  assertMatch(lines[end - 1], /\] Boot complete: 8 CPUs, vmap=rewrite$/);
  assertMatch(lines[end + 1], /^\d+ pages wait for a purge, \d+ interrupts/);
  assertEquals(lines[end + 2], "   us  symbol");
  const profile = lines.slice(end + 3);
  assertEquals(profile.length, 8);
  const ticks = profile.map((line) =>
    Number(/^ *(\d+) {2}\w+$/.exec(line)![1])
  );
  assertEquals(ticks, ticks.toSorted((a, b) => b - a));
  assert(profile.some((line) => line.endsWith("  alloc_vmap_area")));
});

Deno.test("examples/driver.ts reads each of its samples on time", () => {
  const lines = driver();
  assertEquals(lines.length, 1);
  assertMatch(lines[0], /\] ring: 1999 of 2000 samples on time$/);
});

Deno.test("examples/own_layer.ts flushes at each operation, the rewrite hardly ever", () => {
  const lines = own_layer();
  const line = /^([\w-]+): ([\d.]+) ns an operation, (\d+) flushes in (\d+)$/;
  const runs = lines.map((text) => line.exec(text)!);
  assertEquals(runs.map(([, name]) => name), ["vmlist", "rewrite", "bump"]);
  const [vmlist, rewrite, bump] = runs.map(([, , ns, flushes, ops]) => ({
    ns: Number(ns),
    perOp: Number(flushes) / Number(ops),
  }));
  assert(Math.abs(vmlist.perOp - 1) < 0.01 && Math.abs(bump.perOp - 1) < 0.01);
  assert(rewrite.perOp < 0.01);
  assert(rewrite.ns * 5 < bump.ns && bump.ns < vmlist.ns);
});

Deno.test("examples/broken_boot_order.ts oopses and names what is missing", () => {
  const lines = broken_boot_order();
  const oops = lines.findIndex((line) => line.startsWith("BUG: "));
  assertEquals(lines.slice(oops), [
    'BUG: unable to handle kernel NULL pointer dereference: "vmap" is used before vmalloc_init()',
    "CPU 0, pid 0, comm: swapper",
    "Call Trace:",
    " alloc_large_system_hash",
    " dcache_init",
    " vfs_caches_init",
    " start_kernel",
    " startup_64",
  ]);
  assertMatch(lines[oops - 1], /^\[ {4}0\.\d{6}\] /);
});

Deno.test("examples/find_a_race.ts finds the race, replays it, and passes the repaired counter", () => {
  const lines = find_a_race();
  assertMatch(
    lines[0],
    /^with preempt_disable\(\): 500 random schedules, then all \d+ with one preemption: nothing found$/,
  );
  const [headline] = lines.slice(2).map((line) => line.trim());
  assertMatch(headline, /^BUG: KCSAN: data-race in count_hit/);
  assert(
    lines.some((line) =>
      /^ {2}replay\("v\d+\.\S*m\S*", scenario\)$/.test(line)
    ),
  );
  assertEquals(lines.at(-2), `replayed: ${headline}`);
  assertMatch(lines.at(-1)!, /^without sanitizers: .* hits of 6 were counted$/);
});

/** As much of `deno doc --json` as is looked at. */
interface DocSymbol {
  readonly name: string;
  readonly declarations: readonly {
    readonly kind: string;
    readonly jsDoc?: { readonly tags?: readonly { readonly kind: string }[] };
  }[];
}

Deno.test({
  name: "every function and class of mod.ts has an example",
  ignore: !canRun,
  async fn() {
    const { success, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["doc", "--json", "mod.ts"],
      cwd: new URL("../", import.meta.url),
      stderr: "null",
    }).output();
    assert(success);
    const { nodes } = JSON.parse(new TextDecoder().decode(stdout));
    const [{ symbols }] = Object.values(nodes) as { symbols: DocSymbol[] }[];
    const without = symbols.filter(({ declarations: [{ kind, jsDoc }] }) =>
      (kind === "function" || kind === "class") &&
      !jsDoc?.tags?.some((tag) => tag.kind === "example")
    );
    assertEquals(without.map(({ name }) => name), []);
    assert(symbols.length > 200);
  },
});
