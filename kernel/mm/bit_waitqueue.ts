/**
 * Waiting for a bit of a structure in memory (kernel/wait.c: wait_on_bit(),
 * wake_up_bit()): on a wait queue of its page's zone, found by the address of
 * the word, among those that wait for pages (page_lock.ts).
 */
import {
  charge,
  enter,
  ksym,
  leave,
  read_line,
  type Steps,
} from "../../arch/asm.ts";
import { hash_long } from "../lib/hash.ts";
import type { WaitQueue } from "../sched/wait.ts";
import {
  __wait_on_bit,
  __wake_up_bit,
  type BitWord,
} from "../sched/wait_bit.ts";
import type { Thread } from "../thread.ts";
import { pfn_to_page } from "./page.ts";
import { WaitTable } from "./page_lock.ts";

const BIT_WAITQUEUE = ksym("bit_waitqueue");
const OUT_OF_LINE_WAIT_ON_BIT = ksym("out_of_line_wait_on_bit");
const WAKE_UP_BIT = ksym("wake_up_bit");

/** A word whose address is known. */
export interface PlacedWord extends BitWord {
  /** Physical address, bytes. */
  readonly paddr: number;
}

/** The table that `word`'s waiters are in. Plain. */
function table_of(t: Thread, word: PlacedWord): WaitTable {
  const pfn = Math.floor(word.paddr / t.machine.memory.pageBytes);
  const { zone } = pfn_to_page(t.k, pfn);
  return zone.wait_table ??= new WaitTable(t.k, zone);
}

/** Number of the queue in it. */
function index_of(table: WaitTable, word: PlacedWord, bit: number): number {
  return hash_long(word.paddr * 64 + (31 - Math.clz32(bit)), table.bits);
}

/** The queue of those who wait for `bit`, a mask of one, of `word`. Plain. */
export function bit_waitqueue(
  t: Thread,
  word: PlacedWord,
  bit: number,
): WaitQueue {
  enter(t, BIT_WAITQUEUE);
  charge(t, 16);
  const table = table_of(t, word);
  leave(t);
  return table.get(index_of(table, word, bit));
}

/** Sleeps until `bit` of `word` is clear. Context: process. */
export function* wait_on_bit(t: Thread, word: PlacedWord, bit: number): Steps {
  charge(t, 4);
  yield* read_line(t, word.line);
  if ((word.flags & bit) === 0) return;
  enter(t, OUT_OF_LINE_WAIT_ON_BIT);
  yield* __wait_on_bit(t, bit_waitqueue(t, word, bit), word, bit);
  leave(t);
}

/** `bit` of `word` is clear, or the word is gone: wakes who waits. Context: any. */
export function* wake_up_bit(t: Thread, word: PlacedWord, bit: number): Steps {
  enter(t, WAKE_UP_BIT);
  charge(t, 4);
  enter(t, BIT_WAITQUEUE);
  charge(t, 16);
  leave(t);
  const table = table_of(t, word);
  const i = index_of(table, word, bit);
  const wq = table.peek(i);
  if (wq !== undefined) yield* __wake_up_bit(t, wq, word, bit);
  else {
    charge(t, 8);
    yield* read_line(t, table.line(i)); // nobody has ever waited there
  }
  leave(t);
}
