/**
 * Fault injection (lib/fault-inject.c, mm/slab.c and mm/page_alloc.c of 2.6.28):
 * allocations that fail though there is memory, so that callers show what they
 * do then; and interrupts from CPU to CPU that are late.
 *
 * Kept: what a `fault_attr` means, the order of its tests, `__GFP_NOFAIL` never
 * failing, the message. Differs: nothing is injected before {@linkcode
 * Faults.arm}, which the end of the boot calls (Linux fails allocations of the
 * boot too, and panics); `ignore-gfp-wait`, `ignore-gfp-highmem` and `min-order`
 * are 0, so that every request may fail; messages are rate limited. Added:
 * `fail_page_table`, `ipi_delay`, and {@linkcode Faults.decide}. Left out:
 * debugfs, `fail_make_request`, filters by process and by call stack.
 *
 * Asking costs no virtual time. Each kind draws from a stream of its own, so
 * that none shifts another.
 */
import type { Machine } from "../arch/hw/machine.ts";
import { Rng } from "../arch/sim/random.ts";
import { __GFP_NOFAIL } from "./mm/gfp.ts";
import type { FaultSetting, IpiDelay, KernelParams } from "./params.ts";
import { KERN_NOTICE, printk } from "./printk.ts";
import type { Thread } from "./thread.ts";

/** Messages at most, in so long. */
const RATELIMIT_BURST = 10;
const RATELIMIT_NS = 5e9;
/** How far apart the seeds of the streams are; the streams have nothing in common. */
const STREAM = 2 ** 40;

/**
 * Which calls of one kind fail: `struct fault_attr`.
 *
 * Linux: lib/fault-inject.c.
 *
 * @example
 * ```ts
 * import { boot } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const failslab = { interval: 3, probability: 50, space: 0, times: -1 };
 * const { kernel } = boot({ params: { failslab } });
 * assertEquals(kernel.faults.failslab.interval, 3);
 * assertEquals(kernel.faults.fail_page_alloc.probability, 0);
 * ```
 */
export class FaultAttr {
  /** One call in this many is looked at; 0 and 1 = every one. */
  interval = 1;
  /** How many of those fail, percent. */
  probability = 0;
  /** What is handed out first without a failure: bytes, pages or tables. */
  space = 0;
  /** Failures left; -1 = no limit. */
  times = 1;
  /** 1 = a message for each failure, 2 = a call trace too. */
  verbose = 0;
  /** Calls counted for the interval. */
  count = 0;
  /** Calls asked about since the boot. */
  asked = 0;
  /** Calls that were made to fail. */
  injected = 0;
  /**
   * Where its chance comes from.
   *
   * @internal
   */
  readonly rng: Rng;

  /** One that fails nothing. */
  constructor(
    /** The kernel parameter. */
    readonly name: string,
    seed: number,
  ) {
    this.rng = new Rng(seed);
  }

  /** Takes the values of a kernel parameter over. */
  set(setting: FaultSetting): void {
    this.interval = setting.interval;
    this.probability = setting.probability;
    this.space = setting.space;
    this.times = setting.times;
    this.count = 0;
  }
}

/**
 * All fault injection of one kernel: `k.faults`.
 *
 * @example
 * ```ts
 * import { boot, vfree, vmalloc } from "@vmaplab/vmaplab";
 * import { assert, assertEquals } from "@std/assert";
 *
 * // Whichever request of vmalloc() fails, its caller gets NULL.
 * boot().run(function* (t) {
 *   const { faults } = t.k;
 *   for (let n = 1;; n++) {
 *     let asked = 0;
 *     faults.decide = () => ++asked === n;
 *     const addr = yield* vmalloc(t, 4096);
 *     faults.decide = null;
 *     if (addr === 0) continue;
 *     assert(asked > 3); // none was refused
 *     assertEquals(faults.injected, asked);
 *     return yield* vfree(t, addr);
 *   }
 * });
 * ```
 */
export class Faults {
  /** Objects of slabs; sizes in bytes. */
  readonly failslab: FaultAttr;
  /** Blocks of pages; sizes in pages. */
  readonly fail_page_alloc: FaultAttr;
  /** Page-table pages; each counts 1. */
  readonly fail_page_table: FaultAttr;
  /** Interrupts from CPU to CPU that are late. */
  readonly ipi_delay: IpiDelay | null;
  /** Interrupts that were late. */
  lateIpis = 0;
  /** Operations of a workload that gave up for want of memory. */
  failedOps = 0;
  /** Whether somebody may fail: the one thing that the allocators' fast paths read. */
  active = false;
  /** Messages printed, and kept quiet. */
  readonly messages = { printed: 0, missed: 0, since: -Infinity, inBurst: 0 };
  readonly #machine: Machine;
  readonly #ipiRng: Rng;
  #armed = false;
  #decide: ((t: Thread, attr: FaultAttr, size: number) => boolean) | null =
    null;

  /** Made with its kernel. */
  constructor(machine: Machine, params: KernelParams) {
    this.#machine = machine;
    const seed = (n: number) => (machine.seed + n * 0x9e3779b9) % STREAM;
    this.failslab = new FaultAttr("failslab", seed(1));
    this.fail_page_alloc = new FaultAttr("fail_page_alloc", seed(2));
    this.fail_page_table = new FaultAttr("fail_page_table", seed(3));
    this.#ipiRng = new Rng(seed(4));
    for (const attr of this.attrs()) {
      const setting = params[attr.name as FaultName];
      if (setting === null) continue;
      attr.set(setting);
      attr.verbose = 2;
    }
    this.ipi_delay = params.ipi_delay;
  }

  /** Those of allocations, in the order of the parameters. */
  attrs(): readonly FaultAttr[] {
    return [this.failslab, this.fail_page_alloc, this.fail_page_table];
  }

  /** Whether the parameters ask for anything. */
  get wanted(): boolean {
    return this.attrs().some(({ probability }) => probability > 0) ||
      (this.ipi_delay !== null && this.ipi_delay.probability > 0);
  }

  /** Allocations made to fail so far, of all kinds. */
  get injected(): number {
    return this.failslab.injected + this.fail_page_alloc.injected +
      this.fail_page_table.injected;
  }

  /** Begins to inject what the parameters ask for. */
  arm(): void {
    this.#armed = true;
    this.#update();
  }

  /** Stops until {@linkcode arm}. */
  disarm(): void {
    this.#armed = false;
    this.#update();
  }

  /**
   * Who decides instead of chance, armed or not: whether this request fails.
   * Interval, space and times do not count then. `null` = nobody.
   */
  get decide():
    | ((t: Thread, attr: FaultAttr, size: number) => boolean)
    | null {
    return this.#decide;
  }

  set decide(
    fn: ((t: Thread, attr: FaultAttr, size: number) => boolean) | null,
  ) {
    this.#decide = fn;
    this.#update();
  }

  #update(): void {
    const allocations = this.attrs().some(({ probability }) => probability > 0);
    this.active = this.#decide !== null || (this.#armed && allocations);
    const late = this.ipi_delay;
    this.#machine.ipiDelay =
      this.#armed && late !== null && late.probability > 0
        ? () => this.#ipiDelay(late)
        : null;
  }

  #ipiDelay({ probability, cycles }: IpiDelay): number {
    if (this.#ipiRng.below(100) >= probability) return 0;
    this.lateIpis++;
    return 1 + this.#ipiRng.below(cycles);
  }
}

type FaultName = "failslab" | "fail_page_alloc" | "fail_page_table";

/** Whether a call about `size` bytes, pages or tables is to fail. Plain. */
export function should_fail(
  t: Thread,
  attr: FaultAttr,
  size: number,
): boolean {
  const { decide } = t.k.faults;
  attr.asked++;
  if (decide !== null) {
    if (!decide(t, attr, size)) return false;
    attr.injected++;
    return true;
  }
  if (attr.times === 0 || attr.probability === 0) return false;
  if (attr.space > size) {
    attr.space -= size;
    return false;
  }
  if (attr.interval > 1) {
    attr.count++;
    if (attr.count % attr.interval !== 0) return false;
  }
  if (attr.rng.below(100) >= attr.probability) return false;
  if (attr.verbose > 0) fail_dump(t, attr);
  if (attr.times > 0) attr.times--;
  attr.injected++;
  return true;
}

/** Says so in the log, at most ten times in five seconds. */
function fail_dump(t: Thread, attr: FaultAttr): void {
  const { messages } = t.k.faults;
  if (t.cpu.clock - messages.since > t.machine.toCycles(RATELIMIT_NS)) {
    messages.since = t.cpu.clock;
    messages.inBurst = 0;
  }
  if (messages.inBurst === RATELIMIT_BURST) {
    messages.missed++;
    return;
  }
  messages.inBurst++;
  messages.printed++;
  const { name, interval, probability, space, times } = attr;
  const lines = [
    "FAULT_INJECTION: forcing a failure",
    `name ${name}, interval ${interval}, probability ${probability}, space ${space}, times ${times}`,
  ];
  if (attr.verbose > 1) {
    const { pid, name: comm } = t.task;
    lines.push(`Pid: ${pid}, comm: ${comm} Not tainted 2.6.28 #1`);
    lines.push("Call Trace:", ...t.backtrace().map((sym) => ` ${sym}`));
  }
  printk(t, KERN_NOTICE, lines.join("\n"));
}

/** Whether an object of `bytes` is to be refused. Plain. */
export function should_failslab(
  t: Thread,
  bytes: number,
  gfp: number,
): boolean {
  if ((gfp & __GFP_NOFAIL) !== 0) return false;
  return should_fail(t, t.k.faults.failslab, bytes);
}

/** Whether `2 ** order` pages are to be refused. Plain. */
export function should_fail_alloc_page(
  t: Thread,
  gfp: number,
  order: number,
): boolean {
  if ((gfp & __GFP_NOFAIL) !== 0) return false;
  return should_fail(t, t.k.faults.fail_page_alloc, 2 ** order);
}

/** Whether a page-table page is to be refused. Plain. */
export function should_fail_page_table(t: Thread): boolean {
  return should_fail(t, t.k.faults.fail_page_table, 1);
}
