/**
 * The workloads under fault injection, as the command line starts them, with
 * every sanitizer on: they go on and count what failed, nothing oopses, and all
 * comes back. What cannot go on says so in a line.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { findPreset } from "../arch/hw/presets/index.ts";
import { FakeIo } from "../boot/cli/_fake_io.ts";
import { run } from "../boot/cli/command.ts";
import { RUNNERS } from "../boot/cli/workloads.ts";
import { boot } from "../boot/boot.ts";
import { labModules } from "../boot/images/lab_modules.ts";
import { parseCommandLine } from "../boot/params.ts";
import type { AnyRun, BootResult, InjectedFaults } from "../boot/results.ts";
import { map_touch_unmap } from "../boot/workloads/map_touch_unmap.ts";
import { module_churn } from "../boot/workloads/modules.ts";
import type { Steps } from "../arch/asm.ts";
import type { Thread } from "../kernel/thread.ts";
import { inventory, LAYERS, settle_blocks } from "./_machine.ts";

/** Often and rarely, of each kind. */
const FAULTS = [
  "failslab=1,5,0,-1",
  "failslab=1,60,0,-1",
  "fail_page_alloc=1,5,0,-1",
  "fail_page_alloc=1,60,0,-1",
  "fail_page_table=1,60,0,-1",
  "ipi_delay=30,50000",
];

async function result(
  args: readonly string[],
  faults: string,
): Promise<BootResult<AnyRun>> {
  const io = new FakeIo();
  const all = [...args, `--append=${faults}`, "--format=json"];
  assertEquals(await run(all, io, RUNNERS), 0, io.stderr);
  return JSON.parse(io.stdout);
}

function total(injected: InjectedFaults): number {
  const { failslab, fail_page_alloc, fail_page_table, late_ipis } = injected;
  return failslab + fail_page_alloc + fail_page_table + late_ipis;
}

const files = await labModules();

/** Workloads that run on a machine of ours, so that it can be counted afterwards. */
const CHURNS: Readonly<Record<string, (t: Thread) => Steps<unknown>>> = {
  "map-touch-unmap, vm_map_ram()": (t) =>
    map_touch_unmap(t, {
      threads: 8,
      ops: 80,
      warmup: 2,
      pages: 32, // so that blocks run out
      api: "ram",
    }),
  "map-touch-unmap, vmap()": (t) =>
    map_touch_unmap(t, {
      threads: 8,
      ops: 40,
      warmup: 2,
      pages: 4,
      api: "vmap",
    }),
  "modules": (t) => module_churn(t, { threads: 4, ops: 3, files }),
};

for (const layer of LAYERS) {
  for (const [name, work] of Object.entries(CHURNS)) {
    Deno.test(`${layer}: ${name} gives everything back though allocations fail`, () => {
      let injected = 0;
      for (const faults of FAULTS) {
        for (const seed of [1, 2]) {
          const { params } = parseCommandLine(
            `${faults} vmap=${layer} seed=${seed}`,
          );
          const booted = boot({
            spec: findPreset("opteron-2x4"),
            params,
            sanitize: ["kasan", "areas", "tlb", "lockdep", "rcu"],
          });
          const { kernel } = booted;
          // The same in advance without faults, for what is made once.
          kernel.faults.disarm();
          const { failslab, fail_page_alloc, fail_page_table } = kernel.faults;
          const attrs = [failslab, fail_page_alloc, fail_page_table];
          const chances = attrs.map(({ probability }) => probability);
          for (const attr of attrs) attr.probability = 0;
          booted.run(work);
          booted.run(settle_blocks);
          const before = inventory(kernel);
          attrs.forEach((attr, i) => attr.probability = chances[i]);
          booted.run(work);
          kernel.faults.disarm();
          booted.run(settle_blocks);
          assertEquals(kernel.vmap.check(), [], faults);
          assertEquals(inventory(kernel), before, faults);
          assertEquals(kernel.printk.warnings, 0);
          injected += kernel.faults.injected;
        }
      }
      assert(injected > 30, `${injected} failures`);
    });
  }
}

const RUNS: Readonly<Record<string, readonly string[]>> = {
  "all": ["--workload=all"],
  "xen": ["--workload=xen", "--machine=xen-pv"],
  "xfs-large-dir": ["--workload=xfs-large-dir", "--threads=4", "--ops=40"],
  "xfs-large-dir, blkfront": [
    "--workload=xfs-large-dir",
    "--machine=xen-pv",
    "--disk-driver=blkfront",
    "--threads=4",
    "--ops=30",
  ],
};

for (const [name, args] of Object.entries(RUNS)) {
  Deno.test(`${name}: the run goes on though allocations fail, and says how many operations did`, async () => {
    let failed = 0;
    for (
      const faults of [
        "failslab=1,5,0,-1",
        "fail_page_alloc=1,60,0,-1",
        "fail_page_table=1,60,0,-1 ipi_delay=30,50000",
      ]
    ) {
      const { runs } = await result([...args, "--vmap=rewrite"], faults);
      for (const { injected } of runs) {
        assert(total(injected!) > 0, faults);
        failed += injected!.failed_ops;
      }
    }
    assert(failed > 0);
  });
}

Deno.test("the same seed gives the same failures, another seed others", async () => {
  const args = ["--workload=map-touch-unmap", "--api=vmap", "--ops=60"];
  const once = async (seed: number) =>
    JSON.stringify(
      (await result([...args, `--seed=${seed}`], "failslab=1,20,0,-1")).runs,
    );
  const first = await once(1);
  assertEquals(await once(1), first);
  assert(await once(2) !== first);
});

Deno.test("injection that asks for nothing changes no virtual time and no output", async () => {
  const args = ["--workload=map-touch-unmap", "--ops=60", "--threads=4"];
  const runs = async (faults: string) =>
    JSON.stringify((await result(args, faults)).runs);
  const none = await runs("seed=1");
  assertEquals(none.includes("injected"), false);
  const off = "failslab=1,0,0,-1 fail_page_alloc=1,0,0,-1 ipi_delay=0,100";
  assertEquals(await runs(off), none);
});

Deno.test("what cannot go on without memory says so in a line, and exits with 1", async () => {
  const io = new FakeIo();
  const args = ["--workload=xfs-ls", "--quiet"];
  const faults = "--append=failslab=1,100,0,-1";
  assertEquals(await run([...args, faults], io, RUNNERS), 1);
  assertStringIncludes(io.stderr, "FAULT_INJECTION: forcing a failure");
  assertEquals(
    io.stderr.trimEnd().split("\n").at(-1),
    "vmaplab: Cannot mount the disk as xfs: ENOMEM (Cannot allocate memory)",
  );
});

Deno.test("text output ends with what was injected", async () => {
  const io = new FakeIo();
  const args = ["--workload=map-touch-unmap", "--api=vmap", "--quiet"];
  const more = ["--vmap=rewrite", "--threads=2", "--ops=50"];
  const faults = "--append=failslab=1,100,0,7";
  assertEquals(await run([...args, ...more, faults], io, RUNNERS), 0);
  assertEquals(
    io.stdout.trimEnd().split("\n").at(-1),
    "map-touch-unmap, vmap=rewrite, threads=2: 7 operations failed (injected: 7 slab objects, 0 blocks of pages, 0 page tables; 0 late IPIs)",
  );
});
