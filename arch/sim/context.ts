/**
 * A flow of control on a CPU: a kernel thread, or an interrupt handler that
 * runs on top of one.
 *
 * It owns its generator, the one operation it may have pending, and a call
 * stack of symbols. The stack is what profiles charge and oopses print; it is
 * kept by {@linkcode enter} and {@linkcode leave}, not by `try`/`finally`,
 * since an abandoned generator never runs those.
 */
import type { Cpu } from "./cpu.ts";
import type { StepIterator } from "./steps.ts";
import { type Sym, SYM_UNKNOWN, symName } from "./symbol.ts";

/** Deepest call stack, frames. A real kernel stack of 8 KiB overflows near here too. */
export const MAX_FRAMES = 64;

/** An operation that waits for its turn; see `arch/asm.ts`. */
export interface PendingOp {
  /** Whether it is parked and not done. */
  readonly waiting: boolean;
  /**
   * Tries a parked operation again, without resuming the generator.
   *
   * @returns Whether it is done; `false` = the CPU has parked again.
   */
  retry(): boolean;
  /** Goes on waiting after an interrupt: it is tried again in its turn. */
  takeUp(): void;
  /** What a waiting CPU waits for, for deadlock reports. */
  describe(): string;
}

/**
 * One flow of control on a CPU, a thread or a running interrupt handler: what
 * it interrupted, and the symbols of its call stack.
 *
 * @example
 * ```ts
 * import { boot, enter, ksym, leave } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const trace = boot().run(function* (t) {
 *   enter(t, ksym("my_probe"));
 *   const names = t.backtrace();
 *   leave(t);
 *   return names;
 * });
 * assertEquals(trace.slice(0, 2), ["my_probe", "kernel_init"]);
 * ```
 */
export class Context {
  /** CPU it runs on, or ran on last. */
  declare cpu: Cpu;
  /**
   * The started generator; `null` before start and after the end.
   *
   * @internal
   */
  gen: StepIterator | null = null;
  /**
   * Makes what follows when `gen` has run to its end, from what that returned;
   * `null` = nothing. Spares the host a generator that waits for another all the
   * time and is resumed each time that the other is.
   *
   * @internal
   */
  afterwards: ((result: unknown) => StepIterator) | null = null;
  /** The context this one interrupted. */
  below: Context | null = null;
  /** It interrupted a wait that its end takes up again. */
  uponParked = false;
  /**
   * The operation slot, filled in by `arch/asm.ts`.
   *
   * @internal
   */
  op: PendingOp | null = null;
  /** Symbols of the active calls, outermost first; `stack[depth - 1]` is charged. */
  readonly stack: Int32Array = new Int32Array(MAX_FRAMES);
  /** Active calls; never 0, since frame 0 is the entry symbol. */
  depth = 1;

  /** Name in reports, such as `"kthreadd"`. */
  declare name: string;
  /** Interrupt handlers may not sleep. */
  declare readonly isInterrupt: boolean;

  /** A context that has not started. */
  constructor(name: string, isInterrupt: boolean) {
    this.name = name;
    this.isInterrupt = isInterrupt;
    this.stack[0] = SYM_UNKNOWN;
  }

  /** Call stack, innermost first, as names. */
  backtrace(): string[] {
    const frames: string[] = [];
    for (let i = this.depth - 1; i >= 0; i--) {
      frames.push(symName(this.stack[i]));
    }
    return frames;
  }
}

/**
 * Thrown when calls nest deeper than {@linkcode MAX_FRAMES}.
 *
 * @example
 * ```ts
 * import { boot, enter, ksym, StackOverflow } from "@vmaplab/vmaplab";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(
 *   () =>
 *     boot().run(function* (t) {
 *       for (;;) enter(t, ksym("recursion"));
 *     }),
 *   StackOverflow,
 *   "kernel stack overflow in recursion",
 * );
 * ```
 */
export class StackOverflow extends Error {
  /** Name shown before the message. */
  override name = "StackOverflow";
}

/**
 * Pushes `sym`: from here, time is charged to it. Pair with {@linkcode leave}.
 *
 * @example
 * ```ts
 * import { boot, charge, enter, ksym, leave } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const COPY = ksym("my_copy");
 * const machine = boot();
 * machine.run(function* (t) {
 *   enter(t, COPY);
 *   charge(t, 100_000);
 *   leave(t);
 * });
 * assert(machine.profile().some(({ symbol }) => symbol === "my_copy"));
 * ```
 */
export function enter(t: Context, sym: Sym): void {
  if (t.depth === MAX_FRAMES) {
    throw new StackOverflow(`kernel stack overflow in ${symName(sym)}`);
  }
  t.cpu.book(t.stack[t.depth - 1]);
  t.stack[t.depth++] = sym;
}

/**
 * Pops what {@linkcode enter} pushed. Every return path does so.
 *
 * @example
 * ```ts
 * import { boot, enter, ksym, leave } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const OUTER = ksym("outer");
 * const INNER = ksym("inner");
 * const names = boot().run(function* (t) {
 *   enter(t, OUTER);
 *   enter(t, INNER);
 *   leave(t);
 *   const [top] = t.backtrace();
 *   leave(t);
 *   return top;
 * });
 * assertEquals(names, "outer");
 * ```
 */
export function leave(t: Context): void {
  t.cpu.book(t.stack[--t.depth]);
}
