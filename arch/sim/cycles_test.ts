import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  charge_cycles,
  enter,
  ksym,
  leave,
  read_line,
  ticket_lock,
  ticket_unlock,
  type TicketLock,
} from "../asm.ts";
import { Cell } from "../hw/cell.ts";
import { CacheLine } from "../hw/line.ts";
import { TICKET_SHIFT } from "../hw/ticket.ts";
import { bareMachine, startOn } from "../testing.ts";
import { SymbolCycles } from "./cycles.ts";
import { DONE } from "./ready.ts";
import { SYM_UNKNOWN } from "./symbol.ts";

Deno.test("SymbolCycles adds up what is booked, whatever its size", () => {
  fc.assert(fc.property(
    fc.array(fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 2 ** 31 - 1 }))),
    (bookings) => {
      const cycles = new SymbolCycles();
      const sums = [0, 0, 0, 0];
      for (const [sym, n] of bookings) {
        if (n % 2 === 0) cycles.add(sym, n);
        else cycles.addLong(sym, n * 1000);
        sums[sym] += n % 2 === 0 ? n : n * 1000;
      }
      assertEquals([...cycles.toArray().slice(0, 4)], sums);
    },
  ));
});

Deno.test("each cycle is charged to the call in which it was spent", () => {
  const outer = ksym("cycles_test_outer");
  const inner = ksym("cycles_test_inner");
  const seen: number[] = [];
  const machine = bareMachine();
  startOn(machine, 0, function* (t) {
    const { engine } = t.machine;
    enter(t, outer);
    charge_cycles(t, 100);
    enter(t, inner);
    charge_cycles(t, 10);
    seen.push(engine.cyclesBySym[inner], engine.cyclesBySym[outer]);
    leave(t);
    charge_cycles(t, 1);
    leave(t);
    seen.push(engine.cyclesBySym[inner], engine.cyclesBySym[outer]);
    yield* DONE;
  });
  machine.engine.run();
  assertEquals(seen, [10, 100, 10, 101]);
});

Deno.test("a waiter's last look at a lock is not charged to the interrupt that came meanwhile", () => {
  const waits = ksym("cycles_test_waits");
  const works = ksym("cycles_test_works");
  const lock: TicketLock = {
    slock: new Cell("lock", 1 << TICKET_SHIFT), // ticket 0 holds it
    local: false,
    taken() {},
    given() {},
  };
  const chargedToHandler: number[] = [];
  const machine = bareMachine({}, {}, function* (t) {
    chargedToHandler.push(t.machine.engine.cyclesBySym[SYM_UNKNOWN]);
    yield* read_line(t, new CacheLine(0));
  });
  const { engine } = machine;
  const waiter = startOn(machine, 1, function* (t) {
    enter(t, waits);
    yield* ticket_lock(t, lock);
    leave(t);
  });
  startOn(machine, 0, function* (t) {
    enter(t, works);
    charge_cycles(t, 10_000);
    yield* ticket_unlock(t, lock);
    engine.sendInterrupt(waiter.cpu, 5, t.cpu.clock + 20); // while it fetches the line
    leave(t);
  });
  engine.run();
  assertEquals(chargedToHandler, [0]);
});

Deno.test("a clock goes on exactly beyond 2^31 cycles, in one charge or in many", () => {
  const sym = ksym("cycles_test_long");
  const machine = bareMachine();
  let clock = 0;
  startOn(machine, 0, function* (t) {
    enter(t, sym);
    charge_cycles(t, 5e9);
    for (let i = 0; i < 5; i++) charge_cycles(t, 2 ** 30 - 1); // no turn in between
    leave(t);
    clock = t.cpu.clock;
    yield* DONE;
  });
  machine.engine.run();
  const want = 5e9 + 5 * (2 ** 30 - 1);
  assertEquals([clock, machine.engine.cyclesBySym[sym]], [want, want]);
});
