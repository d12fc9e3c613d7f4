/**
 * What a sanitizer has found: an oops with more to show than one call stack,
 * such as the other party's, or the history of an object. Ends the run, as any
 * {@linkcode KernelBug}.
 */
import { symName } from "../../arch/sim/symbol.ts";
import type { Kernel } from "../kernel.ts";
import { KernelBug } from "../bug.ts";
import type { Thread } from "../thread.ts";
import { innermostFirst } from "./stacks.ts";

/** A further paragraph of a report: a line that says what it is, lines below it. */
export interface ReportSection {
  /** Such as `"previous write by kthread/3 on CPU 1 at [0.000123]:"`. */
  readonly title: string;
  /** Call stack, innermost first, or other lines. */
  readonly lines: readonly string[];
}

/**
 * A finding of a sanitizer.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   Cell,
 *   kthread_join,
 *   kthread_run,
 *   load,
 *   SanitizerReport,
 *   store,
 *   type Thread,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const jobs = new Cell("jobs", 0); // and no lock
 * function* add(t: Thread) {
 *   yield* store(t, jobs, (yield* load(t, jobs)) + 1);
 * }
 * const report = assertThrows(
 *   () =>
 *     boot({ sanitize: ["race"] }).run(function* (t) {
 *       const other = yield* kthread_run(t, add, "adder");
 *       yield* add(t);
 *       yield* kthread_join(t, other);
 *     }),
 *   SanitizerReport,
 * );
 * assertEquals(
 *   report.headline,
 *   "BUG: KCSAN: data-race in kernel_init / kthread",
 * );
 * assertEquals(report.sections.length, 2); // who, and who else
 * ```
 */
export class SanitizerReport extends KernelBug {
  /** Name shown before the message. */
  override name = "SanitizerReport";

  /**
   * A report about what `t` does now.
   *
   * @param sanitizer Name, as `--sanitize=` takes it.
   * @param headline First line, without addresses or numbers that depend on the
   * schedule: two findings with one headline are taken to be one bug.
   */
  constructor(
    t: Thread,
    readonly sanitizer: string,
    headline: string,
    /** What there is to say besides the headline and the stack. */
    readonly sections: readonly ReportSection[] = [],
  ) {
    super(t, headline);
  }
}

/** Where somebody was at one moment, kept for a report that may come later. */
export interface Spot {
  readonly comm: string;
  readonly pid: number;
  readonly cpu: number;
  readonly atCycles: number;
  /** Symbols of the call stack, innermost first. */
  readonly stack: ArrayLike<number>;
}

/** Who `t` is and where it stands. */
export function spotOf(t: Thread): Spot {
  const { task, cpu, stack, depth } = t;
  const { sanitizers } = t.k;
  return {
    comm: task.name,
    pid: task.pid,
    cpu: cpu.id,
    atCycles: cpu.clock,
    stack: sanitizers === null
      ? innermostFirst(stack, depth)
      : sanitizers.stacks.save(stack, depth),
  };
}

/** `spot` as a section: `"freed by task/1 on CPU 0 at [0.000001]:"` and its stack. */
export function spotSection(
  k: Kernel,
  what: string,
  spot: Spot,
): ReportSection {
  const { comm, pid, cpu, atCycles, stack } = spot;
  const at = k.printk.stamp(atCycles).replaceAll(/[[\] ]/g, "");
  return {
    title: `${what} by ${comm}:${pid} on CPU ${cpu} at ${at}:`,
    lines: Array.from(stack, (sym) => symName(sym)),
  };
}
