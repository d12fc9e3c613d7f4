/**
 * Locks that could be waited for without end, in some schedule if not in this
 * one: Linux's lockdep, by class of lock (`LockClass.name`).
 *
 * - Order: A held while B is asked for, and B while A, directly or on a way
 *   through others; and two locks of one class. (Linux lays an order of their own
 *   down for some classes, by spin_lock_nested(); nobody here holds two at once.)
 * - Interrupts: a class that a handler takes and that is held with interrupts on,
 *   and one that leads to such; softirqs likewise; a class that is held while
 *   other CPUs are to answer an interrupt and that some CPU asks for with
 *   interrupts off (see lockdep_class.ts).
 * - Contexts: sleeping while atomic, waiting for an answer with interrupts off,
 *   a lock let go of by a stranger, or still held where its holder ends.
 *
 * Where may be slept: where 2.6.28 has might_sleep(), which cond_resched() asks
 * only if somebody else is to run, as there; and in schedule_timeout(). vmalloc(),
 * vmap() and synchronize_rcu() have none of their own but what they call has;
 * vfree(), vunmap() and rcu_barrier() are a BUG in an interrupt, and schedule()
 * while atomic is one, with or without this.
 *
 * Differs from Linux: a trylock is no edge to what it takes, as there, but an
 * rwlock's readers are edges, told apart from its writers; local_irq_enable()
 * under a lock is noticed when the lock is let go of; nothing is asked with
 * interrupts off while one CPU is online; knowledge is one run's, so that every
 * finding has a schedule.
 */
import { symName } from "../../arch/sim/symbol.ts";
import type { CpuMask } from "../cpumask.ts";
import type { Kernel } from "../kernel.ts";
import type { LockOwner } from "../locking/lock_stat.ts";
import type { Thread } from "../thread.ts";
import {
  ANSWER,
  DepClass,
  DepEdge,
  fact,
  HARDIRQ,
  SOFTIRQ,
  spread,
  wayBack,
} from "./lockdep_class.ts";
import { HeldLocks } from "./lockdep_held.ts";
import {
  askingSections,
  callerOf,
  clashFinding,
  contextLine,
  cycleFinding,
  heldSection,
} from "./lockdep_report.ts";
import {
  type ReportSection,
  SanitizerReport,
  type Spot,
  spotOf,
} from "./report.ts";
import { LockMode, type Sanitizer } from "./sanitizer.ts";

/** See the file's head. */
export class LockdepSanitizer implements Sanitizer {
  #nrClasses = 0;

  constructor(readonly k: Kernel) {}

  lockAsked(
    t: Thread,
    lock: LockOwner,
    mode: LockMode,
    letsIrqsIn: boolean,
  ): void {
    const cls = this.#classOf(lock);
    const held = t.held as HeldLocks | null;
    if (held !== null && held.depth > 0 && held.of === this) {
      this.#checkOrder(t, held, cls, mode);
    }
    if (mode > LockMode.SPIN_READ) return;
    const read = mode === LockMode.SPIN_READ;
    const irq = pairOf(t);
    if (irq !== -1 && (cls.ownAbove & fact(irq, read)) === 0) {
      this.#noteAbove(t, cls, fact(irq, read));
    }
    if (t.cpu.irqsOn || letsIrqsIn) return;
    const asked = fact(ANSWER, read);
    if ((cls.ownAbove & asked) === 0 && this.#othersRun()) {
      this.#noteAbove(t, cls, asked);
    }
  }

  lockTaken(t: Thread, lock: LockOwner, mode: LockMode): void {
    const cls = this.#classOf(lock);
    const irqsOn = t.cpu.irqsOn;
    this.#heldBy(t).push(
      lock,
      cls,
      mode,
      irqsOn,
      callerOf(t),
    );
    if (irqsOn && mode <= LockMode.SPIN_READ) {
      this.#heldWithIrqsOn(t, cls, mode);
    }
  }

  lockReleased(t: Thread, lock: LockOwner, mode: LockMode): void {
    const held = this.#heldBy(t);
    const index = held.find(lock, mode);
    if (index === -1) {
      // Whoever owned it before the sanitizer came is none of its business.
      if (lock.owner !== t) this.lockStranger(t, lock);
      return;
    }
    if (
      !held.irqsOn[index] && t.cpu.irqsOn && mode <= LockMode.SPIN_READ
    ) {
      this.#heldWithIrqsOn(t, held.classes[index], mode);
    }
    held.remove(index);
  }

  lockHandedOver(t: Thread, next: Thread, lock: LockOwner): void {
    const held = this.#heldBy(t);
    const index = held.find(lock, lock.mode);
    if (index === -1) return;
    this.#heldBy(next).push(
      lock,
      held.classes[index],
      held.modes[index],
      held.irqsOn[index],
      held.callers[index],
    );
    held.remove(index);
  }

  lockStranger(t: Thread, lock: LockOwner): never {
    this.#report(
      t,
      `BUG: bad unlock balance detected: ${lock.stats.name}`,
      [{
        title:
          `${t.name}/${t.task.pid} is trying to release lock (${lock.stats.name}) at:`,
        lines: [symName(callerOf(t)), "but there are no more locks to release"],
      }],
    );
  }

  threadExit(t: Thread): void {
    const held = t.held as HeldLocks | null;
    if (held === null || held.depth === 0 || held.of !== this) return;
    const name = held.classes[held.depth - 1].name;
    const where = t.isInterrupt
      ? "lock held when returning from an interrupt"
      : t.pid === 0
      ? "lock held when going idle"
      : "lock held at task exit time";
    this.#report(t, `BUG: ${where}: ${name}`, []);
  }

  mightSleep(t: Thread, what: string): void {
    const may = !t.isInterrupt && t.preempt_count === 0 &&
      t.softirq_count === 0 && t.cpu.irqsOn;
    // Threads without a number are the idle ones, and start_kernel()'s.
    if (may || (t.task.pid === 0 && !t.isInterrupt)) return;
    this.#report(
      t,
      `BUG: sleeping function called from invalid context at ${what}`,
      [{
        title: contextLine(t),
        lines: [],
      }],
    );
  }

  ipiWait(t: Thread): void {
    if (!t.cpu.irqsOn) {
      this.#report(
        t,
        "BUG: waiting for other CPUs to answer with interrupts off",
        [],
      );
    }
    const held = t.held as HeldLocks | null;
    if (held === null || held.of !== this) return;
    for (let i = 0; i < held.depth; i++) {
      const mode = held.modes[i];
      if (mode > LockMode.SPIN_READ) continue;
      const cls = held.classes[i];
      const bit = fact(ANSWER, mode === LockMode.SPIN_READ);
      if ((cls.below & bit) === 0) this.#noteBelow(t, cls, bit);
    }
  }

  /** Whether there is a CPU to wait for; kernels of tests may have no mask. */
  #othersRun(): boolean {
    const online = this.k.cpu_online as CpuMask | undefined;
    return online !== undefined && online.weight > 1;
  }

  #classOf(lock: LockOwner): DepClass {
    const { stats } = lock;
    const cls = stats.dep as DepClass | null;
    if (cls !== null && cls.of === this) return cls;
    const fresh = new DepClass(this, this.#nrClasses++, stats.name);
    stats.dep = fresh;
    return fresh;
  }

  #heldBy(t: Thread): HeldLocks {
    const held = t.held as HeldLocks | null;
    if (held !== null && held.of === this) return held;
    const fresh = new HeldLocks(this);
    t.held = fresh;
    return fresh;
  }

  /** `t`, which holds `held`, asks for a lock of `cls`. */
  #checkOrder(
    t: Thread,
    held: HeldLocks,
    cls: DepClass,
    mode: LockMode,
  ): void {
    const reading = Number(mode === LockMode.SPIN_READ);
    for (let i = 0; i < held.depth; i++) {
      const from = held.classes[i];
      const way = held.modes[i] === LockMode.SPIN_READ ? 2 + reading : reading;
      if (from === cls) {
        this.#checkNested(t, held, i, cls, way);
        continue;
      }
      const edge = from.after[cls.id];
      if (edge === undefined || (edge.ways & (1 << way)) === 0) {
        this.#addEdge(t, from, cls, way);
      }
    }
  }

  #checkNested(
    t: Thread,
    held: HeldLocks,
    index: number,
    cls: DepClass,
    way: number,
  ): void {
    if (way === 3) return; // two readers of an rwlock
    this.#report(
      t,
      `INFO: possible recursive locking detected: ${cls.name}`,
      askingSections(t, cls, held, index),
    );
  }

  #addEdge(t: Thread, from: DepClass, to: DepClass, way: number): void {
    let edge = from.after[to.id];
    if (edge === undefined) {
      edge = new DepEdge(from, to, spotOf(t));
      from.after[to.id] = edge;
      from.edges.push(edge);
      to.edgesIn.push(edge);
    }
    edge.ways |= 1 << way;
    const back = to.edges.length === 0 ? null : wayBack(edge, way);
    if (back !== null) {
      const { headline, sections } = cycleFinding(
        t,
        this.#heldBy(t),
        edge,
        back,
      );
      this.#report(t, headline, sections);
    }
    this.#settle(t, from);
  }

  #heldWithIrqsOn(t: Thread, cls: DepClass, mode: LockMode): void {
    const read = mode === LockMode.SPIN_READ;
    let bits = fact(HARDIRQ, read);
    if (t.softirq_count === 0 && !t.isInterrupt) bits |= fact(SOFTIRQ, read);
    if ((cls.below & bits) !== bits) this.#noteBelow(t, cls, bits);
  }

  #noteAbove(t: Thread, cls: DepClass, bits: number): void {
    noteSpots(cls.aboveSpots, bits & ~cls.ownAbove, spotOf(t));
    cls.ownAbove |= bits;
    cls.above |= bits;
    this.#settle(t, cls);
  }

  #noteBelow(t: Thread, cls: DepClass, bits: number): void {
    noteSpots(cls.belowSpots, bits & ~cls.below, spotOf(t));
    cls.below |= bits;
    if (cls.clash() !== -1) this.#reportClash(t, cls);
  }

  /** Passes on what `cls` has learnt, and reports where it meets what it must not. */
  #settle(t: Thread, cls: DepClass): void {
    const at = spread(cls);
    if (at !== null) this.#reportClash(t, at);
  }

  #reportClash(t: Thread, at: DepClass): never {
    const { headline, sections } = clashFinding(this.k, at, at.clash());
    this.#report(t, headline, sections);
  }

  #report(
    t: Thread,
    headline: string,
    sections: readonly ReportSection[],
  ): never {
    throw new SanitizerReport(t, "lockdep", headline, [
      ...sections,
      heldSection(t, this.#heldBy(t)),
    ]);
  }
}

/** Pair whose left fact it is that `t` takes a lock now; -1 = none: it is a thread. */
function pairOf(t: Thread): number {
  if (t.softirq_context > 0) return SOFTIRQ;
  return t.isInterrupt ? HARDIRQ : -1;
}

function noteSpots(
  spots: (Spot | undefined)[],
  bits: number,
  spot: Spot,
): void {
  for (let left = bits; left !== 0; left &= left - 1) {
    spots[31 - Math.clz32(left & -left)] = spot;
  }
}
