import { assert, assertEquals } from "@std/assert";
import { atomic_add_return, type Steps } from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import { kthread_join, kthread_run } from "../kthread.ts";
import { runKernel, spend } from "../testing.ts";
import type { Thread } from "../thread.ts";
import { _atomic_dec_and_lock } from "./dec_and_lock.ts";
import { spin_is_locked, spin_unlock, Spinlock } from "./spinlock.ts";

Deno.test("_atomic_dec_and_lock() takes the lock with the last reference only", () => {
  const { result } = runKernel({ cpus: 8 }, function* (t) {
    const refs = new Cell("refs", 8);
    const lock = new Spinlock(t.k, "refs_lock");
    let last = 0;
    const threads: Thread[] = [];
    for (let i = 0; i < 8; i++) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          yield* spend(p, 100 * i);
          if (yield* _atomic_dec_and_lock(p, refs, lock)) {
            last++;
            assert(lock.owner === p);
            assertEquals(refs.value, 0);
            yield* spin_unlock(p, lock);
          }
        }, `put/${i}`),
      );
    }
    for (const p of threads) yield* kthread_join(t, p);
    return { last, refs: refs.value, locked: spin_is_locked(lock) };
  });
  assertEquals(result, { last: 1, refs: 0, locked: false });
});

/** Virtual time in which 32 CPUs change one count 50 times each, ns a change. */
function contended(change: (t: Thread, refs: Cell) => Steps<unknown>): number {
  const { result, machine } = runKernel({ cpus: 32 }, function* (t) {
    const refs = new Cell("refs", 100_000);
    const start = t.cpu.clock;
    const threads: Thread[] = [];
    for (let i = 0; i < 32; i++) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          for (let n = 0; n < 50; n++) yield* change(p, refs);
        }, `put/${i}`),
      );
    }
    for (const p of threads) yield* kthread_join(t, p);
    return t.cpu.clock - start;
  });
  return machine.toNs(result) / (32 * 50);
}

Deno.test("_atomic_dec_and_lock() by many at once costs transfers of the line, not one for each CPU that waits", () => {
  const add = contended((t, refs) => atomic_add_return(t, refs, -1));
  const dec = contended((t, refs) =>
    _atomic_dec_and_lock(t, refs, new Spinlock(t.k, "refs_lock"))
  );
  // It reads the line first, which the add does not.
  assert(dec > add && dec < 4 * add, `${dec} ns, ${add} ns`);
});
