import { assert, assertEquals } from "@std/assert";
import type { MachineContext } from "../arch/asm.ts";
import { boot } from "../boot/boot.ts";
import { smp_call_function_single } from "./smp.ts";

/** Name and context of a handler on CPU 1, 2, 3 and 1 again. */
function handlers(sanitize: string[]) {
  const names: string[] = [];
  const contexts: MachineContext[] = [];
  boot({ sanitize }).run(function* (t) {
    for (const cpu of [1, 2, 3, 1]) {
      yield* smp_call_function_single(
        t,
        cpu,
        (irq) => {
          names.push(`${irq.name} ${irq.cpu.id}`);
          contexts.push(irq);
        },
        null,
        true,
      );
    }
  });
  return { names, contexts: new Set(contexts).size };
}

Deno.test("a handler has its CPU's name, whosever context it runs in", () => {
  const { names, contexts } = handlers([]);
  assertEquals(names, ["irq/1 1", "irq/2 2", "irq/3 3", "irq/1 1"]);
  assert(contexts < 3, `${contexts} contexts for 3 CPUs`);
});

Deno.test("before the eyes of a sanitizer each CPU has contexts of its own", () => {
  const { names, contexts } = handlers(["lockdep"]);
  assertEquals(names, ["irq/1 1", "irq/2 2", "irq/3 3", "irq/1 1"]);
  assertEquals(contexts, 3);
});
