/**
 * Absolute times of all CPUs of a machine, in one typed array: from 2^31 on V8
 * allocates a new object for each number that it stores into a field. A CPU has
 * eight places, one cache line of the host's, from `id << TIMES_SHIFT` on.
 */

/** What stands where. Cycles. */
export const At = {
  /** Of the clock: see {@linkcode Cpu.ran} of cpu.ts. */
  BASE: 0,
  LIMIT: 1,
  AHEAD: 2,
  NEXT_IRQ: 3,
  TIMER: 4,
  WAKE: 5,
  WAITING_SINCE: 6,
} as const;

/** Places of a CPU, as a power of two. */
export const TIMES_SHIFT = 3;

/** Times of `count` CPUs that have not started. */
export function cpuTimes(count: number): Float64Array {
  const times = new Float64Array(count << TIMES_SHIFT);
  for (let at = 0; at < times.length; at += 1 << TIMES_SHIFT) {
    times[at + At.LIMIT] = -1;
    times[at + At.AHEAD] = -1;
    times[at + At.NEXT_IRQ] = Infinity;
    times[at + At.TIMER] = Infinity;
    times[at + At.WAKE] = Infinity;
  }
  return times;
}
