/**
 * BUG(), WARN() and what becomes of a fault: a {@linkcode KernelBug} carries
 * what an oops prints. It ends the run; nothing in the kernel catches it.
 */
import type { Thread } from "./thread.ts";

/**
 * The kernel is wrong; the fields are what its oops shows.
 *
 * @example
 * ```ts
 * import { boot, KernelBug, vload } from "@vmaplab/vmaplab";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const oops = assertThrows(
 *   () => boot().run((t) => vload(t, 0x10, 8)),
 *   KernelBug,
 *   "unable to handle kernel NULL pointer dereference",
 * );
 * assertEquals([oops.cpu, oops.comm, oops.pid], [0, "init", 1]);
 * assertEquals(oops.trace.at(-1), "child_rip");
 * ```
 */
export class KernelBug extends Error {
  /** Name shown before the message. */
  override name = "KernelBug";
  /** CPU number. */
  readonly cpu: number;
  /** Clock of that CPU, cycles. */
  readonly atCycles: number;
  /** Call stack, innermost first. */
  readonly trace: readonly string[];
  /** Thread that ran: name and pid. */
  readonly comm: string;
  /** Process number of that thread. */
  readonly pid: number;

  /** An oops of what `t` does now. */
  constructor(
    t: Thread,
    /** First line of the oops, such as `"kernel BUG in vb_free"`. */
    readonly headline: string,
    options?: ErrorOptions,
  ) {
    super(headline, options);
    this.cpu = t.cpu.id;
    this.atCycles = t.cpu.clock;
    this.trace = t.backtrace();
    this.comm = t.name;
    this.pid = t.task.pid;
  }
}

/**
 * Ends the run with `headline`.
 *
 * Linux: include/asm-generic/bug.h.
 *
 * @example
 * ```ts
 * import { boot, BUG, enter, KernelBug, ksym } from "@vmaplab/vmaplab";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const error = assertThrows(
 *   () =>
 *     boot().run(function* (t) {
 *       enter(t, ksym("my_driver"));
 *       BUG(t, "the ring is gone");
 *     }),
 *   KernelBug,
 * );
 * assertEquals(error.headline, "kernel BUG at my_driver: the ring is gone");
 * ```
 */
export function BUG(t: Thread, what: string): never {
  throw new KernelBug(t, `kernel BUG at ${t.backtrace()[0]}: ${what}`);
}

/**
 * {@linkcode BUG} if `condition` holds. `what` says what is wrong, in words.
 *
 * Linux: include/asm-generic/bug.h.
 *
 * @example
 * ```ts
 * import { boot, BUG_ON, vmalloc } from "@vmaplab/vmaplab";
 *
 * boot().run(function* (t) {
 *   const addr = yield* vmalloc(t, 4096);
 *   BUG_ON(t, addr === 0, "no memory"); // ends the run if it holds
 * });
 * ```
 */
export function BUG_ON(t: Thread, condition: boolean, what: string): void {
  if (condition) BUG(t, what);
}

/**
 * Logs a warning with its call trace if `condition` holds.
 *
 * Linux: include/asm-generic/bug.h.
 *
 * @returns `condition`.
 *
 * @example
 * ```ts
 * import { boot, WARN_ON } from "@vmaplab/vmaplab";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const machine = boot();
 * const odd = machine.run(function* (t) {
 *   return WARN_ON(t, t.pid % 2 === 1, "an odd process");
 * });
 * assert(odd);
 * assertEquals(machine.counters().warnings, 1);
 * assert(machine.dmesg().some((line) => line.includes("an odd process")));
 * ```
 */
export function WARN_ON(t: Thread, condition: boolean, what: string): boolean {
  if (condition) {
    t.k.printk.warn(t, what);
    if (t.k.params.panic_on_warn) {
      throw new KernelBug(
        t,
        `Kernel panic - not syncing: panic_on_warn set: ${what}`,
      );
    }
  }
  return condition;
}
