/**
 * Lock statistics, kept for every lock class: what CONFIG_LOCK_STAT counts and
 * `/proc/lock_stat` shows. Locks of one class share a name, as lockdep has it.
 */
import type { Holder } from "../../arch/hw/cell.ts";
import { ZERO_CYCLES } from "../../arch/sim/cycles.ts";
import { LockMode } from "../sanitizers/sanitizer.ts";
import type { Thread } from "../thread.ts";

/**
 * Counters of one class. Times in cycles.
 *
 * Linux: include/linux/lockdep.h.
 *
 * @example
 * ```ts
 * import { boot, LockClass } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const { lockStats } = boot().kernel;
 * const area = lockStats.get("vmap_area_lock");
 * assert(area instanceof LockClass);
 * assert(area.acquisitions > 0 && area.holdCycles > 0);
 * ```
 */
export class LockClass {
  /** Times that a lock of the class was taken. */
  acquisitions = 0;
  /** Acquisitions that had to wait. */
  contentions = 0;
  /** Waited, all waiters together. */
  waitCycles = 0;
  /** Longest wait. */
  waitMaxCycles = 0;
  /** Held, all holders together. */
  holdCycles = 0;
  /** Longest hold. */
  holdMaxCycles = 0;
  /**
   * What the lockdep sanitizer knows of it.
   *
   * @internal
   */
  dep: unknown = null;

  /** Its locks', as lockdep has it. */
  declare readonly name: string;

  /** Counters at 0. */
  constructor(name: string) {
    this.name = name;
  }
}

/**
 * All lock classes of one kernel, in order of first use.
 *
 * Linux: kernel/lockdep_proc.c.
 *
 * @example
 * ```ts
 * import { boot, spin_lock, spin_unlock, Spinlock } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const booted = boot();
 * booted.run(function* (t) {
 *   const lock = new Spinlock(t.k, "my_lock");
 *   yield* spin_lock(t, lock);
 *   yield* spin_unlock(t, lock);
 * });
 * assertEquals(booted.kernel.lockStats.get("my_lock").acquisitions, 1);
 * ```
 */
export class LockStats {
  readonly #classes = new Map<string, LockClass>();

  /** The class called `name`. */
  get(name: string): LockClass {
    let found = this.#classes.get(name);
    if (found === undefined) {
      found = new LockClass(name);
      this.#classes.set(name, found);
    }
    return found;
  }

  /** All classes, in order of first use. */
  all(): LockClass[] {
    return [...this.#classes.values()];
  }
}

/**
 * Who holds a lock exclusively, and since when: debugging state of every lock.
 *
 * @example
 * ```ts
 * import { boot, LockOwner, Spinlock } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const lock: LockOwner = new Spinlock(t.k, "my_lock");
 *   assertEquals(lock.owner, null);
 *   assertEquals(lock.describeHolder(), null);
 * });
 * ```
 */
export class LockOwner implements Holder {
  /** Who holds the lock; `null` = nobody, or readers. */
  owner: Thread | null = null;
  /** CPU of the owner when it took the lock. */
  cpu: number = -1;
  /** When the owner took it, cycles. */
  acquiredAt: number = ZERO_CYCLES;
  /**
   * What the race sanitizer remembers of it.
   *
   * @internal
   */
  shadow: unknown = null;

  /** Counters of its class. */
  declare readonly stats: LockClass;
  /**
   * How it is taken.
   *
   * @internal
   */
  declare readonly mode: LockMode;

  /** A lock that nobody holds. */
  constructor(stats: LockClass, mode: LockMode = LockMode.SPIN) {
    this.stats = stats;
    this.mode = mode;
  }

  describeHolder(): string | null {
    if (this.owner === null) return null;
    return `held by ${this.owner.name} on CPU ${this.owner.cpu.id}`;
  }

  /** Books an acquisition that was asked for at `since`; `tried` = by a trylock. */
  acquired(
    t: Thread,
    since: number,
    contended: boolean,
    tried = false,
  ): void {
    const stats = this.stats;
    const now = t.cpu.clock;
    stats.acquisitions++;
    if (contended) {
      stats.contentions++;
      const wait = now - since;
      stats.waitCycles += wait;
      if (wait > stats.waitMaxCycles) stats.waitMaxCycles = wait;
    }
    this.owner = t;
    this.cpu = t.cpu.id;
    this.acquiredAt = now;
    t.k.sanitizers?.lockTaken(t, this, this.mode, tried);
  }

  /** Books the release. */
  released(t: Thread): void {
    t.k.sanitizers?.lockReleased(t, this, this.mode);
    const stats = this.stats;
    const hold = t.cpu.clock - this.acquiredAt;
    stats.holdCycles += hold;
    if (hold > stats.holdMaxCycles) stats.holdMaxCycles = hold;
    this.owner = null;
  }
}
