/**
 * Spinlocks of ia64 until ticket locks came in 2.6.32
 * (include/asm-ia64/spinlock.h, arch/ia64/kernel/head.S): a word that is 0 or 1,
 * taken by `cmpxchg4.acq`, given up by an ordinary store.
 *
 * Whoever fails jumps out of line, to `ia64_spinlock_contention`, which reads
 * until the word is 0 and tries again: that is the symbol that waiting is
 * charged to, inside `_spin_lock`. Unfair: after a release all waiters fetch the
 * line, those who get it before it is taken again try, and each that fails has
 * taken the line from the next.
 *
 * Unlike x86's, a lock that is asked for by spin_lock_irqsave() is waited for
 * with interrupts on, if they had been on. Waiting with interrupts off ends only
 * when the lock is free.
 */
import {
  charge,
  cmpxchg,
  enter,
  ksym,
  leave,
  local_irq_disable,
  local_irq_enable,
  spin_cmpxchg,
  spin_until,
  type Steps,
  WRITE_ONCE,
} from "../../arch/asm.ts";
import { preempt_enable, type Thread } from "../thread.ts";
import type { Spinlock } from "./spinlock.ts";

const IA64_SPINLOCK_CONTENTION = ksym("ia64_spinlock_contention");

/**
 * The rest of spin_lock(), which has been entered; leaves it.
 *
 * @param flags Whether interrupts, off now, are to be on while it waits.
 */
export function* ia64_spin_lock(
  t: Thread,
  lock: Spinlock,
  flags: boolean,
): Steps {
  const contended = (yield* cmpxchg(t, lock.slock, 0, 1)) !== 0;
  if (contended) yield* ia64_spinlock_contention(t, lock, flags);
  lock.acquired(t, t.lockWaitSince, contended);
  leave(t);
}

function* ia64_spinlock_contention(
  t: Thread,
  lock: Spinlock,
  flags: boolean,
): Steps {
  enter(t, IA64_SPINLOCK_CONTENTION);
  charge(t, 4);
  if (!flags) yield* spin_cmpxchg(t, lock.slock, 0, 1);
  else {
    do {
      local_irq_enable(t);
      yield* spin_until(t, lock.slock, 1, 0);
      local_irq_disable(t);
      charge(t, 3);
    } while ((yield* cmpxchg(t, lock.slock, 0, 1)) !== 0);
  }
  leave(t);
}

/** The rest of spin_trylock(). @returns Whether this CPU holds it now. */
export function* ia64_spin_trylock(t: Thread, lock: Spinlock): Steps<boolean> {
  return (yield* cmpxchg(t, lock.slock, 0, 1)) === 0;
}

/** The rest of spin_unlock(), which has been entered; leaves it. */
export function* ia64_spin_unlock(t: Thread, lock: Spinlock): Steps {
  yield* WRITE_ONCE(t, lock.slock, 0);
  preempt_enable(t);
  leave(t);
}
