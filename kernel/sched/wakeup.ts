/**
 * Waking threads, and where they go (try_to_wake_up(), wake_up_new_task() and
 * sched_balance_self() of kernel/sched.c).
 *
 * A new thread goes to the idlest NUMA node, there to the idlest socket, there
 * to the idlest CPU, lowest number first (SD_BALANCE_FORK). A woken thread goes
 * back to its CPU if that idles, to an idle CPU of the same socket otherwise
 * (SD_WAKE_IDLE), else it waits at its CPU.
 *
 * Differs from Linux: no imbalance percentage keeps a new thread near its
 * parent, and no wake_affine() pulls a woken one to the waker; a woken thread
 * always asks the running one to give way, where CFS compares run times.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  local_irq_restore,
  local_irq_save,
  type Steps,
} from "../../arch/asm.ts";
import { smp_send_reschedule } from "../ipi.ts";
import { spin_lock, spin_unlock } from "../locking/spinlock.ts";
import {
  TASK_INTERRUPTIBLE,
  TASK_RUNNING,
  TASK_UNINTERRUPTIBLE,
  type Thread,
} from "../thread.ts";
import { activate_task, type Runqueue, type SchedGroup } from "./runqueue.ts";
import { cpu_allowed } from "./sched.ts";

const TRY_TO_WAKE_UP = ksym("try_to_wake_up");
const RESCHED_TASK = ksym("resched_task");
const SCHED_BALANCE_SELF = ksym("sched_balance_self");
const SELECT_TASK_RQ_FAIR = ksym("select_task_rq_fair");

/** Both sleeping states: what wake_up_process() wakes. */
export const TASK_NORMAL = TASK_INTERRUPTIBLE | TASK_UNINTERRUPTIBLE;

/**
 * Wakes `p`, or starts it.
 *
 * Context: any. Locks: its rq.lock.
 *
 * Linux: kernel/sched.c.
 *
 * @returns Whether it slept.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   kthread_create,
 *   kthread_join,
 *   wake_up_process,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const woken = boot().run(function* (t) {
 *   const p = yield* kthread_create(t, function* () {}, "sleeper");
 *   const first = yield* wake_up_process(t, p); // starts it
 *   yield* kthread_join(t, p);
 *   return [first, yield* wake_up_process(t, p)]; // it has ended
 * });
 * assertEquals(woken, [true, false]);
 * ```
 */
export function wake_up_process(t: Thread, p: Thread): Steps<boolean> {
  return try_to_wake_up(t, p, TASK_NORMAL);
}

/** Wakes `p` if its state is one of `states`. @returns Whether it was. Context: any. */
export function* try_to_wake_up(
  t: Thread,
  p: Thread,
  states: number,
): Steps<boolean> {
  enter(t, TRY_TO_WAKE_UP);
  charge(t, 70);
  const flags = local_irq_save(t);
  let rq = yield* task_rq_lock(t, p);
  if ((p.state & states) !== 0 && !p.on_rq) {
    const cpu = select_task_rq(t, p);
    if (cpu !== rq.cpu) {
      p.cpu = t.k.machine.engine.cpus[cpu];
      yield* spin_unlock(t, rq.lock);
      rq = yield* task_rq_lock(t, p);
    }
  }
  const asleep = (p.state & states) !== 0;
  if (asleep) {
    if (!p.on_rq) {
      activate_task(t, rq, p);
      charge(t, 80);
      yield* resched(t, rq);
    }
    p.state = TASK_RUNNING;
  }
  yield* spin_unlock(t, rq.lock);
  local_irq_restore(t, flags);
  leave(t);
  return asleep;
}

/** Locks the queue that `p` belongs to. Context: interrupts off. */
export function* task_rq_lock(t: Thread, p: Thread): Steps<Runqueue> {
  const { rqs } = t.k.sched;
  for (;;) {
    const rq = rqs[p.cpu.id];
    yield* spin_lock(t, rq.lock);
    if (rq === rqs[p.cpu.id]) return rq;
    yield* spin_unlock(t, rq.lock);
  }
}

/** Asks `rq`'s CPU to switch, by an interrupt if it would not look. Locks: rq.lock held. */
export function* resched(t: Thread, rq: Runqueue): Steps {
  charge(t, 6);
  if (rq.need_resched) return;
  rq.need_resched = true;
  if (rq.cpu === t.cpu.id) return;
  if (rq.curr === rq.idle && rq.polling) return;
  enter(t, RESCHED_TASK);
  yield* smp_send_reschedule(t, rq.cpu);
  leave(t);
}

/** CPU for `p`, which is about to be queued. Plain: unlocked looks at the queues. */
function select_task_rq(t: Thread, p: Thread): number {
  if (t.k.sched.newborn.delete(p)) return sched_balance_fork(t, p);
  enter(t, SELECT_TASK_RQ_FAIR);
  charge(t, 30);
  const prev = t.k.sched.rqs[p.cpu.id];
  const cpu = wake_idle(t, p, prev);
  leave(t);
  return cpu;
}

function wake_idle(t: Thread, p: Thread, prev: Runqueue): number {
  const here = prev.online && cpu_allowed(p, prev.cpu);
  if (here && prev.is_idle) return prev.cpu;
  for (const rq of prev.socket.rqs) {
    charge(t, 8);
    if (rq.is_idle && cpu_allowed(p, rq.cpu)) return rq.cpu;
  }
  return here ? prev.cpu : sched_balance_fork(t, p);
}

/** Idlest CPU for `p`: what a new thread gets. Plain. */
export function sched_balance_fork(t: Thread, p: Thread): number {
  enter(t, SCHED_BALANCE_SELF);
  charge(t, 40);
  const cpu = p.cpus_allowed === null
    ? idlestOf(t, idlestGroup(t, idlestGroup(t, t.k.sched.nodes).children).rqs)
    : idlestAllowed(t, p.cpus_allowed);
  leave(t);
  return cpu;
}

function idlestGroup(t: Thread, groups: readonly SchedGroup[]): SchedGroup {
  let best = groups[0];
  for (const group of groups) {
    charge(t, 10);
    if (group.load < best.load) best = group;
  }
  return best;
}

function idlestOf(t: Thread, rqs: readonly Runqueue[]): number {
  let best = rqs[0];
  for (const rq of rqs) {
    charge(t, 8);
    if (rq.nr_running < best.nr_running) best = rq;
  }
  return best.cpu;
}

/** Least loaded node, then queue, of the CPUs a thread is bound to. */
function idlestAllowed(t: Thread, cpus: readonly number[]): number {
  const { rqs } = t.k.sched;
  let best: Runqueue | null = null;
  for (const cpu of cpus) {
    charge(t, 10);
    const rq = rqs[cpu];
    if (rq.online && (best === null || idler(rq, best))) best = rq;
  }
  return best === null ? t.cpu.id : best.cpu;
}

function idler(a: Runqueue, b: Runqueue): boolean {
  if (a.socket.parent === b.socket.parent) return a.nr_running < b.nr_running;
  return a.socket.parent!.load < b.socket.parent!.load;
}
