import { assert, assertEquals, assertThrows } from "@std/assert";
import { KernelBug } from "../bug.ts";
import { kthread_join, kthread_run } from "../kthread.ts";
import { runKernel, spend } from "../testing.ts";
import type { Thread } from "../thread.ts";
import { msleep } from "../timer.ts";
import {
  down_read,
  down_read_trylock,
  down_write,
  down_write_trylock,
  rwsem_is_locked,
  RwSemaphore,
  up_read,
  up_write,
} from "./rwsem.ts";

Deno.test("a semaphore lets one writer in, or many readers", () => {
  const { result, k } = runKernel({ cpus: 8 }, function* (t) {
    const sem = new RwSemaphore(t.k, "test_sem");
    let readers = 0;
    let writers = 0;
    let most = 0;
    let entries = 0;
    const threads: Thread[] = [];
    for (let i = 0; i < 12; i++) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          for (let n = 0; n < 30; n++) {
            entries++;
            const sleep = (n + i) % 7 === 0;
            if ((n + i) % 4 === 0) {
              yield* down_write(p, sem);
              assertEquals([++writers, readers], [1, 0]);
              if (sleep) yield* msleep(p, 1);
              else yield* spend(p, 3000);
              writers--;
              yield* up_write(p, sem);
            } else {
              yield* down_read(p, sem);
              most = Math.max(most, ++readers);
              assertEquals(writers, 0);
              if (sleep) yield* msleep(p, 1);
              else yield* spend(p, 3000);
              readers--;
              yield* up_read(p, sem);
            }
          }
        }, `w/${i}`),
      );
    }
    for (const p of threads) yield* kthread_join(t, p);
    return { entries, most, locked: rwsem_is_locked(sem), count: sem.count };
  });
  assertEquals(result.entries, 360);
  assertEquals([result.locked, result.count.value], [false, 0]);
  assert(result.most > 2, `${result.most}`);
  const stats = k.lockStats.get("test_sem");
  assertEquals(stats.acquisitions, 360);
  assert(stats.contentions > 0);
});

Deno.test("first come, first served: readers behind a writer wait, side by side they come in together", () => {
  const { result } = runKernel({ cpus: 8 }, function* (t) {
    const sem = new RwSemaphore(t.k, "test_sem");
    yield* down_read(t, sem);
    const log: string[] = [];
    const threads: Thread[] = [];
    for (const what of ["w0", "r1", "r2", "w3", "r4"]) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          if (what[0] === "w") {
            yield* down_write(p, sem);
            log.push(what);
            yield* msleep(p, 2);
            yield* up_write(p, sem);
          } else {
            yield* down_read(p, sem);
            log.push(what);
            yield* msleep(p, 2);
            log.push(`/${what}`);
            yield* up_read(p, sem);
          }
        }, what),
      );
      yield* msleep(t, 1);
    }
    assertEquals(yield* down_read_trylock(t, sem), false); // a writer waits
    assertEquals(yield* down_write_trylock(t, sem), false);
    yield* up_read(t, sem);
    for (const p of threads) yield* kthread_join(t, p);
    assertEquals(yield* down_write_trylock(t, sem), true);
    assertEquals(yield* down_read_trylock(t, sem), false);
    yield* up_write(t, sem);
    assertEquals(yield* down_read_trylock(t, sem), true);
    assertEquals(yield* down_read_trylock(t, sem), true);
    yield* up_read(t, sem);
    yield* up_read(t, sem);
    return log;
  });
  assertEquals(result.slice(0, 1), ["w0"]);
  assertEquals(result.slice(1, 3).sort(), ["r1", "r2"]);
  assertEquals(result.slice(3, 5).sort(), ["/r1", "/r2"]);
  assertEquals(result.slice(5), ["w3", "r4", "/r4"]);
});

Deno.test("a semaphore is given up by who has it", () => {
  const bug = (work: (t: Thread, sem: RwSemaphore) => Generator<void, void>) =>
    assertThrows(
      () =>
        runKernel({ cpus: 1 }, function* (t) {
          yield* work(t, new RwSemaphore(t.k, "test_sem"));
        }),
      KernelBug,
    ).message;
  assert(bug((t, sem) => up_read(t, sem) as never).includes("without"));
  assert(bug((t, sem) => up_write(t, sem) as never).includes("wrong owner"));
  const twice = function* (t: Thread, sem: RwSemaphore) {
    yield* down_write(t, sem);
    yield* down_write(t, sem);
  };
  assert(bug(twice).includes("recursion on test_sem"));
});
