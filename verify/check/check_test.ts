import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import {
  load,
  local_irq_disable,
  READ_ONCE,
  type Steps,
  store,
  vstore,
  WRITE_ONCE,
} from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import { Deadlock } from "../../arch/sim/engine.ts";
import { KernelBug } from "../../kernel/bug.ts";
import { EBUSY, err, type Errno } from "../../kernel/lib/errno.ts";
import {
  spin_lock,
  spin_unlock,
  Spinlock,
} from "../../kernel/locking/spinlock.ts";
import { vunmap_page_range } from "../../kernel/mm/pgtable.ts";
import { flush_tlb_kernel_range } from "../../kernel/mm/tlb.ts";
import { vmalloc } from "../../kernel/mm/vmalloc.ts";
import {
  AreaLayer,
  type LayerCounters,
  type VmapRange,
} from "../../kernel/mm/vmap_layer.ts";
import { SanitizerReport } from "../../kernel/sanitizers/report.ts";
import type { Thread } from "../../kernel/thread.ts";
import { preempt_disable, preempt_enable } from "../../kernel/thread.ts";
import { SCHEDULE_VERSION } from "../explore/version.ts";
import {
  checkDfs,
  checkPct,
  checkRandom,
  type CheckResult,
  replay,
} from "./check.ts";
import type { ScheduleScenario } from "./scenario.ts";
import { ScheduleError } from "./schedule_error.ts";

/** A schedule of the rule alone. */
const NO_DECISIONS = `v${SCHEDULE_VERSION}.`;

/** Two CPUs count to a counter of theirs; wrong if a thread moves in between. */
const perCpuCounter = (safe: boolean, times = 3) => (): ScheduleScenario => {
  const hits = [0, 1].map((cpu) => new Cell(`hits of CPU ${cpu}`, 0));
  const task = function* (t: Thread): Steps {
    for (let i = 0; i < times; i++) {
      if (safe) preempt_disable(t);
      const mine = hits[t.cpu.id];
      yield* store(t, mine, (yield* load(t, mine)) + 1);
      if (safe) preempt_enable(t);
    }
  };
  return {
    cpus: [task, task],
    after: () => assertEquals(hits[0].value + hits[1].value, 2 * times),
  };
};

/** Two locks in two orders. */
function abba(): ScheduleScenario {
  let a: Spinlock;
  let b: Spinlock;
  const both = function* (t: Thread, first: Spinlock, second: Spinlock): Steps {
    yield* spin_lock(t, first);
    yield* spin_lock(t, second);
    yield* spin_unlock(t, second);
    yield* spin_unlock(t, first);
  };
  return {
    before(t) {
      a = new Spinlock(t.k, "a");
      b = new Spinlock(t.k, "b");
    },
    cpus: [(t) => both(t, a, b), (t) => both(t, b, a)],
  };
}

function findingOf(check: () => CheckResult): ScheduleError {
  return assertThrows(check, ScheduleError);
}

Deno.test("checkRandom() finds a per-CPU counter without preempt_disable(), by a migration", () => {
  const found = findingOf(() => checkRandom({}, perCpuCounter(false)));
  assert(found.cause instanceof SanitizerReport);
  assertMatch(found.headline, /^BUG: KCSAN: data-race/);
  assertMatch(found.schedule, /^v\d+\..*m(0\.1|1\.0)$/);
  const { schedules } = checkRandom({ iterations: 300 }, perCpuCounter(true));
  assertEquals(schedules, 300);
});

Deno.test("a finding says what, where, how found, and the call that shows it again", () => {
  const { message, schedule } = findingOf(() =>
    checkRandom({}, perCpuCounter(false))
  );
  const [headline, found, empty, ...rest] = message.split("\n");
  assertMatch(headline, /^BUG: KCSAN: /);
  assertMatch(found, /^Found by checkRandom, seed 1, schedule \d+$/);
  assertEquals(empty, "");
  assert(rest.some((line) => line.endsWith(`] ${headline}`)));
  assert(rest.some((line) => line.endsWith("Call Trace:")));
  assertEquals(rest.at(-1), `replay("${schedule}", scenario)`);
  assert(!message.includes("Seed:"));
});

Deno.test("the same seed finds the same, another one what it finds", () => {
  const find = (seed: number) =>
    findingOf(() => checkRandom({ seed }, perCpuCounter(false)));
  assertEquals(find(3).message, find(3).message);
  assertNotEquals(find(3).message, find(4).message);
  assertEquals(find(3).headline, find(4).headline);
});

Deno.test("replay() gives the same failure each time", () => {
  for (const options of [{}, { sanitize: [] }]) {
    const found = findingOf(() => checkPct(options, perCpuCounter(false)));
    const again = () =>
      findingOf(() => replay(found.schedule, perCpuCounter(false), options));
    const first = again();
    assertEquals(first.message, again().message);
    assertEquals(first.headline, found.headline);
    assertEquals(first.schedule, found.schedule);
    const without = (text: string) => text.replace(/\nFound by .*/, "");
    assertEquals(first.message, without(found.message));
  }
});

Deno.test("replay() of a schedule under which all is well returns", () => {
  const { schedules, steps } = replay(NO_DECISIONS, perCpuCounter(false));
  assertEquals(schedules, 1);
  assert(steps > 0);
  const found = findingOf(() => checkRandom({}, perCpuCounter(false)));
  replay(found.schedule, perCpuCounter(true)); // repaired
});

Deno.test("an assertion of the scenario that fails is a finding, its options part of the call", () => {
  const found = findingOf(() =>
    checkRandom({ sanitize: [] }, perCpuCounter(false))
  );
  assertMatch(found.headline, /^AssertionError: /);
  assertMatch(found.message, /\nreplay\("v\d+\.[^"]+", scenario, options\)$/);
});

Deno.test("checkDfs() runs all schedules, and says so", () => {
  const bound = (preemptions: number) => {
    const counter = () => {
      const cell = new Cell("counter", 0);
      const add = function* (t: Thread): Steps {
        yield* WRITE_ONCE(t, cell, (yield* READ_ONCE(t, cell)) + 1);
      };
      return {
        cpus: [add, add],
        after: () => assertEquals(cell.value, 2),
      };
    };
    return () => checkDfs({ preemptions }, counter);
  };
  const { exhausted, schedules, pruned } = bound(0)();
  assertEquals([exhausted, schedules, pruned], [true, 2, 0]);
  assertMatch(findingOf(bound(1)).headline, /^AssertionError/);
});

Deno.test("checkDfs() finds what takes a migration or a tick only if there may be some", () => {
  const scenario = perCpuCounter(false, 1);
  assert(checkDfs({ preemptions: 1 }, scenario).exhausted);
  const found = findingOf(() =>
    checkDfs({ preemptions: 1, migrations: 1 }, scenario)
  );
  findingOf(() => replay(found.schedule, scenario));
  const one = checkDfs({ iterations: 1 }, scenario);
  assertEquals([one.exhausted, one.schedules], [false, 1]);
});

Deno.test("a deadlock is found with lockdep and without, and shows who waits", () => {
  assertMatch(
    findingOf(() => checkRandom({ sanitize: ["lockdep"] }, abba)).headline,
    /lock/,
  );
  for (
    const check of [
      () => checkRandom({ sanitize: [] }, abba),
      () => checkPct({ sanitize: [] }, abba),
      () => checkDfs({ sanitize: [] }, abba),
    ]
  ) {
    const found = findingOf(check);
    assert(found.cause instanceof Deadlock);
    assertMatch(found.message, /waits for TICKET_LOCK of a, held by/);
    assertMatch(found.message, /waits for TICKET_LOCK of b, held by/);
  }
});

/** Addresses only go up; two CPUs that ask at once get the same. */
class RacyLayer extends AreaLayer<VmapRange> {
  readonly name = "racy";
  readonly #top = new Cell("racy_top", this.k.vmalloc.start);
  readonly #areas = new Map<number, VmapRange>();

  init(): void {}
  import_vm(): void {}
  *vm_unmap_aliases(): Steps {}

  *alloc_area(
    t: Thread,
    size: number,
    _align: number,
    _start: number,
    end: number,
  ): Steps<VmapRange | Errno> {
    const va_start = yield* READ_ONCE(t, this.#top);
    if (va_start + size > end) return err(EBUSY);
    yield* WRITE_ONCE(t, this.#top, va_start + size); // not what it was, perhaps
    const area = { va_start, va_end: va_start + size, private: null };
    this.#areas.set(va_start, area);
    return area;
  }

  *find_area(t: Thread, addr: number): Steps<VmapRange | null> {
    yield* READ_ONCE(t, this.#top); // on its line: the table
    return this.#areas.get(addr) ?? null;
  }

  *claim_area(t: Thread, addr: number): Steps<VmapRange | null> {
    const area = yield* this.find_area(t, addr);
    this.#areas.delete(addr);
    return area;
  }

  *free_unmap(t: Thread, { va_start, va_end }: VmapRange): Steps {
    this.#areas.delete(va_start);
    yield* vunmap_page_range(t, va_start, va_end);
    yield* flush_tlb_kernel_range(t, va_start, va_end);
  }

  counters(): LayerCounters {
    const none = { blocks: 0, blocks_with_free: 0, purges: 0, walk_steps: 0 };
    return { areas: this.#areas.size, lazy_nr: 0, lazy_max: 0, ...none };
  }

  check(): string[] {
    return [];
  }
}

Deno.test("a bug in a vmap layer of one's own is found by scenarios and by sanitizers", () => {
  const options = {
    layers: { racy: (k: Thread["k"]) => new RacyLayer(k) },
    params: { vmap: "racy" },
  };
  const task = function* (t: Thread): Steps {
    const addr = yield* vmalloc(t, 4096);
    yield* vstore(t, addr, 8, t.cpu.id);
  };
  const scenario = () => ({ cpus: [task, task] });
  for (const check of [checkRandom, checkPct, checkDfs]) {
    const found = findingOf(() => check(options, scenario));
    assert(found.cause instanceof KernelBug, found.message);
    findingOf(() => replay(found.schedule, scenario, options));
  }
  // The kernel's own layer passes the same.
  checkRandom({ iterations: 300 }, scenario);
});

Deno.test("a mistake in JavaScript is named beside the oops that it is", () => {
  const found = findingOf(() =>
    checkRandom({}, () => ({
      cpus: [function* (t) {
        const nothing = null as unknown as Cell;
        yield* load(t, nothing);
      }],
    }))
  );
  assertMatch(found.headline, /NULL pointer dereference/);
  assertMatch(found.message, /\nCaused by: TypeError: /);
});

Deno.test("a scenario that keeps state between calls is told so", () => {
  let calls = 0;
  const found = findingOf(() =>
    checkRandom({}, () => {
      calls++;
      return {
        cpus: [function* () {}],
        after: () => assert(calls !== 5, "the fifth"),
      };
    })
  );
  assertMatch(found.message, /keep state/);
});

const one = () => ({ cpus: [function* () {}] });

Deno.test("too few CPUs, and what is no schedule, are refused in a line", () => {
  const none = () => ({ cpus: [] });
  const refuse = (call: () => unknown, message: string) =>
    assertThrows(call, RangeError, message);
  refuse(() => checkRandom({}, none), "cpus must have 1 to 8 functions");
  refuse(
    () => replay("3s1", one),
    'Cannot replay "3s1" as it is no schedule: expected what a ScheduleError has',
  );
  refuse(
    () => replay("v0.3s1", one),
    `Cannot replay a schedule of version 0 as this is version ${SCHEDULE_VERSION}`,
  );
  refuse(
    () => replay(`${NO_DECISIONS}!`, one),
    'Cannot read a schedule as "!"',
  );
});

Deno.test("a function that ends with a lock held, or preemption or interrupts off, is a finding", () => {
  const ends: [(t: Thread, lock: Spinlock) => Steps<unknown>, string][] = [
    [spin_lock, "lock held at task exit time: my_lock"],
    [function* (t) {
      preempt_disable(t);
      yield* spin_idle(t);
    }, "task ended with preemption off"],
    [function* (t) {
      yield* spin_idle(t);
      local_irq_disable(t);
    }, "task ended with interrupts off"],
  ];
  for (const [end, headline] of ends) {
    let lock: Spinlock;
    const scenario = (): ScheduleScenario => ({
      before: (t) => {
        lock = new Spinlock(t.k, "my_lock");
      },
      cpus: [(t) => end(t, lock)],
    });
    assertThrows(() => checkRandom({}, scenario), ScheduleError, headline);
  }
});

/** One operation on shared state. */
function spin_idle(t: Thread): Steps<unknown> {
  return READ_ONCE(t, new Cell("any", 0));
}
