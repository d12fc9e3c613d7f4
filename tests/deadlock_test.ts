import { assertEquals, assertThrows } from "@std/assert";
import { charge } from "../arch/asm.ts";
import { Deadlock } from "../arch/sim/engine.ts";
import { boot } from "../boot/boot.ts";
import {
  kthread_bind,
  kthread_create,
  kthread_join,
} from "../kernel/kthread.ts";
import {
  spin_lock,
  spin_unlock,
  Spinlock,
} from "../kernel/locking/spinlock.ts";
import { wake_up_process } from "../kernel/sched/wakeup.ts";
import type { Thread } from "../kernel/thread.ts";

Deno.test("a deadlock says who waits where, for which lock, and who holds it", () => {
  const booted = boot();
  const error = assertThrows(() =>
    booted.run(function* (t) {
      const a = new Spinlock(t.k, "lock_a");
      const b = new Spinlock(t.k, "lock_b");
      const take = (first: Spinlock, second: Spinlock) =>
        function* (self: Thread) {
          yield* spin_lock(self, first);
          charge(self, 100_000);
          yield* spin_lock(self, second);
          yield* spin_unlock(self, second);
          yield* spin_unlock(self, first);
        };
      const one = yield* kthread_create(t, take(a, b), "one");
      const two = yield* kthread_create(t, take(b, a), "two");
      kthread_bind(one, 1);
      kthread_bind(two, 2);
      yield* wake_up_process(t, one);
      yield* wake_up_process(t, two);
      yield* kthread_join(t, one);
    }), Deadlock);
  const [headline, ...waiting] = error.message.split("\n");
  assertEquals(headline, error.headline);
  assertEquals(waiting, [
    "CPU 1, one, waits in _spin_lock < kthread < child_rip: TICKET_LOCK of lock_b, held by two on CPU 2",
    "CPU 2, two, waits in _spin_lock < kthread < child_rip: TICKET_LOCK of lock_a, held by one on CPU 1",
  ]);
});
