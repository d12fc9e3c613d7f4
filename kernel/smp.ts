/**
 * Calling functions on other CPUs (kernel/smp.c of 2.6.28).
 *
 * A call to several CPUs is a piece of call data on one global queue, and one
 * interrupt to all of them. Each walks the queue, calls the function if it is
 * meant, and takes itself off the data's mask under the data's own lock; the
 * last takes the data off the queue and lets the caller go. The data's lock,
 * its count, its mask (up to 128 CPUs) and the flag that the caller spins on
 * lie on one cache line, which is passed from responder to responder: that is
 * where a flush of many CPUs spends its time, and it is written nowhere else.
 *
 * Lock order:
 *
 *     call_function_data.lock      (never together with the next)
 *     call_function_lock
 *     call_single_queue.lock       (one for each CPU)
 *
 * ia64 has calls of its own, in ia64_smp.ts, which the functions here hand on to.
 *
 * Kept: kmalloc(GFP_ATOMIC) for the data, the stack if there is none, with the
 * dance that makes every responder forget the stack. Left out: CPU hotplug.
 */
import {
  charge,
  charge_cycles,
  enter,
  irqs_disabled,
  ksym,
  leave,
  local_irq_disable,
  local_irq_enable,
  local_irq_restore,
  local_irq_save,
  read_line,
  spin_until,
  type Steps,
  touch_write,
  WRITE_ONCE,
} from "../arch/asm.ts";
import type { Cell } from "../arch/hw/cell.ts";
import type { CacheLine } from "../arch/hw/line.ts";
import { WARN_ON } from "./bug.ts";
import { ia64_call_one, ia64_smp_call_function } from "./ia64_smp.ts";
import { send_IPI, send_IPI_mask } from "./ipi.ts";
import {
  CALL_FUNCTION_SINGLE_VECTOR,
  CALL_FUNCTION_VECTOR,
} from "./irq_vectors.ts";
import { ENXIO, err, type Errno } from "./lib/errno.ts";
import {
  list_add_tail,
  list_del,
  list_empty,
  list_entry,
  list_first_entry,
  list_splice_init,
  ListHead,
} from "./lib/list.ts";
import { list_add_tail_rcu, list_del_rcu } from "./lib/rculist.ts";
import {
  spin_lock,
  spin_lock_irqsave,
  spin_unlock,
  spin_unlock_irqrestore,
} from "./locking/spinlock.ts";
import { GFP_ATOMIC } from "./mm/gfp.ts";
import { kfree, kmalloc, type KmallocObject } from "./mm/kmalloc.ts";
import {
  call_rcu,
  rcu_read_lock,
  rcu_read_unlock,
  type RcuHead,
} from "./rcu.ts";
import {
  CallFunctionData,
  CallSingleData,
  CSD_BYTES,
  CSD_FLAG_ALLOC,
  CSD_FLAG_WAIT,
  Smp,
  type SmpFunction,
} from "./smp_data.ts";
import {
  get_cpu,
  preempt_disable,
  preempt_enable,
  put_cpu,
  type Thread,
} from "./thread.ts";

export { Smp, type SmpFunction } from "./smp_data.ts";

const SMP_CALL_FUNCTION_MASK = ksym("smp_call_function_mask");
const SMP_CALL_FUNCTION_SINGLE = ksym("smp_call_function_single");
const GENERIC_EXEC_SINGLE = ksym("generic_exec_single");
const CSD_FLAG_WAIT_LOOP = ksym("csd_flag_wait");
const GENERIC_SMP_CALL_FUNCTION_INTERRUPT = ksym(
  "generic_smp_call_function_interrupt",
);
const GENERIC_SMP_CALL_FUNCTION_SINGLE_INTERRUPT = ksym(
  "generic_smp_call_function_single_interrupt",
);
const ON_EACH_CPU = ksym("on_each_cpu");

/** Brings calls between CPUs up: `init_call_single_data()`. */
export function smp_call_init(t: Thread): void {
  charge(t, 50);
  t.k.smp = new Smp(t.k);
}

/** Waits for the responders. Interrupts must be on, or two callers wait for each other. */
function* csd_flag_wait(t: Thread, flags: Cell<number>): Steps {
  enter(t, CSD_FLAG_WAIT_LOOP);
  t.k.sanitizers?.ipiWait(t);
  yield* spin_until(t, flags, CSD_FLAG_WAIT, 0);
  leave(t);
}

/** smp_mb(): what orders queueing before the interrupt. */
function smp_mb(t: Thread): void {
  charge_cycles(t, t.k.machine.lockedCycles);
}

/** Queues `data` for `cpu`, and interrupts it if it had nothing queued. */
function* generic_exec_single(
  t: Thread,
  cpu: number,
  data: CallSingleData,
): Steps {
  enter(t, GENERIC_EXEC_SINGLE);
  charge(t, 20);
  const dst = t.k.smp.call_single_queue.get(cpu);
  const wait = (data.flags.value & CSD_FLAG_WAIT) !== 0;
  touch_write(t, data.line);
  const flags = yield* spin_lock_irqsave(t, dst.lock);
  const ipi = list_empty(dst.list);
  list_add_tail(data.list, dst.list);
  yield* spin_unlock_irqrestore(t, dst.lock, flags);
  smp_mb(t);
  if (ipi) yield* send_IPI(t, cpu, CALL_FUNCTION_SINGLE_VECTOR);
  if (wait) yield* csd_flag_wait(t, data.flags);
  leave(t);
}

/**
 * Has CPU number `cpu` call `func(info)`.
 *
 * Context: interrupts on, not in an interrupt.
 *
 * Linux: kernel/smp.c.
 *
 * @param wait Whether to return only when it has.
 * @returns 0, or -ENXIO if that CPU is not online.
 *
 * @example
 * ```ts
 * import { boot, smp_call_function_single } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const seen = boot().run(function* (t) {
 *   const info = { cpu: -1 };
 *   yield* smp_call_function_single(
 *     t,
 *     3,
 *     (irq, i) => {
 *       i.cpu = irq.cpu.id;
 *     },
 *     info,
 *     true,
 *   );
 *   return info.cpu;
 * });
 * assertEquals(seen, 3);
 * ```
 */
export function* smp_call_function_single<I>(
  t: Thread,
  cpu: number,
  func: SmpFunction<I>,
  info: I,
  wait: boolean,
): Steps<0 | Errno> {
  enter(t, SMP_CALL_FUNCTION_SINGLE);
  charge(t, 20);
  const me = get_cpu(t);
  let result: 0 | Errno = 0;
  WARN_ON(
    t,
    irqs_disabled(t),
    "smp_call_function_single() with interrupts off",
  );
  if (cpu === me) {
    const flags = local_irq_save(t);
    yield* call(t, func as SmpFunction<unknown>, info);
    local_irq_restore(t, flags);
  } else if (t.k.cpu_online.has(cpu)) {
    yield* exec_remote(t, cpu, func as SmpFunction<unknown>, info, wait);
  } else {
    result = err(ENXIO);
  }
  put_cpu(t);
  leave(t);
  return result;
}

function* exec_remote(
  t: Thread,
  cpu: number,
  func: SmpFunction<unknown>,
  info: unknown,
  wait: boolean,
): Steps {
  if (t.k.smp.ia64 !== null) {
    yield* ia64_call_one(t, cpu, func, info, wait);
    return;
  }
  const memory = wait || t.k.slab === undefined
    ? null
    : yield* kmalloc(t, CSD_BYTES, GFP_ATOMIC);
  const data = memory === null
    ? new CallSingleData(stackLines(t)[0], CSD_FLAG_WAIT, func, info, null)
    : new CallSingleData(memory.line, CSD_FLAG_ALLOC, func, info, memory);
  yield* generic_exec_single(t, cpu, data);
}

function stackLines(t: Thread): readonly CacheLine[] {
  return t.k.smp.call_single_queue.get(t.cpu.id).stackLines;
}

/**
 * Has those of `cpus` that are online, but not this one, call `func(info)`.
 *
 * Context: preemption off, interrupts on, not in an interrupt.
 *
 * Linux: kernel/smp.c.
 *
 * @param wait Whether to return only when all have.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   preempt_disable,
 *   preempt_enable,
 *   smp_call_function_mask,
 *   Thread,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const cpus: number[] = [];
 * boot().run(function* (t) {
 *   preempt_disable(t);
 *   const note = (irq: Thread) => void cpus.push(irq.cpu.id);
 *   yield* smp_call_function_mask(t, [2, 5], note, null, true);
 *   preempt_enable(t);
 * });
 * assertEquals(cpus.sort(), [2, 5]);
 * ```
 */
export function* smp_call_function_mask<I>(
  t: Thread,
  cpus: readonly number[],
  func: SmpFunction<I>,
  info: I,
  wait: boolean,
): Steps<0> {
  if (t.k.smp.ia64 !== null) {
    yield* ia64_smp_call_function(
      t,
      others(t, cpus),
      func as SmpFunction<unknown>,
      info,
      wait,
    );
    return 0;
  }
  enter(t, SMP_CALL_FUNCTION_MASK);
  WARN_ON(
    t,
    wait && irqs_disabled(t),
    "smp_call_function_mask() with interrupts off",
  );
  const targets = others(t, cpus);
  charge(t, 30 + 6 * Math.ceil(t.k.machine.spec.kernel.nrCpus / 64));
  if (targets.length === 1) {
    yield* smp_call_function_single(t, targets[0], func, info, wait);
  } else if (targets.length > 1) {
    yield* call_function_queue(
      t,
      targets,
      func as SmpFunction<unknown>,
      info,
      wait,
    );
  }
  leave(t);
  return 0;
}

/** Those of `cpus` that are online, without this one. */
function others(t: Thread, cpus: readonly number[]): number[] {
  const me = t.cpu.id;
  const online = t.k.cpu_online;
  return cpus.filter((cpu) => cpu !== me && online.has(cpu));
}

function* call_function_queue(
  t: Thread,
  targets: readonly number[],
  func: SmpFunction<unknown>,
  info: unknown,
  wait: boolean,
): Steps {
  const smp = t.k.smp;
  const memory = t.k.slab === undefined
    ? null
    : yield* kmalloc(t, smp.dataBytes, GFP_ATOMIC);
  const lines = memory === null ? stackLines(t) : dataLines(t, memory);
  const flags = memory === null
    ? CSD_FLAG_WAIT
    : CSD_FLAG_ALLOC | (wait ? CSD_FLAG_WAIT : 0);
  const data = new CallFunctionData(
    t.k,
    lines[0],
    lines,
    targets,
    flags,
    func,
    info,
    memory,
  );
  charge(t, 14 + smp.maskLongs);
  for (let i = 0; i < lines.length; i++) touch_write(t, lines[i]);

  const irqFlags = yield* spin_lock_irqsave(t, smp.call_function_lock);
  charge(t, 8);
  touch_write(t, smp.queue_line);
  list_add_tail_rcu(data.list, smp.call_function_queue);
  yield* spin_unlock_irqrestore(t, smp.call_function_lock, irqFlags);

  smp_mb(t);
  yield* send_IPI_mask(t, targets, CALL_FUNCTION_VECTOR);

  if (wait || memory === null) yield* csd_flag_wait(t, data.flags);
  if (memory === null) yield* quiesce_stack(t, targets);
}

function dataLines(t: Thread, memory: KmallocObject): CacheLine[] {
  const { dataLines, lineBytes } = t.k.smp;
  const lines = [memory.line];
  for (let i = 1; i < dataLines; i++) {
    lines.push(t.k.machine.lineAt(memory.paddr + i * lineBytes));
  }
  return lines;
}

/**
 * Makes sure that nobody stands on call data that lay on this stack: a CPU that
 * walks the queue does so in an interrupt, and one more call to it comes after.
 */
function* quiesce_stack(t: Thread, targets: readonly number[]): Steps {
  for (const cpu of targets) {
    const data = new CallSingleData(
      stackLines(t)[0],
      CSD_FLAG_WAIT,
      quiesce_dummy,
      null,
      null,
    );
    yield* generic_exec_single(t, cpu, data);
  }
}

function quiesce_dummy(): void {}

/** Calls `func`, which may or may not be one that others run inside of. */
function* call(
  t: Thread,
  func: SmpFunction<unknown>,
  info: unknown,
): Steps {
  charge(t, 4);
  const steps = func(t, info);
  if (steps !== undefined) yield* steps;
}

/**
 * Has every other online CPU call `func(info)`.
 *
 * Context: as {@linkcode smp_call_function_mask}.
 *
 * Linux: kernel/smp.c.
 *
 * @example
 * ```ts
 * import { boot, smp_call_function } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const cpus: number[] = [];
 * boot().run((t) =>
 *   smp_call_function(t, (irq) => void cpus.push(irq.cpu.id), null, true)
 * );
 * assertEquals(cpus.sort(), [1, 2, 3, 4, 5, 6, 7]); // not this one
 * ```
 */
export function* smp_call_function<I>(
  t: Thread,
  func: SmpFunction<I>,
  info: I,
  wait: boolean,
): Steps<0> {
  preempt_disable(t);
  yield* smp_call_function_mask(t, t.k.cpu_online.list, func, info, wait);
  preempt_enable(t);
  return 0;
}

/**
 * Has every online CPU, this one too, call `func(info)`, with interrupts off.
 *
 * Context: interrupts on, not in an interrupt.
 *
 * Linux: kernel/softirq.c.
 *
 * @param wait Whether to return only when all have.
 *
 * @example
 * ```ts
 * import { boot, on_each_cpu } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const cpus: number[] = [];
 * boot().run((t) =>
 *   on_each_cpu(t, (irq) => void cpus.push(irq.cpu.id), null, true)
 * );
 * assertEquals(cpus.sort(), [0, 1, 2, 3, 4, 5, 6, 7]);
 * ```
 */
export function* on_each_cpu<I>(
  t: Thread,
  func: SmpFunction<I>,
  info: I,
  wait: boolean,
): Steps<0> {
  enter(t, ON_EACH_CPU);
  preempt_disable(t);
  yield* smp_call_function(t, func, info, wait);
  local_irq_disable(t);
  yield* call(t, func as SmpFunction<unknown>, info);
  local_irq_enable(t);
  preempt_enable(t);
  leave(t);
  return 0;
}

/** The responder's side of calls to several CPUs. Context: interrupt. */
export function* generic_smp_call_function_interrupt(t: Thread): Steps {
  enter(t, GENERIC_SMP_CALL_FUNCTION_INTERRUPT);
  charge(t, 14);
  const smp = t.k.smp;
  const cpu = get_cpu(t);
  rcu_read_lock(t);
  yield* read_line(t, smp.queue_line);
  const head = smp.call_function_queue;
  for (let p = head.next; p !== head; p = p.next) {
    const data = list_entry(p);
    charge(t, 8);
    yield* read_line(t, data.maskLine(cpu, smp.lineBytes));
    if (data.cpumask.has(cpu)) yield* respond(t, data, cpu);
  }
  rcu_read_unlock(t);
  put_cpu(t);
  leave(t);
}

/** Makes one call, and takes this CPU off the data. */
function* respond(t: Thread, data: CallFunctionData, cpu: number): Steps {
  const smp = t.k.smp;
  yield* read_line(t, data.line);
  yield* call(t, data.func, data.info);
  yield* spin_lock(t, data.lock);
  charge(t, 10);
  charge_cycles(t, t.k.machine.lockedCycles); // cpu_clear() is a locked btr
  touch_write(t, data.maskLine(cpu, smp.lineBytes));
  data.cpumask.clear(cpu);
  WARN_ON(t, data.refs === 0, "call_function_data: more CPUs than asked");
  data.refs--;
  const refs = data.refs;
  yield* spin_unlock(t, data.lock);
  if (refs === 0) yield* finish_call(t, smp, data);
}

/** The last responder: off the queue, let the caller go, free the data. */
function* finish_call(t: Thread, smp: Smp, data: CallFunctionData): Steps {
  yield* spin_lock(t, smp.call_function_lock);
  charge(t, 6);
  touch_write(t, smp.queue_line);
  list_del_rcu(data.list);
  yield* spin_unlock(t, smp.call_function_lock);
  const flags = data.flags.value;
  // On the stack of a caller that waits, the data ends with this store.
  if ((flags & CSD_FLAG_WAIT) !== 0) {
    yield* WRITE_ONCE(t, data.flags, flags & ~CSD_FLAG_WAIT);
  }
  if ((flags & CSD_FLAG_ALLOC) !== 0) {
    yield* call_rcu(t, data.rcu_head, rcu_free_call_data);
  }
}

function rcu_free_call_data(
  t: Thread,
  head: RcuHead<CallFunctionData>,
): Steps {
  return kfree(t, head.owner.memory);
}

/** The responder's side of calls to this CPU alone. Context: interrupt. */
export function* generic_smp_call_function_single_interrupt(t: Thread): Steps {
  enter(t, GENERIC_SMP_CALL_FUNCTION_SINGLE_INTERRUPT);
  charge(t, 12);
  const queue = t.k.smp.call_single_queue.get(t.cpu.id);
  const mine = new ListHead<CallSingleData>();
  for (;;) {
    yield* read_line(t, queue.line);
    if (list_empty(queue.list)) break;
    yield* spin_lock(t, queue.lock);
    list_splice_init(queue.list, mine);
    yield* spin_unlock(t, queue.lock);
    while (!list_empty(mine)) {
      const data = list_first_entry(mine);
      charge(t, 12);
      list_del(data.list);
      yield* read_line(t, data.line);
      const flags = data.flags.value;
      yield* call(t, data.func, data.info);
      if ((flags & CSD_FLAG_WAIT) !== 0) {
        yield* WRITE_ONCE(t, data.flags, flags & ~CSD_FLAG_WAIT);
      } else if ((flags & CSD_FLAG_ALLOC) !== 0) {
        yield* kfree(t, data.memory);
      }
    }
  }
  leave(t);
}
