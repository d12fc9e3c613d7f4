import { assert, assertEquals } from "@std/assert";
import { READ_ONCE, WRITE_ONCE } from "../arch/asm.ts";
import { Cell } from "../arch/hw/cell.ts";
import {
  kthread_bind,
  kthread_create,
  kthread_join,
  kthread_run,
} from "./kthread.ts";
import {
  call_rcu,
  rcu_barrier,
  rcu_read_lock,
  rcu_read_unlock,
  RcuHead,
  synchronize_rcu,
} from "./rcu.ts";
import { cond_resched } from "./sched/sched.ts";
import { wake_up_process } from "./sched/wakeup.ts";
import { runKernel, spend, spendMs } from "./testing.ts";
import { in_interrupt, type Thread } from "./thread.ts";
import { msleep } from "./timer.ts";

Deno.test("a callback runs in softirq, with its owner, after readers have ended", () => {
  const { result, k } = runKernel({ cpus: 4 }, function* (t) {
    let readers = 0;
    let calledAt = 0;
    const p = yield* kthread_create(t, function* (p) {
      rcu_read_lock(p);
      readers++;
      for (let i = 0; i < 30; i++) {
        yield* spendMs(p, 1); // ticks come and go
      }
      readers--;
      rcu_read_unlock(p);
      return p.cpu.clock;
    }, "reader");
    kthread_bind(p, 2);
    yield* wake_up_process(t, p);
    yield* msleep(t, 5);
    assertEquals(readers, 1);
    yield* call_rcu(t, new RcuHead("owner"), (irq, head) => {
      assertEquals(head.owner, "owner");
      assertEquals(readers, 0);
      assert(in_interrupt(irq));
      calledAt = irq.cpu.clock;
    });
    const endedAt = (yield* kthread_join(t, p)) as number;
    yield* rcu_barrier(t);
    return calledAt - endedAt;
  });
  assert(result > 0, "called before the reader ended");
  assertEquals(k.rcu.backlog, 0);
});

Deno.test("synchronize_rcu() takes some ticks on an idle machine", () => {
  const { result, stopped } = runKernel({ cpus: 8 }, function* (t) {
    const before = t.cpu.clock;
    yield* synchronize_rcu(t);
    return t.k.machine.toNs(t.cpu.clock - before) / 1e6;
  });
  assert(result > 1 && result < 40, `${result} ms`);
  assertEquals(stopped, "idle");
});

Deno.test("rcu_barrier() waits for the callbacks of every CPU", () => {
  const { result, k } = runKernel({ cpus: 8 }, function* (t) {
    let called = 0;
    const threads: Thread[] = [];
    for (let i = 0; i < 8; i++) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          for (let n = 0; n < 50; n++) {
            yield* call_rcu(p, new RcuHead(n), () => void called++);
          }
        }, `w/${i}`),
      );
    }
    for (const p of threads) yield* kthread_join(t, p);
    const before = called;
    yield* rcu_barrier(t);
    return { before, called };
  });
  assertEquals(result.called, 400);
  assert(result.before < 400);
  assertEquals(k.rcu.backlog, 0);
});

Deno.test("callbacks all run while CPUs are busy but give way", () => {
  const { result } = runKernel({ cpus: 4 }, function* (t) {
    const stop = new Cell("stop", 0);
    const seen: number[] = [];
    const threads: Thread[] = [];
    for (let i = 0; i < 4; i++) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          while ((yield* READ_ONCE(p, stop)) === 0) {
            yield* spend(p, 5000);
            if (!(yield* cond_resched(p))) yield* msleep(p, 1);
          }
        }, `busy/${i}`),
      );
    }
    for (let n = 0; n < 30; n++) {
      yield* call_rcu(
        t,
        new RcuHead(n),
        (_irq, head) => void seen.push(head.owner),
      );
      yield* msleep(t, 3);
    }
    yield* rcu_barrier(t);
    yield* WRITE_ONCE(t, stop, 1);
    for (const p of threads) yield* kthread_join(t, p);
    return seen;
  });
  assertEquals(result.length, 30);
  // One thread's callbacks may be spread over the CPUs it has run on.
  assertEquals(
    [...result].sort((a, b) => a - b),
    Array.from({ length: 30 }, (_, i) => i),
  );
});

Deno.test("a backlog hurries its own CPU through cond_resched()", () => {
  const { result } = runKernel({ cpus: 1 }, function* (t) {
    let called = 0;
    for (let n = 0; n < 40_000; n++) {
      yield* call_rcu(t, new RcuHead(null), () => void called++);
      yield* spend(t, 2000);
      yield* cond_resched(t);
    }
    return called;
  });
  assert(result > 10_000, `${result} called`);
});

Deno.test("grace periods cost nothing when nobody asks", () => {
  const { k } = runKernel({ cpus: 8 }, function* (t) {
    yield* msleep(t, 500);
  });
  assertEquals(k.rcu.batchesCompleted, 0);
});
