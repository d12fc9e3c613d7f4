import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { CpuState } from "../arch/sim/cpu.ts";
import { on_each_cpu } from "./smp.ts";
import { cpu_up } from "./smpboot.ts";
import { runKernel, testSpec } from "./testing.ts";
import { msleep } from "./timer.ts";
import { EINVAL } from "./lib/errno.ts";

Deno.test("all CPUs come up, go idle, and the machine goes quiet", () => {
  const { k, machine, stopped } = runKernel({ cpus: 8 }, function* (t) {
    yield* msleep(t, 1);
  });
  assertEquals(stopped, "idle");
  assertEquals(k.cpu_online.list, [0, 1, 2, 3, 4, 5, 6, 7]);
  for (const cpu of machine.engine.cpus) {
    assertEquals(cpu.state, CpuState.HALTED);
    assertEquals(cpu.timerAt, Infinity, `CPU ${cpu.id} has a timer set`);
  }
  assertStringIncludes(k.printk.dmesg(), "Brought up 8 CPUs\n");
});

Deno.test("nr_cpus= leaves the other CPUs off", () => {
  const run = runKernel({ cpus: 8, params: { nr_cpus: 3 } }, function* (t) {
    return yield* cpu_up(t, 5);
  });
  assertEquals(run.result, -EINVAL);
  assertEquals(run.k.cpu_online.list, [0, 1, 2]);
  assertEquals(run.machine.engine.cpus[3].state, CpuState.OFFLINE);
});

Deno.test("the same seed and program give the same clocks", () => {
  const once = () =>
    runKernel({ cpus: 8 }, function* (t) {
      for (let i = 0; i < 5; i++) {
        yield* on_each_cpu(t, () => {}, null, true);
        yield* msleep(t, 3);
      }
    });
  const [a, b] = [once(), once()];
  assertEquals(a.clocks, b.clocks);
  assertEquals(a.k.printk.dmesg(), b.k.printk.dmesg());
  assertEquals(a.machine.engine.resumes, b.machine.engine.resumes);
});

Deno.test("4096 CPUs boot in a few host steps each", () => {
  const { k, machine } = runKernel({ spec: testSpec(4096) }, function* () {
    yield* [];
  });
  assertEquals(k.cpu_online.weight, 4096);
  assert(
    machine.engine.resumes < 4096 * 12,
    `${machine.engine.resumes} resumes`,
  );
});
