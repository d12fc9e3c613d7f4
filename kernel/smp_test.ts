import { assert, assertEquals } from "@std/assert";
import {
  charge_cycles,
  irqs_disabled,
  local_irq_disable,
  local_irq_enable,
  spin_until,
  WRITE_ONCE,
} from "../arch/asm.ts";
import { Cell } from "../arch/hw/cell.ts";
import { CALL_FUNCTION_VECTOR } from "./irq_vectors.ts";
import { kthread_join, kthread_run } from "./kthread.ts";
import { ENXIO } from "./lib/errno.ts";
import { spin_lock, spin_unlock, Spinlock } from "./locking/spinlock.ts";
import {
  on_each_cpu,
  smp_call_function,
  smp_call_function_mask,
  smp_call_function_single,
} from "./smp.ts";
import { runKernel } from "./testing.ts";
import type { Thread } from "./thread.ts";
import { msleep } from "./timer.ts";

Deno.test("on_each_cpu() reaches each online CPU once and returns after all", () => {
  for (const [cpus, nr_cpus] of [[1, 1], [2, 2], [8, 8], [8, 5], [20, 20]]) {
    const { result, k } = runKernel(
      { cpus, params: { nr_cpus } },
      function* (t) {
        const calls = new Array(cpus).fill(0);
        for (let round = 1; round <= 3; round++) {
          yield* on_each_cpu(
            t,
            (p, info) => {
              assert(irqs_disabled(p));
              assertEquals(info, "x");
              charge_cycles(p, 1000 * p.cpu.id);
              calls[p.cpu.id]++;
            },
            "x",
            true,
          );
          assertEquals(calls, calls.map((_, id) => id < nr_cpus ? round : 0));
        }
        return calls;
      },
    );
    assertEquals(result.slice(0, nr_cpus), new Array(nr_cpus).fill(3));
    assertEquals(k.printk.warnings, 0);
  }
});

Deno.test("concurrent calls from all CPUs are all answered", () => {
  const { result } = runKernel({ cpus: 8 }, function* (t) {
    let calls = 0;
    const threads: Thread[] = [];
    for (let i = 0; i < 8; i++) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          for (let n = 0; n < 10; n++) {
            yield* on_each_cpu(p, () => void calls++, null, true);
          }
        }, `caller/${i}`),
      );
    }
    for (const p of threads) yield* kthread_join(t, p);
    return calls;
  });
  assertEquals(result, 8 * 8 * 10);
});

Deno.test("CPUs that spin with interrupts on answer and spin on", () => {
  const { result, k } = runKernel({ cpus: 4 }, function* (t) {
    const lock = new Spinlock(t.k, "test_lock");
    const order: string[] = [];
    yield* spin_lock(t, lock);
    const threads: Thread[] = [];
    for (let i = 0; i < 3; i++) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          yield* spin_lock(p, lock);
          order.push("locked");
          yield* spin_unlock(p, lock);
        }, `spinner/${i}`),
      );
    }
    for (let i = 0; i < 200; i++) {
      charge_cycles(t, 1000);
      yield* WRITE_ONCE(t, new Cell("nothing", 0), 0);
    }
    yield* on_each_cpu(t, () => void order.push("called"), null, true);
    yield* spin_unlock(t, lock);
    for (const p of threads) yield* kthread_join(t, p);
    return order;
  });
  assertEquals(result, [
    ...new Array(4).fill("called"),
    ...new Array(3).fill("locked"),
  ]);
  assertEquals(k.irq.total(CALL_FUNCTION_VECTOR), 3);
});

Deno.test("a call to a CPU with interrupts off waits for it", () => {
  const { result } = runKernel({ cpus: 2 }, function* (t) {
    const started = new Cell("started", 0);
    let enabledAt = 0;
    const p = yield* kthread_run(t, function* (p) {
      local_irq_disable(p);
      yield* WRITE_ONCE(p, started, 1);
      charge_cycles(p, 1_000_000);
      enabledAt = p.cpu.clock;
      local_irq_enable(p);
      yield* WRITE_ONCE(p, started, 2);
    }, "deaf");
    yield* spin_until(t, started, 1, 1);
    let calledAt = 0;
    const cpu = 1 - t.cpu.id;
    yield* smp_call_function_single(
      t,
      cpu,
      (irq) => {
        calledAt = irq.cpu.clock;
      },
      null,
      true,
    );
    yield* kthread_join(t, p);
    return { waited: calledAt >= enabledAt, late: calledAt - enabledAt };
  });
  assert(result.waited);
  assert(result.late < 5000, `${result.late} cycles`);
});

Deno.test("smp_call_function_mask() leaves out the caller and who is offline", () => {
  const { result } = runKernel(
    { cpus: 8, params: { nr_cpus: 6 } },
    function* (t) {
      const called: number[] = [];
      const note = (p: Thread) => void called.push(p.cpu.id);
      yield* smp_call_function_mask(t, [0, 2, 5, 7], note, null, true);
      const mask = called.splice(0).sort();
      yield* smp_call_function_mask(t, [3], note, null, true);
      const one = called.splice(0);
      yield* smp_call_function(t, note, null, true);
      const others = called.splice(0).sort();
      const absent = yield* smp_call_function_single(t, 7, note, null, true);
      yield* smp_call_function_single(t, t.cpu.id, note, null, true);
      return { mask, one, others, absent, self: called };
    },
  );
  assertEquals(result, {
    mask: [2, 5],
    one: [3],
    others: [1, 2, 3, 4, 5],
    absent: -ENXIO,
    self: [0],
  });
});

Deno.test("calls without waiting are made all the same", () => {
  const { result } = runKernel({ cpus: 8 }, function* (t) {
    let calls = 0;
    yield* smp_call_function(t, () => void calls++, null, false);
    yield* smp_call_function_single(t, 3, () => void calls++, null, false);
    yield* msleep(t, 10);
    return calls;
  });
  assertEquals(result, 8);
});

Deno.test("a call that waits with interrupts off is warned about", () => {
  const { k } = runKernel({ cpus: 4 }, function* (t) {
    local_irq_disable(t);
    yield* smp_call_function_mask(t, [1, 2], () => {}, null, true);
    local_irq_enable(t);
  });
  assertEquals(k.printk.warnings > 0, true);
});
