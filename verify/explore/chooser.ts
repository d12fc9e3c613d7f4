/** Who takes the decisions: the seam between the driver and a policy. */
import type { Cpu } from "../../arch/sim/cpu.ts";
import type { Driver } from "./driver.ts";

/** A scheduling policy: takes the decisions of one round after another. */
export interface Chooser {
  /** A round begins. */
  begin(driver: Driver): void;
  /** Number of operations after which it wants to decide next; `Infinity` = never again. */
  readonly due: number;
  /**
   * {@linkcode Chooser.due} has come, and a CPU can run: calls
   * what it wants of the driver's decisions, and sets `due` anew, later.
   */
  decide(driver: Driver): void;
  /**
   * Nobody runs: the round begins, or who ran cannot go on.
   *
   * @returns Who goes on: one that can (`canRun()` of moves.ts); `null` = as the rule says.
   */
  blocked(driver: Driver): Cpu | null;
  /**
   * Who runs could go on, and no decision is due: whether another CPU is to go on
   * instead. Asked at the first operation after any CPU may have become able to
   * run, and perhaps at others. Absent: who runs goes on.
   *
   * @returns One that can (`canRun()` of moves.ts); `null` or who runs = nobody else.
   */
  prefers?(driver: Driver): Cpu | null;
  /** Whether request number `request` of the round for memory is to fail. Absent: none ever. */
  fails?(driver: Driver, request: number): boolean;
}
