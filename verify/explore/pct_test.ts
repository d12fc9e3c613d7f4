import { assert, assertEquals } from "@std/assert";
import { Rng } from "../../arch/sim/random.ts";
import { load, type Steps, store, vload } from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import {
  spin_lock,
  spin_unlock,
  Spinlock,
} from "../../kernel/locking/spinlock.ts";
import { vmalloc } from "../../kernel/mm/vmalloc.ts";
import { smp_call_function_single } from "../../kernel/smp.ts";
import type { Thread } from "../../kernel/thread.ts";
import { EventKind } from "./event.ts";
import { ExploreMachine } from "./machine.ts";
import { canRun } from "./moves.ts";
import { Pct } from "./pct.ts";
import { RuleChooser } from "./rule.ts";

const CPUS = 3;

/** Functions that take a lock from each other, and interrupt the next CPU. */
function functions(m: ExploreMachine) {
  const lock = new Spinlock(m.k, "lock");
  const cell = new Cell("cell", 0);
  return Array.from({ length: CPUS }, (_, i) =>
    function* (t: Thread): Steps {
      for (let n = 0; n < 3; n++) {
        yield* spin_lock(t, lock);
        yield* store(t, cell, (yield* load(t, cell)) + 1);
        yield* spin_unlock(t, lock);
        yield* load(t, cell);
      }
      const next = (i + 1) % CPUS;
      yield* smp_call_function_single(t, next, () => {}, null, false);
      yield* load(t, cell);
      yield* load(t, cell);
    });
}

Deno.test("without changes of priority, one order of CPUs explains who runs at every operation", () => {
  let plain = 0;
  let preempted = 0;
  for (let seed = 1; seed <= 200; seed++) {
    const m = new ExploreMachine({ cpus: CPUS });
    const { cpus } = m.machine.engine;
    /** Pairs `a > b`: a ran while b could. */
    const above = new Set<string>();
    let ready: number[] = [];
    const look = () => {
      ready = cpus.filter(canRun).map((cpu) => cpu.id);
    };
    // Who has been woken may look once, in vain, and be no more able to run.
    const { driver } = m;
    const { pick } = driver;
    driver.pick = (engine) => {
      const cpu = pick.call(driver, engine);
      look();
      return cpu;
    };
    let last = -1;
    let switches = 0;
    driver.watcher = {
      operation: ({ cpu: { id } }) => {
        for (const other of ready) {
          if (other !== id) above.add(`${id} > ${other}`);
        }
        if (last >= 0 && last !== id && ready.includes(last)) switches++;
        last = id;
        look();
      },
    };
    m.run(functions(m), new Pct(new Rng(seed), 1));
    // Rounds with extras depart from the order.
    if (driver.events.some(({ kind }) => kind !== EventKind.SWITCH)) continue;
    plain++;
    preempted += switches;
    for (const pair of above) {
      assert(!above.has(pair.split(" > ").reverse().join(" > ")), pair);
    }
  }
  assert(plain > 20 && preempted > 20, `${plain} ${preempted}`);
});

Deno.test("extras are of every kind", () => {
  const m = new ExploreMachine({ cpus: CPUS });
  const pages = 48;
  let addr = 0;
  m.run([
    function* (t) {
      addr = yield* vmalloc(t, pages * 4096);
    },
  ], new RuleChooser());
  const walk = function* (t: Thread): Steps {
    for (let i = 0; i < pages; i++) yield* vload(t, addr + i * 4096, 8);
  };
  const chooser = new Pct(new Rng(1), 3);
  const kinds = new Set<number>();
  for (let round = 0; round < 200; round++) {
    m.run(new Array(CPUS).fill(walk), chooser);
    for (const { kind } of m.driver.events) kinds.add(kind);
  }
  const { FAIL: _, ...expected } = EventKind;
  assertEquals([...kinds].sort(), Object.values(expected));
});
