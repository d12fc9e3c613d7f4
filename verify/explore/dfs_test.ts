import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Steps, store, xchg } from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import { PAGE_KERNEL } from "../../arch/hw/pte.ts";
import {
  spin_lock,
  spin_unlock,
  Spinlock,
} from "../../kernel/locking/spinlock.ts";
import { GFP_KERNEL } from "../../kernel/mm/gfp.ts";
import { alloc_page } from "../../kernel/mm/page_alloc.ts";
import { vm_map_ram, vm_unmap_ram } from "../../kernel/mm/vmap.ts";
import { smp_call_function_single } from "../../kernel/smp.ts";
import type { Thread } from "../../kernel/thread.ts";
import { Dfs } from "./dfs.ts";
import {
  compare,
  increment,
  outcomes,
  PARAMS,
  type Program,
} from "./dfs_testing.ts";
import type { ExploreMachine } from "./machine.ts";
import { Replay } from "./replay.ts";

function counter(cpus: number): Program {
  const cell = new Cell("counter", 0);
  return {
    functions: new Array(cpus).fill((t: Thread) => increment(t, cell)),
    outcome: () => String(cell.value),
  };
}

function lockPair(m: ExploreMachine): Program {
  const a = new Spinlock(m.k, "a");
  const b = new Spinlock(m.k, "b");
  const both = (first: Spinlock, second: Spinlock) =>
    function* (t: Thread): Steps {
      yield* spin_lock(t, first);
      yield* spin_lock(t, second);
      yield* spin_unlock(t, second);
      yield* spin_unlock(t, first);
    };
  return { functions: [both(a, b), both(b, a)], outcome: () => "ok" };
}

function mappings(): Program {
  const got: number[] = [];
  const map = (slot: number) =>
    function* (t: Thread): Steps {
      const page = yield* alloc_page(t, GFP_KERNEL);
      const addr = yield* vm_map_ram(t, [page!], 1, -1, PAGE_KERNEL);
      got[slot] = (addr - t.k.vmalloc.start) / 4096;
      yield* vm_unmap_ram(t, addr, 1);
    };
  return { functions: [map(0), map(1)], outcome: () => got.join() };
}

/** An interrupt that comes between the halves of an increment. */
function interrupted(): Program {
  const cell = new Cell("counter", 0);
  return {
    functions: [
      function* (t) {
        yield* smp_call_function_single(
          t,
          1,
          (irq) => store(irq, cell, 10),
          null,
          true,
        );
      },
      (t) => increment(t, cell),
    ],
    outcome: () => String(cell.value),
  };
}

Deno.test("an exhaustive search finds the lost update of two CPUs, and the bound that it takes", () => {
  const bound = (preemptions: number) =>
    outcomes(() => counter(2), 2, { preemptions }).all;
  assertEquals(bound(0), ["2"]);
  assertEquals(bound(1), ["1", "2"]);
});

Deno.test("sleep sets leave no outcome of a racy counter out, whatever the bound", () => {
  for (const preemptions of [0, 1, 2, 3, Infinity]) {
    compare(() => counter(2), 2, { preemptions });
  }
  const { runs: [full, reduced], all } = compare(() => counter(3), 3, {
    preemptions: 2,
  });
  assertEquals(all, ["1", "2", "3"]);
  assert(reduced * 2 < full);
});

Deno.test("sleep sets leave no deadlock of a lock pair out", () => {
  const { runs: [full, reduced], all } = compare(lockPair, 2, {
    preemptions: 2,
  });
  assertEquals(all, ["deadlock: no CPU can go on", "ok"]);
  assert(reduced * 2 < full);
});

Deno.test("an interrupt arrives at any operation, or later", () => {
  const { runs: [full, reduced], all } = compare(interrupted, 2, {
    preemptions: 2,
  });
  assertEquals(all, ["1", "10", "11"]);
  assert(reduced * 2 < full);
});

Deno.test("two vm_map_ram() and vm_unmap_ram(): the same addresses with and without reduction", () => {
  const { runs: [full, reduced] } = compare(mappings, 2, { preemptions: 1 });
  assert(reduced < full);
});

Deno.test("CPUs that share nothing have hardly more than one schedule", () => {
  const { counts } = outcomes(
    () => {
      const cells = [new Cell("a", 0), new Cell("b", 0)];
      return {
        functions: cells.map((cell) => (t: Thread) => increment(t, cell)),
        outcome: () => cells.map(({ value }) => value).join(),
      };
    },
    2,
    { preemptions: Infinity },
  );
  assert(counts.executions <= 2);
});

Deno.test("variables that CPUs share count if their users say so", () => {
  const shared = (told: boolean) => (m: ExploreMachine): Program => {
    const order: number[] = [];
    const cells = [new Cell("a", 0), new Cell("b", 0)];
    return {
      functions: cells.map((cell, cpu) =>
        function* (t: Thread): Steps {
          yield* increment(t, cell);
          if (told) m.shared();
          order.push(cpu);
          yield* increment(t, cell);
        }
      ),
      outcome: () => order.join(""),
    };
  };
  const { all } = compare(shared(true), 2, { preemptions: Infinity });
  assertEquals(all, ["01", "10"]);
});

Deno.test("two searches are the same search", () => {
  const search = () => outcomes(mappings, 2, { preemptions: 1, ticks: 1 });
  assertEquals(search(), search());
});

Deno.test("ticks and migrations are choices, as many as are allowed", () => {
  const moved = () => {
    const cpus: number[] = [];
    return {
      functions: [
        function* (t: Thread): Steps {
          const cell = new Cell("mine", 0);
          cpus.push(t.cpu.id);
          yield* store(t, cell, 1);
          cpus.push(t.cpu.id);
        },
      ],
      outcome: () => cpus.join(""),
    };
  };
  assertEquals(outcomes(moved, 2, {}).all, ["00"]);
  assertEquals(outcomes(moved, 2, { migrations: 1 }).all, ["00", "01", "11"]);
  const few = outcomes(moved, 2, {}).counts.executions;
  assert(outcomes(moved, 2, { ticks: 1 }).counts.executions > few);
});

Deno.test("what a search has run, Replay runs again", () => {
  const dfs = new Dfs({ preemptions: 1, ticks: 1 });
  const log: string[] = [];
  const watch = (m: ExploreMachine) => {
    log.length = 0;
    m.driver.watcher = {
      operation: (t, kind) => void log.push(`${t.cpu.id} ${kind}`),
      interrupt: (cpu, vector) => void log.push(`${cpu.id}: ${vector}`),
    };
    return interrupted().functions;
  };
  let runs = 0;
  const check = (m: ExploreMachine) => {
    const first = log.slice();
    const events = m.driver.events.slice();
    const again = new (m.constructor as typeof ExploreMachine)({
      params: PARAMS,
    });
    again.run(watch(again), new Replay(events));
    assertEquals(log, first);
    runs++;
  };
  while (dfs.run({ params: PARAMS }, watch, check));
  assert(runs > 20);
});

Deno.test("a search says whether it has run one, and when none is left", () => {
  const dfs = new Dfs({ preemptions: 1 });
  let runs = 0;
  let ended = 0;
  assert(!dfs.exhausted);
  while (
    dfs.run({ params: PARAMS }, () => counter(2).functions, () => ended++)
  ) runs++;
  assert(dfs.exhausted);
  assertEquals([runs, ended], [dfs.counts.executions, runs]);
  assert(!dfs.run({ params: PARAMS }, () => counter(2).functions));
  assertEquals(dfs.counts.executions, runs);
});

Deno.test("a run that finds something counts as one, and the search goes on after it", () => {
  const dfs = new Dfs({ preemptions: 1 });
  let clean = 0;
  let found = 0;
  while (!dfs.exhausted) {
    try {
      if (dfs.run({ params: PARAMS }, (m) => lockPair(m).functions)) clean++;
    } catch {
      found++;
    }
  }
  assert(found > 0 && clean > 0);
  assertEquals(dfs.counts.executions, clean);
});

/** One step of a random program: on which of three cells or two locks. */
const arbStep = fc.oneof(
  fc.record({ what: fc.constant("add"), on: fc.nat(2) }),
  fc.record({ what: fc.constant("set"), on: fc.nat(2) }),
  fc.record({ what: fc.constant("lock"), on: fc.nat(1) }),
);

Deno.test("random programs have the same outcomes with and without reduction", () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(arbStep, { minLength: 1, maxLength: 2 }), {
        minLength: 2,
        maxLength: 3,
      }),
      fc.nat(2),
      (tasks, preemptions) => {
        const make = (m: ExploreMachine): Program => {
          const cells = [0, 1, 2].map((i) => new Cell(`cell ${i}`, 0));
          const locks = [0, 1].map((i) => new Spinlock(m.k, `lock ${i}`));
          const seen: number[] = [];
          return {
            functions: tasks.map((steps, cpu) =>
              function* (t: Thread): Steps {
                for (const { what, on } of steps) {
                  if (what === "add") yield* increment(t, cells[on]);
                  else if (what === "set") {
                    seen.push(cpu, yield* xchg(t, cells[on], cpu + 5));
                  } else {
                    yield* spin_lock(t, locks[on]);
                    yield* increment(t, cells[2 - on]);
                    yield* spin_unlock(t, locks[on]);
                  }
                }
              }
            ),
            outcome: () => {
              const byCpu = tasks.map((_, cpu) =>
                seen.filter((_, i) => i % 2 === 1 && seen[i - 1] === cpu)
              );
              return JSON.stringify([cells.map(({ value }) => value), byCpu]);
            },
          };
        };
        compare(make, tasks.length, { preemptions });
      },
    ),
    { seed: 7, numRuns: 25 },
  );
});
