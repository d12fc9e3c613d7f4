/**
 * BUG(), WARN() and what becomes of a fault: a {@linkcode KernelBug} carries
 * what an oops prints. It ends the run; nothing in the kernel catches it.
 */
import type { Thread } from "./thread.ts";

/** The kernel is wrong; the fields are what its oops shows. */
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

/** Ends the run with `headline`. */
export function BUG(t: Thread, what: string): never {
  throw new KernelBug(t, `kernel BUG at ${t.backtrace()[0]}: ${what}`);
}

/** {@linkcode BUG} if `condition` holds. `what` says what is wrong, in words. */
export function BUG_ON(t: Thread, condition: boolean, what: string): void {
  if (condition) BUG(t, what);
}

/** Logs a warning with its call trace if `condition` holds. @returns `condition`. */
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
