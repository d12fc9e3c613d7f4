/**
 * Spinlocks: x86 ticket locks of 2.6.25 and later, or, where the machine says
 * so, the older test-and-set kind (arch/x86/include/asm/spinlock.h,
 * kernel/spinlock.c). ia64's is in ia64_spinlock.ts.
 *
 * Differs from Linux: tickets are always 16 bits wide (Linux uses 8 below 256
 * CPUs); owner and statistics are always kept, and cost no virtual time.
 */
import * as asm from "../../arch/asm.ts";
import type { MachineContext, Steps, Sym } from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import type { CacheLine } from "../../arch/hw/line.ts";
import { TICKET_SHIFT } from "../../arch/hw/ticket.ts";
import { BUG, BUG_ON } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import * as thread from "../thread.ts";
import type { Thread } from "../thread.ts";
import {
  ia64_spin_lock,
  ia64_spin_trylock,
  ia64_spin_unlock,
} from "./ia64_spinlock.ts";
import { LockOwner } from "./lock_stat.ts";

// Functions as constants of this module: docs/ARCHITECTURE.md, "What V8 likes".
const {
  charge,
  cmpxchg,
  enter,
  irqs_disabled,
  ksym,
  leave,
  local_irq_disable,
  local_irq_enable,
  local_irq_restore,
  local_irq_save,
  READ_ONCE,
  spin_until,
  ticket_is_free,
  ticket_lock,
  ticket_lock_now,
  ticket_unlock,
  ticket_unlock_now,
  WRITE_ONCE,
  xchg,
} = asm;
const { preempt_disable, preempt_enable } = thread;

const _SPIN_LOCK = ksym("_spin_lock");
const _SPIN_LOCK_IRQSAVE = ksym("_spin_lock_irqsave");
const _SPIN_UNLOCK = ksym("_spin_unlock");
const _SPIN_UNLOCK_IRQRESTORE = ksym("_spin_unlock_irqrestore");

/** Options of {@linkcode Spinlock}. */
export interface SpinlockOptions {
  /**
   * It guards a structure of one CPU's, which others rarely want. While it is
   * free, taking it and letting go of it may run ahead of their turn, as data
   * accesses do (head of `arch/sim/engine.ts`): who asks from elsewhere is
   * served after that. Default: false.
   */
  readonly local?: boolean;
}

/**
 * One spinlock. Tickets: next in the high half, owner's in the low half.
 *
 * Linux: arch/x86/include/asm/spinlock.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   kthread_join,
 *   kthread_run,
 *   spin_lock,
 *   spin_unlock,
 *   Spinlock,
 *   Thread,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const booted = boot();
 * let count = 0; // guarded by the lock
 * booted.run(function* (t) {
 *   const lock = new Spinlock(t.k, "my_lock");
 *   const threads: Thread[] = [];
 *   for (let i = 0; i < 4; i++) {
 *     threads.push(
 *       yield* kthread_run(t, function* (self) {
 *         for (let n = 0; n < 50; n++) {
 *           yield* spin_lock(self, lock);
 *           count++;
 *           yield* spin_unlock(self, lock);
 *         }
 *       }, `adder/${i}`),
 *     );
 *   }
 *   for (const p of threads) yield* kthread_join(t, p);
 * });
 * assertEquals(count, 200);
 * assertEquals(booted.kernel.lockStats.get("my_lock").acquisitions, 200);
 * ```
 */
export class Spinlock extends LockOwner { // a TicketLock of arch/op.ts
  /** The lock word. */
  declare readonly slock: Cell<number>;
  /** See {@linkcode SpinlockOptions.local}. */
  declare readonly local: boolean;
  /** Ticket lock, or test-and-set. */
  declare readonly tickets: boolean;

  /** Its class, in lock statistics. */
  declare readonly name: string;

  /**
   * A free lock.
   *
   * @param name Its class, in lock statistics.
   * @param line Shares this line with the data it guards; its own line if absent.
   */
  constructor(
    k: Kernel,
    name: string,
    line?: CacheLine,
    options: SpinlockOptions = {},
  ) {
    super(k.lockStats.get(name));
    this.name = name;
    this.slock = new Cell(name, 0, line);
    this.slock.holder = this;
    this.local = options.local ?? false;
    this.tickets = k.machine.spec.kernel.ticketLocks;
  }

  /**
   * The end of {@linkcode spin_lock}.
   *
   * @internal
   */
  taken(t: MachineContext, contended: boolean): void {
    const self = t as Thread;
    this.acquired(self, self.lockWaitSince, contended);
    leave(t);
  }

  /**
   * The end of {@linkcode spin_unlock}.
   *
   * @internal
   */
  given(t: MachineContext): void {
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
 *
 * Linux: kernel/spinlock.c.
 *
 * @example
 * ```ts
 * import { boot, spin_lock, spin_unlock, Spinlock } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const inside = boot().run(function* (t) {
 *   const lock = new Spinlock(t.k, "my_lock");
 *   yield* spin_lock(t, lock);
 *   const { preempt_count } = t; // 1: no sleeping until the release
 *   yield* spin_unlock(t, lock);
 *   return preempt_count;
 * });
 * assertEquals(inside, 1);
 * ```
 */
export function spin_lock(t: Thread, lock: Spinlock): Steps {
  return lock_charged_to(t, _SPIN_LOCK, lock, false);
}

/** What comes before the lock word is touched. `flags`: see {@linkcode lock_charged_to}. */
function ask(t: Thread, sym: Sym, lock: Spinlock, flags: boolean): void {
  enter(t, sym);
  preempt_disable(t);
  t.k.sanitizers?.lockAsked(t, lock, lock.mode, flags && t.k.arch === "ia64");
  if (lock.owner === t) BUG(t, `recursion on ${lock.name}`);
  charge(t, 6);
}

/**
 * Takes `lock`.
 *
 * @param flags Interrupts, which are off, may be on while it waits: ia64.
 */
function lock_charged_to(
  t: Thread,
  sym: Sym,
  lock: Spinlock,
  flags: boolean,
): Steps {
  ask(t, sym, lock, flags);
  if (lock.tickets) {
    const steps = ticket_lock(t, lock);
    if (lock.owner !== t) t.lockWaitSince = t.cpu.clock;
    return steps;
  }
  t.lockWaitSince = t.cpu.clock;
  return t.k.arch === "ia64"
    ? ia64_spin_lock(t, lock, flags)
    : test_and_set_lock(t, lock);
}

/**
 * Takes a ticket lock that is free, in a section: a `local` one, or any in one
 * that began in this CPU's turn. See `may_run_section()` of `arch/asm.ts`. Plain.
 */
export function spin_lock_now(t: Thread, lock: Spinlock): void {
  ask(t, _SPIN_LOCK, lock, false);
  ticket_lock_now(t, lock);
}

/** Ends {@linkcode spin_lock_now}, in the same section. Plain. */
export function spin_unlock_now(t: Thread, lock: Spinlock): void {
  give_up(t, _SPIN_UNLOCK, lock);
  ticket_unlock_now(t, lock);
}

/** Whether {@linkcode spin_lock_now} may take `lock` in any section. */
export function may_lock_now(lock: Spinlock): boolean {
  return lock.local && is_free_ticket_lock(lock);
}

/** Whether `lock` is a ticket lock, and free. Plain. */
export function is_free_ticket_lock(lock: Spinlock): boolean {
  return lock.tickets && ticket_is_free(lock.slock.value);
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

/**
 * Takes `lock` if it is free.
 *
 * Linux: kernel/spinlock.c.
 *
 * @returns Whether this CPU holds it now.
 *
 * @example
 * ```ts
 * import { boot, spin_trylock, Spinlock } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const got = boot().run(function* (t) {
 *   const lock = new Spinlock(t.k, "my_lock");
 *   return [yield* spin_trylock(t, lock), yield* spin_trylock(t, lock)];
 * });
 * assertEquals(got, [true, false]);
 * ```
 */
export function* spin_trylock(t: Thread, lock: Spinlock): Steps<boolean> {
  enter(t, _SPIN_LOCK);
  preempt_disable(t);
  charge(t, 8);
  const since = t.cpu.clock;
  const free = yield* trylock(t, lock);
  if (free) lock.acquired(t, since, false, true);
  else preempt_enable(t);
  leave(t);
  return free;
}

function* trylock(t: Thread, lock: Spinlock): Steps<boolean> {
  if (!lock.tickets) {
    return t.k.arch === "ia64"
      ? yield* ia64_spin_trylock(t, lock)
      : (yield* xchg(t, lock.slock, 1)) === 0;
  }
  // Nobody can come between: the engine orders this look and the take as one
  // cmpxchg, which fails if the word has changed since.
  const seen = yield* READ_ONCE(t, lock.slock);
  if (!ticket_is_free(seen)) return false;
  const taken = (seen + (1 << TICKET_SHIFT)) | 0;
  return (yield* cmpxchg(t, lock.slock, seen, taken)) === seen;
}

/**
 * Gives `lock` up. Only its owner may.
 *
 * Linux: kernel/spinlock.c.
 *
 * @example
 * ```ts
 * import { boot, KernelBug, spin_unlock, Spinlock } from "@vmaplab/vmaplab";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(
 *   () => boot().run((t) => spin_unlock(t, new Spinlock(t.k, "my_lock"))),
 *   KernelBug,
 *   "wrong owner of my_lock",
 * );
 * ```
 */
export function spin_unlock(t: Thread, lock: Spinlock): Steps {
  return unlock_charged_to(t, _SPIN_UNLOCK, lock);
}

/** What comes before the lock word is touched. */
function give_up(t: Thread, sym: Sym, lock: Spinlock): void {
  enter(t, sym);
  if (lock.owner !== t) {
    t.k.sanitizers?.lockStranger(t, lock, lock.mode);
    BUG(t, `wrong owner of ${lock.name}`);
  }
  charge(t, 3);
  lock.released(t);
}

function unlock_charged_to(t: Thread, sym: Sym, lock: Spinlock): Steps {
  give_up(t, sym, lock);
  if (lock.tickets) return ticket_unlock(t, lock);
  return t.k.arch === "ia64"
    ? ia64_spin_unlock(t, lock)
    : store_unlock(t, lock);
}

function* store_unlock(t: Thread, lock: Spinlock): Steps {
  yield* WRITE_ONCE(t, lock.slock, 0);
  preempt_enable(t);
  leave(t);
}

/**
 * {@linkcode spin_lock} with interrupts off.
 *
 * Linux: kernel/spinlock.c.
 *
 * @returns What {@linkcode spin_unlock_irqrestore} wants.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   irqs_disabled,
 *   spin_lock_irqsave,
 *   spin_unlock_irqrestore,
 *   Spinlock,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const off = boot().run(function* (t) {
 *   const lock = new Spinlock(t.k, "my_lock");
 *   const flags = yield* spin_lock_irqsave(t, lock);
 *   const inside = irqs_disabled(t);
 *   yield* spin_unlock_irqrestore(t, lock, flags);
 *   return [inside, irqs_disabled(t)];
 * });
 * assertEquals(off, [true, false]);
 * ```
 */
export function* spin_lock_irqsave(t: Thread, lock: Spinlock): Steps<boolean> {
  const flags = local_irq_save(t);
  const sym = t.k.arch === "ia64" ? _SPIN_LOCK_IRQSAVE : _SPIN_LOCK;
  yield* lock_charged_to(t, sym, lock, flags);
  return flags;
}

/**
 * Ends {@linkcode spin_lock_irqsave}.
 *
 * Linux: kernel/spinlock.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   irqs_disabled,
 *   spin_lock_irqsave,
 *   spin_unlock_irqrestore,
 *   Spinlock,
 * } from "@vmaplab/vmaplab";
 * import { assertFalse } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const lock = new Spinlock(t.k, "my_lock");
 *   const flags = yield* spin_lock_irqsave(t, lock);
 *   yield* spin_unlock_irqrestore(t, lock, flags);
 *   assertFalse(irqs_disabled(t)); // as before
 * });
 * ```
 */
export function* spin_unlock_irqrestore(
  t: Thread,
  lock: Spinlock,
  flags: boolean,
): Steps {
  const sym = t.k.arch === "ia64" ? _SPIN_UNLOCK_IRQRESTORE : _SPIN_UNLOCK;
  yield* unlock_charged_to(t, sym, lock);
  local_irq_restore(t, flags);
}

/**
 * {@linkcode spin_lock} with interrupts off, which had been on.
 *
 * Linux: kernel/spinlock.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   irqs_disabled,
 *   spin_lock_irq,
 *   spin_unlock_irq,
 *   Spinlock,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const lock = new Spinlock(t.k, "my_lock");
 *   yield* spin_lock_irq(t, lock);
 *   assert(irqs_disabled(t));
 *   yield* spin_unlock_irq(t, lock);
 * });
 * ```
 */
export function* spin_lock_irq(t: Thread, lock: Spinlock): Steps {
  local_irq_disable(t);
  yield* spin_lock(t, lock);
}

/**
 * Ends {@linkcode spin_lock_irq}.
 *
 * Linux: kernel/spinlock.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   irqs_disabled,
 *   spin_lock_irq,
 *   spin_unlock_irq,
 *   Spinlock,
 * } from "@vmaplab/vmaplab";
 * import { assertFalse } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const lock = new Spinlock(t.k, "my_lock");
 *   yield* spin_lock_irq(t, lock);
 *   yield* spin_unlock_irq(t, lock);
 *   assertFalse(irqs_disabled(t)); // on, whatever they were before
 * });
 * ```
 */
export function* spin_unlock_irq(t: Thread, lock: Spinlock): Steps {
  BUG_ON(t, !irqs_disabled(t), `${lock.name} released with interrupts on`);
  yield* spin_unlock(t, lock);
  local_irq_enable(t);
}

/** {@linkcode spin_lock_irq} in a section, as {@linkcode spin_lock_now}. Plain. */
export function spin_lock_irq_now(t: Thread, lock: Spinlock): void {
  local_irq_disable(t);
  spin_lock_now(t, lock);
}

/** Ends {@linkcode spin_lock_irq_now}, in the same section. Plain. */
export function spin_unlock_irq_now(t: Thread, lock: Spinlock): void {
  spin_unlock_now(t, lock);
  local_irq_enable(t);
}

/**
 * Whether anybody holds `lock`: a debugging look that costs nothing.
 *
 * Linux: include/linux/spinlock.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   spin_is_locked,
 *   spin_lock,
 *   spin_unlock,
 *   Spinlock,
 * } from "@vmaplab/vmaplab";
 * import { assert, assertFalse } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const lock = new Spinlock(t.k, "my_lock");
 *   yield* spin_lock(t, lock);
 *   assert(spin_is_locked(lock));
 *   yield* spin_unlock(t, lock);
 *   assertFalse(spin_is_locked(lock));
 * });
 * ```
 */
export function spin_is_locked(lock: Spinlock): boolean {
  return lock.owner !== null;
}

/**
 * Opens a helper that works on what `lock` guards.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   KernelBug,
 *   lockdep_assert_held,
 *   Spinlock,
 * } from "@vmaplab/vmaplab";
 * import { assert, assertThrows } from "@std/assert";
 *
 * const error = assertThrows(
 *   () =>
 *     boot().run(function* (t) {
 *       lockdep_assert_held(t, new Spinlock(t.k, "my_lock"));
 *     }),
 *   KernelBug,
 * );
 * assert(error.headline.endsWith("my_lock not held"));
 * ```
 */
export function lockdep_assert_held(t: Thread, lock: LockOwner): void {
  if (lock.owner !== t) BUG(t, `${lock.stats.name} not held`);
}
