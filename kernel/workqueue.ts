/**
 * Work for process context, done by a worker thread on each CPU
 * (kernel/workqueue.c of 2.6.28).
 *
 * Lock order:
 *
 *     CpuWorkqueue.lock
 *       tasklist_lock
 *       CpuWorkqueue.more_work.lock
 *         Runqueue.lock
 *
 * Differs from Linux: a CPU's worker is made when it first has work, so that
 * 4096 CPUs need not have 4096 threads a queue. Work can be flushed by queue,
 * and delayed work cancelled; flush_work() and cancel_work_sync() are left out.
 */
import {
  charge,
  charge_cycles,
  enter,
  ksym,
  leave,
  type Steps,
  touch_write,
  write_line,
} from "../arch/asm.ts";
import { CacheLine } from "../arch/hw/line.ts";
import { BUG_ON } from "./bug.ts";
import type { Kernel } from "./kernel.ts";
import { kthread_bind, kthread_create } from "./kthread.ts";
import {
  list_add_tail,
  list_del_init,
  list_empty,
  list_first_entry,
  ListHead,
} from "./lib/list.ts";
import {
  complete,
  Completion,
  wait_for_completion,
} from "./locking/completion.ts";
import {
  lockdep_assert_held,
  spin_lock_irq,
  spin_lock_irqsave,
  spin_unlock_irq,
  spin_unlock_irqrestore,
  Spinlock,
} from "./locking/spinlock.ts";
import { PerCpu } from "./percpu.ts";
import { cond_resched, schedule } from "./sched/sched.ts";
import {
  finish_wait,
  prepare_to_wait,
  Wait,
  WaitQueue,
  wake_up,
} from "./sched/wait.ts";
import { wake_up_process } from "./sched/wakeup.ts";
import { get_cpu, put_cpu, TASK_INTERRUPTIBLE, type Thread } from "./thread.ts";
import { add_timer, add_timer_on, del_timer, Timer } from "./timer.ts";

const QUEUE_WORK = ksym("queue_work");
const RUN_WORKQUEUE = ksym("run_workqueue");
const WORKER_THREAD = ksym("worker_thread");
const FLUSH_WORKQUEUE = ksym("flush_workqueue");

/**
 * A function to be called by a worker. Queued once however often it is asked
 * for.
 *
 * Linux: include/linux/workqueue.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   flush_scheduled_work,
 *   schedule_work,
 *   Work,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * let runs = 0;
 * boot().run(function* (t) {
 *   const work = new Work(function* () {
 *     runs++;
 *   });
 *   yield* schedule_work(t, work);
 *   yield* flush_scheduled_work(t);
 * });
 * assertEquals(runs, 1);
 * ```
 */
export class Work {
  /** Queued and not yet started (WORK_STRUCT_PENDING). Changes by atomics on line. */
  pending = false;
  /** Its link in a queue. */
  readonly entry: ListHead<Work>;

  /** Work that is not queued. */
  constructor(
    /** Context: process. */
    readonly func: (t: Thread, work: Work) => Steps,
    readonly line: CacheLine = new CacheLine(0),
  ) {
    this.entry = new ListHead<Work>(this);
  }
}

/**
 * Work to be queued after a time.
 *
 * Linux: include/linux/workqueue.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   complete,
 *   Completion,
 *   DelayedWork,
 *   schedule_delayed_work,
 *   wait_for_completion,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const late = boot().run(function* (t) {
 *   const done = new Completion(t.k, "done");
 *   const work = new DelayedWork((worker) => complete(worker, done));
 *   const start = t.k.tick.jiffies;
 *   yield* schedule_delayed_work(t, work, 5);
 *   yield* wait_for_completion(t, done);
 *   return t.k.tick.jiffies - start;
 * });
 * assert(late >= 5);
 * ```
 */
export class DelayedWork extends Work {
  /** What queues it when the time has come. */
  readonly timer: Timer = new Timer((t) => delayed_work_timer_fn(t, this));
  /** Queue it is meant for, while pending. */
  wq: Workqueue | null = null;
}

/** One CPU's part of a queue. */
class CpuWorkqueue {
  readonly lock: Spinlock;
  // Guarded by lock.
  readonly worklist: ListHead<Work> = new ListHead<Work>();
  current_work: Work | null = null;
  thread: Thread | null = null;

  readonly more_work: WaitQueue;

  constructor(k: Kernel, wq: Workqueue, readonly cpu: number) {
    const line = new CacheLine(k.machine.engine.cpus[cpu].node);
    this.lock = new Spinlock(k, "cwq->lock", line);
    this.more_work = new WaitQueue(k, wq.name, line);
  }
}

/**
 * A queue with a worker on each CPU.
 *
 * Linux: kernel/workqueue.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   create_workqueue,
 *   flush_workqueue,
 *   queue_work,
 *   Work,
 *   Workqueue,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const name = boot().run(function* (t) {
 *   const wq: Workqueue = create_workqueue(t, "my_wq");
 *   const work = new Work(function* (worker) {
 *     assertEquals(worker.name, "my_wq/0");
 *   });
 *   yield* queue_work(t, wq, work);
 *   yield* flush_workqueue(t, wq);
 *   return wq.name;
 * });
 * assertEquals(name, "my_wq");
 * ```
 */
export class Workqueue {
  /**
   * Each CPU's part.
   *
   * @internal
   */
  readonly cpu_wq: PerCpu<CpuWorkqueue>;

  /** A queue without workers; create_workqueue() makes one. */
  constructor(k: Kernel, readonly name: string) {
    this.cpu_wq = new PerCpu(k, (cpu) => new CpuWorkqueue(k, this, cpu));
  }
}

/** Work queues of one kernel. */
export class Workqueues {
  /** What schedule_work() uses. */
  readonly keventd_wq: Workqueue;
  constructor(k: Kernel) {
    this.keventd_wq = new Workqueue(k, "events");
  }
}

/** Brings work queues up. */
export function init_workqueues(t: Thread): void {
  charge(t, 200);
  t.k.workqueues = new Workqueues(t.k);
}

/**
 * Makes a queue called `name`.
 *
 * Linux: kernel/workqueue.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   create_workqueue,
 *   flush_workqueue,
 *   queue_work,
 *   Work,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * let ran = false;
 * boot().run(function* (t) {
 *   const wq = create_workqueue(t, "my_wq");
 *   yield* queue_work(
 *     t,
 *     wq,
 *     new Work(function* () {
 *       ran = true;
 *     }),
 *   );
 *   yield* flush_workqueue(t, wq);
 * });
 * assert(ran);
 * ```
 */
export function create_workqueue(t: Thread, name: string): Workqueue {
  charge(t, 200);
  return new Workqueue(t.k, name);
}

/** test_and_set_bit(WORK_STRUCT_PENDING). @returns Whether it was set. */
function* test_and_set_pending(t: Thread, work: Work): Steps<boolean> {
  charge_cycles(t, t.k.machine.lockedCycles);
  yield* write_line(t, work.line);
  const was = work.pending;
  work.pending = true;
  return was;
}

/**
 * Has a worker of this CPU call `work`'s function.
 *
 * Context: any.
 *
 * Linux: kernel/workqueue.c.
 *
 * @returns Whether it was not queued yet.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   create_workqueue,
 *   flush_workqueue,
 *   msleep,
 *   queue_work,
 *   Work,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const queued = boot().run(function* (t) {
 *   const wq = create_workqueue(t, "my_wq");
 *   const work = new Work((worker) => msleep(worker, 10));
 *   const first = yield* queue_work(t, wq, work);
 *   yield* flush_workqueue(t, wq);
 *   return [first, work.pending];
 * });
 * assertEquals(queued, [true, false]);
 * ```
 */
export function* queue_work(
  t: Thread,
  wq: Workqueue,
  work: Work,
): Steps<boolean> {
  enter(t, QUEUE_WORK);
  charge(t, 16);
  const queued = !(yield* test_and_set_pending(t, work));
  if (queued) {
    const cpu = get_cpu(t);
    yield* __queue_work(t, wq.cpu_wq.get(cpu), work);
    put_cpu(t);
  }
  leave(t);
  return queued;
}

/** {@linkcode queue_work} on CPU number `cpu`, which is online. */
export function* queue_work_on(
  t: Thread,
  cpu: number,
  wq: Workqueue,
  work: Work,
): Steps<boolean> {
  enter(t, QUEUE_WORK);
  charge(t, 16);
  const queued = !(yield* test_and_set_pending(t, work));
  if (queued) yield* __queue_work(t, wq.cpu_wq.get(cpu), work);
  leave(t);
  return queued;
}

function* __queue_work(t: Thread, cwq: CpuWorkqueue, work: Work): Steps {
  const flags = yield* spin_lock_irqsave(t, cwq.lock);
  const thread = cwq.thread;
  insert_work(t, cwq, work);
  yield* wake_up(t, cwq.more_work);
  yield* spin_unlock_irqrestore(t, cwq.lock, flags);
  if (thread === null) yield* start_worker(t, cwq);
}

/** Locks: cwq.lock held. */
function insert_work(t: Thread, cwq: CpuWorkqueue, work: Work): void {
  lockdep_assert_held(t, cwq.lock);
  charge(t, 12);
  touch_write(t, work.line);
  list_add_tail(work.entry, cwq.worklist);
}

/** The first work on this CPU: makes its worker. Two may try; the second finds the first's. */
function* start_worker(t: Thread, cwq: CpuWorkqueue): Steps {
  const name = `${cwq.more_work.name}/${cwq.cpu}`;
  const flags = yield* spin_lock_irqsave(t, cwq.lock);
  if (cwq.thread === null) {
    const p = yield* kthread_create(t, (w) => worker_thread(w, cwq), name);
    kthread_bind(p, cwq.cpu);
    cwq.thread = p;
    yield* wake_up_process(t, p);
  }
  yield* spin_unlock_irqrestore(t, cwq.lock, flags);
}

function* worker_thread(t: Thread, cwq: CpuWorkqueue): Steps<never> {
  enter(t, WORKER_THREAD);
  const wait = new Wait(t);
  for (;;) {
    yield* prepare_to_wait(t, cwq.more_work, wait, TASK_INTERRUPTIBLE);
    charge(t, 10);
    if (list_empty(cwq.worklist)) yield* schedule(t);
    yield* finish_wait(t, cwq.more_work, wait);
    yield* run_workqueue(t, cwq);
  }
}

function* run_workqueue(t: Thread, cwq: CpuWorkqueue): Steps {
  enter(t, RUN_WORKQUEUE);
  yield* spin_lock_irq(t, cwq.lock);
  while (!list_empty(cwq.worklist)) {
    const work = list_first_entry(cwq.worklist);
    charge(t, 20);
    cwq.current_work = work;
    list_del_init(work.entry);
    yield* spin_unlock_irq(t, cwq.lock);
    touch_write(t, work.line);
    work.pending = false; // from here on it can be queued again
    yield* work.func(t, work);
    BUG_ON(
      t,
      t.preempt_count > 0,
      `workqueue ${cwq.more_work.name}: work left preempt_count at ${t.preempt_count}`,
    );
    yield* cond_resched(t);
    yield* spin_lock_irq(t, cwq.lock);
    cwq.current_work = null;
  }
  yield* spin_unlock_irq(t, cwq.lock);
  leave(t);
}

/**
 * Waits until all work queued so far on `wq`, on any CPU, is done.
 *
 * Context: process.
 *
 * Linux: kernel/workqueue.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   create_workqueue,
 *   flush_workqueue,
 *   msleep,
 *   queue_work,
 *   Work,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const log: string[] = [];
 * boot().run(function* (t) {
 *   const wq = create_workqueue(t, "my_wq");
 *   yield* queue_work(
 *     t,
 *     wq,
 *     new Work(function* (worker) {
 *       yield* msleep(worker, 10);
 *       log.push("work");
 *     }),
 *   );
 *   yield* flush_workqueue(t, wq);
 *   log.push("flushed");
 * });
 * assertEquals(log, ["work", "flushed"]);
 * ```
 */
export function* flush_workqueue(t: Thread, wq: Workqueue): Steps {
  enter(t, FLUSH_WORKQUEUE);
  t.k.sanitizers?.mightSleep(t, "flush_workqueue");
  for (const cpu of t.k.cpu_possible.list) {
    charge(t, 6);
    const cwq = wq.cpu_wq.peek(cpu);
    if (cwq !== null && cwq.thread !== null) {
      yield* flush_cpu_workqueue(t, cwq);
    }
  }
  leave(t);
}

function* flush_cpu_workqueue(t: Thread, cwq: CpuWorkqueue): Steps {
  BUG_ON(t, cwq.thread === t, "a worker flushes its own queue");
  const done = new Completion(t.k, "wq_barrier.done");
  yield* spin_lock_irq(t, cwq.lock);
  const busy = !list_empty(cwq.worklist) || cwq.current_work !== null;
  if (busy) {
    const barrier = new Work((w) => complete(w, done));
    barrier.pending = true;
    insert_work(t, cwq, barrier);
    yield* wake_up(t, cwq.more_work);
  }
  yield* spin_unlock_irq(t, cwq.lock);
  if (busy) yield* wait_for_completion(t, done);
}

/**
 * {@linkcode queue_work} on the kernel's own queue.
 *
 * Linux: kernel/workqueue.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   flush_scheduled_work,
 *   schedule_work,
 *   Work,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * let worker = "";
 * boot().run(function* (t) {
 *   const work = new Work(function* (self) {
 *     worker = self.name;
 *   });
 *   yield* schedule_work(t, work);
 *   yield* flush_scheduled_work(t);
 * });
 * assertEquals(worker, "events/0");
 * ```
 */
export function schedule_work(t: Thread, work: Work): Steps<boolean> {
  return queue_work(t, t.k.workqueues.keventd_wq, work);
}

/**
 * {@linkcode flush_workqueue} of the kernel's own queue.
 *
 * Linux: kernel/workqueue.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   flush_scheduled_work,
 *   schedule_work,
 *   Work,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * let done = false;
 * boot().run(function* (t) {
 *   yield* schedule_work(
 *     t,
 *     new Work(function* () {
 *       done = true;
 *     }),
 *   );
 *   yield* flush_scheduled_work(t);
 * });
 * assert(done);
 * ```
 */
export function flush_scheduled_work(t: Thread): Steps {
  return flush_workqueue(t, t.k.workqueues.keventd_wq);
}

/**
 * Queues `work` after `delay` jiffies.
 *
 * Context: any.
 *
 * Linux: kernel/workqueue.c.
 *
 * @returns Whether it was not queued yet.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   create_workqueue,
 *   DelayedWork,
 *   msleep,
 *   queue_delayed_work,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * let ran = false;
 * boot().run(function* (t) {
 *   const wq = create_workqueue(t, "my_wq");
 *   const work = new DelayedWork(function* () {
 *     ran = true;
 *   });
 *   yield* queue_delayed_work(t, wq, work, 2);
 *   yield* msleep(t, 50);
 * });
 * assert(ran);
 * ```
 */
export function* queue_delayed_work(
  t: Thread,
  wq: Workqueue,
  work: DelayedWork,
  delay: number,
): Steps<boolean> {
  return yield* queue_delayed_work_on(t, -1, wq, work, delay);
}

/** {@linkcode queue_delayed_work} on CPU number `cpu`; -1 = this one. */
export function* queue_delayed_work_on(
  t: Thread,
  cpu: number,
  wq: Workqueue,
  work: DelayedWork,
  delay: number,
): Steps<boolean> {
  if (delay === 0 && cpu < 0) return yield* queue_work(t, wq, work);
  charge(t, 20);
  if (yield* test_and_set_pending(t, work)) return false;
  work.wq = wq;
  work.timer.expires = t.k.tick.jiffies + delay;
  if (cpu < 0) yield* add_timer(t, work.timer);
  else yield* add_timer_on(t, work.timer, cpu);
  return true;
}

function* delayed_work_timer_fn(t: Thread, work: DelayedWork): Steps {
  yield* __queue_work(t, work.wq!.cpu_wq.get(t.cpu.id), work);
}

/**
 * {@linkcode queue_delayed_work} on the kernel's own queue.
 *
 * Linux: kernel/workqueue.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   DelayedWork,
 *   msecs_to_jiffies,
 *   msleep,
 *   schedule_delayed_work,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * let ran = 0;
 * boot().run(function* (t) {
 *   const work = new DelayedWork(function* () {
 *     ran++;
 *   });
 *   yield* schedule_delayed_work(t, work, msecs_to_jiffies(t, 10));
 *   yield* msleep(t, 50);
 * });
 * assertEquals(ran, 1);
 * ```
 */
export function schedule_delayed_work(
  t: Thread,
  work: DelayedWork,
  delay: number,
): Steps<boolean> {
  return queue_delayed_work(t, t.k.workqueues.keventd_wq, work, delay);
}

/**
 * Takes back `work` if its time has not come.
 *
 * Linux: include/linux/workqueue.h.
 *
 * @returns Whether it was waiting.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   cancel_delayed_work,
 *   DelayedWork,
 *   msleep,
 *   schedule_delayed_work,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const [cancelled, ran] = boot().run(function* (t) {
 *   let ran = false;
 *   const work = new DelayedWork(function* () {
 *     ran = true;
 *   });
 *   yield* schedule_delayed_work(t, work, 10);
 *   const pending = yield* cancel_delayed_work(t, work);
 *   yield* msleep(t, 100);
 *   return [pending, ran];
 * });
 * assertEquals([cancelled, ran], [true, false]);
 * ```
 */
export function* cancel_delayed_work(
  t: Thread,
  work: DelayedWork,
): Steps<boolean> {
  const waiting = yield* del_timer(t, work.timer);
  if (waiting) work.pending = false;
  return waiting;
}
