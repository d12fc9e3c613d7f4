/** A part of the mixed run: one subsystem, and kernel threads that use it until time is up. */
import type { Steps } from "../../arch/asm.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import type { Thread } from "../../kernel/thread.ts";
import type { Initcall } from "../host_door.ts";

/** One subsystem at work; see mixed.ts. Made for one machine. */
export interface Part {
  /** Such as `"xfs"`. */
  readonly name: string;
  /** What an operation is, in the plural. */
  readonly unit: string;
  /** Kernel threads that do it side by side. */
  readonly tasks: number;
  /**
   * Gets ready; called before each round, of which the first is short.
   *
   * @returns Why it cannot; `null` = it can.
   */
  prepare(t: Thread): Steps<string | null>;
  /** One operation of task `id`. Ends the run by BUG if it finds something wrong. */
  step(t: Thread, id: number): Steps;
  /** Gives everything back that `prepare()` took. */
  finish(t: Thread): Steps;
}

/** Makes a part for a kernel that has booted. */
export interface PartMaker {
  /** What brings the subsystem up; run by do_initcalls(). */
  readonly initcalls: readonly Initcall[];
  make(k: Kernel): Part;
}
