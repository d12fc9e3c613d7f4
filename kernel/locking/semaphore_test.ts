import { assertEquals, assertThrows } from "@std/assert";
import { KernelBug } from "../bug.ts";
import { kthread_join, kthread_run } from "../kthread.ts";
import { runKernel, spend } from "../testing.ts";
import { preempt_disable, type Thread } from "../thread.ts";
import { msleep } from "../timer.ts";
import { down, down_trylock, sema_init, Semaphore, up } from "./semaphore.ts";

Deno.test("a semaphore of two lets two in at a time, and everybody in the end", () => {
  const { result } = runKernel({ cpus: 8 }, function* (t) {
    const sem = new Semaphore(t.k, "test_sem", 2);
    let inside = 0;
    let most = 0;
    const threads: Thread[] = [];
    for (let i = 0; i < 8; i++) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          for (let n = 0; n < 10; n++) {
            yield* down(p, sem);
            most = Math.max(most, ++inside);
            if (n % 3 === 0) yield* msleep(p, 1);
            else yield* spend(p, 3000);
            inside--;
            yield* up(p, sem);
          }
        }, `w/${i}`),
      );
    }
    for (const p of threads) yield* kthread_join(t, p);
    return { most, inside, count: sem.count };
  });
  assertEquals(result, { most: 2, inside: 0, count: 2 });
});

Deno.test("up() lets in who has waited longest, before anybody who comes now", () => {
  const { result } = runKernel({ cpus: 4 }, function* (t) {
    const sem = new Semaphore(t.k, "test_sem", 0);
    const order: number[] = [];
    const threads: Thread[] = [];
    for (let i = 0; i < 3; i++) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          yield* down(p, sem);
          order.push(i);
        }, `w/${i}`),
      );
      yield* msleep(t, 5);
    }
    const tries: number[] = [];
    for (let i = 0; i < 4; i++) {
      yield* up(t, sem);
      tries.push(yield* down_trylock(t, sem)); // 1 as long as somebody waits
    }
    for (const p of threads) yield* kthread_join(t, p);
    return { order, tries, count: sem.count };
  });
  assertEquals(result, { order: [0, 1, 2], tries: [1, 1, 1, 0], count: 0 });
});

Deno.test("down() in atomic context and sema_init() of a semaphore in use are bugs", () => {
  assertThrows(
    () =>
      runKernel({ cpus: 1 }, function* (t) {
        preempt_disable(t);
        yield* down(t, new Semaphore(t.k, "test_sem", 1));
      }),
    KernelBug,
    "invalid context",
  );
  assertThrows(
    () =>
      runKernel({ cpus: 2 }, function* (t) {
        const sem = new Semaphore(t.k, "test_sem", 0);
        yield* kthread_run(t, (p) => down(p, sem), "w");
        yield* msleep(t, 5);
        sema_init(t, sem, 1);
      }),
    KernelBug,
    "somebody waits",
  );
});
