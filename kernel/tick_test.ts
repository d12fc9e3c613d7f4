import { assert, assertEquals } from "@std/assert";
import { ksym, spin_until, WRITE_ONCE } from "../arch/asm.ts";
import { Cell } from "../arch/hw/cell.ts";
import { kthread_bind, kthread_create, kthread_join } from "./kthread.ts";
import { LOCAL_TIMER_VECTOR } from "./irq_vectors.ts";
import { wake_up_process } from "./sched/wakeup.ts";
import { smp_call_function_single } from "./smp.ts";
import { runKernel, spend, spendMs } from "./testing.ts";
import type { Thread } from "./thread.ts";
import { msleep } from "./timer.ts";

function clockReads(t: Thread): number {
  const { machine } = t.k;
  const cycles = machine.engine.cyclesBySym[ksym("clocksource_read")];
  return cycles / machine.spec.clocksource.readCycles;
}

Deno.test("an interrupt of an idle CPU reads the clock source three times", () => {
  const { result } = runKernel({ cpus: 2 }, function* (t) {
    yield* msleep(t, 50); // CPU 1 has stopped its tick
    const before = clockReads(t);
    yield* smp_call_function_single(t, 1, () => {}, null, true);
    for (let i = 0; i < 20; i++) {
      yield* spend(t, 1000);
    }
    return clockReads(t) - before;
  });
  assertEquals(Math.round(result * 100) / 100, 3);
});

Deno.test("an interrupt of a busy CPU does not read the clock source", () => {
  const { result } = runKernel({ cpus: 2 }, function* (t) {
    const stop = new Cell("stop", 0);
    const p = yield* kthread_create(t, (p) => spin_until(p, stop, 1, 1), "p");
    kthread_bind(p, 1);
    yield* wake_up_process(t, p);
    yield* msleep(t, 10);
    const before = clockReads(t);
    yield* smp_call_function_single(t, 1, () => {}, null, true);
    const reads = clockReads(t) - before;
    yield* WRITE_ONCE(t, stop, 1);
    yield* kthread_join(t, p);
    return reads;
  });
  assertEquals(result, 0);
});

Deno.test("a busy CPU ticks HZ times a second, an idle one hardly", () => {
  const { result } = runKernel({ cpus: 2 }, function* (t) {
    const ticks = () =>
      [0, 1].map((cpu) => t.k.irq.count(cpu, LOCAL_TIMER_VECTOR));
    yield* msleep(t, 20);
    const before = ticks();
    for (let i = 0; i < 1000; i++) {
      yield* spendMs(t, 1);
    }
    return ticks().map((n, cpu) => n - before[cpu]);
  });
  assert(Math.abs(result[0] - 250) <= 1, `${result[0]} ticks`);
  assert(result[1] <= 1, `${result[1]} ticks while idle`);
});

Deno.test("whoever ticks counts jiffies when the one with the duty is idle", () => {
  const { result } = runKernel({ cpus: 4 }, function* (t) {
    const p = yield* kthread_create(t, function* (p) {
      for (let i = 0; i < 100; i++) {
        yield* spendMs(p, 1);
      }
      return [p.k.tick.do_timer_cpu, p.k.tick.jiffies];
    }, "busy");
    kthread_bind(p, 3);
    const before = t.k.tick.jiffies;
    yield* wake_up_process(t, p);
    const [duty, jiffies] = (yield* kthread_join(t, p)) as number[];
    return { duty, passed: jiffies - before };
  });
  assertEquals(result.duty, 3);
  assert(Math.abs(result.passed - 25) <= 1, `${result.passed} jiffies`);
});
