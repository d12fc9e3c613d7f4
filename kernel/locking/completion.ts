/**
 * Completions (kernel/sched.c): waiting for something to be done once.
 *
 * Lock order: that of wait queues.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { BUG_ON } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import { list_add_tail, list_del_init, list_empty } from "../lib/list.ts";
import { __wake_up_common, Wait, WaitQueue } from "../sched/wait.ts";
import { schedule } from "../sched/sched.ts";
import { TASK_NORMAL } from "../sched/wakeup.ts";
import {
  in_atomic,
  TASK_RUNNING,
  TASK_UNINTERRUPTIBLE,
  type Thread,
} from "../thread.ts";
import { schedule_timeout } from "../timer.ts";
import {
  spin_lock_irq,
  spin_lock_irqsave,
  spin_unlock_irq,
  spin_unlock_irqrestore,
} from "./spinlock.ts";

const WAIT_FOR_COMPLETION = ksym("wait_for_completion");
const COMPLETE = ksym("complete");

/** Done more often than anybody can wait: complete_all(). */
const UINT_MAX_HALF = 0x7fffffff;

/**
 * Something that will be done. Made anew, it is not done: `init_completion()`.
 *
 * Linux: include/linux/completion.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   complete,
 *   Completion,
 *   kthread_run,
 *   wait_for_completion,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const got = boot().run(function* (t) {
 *   const ready = new Completion(t.k, "ready");
 *   let value = 0;
 *   yield* kthread_run(t, function* (self) {
 *     value = 42;
 *     yield* complete(self, ready);
 *   }, "producer");
 *   yield* wait_for_completion(t, ready);
 *   return value;
 * });
 * assertEquals(got, 42);
 * ```
 */
export class Completion {
  /** Who waits; its lock guards `done`. */
  readonly wait: WaitQueue;
  /** How many waits are satisfied. Guarded by wait.lock. */
  done = 0;

  /** A completion that is not done. `name` is for reports. */
  constructor(k: Kernel, readonly name: string) {
    this.wait = new WaitQueue(k, name);
  }
}

/**
 * Makes `x` not done again.
 *
 * Linux: include/linux/completion.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   complete_all,
 *   Completion,
 *   completion_done,
 *   init_completion,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const done = boot().run(function* (t) {
 *   const x = new Completion(t.k, "x");
 *   yield* complete_all(t, x);
 *   init_completion(x);
 *   return completion_done(x);
 * });
 * assertEquals(done, false);
 * ```
 */
export function init_completion(x: Completion): void {
  x.done = 0;
}

/**
 * Waits until `x` is done.
 *
 * Context: process.
 *
 * Linux: kernel/sched.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   complete,
 *   Completion,
 *   kthread_run,
 *   wait_for_completion,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const x = new Completion(t.k, "x");
 *   yield* kthread_run(t, (self) => complete(self, x), "completer");
 *   yield* wait_for_completion(t, x);
 *   assertEquals(x.done, 0); // this wait has used it up
 * });
 * ```
 */
export function* wait_for_completion(t: Thread, x: Completion): Steps {
  yield* wait_for_completion_timeout(t, x, Infinity);
}

/**
 * Waits for `timeout` jiffies at most.
 *
 * Linux: kernel/sched.c.
 *
 * @returns Jiffies left, at least 1; 0 = not done.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   Completion,
 *   wait_for_completion_timeout,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const left = boot().run(function* (t) {
 *   const never = new Completion(t.k, "never");
 *   return yield* wait_for_completion_timeout(t, never, 3);
 * });
 * assertEquals(left, 0);
 * ```
 */
export function* wait_for_completion_timeout(
  t: Thread,
  x: Completion,
  timeout: number,
): Steps<number> {
  enter(t, WAIT_FOR_COMPLETION);
  t.k.sanitizers?.mightSleep(t, "wait_for_completion");
  BUG_ON(t, in_atomic(t), "sleeping function called from invalid context");
  charge(t, 16);
  let left = timeout;
  yield* spin_lock_irq(t, x.wait.lock);
  if (x.done === 0) left = yield* wait_for_done(t, x, timeout);
  if (x.done > 0) {
    if (x.done < UINT_MAX_HALF) x.done--;
    left = Math.max(1, left);
  }
  yield* spin_unlock_irq(t, x.wait.lock);
  leave(t);
  return left;
}

/** Locks: x.wait.lock held, and held again when it returns. */
function* wait_for_done(
  t: Thread,
  x: Completion,
  timeout: number,
): Steps<number> {
  let left = timeout;
  const wait = new Wait(t);
  wait.exclusive = true;
  list_add_tail(wait.task_list, x.wait.task_list);
  t.wchan = x.name;
  do {
    // The waker takes us off; a wake-up from elsewhere leaves us on.
    if (list_empty(wait.task_list)) {
      list_add_tail(wait.task_list, x.wait.task_list);
    }
    t.state = TASK_UNINTERRUPTIBLE;
    yield* spin_unlock_irq(t, x.wait.lock);
    if (left === Infinity) yield* schedule(t);
    else left = yield* schedule_timeout(t, left);
    yield* spin_lock_irq(t, x.wait.lock);
  } while (x.done === 0 && left > 0);
  t.state = TASK_RUNNING;
  t.wchan = null;
  list_del_init(wait.task_list);
  return left;
}

/**
 * Satisfies one wait.
 *
 * Context: any. Locks: x.wait.lock, in it a runqueue's.
 *
 * Linux: kernel/sched.c.
 *
 * @example
 * ```ts
 * import { boot, complete, Completion } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const done = boot().run(function* (t) {
 *   const x = new Completion(t.k, "x");
 *   yield* complete(t, x);
 *   yield* complete(t, x);
 *   return x.done;
 * });
 * assertEquals(done, 2); // two may pass
 * ```
 */
export function* complete(t: Thread, x: Completion): Steps {
  enter(t, COMPLETE);
  charge(t, 10);
  const flags = yield* spin_lock_irqsave(t, x.wait.lock);
  if (x.done < UINT_MAX_HALF) x.done++;
  yield* __wake_up_common(t, x.wait, TASK_NORMAL, 1);
  yield* spin_unlock_irqrestore(t, x.wait.lock, flags);
  leave(t);
}

/**
 * Satisfies all waits, for ever.
 *
 * Context: any.
 *
 * Linux: kernel/sched.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   complete_all,
 *   Completion,
 *   completion_done,
 *   wait_for_completion,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const x = new Completion(t.k, "x");
 *   yield* complete_all(t, x);
 *   for (let i = 0; i < 3; i++) yield* wait_for_completion(t, x);
 *   assert(completion_done(x));
 * });
 * ```
 */
export function* complete_all(t: Thread, x: Completion): Steps {
  enter(t, COMPLETE);
  charge(t, 10);
  const flags = yield* spin_lock_irqsave(t, x.wait.lock);
  x.done = UINT_MAX_HALF;
  yield* __wake_up_common(t, x.wait, TASK_NORMAL, 0);
  yield* spin_unlock_irqrestore(t, x.wait.lock, flags);
  leave(t);
}

/**
 * Whether nobody need wait: an unlocked look.
 *
 * Linux: kernel/sched.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   complete,
 *   Completion,
 *   completion_done,
 * } from "@vmaplab/vmaplab";
 * import { assert, assertFalse } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const x = new Completion(t.k, "x");
 *   assertFalse(completion_done(x));
 *   yield* complete(t, x);
 *   assert(completion_done(x));
 * });
 * ```
 */
export function completion_done(x: Completion): boolean {
  return x.done > 0;
}
