/**
 * What a profile made by timer ticks shows (kernel/profile.c, readprofile).
 *
 * The profile of 2008 was taken by looking, in every tick, at what the tick
 * had interrupted. Here every cycle is accounted to its symbol; that differs
 * where interrupts are off: a tick that falls due there comes when they are on
 * again, and sees that place. So the time of a handler of another CPU's
 * interrupt, all of it with interrupts off, counts as time of what the
 * handler interrupted: a spinner of `_write_lock`, say, or `default_idle`.
 *
 * Differs from Linux: only those handlers are treated so, and on ia64 only, not
 * the shorter stretches with interrupts off in between; no cycle is left to
 * chance.
 */
import { ksym } from "../arch/asm.ts";

/** What nothing but interrupts from other CPUs and ticks run, interrupts off. */
const MASKED = [
  "interrupt",
  "ia64_handle_irq",
  "ia64_leave_kernel",
  "irq_enter",
  "irq_exit",
  "handle_IPI",
  "local_flush_tlb_all",
].map((name) => ksym(name));

/**
 * Cycles by symbol number, as ticks would see them. The sum stays.
 *
 * @param cycles What was charged to each symbol.
 * @param interrupted What handlers took from each in the same time: `IrqState.interrupted`.
 */
export function cycles_seen_by_ticks(
  cycles: Float64Array,
  interrupted: Float64Array,
): Float64Array {
  const seen = cycles.slice();
  let taken = 0;
  for (let sym = 0; sym < seen.length; sym++) taken += interrupted[sym];
  if (taken === 0) return seen;
  let masked = 0;
  for (const sym of MASKED) {
    masked += seen[sym];
    seen[sym] = 0;
  }
  // What the two differ by is the ticks' own handlers.
  for (let sym = 0; sym < seen.length; sym++) {
    seen[sym] += masked * interrupted[sym] / taken;
  }
  return seen;
}
