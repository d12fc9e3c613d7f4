/** clear_page(): zeroing a frame, and what it costs. */
import { charge_cycles, enter, ksym, leave } from "../../arch/asm.ts";
import type { MachineSpec } from "../../arch/hw/spec.ts";
import type { Thread } from "../thread.ts";

const CLEAR_PAGE = ksym("clear_page");

/** Line fills that a CPU has under way at once (AMD 40546, section 5: 8 miss buffers). */
const FILLS_AT_ONCE = 8;
/** Bytes of one store of `rep stosq`. */
const STORE_BYTES = 8;

/**
 * Cycles to zero one page: for each line its stores, one a cycle, or its fill
 * from memory, {@linkcode FILLS_AT_ONCE} of which overlap, whichever is longer.
 *
 * The lines do not stay with the CPU: the cost model has no cache capacity, and
 * a line object each for 64 lines of every zeroed page would be the host's
 * largest cost.
 */
export function clearPageCycles(spec: MachineSpec): number {
  const { lineBytes } = spec.memory;
  const lines = 2 ** spec.paging.pageShift / lineBytes;
  const stores = lineBytes / STORE_BYTES;
  const fill = spec.cache.memoryLocalCycles / FILLS_AT_ONCE;
  return Math.ceil(lines * Math.max(stores, fill));
}

/** Zeroes frame `pfn`. Plain. Context: any. */
export function clear_page(t: Thread, pfn: number): void {
  enter(t, CLEAR_PAGE);
  charge_cycles(t, clearPageCycles(t.machine.spec));
  t.machine.memory.zero(pfn);
  leave(t);
}
