/**
 * Those who watch a run: traces, counters, sanitizers. They see what happens
 * and change none of it, so a run has the same clock with or without them.
 */
import type { Context } from "./context.ts";
import type { Cpu } from "./cpu.ts";

/** Callbacks of the engine and of `arch/asm.ts`; all optional. */
export interface Observer {
  /**
   * An operation on shared state has been performed. `place` is its cell or
   * line; the address of a load or store, bytes; the frame of page-table
   * entries; 0 for the others.
   */
  operation?(t: Context, kind: number, place: unknown, value: number): void;
  /** `cpu` starts to handle an interrupt. */
  interrupt?(cpu: Cpu, vector: number): void;
  /** `cpu` sends `vector` to CPU number `target`. */
  ipi?(cpu: Cpu, target: number, vector: number): void;
  /** `cpu` has flushed its TLB: `global` = kernel entries too. */
  flush?(cpu: Cpu, global: boolean): void;
  /** `cpu` goes on with another thread. */
  switchTo?(cpu: Cpu, next: Context): void;
}
