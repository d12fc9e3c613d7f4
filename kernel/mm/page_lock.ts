/**
 * The lock of a page, and the bits that go with it (mm/filemap.c,
 * include/linux/pagemap.h): PG_locked, and hashed wait queues of its zone for
 * who finds it set.
 *
 * Lock order:
 *
 *     PG_locked
 *       mapping.tree_lock
 *       WaitQueue.lock
 *
 * Differs from Linux: a zone's table of wait queues is made when it is first
 * needed, and a queue when somebody first waits on it, at no cost in memory or
 * time; it is hashed by the page's frame number times sizeof(struct page), not
 * by its address. Pages are not plugged to a queue of requests, so nothing is
 * started before sleeping (sync_page()).
 */
import {
  charge,
  charge_cycles,
  enter,
  ksym,
  leave,
  read_line,
  type Steps,
  write_line,
} from "../../arch/asm.ts";
import { CacheLine } from "../../arch/hw/line.ts";
import { BUG_ON } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import { ilog2, roundup_pow_of_two } from "../lib/bitops.ts";
import { hash_long } from "../lib/hash.ts";
import { WaitQueue } from "../sched/wait.ts";
import {
  __wait_on_bit,
  __wait_on_bit_lock,
  __wake_up_bit,
  test_and_set_bit,
} from "../sched/wait_bit.ts";
import { in_atomic, type Thread } from "../thread.ts";
import type { Zone } from "./mmzone.ts";
import { type Page, PG_locked, PG_uptodate } from "./page.ts";

const PAGE_WAITQUEUE = ksym("page_waitqueue");
const __LOCK_PAGE = ksym("__lock_page");
const UNLOCK_PAGE = ksym("unlock_page");
const WAIT_ON_PAGE_BIT = ksym("wait_on_page_bit");

/** Pages that share a wait queue, about (mm/page_alloc.c). */
const PAGES_PER_WAITQUEUE = 256;
const MIN_WAITQUEUES = 4;
const MAX_WAITQUEUES = 4096;
/** sizeof(wait_queue_head_t) on 64 bits, bytes. */
const WAITQUEUE_BYTES = 24;
/** sizeof(struct page) on 64 bits, bytes. */
const PAGE_STRUCT_BYTES = 56;

/** The wait queues of one zone. */
export class WaitTable {
  readonly bits: number;
  readonly #queues: (WaitQueue | undefined)[];
  readonly #lines: (CacheLine | undefined)[];
  readonly #queuesPerLine: number;

  constructor(readonly k: Kernel, readonly zone: Zone) {
    const wanted = Math.ceil(zone.spanned_pages / PAGES_PER_WAITQUEUE);
    const size = roundup_pow_of_two(
      Math.max(MIN_WAITQUEUES, Math.min(MAX_WAITQUEUES, wanted)),
    );
    this.bits = ilog2(size);
    this.#queuesPerLine = k.machine.spec.memory.lineBytes / WAITQUEUE_BYTES;
    this.#queues = new Array(size).fill(undefined);
    this.#lines = new Array(Math.ceil(size / this.#queuesPerLine))
      .fill(undefined);
  }

  /** Number of the queue of `page`. */
  hash(page: Page): number {
    return hash_long(page.pfn * PAGE_STRUCT_BYTES, this.bits);
  }

  /** Line of queue `i`; neighbours share one. */
  line(i: number): CacheLine {
    return this.#lines[Math.floor(i / this.#queuesPerLine)] ??= new CacheLine(
      this.zone.node,
    );
  }

  /** Queue `i`, if anybody has ever waited on it. */
  peek(i: number): WaitQueue | undefined {
    return this.#queues[i];
  }

  /** Queue `i`. */
  get(i: number): WaitQueue {
    return this.#queues[i] ??= new WaitQueue(
      this.k,
      "page_waitqueue",
      this.line(i),
    );
  }
}

function tableOf(t: Thread, page: Page): WaitTable {
  return page.zone.wait_table ??= new WaitTable(t.k, page.zone);
}

/** The queue that waiters for `page` sleep on; others may, too. Plain. */
export function page_waitqueue(t: Thread, page: Page): WaitQueue {
  enter(t, PAGE_WAITQUEUE);
  charge(t, 14);
  const table = tableOf(t, page);
  leave(t);
  return table.get(table.hash(page));
}

/** Whether `page` is locked: an unlocked look. */
export function PageLocked(page: Page): boolean {
  return (page.flags & PG_locked) !== 0;
}

/** Whether the contents of `page` are valid: an unlocked look. */
export function PageUptodate(page: Page): boolean {
  return (page.flags & PG_uptodate) !== 0;
}

/** Says that all of `page` is valid. */
export function* SetPageUptodate(t: Thread, page: Page): Steps {
  charge(t, 2);
  charge_cycles(t, t.machine.lockedCycles);
  yield* write_line(t, page.line);
  page.flags |= PG_uptodate;
}

/** Says that `page` is not valid. */
export function* ClearPageUptodate(t: Thread, page: Page): Steps {
  charge(t, 2);
  charge_cycles(t, t.machine.lockedCycles);
  yield* write_line(t, page.line);
  page.flags &= ~PG_uptodate;
}

/** Locks `page` if it is free. @returns Whether the caller has it now. Context: any. */
export function* trylock_page(t: Thread, page: Page): Steps<boolean> {
  return !(yield* test_and_set_bit(t, page, PG_locked));
}

/**
 * Locks `page`, on which the caller has a reference.
 *
 * Context: process.
 *
 * Linux: include/linux/pagemap.h.
 */
export function* lock_page(t: Thread, page: Page): Steps {
  t.k.sanitizers?.mightSleep(t, "lock_page");
  BUG_ON(
    t,
    in_atomic(t),
    "lock_page(): sleeping function called from invalid context",
  );
  if (yield* test_and_set_bit(t, page, PG_locked)) yield* __lock_page(t, page);
}

function* __lock_page(t: Thread, page: Page): Steps {
  enter(t, __LOCK_PAGE);
  charge(t, 10);
  yield* __wait_on_bit_lock(t, page_waitqueue(t, page), page, PG_locked);
  leave(t);
}

/**
 * Unlocks `page`: its owner does, or a handler on the owner's behalf.
 *
 * Context: any.
 *
 * Linux: mm/filemap.c.
 */
export function* unlock_page(t: Thread, page: Page): Steps {
  enter(t, UNLOCK_PAGE);
  charge(t, 6);
  charge_cycles(t, t.machine.lockedCycles);
  yield* write_line(t, page.line);
  BUG_ON(t, (page.flags & PG_locked) === 0, "unlock_page() of one not locked");
  page.flags &= ~PG_locked;
  enter(t, PAGE_WAITQUEUE);
  charge(t, 14);
  leave(t);
  const table = tableOf(t, page);
  const i = table.hash(page);
  const wq = table.peek(i);
  if (wq !== undefined) {
    yield* __wake_up_bit(t, wq, page, PG_locked);
  } else {
    charge(t, 8);
    yield* read_line(t, table.line(i)); // nobody waits, here neither
  }
  leave(t);
}

/** Waits until `page` is not locked. Context: process. */
export function* wait_on_page_locked(t: Thread, page: Page): Steps {
  charge(t, 2);
  if (!PageLocked(page)) return;
  enter(t, WAIT_ON_PAGE_BIT);
  charge(t, 6);
  yield* __wait_on_bit(t, page_waitqueue(t, page), page, PG_locked);
  leave(t);
}
