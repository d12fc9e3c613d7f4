import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  atomic_add_return,
  enter,
  ksym,
  leave,
  load,
  READ_ONCE,
  spin_until,
  type Steps,
  store,
  WRITE_ONCE,
} from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import {
  complete,
  Completion,
  wait_for_completion,
} from "../locking/completion.ts";
import { Mutex, mutex_lock, mutex_unlock } from "../locking/mutex.ts";
import {
  read_lock,
  read_unlock,
  Rwlock,
  write_lock,
  write_unlock,
} from "../locking/rwlock.ts";
import { spin_lock, spin_unlock, Spinlock } from "../locking/spinlock.ts";
import { vfree, vmalloc } from "../mm/vmalloc.ts";
import {
  call_rcu,
  rcu_barrier,
  rcu_read_lock,
  rcu_read_unlock,
  RcuHead,
} from "../rcu.ts";
import { set_cpus_allowed } from "../sched/migrate.ts";
import { smp_call_function_single } from "../smp.ts";
import { spend } from "../testing.ts";
import type { Thread } from "../thread.ts";
import { foundBy, onEachCpu, runOn, startOn, watched } from "./lock_testing.ts";

const WRITER = ksym("test_writer");
const READER = ksym("test_reader");

function* write(t: Thread, cell: Cell<number>): Steps {
  enter(t, WRITER);
  yield* store(t, cell, 1);
  leave(t);
}

function* read(t: Thread, cell: Cell<number>): Steps {
  enter(t, READER);
  yield* load(t, cell);
  leave(t);
}

Deno.test("two CPUs that write a cell without a lock race, in KCSAN's words", () => {
  const cell = new Cell("counter", 0);
  const report = foundBy(
    "race",
    (t) => onEachCpu(t, (p) => write(p, cell), (p) => read(p, cell)),
  );
  assertEquals(
    report.headline,
    "BUG: KCSAN: data-race in test_reader / test_writer",
  );
  const [now, earlier] = [...report.sections].sort((a, b) =>
    a.title < b.title ? -1 : 1
  );
  assertMatch(
    now.title,
    /^read to counter of 4 bytes by test\/1:\d+ on CPU 1 at \d+\.\d+:$/,
  );
  assertEquals(now.lines, ["test_reader", "kthread", "child_rip"]);
  assertMatch(
    earlier.title,
    /^write to counter of 4 bytes by test\/0:\d+ on CPU 0 at/,
  );
  assertEquals(earlier.lines, ["test_writer", "kthread", "child_rip"]);
});

Deno.test("a race is found however far apart the two come", () => {
  const cell = new Cell("counter", 0);
  foundBy("race", (t) =>
    onEachCpu(t, (p) => write(p, cell), function* (p) {
      yield* spend(p, 300_000);
      yield* write(p, cell);
    }));
});

Deno.test("what is done under one lock does not race, under two it does", () => {
  const main = (same: boolean) =>
    function* (t: Thread): Steps {
      const cell = new Cell("counter", 0);
      const locks = [new Spinlock(t.k, "a"), new Spinlock(t.k, "b")];
      const add = (lock: Spinlock) =>
        function* (p: Thread): Steps {
          for (let i = 0; i < 5; i++) {
            yield* spin_lock(p, lock);
            yield* store(p, cell, (yield* load(p, cell)) + 1);
            yield* spin_unlock(p, lock);
          }
        };
      yield* onEachCpu(t, add(locks[0]), add(locks[same ? 0 : 1]));
    };
  watched("race", main(true));
  foundBy("race", main(false));
});

Deno.test("readers of an rwlock come after its writers, writers after all", () => {
  const main = (last: "read" | "write") =>
    function* (t: Thread): Steps {
      const cell = new Cell("counter", 0);
      const lock = new Rwlock(t.k, "lock");
      const reader = function* (p: Thread): Steps {
        yield* read_lock(p, lock);
        yield* read(p, cell);
        if (last === "write") yield* write(p, cell);
        yield* read_unlock(p, lock);
      };
      const writer = function* (p: Thread): Steps {
        yield* write_lock(p, lock);
        yield* write(p, cell);
        yield* write_unlock(p, lock);
      };
      yield* onEachCpu(t, reader, writer, reader, writer);
      yield* onEachCpu(t, reader, reader, reader, reader);
    };
  watched("race", main("read"), { cpus: 4 });
  foundBy("race", main("write"), { cpus: 4 });
});

Deno.test("a mutex orders, though its holder sleeps and moves", () => {
  watched("race", function* (t) {
    const cell = new Cell("counter", 0);
    const lock = new Mutex(t.k, "lock");
    const add = (other: number) =>
      function* (p: Thread): Steps {
        for (let i = 0; i < 3; i++) {
          yield* mutex_lock(p, lock);
          yield* write(p, cell);
          yield* set_cpus_allowed(p, p, [other]);
          yield* write(p, cell);
          yield* set_cpus_allowed(p, p, [1 - other]);
          yield* mutex_unlock(p, lock);
        }
      };
    yield* onEachCpu(t, add(1), add(0));
  });
});

Deno.test("a plain write races with a marked access, a plain read does not", () => {
  const cell = () => new Cell("flag", 0);
  const pair = (
    a: (p: Thread, c: Cell<number>) => Steps<unknown>,
    b: (p: Thread, c: Cell<number>) => Steps<unknown>,
  ) => {
    const c = cell();
    return (t: Thread) => onEachCpu(t, (p) => a(p, c), (p) => b(p, c));
  };
  const marked = (p: Thread, c: Cell<number>) => WRITE_ONCE(p, c, 2);
  const found = foundBy("race", pair(write, (p, c) => READ_ONCE(p, c)));
  assert(found.sections.some(({ title }) => title.startsWith("read (marked)")));
  foundBy("race", pair(marked, write));
  foundBy("race", pair((p, c) => atomic_add_return(p, c, 1), write));
  watched("race", pair(marked, read));
  watched("race", pair(marked, marked));
  watched("race", pair(read, read));
});

Deno.test("WRITE_ONCE() publishes what was written before to who reads it by READ_ONCE()", () => {
  const main = (publish: (p: Thread, c: Cell<number>) => Steps<unknown>) =>
    function* (t: Thread): Steps {
      const data = new Cell("data", 0);
      const ready = new Cell("ready", 0);
      yield* onEachCpu(t, function* (p) {
        yield* write(p, data);
        yield* publish(p, ready);
      }, function* (p) {
        yield* spin_until(p, ready, 1, 1);
        yield* read(p, data);
      });
    };
  watched("race", main((p, c) => WRITE_ONCE(p, c, 1)));
  watched("race", main((p, c) => atomic_add_return(p, c, 1)));
  const report = foundBy("race", main((p, c) => store(p, c, 1)));
  assert(report.sections[0].title.includes("to ready of"));
});

Deno.test("threads are ordered by their start, their end, and completions", () => {
  watched("race", function* (t) {
    const cell = new Cell("counter", 0);
    const ready = new Completion(t.k, "ready");
    yield* write(t, cell);
    yield* runOn(t, 1, (p) => write(p, cell));
    yield* write(t, cell);
    const waiter = function* (p: Thread): Steps {
      yield* wait_for_completion(p, ready);
      yield* write(p, cell);
    };
    yield* onEachCpu(t, function* (p) {
      yield* write(p, cell);
      yield* complete(p, ready);
    }, waiter);
  });
});

Deno.test("a call on another CPU comes after what its sender did, and before the sender goes on", () => {
  watched("race", function* (t) {
    const cell = new Cell("counter", 0);
    yield* runOn(t, 0, function* (p) {
      yield* write(p, cell);
      yield* smp_call_function_single(
        p,
        1,
        (irq) => write(irq, cell),
        null,
        true,
      );
      yield* write(p, cell);
    });
  });
});

Deno.test("a call that nobody waits for races with what its sender does next", () => {
  foundBy("race", function* (t) {
    const cell = new Cell("counter", 0);
    yield* runOn(t, 0, function* (p) {
      yield* smp_call_function_single(
        p,
        1,
        (irq) => write(irq, cell),
        null,
        false,
      );
      yield* write(p, cell);
    });
  });
});

Deno.test("an RCU callback comes after the readers that its grace period waited for", () => {
  watched("race", function* (t) {
    const cell = new Cell("element", 0);
    const reader = yield* startOn(t, 1, function* (p) {
      rcu_read_lock(p);
      yield* read(p, cell);
      yield* spend(p, 50_000);
      yield* read(p, cell);
      rcu_read_unlock(p);
    });
    yield* runOn(t, 0, function* (p) {
      yield* spend(p, 5000);
      yield* call_rcu(
        p,
        new RcuHead(cell),
        (irq, { owner }) => write(irq, owner),
      );
      yield* rcu_barrier(p);
    });
    assertEquals(reader.gen, null);
  });
});

Deno.test("what follows a moment of quiet comes after what was before", () => {
  const main = (rest: boolean) =>
    function* (t: Thread): Steps {
      const cell = new Cell("counter", 0);
      yield* onEachCpu(t, (p) => write(p, cell), function* (p) {
        yield* spend(p, 100_000);
        if (rest) p.k.sanitizers!.quiet(p, p.k);
        yield* write(p, cell);
      });
    };
  watched("race", main(true));
  foundBy("race", main(false));
});

Deno.test("static-vmap-area: found where two CPUs run it at once (A13)", () => {
  for (const delay of [0, 700]) {
    for (const free of [false, true]) {
      const use = (cycles: number) =>
        function* (p: Thread): Steps {
          yield* spend(p, cycles);
          const addr = yield* vmalloc(p, 4096);
          if (free) yield* vfree(p, addr);
        };
      const main = (t: Thread) => onEachCpu(t, use(0), use(delay));
      const params = { vmap_quirk: new Set(["static-vmap-area"]) };
      const { headline } = foundBy("race", main, { params });
      assertEquals(
        headline,
        "BUG: KCSAN: data-race in __get_vm_area_node / __get_vm_area_node",
      );
      watched("race", main);
    }
  }
});
