/**
 * Per-CPU variables (include/linux/percpu.h, asm-generic/percpu.h).
 *
 * Differs from Linux: a CPU's copy is made when it is first asked for, not by
 * copying a section at boot, so that 4096 possible CPUs cost nothing until they
 * are used. It costs no virtual time, and its content cannot tell.
 */
import * as asm from "../arch/asm.ts";
import type { Kernel } from "./kernel.ts";
import * as thread from "./thread.ts";
import type { Thread } from "./thread.ts";

// Functions as constants of this module: docs/ARCHITECTURE.md, "What V8 likes".
const { charge } = asm;
const { preempt_disable, preempt_enable } = thread;

/**
 * One variable, a copy for each possible CPU.
 *
 * Linux: include/linux/percpu.h.
 *
 * @example
 * ```ts
 * import { __get_cpu_var, boot, on_each_cpu, PerCpu } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const hits = boot().run(function* (t) {
 *   const counters = new PerCpu(t.k, () => ({ hits: 0 }));
 *   yield* on_each_cpu(
 *     t,
 *     (irq) => {
 *       __get_cpu_var(irq, counters).hits++;
 *     },
 *     null,
 *     true,
 *   );
 *   return t.k.cpu_online.list.map((cpu) => counters.get(cpu).hits);
 * });
 * assertEquals(hits, [1, 1, 1, 1, 1, 1, 1, 1]);
 * ```
 */
export class PerCpu<T> {
  readonly #copies: (T | null)[];
  readonly #make: (cpu: number) => T;

  /**
   * A variable without copies: each is made when it is first asked for.
   *
   * @param make Makes the copy of CPU number `cpu`.
   */
  constructor(k: Kernel, make: (cpu: number) => T) {
    this.#copies = new Array(k.machine.nrCpus).fill(null);
    this.#make = make;
  }

  /** The copy of `cpu`: `per_cpu()`. */
  get(cpu: number): T {
    return this.#copies[cpu] ?? this.#create(cpu);
  }

  /** The copy of `cpu` if it has been used, for reports. */
  peek(cpu: number): T | null {
    return this.#copies[cpu];
  }

  #create(cpu: number): T {
    if (!(cpu >= 0 && cpu < this.#copies.length)) {
      throw new RangeError(
        `Cannot find a per-CPU copy as cpu must be in 0..${
          this.#copies.length - 1
        }: current value is ${cpu}`,
      );
    }
    const copy = this.#make(cpu);
    this.#copies[cpu] = copy;
    return copy;
  }
}

/**
 * This CPU's copy of `v`, with preemption off until {@linkcode put_cpu_var}.
 *
 * Linux: include/linux/percpu.h.
 *
 * @example
 * ```ts
 * import { boot, get_cpu_var, PerCpu, put_cpu_var } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const queues = new PerCpu<string[]>(t.k, () => []);
 *   get_cpu_var(t, queues).push("job"); // stays on this CPU
 *   put_cpu_var(t, queues);
 *   assertEquals(queues.get(0), ["job"]);
 * });
 * ```
 */
export function get_cpu_var<T>(t: Thread, v: PerCpu<T>): T {
  preempt_disable(t);
  charge(t, 2);
  return v.get(t.cpu.id);
}

/**
 * Ends {@linkcode get_cpu_var}.
 *
 * Linux: include/linux/percpu.h.
 *
 * @example
 * ```ts
 * import { boot, get_cpu_var, PerCpu, put_cpu_var } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const count = boot().run(function* (t) {
 *   const queues = new PerCpu<string[]>(t.k, () => []);
 *   get_cpu_var(t, queues);
 *   put_cpu_var(t, queues);
 *   return t.preempt_count;
 * });
 * assertEquals(count, 0);
 * ```
 */
export function put_cpu_var<T>(t: Thread, _v: PerCpu<T>): void {
  preempt_enable(t);
}

/**
 * This CPU's copy of `v`.
 *
 * Context: preemption or interrupts off.
 *
 * Linux: include/linux/percpu.h.
 *
 * @example
 * ```ts
 * import {
 *   __get_cpu_var,
 *   boot,
 *   PerCpu,
 *   preempt_disable,
 *   preempt_enable,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const cpu = boot().run(function* (t) {
 *   const numbers = new PerCpu(t.k, (cpu) => cpu);
 *   preempt_disable(t);
 *   const mine = __get_cpu_var(t, numbers);
 *   preempt_enable(t);
 *   return mine;
 * });
 * assertEquals(cpu, 0);
 * ```
 */
export function __get_cpu_var<T>(t: Thread, v: PerCpu<T>): T {
  charge(t, 2);
  return v.get(t.cpu.id);
}
