/**
 * One CPU's page-walk cache: for a stretch of addresses, the last-level table
 * that the upper levels lead to. Like the TLB it is not coherent: it goes on
 * giving a table that has been unhooked until this CPU flushes.
 *
 * Direct mapped. AMD's second generation Opterons keep such a cache of upper
 * levels (Bhargava et al., "Accelerating Two-Dimensional Page Walks for
 * Virtualized Systems", ASPLOS 2008, describe one of 24 entries); a power of
 * two near that stands for it on every machine that has one.
 */
import type { Frame } from "./memory.ts";

const ENTRIES = 32;
const EMPTY = -1; // no stretch: 48 bits of address have fewer than 2^31 of them

/** The cache; see the file's head. A number of a stretch counts last-level tables. */
export class WalkCache {
  readonly #stretches: Int32Array = new Int32Array(ENTRIES).fill(EMPTY);
  readonly #tables: (Frame | null)[] = new Array(ENTRIES).fill(null);
  #used = false;

  /** The last-level table of `stretch`, or `null`. */
  lookup(stretch: number): Frame | null {
    const slot = stretch & (ENTRIES - 1);
    return this.#stretches[slot] === stretch ? this.#tables[slot] : null;
  }

  insert(stretch: number, table: Frame): void {
    const slot = stretch & (ENTRIES - 1);
    this.#stretches[slot] = stretch;
    this.#tables[slot] = table;
    this.#used = true;
  }

  /** Drops everything: any TLB flush, and `invlpg`, do. */
  flush(): void {
    if (!this.#used) return;
    this.#stretches.fill(EMPTY);
    this.#used = false;
  }
}
