/** The mixed runs on whole machines, as the command line starts them. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { FakeIo } from "../boot/cli/_fake_io.ts";
import { run } from "../boot/cli/command.ts";
import { RUNNERS } from "../boot/cli/workloads.ts";
import type { BootResult, MixedRun } from "../boot/results.ts";

async function mixed(...args: string[]): Promise<BootResult<MixedRun>> {
  const io = new FakeIo();
  assertEquals(
    await run([...args, "--format=json"], io, RUNNERS),
    0,
    io.stderr,
  );
  return JSON.parse(io.stdout);
}

function partsOf({ parts }: MixedRun): Record<string, number | string> {
  return Object.fromEntries(
    parts.map(({ name, ops, skipped }) => [name, skipped ?? ops]),
  );
}

for (const layer of ["vmlist", "rewrite"]) {
  Deno.test(`--workload=all: every part does something on ${layer}, and all comes back`, async () => {
    const { runs, dmesg } = await mixed("--workload=all", `--vmap=${layer}`);
    const [{ vmap, leaked_pages, leaked_areas, peak_areas, calls }] = runs;
    assertEquals([vmap, leaked_pages, leaked_areas], [layer, 0, 0]);
    const { xen, ...others } = partsOf(runs[0]);
    assertEquals(xen, "no hypervisor on this machine");
    for (const [name, ops] of Object.entries(others)) {
      assert(typeof ops === "number" && ops > 10, `${name}: ${ops}`);
    }
    assert(peak_areas > 10);
    assert(calls.vmap > 100 && calls.vmalloc > 100);
    for (const name of ["brd_init", "init_xfs_fs", "proc_modules_init"]) {
      const line = `initcall ${name} returned 0 after`;
      assert(dmesg.some((text) => text.includes(line)), name);
    }
  });
}

Deno.test("--workload=xen: processes, front ends and descriptor tables on one machine", async () => {
  const { runs, dmesg } = await mixed("--workload=xen", "--machine=xen-pv");
  for (const [name, ops] of Object.entries(partsOf(runs[0]))) {
    assert(typeof ops === "number" && ops > 5, `${name}: ${ops}`);
  }
  assertEquals([runs[0].leaked_pages, runs[0].leaked_areas], [0, 0]);
  assert(runs[0].calls.alloc_vm_area > 0);
  assert(dmesg.some((line) => line.includes("initcall xenbus_probe_init")));
  assert(!dmesg.some((line) => line.includes("(XEN)")), dmesg.join("\n"));
});

Deno.test("the same seed gives the same mixed run, another seed another", async () => {
  const window = async (seed: number) => {
    const args = ["--workload=xen", "--machine=xen-pv", `--seed=${seed}`];
    return JSON.stringify((await mixed(...args)).runs);
  };
  const first = await window(1);
  assertEquals(await window(1), first);
  assert(await window(2) !== first);
});

Deno.test("a machine too small for the mixed run leaves it out, and says why", async () => {
  const { runs } = await mixed("--workload=all", "--append=mem=64M");
  const { xfs, attributes } = partsOf(runs[0]);
  assertEquals([xfs, attributes], [
    "less than 128M of memory",
    "less than 128M of memory",
  ]);
});

Deno.test("each omitted call of vm_unmap_aliases() ends a mixed run in a report that names the alias", async () => {
  const cases = [
    ["opteron-2x4", "pageattr.quirk=no-unmap-aliases"],
    ["i386-4", "pageattr.quirk=no-unmap-aliases"],
    ["xen-pv", "xen.quirk=no-unmap-aliases-on-pin"],
    ["xen-pv", "xen.quirk=no-unmap-aliases-on-alloc-ptpage"],
    ["xen-pv", "xen.quirk=late-unmap-aliases"],
    ["xen-pv", "xen.quirk=no-unmap-aliases-on-ldt"],
  ];
  for (const [machine, quirk] of cases) {
    const io = new FakeIo();
    const workload = machine === "xen-pv" ? "xen" : "all";
    const args = [
      `--workload=${workload}`,
      `--machine=${machine}`,
      `--append=${quirk}`,
    ];
    assertEquals(await run(args, io, RUNNERS), 1, quirk);
    assertMatch(
      io.stderr,
      /alias [0-9a-f]+ of frame [0-9a-f]+, writable write-back, in the page table: mapped by \w+ \(\S+ CPU \d\) at \d+\.\d+, unmapped by \w+ \(\S+ CPU \d\) at \d+\.\d+\n$/,
      quirk,
    );
  }
});

Deno.test("TLBs that are not flushed are found out", async () => {
  const io = new FakeIo();
  const args = ["--workload=all", "--append=pageattr.quirk=no-flush"];
  assertEquals(await run(args, io, RUNNERS), 1);
  assertMatch(io.stderr, /conflicting memory types .*, in the TLB of CPU \d:/);
});
