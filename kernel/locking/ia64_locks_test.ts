/** Locks of ia64: they exclude, they count, and waiting is charged where Linux spends it. */
import { assert, assertEquals } from "@std/assert";
import {
  charge_cycles,
  irqs_disabled,
  ksym,
  local_irq_disable,
  local_irq_enable,
  spin_until,
  type Steps,
  WRITE_ONCE,
} from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import { findPreset } from "../../arch/hw/presets/index.ts";
import { withCpus } from "../../arch/hw/validate.ts";
import { CpuState } from "../../arch/sim/cpu.ts";
import { kthread_bind, kthread_create, kthread_join } from "../kthread.ts";
import { set_cpus_allowed } from "../sched/migrate.ts";
import { wake_up_process } from "../sched/wakeup.ts";
import { smp_call_function_single } from "../smp.ts";
import { runKernel, spend } from "../testing.ts";
import type { Thread } from "../thread.ts";
import {
  read_lock,
  read_unlock,
  Rwlock,
  write_lock,
  write_unlock,
} from "./rwlock.ts";
import {
  spin_lock,
  spin_lock_irqsave,
  spin_trylock,
  spin_unlock,
  spin_unlock_irqrestore,
  Spinlock,
} from "./spinlock.ts";

const ALTIX = findPreset("altix-64");

function charged(t: Thread, symbol: string): number {
  return t.machine.engine.cyclesBySym[ksym(symbol)];
}

/** Starts `fn` on CPU number `cpu`. */
function* on(
  t: Thread,
  cpu: number,
  fn: (t: Thread) => Steps<unknown>,
): Steps<Thread> {
  const p = yield* kthread_create(t, fn, `test/${cpu}`);
  kthread_bind(p, cpu);
  yield* wake_up_process(t, p);
  return p;
}

/** Runs `fn` on every CPU but this at once, until all are done. */
function* on_others(t: Thread, fn: (t: Thread) => Steps<unknown>): Steps {
  const threads: Thread[] = [];
  const go = new Cell("go", 0);
  yield* set_cpus_allowed(t, t, [0]);
  for (const cpu of t.k.cpu_online.list.slice(1)) {
    const p = yield* on(t, cpu, function* (p) {
      yield* spin_until(p, go, 1, 1);
      yield* fn(p);
    });
    threads.push(p);
    yield* until_parked(t, cpu);
  }
  yield* WRITE_ONCE(t, go, 1);
  for (const p of threads) yield* kthread_join(t, p);
}

/** Lets time pass until CPU number `cpu` spins, parked. */
function* until_parked(t: Thread, cpu: number): Steps {
  const { cpus } = t.machine.engine;
  while (cpus[cpu].state !== CpuState.PARKED) yield* spend(t, 1000);
}

Deno.test("ia64: spin_lock() lets one in at a time, and counts", () => {
  const rounds = 20;
  const { k } = runKernel({ spec: withCpus(ALTIX, 16) }, function* (t) {
    const lock = new Spinlock(t.k, "test_lock");
    let inside = 0;
    let taken = 0;
    yield* on_others(t, function* (p) {
      for (let i = 0; i < rounds; i++) {
        yield* spend(p, 1000);
        if (i % 3 === 2) {
          if (!(yield* spin_trylock(p, lock))) continue;
        } else yield* spin_lock(p, lock);
        assertEquals(++inside, 1);
        taken++;
        yield* spend(p, 500);
        inside--;
        yield* spin_unlock(p, lock);
      }
    });
    const { acquisitions } = t.k.lockStats.get("test_lock");
    assertEquals(acquisitions, taken);
    assertEquals(lock.slock.value, 0);
  });
  const { contentions, waitCycles, holdCycles } = k.lockStats.get("test_lock");
  assert(contentions > 50, `${contentions} contentions`);
  assert(waitCycles > 5 * holdCycles, `${waitCycles} of ${holdCycles}`);
});

Deno.test("ia64: waiting for a spinlock is charged to ia64_spinlock_contention", () => {
  runKernel({ spec: withCpus(ALTIX, 2) }, function* (t) {
    const lock = new Spinlock(t.k, "test_lock");
    yield* spin_lock(t, lock);
    const p = yield* on(t, 1, function* (p) {
      yield* spin_lock(p, lock);
      yield* spin_unlock(p, lock);
    });
    yield* until_parked(t, 1);
    const before = charged(t, "ia64_spinlock_contention");
    const locking = charged(t, "_spin_lock");
    charge_cycles(t, 100_000);
    yield* spin_unlock(t, lock);
    yield* kthread_join(t, p);
    const waited = charged(t, "ia64_spinlock_contention") - before;
    assert(waited >= 100_000 && waited < 110_000, `${waited} cycles`);
    assert(charged(t, "_spin_lock") - locking < 20_000);
    const { contentions, waitCycles } = t.k.lockStats.get("test_lock");
    assertEquals(contentions, 1);
    assert(waitCycles > 100_000);
  });
});

Deno.test("ia64: spin_lock_irqsave() waits with interrupts on, if they had been on, and holds with them off", () => {
  for (const on_before of [true, false]) {
    runKernel({ spec: withCpus(ALTIX, 2) }, function* (t) {
      const lock = new Spinlock(t.k, "test_lock");
      yield* spin_lock(t, lock);
      let called = false;
      const p = yield* on(t, 1, function* (p) {
        if (!on_before) local_irq_disable(p);
        const flags = yield* spin_lock_irqsave(p, lock);
        assertEquals([flags, irqs_disabled(p)], [on_before, true]);
        assertEquals(called, on_before);
        yield* spin_unlock_irqrestore(p, lock, flags);
        assertEquals(irqs_disabled(p), !on_before);
        if (!on_before) local_irq_enable(p);
      });
      yield* until_parked(t, 1);
      // With interrupts off there it would not come back.
      if (on_before) {
        const note = () => void (called = true);
        yield* smp_call_function_single(t, 1, note, null, true);
      }
      assertEquals(called, on_before);
      yield* spin_unlock(t, lock);
      yield* kthread_join(t, p);
    });
  }
});

/** More than a CPU's accesses to data run ahead of others. */
const HELD_CYCLES = 20_000;

Deno.test("ia64: a writer excludes all, readers one another not", () => {
  const { k } = runKernel({ spec: withCpus(ALTIX, 16) }, function* (t) {
    const lock = new Rwlock(t.k, "test_rwlock");
    assertEquals(lock.lock.value, 0);
    let writers = 0;
    let readers = 0;
    let most = 0;
    yield* on_others(t, function* (p) {
      for (let i = 0; i < 20; i++) {
        yield* spend(p, 1000);
        if ((p.cpu.id + i) % 4 === 0) {
          yield* write_lock(p, lock);
          assertEquals([++writers, readers], [1, 0]);
          yield* spend(p, HELD_CYCLES);
          writers--;
          yield* write_unlock(p, lock);
        } else {
          yield* read_lock(p, lock);
          assertEquals(writers, 0);
          most = Math.max(most, ++readers);
          yield* spend(p, HELD_CYCLES);
          readers--;
          yield* read_unlock(p, lock);
        }
      }
    });
    assert(most > 1, `${most} readers at once`);
    assertEquals(lock.lock.value, 0);
  });
  const { acquisitions, contentions } = k.lockStats.get("test_rwlock");
  assertEquals(acquisitions, 15 * 20);
  assert(contentions > 20, `${contentions} contentions`);
});

Deno.test("ia64: waiting for a rwlock is charged to _write_lock and _read_lock themselves", () => {
  runKernel({ spec: withCpus(ALTIX, 4) }, function* (t) {
    const lock = new Rwlock(t.k, "test_rwlock");
    yield* write_lock(t, lock);
    const writer = yield* on(t, 1, function* (p) {
      yield* write_lock(p, lock);
      yield* write_unlock(p, lock);
    });
    const reader = yield* on(t, 2, function* (p) {
      yield* read_lock(p, lock);
      yield* read_unlock(p, lock);
    });
    yield* until_parked(t, 1);
    yield* until_parked(t, 2);
    const before = ["_write_lock", "_read_lock"].map((s) => charged(t, s));
    charge_cycles(t, 200_000);
    yield* write_unlock(t, lock);
    yield* kthread_join(t, writer);
    yield* kthread_join(t, reader);
    const after = ["_write_lock", "_read_lock"].map((s) => charged(t, s));
    after.forEach((cycles, i) => {
      const waited = cycles - before[i];
      assert(waited >= 200_000 && waited < 210_000, `${waited} cycles`);
    });
    for (const symbol of ["__write_lock_failed", "__read_lock_failed"]) {
      assertEquals(charged(t, symbol), 0);
    }
    const { acquisitions, contentions } = t.k.lockStats.get("test_rwlock");
    assertEquals([acquisitions, contentions], [3, 2]);
  });
});

Deno.test("ia64: a reader that comes upon a writer leaves no trace in the word", () => {
  runKernel({ spec: withCpus(ALTIX, 2) }, function* (t) {
    const lock = new Rwlock(t.k, "test_rwlock");
    const go = new Cell("go", 0);
    yield* write_lock(t, lock);
    const p = yield* on(t, 1, function* (p) {
      yield* read_lock(p, lock);
      yield* spin_until(p, go, 1, 1);
      yield* read_unlock(p, lock);
    });
    yield* until_parked(t, 1);
    assertEquals(lock.lock.value, -0x80000000);
    yield* write_unlock(t, lock);
    while (lock.readers === 0) yield* spend(t, 1000);
    assertEquals(lock.lock.value, 1);
    yield* WRITE_ONCE(t, go, 1);
    yield* kthread_join(t, p);
    assertEquals(lock.lock.value, 0);
  });
});
