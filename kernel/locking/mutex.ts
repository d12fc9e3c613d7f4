/**
 * Sleeping locks (kernel/mutex.c of 2.6.28): a count that is 1 when free, 0
 * when held, below when somebody may wait; waiters sleep in order of arrival.
 * Nobody spins for a running owner (that came in 2.6.30), and a release hands
 * nothing over: it wakes the first waiter, who tries again.
 *
 * Lock order:
 *
 *     Mutex
 *       Mutex.wait_lock
 *         Runqueue.lock
 */
import {
  atomic_add_return,
  charge,
  cmpxchg,
  enter,
  ksym,
  leave,
  type Steps,
  WRITE_ONCE,
  xchg,
} from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import { CacheLine } from "../../arch/hw/line.ts";
import { BUG, BUG_ON } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import {
  list_add_tail,
  list_del_init,
  list_empty,
  list_first_entry,
  ListHead,
} from "../lib/list.ts";
import { Wait } from "../sched/wait.ts";
import { schedule } from "../sched/sched.ts";
import { wake_up_process } from "../sched/wakeup.ts";
import {
  in_atomic,
  TASK_RUNNING,
  TASK_UNINTERRUPTIBLE,
  type Thread,
} from "../thread.ts";
import { LockMode } from "../sanitizers/sanitizer.ts";
import { LockOwner } from "./lock_stat.ts";
import { spin_lock, spin_unlock, Spinlock } from "./spinlock.ts";

const MUTEX_LOCK = ksym("mutex_lock");
const MUTEX_UNLOCK = ksym("mutex_unlock");
const MUTEX_TRYLOCK = ksym("mutex_trylock");
const __MUTEX_LOCK_SLOWPATH = ksym("__mutex_lock_slowpath");
const __MUTEX_UNLOCK_SLOWPATH = ksym("__mutex_unlock_slowpath");

/**
 * One mutex. Its fields share a line.
 *
 * Linux: include/linux/mutex.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   kthread_join,
 *   kthread_run,
 *   msleep,
 *   Mutex,
 *   mutex_lock,
 *   mutex_unlock,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const log: string[] = [];
 * boot().run(function* (t) {
 *   const lock = new Mutex(t.k, "my_mutex");
 *   yield* mutex_lock(t, lock);
 *   const p = yield* kthread_run(t, function* (self) {
 *     yield* mutex_lock(self, lock); // sleeps until pid 1 lets go
 *     log.push("thread");
 *     yield* mutex_unlock(self, lock);
 *   }, "contender");
 *   yield* msleep(t, 10);
 *   log.push("pid 1");
 *   yield* mutex_unlock(t, lock);
 *   yield* kthread_join(t, p);
 * });
 * assertEquals(log, ["pid 1", "thread"]);
 * ```
 */
export class Mutex extends LockOwner {
  /** 1 = free, 0 = held, below = held and somebody may wait. */
  readonly count: Cell<number>;
  /** Guards the list of waiters. */
  readonly wait_lock: Spinlock;
  /** First come, first woken. Guarded by wait_lock. */
  readonly wait_list: ListHead<Wait> = new ListHead<Wait>();

  /** A free mutex. `name` is its class; `line` may be shared with the data it guards. */
  constructor(k: Kernel, readonly name: string, line?: CacheLine) {
    super(k.lockStats.get(name), LockMode.SLEEP);
    const shared = line ?? new CacheLine(0);
    this.count = new Cell(name, 1, shared);
    this.count.holder = this;
    this.wait_lock = new Spinlock(k, `${name}.wait_lock`, shared);
  }
}

/**
 * Takes `lock`, sleeping while somebody else has it.
 *
 * Context: process.
 *
 * Linux: kernel/mutex.c.
 *
 * @example
 * ```ts
 * import { boot, KernelBug, Mutex, mutex_lock } from "@vmaplab/vmaplab";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(
 *   () =>
 *     boot().run(function* (t) {
 *       const lock = new Mutex(t.k, "my_mutex");
 *       yield* mutex_lock(t, lock);
 *       yield* mutex_lock(t, lock); // it is ours already
 *     }),
 *   KernelBug,
 *   "mutex recursion on my_mutex",
 * );
 * ```
 */
export function* mutex_lock(t: Thread, lock: Mutex): Steps {
  enter(t, MUTEX_LOCK);
  t.k.sanitizers?.mightSleep(t, "mutex_lock");
  t.k.sanitizers?.lockAsked(t, lock, lock.mode);
  BUG_ON(
    t,
    in_atomic(t),
    `${lock.name}: sleeping function called from invalid context`,
  );
  BUG_ON(t, lock.owner === t, `mutex recursion on ${lock.name}`);
  charge(t, 8);
  const since = t.cpu.clock;
  const left = yield* atomic_add_return(t, lock.count, -1);
  if (left < 0) yield* mutex_lock_slowpath(t, lock);

  lock.acquired(t, since, left < 0);
  leave(t);
}

function* mutex_lock_slowpath(t: Thread, lock: Mutex): Steps {
  enter(t, __MUTEX_LOCK_SLOWPATH);
  charge(t, 30);
  yield* spin_lock(t, lock.wait_lock);
  const wait = new Wait(t);
  list_add_tail(wait.task_list, lock.wait_list);
  // -1 says that there are waiters, and takes the mutex if it was 1.
  while ((yield* xchg(t, lock.count, -1)) !== 1) {
    t.wchan = lock.name;
    t.state = TASK_UNINTERRUPTIBLE;
    yield* spin_unlock(t, lock.wait_lock);
    yield* schedule(t);
    yield* spin_lock(t, lock.wait_lock);
  }
  t.state = TASK_RUNNING;
  t.wchan = null;
  list_del_init(wait.task_list);
  if (list_empty(lock.wait_list)) yield* WRITE_ONCE(t, lock.count, 0);
  yield* spin_unlock(t, lock.wait_lock);
  leave(t);
}

/**
 * Takes `lock` if it is free.
 *
 * Linux: kernel/mutex.c.
 *
 * @returns Whether this thread holds it now.
 *
 * @example
 * ```ts
 * import { boot, Mutex, mutex_trylock } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const got = boot().run(function* (t) {
 *   const lock = new Mutex(t.k, "my_mutex");
 *   return [yield* mutex_trylock(t, lock), yield* mutex_trylock(t, lock)];
 * });
 * assertEquals(got, [true, false]);
 * ```
 */
export function* mutex_trylock(t: Thread, lock: Mutex): Steps<boolean> {
  enter(t, MUTEX_TRYLOCK);
  charge(t, 8);
  const since = t.cpu.clock;
  const free = (yield* cmpxchg(t, lock.count, 1, 0)) === 1;
  if (free) lock.acquired(t, since, false, true);
  leave(t);
  return free;
}

/**
 * Gives `lock` up. Only its owner may.
 *
 * Context: process.
 *
 * Linux: kernel/mutex.c.
 *
 * @example
 * ```ts
 * import { boot, KernelBug, Mutex, mutex_unlock } from "@vmaplab/vmaplab";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(
 *   () =>
 *     boot().run(function* (t) {
 *       yield* mutex_unlock(t, new Mutex(t.k, "my_mutex"));
 *     }),
 *   KernelBug,
 *   "mutex wrong owner on my_mutex",
 * );
 * ```
 */
export function* mutex_unlock(t: Thread, lock: Mutex): Steps {
  enter(t, MUTEX_UNLOCK);
  if (lock.owner !== t) {
    t.k.sanitizers?.lockStranger(t, lock, lock.mode);
    BUG(t, `mutex wrong owner on ${lock.name}`);
  }
  charge(t, 6);
  lock.released(t);
  if ((yield* atomic_add_return(t, lock.count, 1)) <= 0) {
    yield* mutex_unlock_slowpath(t, lock);
  }
  leave(t);
}

function* mutex_unlock_slowpath(t: Thread, lock: Mutex): Steps {
  enter(t, __MUTEX_UNLOCK_SLOWPATH);
  charge(t, 20);
  yield* spin_lock(t, lock.wait_lock);
  yield* WRITE_ONCE(t, lock.count, 1);
  if (!list_empty(lock.wait_list)) {
    yield* wake_up_process(t, list_first_entry(lock.wait_list).task);
  }
  yield* spin_unlock(t, lock.wait_lock);
  leave(t);
}

/**
 * Whether anybody holds `lock`: a debugging look that costs nothing.
 *
 * Linux: include/linux/mutex.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   Mutex,
 *   mutex_is_locked,
 *   mutex_lock,
 *   mutex_unlock,
 * } from "@vmaplab/vmaplab";
 * import { assert, assertFalse } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const lock = new Mutex(t.k, "my_mutex");
 *   yield* mutex_lock(t, lock);
 *   assert(mutex_is_locked(lock));
 *   yield* mutex_unlock(t, lock);
 *   assertFalse(mutex_is_locked(lock));
 * });
 * ```
 */
export function mutex_is_locked(lock: Mutex): boolean {
  return lock.owner !== null;
}
