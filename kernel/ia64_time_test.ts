/** The tick of ia64: always on, but for what nobody would notice. */
import { assert, assertEquals } from "@std/assert";
import { ksym } from "../arch/asm.ts";
import { findPreset } from "../arch/hw/presets/index.ts";
import { withCpus } from "../arch/hw/validate.ts";
import { LOCAL_TIMER_VECTOR } from "./irq_vectors.ts";
import { kthread_bind, kthread_create, kthread_join } from "./kthread.ts";
import { call_rcu, rcu_barrier, RcuHead, synchronize_rcu } from "./rcu.ts";
import { wake_up_process } from "./sched/wakeup.ts";
import { smp_call_function } from "./smp.ts";
import { runKernel, spend, spendMs } from "./testing.ts";
import { msleep } from "./timer.ts";
import { usleep } from "./hrtimer.ts";

const ALTIX = findPreset("altix-64");

Deno.test("ia64: a busy CPU ticks HZ times a second, an idle one not, and time goes on", () => {
  const { result } = runKernel({ spec: withCpus(ALTIX, 4) }, function* (t) {
    const ticks = () =>
      [0, 1, 2].map((cpu) => t.k.irq.count(cpu, LOCAL_TIMER_VECTOR));
    const p = yield* kthread_create(t, (p) => spendMs(p, 1000), "busy");
    kthread_bind(p, 2);
    yield* msleep(t, 50);
    const before = ticks();
    const { jiffies } = t.k.tick;
    yield* wake_up_process(t, p);
    yield* kthread_join(t, p); // CPU 0, which counts jiffies, idles
    const passed = t.k.tick.jiffies - jiffies;
    return [...ticks().map((n, i) => n - before[i]), passed];
  });
  const [own, idle, busy, jiffies] = result;
  assert(own <= 3 && idle <= 3, `${result}`);
  assert(Math.abs(busy - 250) <= 1, `${result}`);
  assert(Math.abs(jiffies - 250) <= 2, `${result}`);
});

Deno.test("ia64: an interrupt of an idle CPU neither reads the clock nor looks after the tick", () => {
  runKernel({ spec: withCpus(ALTIX, 8) }, function* (t) {
    yield* msleep(t, 50);
    const { engine } = t.machine;
    const symbols = [
      "clocksource_read",
      "tick_check_idle",
      "tick_nohz_stop_sched_tick",
      "tick_nohz_restart_sched_tick",
      "ktime_get",
    ].map((name) => ksym(name));
    const spent = () => symbols.map((sym) => engine.cyclesBySym[sym]);
    const before = spent();
    yield* smp_call_function(t, () => {}, null, true);
    for (let i = 0; i < 20; i++) yield* spend(t, 1000);
    assertEquals(spent(), before);
  });
});

Deno.test("ia64: sleepers of every kind wake, hrtimers at a tick", () => {
  runKernel({ spec: withCpus(ALTIX, 2) }, function* (t) {
    const { machine } = t;
    for (const ms of [1, 10, 100]) {
      const start = t.cpu.clock;
      yield* msleep(t, ms);
      const slept = machine.toNs(t.cpu.clock - start) / 1e6;
      assert(slept >= ms && slept < ms + 9, `${slept} of ${ms} ms`);
    }
    for (const us of [1, 500, 6000]) {
      const start = t.cpu.clock;
      yield* usleep(t, us);
      const slept = machine.toNs(t.cpu.clock - start) / 1e3;
      assert(slept >= us && slept < us + 4100, `${slept} of ${us} us`);
    }
  });
});

Deno.test("ia64: a sleeper's CPU is woken by nothing but its own timer", () => {
  const { k, stopped } = runKernel({ spec: withCpus(ALTIX, 4) }, function* (t) {
    yield* msleep(t, 50);
    const before = t.k.irq.total(LOCAL_TIMER_VECTOR);
    yield* msleep(t, 2000);
    return t.k.irq.total(LOCAL_TIMER_VECTOR) - before;
  });
  assertEquals(stopped, "idle");
  assert(k.irq.total(LOCAL_TIMER_VECTOR) < 40);
});

Deno.test("ia64: grace periods end while other CPUs idle, run, or are interrupted", () => {
  const { k } = runKernel({ spec: withCpus(ALTIX, 8) }, function* (t) {
    const p = yield* kthread_create(t, (p) => msleep(p, 1), "waker");
    kthread_bind(p, 5);
    let called = 0;
    for (let i = 0; i < 10; i++) {
      yield* call_rcu(t, new RcuHead(i), () => void called++);
      if (i === 5) yield* wake_up_process(t, p);
      yield* smp_call_function(t, () => {}, null, true);
      yield* synchronize_rcu(t);
      assertEquals(called, i + 1);
    }
    yield* rcu_barrier(t);
    yield* kthread_join(t, p);
  });
  assertEquals(k.rcu.backlog, 0);
});
