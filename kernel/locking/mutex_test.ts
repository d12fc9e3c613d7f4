import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  charge_cycles,
  local_irq_disable,
  spin_until,
  store,
} from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import { Deadlock } from "../../arch/sim/engine.ts";
import { KernelBug } from "../bug.ts";
import { kthread_join, kthread_run } from "../kthread.ts";
import { runKernel, spend } from "../testing.ts";
import type { Thread } from "../thread.ts";
import { msleep } from "../timer.ts";
import {
  complete,
  complete_all,
  Completion,
  completion_done,
  wait_for_completion,
  wait_for_completion_timeout,
} from "./completion.ts";
import {
  Mutex,
  mutex_is_locked,
  mutex_lock,
  mutex_trylock,
  mutex_unlock,
} from "./mutex.ts";
import {
  read_seqbegin,
  read_seqretry,
  Seqlock,
  write_seqlock,
  write_sequnlock,
} from "./seqlock.ts";
import { spin_lock, spin_unlock, Spinlock } from "./spinlock.ts";

Deno.test("a mutex lets one in at a time, and everybody in the end", () => {
  const { result, k } = runKernel({ cpus: 8 }, function* (t) {
    const lock = new Mutex(t.k, "test_mutex");
    let inside = 0;
    let entries = 0;
    const threads: Thread[] = [];
    for (let i = 0; i < 12; i++) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          for (let n = 0; n < 20; n++) {
            yield* mutex_lock(p, lock);
            assertEquals(++inside, 1);
            if (n % 5 === 0) yield* msleep(p, 1);
            else yield* spend(p, 3000);
            inside--;
            entries++;
            yield* mutex_unlock(p, lock);
          }
        }, `w/${i}`),
      );
    }
    for (const p of threads) yield* kthread_join(t, p);
    return { entries, locked: mutex_is_locked(lock) };
  });
  assertEquals(result, { entries: 240, locked: false });
  const stats = k.lockStats.get("test_mutex");
  assertEquals(stats.acquisitions, 240);
  assert(stats.contentions > 0);
});

Deno.test("a released mutex goes to who has waited longest", () => {
  const { result } = runKernel({ cpus: 8 }, function* (t) {
    const lock = new Mutex(t.k, "test_mutex");
    yield* mutex_lock(t, lock);
    const order: number[] = [];
    const threads: Thread[] = [];
    for (let i = 0; i < 4; i++) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          yield* mutex_lock(p, lock);
          order.push(i);
          yield* mutex_unlock(p, lock);
        }, `w/${i}`),
      );
      yield* msleep(t, 1);
    }
    const busy = yield* mutex_trylock(t, lock);
    yield* mutex_unlock(t, lock);
    for (const p of threads) yield* kthread_join(t, p);
    const free = yield* mutex_trylock(t, lock);
    yield* mutex_unlock(t, lock);
    return { order, busy, free };
  });
  assertEquals(result, { order: [0, 1, 2, 3], busy: false, free: true });
});

Deno.test("only the owner may unlock a mutex", () => {
  assertThrows(
    () =>
      runKernel({ cpus: 2 }, function* (t) {
        const lock = new Mutex(t.k, "test_mutex");
        yield* mutex_lock(t, lock);
        const p = yield* kthread_run(t, (p) => mutex_unlock(p, lock), "thief");
        yield* kthread_join(t, p);
      }),
    KernelBug,
    "mutex wrong owner on test_mutex",
  );
});

Deno.test("a completion counts; complete_all() is for ever", () => {
  const { result } = runKernel({ cpus: 4 }, function* (t) {
    const x = new Completion(t.k, "test");
    yield* complete(t, x);
    yield* wait_for_completion(t, x);
    const left = yield* wait_for_completion_timeout(t, x, 5);
    let woken = 0;
    const threads: Thread[] = [];
    for (let i = 0; i < 3; i++) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          yield* wait_for_completion(p, x);
          woken++;
        }, `w/${i}`),
      );
    }
    yield* msleep(t, 2);
    yield* complete(t, x);
    yield* msleep(t, 2);
    const one = woken;
    yield* complete_all(t, x);
    for (const p of threads) yield* kthread_join(t, p);
    yield* wait_for_completion(t, x);
    return { left, one, woken, done: completion_done(x) };
  });
  assertEquals(result, { left: 0, one: 1, woken: 3, done: true });
});

Deno.test("a sequence lock's readers never see half a change", () => {
  runKernel({ cpus: 4 }, function* (t) {
    const sl = new Seqlock(t.k, "test_seq");
    const pair = [0, 0];
    const writer = yield* kthread_run(t, function* (p) {
      for (let i = 1; i <= 200; i++) {
        yield* write_seqlock(p, sl);
        pair[0] = i;
        yield* spend(p, 500);
        pair[1] = i;
        yield* write_sequnlock(p, sl);
        charge_cycles(p, 700);
      }
    }, "writer");
    const reader = yield* kthread_run(t, function* (p) {
      for (let i = 0; i < 200; i++) {
        let seq: number;
        let seen: number[];
        do {
          seq = yield* read_seqbegin(p, sl);
          const first = pair[0];
          yield* spend(p, 300);
          seen = [first, pair[1]];
        } while (yield* read_seqretry(p, sl, seq));
        assertEquals(seen[0], seen[1]);
      }
    }, "reader");
    yield* kthread_join(t, writer);
    yield* kthread_join(t, reader);
  });
});

Deno.test("locks taken in opposite order with interrupts off are a deadlock", () => {
  const error = assertThrows(
    () =>
      runKernel({ cpus: 4 }, function* (t) {
        const a = new Spinlock(t.k, "lock_a");
        const b = new Spinlock(t.k, "lock_b");
        const ready = new Cell("ready", 0);
        const p = yield* kthread_run(t, function* (p) {
          local_irq_disable(p);
          yield* spin_lock(p, b);
          yield* store(p, ready, 1);
          yield* spin_lock(p, a);
          yield* spin_unlock(p, a);
        }, "other");
        local_irq_disable(t);
        yield* spin_lock(t, a);
        yield* spin_until(t, ready, 1, 1);
        yield* spin_lock(t, b);
        yield* spin_unlock(t, b);
        yield* kthread_join(t, p);
      }),
    Deadlock,
  );
  const waits = error.waiting.map((cpu) => cpu.top!.op!.describe());
  assertEquals(error.waiting.length, 2);
  assert(
    waits.some((w) => w.includes("lock_a") && w.includes("held by init")),
    `${waits}`,
  );
  assert(
    waits.some((w) => w.includes("lock_b") && w.includes("held by other")),
    `${waits}`,
  );
});
