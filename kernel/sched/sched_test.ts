import { assert, assertEquals, assertThrows } from "@std/assert";
import { READ_ONCE, spin_until, WRITE_ONCE } from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import { ksym } from "../../arch/asm.ts";
import { KernelBug } from "../bug.ts";
import {
  kthread_bind,
  kthread_create,
  kthread_join,
  kthread_run,
  kthread_should_stop,
  kthread_stop,
} from "../kthread.ts";
import { EINVAL } from "../lib/errno.ts";
import { runKernel, spend, spendMs, testSpec } from "../testing.ts";
import {
  preempt_disable,
  TASK_UNINTERRUPTIBLE,
  type Thread,
} from "../thread.ts";
import { msleep } from "../timer.ts";
import { set_cpus_allowed } from "./migrate.ts";
import { cond_resched, schedule, yield_cpu } from "./sched.ts";
import { wake_up_process } from "./wakeup.ts";

Deno.test("two new threads land on two sockets, eight on eight CPUs", () => {
  for (const n of [2, 8]) {
    const { result, machine } = runKernel({ cpus: 8 }, function* (t) {
      const cpus: number[] = [];
      const threads: Thread[] = [];
      for (let i = 0; i < n; i++) {
        threads.push(
          yield* kthread_run(t, function* (p) {
            cpus.push(p.cpu.id);
            yield* spendMs(p, 3);
          }, `w/${i}`),
        );
      }
      for (const p of threads) yield* kthread_join(t, p);
      return cpus;
    });
    assertEquals(new Set(result).size, n);
    const sockets = result.map((id) => machine.engine.cpus[id].socket);
    assertEquals(sockets.filter((s) => s === 0).length, n / 2);
  }
});

Deno.test("set_cpus_allowed() moves the thread that calls it", () => {
  const { result } = runKernel({ cpus: 8 }, function* (t) {
    const seen: number[] = [];
    for (const cpu of [5, 2, 2, 7, 0]) {
      yield* set_cpus_allowed(t, t, [cpu]);
      seen.push(t.cpu.id);
    }
    const refused = yield* set_cpus_allowed(t, t, [12]);
    return { seen, refused };
  });
  assertEquals(result, { seen: [5, 2, 2, 7, 0], refused: -EINVAL });
});

Deno.test("set_cpus_allowed() waits until a running thread has left the CPU", () => {
  const { result } = runKernel({ cpus: 4 }, function* (t) {
    const stop = new Cell("stop", 0);
    const p = yield* kthread_create(t, function* (p) {
      while ((yield* READ_ONCE(p, stop)) === 0) {
        yield* spend(p, 10_000);
        yield* cond_resched(p);
      }
      return p.cpu.id;
    }, "spinner");
    kthread_bind(p, 2);
    yield* wake_up_process(t, p);
    yield* msleep(t, 2);
    const before = p.cpu.id;
    yield* set_cpus_allowed(t, p, [3]);
    const after = p.cpu.id;
    yield* WRITE_ONCE(t, stop, 1);
    return [before, after, yield* kthread_join(t, p)];
  });
  assertEquals(result, [2, 3, 3]);
});

Deno.test("set_cpus_allowed() moves a thread that waits for its turn", () => {
  const { result } = runKernel({ cpus: 4 }, function* (t) {
    yield* set_cpus_allowed(t, t, [1]);
    const p = yield* kthread_create(t, function* (p) {
      yield* [];
      return p.cpu.id;
    }, "queued");
    kthread_bind(p, 1);
    yield* wake_up_process(t, p);
    yield* set_cpus_allowed(t, p, [2]);
    return yield* kthread_join(t, p);
  });
  assertEquals(result, 2);
});

Deno.test("threads of one CPU take turns at cond_resched()", () => {
  const { result } = runKernel({ cpus: 1 }, function* (t) {
    const order: string[] = [];
    const threads: Thread[] = [];
    for (const name of ["a", "b"]) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          for (let i = 0; i < 4000; i++) {
            if (order.at(-1) !== name) order.push(name);
            yield* spend(p, 100_000);
            yield* cond_resched(p);
          }
        }, name),
      );
    }
    for (const p of threads) yield* kthread_join(t, p);
    return order;
  });
  // 4000 x 43 us each is 17 turns of 10 ms: latency 20 ms for two.
  assert(result.length > 10 && result.length < 50, `${result.length} turns`);
  assert(result.every((name, i) => i === 0 || name !== result[i - 1]));
});

Deno.test("yield_cpu() lets the others go first", () => {
  const { result } = runKernel({ cpus: 1 }, function* (t) {
    const order: number[] = [];
    const p = yield* kthread_run(t, function* (p) {
      order.push(1);
      yield* yield_cpu(p);
      order.push(3);
    }, "other");
    yield* yield_cpu(t);
    order.push(2);
    yield* kthread_join(t, p);
    return order;
  });
  assertEquals(result, [1, 2, 3]);
});

Deno.test("a woken thread goes back to its CPU if that idles, else to one near", () => {
  const { result } = runKernel({ cpus: 8 }, function* (t) {
    const seen: number[] = [];
    const p = yield* kthread_create(t, function* (p) {
      for (;;) {
        p.state = TASK_UNINTERRUPTIBLE;
        yield* schedule(p);
        seen.push(p.cpu.id);
        if (kthread_should_stop(p)) return;
      }
    }, "sleeper");
    yield* set_cpus_allowed(t, p, [6]);
    yield* wake_up_process(t, p);
    yield* msleep(t, 1);
    yield* set_cpus_allowed(t, p, null);
    yield* wake_up_process(t, p);
    yield* msleep(t, 1);
    const stop = new Cell("stop", 0);
    const hog = yield* kthread_create(
      t,
      (h) => spin_until(h, stop, 1, 1),
      "hog",
    );
    kthread_bind(hog, 6);
    yield* wake_up_process(t, hog);
    yield* msleep(t, 1);
    yield* wake_up_process(t, p);
    yield* msleep(t, 1);
    yield* WRITE_ONCE(t, stop, 1);
    yield* kthread_join(t, hog);
    yield* kthread_stop(t, p);
    return seen;
  });
  assertEquals(result.slice(0, 2), [6, 4]);
});

Deno.test("kthread_stop() hands over what the thread returned", () => {
  const { result, k } = runKernel({ cpus: 2 }, function* (t) {
    const p = yield* kthread_run(t, function* (p) {
      while (!kthread_should_stop(p)) yield* msleep(p, 1);
      return 42;
    }, "daemon");
    yield* msleep(t, 3);
    const idle = yield* kthread_create(t, function* () {
      yield* [];
      return 1;
    }, "never ran");
    return [yield* kthread_stop(t, p), yield* kthread_stop(t, idle)];
  });
  assertEquals(result, [42, undefined]);
  assertEquals(k.sched.threads.size, 0);
});

Deno.test("a thread, not yet ended, is no thenable to a Promise", () => {
  const { result } = runKernel({ cpus: 1 }, function* (t) {
    const p = yield* kthread_create(t, function* () {
      yield* [];
    }, "never ran");
    const thenable = "then" in p;
    yield* kthread_stop(t, p);
    return thenable;
  });
  assertEquals(result, false);
});

Deno.test("sleeping with preemption off is a bug", () => {
  const error = assertThrows(() =>
    runKernel({ cpus: 1 }, function* (t) {
      preempt_disable(t);
      yield* msleep(t, 1);
    }), KernelBug);
  assert(error.headline.includes("scheduling while atomic: init/1"));
});

Deno.test("time halted is charged to default_idle, and a wake-up takes its time", () => {
  const { machine } = runKernel({ cpus: 1, spec: testSpec(1) }, function* (t) {
    yield* msleep(t, 500);
  });
  const halted = machine.engine.cyclesBySym[ksym("default_idle")];
  const share = halted / machine.toCycles(500e6);
  assert(share > 0.99 && share < 1.05, `share ${share}`);
});
