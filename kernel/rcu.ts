/**
 * Read-copy-update, the classic kind (kernel/rcuclassic.c of 2.6.28): readers
 * keep preemption off, and that is all; a callback runs after every CPU has
 * passed a quiescent state since it was registered. A quiescent state is a
 * context switch, or a tick that finds the CPU idle.
 *
 * Lock order:
 *
 *     rcu_ctrlblk.lock
 *       nothing
 *
 * Grace periods are batches, numbered. A CPU registers callbacks for the batch
 * after the one under way; the last CPU to report ends the batch and starts the
 * next, if anybody wants one. CPUs without a tick are not waited for
 * (nohz_cpu_mask), and no CPU stops its tick while RCU needs it.
 *
 * Differs from Linux: the three segments of a CPU's waiting callbacks are three
 * lists, not one with three tails; no rcu_bh and no rcu_sched flavour; no stall
 * detection, since the engine reports lockups. As in 2.6.28, a CPU that stays in
 * the kernel without schedule() holds grace periods up for ever: loops call
 * cond_resched(), which switches when a backlog of 10000 callbacks asks for it.
 */
import {
  charge,
  charge_cycles,
  enter,
  ksym,
  leave,
  local_irq_disable,
  local_irq_enable,
  local_irq_restore,
  local_irq_save,
  READ_ONCE,
  READ_ONCE_now,
  type Steps,
  touch_write,
  write_line,
  WRITE_ONCE,
} from "../arch/asm.ts";
import { BUG_ON } from "./bug.ts";
import { send_IPI_mask } from "./ipi.ts";
import { RESCHEDULE_VECTOR } from "./irq_vectors.ts";
import {
  complete,
  Completion,
  wait_for_completion,
} from "./locking/completion.ts";
import { mutex_lock, mutex_unlock } from "./locking/mutex.ts";
import {
  lockdep_assert_held,
  spin_lock_irqsave,
  spin_unlock_irqrestore,
} from "./locking/spinlock.ts";
import {
  BITS_PER_LINE,
  BLIMIT,
  QHIMARK,
  QLOWMARK,
  Rcu,
  type RcuCallback,
  type RcuCtrlblk,
  type RcuData,
  RcuHead,
} from "./rcu_state.ts";
import { idle_cpu, set_need_resched } from "./sched/sched.ts";
import { on_each_cpu } from "./smp.ts";
import {
  __raise_softirq_irqoff,
  open_softirq,
  RCU_SOFTIRQ,
  type SoftirqAtHand,
} from "./softirq.ts";
import * as thread from "./thread.ts";
import type { Thread } from "./thread.ts";

export { Rcu, type RcuCallback, RcuHead } from "./rcu_state.ts";

// Functions as constants of this module: docs/ARCHITECTURE.md, "What V8 likes".
const { in_interrupt, preempt_disable, preempt_enable } = thread;

const RCU_INIT = ksym("rcu_init");
const CALL_RCU = ksym("call_rcu");
const SYNCHRONIZE_RCU = ksym("synchronize_rcu");
const RCU_BARRIER = ksym("rcu_barrier");
const RCU_BARRIER_FUNC = ksym("rcu_barrier_func");
const FORCE_QUIESCENT_STATE = ksym("force_quiescent_state");
const RCU_PENDING = ksym("rcu_pending");
const RCU_PROCESS_CALLBACKS = ksym("rcu_process_callbacks");
const RCU_CHECK_QUIESCENT_STATE = ksym("rcu_check_quiescent_state");

/** Brings RCU up. */
export function rcu_init(t: Thread): void {
  enter(t, RCU_INIT);
  charge(t, 100);
  t.k.rcu = new Rcu(t.k);
  open_softirq(t.k, RCU_SOFTIRQ, rcu_process_callbacks, NOTHING_TO_REPORT);
  leave(t);
}

/**
 * Starts to read: what is read now stays until {@linkcode rcu_read_unlock}.
 * Plain.
 *
 * Linux: include/linux/rcupdate.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   Cell,
 *   load,
 *   rcu_read_lock,
 *   rcu_read_unlock,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const seen = boot().run(function* (t) {
 *   const current = new Cell("current", { version: 1 });
 *   rcu_read_lock(t); // what is read stays valid until the unlock
 *   const { version } = yield* load(t, current);
 *   rcu_read_unlock(t);
 *   return version;
 * });
 * assertEquals(seen, 1);
 * ```
 */
export function rcu_read_lock(t: Thread): void {
  t.rcu_read_depth++;
  t.k.sanitizers?.rcuReadLock(t);
  preempt_disable(t);
}

/**
 * Ends {@linkcode rcu_read_lock}.
 *
 * Linux: include/linux/rcupdate.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   in_atomic,
 *   rcu_read_lock,
 *   rcu_read_unlock,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const atomic = boot().run(function* (t) {
 *   rcu_read_lock(t);
 *   rcu_read_unlock(t);
 *   return in_atomic(t);
 * });
 * assertEquals(atomic, false);
 * ```
 */
export function rcu_read_unlock(t: Thread): void {
  t.k.sanitizers?.rcuReadUnlock(t);
  t.rcu_read_depth--;
  preempt_enable(t);
}

/** This CPU is between readers. Plain. Context: preemption off. */
export function rcu_qsctr_inc(t: Thread): void {
  charge(t, 2);
  const rcu = t.k.rcu;
  if (rcu !== undefined) rcu.data.get(t.cpu.id).passed_quiesc = true;
}

/**
 * Has `func(head)` called after a grace period.
 *
 * Context: any.
 *
 * Linux: kernel/rcuclassic.c.
 *
 * @example
 * ```ts
 * import { boot, call_rcu, rcu_barrier, RcuHead } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const freed: string[] = [];
 * boot().run(function* (t) {
 *   const head = new RcuHead("old version");
 *   yield* call_rcu(t, head, (_irq, { owner }) => {
 *     freed.push(owner);
 *   });
 *   assertEquals(freed, []);
 *   yield* rcu_barrier(t);
 * });
 * assertEquals(freed, ["old version"]);
 * ```
 */
export function* call_rcu<T>(
  t: Thread,
  head: RcuHead<T>,
  func: RcuCallback<T>,
): Steps {
  enter(t, CALL_RCU);
  charge(t, 16);
  head.func = func;
  t.k.sanitizers?.rcuQueued(t, head as RcuHead);
  const flags = local_irq_save(t);
  const rcu = t.k.rcu;
  const rdp = rcu.data.get(t.cpu.id);
  const batch = (yield* READ_ONCE(t, rcu.ctrlblk.cur)) + 1;
  if (rdp.waiting && batch > rdp.batch) {
    // A newer batch: what waited for the newest waits for one before it now.
    rdp.old.take(rdp.cur);
    rdp.cur.take(rdp.nxt);
    if (batch - 1 > rdp.batch) rdp.old.take(rdp.cur);
  }
  rdp.batch = batch;
  rdp.nxt.push(head as RcuHead);
  if (++rdp.qlen > QHIMARK) {
    rdp.blimit = Infinity;
    yield* force_quiescent_state(t, rcu.ctrlblk);
  }
  local_irq_restore(t, flags);
  leave(t);
}

/** Asks this CPU to switch, and interrupts those that keep the batch waiting. */
function* force_quiescent_state(t: Thread, rcp: RcuCtrlblk): Steps {
  enter(t, FORCE_QUIESCENT_STATE);
  set_need_resched(t);
  const flags = yield* spin_lock_irqsave(t, rcp.lock);
  if (!rcp.signaled) {
    rcp.signaled = true;
    const others = rcp.cpumask.list.filter((cpu) =>
      cpu !== t.cpu.id && t.k.cpu_online.has(cpu)
    );
    yield* send_IPI_mask(t, others, RESCHEDULE_VECTOR);
  }
  yield* spin_unlock_irqrestore(t, rcp.lock, flags);
  leave(t);
}

/** Whether RCU wants something of this CPU: asked in every tick. Context: interrupts off. */
export function* rcu_pending(t: Thread): Steps<boolean> {
  enter(t, RCU_PENDING);
  charge(t, 16);
  const { ctrlblk: rcp, data } = t.k.rcu;
  const rdp = data.get(t.cpu.id);
  const cur = yield* READ_ONCE(t, rcp.cur);
  let wanted = wants_softirq(rdp, cur);
  if (!wanted && rdp.waiting) {
    wanted = has_done(rdp, yield* READ_ONCE(t, rcp.completed)) ||
      rdp.batch > (yield* READ_ONCE(t, rcp.pending));
  }
  leave(t);
  return wanted;
}

/** Whether this CPU has something to call, to report, or to notice in batch `cur`. */
function wants_softirq(rdp: RcuData, cur: number): boolean {
  return !rdp.done.empty || rdp.qs_pending || rdp.quiescbatch !== cur;
}

/** {@linkcode rcu_pending} in a section. Plain. */
export function rcu_pending_now(t: Thread): boolean {
  enter(t, RCU_PENDING);
  charge(t, 16);
  const { ctrlblk: rcp, data } = t.k.rcu;
  const rdp = data.get(t.cpu.id);
  const cur = READ_ONCE_now(t, rcp.cur);
  let wanted = wants_softirq(rdp, cur);
  if (!wanted && rdp.waiting) {
    wanted = has_done(rdp, READ_ONCE_now(t, rcp.completed)) ||
      rdp.batch > READ_ONCE_now(t, rcp.pending);
  }
  leave(t);
  return wanted;
}

/** Whether the batch of any callback that waits is over. */
function has_done(rdp: RcuData, completed: number): boolean {
  return (completed >= rdp.batch && !rdp.nxt.empty) || !rdp.old.empty ||
    (completed >= rdp.batch - 1 && !rdp.cur.empty);
}

/** Whether this CPU must keep its tick. Context: interrupts off. */
export function* rcu_needs_cpu(t: Thread): Steps<boolean> {
  if (t.k.rcu.data.get(t.cpu.id).waiting) return true;
  return yield* rcu_pending(t);
}

/**
 * Whether a batch that counts on this CPU may have begun unseen: a plain look,
 * for who has just set its bit in nohz_cpu_mask. Linux does without, and there
 * a batch that begins between its last look and the bit waits until something
 * else wakes the CPU.
 */
export function rcu_batch_unseen(t: Thread): boolean {
  const { ctrlblk, data } = t.k.rcu;
  return ctrlblk.cur.value !== data.get(t.cpu.id).quiescbatch;
}

/**
 * Whether a tick of this CPU would find RCU in want of something: a plain look,
 * for ia64, whose idle CPUs skip the ticks that would not.
 */
export function rcu_wants_tick(t: Thread): boolean {
  const rdp = t.k.rcu.data.get(t.cpu.id);
  return rdp.waiting || !rdp.done.empty || rdp.qs_pending ||
    rcu_batch_unseen(t);
}

/** The tick has found something to do. Plain. Context: timer interrupt. */
export function rcu_check_callbacks(t: Thread): void {
  // An interrupt of the idle thread itself, not of a handler or a softirq.
  const below = t.below as Thread;
  if (idle_cpu(t.k, t.cpu.id) && !in_interrupt(below)) rcu_qsctr_inc(t);
  __raise_softirq_irqoff(t, RCU_SOFTIRQ);
}

/** RCU's softirq. */
function* rcu_process_callbacks(t: Thread): Steps {
  enter(t, RCU_PROCESS_CALLBACKS);
  charge(t, 20);
  const { ctrlblk: rcp, data } = t.k.rcu;
  const rdp = data.get(t.cpu.id);
  if (rdp.waiting) {
    const completed = yield* READ_ONCE(t, rcp.completed);
    local_irq_disable(t);
    collect_done(rdp, completed);
    local_irq_enable(t);
    if (rdp.batch > (yield* READ_ONCE(t, rcp.pending))) {
      yield* ask_for_batch(t, rcp, rdp);
    }
  }
  yield* rcu_check_quiescent_state(t, rcp, rdp);
  if (!rdp.done.empty) yield* rcu_do_batch(t, rdp);
  leave(t);
}

/** {@linkcode rcu_process_callbacks} that has nothing to call, to ask for, or to report. */
const NOTHING_TO_REPORT: SoftirqAtHand = {
  may(t) {
    const { ctrlblk: rcp, data } = t.k.rcu;
    const rdp = data.get(t.cpu.id);
    if (!rdp.done.empty) return false;
    if (
      rdp.waiting &&
      (has_done(rdp, rcp.completed.value) || rdp.batch > rcp.pending.value)
    ) return false;
    return rdp.quiescbatch !== rcp.cur.value || !rdp.qs_pending ||
      !rdp.passed_quiesc;
  },
  run(t) {
    enter(t, RCU_PROCESS_CALLBACKS);
    charge(t, 20);
    const { ctrlblk: rcp, data } = t.k.rcu;
    const rdp = data.get(t.cpu.id);
    if (rdp.waiting) {
      READ_ONCE_now(t, rcp.completed);
      local_irq_disable(t);
      local_irq_enable(t);
      READ_ONCE_now(t, rcp.pending);
    }
    enter(t, RCU_CHECK_QUIESCENT_STATE);
    charge(t, 10);
    const cur = READ_ONCE_now(t, rcp.cur);
    if (rdp.quiescbatch !== cur) notice_batch(rdp, cur);
    leave(t);
    leave(t);
  },
};

/** Moves callbacks whose batch is over. Plain; interrupts off. */
function collect_done(rdp: RcuData, completed: number): void {
  rdp.done.take(rdp.old);
  if (completed >= rdp.batch - 1) rdp.done.take(rdp.cur);
  if (completed >= rdp.batch) rdp.done.take(rdp.nxt);
}

function* ask_for_batch(t: Thread, rcp: RcuCtrlblk, rdp: RcuData): Steps {
  const flags = yield* spin_lock_irqsave(t, rcp.lock);
  if (rdp.batch > rcp.pending.value) {
    yield* WRITE_ONCE(t, rcp.pending, rdp.batch);
    yield* rcu_start_batch(t, rcp);
  }
  yield* spin_unlock_irqrestore(t, rcp.lock, flags);
}

/** Starts a batch if one is wanted and none is under way. Locks: rcp.lock held. */
function* rcu_start_batch(t: Thread, rcp: RcuCtrlblk): Steps {
  lockdep_assert_held(t, rcp.lock);
  charge(t, 10);
  const cur = rcp.cur.value;
  if (cur === rcp.pending.value || rcp.completed.value !== cur) return;
  yield* WRITE_ONCE(t, rcp.cur, cur + 1);
  // After the store, so that a CPU that stops its tick now sees the batch.
  charge_cycles(t, t.k.machine.lockedCycles);
  const { nohz_cpu_mask, nohz_lines } = t.k.rcu;
  for (let i = 0; i < nohz_lines.length; i++) charge(t, 40);
  rcp.cpumask.assignAndNot(t.k.cpu_online, nohz_cpu_mask);
  rcp.signaled = false;
}

/** Notices a new batch, or reports that this CPU has been quiescent since. */
function* rcu_check_quiescent_state(
  t: Thread,
  rcp: RcuCtrlblk,
  rdp: RcuData,
): Steps {
  enter(t, RCU_CHECK_QUIESCENT_STATE);
  charge(t, 10);
  const cur = yield* READ_ONCE(t, rcp.cur);
  if (rdp.quiescbatch !== cur) {
    notice_batch(rdp, cur);
  } else if (rdp.qs_pending && rdp.passed_quiesc) {
    rdp.qs_pending = false;
    const flags = yield* spin_lock_irqsave(t, rcp.lock);
    if (rdp.quiescbatch === rcp.cur.value) yield* cpu_quiet(t, rcp);
    yield* spin_unlock_irqrestore(t, rcp.lock, flags);
  }
  leave(t);
}

/** A new batch has begun, and wants to hear of this CPU. */
function notice_batch(rdp: RcuData, cur: number): void {
  rdp.qs_pending = true;
  rdp.passed_quiesc = false;
  rdp.quiescbatch = cur;
}

/** This CPU has been quiescent; the last one ends the batch. Locks: rcp.lock held. */
function* cpu_quiet(t: Thread, rcp: RcuCtrlblk): Steps {
  lockdep_assert_held(t, rcp.lock);
  charge(t, 10);
  touch_write(t, rcp.line);
  rcp.cpumask.clear(t.cpu.id);
  if (rcp.cpumask.weight === 0) {
    yield* WRITE_ONCE(t, rcp.completed, rcp.cur.value);
    yield* rcu_start_batch(t, rcp);
  }
}

/** Calls what is due, some at a time. */
function* rcu_do_batch(t: Thread, rdp: RcuData): Steps {
  let count = 0;
  while (!rdp.done.empty && count < rdp.blimit) {
    const head = rdp.done.shift();
    charge(t, 10);
    count++;
    t.k.rcu.invoked++;
    t.k.sanitizers?.rcuCalled(t, head);
    const steps = head.func!(t, head);
    if (steps !== undefined) yield* steps;
  }
  local_irq_disable(t);
  rdp.qlen -= count;
  if (rdp.blimit === Infinity && rdp.qlen <= QLOWMARK) rdp.blimit = BLIMIT;
  if (!rdp.done.empty) __raise_softirq_irqoff(t, RCU_SOFTIRQ);
  local_irq_enable(t);
}

/**
 * Waits for a grace period.
 *
 * Context: process.
 *
 * Linux: kernel/rcupdate.c.
 *
 * @example
 * ```ts
 * import { boot, Cell, store, synchronize_rcu } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const ms = boot().run(function* (t) {
 *   const current = new Cell<{ version: number } | null>("c", { version: 1 });
 *   yield* store(t, current, null); // no new reader finds it
 *   const start = t.cpu.clock;
 *   yield* synchronize_rcu(t); // no old reader has it any more
 *   return t.machine.toNs(t.cpu.clock - start) / 1e6;
 * });
 * assert(ms > 0);
 * ```
 */
export function* synchronize_rcu(t: Thread): Steps {
  enter(t, SYNCHRONIZE_RCU);
  const done = new Completion(t.k, "rcu_synchronize");
  yield* call_rcu(t, new RcuHead(done), wakeme_after_rcu);
  yield* wait_for_completion(t, done);
  leave(t);
}

function wakeme_after_rcu(t: Thread, head: RcuHead<Completion>): Steps {
  return complete(t, head.owner);
}

/**
 * Waits until every callback registered so far, on any CPU, has run.
 *
 * Context: process.
 *
 * Linux: kernel/rcupdate.c.
 *
 * @example
 * ```ts
 * import { boot, call_rcu, rcu_barrier, RcuHead } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * let called = 0;
 * boot().run(function* (t) {
 *   for (let i = 0; i < 3; i++) {
 *     yield* call_rcu(t, new RcuHead(i), () => void called++);
 *   }
 *   yield* rcu_barrier(t);
 * });
 * assertEquals(called, 3);
 * ```
 */
export function* rcu_barrier(t: Thread): Steps {
  enter(t, RCU_BARRIER);
  BUG_ON(t, in_interrupt(t), "rcu_barrier() in an interrupt");
  const rcu = t.k.rcu;
  yield* mutex_lock(t, rcu.barrier_mutex);
  rcu.barrier_done = new Completion(t.k, "rcu_barrier_completion");
  rcu.barrier_count = 1; // ours, so that it cannot reach 0 before all have asked
  yield* on_each_cpu(t, rcu_barrier_func, null, true);
  yield* rcu_barrier_put(t);
  yield* wait_for_completion(t, rcu.barrier_done);
  yield* mutex_unlock(t, rcu.barrier_mutex);
  leave(t);
}

function* rcu_barrier_func(t: Thread): Steps {
  enter(t, RCU_BARRIER_FUNC);
  yield* barrier_atomic(t);
  t.k.rcu.barrier_count++;
  yield* call_rcu(t, t.k.rcu.data.get(t.cpu.id).barrier, rcu_barrier_put);
  leave(t);
}

function* rcu_barrier_put(t: Thread): Steps {
  yield* barrier_atomic(t);
  if (--t.k.rcu.barrier_count === 0) yield* complete(t, t.k.rcu.barrier_done);
}

function* barrier_atomic(t: Thread): Steps {
  charge_cycles(t, t.k.machine.lockedCycles);
  yield* write_line(t, t.k.rcu.barrier_line);
}

/** This CPU stops its tick. Context: interrupts off. */
export function* nohz_cpu_set(t: Thread): Steps {
  yield* nohz_atomic(t);
  t.k.rcu.nohz_cpu_mask.set(t.cpu.id);
}

/** This CPU has its tick again, or is in an interrupt. Context: interrupts off. */
export function* nohz_cpu_clear(t: Thread): Steps {
  yield* nohz_atomic(t);
  t.k.rcu.nohz_cpu_mask.clear(t.cpu.id);
}

function* nohz_atomic(t: Thread): Steps {
  charge_cycles(t, t.k.machine.lockedCycles);
  const line = t.k.rcu.nohz_lines[Math.floor(t.cpu.id / BITS_PER_LINE)];
  yield* write_line(t, line);
}
