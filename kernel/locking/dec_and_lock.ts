/**
 * atomic_dec_and_lock() (lib/dec_and_lock.c): drops a reference, and takes a
 * lock only if it was the last.
 */
import {
  atomic_add_return,
  atomic_add_unless,
  charge,
  enter,
  ksym,
  leave,
  READ_ONCE,
  type Steps,
} from "../../arch/asm.ts";
import type { Cell } from "../../arch/hw/cell.ts";
import type { Thread } from "../thread.ts";
import { spin_lock, spin_unlock, type Spinlock } from "./spinlock.ts";

const _ATOMIC_DEC_AND_LOCK = ksym("_atomic_dec_and_lock");

/**
 * Takes 1 off `atomic`; on 0, with `lock` held. A count that others may raise
 * under `lock` alone is thus known to be 0, and to stay so.
 *
 * Context: any.
 *
 * Linux: lib/dec_and_lock.c.
 *
 * @returns Whether it is 0 now, and `lock` is held.
 */
export function* _atomic_dec_and_lock(
  t: Thread,
  atomic: Cell<number>,
  lock: Spinlock,
): Steps<boolean> {
  enter(t, _ATOMIC_DEC_AND_LOCK);
  charge(t, 12);
  const shared = (yield* READ_ONCE(t, atomic)) !== 1;
  if (shared && (yield* atomic_add_unless(t, atomic, -1, 1))) {
    leave(t);
    return false;
  }
  yield* spin_lock(t, lock);
  const last = (yield* atomic_add_return(t, atomic, -1)) === 0;
  if (!last) yield* spin_unlock(t, lock);
  leave(t);
  return last;
}
