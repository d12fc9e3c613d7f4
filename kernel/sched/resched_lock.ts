/** cond_resched_lock() (kernel/sched.c). */
import { charge, type Steps } from "../../arch/asm.ts";
import {
  lockdep_assert_held,
  spin_lock,
  spin_unlock,
  type Spinlock,
} from "../locking/spinlock.ts";
import type { Thread } from "../thread.ts";
import { cond_resched, need_resched } from "./sched.ts";

/**
 * Lets another thread run if it is time to, and gives `lock` up meanwhile.
 *
 * Context: process. Locks: `lock` held, and no other.
 *
 * @returns Whether it has been given up: what it guards may have changed.
 */
export function* cond_resched_lock(t: Thread, lock: Spinlock): Steps<boolean> {
  lockdep_assert_held(t, lock);
  charge(t, 4);
  if (!need_resched(t)) return false;
  yield* spin_unlock(t, lock);
  yield* cond_resched(t);
  yield* spin_lock(t, lock);
  return true;
}
