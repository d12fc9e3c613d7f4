/**
 * A run is a function of machine, parameters and seed: not of who watches it,
 * of how the engine stores its CPUs, or of what else the process does.
 */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { findPreset } from "../arch/hw/presets/index.ts";
import type { EngineOptions } from "../arch/sim/engine.ts";
import { symCount, symName } from "../arch/sim/symbol.ts";
import { ScanQueue } from "../arch/sim/queue_test.ts";
import { boot, type BootedMachine } from "../boot/boot.ts";
import { HostDoor, type HostJob, type Initcall } from "../boot/host_door.ts";
import { START_KERNEL_STEPS } from "../boot/start_kernel.ts";
import { step } from "../boot/step.ts";
import {
  map_touch_unmap,
  type MapApi,
} from "../boot/workloads/map_touch_unmap.ts";
import type { KernelParams } from "../kernel/params.ts";
import type { Thread } from "../kernel/thread.ts";
import { inventory, LAYERS } from "./_machine.ts";
import { TraceHash } from "./_trace_hash.ts";

/** What to boot and run. */
interface Subject {
  readonly preset?: string;
  readonly params?: Partial<KernelParams>;
  readonly engine?: EngineOptions;
  readonly initcalls?: readonly Initcall[];
  readonly threads?: number;
  readonly api?: MapApi;
}

/** Boots, watched from the first step on by `trace` if there is one. */
function bootSubject(subject: Subject, trace: TraceHash | null): BootedMachine {
  return boot({
    spec: findPreset(subject.preset ?? "opteron-2x4"),
    params: subject.params,
    engine: subject.engine,
    initcalls: subject.initcalls,
    steps: [
      step("watch", [], (t) => void (t.machine.engine.observer = trace)),
      ...START_KERNEL_STEPS,
    ],
  });
}

function workload(subject: Subject) {
  return (t: Thread) =>
    map_touch_unmap(t, {
      threads: subject.threads ?? 8,
      ops: subject.params?.vmap === "vmlist" ? 25 : 300,
      warmup: 5,
      pages: 4,
      api: subject.api ?? "vmap",
    });
}

/** All that can be known of a machine from outside. */
function results(booted: BootedMachine): unknown {
  const { machine, kernel } = booted;
  const spent: [string, number][] = [];
  for (let sym = 0; sym < symCount(); sym++) {
    const cycles = machine.engine.cyclesBySym[sym];
    if (cycles > 0) spent.push([symName(sym), cycles]);
  }
  return {
    clocks: machine.engine.cpus.map((cpu) => cpu.clock),
    resumes: machine.engine.resumes,
    spent: spent.sort(([a], [b]) => a < b ? -1 : 1),
    ipis: machine.counters.ipis,
    flushes: kernel.vmalloc.flushes,
    locks: kernel.lockStats.all().map((c) => ({ ...c })),
    tlbs: machine.mmu.tlbs.map(({ hitsL1, hitsL2, hitsLarge, misses }) => [
      hitsL1,
      hitsL2,
      hitsLarge,
      misses,
    ]),
    layer: kernel.vmap.counters(),
    inventory: inventory(kernel),
    dmesg: booted.dmesg(),
  };
}

/** Boots and runs. @returns The trace's digest, if watched, and the results. */
function runSubject(subject: Subject, watched = true): [string, unknown] {
  const trace = watched ? new TraceHash() : null;
  const booted = bootSubject(subject, trace);
  const measured = booted.run(workload(subject));
  return [trace?.digest ?? "", { measured, ...results(booted) as object }];
}

for (const vmap of LAYERS) {
  for (const api of ["ram", "vmap"] as const) {
    Deno.test(`${vmap}, ${api}: observers change neither time nor results`, () => {
      const subject: Subject = { params: { vmap }, api };
      const [digest, watched] = runSubject(subject);
      assert(Number(digest.split(" ")[1]) > 20_000, digest);
      assertEquals(watched, runSubject(subject, false)[1]);
    });
  }

  Deno.test(`${vmap}: the same seed gives the same operations, another seed others`, () => {
    const first = runSubject({ params: { vmap, seed: 5 } });
    assertEquals(runSubject({ params: { vmap, seed: 5 } }), first);
    const [other] = runSubject({ params: { vmap, seed: 6 } });
    assertNotEquals(other, first[0]);
  });

  Deno.test(`${vmap}: a whole run is the same on a queue that scans`, () => {
    const subject: Subject = { params: { vmap } };
    const queue = new ScanQueue(8);
    assertEquals(
      runSubject({ ...subject, engine: { queue } }),
      runSubject(subject),
    );
  });
}

/** Hands `subject`'s workload to pid 1; it runs when the engine does. */
function give(subject: Subject, booted: BootedMachine): HostJob {
  const job = { fn: workload(subject), done: false, result: undefined };
  HostDoor.of(booted.kernel).give(job);
  return job;
}

Deno.test("two machines stepped in turns are as alone", () => {
  const subjects: Subject[] = [
    { params: { vmap: "rewrite", seed: 1 }, api: "ram" },
    { preset: "i386-4", params: { vmap: "vmlist", seed: 9 }, threads: 4 },
  ];
  const alone = subjects.map((subject) => runSubject(subject));

  // The second boots while the first stands in the middle of its own boot.
  const traces = subjects.map(() => new TraceHash());
  let second: BootedMachine | null = null;
  const first = bootSubject({
    ...subjects[0],
    initcalls: [{
      name: "other_machine",
      // deno-lint-ignore require-yield -- an instant of the first's time
      *fn() {
        second = bootSubject(subjects[1], traces[1]);
      },
    }],
  }, traces[0]);
  const machines = [first, second!];
  const jobs = subjects.map((subject, i) => give(subject, machines[i]));
  let turns = 0;
  const { clock } = second!.machine.engine.cpus[0];
  for (let until = clock; jobs.some(({ done }) => !done); until += 10_000) {
    machines.forEach(({ machine }, i) => {
      if (jobs[i].done) return;
      machine.engine.run(until);
      turns++;
    });
  }
  const together = machines.map((booted, i): [string, unknown] => [
    traces[i].digest,
    { measured: jobs[i].result, ...results(booted) as object },
  ]);
  assert(turns > 1000, `${turns} turns`);
  assertEquals(together, alone);
});
