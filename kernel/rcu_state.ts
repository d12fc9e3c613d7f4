/**
 * The state of classic RCU (kernel/rcuclassic.c of 2.6.28): callbacks and their
 * lists, the shared control block, each CPU's part. How it works: rcu.ts.
 */
import type { Steps } from "../arch/asm.ts";
import { Cell } from "../arch/hw/cell.ts";
import { CacheLine } from "../arch/hw/line.ts";
import { CpuMask } from "./cpumask.ts";
import type { Kernel } from "./kernel.ts";
import { Completion } from "./locking/completion.ts";
import { Mutex } from "./locking/mutex.ts";
import { Spinlock } from "./locking/spinlock.ts";
import { PerCpu } from "./percpu.ts";
import type { Thread } from "./thread.ts";

/** Callbacks that one softirq runs, as long as there are not too many. */
export const BLIMIT = 10;
/** Backlog that lifts that limit and asks CPUs to switch. */
export const QHIMARK = 10000;
/** Backlog that puts it back. */
export const QLOWMARK = 100;
/** Bits of a mask on one cache line. */
export const BITS_PER_LINE = 512;

/** What is called after a grace period. Context: softirq. May not sleep. */
export type RcuCallback<T> = (
  t: Thread,
  head: RcuHead<T>,
) => Steps<unknown> | void;

/**
 * A structure's place on a callback list.
 *
 * Linux: include/linux/rcupdate.h.
 *
 * @example
 * ```ts
 * import { RcuHead } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const node = { key: 7, rcu: new RcuHead<unknown>(null) };
 * assertEquals(node.rcu.func, null); // not queued
 * ```
 */
export class RcuHead<T = unknown> {
  /** The next head in a CPU's list. */
  next: RcuHead<unknown> | null = null;
  /** What call_rcu() was given; `null` = not queued. */
  // deno-lint-ignore no-explicit-any
  func: RcuCallback<any> | null = null;

  /** The structure that this is part of, as `container_of()` would say. */
  declare readonly owner: T;

  /** A head of `owner`, not queued. */
  constructor(owner: T) {
    this.owner = owner;
  }
}

/** A list of callbacks, oldest first. */
export class CallbackList {
  head: RcuHead | null = null;
  tail: RcuHead | null = null;

  push(entry: RcuHead): void {
    entry.next = null;
    if (this.tail === null) this.head = entry;
    else this.tail.next = entry;
    this.tail = entry;
  }

  shift(): RcuHead {
    const first = this.head!;
    this.head = first.next;
    if (this.head === null) this.tail = null;
    return first;
  }

  /** Takes everything from `other`. */
  take(other: CallbackList): void {
    if (other.head === null) return;
    if (this.tail === null) this.head = other.head;
    else this.tail.next = other.head;
    this.tail = other.tail;
    other.head = other.tail = null;
  }

  get empty(): boolean {
    return this.head === null;
  }
}

/** The state that all CPUs share, on one line. */
export class RcuCtrlblk {
  readonly line: CacheLine = new CacheLine(0);
  declare readonly lock: Spinlock;
  /** Batch under way, or the last one. Written under lock, read by all. */
  readonly cur: Cell<number> = new Cell("rcu_ctrlblk.cur", -300, this.line);
  /** Last batch that is over. Written under lock, read by all. */
  readonly completed: Cell<number> = new Cell(
    "rcu_ctrlblk.completed",
    -300,
    this.line,
  );
  /** Last batch that somebody wants. Written under lock, read by all. */
  readonly pending: Cell<number> = new Cell(
    "rcu_ctrlblk.pending",
    -300,
    this.line,
  );

  // Guarded by lock.
  /** CPUs that have not reported in this batch. */
  declare readonly cpumask: CpuMask;
  /** This batch has been hurried already. */
  signaled = false;

  constructor(k: Kernel) {
    this.lock = new Spinlock(k, "rcu_ctrlblk.lock", this.line);
    this.cpumask = new CpuMask(k.machine.nrCpus);
  }
}

/** One CPU's part. Own CPU only; the lists with interrupts off. */
export class RcuData {
  /** Batch whose quiescent states this CPU knows of. */
  declare quiescbatch: number;
  /** A context switch or idle tick has been seen since. */
  passed_quiesc = false;
  /** This CPU has yet to report. */
  qs_pending = false;
  /** Batch that the newest callbacks wait for. */
  batch = -300;
  /** Callbacks that wait for `batch`, for the one before, for earlier ones. */
  readonly nxt = new CallbackList();
  readonly cur = new CallbackList();
  readonly old = new CallbackList();
  /** Callbacks whose grace period is over. */
  readonly done = new CallbackList();
  /** Callbacks on all lists. */
  qlen = 0;
  blimit = BLIMIT;
  readonly barrier: RcuHead<null> = new RcuHead(null);

  constructor(rcp: RcuCtrlblk) {
    this.quiescbatch = rcp.completed.value;
  }

  /** Whether any callback waits for a grace period. */
  get waiting(): boolean {
    return !(this.nxt.empty && this.cur.empty && this.old.empty);
  }
}

/** RCU of one kernel. */
export class Rcu {
  declare readonly ctrlblk: RcuCtrlblk;
  declare readonly data: PerCpu<RcuData>;
  /** CPUs without a tick. Bits change by atomics on the lines below. */
  declare readonly nohz_cpu_mask: CpuMask;
  declare readonly nohz_lines: readonly CacheLine[];

  /** One rcu_barrier() at a time. */
  declare readonly barrier_mutex: Mutex;
  /** CPUs whose barrier callback has not run. Guarded by barrier_mutex; atomic. */
  barrier_count = 0;
  readonly barrier_line: CacheLine = new CacheLine(0);
  declare barrier_done: Completion;

  /** Callbacks that have run. */
  invoked = 0;

  constructor(k: Kernel) {
    const n = k.machine.nrCpus;
    this.ctrlblk = new RcuCtrlblk(k);
    this.data = new PerCpu(k, () => new RcuData(this.ctrlblk));
    this.nohz_cpu_mask = new CpuMask(n);
    this.nohz_lines = Array.from(
      { length: Math.ceil(n / BITS_PER_LINE) },
      () => new CacheLine(0),
    );
    this.barrier_mutex = new Mutex(k, "rcu_barrier_mutex");
    this.barrier_done = new Completion(k, "rcu_barrier_completion");
  }

  /** Callbacks that have been registered and have not run: for leak checks. */
  get backlog(): number {
    let n = 0;
    for (let cpu = 0; cpu < this.nohz_cpu_mask.size; cpu++) {
      n += this.data.peek(cpu)?.qlen ?? 0;
    }
    return n;
  }

  /** Number of the last grace period that is over, from 0: for tests. */
  get batchesCompleted(): number {
    return this.ctrlblk.completed.value + 300;
  }
}
