/**
 * Multiplicative hashing by the golden ratio (include/linux/hash.h), with the
 * constant of 64-bit kernels on all of them.
 */

/**
 * Hashes a number to `bits` bits: the high ones of its product with
 * 0x9e37fffffffc0001, modulo 2^64. That constant has so few bits set that Linux
 * multiplies by shifting; what follows is the high word of the same sum.
 *
 * @param n From 0 to 2^53 - 1.
 * @param bits From 1 to 31.
 */
export function hash_long(n: number, bits: number): number {
  const lo = n >>> 0;
  const hi = (n - lo) / 2 ** 32;
  // 1 - 2^18 - 2^51 + 2^54 - 2^57 + 2^61 + 2^63
  const borrow = lo < (lo << 18 >>> 0) ? 1 : 0;
  const high = hi - ((hi << 18) | (lo >>> 14)) - borrow - (lo << 19) +
    (lo << 22) - (lo << 25) + (lo << 29) + (lo << 31);
  return (high >>> 0) >>> (32 - bits);
}
