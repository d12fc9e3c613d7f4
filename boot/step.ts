/**
 * A step of the boot: what it is called in Linux, what must exist before it,
 * and what it does here, or why it does nothing here.
 */
import { charge, enter, ksym, leave, type Steps } from "../arch/asm.ts";
import type { Subsystems } from "../kernel/kernel.ts";
import type { Thread } from "../kernel/thread.ts";

/** One step, named as in Linux's `init/main.c`. */
export interface BootStep {
  /** Name in Linux; what it is profiled under. */
  readonly name: string;
  /** Fields of {@linkcode Kernel} that the step uses; named in the oops if one is missing. */
  readonly needs: readonly (keyof Subsystems)[];
  /** What it does; absent = nothing, for the reason in `nothing`. */
  readonly run?: (t: Thread) => Steps<unknown> | void;
  /** Why the model has nothing to do here. */
  readonly nothing?: string;
}

/** Which step brings a subsystem up, for messages. */
const BROUGHT_UP_BY: Readonly<Record<keyof Subsystems, string>> = {
  sched: "sched_init",
  irq: "init_IRQ",
  softirq: "softirq_init",
  timers: "init_timers",
  tick: "timekeeping_init",
  rcu: "rcu_init",
  smp: "do_pre_smp_initcalls",
  workqueues: "init_workqueues",
  bootmem: "setup_arch",
  pages: "mem_init",
  slab: "kmem_cache_init",
  init_mm: "setup_arch",
  vmalloc: "vmalloc_init",
  vmap: "vmalloc_init",
};

/**
 * A step that does something.
 *
 * @example
 * ```ts
 * import { boot, START_KERNEL_STEPS, step } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * let seen = "";
 * const steps = START_KERNEL_STEPS.flatMap((s) =>
 *   s.name === "vmalloc_init"
 *     ? [s, step("my_init", ["vmap"], (t) => void (seen = t.k.vmap.name))]
 *     : [s]
 * );
 * boot({ steps });
 * assertEquals(seen, "rewrite");
 * ```
 */
export function step(
  name: string,
  needs: readonly (keyof Subsystems)[],
  run: (t: Thread) => Steps<unknown> | void,
): BootStep {
  return { name, needs, run };
}

/**
 * A step that does nothing here. `why` says what the model lacks.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   KernelBug,
 *   nothing,
 *   START_KERNEL_STEPS,
 * } from "@vmaplab/vmaplab";
 * import { assertThrows } from "@std/assert";
 *
 * const without = nothing("vmalloc_init", "to see who needs it");
 * const steps = START_KERNEL_STEPS.map((s) =>
 *   s.name === "vmalloc_init" ? without : s
 * );
 * assertThrows(
 *   () => boot({ steps }),
 *   KernelBug,
 *   'NULL pointer dereference: "vmap" is used before vmalloc_init()',
 * );
 * ```
 */
export function nothing(name: string, why: string): BootStep {
  return { name, needs: [], nothing: why };
}

/**
 * Runs `steps` in order.
 *
 * @throws {KernelBug} If a step comes before one that it needs.
 */
export function* runSteps(t: Thread, steps: readonly BootStep[]): Steps {
  for (const { name, needs, run } of steps) {
    enter(t, ksym(name));
    for (const field of needs) t.k.need(t, field, BROUGHT_UP_BY[field]);
    if (run === undefined) {
      charge(t, 10); // a call that returns
    } else {
      const work = run(t);
      if (work !== undefined) yield* work;
    }
    leave(t);
  }
}
