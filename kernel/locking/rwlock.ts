/**
 * Reader-writer spinlocks of x86 in 2.6.28 (arch/x86/include/asm/spinlock.h,
 * arch/x86/lib/rwlock_64.S): a counter that starts at RW_LOCK_BIAS, from which
 * a reader takes 1 and a writer all. Unfair: whoever's atomic comes first after
 * a release wins, and the losers' atomics steal the line from the winner.
 *
 * ia64 has another kind, in ia64_rwlock.ts; what is around it is here.
 */
import {
  atomic_add_return,
  charge,
  cpu_relax,
  enter,
  ksym,
  leave,
  local_irq_restore,
  local_irq_save,
  READ_ONCE,
  spin_until,
  type Steps,
} from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import type { CacheLine } from "../../arch/hw/line.ts";
import { BUG } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import { preempt_disable, preempt_enable, type Thread } from "../thread.ts";
import {
  ia64_read_lock,
  ia64_read_unlock,
  ia64_write_lock,
  ia64_write_unlock,
} from "./ia64_rwlock.ts";
import { LockMode } from "../sanitizers/sanitizer.ts";
import { LockOwner } from "./lock_stat.ts";

const RW_LOCK_BIAS = 0x01000000;
const _READ_LOCK = ksym("_read_lock");
const _READ_UNLOCK = ksym("_read_unlock");
const _WRITE_LOCK = ksym("_write_lock");
const _WRITE_UNLOCK = ksym("_write_unlock");
const __WRITE_LOCK_FAILED = ksym("__write_lock_failed");
const __READ_LOCK_FAILED = ksym("__read_lock_failed");

/**
 * One reader-writer lock. `owner` is its writer.
 *
 * Linux: arch/x86/include/asm/spinlock.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   Cell,
 *   kthread_run,
 *   read_lock,
 *   read_unlock,
 *   Rwlock,
 *   spin_until,
 *   WRITE_ONCE,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const seen = new Cell("seen", 0);
 * boot().run(function* (t) {
 *   const lock = new Rwlock(t.k, "my_rwlock");
 *   yield* read_lock(t, lock);
 *   yield* kthread_run(t, function* (self) {
 *     yield* read_lock(self, lock); // two may be inside
 *     yield* WRITE_ONCE(self, seen, lock.readers);
 *     yield* read_unlock(self, lock);
 *   }, "reader");
 *   yield* spin_until(t, seen, 2, 2);
 *   yield* read_unlock(t, lock);
 * });
 * assertEquals(seen.value, 2);
 * ```
 */
export class Rwlock extends LockOwner {
  /** What is left of the bias: 0x01000000 = free, 0 = held for writing. (ia64: 0 = free.) */
  readonly lock: Cell<number>;
  /** Readers inside, for checks. */
  readers = 0;

  /**
   * A free lock.
   *
   * @param name Its class, in lock statistics.
   * @param line Shares this line with the data it guards; its own line if absent.
   */
  constructor(k: Kernel, readonly name: string, line?: CacheLine) {
    super(k.lockStats.get(name));
    const free = k.arch === "ia64" ? 0 : RW_LOCK_BIAS;
    this.lock = new Cell(name, free, line);
    this.lock.holder = this;
  }
}

/**
 * Spins until no other CPU is inside.
 *
 * Context: any; preemption stays off.
 *
 * Linux: kernel/spinlock.c.
 *
 * @example
 * ```ts
 * import { boot, Rwlock, write_lock, write_unlock } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const lock = new Rwlock(t.k, "my_rwlock");
 *   yield* write_lock(t, lock);
 *   assertEquals(lock.owner, t);
 *   yield* write_unlock(t, lock);
 *   assertEquals(lock.owner, null);
 * });
 * ```
 */
export function* write_lock(t: Thread, lock: Rwlock): Steps {
  enter(t, _WRITE_LOCK);
  preempt_disable(t);
  t.k.sanitizers?.lockAsked(t, lock, lock.mode);
  if (lock.owner === t) BUG(t, `recursion on ${lock.name}`);
  charge(t, 6);
  const since = t.cpu.clock;
  let contended: boolean;
  if (t.k.arch === "ia64") {
    contended = yield* ia64_write_lock(t, lock.lock);
  } else {
    const left = yield* atomic_add_return(t, lock.lock, -RW_LOCK_BIAS);
    contended = left !== 0;
    if (contended) yield* write_lock_failed(t, lock);
  }
  lock.acquired(t, since, contended);
  leave(t);
}

function* write_lock_failed(t: Thread, lock: Rwlock): Steps {
  enter(t, __WRITE_LOCK_FAILED);
  let left: number;
  do {
    yield* atomic_add_return(t, lock.lock, RW_LOCK_BIAS);
    yield* spin_until(t, lock.lock, -1, RW_LOCK_BIAS);
    left = yield* atomic_add_return(t, lock.lock, -RW_LOCK_BIAS);
  } while (left !== 0);
  leave(t);
}

/**
 * Ends {@linkcode write_lock}.
 *
 * Linux: kernel/spinlock.c.
 *
 * @example
 * ```ts
 * import { boot, KernelBug, Rwlock, write_unlock } from "@vmaplab/vmaplab";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(
 *   () => boot().run((t) => write_unlock(t, new Rwlock(t.k, "my_rwlock"))),
 *   KernelBug,
 *   "wrong owner of my_rwlock",
 * );
 * ```
 */
export function* write_unlock(t: Thread, lock: Rwlock): Steps {
  enter(t, _WRITE_UNLOCK);
  if (lock.owner !== t) {
    t.k.sanitizers?.lockStranger(t, lock, lock.mode);
    BUG(t, `wrong owner of ${lock.name}`);
  }
  charge(t, 3);
  lock.released(t);
  if (t.k.arch === "ia64") yield* ia64_write_unlock(t, lock.lock);
  else yield* atomic_add_return(t, lock.lock, RW_LOCK_BIAS);
  preempt_enable(t);
  leave(t);
}

/**
 * Spins until no writer is inside.
 *
 * Context: any; preemption stays off.
 *
 * Linux: kernel/spinlock.c.
 *
 * @example
 * ```ts
 * import { boot, read_lock, read_unlock, Rwlock } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const readers = boot().run(function* (t) {
 *   const lock = new Rwlock(t.k, "my_rwlock");
 *   yield* read_lock(t, lock);
 *   const inside = lock.readers;
 *   yield* read_unlock(t, lock);
 *   return [inside, lock.readers];
 * });
 * assertEquals(readers, [1, 0]);
 * ```
 */
export function* read_lock(t: Thread, lock: Rwlock): Steps {
  enter(t, _READ_LOCK);
  preempt_disable(t);
  t.k.sanitizers?.lockAsked(t, lock, LockMode.SPIN_READ);
  charge(t, 6);
  const since = t.cpu.clock;
  const contended = t.k.arch === "ia64"
    ? yield* ia64_read_lock(t, lock.lock)
    : yield* take_for_reading(t, lock);
  lock.readers++;
  lock.stats.acquisitions++;
  if (contended) {
    lock.stats.contentions++;
    lock.stats.waitCycles += t.cpu.clock - since;
  }
  t.k.sanitizers?.lockTaken(t, lock, LockMode.SPIN_READ, false);
  leave(t);
}

/** @returns Whether it had to wait. */
function* take_for_reading(t: Thread, lock: Rwlock): Steps<boolean> {
  let left = yield* atomic_add_return(t, lock.lock, -1);
  if (left >= 0) return false;
  enter(t, __READ_LOCK_FAILED);
  do {
    yield* atomic_add_return(t, lock.lock, 1);
    while ((yield* READ_ONCE(t, lock.lock)) < 1) yield* cpu_relax(t);
    left = yield* atomic_add_return(t, lock.lock, -1);
  } while (left < 0);
  leave(t);
  return true;
}

/**
 * Ends {@linkcode read_lock}.
 *
 * Linux: kernel/spinlock.c.
 *
 * @example
 * ```ts
 * import { boot, KernelBug, read_unlock, Rwlock } from "@vmaplab/vmaplab";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(
 *   () => boot().run((t) => read_unlock(t, new Rwlock(t.k, "my_rwlock"))),
 *   KernelBug,
 *   "my_rwlock is not held for reading",
 * );
 * ```
 */
export function* read_unlock(t: Thread, lock: Rwlock): Steps {
  enter(t, _READ_UNLOCK);
  if (lock.readers === 0) BUG(t, `${lock.name} is not held for reading`);
  charge(t, 3);
  lock.readers--;
  t.k.sanitizers?.lockReleased(t, lock, LockMode.SPIN_READ);
  if (t.k.arch === "ia64") yield* ia64_read_unlock(t, lock.lock);
  else yield* atomic_add_return(t, lock.lock, 1);
  preempt_enable(t);
  leave(t);
}

/**
 * {@linkcode write_lock} with interrupts off.
 *
 * Linux: kernel/spinlock.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   irqs_disabled,
 *   Rwlock,
 *   write_lock_irqsave,
 *   write_unlock_irqrestore,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const off = boot().run(function* (t) {
 *   const lock = new Rwlock(t.k, "my_rwlock");
 *   const flags = yield* write_lock_irqsave(t, lock);
 *   const inside = irqs_disabled(t);
 *   yield* write_unlock_irqrestore(t, lock, flags);
 *   return [inside, irqs_disabled(t)];
 * });
 * assertEquals(off, [true, false]);
 * ```
 */
export function* write_lock_irqsave(t: Thread, lock: Rwlock): Steps<boolean> {
  const flags = local_irq_save(t);
  yield* write_lock(t, lock);
  return flags;
}

/**
 * Ends {@linkcode write_lock_irqsave}.
 *
 * Linux: kernel/spinlock.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   irqs_disabled,
 *   Rwlock,
 *   write_lock_irqsave,
 *   write_unlock_irqrestore,
 * } from "@vmaplab/vmaplab";
 * import { assert, assertFalse } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const lock = new Rwlock(t.k, "my_rwlock");
 *   const flags = yield* write_lock_irqsave(t, lock);
 *   assert(flags); // interrupts had been on, and are again after this
 *   yield* write_unlock_irqrestore(t, lock, flags);
 *   assertFalse(irqs_disabled(t));
 * });
 * ```
 */
export function* write_unlock_irqrestore(
  t: Thread,
  lock: Rwlock,
  flags: boolean,
): Steps {
  yield* write_unlock(t, lock);
  local_irq_restore(t, flags);
}
