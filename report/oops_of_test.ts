import { assertEquals } from "@std/assert";
import { ksym } from "../arch/asm.ts";
import { Context, enter, StackOverflow } from "../arch/sim/context.ts";
import { Deadlock, Engine } from "../arch/sim/engine.ts";
import { oopsOf } from "./oops_of.ts";

Deno.test("oopsOf() says what each CPU of a deadlock waits for", () => {
  const { cpus: [idle, cpu] } = new Engine([
    { socket: 0, node: 0 },
    { socket: 0, node: 0 },
  ]);
  const t = new Context("test/1", false);
  t.cpu = cpu;
  enter(t, ksym("_spin_lock"));
  t.op = {
    waiting: true,
    retry: () => false,
    takeUp: () => {},
    describe: () => "load of a.lock",
  };
  cpu.top = t;
  cpu.clock = 2000;
  const report = oopsOf(new Deadlock("deadlock: x", [idle, cpu]), 1e9, 7);
  assertEquals(report, {
    headline: "deadlock: x",
    atNs: 2000,
    where: null,
    waiting: [
      { cpu: 0, comm: "?", pid: 0, what: "nothing", trace: [] },
      {
        cpu: 1,
        comm: "test/1",
        pid: 0,
        what: "load of a.lock",
        trace: ["_spin_lock", "[unknown]"],
      },
    ],
    seed: 7,
  });
});

Deno.test("oopsOf() tells the emulated kernel's failures from vmaplab's", () => {
  assertEquals(
    oopsOf(new StackOverflow("kernel stack overflow in f"), 1e9, 1)?.headline,
    "kernel stack overflow in f",
  );
  assertEquals(oopsOf(new TypeError("x"), 1e9, 1), null);
  assertEquals(oopsOf("x", 1e9, 1), null);
});
