/**
 * Waiting for a bit of some word (kernel/wait.c: wait_on_bit(), wake_up_bit()):
 * wait queues in a table, found by the address of what is waited for.
 *
 * Differs from Linux: there every zone has such a table, and pages use it too;
 * here it is one for those who ask for one. As entries have no wake functions
 * (wait.ts), everybody in the queue is woken and looks again.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  read_line,
  type Steps,
} from "../../arch/asm.ts";
import type { Kernel } from "../kernel.ts";
import { hash_long } from "../lib/hash.ts";
import type { Thread } from "../thread.ts";
import { __wake_up, WaitQueue, waitqueue_active } from "./wait.ts";
import { TASK_NORMAL } from "./wakeup.ts";

const BIT_WAITQUEUE = ksym("bit_waitqueue");
const WAKE_UP_BIT = ksym("wake_up_bit");

/** log2 of the queues: 4096, the most that a zone has (wait_table_hash_nr_entries()). */
const WAIT_TABLE_BITS = 12;

/** Queues by address, each made when first asked for. */
export class BitWaitTable {
  readonly #queues: (WaitQueue | undefined)[] = new Array(
    1 << WAIT_TABLE_BITS,
  ).fill(undefined);

  constructor(readonly k: Kernel) {}

  /** The queue for address `paddr`. Two addresses may share one. */
  at(paddr: number): WaitQueue {
    const index = hash_long(paddr, WAIT_TABLE_BITS);
    return this.#queues[index] ??= new WaitQueue(this.k, "bit_waitqueue");
  }
}

/** The queue of those who wait for a bit at `paddr`. Plain. */
export function bit_waitqueue(
  t: Thread,
  table: BitWaitTable,
  paddr: number,
): WaitQueue {
  enter(t, BIT_WAITQUEUE);
  charge(t, 16);
  const wq = table.at(paddr);
  leave(t);
  return wq;
}

/** A bit at `paddr` has been cleared: wakes who waits for it. Context: any. */
export function* wake_up_bit(
  t: Thread,
  table: BitWaitTable,
  paddr: number,
): Steps {
  enter(t, WAKE_UP_BIT);
  charge(t, 8);
  const wq = bit_waitqueue(t, table, paddr);
  yield* read_line(t, wq.lock.slock.line);
  if (waitqueue_active(wq)) yield* __wake_up(t, wq, TASK_NORMAL, 0);
  leave(t);
}
