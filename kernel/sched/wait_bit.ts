/**
 * Waiting for a bit of a word to clear (kernel/wait.c: wait_on_bit() and its
 * kin). Many words share a wait queue, picked by a hash, so a waiter says which
 * bit of which word it is for, and a wake-up passes the others by.
 *
 * Lock order:
 *
 *     WaitQueue.lock
 *       Runqueue.lock
 */
import {
  charge,
  charge_cycles,
  enter,
  ksym,
  leave,
  read_line,
  type Steps,
  write_line,
} from "../../arch/asm.ts";
import type { CacheLine } from "../../arch/hw/line.ts";
import { list_del_init, list_entry } from "../lib/list.ts";
import {
  spin_lock_irqsave,
  spin_unlock_irqrestore,
} from "../locking/spinlock.ts";
import { TASK_UNINTERRUPTIBLE, type Thread } from "../thread.ts";
import { schedule } from "./sched.ts";
import {
  finish_wait,
  prepare_to_wait,
  prepare_to_wait_exclusive,
  Wait,
  type WaitQueue,
  waitqueue_active,
} from "./wait.ts";
import { TASK_NORMAL, try_to_wake_up } from "./wakeup.ts";

const __WAIT_ON_BIT = ksym("__wait_on_bit");
const __WAIT_ON_BIT_LOCK = ksym("__wait_on_bit_lock");
const __WAKE_UP_BIT = ksym("__wake_up_bit");

/** A word of flags, changed by atomics on its line. */
export interface BitWord {
  flags: number;
  readonly line: CacheLine;
}

/** A place on a wait queue, for one bit: `struct wait_bit_queue`. */
export class WaitBit extends Wait {
  /** @param bit A mask of one bit. */
  constructor(task: Thread, readonly word: BitWord, readonly bit: number) {
    super(task);
  }
}

/** Locked bit operation. @returns Whether the bit was set. */
export function* test_and_set_bit(
  t: Thread,
  word: BitWord,
  bit: number,
): Steps<boolean> {
  charge(t, 3);
  charge_cycles(t, t.machine.lockedCycles);
  yield* write_line(t, word.line);
  const was = (word.flags & bit) !== 0;
  word.flags |= bit;
  return was;
}

/** Sleeps until the bit is clear. Context: process. */
export function* __wait_on_bit(
  t: Thread,
  wq: WaitQueue,
  word: BitWord,
  bit: number,
): Steps {
  enter(t, __WAIT_ON_BIT);
  const wait = new WaitBit(t, word, bit);
  for (;;) {
    yield* prepare_to_wait(t, wq, wait, TASK_UNINTERRUPTIBLE);
    charge(t, 8);
    if ((word.flags & bit) === 0) break;
    yield* schedule(t);
  }
  yield* finish_wait(t, wq, wait);
  leave(t);
}

/** Sleeps until it is the one who sets the bit. Context: process. */
export function* __wait_on_bit_lock(
  t: Thread,
  wq: WaitQueue,
  word: BitWord,
  bit: number,
): Steps {
  enter(t, __WAIT_ON_BIT_LOCK);
  const wait = new WaitBit(t, word, bit);
  do {
    yield* prepare_to_wait_exclusive(t, wq, wait, TASK_UNINTERRUPTIBLE);
    charge(t, 8);
    if ((word.flags & bit) !== 0) yield* schedule(t);
  } while (yield* test_and_set_bit(t, word, bit));
  yield* finish_wait(t, wq, wait);
  leave(t);
}

/**
 * Wakes who waits for the bit, which is clear: all, but of those who want to
 * set it one.
 *
 * Context: any. Locks: wq.lock, in it the runqueues'.
 */
export function* __wake_up_bit(
  t: Thread,
  wq: WaitQueue,
  word: BitWord,
  bit: number,
): Steps {
  enter(t, __WAKE_UP_BIT);
  charge(t, 8);
  yield* read_line(t, wq.lock.slock.line);
  if (waitqueue_active(wq)) {
    const flags = yield* spin_lock_irqsave(t, wq.lock);
    yield* wake_matching(t, wq, word, bit);
    yield* spin_unlock_irqrestore(t, wq.lock, flags);
  }
  leave(t);
}

/** Locks: wq.lock held. */
function* wake_matching(
  t: Thread,
  wq: WaitQueue,
  word: BitWord,
  bit: number,
): Steps {
  const head = wq.task_list;
  for (let p = head.next, next; p !== head; p = next) {
    next = p.next;
    const wait = list_entry(p);
    charge(t, 14);
    if (!(wait instanceof WaitBit)) continue;
    if (wait.word !== word || wait.bit !== bit) continue;
    if ((word.flags & bit) !== 0) continue; // somebody has it again
    const exclusive = wait.exclusive;
    if (yield* try_to_wake_up(t, wait.task, TASK_NORMAL)) {
      list_del_init(p);
      if (exclusive) break;
    }
  }
}
