/**
 * Calls between CPUs as ia64 made them until it took the generic code of
 * kernel/smp.c, in 2.6.27 (arch/ia64/kernel/smp.c of 2.6.26; the kernel of the
 * 2008 profile has these symbols): one call at a time, under `call_lock`.
 *
 * The caller puts the call on its stack, points the global `call_data` there,
 * and, for each target, sets a bit in a word of that CPU's and sends it an
 * interrupt: a line from afar and a register write for each. Then it spins,
 * charged to `smp_call_function`, until all have counted themselves in
 * (`started`: from then on the data is not looked at again by those that need
 * not report), and, if it is to wait, until all have counted themselves out
 * (`finished`). Both counters and the call lie on one line, which goes from
 * responder to responder twice.
 *
 * Lock order:
 *
 *     call_lock
 *       nothing
 *
 * Context of callers: interrupts on. With interrupts off, two of them would
 * wait for each other.
 */
import {
  atomic_add_return,
  charge,
  charge_cycles,
  enter,
  irqs_disabled,
  ksym,
  leave,
  read_line,
  READ_ONCE,
  spin_until,
  type Steps,
  touch_write,
  WRITE_ONCE,
  xchg,
} from "../arch/asm.ts";
import { Cell } from "../arch/hw/cell.ts";
import { CacheLine } from "../arch/hw/line.ts";
import { WARN_ON } from "./bug.ts";
import { send_IPI } from "./ipi.ts";
import { CALL_FUNCTION_VECTOR } from "./irq_vectors.ts";
import type { Kernel } from "./kernel.ts";
import { spin_lock, spin_unlock, Spinlock } from "./locking/spinlock.ts";
import { PerCpu } from "./percpu.ts";
import type { SmpFunction } from "./smp_data.ts";
import { local_bh_disable, local_bh_enable } from "./softirq.ts";
import type { Thread } from "./thread.ts";

const SMP_CALL_FUNCTION = ksym("smp_call_function");
const FIND_NEXT_BIT = ksym("find_next_bit");
const HANDLE_IPI = ksym("handle_IPI");

/** Bit of `ipi_operation` that asks for the call. */
const IPI_CALL_FUNC = 1 << 0;

/** One call, on its caller's stack: `struct call_data_struct`. */
class CallData {
  /** CPUs that have read the call. */
  readonly started: Cell<number>;
  /** CPUs that have made it. */
  readonly finished: Cell<number>;

  constructor(
    readonly line: CacheLine,
    readonly func: SmpFunction<unknown>,
    readonly info: unknown,
    readonly wait: boolean,
  ) {
    this.started = new Cell("call_data.started", 0, line);
    this.finished = new Cell("call_data.finished", 0, line);
  }
}

/** What calls of one ia64 kernel share. */
export class Ia64Calls {
  readonly call_lock: Spinlock;
  /** The call under way. Written under call_lock, read by its responders. */
  readonly call_data: Cell<CallData | null> = new Cell<CallData | null>(
    "call_data",
    null,
  );
  /** What each CPU is asked to do, a bit an operation. */
  readonly ipi_operation: PerCpu<Cell<number>>;
  /** What the caller's frame lies on, a line a CPU. */
  readonly stacks: PerCpu<CacheLine>;

  constructor(k: Kernel) {
    this.call_lock = new Spinlock(k, "call_lock");
    const line = (cpu: number) =>
      new CacheLine(k.machine.engine.cpus[cpu].node);
    this.ipi_operation = new PerCpu(
      k,
      (cpu) => new Cell("ipi_operation", 0, line(cpu)),
    );
    this.stacks = new PerCpu(k, line);
  }
}

/** `for_each_online_cpu()`: a search for the next bit of the mask. */
function find_next_bit(t: Thread): void {
  enter(t, FIND_NEXT_BIT);
  charge(t, 12);
  leave(t);
}

/** Makes `targets`, which are online and not this CPU, call `func(info)`. Charged to the caller's symbol. */
function* call_on(
  t: Thread,
  targets: readonly number[],
  func: SmpFunction<unknown>,
  info: unknown,
  wait: boolean,
): Steps {
  const calls = t.k.smp.ia64!;
  WARN_ON(t, irqs_disabled(t), "smp_call_function() with interrupts off");
  const line = calls.stacks.get(t.cpu.id);
  const data = new CallData(line, func, info, wait);
  charge(t, 14);
  touch_write(t, line);
  yield* WRITE_ONCE<CallData | null>(t, calls.call_data, data);
  charge_cycles(t, t.k.machine.lockedCycles); // mb()
  for (let i = 0; i < targets.length; i++) {
    find_next_bit(t);
    charge(t, 10);
    // set_bit(); nobody else sets one while call_lock is held.
    yield* xchg(t, calls.ipi_operation.get(targets[i]), IPI_CALL_FUNC);
    yield* send_IPI(t, targets[i], CALL_FUNCTION_VECTOR);
  }
  t.k.sanitizers?.ipiWait(t);
  yield* spin_until(t, data.started, -1, targets.length);
  if (wait) yield* spin_until(t, data.finished, -1, targets.length);
  yield* WRITE_ONCE<CallData | null>(t, calls.call_data, null);
}

/** {@linkcode call_on}, under call_lock: smp_call_function() and, for some CPUs, smp_call_function_mask(). */
export function* ia64_smp_call_function(
  t: Thread,
  targets: readonly number[],
  func: SmpFunction<unknown>,
  info: unknown,
  wait: boolean,
): Steps {
  enter(t, SMP_CALL_FUNCTION);
  const { call_lock } = t.k.smp.ia64!;
  charge(t, 20);
  yield* spin_lock(t, call_lock);
  if (targets.length > 0) yield* call_on(t, targets, func, info, wait);
  yield* spin_unlock(t, call_lock);
  leave(t);
}

/** One other CPU: smp_call_function_single(), entered by the caller. */
export function* ia64_call_one(
  t: Thread,
  cpu: number,
  func: SmpFunction<unknown>,
  info: unknown,
  wait: boolean,
): Steps {
  const { call_lock } = t.k.smp.ia64!;
  local_bh_disable(t);
  yield* spin_lock(t, call_lock);
  yield* call_on(t, [cpu], func, info, wait);
  yield* spin_unlock(t, call_lock);
  yield* local_bh_enable(t);
}

/** The responder's side. Context: interrupt. */
export function* handle_IPI(t: Thread): Steps {
  enter(t, HANDLE_IPI);
  const { call_data, ipi_operation } = t.k.smp.ia64!;
  const { lockedCycles } = t.k.machine;
  const pending = ipi_operation.get(t.cpu.id);
  charge(t, 12);
  while ((yield* xchg(t, pending, 0)) !== 0) {
    charge(t, 12);
    // Gone only if the call is over, and that it is not until we have started.
    const data = (yield* READ_ONCE(t, call_data))!;
    yield* read_line(t, data.line);
    const { func, info, wait } = data;
    charge_cycles(t, lockedCycles); // mb()
    yield* atomic_add_return(t, data.started, 1);
    charge(t, 6);
    const steps = func(t, info);
    if (steps !== undefined) yield* steps;
    charge_cycles(t, lockedCycles); // mb()
    if (wait) yield* atomic_add_return(t, data.finished, 1);
    charge_cycles(t, lockedCycles); // mb()
  }
  leave(t);
}
