import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import {
  charge,
  local_irq_disable,
  local_irq_enable,
  local_irq_restore,
  local_irq_save,
  type Steps,
} from "../../arch/asm.ts";
import { KernelBug } from "../bug.ts";
import { Completion, wait_for_completion } from "../locking/completion.ts";
import {
  Mutex,
  mutex_lock,
  mutex_trylock,
  mutex_unlock,
} from "../locking/mutex.ts";
import {
  read_lock,
  read_unlock,
  Rwlock,
  write_lock,
  write_unlock,
} from "../locking/rwlock.ts";
import {
  down_read,
  down_write,
  RwSemaphore,
  up_read,
  up_write,
} from "../locking/rwsem.ts";
import {
  spin_lock,
  spin_lock_irqsave,
  spin_trylock,
  spin_unlock,
  spin_unlock_irqrestore,
  Spinlock,
} from "../locking/spinlock.ts";
import { GFP_ATOMIC, GFP_KERNEL } from "../mm/gfp.ts";
import { kfree, kmalloc } from "../mm/kmalloc.ts";
import { alloc_page } from "../mm/page_alloc.ts";
import { vfree, vm_unmap_aliases, vmalloc } from "../mm/vmalloc.ts";
import { cond_resched } from "../sched/sched.ts";
import { on_each_cpu, smp_call_function_single } from "../smp.ts";
import { Tasklet, tasklet_schedule } from "../softirq.ts";
import { schedule_timeout } from "../timer.ts";
import { preempt_disable, preempt_enable, type Thread } from "../thread.ts";
import { msleep } from "../timer.ts";
import { flush_workqueue, Workqueue } from "../workqueue.ts";
import { foundBy, onEachCpu, runOn, watched } from "./lock_testing.ts";

/** Takes `locks` one inside the other, and lets go of them again. */
function* nest(t: Thread, ...locks: readonly Spinlock[]): Steps {
  for (const lock of locks) yield* spin_lock(t, lock);
  for (const lock of locks.toReversed()) yield* spin_unlock(t, lock);
}

/** Spinlocks of classes `names`. */
function classes(t: Thread, ...names: readonly string[]): Spinlock[] {
  return names.map((name) => new Spinlock(t.k, name));
}

/** Runs `fn` in an interrupt of CPU 1. */
function* inInterrupt(
  t: Thread,
  fn: (irq: Thread) => Steps<unknown>,
): Steps {
  yield* smp_call_function_single(
    t,
    1,
    fn as (irq: Thread) => Steps,
    null,
    true,
  );
}

/** Runs `fn` in a softirq. */
function* inSoftirq(t: Thread, fn: (irq: Thread) => Steps<unknown>): Steps {
  const tasklet = new Tasklet(fn as (irq: Thread) => Steps);
  yield* tasklet_schedule(t, tasklet);
  yield* msleep(t, 10);
}

Deno.test("A in B and B in A is reported, though nobody has waited", () => {
  const report = foundBy("lockdep", function* (t) {
    const [a, b] = classes(t, "a_lock", "b_lock");
    yield* nest(t, a, b);
    yield* nest(t, b, a);
  });
  assertEquals(
    report.headline,
    "INFO: possible circular locking dependency detected: a_lock -> b_lock -> a_lock",
  );
  const [asked, holding, , edge, held] = report.sections;
  assertMatch(asked.title, /^init\/\d+ is trying to acquire lock:$/);
  assertEquals(asked.lines, ["(a_lock), at: kthread"]);
  assertEquals(holding.lines, ["(b_lock), at: kthread"]);
  assert(
    edge.title.startsWith("-> (a_lock) held, (b_lock) asked for by init:"),
  );
  assertEquals(edge.lines, ["_spin_lock", "kthread", "child_rip"]);
  assertEquals(held.lines, ["#0: (b_lock), at: kthread"]);
});

Deno.test("one cycle has one headline, wherever it closes", () => {
  const headline = (turn: number) =>
    foundBy("lockdep", function* (t) {
      const locks = classes(t, "a", "b", "c");
      for (let i = 0; i < 3; i++) {
        const from = (i + turn) % 3;
        yield* nest(t, locks[from], locks[(from + 1) % 3]);
      }
    }).headline;
  assertEquals(headline(0), headline(1));
  assertEquals(headline(0), headline(2));
  assert(headline(0).endsWith(": a -> b -> c -> a"));
});

Deno.test("a cycle goes through mutexes and through other CPUs' locks", () => {
  foundBy("lockdep", function* (t) {
    const outer = new Mutex(t.k, "outer");
    const sem = new RwSemaphore(t.k, "sem");
    yield* runOn(t, 0, function* (p) {
      yield* mutex_lock(p, outer);
      yield* down_read(p, sem);
      yield* up_read(p, sem);
      yield* mutex_unlock(p, outer);
    });
    yield* runOn(t, 1, function* (p) {
      yield* down_write(p, sem);
      yield* mutex_lock(p, outer);
      yield* mutex_unlock(p, outer);
      yield* up_write(p, sem);
    });
  });
});

Deno.test("a trylock waits for nobody and closes no cycle, but what is asked for under it may", () => {
  const main = (thirdAsks: boolean) =>
    function* (t: Thread): Steps {
      const [a, b] = classes(t, "a", "b");
      yield* nest(t, a, b);
      yield* spin_lock(t, b);
      assert(yield* spin_trylock(t, a));
      yield* spin_unlock(t, a);
      yield* spin_unlock(t, b);
      if (!thirdAsks) return;
      assert(yield* spin_trylock(t, b));
      yield* spin_lock(t, a);
    };
  watched("lockdep", main(false));
  foundBy("lockdep", main(true));
});

Deno.test("readers of an rwlock do not wait for readers, and close a cycle with a writer alone", () => {
  const main = (write: boolean) =>
    function* (t: Thread): Steps {
      const a = new Rwlock(t.k, "a");
      const [b] = classes(t, "b");
      yield* read_lock(t, a);
      yield* read_lock(t, a);
      yield* spin_lock(t, b);
      yield* spin_unlock(t, b);
      yield* read_unlock(t, a);
      yield* read_unlock(t, a);
      yield* spin_lock(t, b);
      if (write) yield* write_lock(t, a);
      else yield* read_lock(t, a);
      if (write) yield* write_unlock(t, a);
      else yield* read_unlock(t, a);
      yield* spin_unlock(t, b);
    };
  watched("lockdep", main(false));
  foundBy("lockdep", main(true));
});

Deno.test("two locks of one class, and one taken twice, are recursion", () => {
  const nested = foundBy("lockdep", function* (t) {
    yield* nest(t, ...classes(t, "twin", "twin"));
  });
  assertEquals(
    nested.headline,
    "INFO: possible recursive locking detected: twin",
  );
  foundBy("lockdep", function* (t) {
    const [a] = classes(t, "a");
    yield* nest(t, a, a);
  });
  foundBy("lockdep", function* (t) {
    const a = new Rwlock(t.k, "a");
    yield* read_lock(t, a);
    yield* write_lock(t, a);
  });
  foundBy("lockdep", function* (t) {
    const sem = new RwSemaphore(t.k, "sem");
    yield* down_read(t, sem);
    yield* down_read(t, sem); // a writer may have come between
  });
});

Deno.test("a lock that handlers take is not held with interrupts on", () => {
  const main = (save: boolean, handlerFirst: boolean) =>
    function* (t: Thread): Steps {
      const [lock] = classes(t, "irq_lock");
      if (handlerFirst) yield* inInterrupt(t, (irq) => nest(irq, lock));
      if (save) {
        const flags = yield* spin_lock_irqsave(t, lock);
        yield* spin_unlock_irqrestore(t, lock, flags);
      } else {
        yield* nest(t, lock);
      }
      if (!handlerFirst) yield* inInterrupt(t, (irq) => nest(irq, lock));
    };
  const boundTo0 = (main: (t: Thread) => Steps) => (t: Thread) =>
    runOn(t, 0, main);
  watched("lockdep", boundTo0(main(true, true)));
  for (const first of [true, false]) {
    const { headline, sections } = foundBy(
      "lockdep",
      boundTo0(main(false, first)),
    );
    assertEquals(
      headline,
      "INFO: inconsistent lock state: irq_lock is {IN-HARDIRQ} and {HARDIRQ-ON}",
    );
    assert(sections[0].title.startsWith("(irq_lock) became {IN-HARDIRQ-W} by"));
    assert(sections[1].title.startsWith("(irq_lock) became {HARDIRQ-ON-W} by"));
  }
});

Deno.test("interrupts that come on while such a lock is held are noticed at its end", () => {
  foundBy("lockdep", (t) =>
    runOn(t, 0, function* (p) {
      const [lock] = classes(p, "irq_lock");
      yield* inInterrupt(p, (irq) => nest(irq, lock));
      const flags = yield* spin_lock_irqsave(p, lock);
      local_irq_enable(p);
      yield* spin_unlock_irqrestore(p, lock, flags);
    }));
});

Deno.test("a lock that softirqs take is not held with softirqs on", () => {
  const { headline } = foundBy("lockdep", function* (t) {
    const [lock] = classes(t, "bh_lock");
    yield* inSoftirq(t, (irq) => nest(irq, lock));
    yield* nest(t, lock);
  });
  assertEquals(
    headline,
    "INFO: inconsistent lock state: bh_lock is {IN-SOFTIRQ} and {SOFTIRQ-ON}",
  );
});

Deno.test("readers in handlers go together with readers with interrupts on, and not with writers", () => {
  const main = (write: boolean) => (t: Thread) =>
    runOn(t, 0, function* (p) {
      const lock = new Rwlock(p.k, "lock");
      const read = function* (q: Thread): Steps {
        yield* read_lock(q, lock);
        yield* read_unlock(q, lock);
      };
      yield* inInterrupt(p, read);
      if (!write) return yield* read(p);
      yield* write_lock(p, lock);
      yield* write_unlock(p, lock);
    });
  watched("lockdep", main(false));
  foundBy("lockdep", main(true));
});

Deno.test("a lock that handlers take leads to none that is held with interrupts on", () => {
  const { headline, sections } = foundBy(
    "lockdep",
    (t) =>
      runOn(t, 0, function* (p) {
        const [safe, between, unsafe] = classes(p, "safe", "between", "unsafe");
        yield* inInterrupt(p, (irq) => nest(irq, safe));
        yield* nest(p, unsafe);
        const flags = local_irq_save(p);
        yield* nest(p, between, unsafe);
        yield* nest(p, safe, between);
        local_irq_restore(p, flags);
      }),
  );
  assertEquals(
    headline,
    "INFO: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected: safe -> unsafe",
  );
  assertEquals(
    sections.slice(1, 3).map(({ title }) => title.split(" by ")[0]),
    [
      "-> (safe) held, (between) asked for",
      "-> (between) held, (unsafe) asked for",
    ],
  );
});

Deno.test("sleeping under a spinlock, with preemption or interrupts off, or in an interrupt", () => {
  const sleeps: Readonly<Record<string, (t: Thread) => Steps<unknown>>> = {
    mutex_lock: (t) => mutex_lock(t, new Mutex(t.k, "m")),
    down_read: (t) => down_read(t, new RwSemaphore(t.k, "s")),
    down_write: (t) => down_write(t, new RwSemaphore(t.k, "s")),
    wait_for_completion: (t) =>
      wait_for_completion(t, new Completion(t.k, "c")),
    schedule_timeout: (t) => schedule_timeout(t, 1),
    kmalloc: (t) => kmalloc(t, 64, GFP_KERNEL),
    alloc_pages: (t) => alloc_page(t, GFP_KERNEL),
    flush_workqueue: (t) => flush_workqueue(t, new Workqueue(t.k, "w")),
    cond_resched: (t) => {
      t.k.sched.rqs[t.cpu.id].need_resched = true;
      return cond_resched(t);
    },
  };
  for (const [name, sleep] of Object.entries(sleeps)) {
    const headline =
      `BUG: sleeping function called from invalid context at ${name}`;
    const contexts: ((t: Thread) => Steps)[] = [
      function* (t) {
        yield* spin_lock(t, new Spinlock(t.k, "held_lock"));
        yield* sleep(t);
      },
      function* (t) {
        preempt_disable(t);
        yield* sleep(t);
        preempt_enable(t);
      },
      function* (t) {
        local_irq_disable(t);
        yield* sleep(t);
      },
      (t) => runOn(t, 0, (p) => inInterrupt(p, sleep)),
    ];
    for (const context of contexts) {
      assertEquals(foundBy("lockdep", context).headline, headline);
    }
  }
});

Deno.test("a report of sleeping while atomic names the locks that are held", () => {
  const { sections } = foundBy("lockdep", function* (t) {
    yield* spin_lock(t, new Spinlock(t.k, "held_lock"));
    yield* mutex_lock(t, new Mutex(t.k, "m"));
  });
  assertMatch(
    sections[0].title,
    /^in_atomic\(\): 1, irqs_disabled\(\): 0, pid: \d+, name: init$/,
  );
  assertMatch(sections[1].title, /^1 lock held by init\/\d+:$/);
  assertEquals(sections[1].lines, ["#0: (held_lock), at: kthread"]);
});

Deno.test("GFP_ATOMIC and trylocks do not sleep", () => {
  watched("lockdep", function* (t) {
    const mutex = new Mutex(t.k, "m");
    preempt_disable(t);
    const memory = yield* kmalloc(t, 64, GFP_ATOMIC);
    yield* kfree(t, memory);
    assert(yield* mutex_trylock(t, mutex));
    preempt_enable(t);
    yield* mutex_unlock(t, mutex);
  });
});

Deno.test("waiting for other CPUs to answer with interrupts off", () => {
  const { headline } = foundBy("lockdep", function* (t) {
    local_irq_disable(t);
    yield* on_each_cpu(t, () => {}, null, true);
  });
  assertEquals(
    headline,
    "BUG: waiting for other CPUs to answer with interrupts off",
  );
});

Deno.test("a lock held over a call to other CPUs is never asked for with interrupts off", () => {
  const over = (lock: Spinlock) =>
    function* (p: Thread): Steps {
      yield* spin_lock(p, lock);
      yield* on_each_cpu(p, () => {}, null, true);
      yield* spin_unlock(p, lock);
    };
  const off = (...locks: readonly Spinlock[]) =>
    function* (p: Thread): Steps {
      const flags = local_irq_save(p);
      yield* nest(p, ...locks);
      local_irq_restore(p, flags);
    };
  for (const overFirst of [true, false]) {
    const { headline } = foundBy("lockdep", function* (t) {
      const [lock] = classes(t, "flush_lock");
      const facts = [over(lock), off(lock)];
      for (const fact of overFirst ? facts : facts.reverse()) {
        yield* runOn(t, 0, fact);
      }
    });
    assertEquals(
      headline,
      "INFO: possible deadlock: flush_lock is asked for with interrupts off and held while other CPUs are to answer an interrupt",
    );
  }
  // One that waits with interrupts off for somebody who waits for it.
  const { headline } = foundBy("lockdep", function* (t) {
    const [lock, outer] = classes(t, "flush_lock", "outer");
    yield* runOn(t, 0, over(lock));
    yield* runOn(t, 1, off(outer));
    yield* runOn(t, 1, (p) => nest(p, outer, lock));
  });
  assert(headline.includes("outer -> flush_lock is asked for"));
});

Deno.test("purge-lock-irqs-off: reported although nobody had to wait (A9)", () => {
  const { headline } = foundBy("lockdep", function* (t) {
    yield* runOn(t, 0, function* (p) {
      yield* vfree(p, yield* vmalloc(p, 4096));
      yield* vm_unmap_aliases(p); // flushes under purge_lock
    });
    yield* runOn(t, 1, function* (p) {
      local_irq_disable(p);
      yield* vm_unmap_aliases(p);
    });
  });
  assert(headline.includes("purge_lock is asked for with interrupts off"));
});

Deno.test("a lock let go of by another than its holder", () => {
  const { headline } = foundBy("lockdep", function* (t) {
    const lock = new Mutex(t.k, "my_mutex");
    yield* mutex_lock(t, lock);
    yield* runOn(t, 1, (p) => mutex_unlock(p, lock));
  });
  assertEquals(headline, "BUG: bad unlock balance detected: my_mutex");
  foundBy("lockdep", (t) => spin_unlock(t, new Spinlock(t.k, "a")));
  foundBy("lockdep", (t) => write_unlock(t, new Rwlock(t.k, "a")));
  foundBy("lockdep", (t) => up_write(t, new RwSemaphore(t.k, "a")));
  foundBy("lockdep", function* (t) {
    const lock = new Rwlock(t.k, "a");
    yield* runOn(t, 0, function* (p) {
      yield* read_lock(p, lock);
      yield* inInterrupt(p, (irq) => read_unlock(irq, lock));
    });
  });
});

Deno.test("a lock is still held where its holder ends", () => {
  const { headline } = foundBy(
    "lockdep",
    (t) => runOn(t, 1, (p) => mutex_lock(p, new Mutex(p.k, "kept"))),
  );
  assertEquals(headline, "BUG: lock held at task exit time: kept");
  const handler = foundBy(
    "lockdep",
    (t) =>
      runOn(
        t,
        0,
        (p) =>
          inInterrupt(p, (irq) => spin_lock(irq, new Spinlock(irq.k, "kept"))),
      ),
  );
  assertEquals(
    handler.headline,
    "BUG: lock held when returning from an interrupt: kept",
  );
});

Deno.test("what the kernel's own checks find, they find without the sanitizer too", () => {
  assertThrows(
    () => watched("race", (t) => spin_unlock(t, new Spinlock(t.k, "a"))),
    KernelBug,
    "wrong owner of a",
  );
});

Deno.test("orders that agree, on many CPUs, are no finding", () => {
  watched("lockdep", function* (t) {
    const [a, b, c] = classes(t, "a", "b", "c");
    const use = function* (p: Thread): Steps {
      for (let i = 0; i < 10; i++) {
        yield* nest(p, a, b);
        yield* nest(p, b, c);
        yield* nest(p, a, c);
        charge(p, 100);
      }
    };
    yield* onEachCpu(t, use, use, use, use);
  }, { cpus: 4 });
});
