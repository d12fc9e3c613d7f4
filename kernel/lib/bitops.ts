/**
 * Bit searches and alignment.
 *
 * Differs from Linux: `unsigned long` is a safe integer (at most 2^53 - 1), so
 * whatever may exceed 32 bits is done by division, which is exact for powers
 * of two, and never by `>>` or `&`. Functions that take one machine word take
 * 32 bits and say so. `get_order()` has the page shift as an argument because
 * two machines with different pages run in one process.
 */

const TWO_32 = 2 ** 32;

/**
 * Finds the last (highest) set bit.
 *
 * @param x 32 bits.
 * @returns Its position counted from 1; 0 when `x` is 0.
 */
export function fls(x: number): number {
  return 32 - Math.clz32(x);
}

/**
 * Finds the first (lowest) set bit.
 *
 * @param x 32 bits.
 * @returns Its position counted from 1; 0 when `x` is 0.
 */
export function ffs(x: number): number {
  return 32 - Math.clz32(x & -x);
}

/**
 * Finds the first (lowest) set bit.
 *
 * @param x 32 bits, not 0.
 * @returns Its position counted from 0.
 */
export function __ffs(x: number): number {
  return 31 - Math.clz32(x & -x);
}

/**
 * Finds the last (highest) set bit of a wide number.
 *
 * @param x From 0 to 2^53.
 * @returns Its position counted from 1; 0 when `x` is 0.
 */
export function fls64(x: number): number {
  return x < TWO_32
    ? 32 - Math.clz32(x)
    : 64 - Math.clz32(Math.floor(x / TWO_32));
}

/**
 * Takes the logarithm to base 2, rounded down.
 *
 * @param n From 1 to 2^53.
 * @returns The exponent.
 */
export function ilog2(n: number): number {
  return fls64(n) - 1;
}

/**
 * Tells whether `n` is a power of two.
 *
 * @param n From 0 to 2^53.
 * @returns False for 0.
 */
export function is_power_of_2(n: number): boolean {
  return n > 0 && n === 2 ** (fls64(n) - 1);
}

/**
 * Rounds up to a power of two.
 *
 * @param n From 1 to 2^53.
 * @returns The smallest power of two that is at least `n`.
 */
export function roundup_pow_of_two(n: number): number {
  return 2 ** fls64(n - 1);
}

/**
 * Counts set bits.
 *
 * @param w 32 bits.
 * @returns From 0 to 32.
 */
export function hweight32(w: number): number {
  let x = w - ((w >>> 1) & 0x55555555); // sums of pairs, then of nibbles, then of bytes
  x = (x & 0x33333333) + ((x >>> 2) & 0x33333333);
  x = (x + (x >>> 4)) & 0x0f0f0f0f;
  return Math.imul(x, 0x01010101) >>> 24;
}

/**
 * Gives the allocation order that holds `size` bytes.
 *
 * Linux: include/asm-generic/page.h.
 *
 * @param size Bytes.
 * @param pageShift log2 of the page size.
 * @returns The smallest order whose `2 ** order` pages hold `size`. For 0 it is
 *   `64 - pageShift`: Linux computes `size - 1`, which wraps, and callers that
 *   forget to reject 0 get a huge order here as they do there.
 *
 * @example
 * ```ts
 * import { get_order } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([get_order(4096, 12), get_order(4097, 12)], [0, 1]);
 * ```
 */
export function get_order(size: number, pageShift: number): number {
  if (size === 0) return 64 - pageShift;
  return fls64(Math.floor((size - 1) / 2 ** pageShift));
}

/**
 * Rounds up to a multiple of `a`.
 *
 * Linux: include/linux/kernel.h.
 *
 * @param x A safe integer, not negative.
 * @param a A power of two.
 * @returns The smallest multiple of `a` that is at least `x`.
 *
 * @example
 * ```ts
 * import { ALIGN } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([ALIGN(1, 4096), ALIGN(4096, 4096)], [4096, 4096]);
 * ```
 */
export function ALIGN(x: number, a: number): number {
  return Math.ceil(x / a) * a;
}

/**
 * Rounds down to a multiple of `a`.
 *
 * @param x A safe integer, not negative.
 * @param a A power of two.
 * @returns The largest multiple of `a` that is at most `x`.
 *
 * @example
 * ```ts
 * import { ALIGN_DOWN } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([ALIGN_DOWN(4095, 4096), ALIGN_DOWN(8191, 4096)], [0, 4096]);
 * ```
 */
export function ALIGN_DOWN(x: number, a: number): number {
  return Math.floor(x / a) * a;
}

/**
 * Tells whether `x` is a multiple of `a`.
 *
 * Linux: include/linux/kernel.h.
 *
 * @param x A safe integer, not negative.
 * @param a A power of two.
 * @returns True for 0.
 *
 * @example
 * ```ts
 * import { IS_ALIGNED } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([IS_ALIGNED(8192, 4096), IS_ALIGNED(100, 8)], [true, false]);
 * ```
 */
export function IS_ALIGNED(x: number, a: number): boolean {
  return x % a === 0;
}
