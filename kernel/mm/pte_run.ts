/**
 * Page-table entries, a cache line of them at a time.
 *
 * Entries side by side that share a line are written as one ordered operation:
 * no other CPU can come between stores to a line that this one holds, short of
 * taking it away, and eight at once cost the host an eighth. Between lines
 * others may run.
 *
 * The objects are filled in and passed to `pte_run()`, or run at once by those
 * who need not wait; each thread has a set
 * of its own, since another may run between the two. Kept plain: the fields are
 * parameters.
 */
import * as asm from "../../arch/asm.ts";
import type { MachineContext, PteRun } from "../../arch/asm.ts";
import type { PtePair } from "../../arch/hw/pte.ts";
import { ilog2 } from "../lib/bitops.ts";
import type { Thread } from "../thread.ts";
import type { Page } from "./page.ts";
import type { MmStruct } from "./pgtable.ts";

// Functions as constants of this module: docs/ARCHITECTURE.md, "What V8 likes".
const { charge, charge_cycles, touch_write } = asm;

const PTE_BYTES = 8;
/** vmap_pte_range()'s loop for a page: page_to_pfn, mk_pte, two tests, set_pte_at, increments. */
const SET_INSTRUCTIONS = 14;
/** vunmap_pte_range()'s loop for a page: ptep_get_and_clear, the test for a strange entry, increments. */
const CLEAR_INSTRUCTIONS = 8;

/** Sets entries that must be empty; see the file's head. */
export class SetRun implements PteRun, PtePair {
  /** What to map, or `null` to map frames from `pfn` on. */
  pages: readonly Page[] | null = null;
  /** Index into `pages`, or first frame. */
  first = 0;
  count = 0;
  prot = 0;
  lo = 0;
  hi = 0;

  /** Fills the fields in; see each. @returns This. */
  of(
    pages: readonly Page[] | null,
    first: number,
    count: number,
    prot: number,
  ): this {
    this.pages = pages;
    this.first = first;
    this.count = count;
    this.prot = prot;
    return this;
  }

  /** @returns Entries set; less than `count` if one was in use. */
  run(t: MachineContext, pfn: number, index: number): number {
    const { memory, mmu } = t.machine;
    const { format } = mmu;
    const { pages, first, count, prot } = this;
    const frame = memory.frame(pfn);
    touch_write(t, t.machine.lineIn(frame, index * 8));
    charge(t, SET_INSTRUCTIONS * count);
    const words = frame.words ?? frame.back();
    for (let i = 0; i < count; i++) {
      const w = (index + i) * 2;
      if ((words[w] | words[w + 1]) !== 0) return i;
      const to = pages === null ? first + i : pfn_of(pages, first + i);
      format.encode(to, prot, this);
      words[w] = this.lo;
      words[w + 1] = this.hi;
    }
    return count;
  }
}

/** Frame of `pages[index]`. @throws {RangeError} If the caller has fewer. */
function pfn_of(pages: readonly Page[], index: number): number {
  const page = pages[index];
  if (page !== undefined) return page.pfn;
  throw new RangeError(
    `Cannot map as pages must have as many as are to be mapped: current value is ${pages.length} pages, ${
      index + 1
    } wanted so far`,
  );
}

/** Clears entries, whatever they are; see the file's head. */
export class ClearRun implements PteRun {
  count = 0;

  /** @returns Entries that had not been empty. */
  run(t: MachineContext, pfn: number, index: number): number {
    const { memory, lockedCycles } = t.machine;
    const count = this.count;
    const frame = memory.frame(pfn);
    touch_write(t, t.machine.lineIn(frame, index * 8));
    charge(t, CLEAR_INSTRUCTIONS * count);
    charge_cycles(t, lockedCycles * count); // ptep_get_and_clear() is an xchg
    const words = frame.words;
    if (words === null) return 0;
    let cleared = 0;
    for (let w = index * 2; w < (index + count) * 2; w += 2) {
      if ((words[w] | words[w + 1]) === 0) continue;
      words[w] = 0;
      words[w + 1] = 0;
      cleared++;
    }
    return cleared;
  }
}

/** A thread's page-table operations. */
export class PteScratch {
  readonly set: SetRun = new SetRun();
  readonly clear: ClearRun = new ClearRun();
  /** Space, number of the stretch of addresses, and frame of the last leaf table found. */
  mm: MmStruct | null = null;
  stretch = -1;
  table = -1;

  declare readonly lineShift: number;
  declare readonly stretchOfByte: number;

  /**
   * @param lineShift log2 of the entries on a line: 3 where it has 64 bytes.
   * @param stretchOfByte 1 / bytes under a leaf table.
   */
  constructor(lineShift: number, stretchOfByte: number) {
    this.lineShift = lineShift;
    this.stretchOfByte = stretchOfByte;
  }

  remember(mm: MmStruct, stretch: number, table: number): void {
    this.mm = mm;
    this.stretch = stretch;
    this.table = table;
  }
}

/** `t`'s own operations, made at first use. Plain. */
export function pte_scratch(t: Thread): PteScratch {
  return t.ptes ??= make_scratch(t);
}

function make_scratch(t: Thread): PteScratch {
  const { mmu, spec } = t.machine;
  const { format } = mmu;
  return new PteScratch(
    ilog2(spec.memory.lineBytes / PTE_BYTES),
    1 / format.spanBytes(format.levels.length - 2),
  );
}
