/** Who runs next: the seam between the engine and a schedule explorer. */
import type { Cpu } from "./cpu.ts";
import type { Engine } from "./engine.ts";

/** Chooses the order in which CPUs take their turns. */
export interface Policy {
  /** The CPU that runs next; `null` = no CPU can. */
  pick(engine: Engine): Cpu | null;
  /**
   * How far `cpu`, just picked, may run before it must ask again: it performs
   * operations on shared state while its clock is below this many cycles.
   * `-Infinity` = ask at every operation.
   */
  horizon(engine: Engine, cpu: Cpu): number;
  /**
   * Whether several operations on one CPU's own data may be taken together, so
   * that nothing is chosen in between. Default: false, and so it is for classes
   * that extend {@linkcode TimedPolicy} and do not say otherwise.
   */
  readonly hasSections?: boolean;
}

/**
 * Lowest clock first: virtual time is exact. Ties go to the lower CPU number.
 *
 * @example
 * ```ts
 * import { boot, TimedPolicy } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const machine = boot({ engine: { policy: new TimedPolicy() } });
 * assertEquals(machine.kernel.cpu_online.weight, 8);
 * ```
 */
export class TimedPolicy implements Policy {
  readonly hasSections: boolean;

  /** Whoever extends it may want to choose between any two operations. */
  constructor() {
    this.hasSections = new.target === TimedPolicy;
  }

  pick(engine: Engine): Cpu | null {
    const id = engine.queue.first();
    return engine.queue.keyOf(id) === Infinity ? null : engine.cpus[id];
  }

  horizon(engine: Engine, cpu: Cpu): number {
    const other = engine.queue.second();
    return other < 0
      ? Infinity
      : turnBefore(cpu.id, other, engine.queue.keyOf(other));
  }
}

/**
 * First time at which CPU `id` must let CPU `other` go first, which is due at
 * `key`. Clocks are whole cycles, so half a cycle settles the tie.
 */
export function turnBefore(id: number, other: number, key: number): number {
  return id < other ? key + 0.5 : key;
}
