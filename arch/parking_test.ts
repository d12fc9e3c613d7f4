/** Looks in vain at ticket locks: `arch/sim/parking.ts` and `arch/hw/spinners.ts`. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  charge_cycles,
  cpu_relax,
  enter,
  ksym,
  leave,
  load,
  type MachineContext,
  spin_cmpxchg,
  spin_until,
  type Steps,
  store,
  ticket_lock,
  ticket_unlock,
  type TicketLock,
} from "./asm.ts";
import { Cell } from "./hw/cell.ts";
import { cpuTimes } from "./sim/cpu_times.ts";
import { SymbolCycles } from "./sim/cycles.ts";
import { Parking } from "./sim/parking.ts";
import { TimedPolicy } from "./sim/policy.ts";
import { HeapQueue } from "./sim/queue.ts";
import { symCount } from "./sim/symbol.ts";
import type { ParkingPlace } from "./sim/waiters.ts";
import { bareMachine, OneByOne, startOn } from "./testing.ts";

const SPIN = ksym("parking_test_spin");
const ROUNDS = 12;

class Lock implements TicketLock {
  readonly slock = new Cell("lock", 0);
  readonly local = false;
  owner = -1;
  readonly owners: number[] = [];

  taken(t: MachineContext): void {
    assertEquals(this.owner, -1, "two owners");
    this.owner = t.cpu.id;
    this.owners.push(this.owner);
  }
  given(): void {
    this.owner = -1;
  }
}

/** Cycles between two uses of the locks and in them, and the lock, of each CPU. */
type Plan = readonly (readonly [number, number, number])[];

/** CPUs that take one of two locks again and again; `irqs` are sent to them at these cycles. */
function contend(plan: Plan, irqs: readonly number[], policy: TimedPolicy) {
  const cpus = plan.length;
  const machine = bareMachine(
    { topology: { sockets: cpus, coresPerSocket: 1, nodes: cpus } },
    { policy },
    function* (t) {
      charge_cycles(t, 700);
      yield* ticket_lock(t, irqLock);
      charge_cycles(t, 90);
      yield* ticket_unlock(t, irqLock);
    },
  );
  const { engine } = machine;
  const locks = [new Lock(), new Lock()];
  const irqLock = new Lock();
  plan.forEach(([think, hold, which], id) =>
    startOn(machine, id, function* (t) {
      const lock = locks[which];
      for (let i = 0; i < ROUNDS; i++) {
        charge_cycles(t, think);
        enter(t, SPIN);
        yield* ticket_lock(t, lock);
        leave(t);
        charge_cycles(t, hold);
        yield* ticket_unlock(t, lock);
      }
    })
  );
  irqs.forEach((at, i) => engine.sendInterrupt(engine.cpus[i % cpus], 1, at));
  engine.run();
  return {
    owners: [...locks, irqLock].map((lock) => lock.owners),
    clocks: engine.cpus.map((cpu) => cpu.clock),
    spent: [...engine.cyclesBySym.slice(0, symCount())],
  };
}

const plans = fc.array(
  fc.tuple(
    fc.integer({ min: 0, max: 4000 }),
    fc.integer({ min: 0, max: 3000 }),
    fc.nat({ max: 1 }),
  ),
  { minLength: 2, maxLength: 60, size: "max" }, // up to batches, and one by one
);

Deno.test("looks in vain made together take the time that each CPU's own would", () => {
  fc.assert(
    fc.property(plans, (plan) => {
      const together = contend(plan, [], new TimedPolicy());
      assertEquals(together, contend(plan, [], new OneByOne()));
    }),
    { numRuns: 60 },
  );
});

Deno.test("interrupts upon spinners lose nobody, no turn and no cycle", () => {
  fc.assert(
    fc.property(
      plans,
      fc.array(fc.integer({ min: 0, max: 200_000 }), { maxLength: 100 }),
      (plan, irqs) => {
        for (const policy of [new TimedPolicy(), new OneByOne()]) {
          const { owners, clocks, spent } = contend(plan, irqs, policy);
          assertEquals(
            owners.slice(0, 2).map((taken) => taken.length),
            [0, 1].map((n) =>
              ROUNDS * plan.filter(([, , which]) => which === n).length
            ),
          );
          const sum = (of: number[]) => of.reduce((a, b) => a + b, 0);
          assertEquals(sum(spent), sum(clocks));
        }
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("interrupts upon fewer spinners than make a batch change no clock either", () => {
  const irqs = [3000, 3500, 9000, 9001, 9002, 20_000, 31_000];
  const plan: Plan = Array.from({ length: 12 }, (_, i) => [i * 37, 900, i % 2]);
  const together = contend(plan, irqs, new TimedPolicy());
  assertEquals(together, contend(plan, irqs, new OneByOne()));
});

Deno.test("a thousand looks in vain resume nobody", () => {
  const plan: Plan = Array.from({ length: 60 }, () => [0, 3000, 0]);
  const machines = [new TimedPolicy(), new OneByOne()].map((policy) => {
    const machine = bareMachine(
      { topology: { sockets: 60, coresPerSocket: 1, nodes: 60 } },
      { policy },
    );
    const lock = new Lock();
    let retries = 0;
    plan.forEach(([, hold], id) =>
      startOn(machine, id, function* (t) {
        const { op } = t;
        const retry = op.retry;
        op.retry = function () {
          retries++;
          return retry.call(this);
        };
        yield* ticket_lock(t, lock);
        charge_cycles(t, hold);
        yield* ticket_unlock(t, lock);
      })
    );
    machine.engine.run();
    return retries;
  });
  assertEquals(machines[0], 59); // each its last look
  assert(machines[1] > 1000, `${machines[1]}`);
});

Deno.test("who has spun for a ticket and then waits for something else is woken by that", () => {
  const machine = bareMachine();
  const lock = new Lock();
  const flag = new Cell("flag", 0);
  const use = function* (t: MachineContext) {
    yield* ticket_lock(t, lock);
    charge_cycles(t, 2000);
    yield* ticket_unlock(t, lock);
  };
  const ends: number[] = [];
  const waiting: ((t: MachineContext) => Steps<unknown>)[] = [
    (t) => spin_until(t, flag, 1, 1),
    (t) => spin_cmpxchg(t, new Cell("word", 0), 0, 1),
    function* (t) {
      while ((yield* load(t, flag)) === 0) yield* cpu_relax(t);
    },
  ];
  waiting.forEach((wait, id) =>
    startOn(machine, id, function* (t) {
      yield* use(t);
      yield* wait(t);
      ends.push(id);
    })
  );
  startOn(machine, 3, function* (t) {
    for (let i = 0; i < 8; i++) yield* use(t); // the owner's half goes on
    yield* store(t, flag, 1);
  });
  machine.engine.run();
  assertEquals(ends.toSorted(), [0, 1, 2]);
});

Deno.test("of many whose waits are known the first stands in the queue, of others all, a cycle apart", () => {
  const cpus = 40;
  for (const known of [true, false]) {
    const queue = new HeapQueue(cpus);
    const parking = new Parking(
      queue,
      cpuTimes(cpus),
      new SymbolCycles(),
      Infinity,
    );
    parking.watch = {
      knows: () => known,
      placeOf: () => null,
      look: () => 0,
      symOf: () => SPIN,
    };
    const place: ParkingPlace = { waiters: null };
    const ids = Array.from({ length: cpus }, (_, i) => cpus - 1 - i);
    for (const id of ids) parking.park(id, place);
    assertEquals(parking.wake(place, 500), ids[0]);
    assertEquals(
      ids.map((id) => queue.keyOf(id)),
      ids.map((_, i) => known && i > 0 ? Infinity : 500 + i),
    );
    parking.leave(ids[0]);
    assertEquals(queue.keyOf(ids[1]), 501);
  }
});
