/**
 * Counting semaphores (kernel/semaphore.c of 2.6.28): a count under a spinlock,
 * interrupts off; who finds it 0 sleeps, first come, first served. up() hands
 * over: it lets the first waiter in instead of raising the count, so nobody
 * overtakes. Any thread may call it, and handlers too.
 *
 * Lock order:
 *
 *     Semaphore.lock
 *       Runqueue.lock
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
import type { CacheLine } from "../../arch/hw/line.ts";
import { BUG_ON } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import {
  list_add_tail,
  list_del_init,
  list_empty,
  list_first_entry,
  ListHead,
} from "../lib/list.ts";
import { schedule } from "../sched/sched.ts";
import { wake_up_process } from "../sched/wakeup.ts";
import {
  in_atomic,
  TASK_RUNNING,
  TASK_UNINTERRUPTIBLE,
  type Thread,
} from "../thread.ts";
import {
  lockdep_assert_held,
  spin_lock,
  spin_lock_irq,
  spin_unlock,
  spin_unlock_irq,
  Spinlock,
} from "./spinlock.ts";

const DOWN = ksym("down");
const __DOWN = ksym("__down");
const DOWN_TRYLOCK = ksym("down_trylock");
const UP = ksym("up");
const __UP = ksym("__up");

/** Somebody who waits; on its stack in Linux. */
class SemaphoreWaiter {
  readonly list: ListHead<SemaphoreWaiter> = new ListHead<SemaphoreWaiter>(
    this,
  );
  /** It has been let in. Guarded by the semaphore's lock. */
  up = false;

  constructor(readonly task: Thread) {}
}

/** One semaphore. */
export class Semaphore {
  readonly lock: Spinlock;
  // Guarded by lock.
  /** How many may still come in. */
  count: number;
  readonly wait_list: ListHead<SemaphoreWaiter> = new ListHead<
    SemaphoreWaiter
  >();

  /** A semaphore that lets `count` in. `name` is its class. */
  constructor(
    k: Kernel,
    readonly name: string,
    count: number,
    line?: CacheLine,
  ) {
    this.lock = new Spinlock(k, name, line);
    this.count = count;
  }
}

/** Makes `sem`, which nobody waits for, let `count` in. */
export function sema_init(t: Thread, sem: Semaphore, count: number): void {
  BUG_ON(t, !list_empty(sem.wait_list), `${sem.name}: somebody waits for it`);
  charge(t, 4);
  sem.count = count;
}

/**
 * Comes in, sleeping until it is let.
 *
 * Context: process.
 *
 * Linux: kernel/semaphore.c.
 */
export function* down(t: Thread, sem: Semaphore): Steps {
  enter(t, DOWN);
  t.k.sanitizers?.mightSleep(t, "down");
  BUG_ON(
    t,
    in_atomic(t),
    `${sem.name}: sleeping function called from invalid context`,
  );
  charge(t, 6);
  const flags = local_irq_save(t);
  yield* spin_lock(t, sem.lock);
  if (sem.count > 0) sem.count--;
  else yield* __down(t, sem);
  yield* spin_unlock(t, sem.lock);
  local_irq_restore(t, flags);
  leave(t);
}

/** Locks: sem.lock held, on return too; free while it sleeps. */
function* __down(t: Thread, sem: Semaphore): Steps {
  enter(t, __DOWN);
  lockdep_assert_held(t, sem.lock);
  charge(t, 30);
  const waiter = new SemaphoreWaiter(t);
  list_add_tail(waiter.list, sem.wait_list);
  do {
    t.wchan = sem.name;
    t.state = TASK_UNINTERRUPTIBLE;
    yield* spin_unlock_irq(t, sem.lock);
    yield* schedule(t);
    yield* spin_lock_irq(t, sem.lock);
  } while (!waiter.up);
  t.state = TASK_RUNNING;
  t.wchan = null;
  leave(t);
}

/**
 * Comes in if that needs no sleep.
 *
 * Context: any.
 *
 * Linux: kernel/semaphore.c.
 *
 * @returns 0 if it did, 1 if not: the other way round than spin_trylock().
 */
export function* down_trylock(t: Thread, sem: Semaphore): Steps<0 | 1> {
  enter(t, DOWN_TRYLOCK);
  charge(t, 6);
  const flags = local_irq_save(t);
  yield* spin_lock(t, sem.lock);
  const failed = sem.count > 0 ? 0 : 1;
  if (failed === 0) sem.count--;
  yield* spin_unlock(t, sem.lock);
  local_irq_restore(t, flags);
  leave(t);
  return failed;
}

/**
 * Goes out: lets the first waiter in, or the next who comes.
 *
 * Context: any.
 *
 * Linux: kernel/semaphore.c.
 */
export function* up(t: Thread, sem: Semaphore): Steps {
  enter(t, UP);
  charge(t, 6);
  const flags = local_irq_save(t);
  yield* spin_lock(t, sem.lock);
  if (list_empty(sem.wait_list)) sem.count++;
  else yield* __up(t, sem);
  yield* spin_unlock(t, sem.lock);
  local_irq_restore(t, flags);
  leave(t);
}

/** Locks: sem.lock held. */
function* __up(t: Thread, sem: Semaphore): Steps {
  enter(t, __UP);
  lockdep_assert_held(t, sem.lock);
  charge(t, 10);
  const waiter = list_first_entry(sem.wait_list);
  list_del_init(waiter.list);
  waiter.up = true;
  yield* wake_up_process(t, waiter.task);
  leave(t);
}
