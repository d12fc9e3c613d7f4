/** Calls between CPUs of ia64: who answers, and what each part is charged to. */
import { assert, assertEquals } from "@std/assert";
import { charge_cycles, irqs_disabled, ksym } from "../arch/asm.ts";
import { findPreset } from "../arch/hw/presets/index.ts";
import { withCpus } from "../arch/hw/validate.ts";
import { ENXIO } from "./lib/errno.ts";
import { CALL_FUNCTION_VECTOR } from "./irq_vectors.ts";
import { kthread_join, kthread_run } from "./kthread.ts";
import {
  on_each_cpu,
  smp_call_function,
  smp_call_function_mask,
  smp_call_function_single,
} from "./smp.ts";
import { runKernel } from "./testing.ts";
import type { Thread } from "./thread.ts";
import { msleep } from "./timer.ts";

const ALTIX = findPreset("altix-64");

function charged(t: Thread, symbol: string): number {
  return t.machine.engine.cyclesBySym[ksym(symbol)];
}

Deno.test("ia64: on_each_cpu() reaches each online CPU once and returns after all", () => {
  for (const [cpus, nr_cpus] of [[1, 1], [2, 2], [64, 64], [64, 5]]) {
    const { k, machine } = runKernel(
      { spec: withCpus(ALTIX, cpus), params: { nr_cpus } },
      function* (t) {
        const calls = new Array(cpus).fill(0);
        const before = t.machine.counters.ipis;
        yield* on_each_cpu(
          t,
          (p, info) => {
            assert(irqs_disabled(p));
            assertEquals(info, "x");
            charge_cycles(p, 1000 * p.cpu.id);
            calls[p.cpu.id]++;
          },
          "x",
          true,
        );
        assertEquals(calls, calls.map((_, id) => id < nr_cpus ? 1 : 0));
        assertEquals(t.machine.counters.ipis - before, nr_cpus - 1);
      },
    );
    assertEquals(k.printk.warnings, 0);
    const irqs = k.irq.total(CALL_FUNCTION_VECTOR);
    assertEquals(irqs, nr_cpus - 1, `${machine.nrCpus} CPUs`);
  }
});

Deno.test("ia64: concurrent calls from all CPUs are all answered, one after the other", () => {
  const { result } = runKernel({ spec: withCpus(ALTIX, 16) }, function* (t) {
    let calls = 0;
    const threads: Thread[] = [];
    for (let i = 0; i < 16; i++) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          for (let n = 0; n < 4; n++) {
            yield* smp_call_function(p, () => void calls++, null, true);
          }
        }, `caller/${i}`),
      );
    }
    for (const p of threads) yield* kthread_join(t, p);
    assertEquals(t.k.lockStats.get("call_lock").acquisitions, 64);
    return calls;
  });
  assertEquals(result, 16 * 4 * 15);
});

Deno.test("ia64: calls to some CPUs, to one, to oneself, to none that is online", () => {
  runKernel(
    { spec: withCpus(ALTIX, 8), params: { nr_cpus: 6 } },
    function* (t) {
      const seen: number[] = [];
      const note = (p: Thread) => void seen.push(p.cpu.id);
      yield* smp_call_function_mask(t, [1, 3, 5, 7], note, null, true);
      assertEquals(seen.splice(0).sort(), [1, 3, 5]);
      yield* smp_call_function_mask(t, [0, 7], note, null, true);
      assertEquals(seen, []);
      assertEquals(yield* smp_call_function_single(t, 4, note, null, true), 0);
      assertEquals(yield* smp_call_function_single(t, 0, note, null, true), 0);
      assertEquals(seen.splice(0), [4, 0]);
      const refused = yield* smp_call_function_single(t, 7, note, null, true);
      assertEquals(refused as number, -ENXIO);
      assertEquals(seen, []);
    },
  );
});

Deno.test("ia64: a caller that does not wait goes on when all have started", () => {
  runKernel({ spec: withCpus(ALTIX, 4) }, function* (t) {
    yield* msleep(t, 20);
    let ended = 0;
    const start = t.cpu.clock;
    yield* smp_call_function(
      t,
      (p) => {
        charge_cycles(p, 10_000_000);
        ended = Math.max(ended, p.cpu.clock);
      },
      null,
      false,
    );
    assert(t.cpu.clock - start < 1_000_000, `${t.cpu.clock - start} cycles`);
    yield* msleep(t, 20);
    assert(ended > start + 10_000_000);
  });
});

Deno.test("ia64: what a call costs is charged to the symbols of the 2008 profile", () => {
  runKernel({ spec: ALTIX }, function* (t) {
    yield* msleep(t, 20);
    const symbols = [
      "smp_call_function",
      "pio_phys_write_mmr",
      "sn_send_IPI_phys",
      "sn2_send_IPI",
      "find_next_bit",
    ];
    const before = symbols.map((symbol) => charged(t, symbol));
    const start = t.cpu.clock;
    const work = 1_000_000;
    yield* smp_call_function(t, (p) => charge_cycles(p, work), null, true);
    const total = t.cpu.clock - start;
    const spent = symbols.map((symbol, i) => charged(t, symbol) - before[i]);
    // The waiting, and a set_bit() afar for each; sending; nothing else.
    assert(spent[0] > work, `${spent}`);
    const { sendCycles } = t.machine.spec.ipi;
    assert(spent[1] >= 63 * sendCycles && spent[1] < 63 * 2 * sendCycles);
    for (const cycles of spent.slice(2)) assert(cycles > 63 * 10, `${spent}`);
    const sum = spent.reduce((a, b) => a + b, 0);
    assert(sum > total * 0.99, `${sum} of ${total}: ${spent}`);
    for (const symbol of ["smp_call_function_mask", "csd_flag_wait"]) {
      assertEquals(charged(t, symbol), 0);
    }
  });
});
