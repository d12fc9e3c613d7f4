import { assert, assertEquals } from "@std/assert";
import { charge_cycles, OpKind, store } from "../arch/asm.ts";
import { Cell } from "../arch/hw/cell.ts";
import { generic } from "../arch/hw/presets/generic.ts";
import { findPreset } from "../arch/hw/presets/index.ts";
import { withCpus } from "../arch/hw/validate.ts";
import type { MachineSpec } from "../arch/hw/spec.ts";
import { DONE } from "../arch/sim/ready.ts";
import { TimedPolicy } from "../arch/sim/policy.ts";
import { symCount } from "../arch/sim/symbol.ts";
import { OneByOne } from "../arch/testing.ts";
import { LOCAL_TIMER_VECTOR } from "./irq_vectors.ts";
import { kthread_bind, kthread_create, kthread_join } from "./kthread.ts";
import { call_rcu, RcuHead } from "./rcu.ts";
import { RCU_SOFTIRQ, TIMER_SOFTIRQ } from "./softirq.ts";
import { runKernel, spendMs } from "./testing.ts";
import type { Thread } from "./thread.ts";
import { yield_cpu } from "./sched/sched.ts";
import { wake_up_process } from "./sched/wakeup.ts";
import { mod_timer, Timer } from "./timer.ts";

/** Without jitter, so that both orders draw the same: nothing. */
function still(spec: MachineSpec): MachineSpec {
  return { ...spec, cache: { ...spec.cache, jitterCycles: 0 } };
}

/** Two busy CPUs for 40 ms: what CPU 1 does in interrupts. It does not count jiffies. */
function ticksOfCpu1(
  spec: MachineSpec,
  policy: TimedPolicy,
  first: (t: Thread) => void | Iterable<void, void, void> = () => {},
) {
  const operations: number[] = [];
  const { k, machine, clocks } = runKernel(
    { spec: still(spec), engine: { policy } },
    function* (t) {
      const p = yield* kthread_create(t, function* (self) {
        yield* first(self) ?? [];
        for (let ms = 0; ms < 40; ms++) {
          yield* spendMs(self, 1);
          if (ms % 5 === 0) yield* yield_cpu(self); // a quiescent state
        }
      }, "busy");
      kthread_bind(p, 1);
      t.k.machine.engine.observer = {
        operation: (of, kind, _place, value) => {
          if (of.cpu.id !== 1 || !of.isInterrupt) return;
          operations.push(kind, typeof value === "number" ? value : 0);
        },
      };
      yield* wake_up_process(t, p);
      // Asks for its turn all the time, so that others must wait for theirs.
      const own = new Cell("own", 0);
      const end = t.cpu.clock + t.k.machine.toCycles(40e6);
      while (t.cpu.clock < end) {
        charge_cycles(t, 500);
        yield* store(t, own, 0);
      }
      yield* kthread_join(t, p);
      t.k.machine.engine.observer = null;
    },
  );
  return {
    operations,
    clock: clocks[1],
    ticks: k.irq.count(1, LOCAL_TIMER_VECTOR),
    softirqs: [TIMER_SOFTIRQ, RCU_SOFTIRQ].map((nr) => k.softirq.count(1, nr)),
    spent: [...machine.engine.cyclesBySym.slice(0, symCount())],
    locks: k.lockStats.all().map((lock) => ({ ...lock })),
    slice: k.sched.rqs[1].slice,
    resumes: machine.engine.resumes,
  };
}

/** Asserts that sections change nothing that can be seen. @returns Resumptions spared. */
function assertSame(
  spec: MachineSpec,
  first?: (t: Thread) => void | Iterable<void, void, void>,
): number {
  const { resumes: few, ...at_hand } = ticksOfCpu1(
    spec,
    new TimedPolicy(),
    first,
  );
  const { resumes: many, ...general } = ticksOfCpu1(
    spec,
    new OneByOne(),
    first,
  );
  assertEquals(at_hand, general);
  assert(at_hand.ticks >= 9, `${at_hand.ticks} ticks`);
  assert(at_hand.operations.includes(OpKind.CLOCK));
  return many - few;
}

Deno.test("a tick at hand does what a tick does, operation for operation, in the same time", () => {
  assert(assertSame(generic(1, 2)) > 50);
});

Deno.test("so does one that finds a timer due, and one that finds RCU waiting", () => {
  let fired = 0;
  let called = 0;
  const spared = assertSame(generic(1, 2), function* (t) {
    const timer = new Timer(() => {
      fired++;
      return DONE;
    });
    yield* mod_timer(t, timer, t.k.tick.jiffies + 3);
    for (let i = 0; i < 120; i++) { // more than all rounds call
      yield* call_rcu(t, new RcuHead(null), () => {
        called++;
      });
    }
  });
  assert(spared > 20, `${spared}`);
  assertEquals([fired, called], [2, 240]); // in both orders
});

Deno.test("no tick is at hand where CPUs share the clock", () => {
  const spec = withCpus(findPreset("opteron-2x4"), 2);
  assert(spec.clocksource.shared);
  const spared = assertSame(spec);
  assert(spared <= 0, `${spared}`);
});
