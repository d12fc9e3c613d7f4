import { assert, assertThrows } from "@std/assert";
import { kthread_run } from "../kernel/kthread.ts";
import { cond_resched } from "../kernel/sched/sched.ts";
import { charge_cycles, load } from "../arch/asm.ts";
import { Cell } from "../arch/hw/cell.ts";
import { boot, type BootOptions } from "./boot.ts";

Deno.test("boot() refuses an option that it does not have", () => {
  assertThrows(
    () => boot({ vmallocrange: { start: 0, end: 1 } } as BootOptions),
    TypeError,
    'Cannot boot as options must be among spec, params, layers, initcalls, steps, vmallocRange, engine, sanitize, onLog (nearest is "vmallocRange"): current value is "vmallocrange"',
  );
});

Deno.test("boot() refuses a sanitizer that there is not, with the nearest one", () => {
  assertThrows(
    () => boot({ sanitize: ["lockdpe"] }),
    RangeError,
    'Cannot switch on the sanitizer "lockdpe" as there is no such sanitizer: did you mean "lockdep"?',
  );
});

Deno.test("checkQuiet() lets threads come to their end first, and says so if they never do", () => {
  const machine = boot({ sanitize: ["areas"] });
  const cell = new Cell("cell", 0);
  let left = 1000;
  const start = (endless: boolean) =>
    machine.run(function* (t) {
      yield* kthread_run(t, function* (p) {
        for (; endless || left > 0; left--) {
          charge_cycles(p, 1e5);
          yield* load(p, cell);
          yield* cond_resched(p);
        }
      }, "busy");
    });
  start(false);
  assert(left > 0);
  machine.checkQuiet();
  assert(left === 0);
  start(true);
  assertThrows(() => machine.checkQuiet(), TypeError, "threads go on");
});
