/**
 * The scheduler: who runs where, and the switch (kernel/sched.c).
 *
 * Differs from Linux: see sched/runqueue.ts for the order of turns. A thread
 * that may no longer run where it does is moved by whoever runs after it, in
 * finish_task_switch(), where Linux has a migration thread for each CPU.
 * CONFIG_PREEMPT is off: a thread in the kernel gives way in schedule() and
 * cond_resched() only, an idle CPU when the interrupt that ended its halt
 * returns.
 */
import {
  charge,
  enter,
  irqs_disabled,
  ksym,
  leave,
  type Steps,
  switch_to,
} from "../../arch/asm.ts";
import { BUG_ON } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import { Kthreads } from "../kthread.ts";
import {
  spin_lock,
  spin_lock_irq,
  spin_lock_now,
  spin_unlock,
  spin_unlock_irq,
  spin_unlock_now,
} from "../locking/spinlock.ts";
import type { Completion } from "../locking/completion.ts";
import { rcu_qsctr_inc } from "../rcu.ts";
import {
  preempt_disable,
  preempt_enable,
  TASK_DEAD,
  TASK_RUNNING,
  type Thread,
} from "../thread.ts";
import { finish_migration } from "./migrate.ts";
import {
  deactivate_task,
  pick_next_task,
  put_prev_task,
  Runqueue,
  SchedGroup,
} from "./runqueue.ts";

const SCHED_INIT = ksym("sched_init");
const SCHEDULE = ksym("schedule");
const FINISH_TASK_SWITCH = ksym("finish_task_switch");
const SCHEDULER_TICK = ksym("scheduler_tick");
const _COND_RESCHED = ksym("_cond_resched");
const SYS_SCHED_YIELD = ksym("sys_sched_yield");

/** sysctl_sched_latency: a round of turns of a few threads, ms, times the CPU factor. */
const LATENCY_MS = 20;
/** sysctl_sched_min_granularity: the shortest turn, ms, times the CPU factor. */
const MIN_GRANULARITY_MS = 4;

/** The scheduler of one kernel. */
export class Sched {
  /** By CPU number. */
  readonly rqs: readonly Runqueue[];
  /** NUMA nodes, in order. */
  readonly nodes: readonly SchedGroup[];
  /** Threads that have been made and have not ended, idle threads left out: for reports. */
  readonly threads: Set<Thread> = new Set();
  /** Threads that have not run yet: placed like a fork, not like a wake-up. */
  readonly newborn: Set<Thread> = new Set();
  /** Who waits for a running thread to leave a CPU; see set_cpus_allowed(). */
  readonly movers: Map<Thread, Completion> = new Map();
  readonly kthreads: Kthreads;
  /** Process number of the next thread. Guarded by tasklist_lock. */
  next_pid = 1;

  constructor(readonly k: Kernel) {
    this.kthreads = new Kthreads(k);
    const nodes: SchedGroup[] = [];
    const sockets: SchedGroup[] = [];
    this.rqs = k.machine.engine.cpus.map((cpu) => {
      const node = nodes[cpu.node] ??= new SchedGroup(cpu.node, null);
      let socket = sockets[cpu.socket];
      if (socket === undefined) {
        socket = sockets[cpu.socket] = new SchedGroup(cpu.socket, node);
        node.children.push(socket);
      }
      return new Runqueue(k, cpu, socket);
    });
    this.nodes = nodes;
  }
}

/** This CPU's queue. */
export function this_rq(t: Thread): Runqueue {
  return t.k.sched.rqs[t.cpu.id];
}

/** Whether CPU number `cpu` runs its idle thread: an unlocked look. */
export function idle_cpu(k: Kernel, cpu: number): boolean {
  const rq = k.sched.rqs[cpu];
  return rq.curr === rq.idle;
}

/**
 * Whether somebody else should run on this CPU. Plain.
 *
 * Linux: include/linux/sched.h.
 *
 * @example
 * ```ts
 * import { boot, need_resched } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(
 *   boot().run(function* (t) {
 *     return need_resched(t);
 *   }),
 *   false,
 * );
 * ```
 */
export function need_resched(t: Thread): boolean {
  return this_rq(t).need_resched;
}

/** Asks for a switch on this CPU. Plain. */
export function set_need_resched(t: Thread): void {
  this_rq(t).need_resched = true;
}

/** Brings the scheduler up: the thread that runs becomes this CPU's idle thread. */
export function sched_init(t: Thread): void {
  enter(t, SCHED_INIT);
  charge(t, 400 + 40 * t.k.machine.nrCpus);
  t.k.sched = new Sched(t.k);
  init_idle(t, t.cpu.id);
  set_rq_online(t, t.cpu.id);
  leave(t);
}

/** Makes `idle` the idle thread of CPU number `cpu`, which is not online. */
export function init_idle(idle: Thread, cpu: number): void {
  const rq = idle.k.sched.rqs[cpu];
  rq.idle = idle;
  rq.curr = idle;
  idle.cpu = idle.k.machine.engine.cpus[cpu];
  idle.cpus_allowed = [cpu];
  idle.preempt_count = 1;
}

/** Lets threads be placed on CPU number `cpu`. */
export function set_rq_online(t: Thread, cpu: number): void {
  const rq = t.k.sched.rqs[cpu];
  rq.online = true;
  rq.socket.rqs.push(rq);
  rq.socket.nr_cpus++;
  rq.socket.parent!.nr_cpus++;
}

/**
 * Lets another thread run; returns when it is this one's turn again, if it is
 * runnable, or after it has been woken.
 *
 * Context: process, preemption on. Interrupts are on when it returns.
 *
 * Linux: kernel/sched.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   kthread_run,
 *   schedule,
 *   TASK_RUNNING,
 *   TASK_UNINTERRUPTIBLE,
 *   wake_up_process,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const woken = boot().run(function* (t) {
 *   yield* kthread_run(t, (self) => wake_up_process(self, t), "waker");
 *   t.state = TASK_UNINTERRUPTIBLE;
 *   yield* schedule(t); // sleeps until woken
 *   return t.state === TASK_RUNNING;
 * });
 * assert(woken);
 * ```
 */
export function* schedule(t: Thread): Steps {
  enter(t, SCHEDULE);
  t.k.sanitizers?.scheduling(t);
  BUG_ON(
    t,
    t.isInterrupt || t.preempt_count !== 0 || t.softirq_count > 0,
    `scheduling while atomic: ${t.task.name}/${t.task.pid}`,
  );
  do {
    preempt_disable(t);
    const rq = this_rq(t);
    rcu_qsctr_inc(t);
    charge(t, 110);
    yield* spin_lock_irq(t, rq.lock);
    rq.need_resched = false;
    const next = choose(t, rq);
    if (next === t) {
      rq.slice = sched_slice(t, rq);
      yield* spin_unlock_irq(t, rq.lock);
    } else {
      yield* context_switch(t, rq, next);
    }
    preempt_enable(t);
  } while (this_rq(t).need_resched);
  leave(t);
}

/** Takes the running thread off, or puts it back, and picks who is next. */
function choose(t: Thread, rq: Runqueue): Thread {
  if (t !== rq.idle) {
    if (t.state !== TASK_RUNNING) {
      deactivate_task(t, rq, t);
    } else if (!cpu_allowed(t, rq.cpu)) {
      deactivate_task(t, rq, t);
      rq.moving = t;
    } else {
      put_prev_task(t, rq, t);
    }
  }
  return pick_next_task(t, rq);
}

/** Locks: rq.lock held, released by whoever runs next, interrupts off. */
function* context_switch(t: Thread, rq: Runqueue, next: Thread): Steps {
  charge(t, 160); // accounting, lazy TLB, stack and segment registers
  rq.nr_switches++;
  rq.prev = t;
  rq.curr = next;
  rq.slice = sched_slice(t, rq);
  rq.lock.owner = next; // the lock is handed over with the CPU
  t.k.sanitizers?.lockHandedOver(t, next, rq.lock);
  yield* switch_to(t, next);
  yield* finish_task_switch(t);
}

/** First thing a thread does after a switch to it. */
function* finish_task_switch(t: Thread): Steps {
  enter(t, FINISH_TASK_SWITCH);
  charge(t, 30);
  const rq = this_rq(t);
  const prev = rq.prev!;
  const moving = rq.moving;
  rq.prev = null;
  rq.moving = null;
  if (prev.state === TASK_DEAD) prev.gen = null;
  yield* spin_unlock_irq(t, rq.lock);
  if (moving !== null || t.k.sched.movers.size > 0) {
    yield* finish_migration(t, prev, moving);
  }
  leave(t);
}

/** First thing a new thread does. */
export function* schedule_tail(t: Thread): Steps {
  yield* finish_task_switch(t);
  preempt_enable(t);
}

/**
 * Lets another thread run if it is time to.
 *
 * Context: process.
 *
 * Linux: kernel/sched.c.
 *
 * @returns Whether it did.
 *
 * @example
 * ```ts
 * import { boot, charge, cond_resched } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const switched = boot().run(function* (t) {
 *   charge(t, 1000); // a piece of long work
 *   return yield* cond_resched(t);
 * });
 * assertEquals(switched, false); // nobody else wants this CPU
 * ```
 */
export function* cond_resched(t: Thread): Steps<boolean> {
  charge(t, 4);
  if (!this_rq(t).need_resched) return false;
  t.k.sanitizers?.mightSleep(t, "cond_resched");
  if (t.preempt_count > 0 || irqs_disabled(t)) return false;
  enter(t, _COND_RESCHED);
  yield* schedule(t);
  leave(t);
  return true;
}

/**
 * Lets the others of this CPU run first: sched_yield().
 *
 * Context: process.
 *
 * Linux: sys_sched_yield() of kernel/sched.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   findPreset,
 *   kthread_run,
 *   withCpus,
 *   yield_cpu,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const order: string[] = [];
 * boot({ spec: withCpus(findPreset("opteron-2x4"), 1) }).run(function* (t) {
 *   yield* kthread_run(t, function* () {
 *     order.push("other");
 *   }, "other");
 *   yield* yield_cpu(t);
 *   order.push("pid 1");
 * });
 * assertEquals(order, ["other", "pid 1"]);
 * ```
 */
export function* yield_cpu(t: Thread): Steps {
  enter(t, SYS_SCHED_YIELD);
  charge(t, 30);
  yield* schedule(t);
  leave(t);
}

/** The tick's look at whose turn it is. Context: timer interrupt. */
export function* scheduler_tick(t: Thread): Steps {
  enter(t, SCHEDULER_TICK);
  charge(t, 60);
  const rq = this_rq(t);
  yield* spin_lock(t, rq.lock);
  end_of_slice(rq);
  yield* spin_unlock(t, rq.lock);
  leave(t);
}

/** {@linkcode scheduler_tick} in a section, with the queue's lock free. Plain. */
export function scheduler_tick_now(t: Thread): void {
  enter(t, SCHEDULER_TICK);
  charge(t, 60);
  const rq = this_rq(t);
  spin_lock_now(t, rq.lock);
  end_of_slice(rq);
  spin_unlock_now(t, rq.lock);
  leave(t);
}

/** Counts the running thread's turn down. Locks: rq.lock held. */
function end_of_slice(rq: Runqueue): void {
  if (rq.curr === rq.idle) return;
  rq.slice--;
  if (rq.nr_running > 1 && rq.slice <= 0) rq.need_resched = true;
}

/** Whether `p` may run on CPU number `cpu`. */
export function cpu_allowed(p: Thread, cpu: number): boolean {
  return p.cpus_allowed === null || p.cpus_allowed.includes(cpu);
}

/** Length of a turn, ticks: CFS's latency shared out, with its growth by CPUs. */
function sched_slice(t: Thread, rq: Runqueue): number {
  const k = t.k;
  const factor = 32 - Math.clz32(k.cpu_online.weight); // 1 + ilog2
  const ms = Math.max(
    LATENCY_MS / Math.max(1, rq.nr_running),
    MIN_GRANULARITY_MS,
  );
  return Math.max(1, Math.round(ms * factor * k.machine.spec.kernel.hz / 1000));
}
