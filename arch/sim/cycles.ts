/** Cycles, and how V8 is made to add them fast. */
import { MAX_SYMBOLS } from "./symbol.ts";

/**
 * 0 as a double, for fields that hold times: V8 changes a field that begins as
 * a double in place, while one that begins as a small integer gets a new object
 * for each value from 2^31 on.
 */
export const ZERO_CYCLES = -0;

/** A sum of this many cycles moves from the small integers to the large ones. */
const CARRY = 2 ** 30;

/**
 * Cycles charged to each symbol of one machine. What is booked goes to small
 * integers first: the host adds those without a conversion. Calls begin and end
 * some twenty times in one map, touch and unmap.
 */
export class SymbolCycles {
  readonly #low = new Int32Array(MAX_SYMBOLS);
  readonly #high = new Float64Array(MAX_SYMBOLS);

  /** Charges `cycles` to `sym`. */
  add(sym: number, cycles: number): void {
    const low = this.#low;
    const sum = low[sym] + cycles;
    if (sum < CARRY) {
      low[sym] = sum;
    } else {
      this.#high[sym] += sum;
      low[sym] = 0;
    }
  }

  /** {@linkcode add} for any number of cycles: of waits. */
  addLong(sym: number, cycles: number): void {
    this.#high[sym] += cycles;
  }

  /** The sums so far, by symbol number. */
  toArray(): Float64Array {
    return this.#high.map((high, sym) => high + this.#low[sym]);
  }
}
