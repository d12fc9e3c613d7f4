/**
 * A seeded random generator: the same seed gives the same numbers on every
 * machine. Not for secrets.
 *
 * The generator is xoshiro128** 1.1 by D. Blackman and S. Vigna ("Scrambled
 * linear pseudorandom number generators", ACM Transactions on Mathematical
 * Software 47(4), 2021; prng.di.unimi.it): 128 bits of state, period
 * 2^128 - 1, four 32-bit words and no multiplication wider than 32 bits. Its
 * state is filled by a Weyl sequence through MurmurHash3's 32-bit finalizer,
 * so that seeds 1 and 2 have nothing in common.
 */

const TWO_32 = 2 ** 32;

function rotl(x: number, k: number): number {
  return (x << k) | (x >>> (32 - k));
}

/** MurmurHash3's finalizer: a bijection that spreads every input bit. */
function mix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}

/** A stream of random numbers. */
export class Rng {
  // Invariant: not all four are 0.
  #s0: number = 0;
  #s1: number = 0;
  #s2: number = 0;
  #s3: number = 0;

  /**
   * Starts a stream.
   *
   * @param seed A safe integer, not negative.
   * @throws {RangeError} If it is something else.
   */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new RangeError(
        `Cannot seed a generator as seed must be a safe integer >= 0: current value is ${seed}`,
      );
    }
    const high = mix(Math.floor(seed / TWO_32));
    const low = seed >>> 0; // modulo 2^32, so that the sums below are exact
    const gamma = 0x9e3779b9; // 2^32 divided by the golden ratio
    // Four different inputs to a bijection: at most one word can be 0.
    this.#s0 = mix((low + gamma) ^ high);
    this.#s1 = mix((low + 2 * gamma) ^ high);
    this.#s2 = mix((low + 3 * gamma) ^ high);
    this.#s3 = mix((low + 4 * gamma) ^ high);
  }

  /**
   * Draws 32 bits.
   *
   * @returns From 0 to 2^32 - 1.
   */
  nextU32(): number {
    const result = Math.imul(rotl(Math.imul(this.#s1, 5), 7), 9);
    const shifted = this.#s1 << 9;
    this.#s2 ^= this.#s0;
    this.#s3 ^= this.#s1;
    this.#s1 ^= this.#s2;
    this.#s0 ^= this.#s3;
    this.#s2 ^= shifted;
    this.#s3 = rotl(this.#s3, 11);
    return result >>> 0;
  }

  /**
   * Draws a number below `n`, each equally likely: draws above the last whole
   * multiple of `n` are thrown away.
   *
   * @param n From 1 to 2^32.
   * @returns From 0 to `n - 1`.
   * @throws {RangeError} If `n` is out of range.
   */
  below(n: number): number {
    if (!(n >= 1 && n <= TWO_32)) {
      throw new RangeError(
        `Cannot draw a number as n must be in 1..2^32: current value is ${n}`,
      );
    }
    let x = this.nextU32();
    // Below 2^32 - n is below the last whole multiple, which need not be computed.
    if (x >= TWO_32 - n) {
      const limit = TWO_32 - TWO_32 % n;
      while (x >= limit) x = this.nextU32();
    }
    return x % n;
  }

  /**
   * Shuffles in place, each order equally likely (Fisher and Yates).
   *
   * @param array What to shuffle.
   * @returns The same array.
   */
  shuffle<T>(array: T[]): T[] {
    for (let i = array.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const item = array[i];
      array[i] = array[j];
      array[j] = item;
    }
    return array;
  }
}
