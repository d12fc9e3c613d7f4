import { assert, assertEquals } from "@std/assert";
import { irqs_disabled, send_ipi } from "../arch/asm.ts";
import { CALL_FUNCTION_SINGLE_VECTOR } from "./irq_vectors.ts";
import { get_cpu_var, PerCpu, put_cpu_var } from "./percpu.ts";
import { smp_call_function_single } from "./smp.ts";
import {
  __raise_softirq_irqoff,
  HI_SOFTIRQ,
  local_bh_disable,
  local_bh_enable,
  open_softirq,
  raise_softirq,
  Tasklet,
  tasklet_schedule,
} from "./softirq.ts";
import { runKernel, spend } from "./testing.ts";
import { in_interrupt } from "./thread.ts";
import { msleep } from "./timer.ts";

Deno.test("a softirq raised by an interrupt runs at its end, interrupts on", () => {
  const { result } = runKernel({ cpus: 2 }, function* (t) {
    const ran: number[] = [];
    open_softirq(t.k, HI_SOFTIRQ, function* (s) {
      assert(in_interrupt(s) && !irqs_disabled(s));
      yield* spend(s, 100);
      ran.push(s.cpu.id);
    });
    yield* smp_call_function_single(
      t,
      1,
      (irq) => {
        __raise_softirq_irqoff(irq, HI_SOFTIRQ);
      },
      null,
      true,
    );
    yield* msleep(t, 1);
    return ran;
  });
  assertEquals(result, [1]);
});

Deno.test("local_bh_disable() holds softirqs off until the outermost enable", () => {
  const { result } = runKernel({ cpus: 1 }, function* (t) {
    let ran = 0;
    const seen: number[] = [];
    open_softirq(t.k, HI_SOFTIRQ, function* () {
      ran++;
      yield* [];
    });
    local_bh_disable(t);
    local_bh_disable(t);
    yield* raise_softirq(t, HI_SOFTIRQ);
    yield* send_ipi(t, t.cpu.id, CALL_FUNCTION_SINGLE_VECTOR);
    yield* spend(t, 100_000);
    seen.push(ran);
    yield* local_bh_enable(t);
    seen.push(ran);
    yield* local_bh_enable(t);
    seen.push(ran);
    return seen;
  });
  assertEquals(result, [0, 0, 1]);
});

Deno.test("a softirq raised in process context is run by ksoftirqd", () => {
  const { result, k } = runKernel({ cpus: 2 }, function* (t) {
    const who: string[] = [];
    const tasklet = new Tasklet(function* (s) {
      who.push(s.name);
      yield* [];
    });
    yield* tasklet_schedule(t, tasklet);
    yield* tasklet_schedule(t, tasklet);
    yield* msleep(t, 5);
    return who;
  });
  assertEquals(result, ["ksoftirqd/0"]);
  assertEquals(k.softirq.ksoftirqd[1], null);
});

Deno.test("a softirq that never ends leaves the CPU to threads between rounds", () => {
  const { result } = runKernel({ cpus: 1 }, function* (t) {
    let rounds = 0;
    open_softirq(t.k, HI_SOFTIRQ, function* (s) {
      yield* spend(s, 1000);
      if (++rounds < 500) yield* raise_softirq(s, HI_SOFTIRQ);
    });
    yield* raise_softirq(t, HI_SOFTIRQ);
    yield* msleep(t, 20);
    return rounds;
  });
  assertEquals(result, 500);
});

Deno.test("per-CPU variables: each CPU its own, made on first use", () => {
  const { result } = runKernel({ cpus: 4 }, function* (t) {
    const made: number[] = [];
    const v = new PerCpu(t.k, (cpu) => {
      made.push(cpu);
      return { cpu };
    });
    const mine = get_cpu_var(t, v);
    assertEquals(t.preempt_count, 1);
    put_cpu_var(t, v);
    yield* [];
    return { mine: mine.cpu, other: v.get(3).cpu, unused: v.peek(2), made };
  });
  assertEquals(result, { mine: 0, other: 3, unused: null, made: [0, 3] });
});
