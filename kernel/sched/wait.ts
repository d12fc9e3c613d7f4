/**
 * Wait queues (kernel/wait.c, include/linux/wait.h).
 *
 *     const wait = new Wait(t);
 *     for (;;) {
 *       yield* prepare_to_wait(t, wq, wait, TASK_UNINTERRUPTIBLE);
 *       if (condition) break;
 *       yield* schedule(t);
 *     }
 *     yield* finish_wait(t, wq, wait);
 *
 * Lock order:
 *
 *     WaitQueue.lock
 *       Runqueue.lock
 *
 * Differs from Linux: entries have no wake functions of their own; all are
 * taken off by the wake-up (autoremove_wake_function()). No signals.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import type { CacheLine } from "../../arch/hw/line.ts";
import {
  list_add,
  list_add_tail,
  list_del_init,
  list_empty,
  list_entry,
  ListHead,
} from "../lib/list.ts";
import type { Kernel } from "../kernel.ts";
import {
  spin_lock_irqsave,
  spin_unlock_irqrestore,
  Spinlock,
} from "../locking/spinlock.ts";
import { TASK_RUNNING, TASK_UNINTERRUPTIBLE, type Thread } from "../thread.ts";
import { schedule_timeout } from "../timer.ts";
import { schedule } from "./sched.ts";
import { TASK_NORMAL, try_to_wake_up } from "./wakeup.ts";

const __WAKE_UP = ksym("__wake_up");
const PREPARE_TO_WAIT = ksym("prepare_to_wait");
const FINISH_WAIT = ksym("finish_wait");

/**
 * One thread's place on a wait queue: `wait_queue_t`.
 *
 * Linux: include/linux/wait.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   finish_wait,
 *   kthread_run,
 *   prepare_to_wait,
 *   schedule,
 *   TASK_RUNNING,
 *   TASK_UNINTERRUPTIBLE,
 *   Wait,
 *   WaitQueue,
 *   wake_up,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const wq = new WaitQueue(t.k, "my_queue");
 *   const wait = new Wait(t);
 *   yield* kthread_run(t, (self) => wake_up(self, wq), "waker");
 *   yield* prepare_to_wait(t, wq, wait, TASK_UNINTERRUPTIBLE);
 *   yield* schedule(t);
 *   yield* finish_wait(t, wq, wait);
 *   assertEquals(t.state, TASK_RUNNING);
 * });
 * ```
 */
export class Wait {
  /** Its link in the queue; empty = not queued. */
  readonly task_list: ListHead<Wait>;
  /** Woken one at a time (WQ_FLAG_EXCLUSIVE). */
  exclusive = false;

  /** A place for `task`, on no queue. */
  constructor(readonly task: Thread) {
    this.task_list = new ListHead<Wait>(this);
  }
}

/**
 * Threads that wait for something: `wait_queue_head_t`.
 *
 * Linux: include/linux/wait.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   kthread_run,
 *   wait_event,
 *   WaitQueue,
 *   wake_up,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const got = boot().run(function* (t) {
 *   const wq = new WaitQueue(t.k, "my_queue");
 *   let ready = false;
 *   yield* kthread_run(t, function* (self) {
 *     ready = true;
 *     yield* wake_up(self, wq);
 *   }, "waker");
 *   yield* wait_event(t, wq, () => ready);
 *   return ready;
 * });
 * assert(got);
 * ```
 */
export class WaitQueue {
  /** Guards the list. */
  readonly lock: Spinlock;
  /** Guarded by lock. Exclusive waiters come last. */
  readonly task_list: ListHead<Wait> = new ListHead<Wait>();

  /** An empty queue. `name` is for reports and lock statistics. */
  constructor(k: Kernel, readonly name: string, line?: CacheLine) {
    this.lock = new Spinlock(k, `${name}.lock`, line);
  }
}

/** Whether anybody waits: an unlocked look. */
export function waitqueue_active(wq: WaitQueue): boolean {
  return !list_empty(wq.task_list);
}

/**
 * Queues `wait` and says that its thread is about to sleep.
 *
 * Linux: kernel/wait.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   finish_wait,
 *   kthread_run,
 *   prepare_to_wait,
 *   schedule,
 *   TASK_RUNNING,
 *   TASK_UNINTERRUPTIBLE,
 *   Wait,
 *   WaitQueue,
 *   wake_up,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const wq = new WaitQueue(t.k, "my_queue");
 *   let ready = false;
 *   yield* kthread_run(t, function* (self) {
 *     ready = true;
 *     yield* wake_up(self, wq);
 *   }, "waker");
 *   const wait = new Wait(t);
 *   while (!ready) {
 *     yield* prepare_to_wait(t, wq, wait, TASK_UNINTERRUPTIBLE);
 *     if (!ready) yield* schedule(t); // queued before the last look
 *   }
 *   yield* finish_wait(t, wq, wait);
 *   assertEquals(t.state, TASK_RUNNING);
 * });
 * ```
 */
export function prepare_to_wait(
  t: Thread,
  wq: WaitQueue,
  wait: Wait,
  state: number,
): Steps {
  wait.exclusive = false;
  return queue_up(t, wq, wait, state);
}

/** {@linkcode prepare_to_wait} at the end of the queue, to be woken one at a time. */
export function prepare_to_wait_exclusive(
  t: Thread,
  wq: WaitQueue,
  wait: Wait,
  state: number,
): Steps {
  wait.exclusive = true;
  return queue_up(t, wq, wait, state);
}

/** Puts `wait` on its queue if it is not there: exclusive ones at the end. */
function* queue_up(
  t: Thread,
  wq: WaitQueue,
  wait: Wait,
  state: number,
): Steps {
  enter(t, PREPARE_TO_WAIT);
  charge(t, 14);
  const flags = yield* spin_lock_irqsave(t, wq.lock);
  if (list_empty(wait.task_list)) {
    if (wait.exclusive) list_add_tail(wait.task_list, wq.task_list);
    else list_add(wait.task_list, wq.task_list);
  }
  t.state = state;
  t.wchan = wq.name;
  yield* spin_unlock_irqrestore(t, wq.lock, flags);
  leave(t);
}

/**
 * Ends the wait: runnable, and on the queue no more.
 *
 * Linux: kernel/wait.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   finish_wait,
 *   prepare_to_wait,
 *   TASK_RUNNING,
 *   TASK_UNINTERRUPTIBLE,
 *   Wait,
 *   WaitQueue,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const wq = new WaitQueue(t.k, "my_queue");
 *   const wait = new Wait(t);
 *   yield* prepare_to_wait(t, wq, wait, TASK_UNINTERRUPTIBLE);
 *   yield* finish_wait(t, wq, wait); // it need not sleep after all
 *   assertEquals(t.state, TASK_RUNNING);
 * });
 * ```
 */
export function* finish_wait(t: Thread, wq: WaitQueue, wait: Wait): Steps {
  enter(t, FINISH_WAIT);
  charge(t, 10);
  t.state = TASK_RUNNING;
  t.wchan = null;
  // Unlocked, as in Linux: the waker has taken it off, or nobody has.
  if (!list_empty(wait.task_list)) {
    const flags = yield* spin_lock_irqsave(t, wq.lock);
    list_del_init(wait.task_list);
    yield* spin_unlock_irqrestore(t, wq.lock, flags);
  }
  leave(t);
}

/**
 * Wakes waiters whose state is in `mode`: all that are not exclusive, and
 * `nr_exclusive` that are; 0 = all of those too.
 *
 * Context: any. Locks: wq.lock, in it the runqueues'.
 */
export function* __wake_up(
  t: Thread,
  wq: WaitQueue,
  mode: number,
  nr_exclusive: number,
): Steps {
  enter(t, __WAKE_UP);
  charge(t, 12);
  const flags = yield* spin_lock_irqsave(t, wq.lock);
  yield* __wake_up_common(t, wq, mode, nr_exclusive);
  yield* spin_unlock_irqrestore(t, wq.lock, flags);
  leave(t);
}

/** {@linkcode __wake_up} for who holds wq.lock. */
export function* __wake_up_common(
  t: Thread,
  wq: WaitQueue,
  mode: number,
  nr_exclusive: number,
): Steps {
  let left = nr_exclusive;
  const head = wq.task_list;
  for (let p = head.next, next; p !== head; p = next) {
    next = p.next;
    const wait = list_entry(p);
    charge(t, 10);
    const exclusive = wait.exclusive;
    if (yield* try_to_wake_up(t, wait.task, mode)) {
      list_del_init(p);
      if (exclusive && --left === 0) break;
    }
  }
}

/**
 * Wakes everybody, but of the exclusive waiters one.
 *
 * Context: any.
 *
 * Linux: kernel/sched.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   kthread_join,
 *   kthread_run,
 *   msleep,
 *   wait_event,
 *   WaitQueue,
 *   wake_up,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const asleep = boot().run(function* (t) {
 *   const wq = new WaitQueue(t.k, "my_queue");
 *   let open = false;
 *   const p = yield* kthread_run(
 *     t,
 *     (self) => wait_event(self, wq, () => open),
 *     "waiter",
 *   );
 *   yield* msleep(t, 10);
 *   open = true;
 *   yield* wake_up(t, wq);
 *   yield* kthread_join(t, p);
 *   return p.wchan;
 * });
 * assertEquals(asleep, null);
 * ```
 */
export function wake_up(t: Thread, wq: WaitQueue): Steps {
  return __wake_up(t, wq, TASK_NORMAL, 1);
}

/**
 * Wakes everybody.
 *
 * Context: any.
 *
 * Linux: kernel/sched.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   kthread_join,
 *   kthread_run,
 *   msleep,
 *   Thread,
 *   wait_event,
 *   WaitQueue,
 *   wake_up_all,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const woken = boot().run(function* (t) {
 *   const wq = new WaitQueue(t.k, "my_queue");
 *   let open = false;
 *   let n = 0;
 *   const threads: Thread[] = [];
 *   for (let i = 0; i < 3; i++) {
 *     threads.push(
 *       yield* kthread_run(t, function* (self) {
 *         yield* wait_event(self, wq, () => open);
 *         n++;
 *       }, `waiter/${i}`),
 *     );
 *   }
 *   yield* msleep(t, 10);
 *   open = true;
 *   yield* wake_up_all(t, wq);
 *   for (const p of threads) yield* kthread_join(t, p);
 *   return n;
 * });
 * assertEquals(woken, 3);
 * ```
 */
export function wake_up_all(t: Thread, wq: WaitQueue): Steps {
  return __wake_up(t, wq, TASK_NORMAL, 0);
}

/**
 * Sleeps until `condition()` holds; it is looked at after each wake-up.
 *
 * Context: process.
 *
 * Linux: include/linux/wait.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   kthread_run,
 *   wait_event,
 *   WaitQueue,
 *   wake_up,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const wq = new WaitQueue(t.k, "my_queue");
 *   let items = 0;
 *   yield* kthread_run(t, function* (self) {
 *     items = 2;
 *     yield* wake_up(self, wq);
 *   }, "producer");
 *   yield* wait_event(t, wq, () => items > 0);
 *   assertEquals(items, 2);
 * });
 * ```
 */
export function* wait_event(
  t: Thread,
  wq: WaitQueue,
  condition: () => boolean,
  state: number = TASK_UNINTERRUPTIBLE,
): Steps {
  charge(t, 4);
  if (condition()) return;
  const wait = new Wait(t);
  for (;;) {
    yield* prepare_to_wait(t, wq, wait, state);
    charge(t, 4);
    if (condition()) break;
    yield* schedule(t);
  }
  yield* finish_wait(t, wq, wait);
}

/**
 * {@linkcode wait_event} for `timeout` jiffies at most.
 *
 * Linux: include/linux/wait.h.
 *
 * @returns Jiffies left; 0 = timed out.
 *
 * @example
 * ```ts
 * import { boot, wait_event_timeout, WaitQueue } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const left = boot().run(function* (t) {
 *   const wq = new WaitQueue(t.k, "my_queue");
 *   return yield* wait_event_timeout(t, wq, () => false, 3);
 * });
 * assertEquals(left, 0);
 * ```
 */
export function* wait_event_timeout(
  t: Thread,
  wq: WaitQueue,
  condition: () => boolean,
  timeout: number,
): Steps<number> {
  charge(t, 4);
  if (condition()) return Math.max(1, timeout);
  const wait = new Wait(t);
  let left = timeout;
  for (;;) {
    yield* prepare_to_wait(t, wq, wait, TASK_UNINTERRUPTIBLE);
    charge(t, 4);
    if (condition()) {
      left = Math.max(1, left);
      break;
    }
    if (left === 0) break;
    left = yield* schedule_timeout(t, left);
  }
  yield* finish_wait(t, wq, wait);
  return left;
}
