/**
 * Spinlocks: x86 ticket locks of 2.6.25 and later, or, where the machine says
 * so, the older test-and-set kind (arch/x86/include/asm/spinlock.h,
 * kernel/spinlock.c).
 *
 * Differs from Linux: tickets are always 16 bits wide (Linux uses 8 below 256
 * CPUs); owner and statistics are always kept, and cost no virtual time.
 */
import {
  charge,
  cmpxchg,
  enter,
  irqs_disabled,
  ksym,
  leave,
  load,
  local_irq_disable,
  local_irq_enable,
  local_irq_restore,
  local_irq_save,
  type MachineContext,
  type OpEnd,
  spin_until,
  type Steps,
  store,
  ticket_lock,
  ticket_unlock,
  xchg,
} from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import type { CacheLine } from "../../arch/hw/line.ts";
import { BUG, BUG_ON } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import { preempt_disable, preempt_enable, type Thread } from "../thread.ts";
import { LockOwner } from "./lock_stat.ts";

const _SPIN_LOCK = ksym("_spin_lock");
const _SPIN_UNLOCK = ksym("_spin_unlock");
const TICKET_SHIFT = 16;
const OWNER_MASK = 0xffff;

/** One spinlock. Tickets: next in the high half, owner's in the low half. */
export class Spinlock extends LockOwner {
  /** The lock word. */
  readonly slock: Cell<number>;
  readonly #taken: OpEnd;
  readonly #given: OpEnd;

  /**
   * A free lock.
   *
   * @param name Its class, in lock statistics.
   * @param line Shares this line with the data it guards; its own line if absent.
   */
  constructor(k: Kernel, readonly name: string, line?: CacheLine) {
    super(k.lockStats.get(name));
    this.slock = new Cell(name, 0, line);
    this.slock.holder = this;
    this.#taken = new Taken(this);
    this.#given = new Given();
  }

  /**
   * `lock xadd` and spin.
   *
   * @internal
   */
  take(t: Thread): Steps {
    return ticket_lock(t, this.slock, this.#taken);
  }

  /**
   * `incb`.
   *
   * @internal
   */
  give(t: Thread): Steps {
    return ticket_unlock(t, this.slock, this.#given);
  }
}

/** The end of {@linkcode spin_lock}. */
class Taken implements OpEnd {
  constructor(readonly lock: Spinlock) {}

  ended(t: MachineContext, contended: boolean): void {
    const self = t as Thread;
    this.lock.acquired(self, self.lockWaitSince, contended);
    leave(t);
  }
}

/** The end of {@linkcode spin_unlock}. */
class Given implements OpEnd {
  ended(t: MachineContext): void {
    preempt_enable(t as Thread);
    leave(t);
  }
}

/**
 * Spins until this CPU holds `lock`.
 *
 * Context: any. Preemption stays off until {@linkcode spin_unlock}.
 *
 * Not a generator: taking a lock is the hottest thing that a kernel does, and
 * the operation's own iterator saves one per acquisition.
 */
export function spin_lock(t: Thread, lock: Spinlock): Steps {
  enter(t, _SPIN_LOCK);
  preempt_disable(t);
  if (lock.owner === t) BUG(t, `recursion on ${lock.name}`);
  charge(t, 6);
  t.lockWaitSince = t.cpu.clock;
  return t.k.machine.spec.kernel.ticketLocks
    ? lock.take(t)
    : test_and_set_lock(t, lock);
}

function* test_and_set_lock(t: Thread, lock: Spinlock): Steps {
  let contended = false;
  while ((yield* xchg(t, lock.slock, 1)) !== 0) {
    contended = true;
    // A failed xchg still steals the line; a read leaves it shared.
    yield* spin_until(t, lock.slock, 1, 0);
  }
  lock.acquired(t, t.lockWaitSince, contended);
  leave(t);
}

/** Takes `lock` if it is free. @returns Whether this CPU holds it now. */
export function* spin_trylock(t: Thread, lock: Spinlock): Steps<boolean> {
  enter(t, _SPIN_LOCK);
  preempt_disable(t);
  charge(t, 8);
  const since = t.cpu.clock;
  const free = yield* trylock(t, lock);
  if (free) lock.acquired(t, since, false);
  else preempt_enable(t);
  leave(t);
  return free;
}

function* trylock(t: Thread, lock: Spinlock): Steps<boolean> {
  if (!t.k.machine.spec.kernel.ticketLocks) {
    return (yield* xchg(t, lock.slock, 1)) === 0;
  }
  // Nobody can come between: the engine orders this look and the take as one
  // cmpxchg, which fails if the word has changed since.
  const seen = yield* load(t, lock.slock);
  if ((seen >>> TICKET_SHIFT) !== (seen & OWNER_MASK)) return false;
  const taken = (seen + (1 << TICKET_SHIFT)) | 0;
  return (yield* cmpxchg(t, lock.slock, seen, taken)) === seen;
}

/** Gives `lock` up. Only its owner may. */
export function spin_unlock(t: Thread, lock: Spinlock): Steps {
  enter(t, _SPIN_UNLOCK);
  if (lock.owner !== t) BUG(t, `wrong owner of ${lock.name}`);
  charge(t, 3);
  lock.released(t);
  return t.k.machine.spec.kernel.ticketLocks
    ? lock.give(t)
    : store_unlock(t, lock);
}

function* store_unlock(t: Thread, lock: Spinlock): Steps {
  yield* store(t, lock.slock, 0);
  preempt_enable(t);
  leave(t);
}

/** {@linkcode spin_lock} with interrupts off. @returns What {@linkcode spin_unlock_irqrestore} wants. */
export function* spin_lock_irqsave(t: Thread, lock: Spinlock): Steps<boolean> {
  const flags = local_irq_save(t);
  yield* spin_lock(t, lock);
  return flags;
}

/** Ends {@linkcode spin_lock_irqsave}. */
export function* spin_unlock_irqrestore(
  t: Thread,
  lock: Spinlock,
  flags: boolean,
): Steps {
  yield* spin_unlock(t, lock);
  local_irq_restore(t, flags);
}

/** {@linkcode spin_lock} with interrupts off, which had been on. */
export function* spin_lock_irq(t: Thread, lock: Spinlock): Steps {
  local_irq_disable(t);
  yield* spin_lock(t, lock);
}

/** Ends {@linkcode spin_lock_irq}. */
export function* spin_unlock_irq(t: Thread, lock: Spinlock): Steps {
  BUG_ON(t, !irqs_disabled(t), `${lock.name} released with interrupts on`);
  yield* spin_unlock(t, lock);
  local_irq_enable(t);
}

/** Whether anybody holds `lock`: a debugging look that costs nothing. */
export function spin_is_locked(lock: Spinlock): boolean {
  return lock.owner !== null;
}

/** Opens a helper that works on what `lock` guards. */
export function lockdep_assert_held(t: Thread, lock: LockOwner): void {
  BUG_ON(t, lock.owner !== t, `${lock.stats.name} not held`);
}
