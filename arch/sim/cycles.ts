/** Cycles charged to each symbol of one machine. */
import { MAX_SYMBOLS } from "./symbol.ts";

/** A sum of this many cycles moves from the small integers to the large ones. */
const CARRY = 2 ** 30;

/**
 * The sums, by symbol number. What is booked goes to small integers first: the
 * host adds those without a conversion, and there are some fifty bookings an
 * operation.
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

  /** The sums so far, by symbol number. */
  toArray(): Float64Array {
    return this.#high.map((high, sym) => high + this.#low[sym]);
  }
}
