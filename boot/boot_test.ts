import { assertThrows } from "@std/assert";
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
