/**
 * What calls between CPUs are made of (kernel/smp.c of 2.6.28): the data of one
 * call, the queue of single calls of each CPU, and where all of it lies in the
 * caches. How it is used: smp.ts.
 */
import { Cell } from "../arch/hw/cell.ts";
import { CacheLine } from "../arch/hw/line.ts";
import type { Steps } from "../arch/asm.ts";
import { CpuMask } from "./cpumask.ts";
import type { Kernel } from "./kernel.ts";
import { ListHead } from "./lib/list.ts";
import { Ia64Calls } from "./ia64_smp.ts";
import { Spinlock } from "./locking/spinlock.ts";
import type { KmallocObject } from "./mm/kmalloc.ts";
import { PerCpu } from "./percpu.ts";
import { RcuHead } from "./rcu_state.ts";
import type { Thread } from "./thread.ts";

/** The caller spins until this is cleared. */
export const CSD_FLAG_WAIT = 1;
/** The data came from kmalloc(). */
export const CSD_FLAG_ALLOC = 2;

/** Offsets in call_function_data, bytes: csd, lock and refs; then the mask. */
export const CPUMASK_OFFSET = 48;
export const RCU_HEAD_BYTES = 16;
export const CSD_BYTES = 40;

/** What is called: with interrupts off. May not sleep. */
export type SmpFunction<I> = (t: Thread, info: I) => Steps<unknown> | void;

/** One call to one CPU: `struct call_single_data`. */
export class CallSingleData {
  readonly list: ListHead<CallSingleData>;
  readonly flags: Cell<number>;

  constructor(
    readonly line: CacheLine,
    flags: number,
    readonly func: SmpFunction<unknown>,
    readonly info: unknown,
    readonly memory: KmallocObject | null,
  ) {
    this.list = new ListHead<CallSingleData>(this);
    this.flags = new Cell("csd.flags", flags, line);
  }
}

/** One call to several CPUs: `struct call_function_data`. */
export class CallFunctionData {
  readonly list: ListHead<CallFunctionData>;
  readonly rcu_head: RcuHead<CallFunctionData>;
  /** CSD_FLAG_*; on the first line. */
  readonly flags: Cell<number>;
  readonly lock: Spinlock;
  // Guarded by lock; on the first line.
  refs: number;
  // Guarded by lock; on `maskLines`.
  readonly cpumask: CpuMask;

  constructor(
    k: Kernel,
    readonly line: CacheLine,
    /** Line of each 64 bytes of the structure, the first included. */
    readonly lines: readonly CacheLine[],
    targets: readonly number[],
    flags: number,
    readonly func: SmpFunction<unknown>,
    readonly info: unknown,
    readonly memory: KmallocObject | null,
  ) {
    this.list = new ListHead<CallFunctionData>(this);
    this.rcu_head = new RcuHead<CallFunctionData>(this);
    this.flags = new Cell("call_function_data.flags", flags, line);
    this.lock = new Spinlock(k, "call_function_data.lock", line);
    this.refs = targets.length;
    this.cpumask = new CpuMask(k.machine.nrCpus);
    for (const cpu of targets) this.cpumask.set(cpu);
  }

  /** Line of `cpu`'s bit of the mask. */
  maskLine(cpu: number, lineBytes: number): CacheLine {
    return this.lines[
      Math.floor((CPUMASK_OFFSET + (cpu >> 3)) / lineBytes)
    ];
  }
}

/** Single calls that one CPU has yet to make. */
export class CallSingleQueue {
  readonly line: CacheLine;
  readonly lock: Spinlock;
  /** Guarded by lock. */
  readonly list: ListHead<CallSingleData> = new ListHead<CallSingleData>();
  /** What a function's frame on this CPU's stack lies on. */
  readonly stackLines: readonly CacheLine[];

  constructor(k: Kernel, cpu: number, nrLines: number) {
    const { node } = k.machine.engine.cpus[cpu];
    this.line = new CacheLine(node);
    this.lock = new Spinlock(k, "call_single_queue.lock", this.line);
    this.stackLines = Array.from(
      { length: nrLines },
      () => new CacheLine(node),
    );
  }
}

/** Calls between the CPUs of one kernel. */
export class Smp {
  readonly call_function_lock: Spinlock;
  /** Guarded by call_function_lock; walked under RCU. */
  readonly call_function_queue: ListHead<CallFunctionData> = new ListHead<
    CallFunctionData
  >();
  readonly queue_line: CacheLine = new CacheLine(0);
  readonly call_single_queue: PerCpu<CallSingleQueue>;
  /** Size of call data for this NR_CPUS, bytes, and in cache lines. */
  readonly dataBytes: number;
  readonly dataLines: number;
  readonly lineBytes: number;
  /** Longs in a mask: what its bit operations walk. */
  readonly maskLongs: number;
  /** How ia64 makes calls, with nothing of the above; `null` = another architecture. */
  readonly ia64: Ia64Calls | null;

  constructor(k: Kernel) {
    this.ia64 = k.arch === "ia64" ? new Ia64Calls(k) : null;
    const { spec } = k.machine;
    this.lineBytes = spec.memory.lineBytes;
    this.maskLongs = Math.ceil(spec.kernel.nrCpus / 64);
    this.dataBytes = CPUMASK_OFFSET + this.maskLongs * 8 + RCU_HEAD_BYTES;
    this.dataLines = Math.ceil(this.dataBytes / this.lineBytes);
    this.call_function_lock = new Spinlock(k, "call_function_lock");
    this.call_single_queue = new PerCpu(
      k,
      (cpu) => new CallSingleQueue(k, cpu, this.dataLines),
    );
  }
}
