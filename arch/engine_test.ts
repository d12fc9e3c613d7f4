import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  atomic_add_return,
  charge,
  charge_cycles,
  cpu_relax,
  load,
  type MachineContext,
  read_clocksource,
  safe_halt,
  send_ipi,
  spin_until,
  type Steps,
  store,
  xchg,
} from "./asm.ts";
import { Cell } from "./hw/cell.ts";
import { Deadlock } from "./sim/engine.ts";
import type { Observer } from "./sim/observer.ts";
import { ScanQueue } from "./sim/queue_test.ts";
import { bareMachine, startOn } from "./testing.ts";

const IPI = 1;

Deno.test("a shared line is served to one CPU at a time", () => {
  const machine = bareMachine();
  const cell = new Cell("counter", 0);
  const done: number[] = [];
  for (let id = 0; id < 4; id++) {
    startOn(machine, id, function* (t) {
      yield* atomic_add_return(t, cell, 1);
      done.push(t.cpu.clock);
    });
  }
  assertEquals(machine.engine.run(), "idle");
  assertEquals(cell.value, 4);
  assertEquals(new Set(done).size, 4);
  const gaps = done.slice(1).map((at, i) => at - done[i]);
  const { sameSocketCycles, queuedShare } = machine.spec.cache;
  // All but the first have waited at the line's home.
  const gap = Math.round(sameSocketCycles * queuedShare);
  assertEquals(gaps, [gap, gap, gap]);
});

Deno.test("load() of a line one already has costs a hit, of another's line a transfer", () => {
  const machine = bareMachine();
  const { hitCycles, sameSocketCycles, otherSocketCycles } = machine.spec.cache;
  const cell = new Cell("shared", 0);
  const cost: number[] = [];
  const read = function* (t: MachineContext): Steps {
    const before = t.cpu.clock;
    yield* load(t, cell);
    cost.push(t.cpu.clock - before);
  };
  startOn(machine, 0, function* (t) {
    yield* store(t, cell, 1);
    yield* read(t);
  });
  startOn(machine, 1, function* (t) {
    charge_cycles(t, 10_000);
    yield* read(t);
    yield* read(t);
  });
  startOn(machine, 4, function* (t) {
    charge_cycles(t, 20_000);
    yield* read(t);
  });
  machine.engine.run();
  assertEquals(cost, [
    hitCycles,
    sameSocketCycles,
    hitCycles,
    otherSocketCycles,
  ]);
});

Deno.test("operations happen in the order of the clocks, ties by CPU number", () => {
  const machine = bareMachine();
  const cell = new Cell("log", 0);
  const order: number[] = [];
  for (const id of [3, 1, 2, 0]) {
    startOn(machine, id, function* (t) {
      for (let i = 0; i < 3; i++) {
        charge_cycles(t, 1000 * (id === 0 ? 2 : 1) - (t.cpu.clock % 1000));
        yield* read_clocksource(t);
        order.push(id);
        yield* load(t, cell);
      }
    });
  }
  machine.engine.run();
  assertEquals(order.slice(0, 3), [1, 2, 3]);
});

Deno.test("a parked spinner takes an interrupt and goes on waiting", () => {
  let handled = 0;
  const machine = bareMachine({}, {}, function* (t) {
    charge(t, 50);
    yield* load(t, mailbox);
    handled++;
  });
  const mailbox = new Cell("mailbox", 0);
  const flag = new Cell("flag", 0);
  let released = 0;
  startOn(machine, 0, function* (t) {
    yield* spin_until(t, flag, -1, 1);
    released = t.cpu.clock;
  });
  startOn(machine, 1, function* (t) {
    charge_cycles(t, 5_000);
    yield* send_ipi(t, 0, IPI);
    charge_cycles(t, 50_000);
    yield* load(t, mailbox); // lets the others catch up
    assertEquals(handled, 1);
    assertEquals(released, 0);
    yield* store(t, flag, 1);
  });
  machine.engine.run();
  assertEquals(handled, 1);
  assert(released > 55_000);
});

Deno.test("cpu_relax() parks a loop that polls one line and wakes it on the write", () => {
  const machine = bareMachine();
  const flag = new Cell("flag", 0);
  let turns = 0;
  startOn(machine, 0, function* (t) {
    while ((yield* load(t, flag)) === 0) {
      turns++;
      yield* cpu_relax(t);
    }
  });
  startOn(machine, 1, function* (t) {
    charge_cycles(t, 1_000_000);
    yield* store(t, flag, 1);
  });
  machine.engine.run();
  assert(turns <= 2, `${turns} turns of the loop`);
});

Deno.test("a halted CPU wakes at the interrupt's arrival and pays for waking", () => {
  const machine = bareMachine();
  let woke = 0;
  startOn(machine, 0, function* (t) {
    t.cpu.irqsOn = false;
    yield* safe_halt(t);
    woke = t.cpu.clock;
  });
  let sent = 0;
  startOn(machine, 1, function* (t) {
    charge_cycles(t, 30_000);
    yield* send_ipi(t, 0, IPI);
    sent = t.cpu.clock;
  });
  machine.engine.run();
  const { ipi, idle, cache } = machine.spec;
  const handler = cache.memoryLocalCycles; // it reads one line
  assertEquals(woke, sent + ipi.deliverCycles + idle.wakeCycles + handler);
});

Deno.test("interrupts wait while they are off and come at the next operation when on", () => {
  const at: number[] = [];
  const machine = bareMachine({}, {}, function* (t) {
    at.push(t.cpu.clock);
    yield* load(t, cell);
  });
  const cell = new Cell("cell", 0);
  startOn(machine, 0, function* (t) {
    t.cpu.irqsOn = false;
    for (let i = 0; i < 20; i++) {
      charge_cycles(t, 1_000);
      yield* load(t, cell);
    }
    assertEquals(at, []);
    machine.engine.setIrqs(t.cpu, true);
    yield* load(t, cell);
  });
  startOn(machine, 1, function* (t) {
    yield* send_ipi(t, 0, IPI);
  });
  machine.engine.run();
  assertEquals(at.length, 1);
  assert(at[0] >= 20_000);
});

Deno.test("waiting for each other is reported as a deadlock with what each waits for", () => {
  const machine = bareMachine();
  const a = new Cell("lock_a", 0);
  const b = new Cell("lock_b", 0);
  const take = (first: Cell, second: Cell) =>
    function* (t: MachineContext): Steps {
      yield* xchg(t, first, 1);
      charge_cycles(t, 1000);
      while ((yield* xchg(t, second, 1)) !== 0) {
        yield* spin_until(t, second, -1, 0);
      }
    };
  startOn(machine, 0, take(a, b));
  startOn(machine, 1, take(b, a));
  const error = assertThrows(() => machine.engine.run(), Deadlock);
  assertEquals(error.waiting.map((cpu) => cpu.top!.op!.describe()), [
    "SPIN of lock_b",
    "SPIN of lock_a",
  ]);
});

Deno.test("a spinner that only timer ticks reach is reported as a lockup", () => {
  const machine = bareMachine({}, { lockupCycles: 1_000_000 }, function* (t) {
    machine.engine.setTimer(t.cpu, t.cpu.clock + 100_000);
    yield* load(t, cell);
  });
  const cell = new Cell("cell", 0);
  startOn(machine, 0, function* (t) {
    machine.engine.setTimer(t.cpu, 100_000);
    yield* spin_until(t, cell, -1, 1);
  });
  assertThrows(() => machine.engine.run(), Deadlock, "soft lockup on CPU 0");
});

Deno.test("the shared clock device serves one CPU at a time", () => {
  const machine = bareMachine();
  const { readCycles, shared } = machine.spec.clocksource;
  assert(shared);
  const done: number[] = [];
  for (let id = 0; id < 4; id++) {
    startOn(machine, id, function* (t) {
      done.push(yield* read_clocksource(t));
    });
  }
  machine.engine.run();
  assertEquals(done, [1, 2, 3, 4].map((n) => n * readCycles));
});

Deno.test("a missing yield* is caught at the next operation", () => {
  const machine = bareMachine();
  const cell = new Cell("cell", 0);
  startOn(machine, 0, function* (t) {
    store(t, cell, 1);
    yield* load(t, cell);
  });
  assertThrows(() => machine.engine.run(), TypeError, 'a "yield*" is missing');
});

/** Eight CPUs fight for three cells; returns every operation in order. */
function contest(
  queue: "heap" | "scan",
  watch: boolean,
): { trace: string[]; clocks: number[] } {
  const trace: string[] = [];
  const observer: Observer = {
    operation: (t, kind, _place, value) =>
      trace.push(`${t.cpu.id} ${t.cpu.clock} ${kind} ${value}`),
  };
  const machine = bareMachine(
    {},
    queue === "scan" ? { queue: new ScanQueue(8) } : {},
    function* (t) {
      yield* atomic_add_return(t, interrupts, 1);
    },
  );
  const interrupts = new Cell("interrupts", 0);
  if (watch) machine.engine.observer = observer;
  const cells = [0, 1, 2].map((i) => new Cell(`cell${i}`, 0));
  for (let id = 0; id < 8; id++) {
    startOn(machine, id, function* (t) {
      for (let i = 0; i < 50; i++) {
        charge(t, (id * 7 + i * 3) % 11);
        const cell = cells[(id + i) % 3];
        while ((yield* xchg(t, cell, 1)) !== 0) {
          yield* spin_until(t, cell, 1, 0);
        }
        charge(t, 20);
        yield* store(t, cell, 0);
        if (i % 10 === id) yield* send_ipi(t, (id + 1) % 8, IPI);
      }
    });
  }
  machine.engine.run();
  return { trace, clocks: machine.engine.cpus.map((cpu) => cpu.clock) };
}

Deno.test("the order of events does not depend on how the queue stores CPUs", () => {
  const heap = contest("heap", true);
  const scan = contest("scan", true);
  assert(heap.trace.length > 1000);
  assertEquals(heap, scan);
});

Deno.test("observers see every operation and change no clock", () => {
  assertEquals(contest("heap", true).clocks, contest("heap", false).clocks);
});
