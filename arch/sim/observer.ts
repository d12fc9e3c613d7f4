/**
 * Those who watch a run: traces, counters, sanitizers. They see what happens
 * and change none of it, so a run has the same clock with or without them.
 */
import type { Context } from "./context.ts";
import type { Cpu } from "./cpu.ts";

/** Callbacks of the engine and of `arch/asm.ts`; all optional. */
export interface Observer {
  /** An operation on shared state has been performed. `place` is a line, cell or frame. */
  operation?(t: Context, kind: number, place: unknown, value: number): void;
  /** `cpu` starts to handle an interrupt. */
  interrupt?(cpu: Cpu, vector: number): void;
  /** A function of the kernel has been entered or left. */
  flush?(cpu: Cpu, global: boolean): void;
  /** `cpu` goes on with another thread. */
  switchTo?(cpu: Cpu, next: Context): void;
}
