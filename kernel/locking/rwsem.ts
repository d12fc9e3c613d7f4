/**
 * Sleeping reader-writer locks (lib/rwsem.c of 2.6.28, with the counter of
 * arch/x86/include/asm/rwsem.h; ia64's is twice as wide): first come, first
 * served; readers that wait side by side are let in together.
 *
 * Lock order:
 *
 *     RwSemaphore
 *       RwSemaphore.wait_lock
 *         Runqueue.lock
 *
 * The counter's low half counts those inside, and those on their way in; each
 * waiter, and a writer inside, takes 0x10000 off it, so that it is negative when
 * somebody must wait. Who is let in is counted by who lets him in.
 */
import {
  atomic_add_return,
  charge,
  cmpxchg,
  enter,
  ksym,
  leave,
  READ_ONCE,
  type Steps,
} from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import { CacheLine } from "../../arch/hw/line.ts";
import { BUG, BUG_ON } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import {
  list_add_tail,
  list_del_init,
  list_empty,
  list_entry,
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
import { LockMode } from "../sanitizers/sanitizer.ts";
import { LockOwner } from "./lock_stat.ts";
import {
  spin_lock_irqsave,
  spin_unlock_irqrestore,
  Spinlock,
} from "./spinlock.ts";

const DOWN_READ = ksym("down_read");
const DOWN_READ_TRYLOCK = ksym("down_read_trylock");
const UP_READ = ksym("up_read");
const DOWN_WRITE = ksym("down_write");
const DOWN_WRITE_TRYLOCK = ksym("down_write_trylock");
const UP_WRITE = ksym("up_write");
const RWSEM_DOWN_READ_FAILED = ksym("rwsem_down_read_failed");
const RWSEM_DOWN_WRITE_FAILED = ksym("rwsem_down_write_failed");
const RWSEM_WAKE = ksym("rwsem_wake");

const ACTIVE_BIAS = 1;
const ACTIVE_MASK = 0xffff;
const WAITING_BIAS = -0x10000;
const ACTIVE_WRITE_BIAS = WAITING_BIAS + ACTIVE_BIAS;

/** Somebody who waits. */
class RwsemWaiter {
  readonly list: ListHead<RwsemWaiter> = new ListHead<RwsemWaiter>(this);
  /** It has been let in. Written under wait_lock. */
  granted = false;

  constructor(readonly task: Thread, readonly write: boolean) {}
}

/** One reader-writer semaphore. Its fields share a line. `owner` is its writer. */
export class RwSemaphore extends LockOwner {
  /** See the file's head. */
  readonly count: Cell<number>;
  /** Guards the list of waiters. */
  readonly wait_lock: Spinlock;
  /** First come, first served. Guarded by wait_lock. */
  readonly wait_list: ListHead<RwsemWaiter> = new ListHead<RwsemWaiter>();
  /** Readers inside, for checks. */
  readers = 0;

  /** A free one. `name` is its class; `line` may be shared with the data it guards. */
  constructor(k: Kernel, readonly name: string, line?: CacheLine) {
    super(k.lockStats.get(name), LockMode.SLEEP);
    const shared = line ?? new CacheLine(0);
    this.count = new Cell(name, 0, shared);
    this.count.holder = this;
    this.wait_lock = new Spinlock(k, `${name}.wait_lock`, shared);
  }
}

/** Whether anybody is inside: a debugging look that costs nothing. */
export function rwsem_is_locked(sem: RwSemaphore): boolean {
  return sem.owner !== null || sem.readers > 0;
}

/** Lets `t` in for reading; sleeps while a writer is inside or was there first. Context: process. */
export function* down_read(t: Thread, sem: RwSemaphore): Steps {
  enter(t, DOWN_READ);
  may_sleep(t, sem, LockMode.SLEEP_READ);
  charge(t, 6);
  const since = t.cpu.clock;
  const count = yield* atomic_add_return(t, sem.count, ACTIVE_BIAS);
  if (count < 0) {
    enter(t, RWSEM_DOWN_READ_FAILED);
    yield* down_failed(t, sem, false, WAITING_BIAS - ACTIVE_BIAS);
    leave(t);
  }
  read_acquired(t, sem, since, count < 0, false);
  leave(t);
}

/** Lets `t` in for reading if it need not wait. Context: any. @returns Whether it is inside. */
export function* down_read_trylock(
  t: Thread,
  sem: RwSemaphore,
): Steps<boolean> {
  enter(t, DOWN_READ_TRYLOCK);
  charge(t, 6);
  let count = yield* READ_ONCE(t, sem.count);
  let inside = false;
  while (count >= 0 && !inside) {
    charge(t, 4);
    const seen = yield* cmpxchg(t, sem.count, count, count + ACTIVE_BIAS);
    inside = seen === count;
    count = seen;
  }
  if (inside) read_acquired(t, sem, t.cpu.clock, false, true);
  leave(t);
  return inside;
}

/** Ends {@linkcode down_read}. Context: any. */
export function* up_read(t: Thread, sem: RwSemaphore): Steps {
  enter(t, UP_READ);
  BUG_ON(t, sem.readers === 0, `${sem.name}: up_read() without down_read()`);
  charge(t, 4);
  sem.readers--;
  t.k.sanitizers?.lockReleased(t, sem, LockMode.SLEEP_READ);
  const count = yield* atomic_add_return(t, sem.count, -ACTIVE_BIAS);
  if (count < 0 && (count & ACTIVE_MASK) === 0) yield* rwsem_wake(t, sem);
  leave(t);
}

/** Lets `t` in for writing; sleeps while anybody is inside. Context: process. */
export function* down_write(t: Thread, sem: RwSemaphore): Steps {
  enter(t, DOWN_WRITE);
  may_sleep(t, sem, LockMode.SLEEP);
  charge(t, 6);
  const since = t.cpu.clock;
  const count = yield* atomic_add_return(t, sem.count, ACTIVE_WRITE_BIAS);
  const wait = count !== ACTIVE_WRITE_BIAS;
  if (wait) {
    enter(t, RWSEM_DOWN_WRITE_FAILED);
    yield* down_failed(t, sem, true, -ACTIVE_BIAS);
    leave(t);
  }
  sem.acquired(t, since, wait);
  leave(t);
}

/** Lets `t` in for writing if nobody is inside. Context: any. @returns Whether it is inside. */
export function* down_write_trylock(
  t: Thread,
  sem: RwSemaphore,
): Steps<boolean> {
  enter(t, DOWN_WRITE_TRYLOCK);
  charge(t, 6);
  const since = t.cpu.clock;
  const free = (yield* cmpxchg(t, sem.count, 0, ACTIVE_WRITE_BIAS)) === 0;
  if (free) sem.acquired(t, since, false, true);
  leave(t);
  return free;
}

/** Ends {@linkcode down_write}. Context: any. */
export function* up_write(t: Thread, sem: RwSemaphore): Steps {
  enter(t, UP_WRITE);
  if (sem.owner !== t) {
    t.k.sanitizers?.lockStranger(t, sem, sem.mode);
    BUG(t, `${sem.name}: wrong owner`);
  }
  charge(t, 4);
  sem.released(t);
  const count = yield* atomic_add_return(t, sem.count, -ACTIVE_WRITE_BIAS);
  if (count < 0 && (count & ACTIVE_MASK) === 0) yield* rwsem_wake(t, sem);
  leave(t);
}

function may_sleep(t: Thread, sem: RwSemaphore, mode: LockMode): void {
  t.k.sanitizers?.mightSleep(
    t,
    mode === LockMode.SLEEP_READ ? "down_read" : "down_write",
  );
  t.k.sanitizers?.lockAsked(t, sem, mode);
  BUG_ON(
    t,
    in_atomic(t),
    `${sem.name}: sleeping function called from invalid context`,
  );
  BUG_ON(t, sem.owner === t, `recursion on ${sem.name}`);
}

/** Books a reader. Several may be inside: how long each is, is not kept. */
function read_acquired(
  t: Thread,
  sem: RwSemaphore,
  since: number,
  contended: boolean,
  tried: boolean,
): void {
  sem.readers++;
  t.k.sanitizers?.lockTaken(t, sem, LockMode.SLEEP_READ, tried);
  sem.stats.acquisitions++;
  if (!contended) return;
  sem.stats.contentions++;
  const wait = t.cpu.clock - since;
  sem.stats.waitCycles += wait;
  if (wait > sem.stats.waitMaxCycles) sem.stats.waitMaxCycles = wait;
}

/** Queues up and sleeps until let in. @param adjustment Makes what the caller has added that of a waiter. */
function* down_failed(
  t: Thread,
  sem: RwSemaphore,
  write: boolean,
  adjustment: number,
): Steps {
  charge(t, 30);
  const waiter = new RwsemWaiter(t, write);
  t.state = TASK_UNINTERRUPTIBLE;
  t.wchan = sem.name;
  const flags = yield* spin_lock_irqsave(t, sem.wait_lock);
  list_add_tail(waiter.list, sem.wait_list);
  const count = yield* atomic_add_return(t, sem.count, adjustment);
  // Everybody may have left meanwhile, and found nobody to wake.
  if ((count & ACTIVE_MASK) === 0) yield* do_wake(t, sem);
  yield* spin_unlock_irqrestore(t, sem.wait_lock, flags);
  while (!waiter.granted) {
    yield* schedule(t);
    t.state = TASK_UNINTERRUPTIBLE;
  }
  t.state = TASK_RUNNING;
  t.wchan = null;
}

/** Nobody is inside any more, and somebody waits. */
function* rwsem_wake(t: Thread, sem: RwSemaphore): Steps {
  enter(t, RWSEM_WAKE);
  charge(t, 12);
  const flags = yield* spin_lock_irqsave(t, sem.wait_lock);
  if (!list_empty(sem.wait_list)) yield* do_wake(t, sem);
  yield* spin_unlock_irqrestore(t, sem.wait_lock, flags);
  leave(t);
}

/** Lets the first waiter in, and with a reader all those that follow it. Locks: wait_lock held. */
function* do_wake(t: Thread, sem: RwSemaphore): Steps {
  charge(t, 16);
  for (;;) {
    const count = yield* atomic_add_return(t, sem.count, ACTIVE_BIAS);
    if (((count - ACTIVE_BIAS) & ACTIVE_MASK) === 0) break;
    // Somebody has come in: he will do it, unless he leaves right now.
    const left = yield* atomic_add_return(t, sem.count, -ACTIVE_BIAS);
    if ((left & ACTIVE_MASK) !== 0) return;
  }
  // The one just counted is the first that is let in.
  if (list_first_entry(sem.wait_list).write) {
    yield* grant(t, list_first_entry(sem.wait_list));
    return;
  }
  const head = sem.wait_list;
  let readers = 0;
  for (let p = head.next; p !== head && !list_entry(p).write; p = p.next) {
    readers++;
    charge(t, 4);
  }
  const bias = readers * (ACTIVE_BIAS - WAITING_BIAS) - ACTIVE_BIAS;
  yield* atomic_add_return(t, sem.count, bias);
  for (let n = 0; n < readers; n++) {
    yield* grant(t, list_first_entry(sem.wait_list));
  }
}

/** Locks: wait_lock held. */
function* grant(t: Thread, waiter: RwsemWaiter): Steps {
  charge(t, 8);
  list_del_init(waiter.list);
  waiter.granted = true;
  yield* wake_up_process(t, waiter.task);
}
