/** Boots a machine from code, and runs work on it. */
import { ksym, type Steps } from "../arch/asm.ts";
import { Machine } from "../arch/hw/machine.ts";
import { DEFAULT_PRESET, findPreset } from "../arch/hw/presets/index.ts";
import type { MachineSpec } from "../arch/hw/spec.ts";
import { Deadlock, type EngineOptions } from "../arch/sim/engine.ts";
import { nearest } from "../arch/sim/nearest.ts";
import { Hypervisor } from "../arch/xen/hypervisor.ts";
import { Kernel } from "../kernel/kernel.ts";
import { do_page_fault } from "../kernel/mm/fault.ts";
import type { VmapLayerFactory } from "../kernel/mm/vmap_layer.ts";
import { DEFAULT_PARAMS, type KernelParams } from "../kernel/params.ts";
import { Printk } from "../kernel/printk.ts";
import { sanitize } from "../kernel/sanitizers/index.ts";
import { Thread } from "../kernel/thread.ts";
import { msleep } from "../kernel/timer.ts";
import { HostDoor, type HostJob, type Initcall } from "./host_door.ts";
import {
  type Counters,
  counters,
  locksBetween,
  powerOn,
  profileBetween,
  type Snapshot,
  snapshot,
} from "./measure.ts";
import type { LockLine, ProfileLine } from "./results.ts";
import { start_kernel, START_KERNEL_STEPS } from "./start_kernel.ts";
import type { BootStep } from "./step.ts";

/** A CPU that waits this long in one spin is locked up, virtual seconds. */
const LOCKUP_SECONDS = 10;
/** What is under way is looked for so often at most, so far apart, ms. */
const REST_TRIES = 100;
const REST_MS = 10;

/** What to boot. */
export interface BootOptions {
  /** The machine; a preset, or one's own. Left out: `"opteron-2x4"`. */
  readonly spec?: MachineSpec;
  /** Kernel parameters; {@linkcode DEFAULT_PARAMS} for those left out. */
  readonly params?: Partial<KernelParams>;
  /** Further vmap layers that `vmap=` may name. */
  readonly layers?: Readonly<Record<string, VmapLayerFactory>>;
  /** Run by do_initcalls(), in order. */
  readonly initcalls?: readonly Initcall[];
  /** Steps of start_kernel(); the usual ones if left out. */
  readonly steps?: readonly BootStep[];
  /** Address range of vmalloc, instead of the machine's; bytes, `[start, end)`. */
  readonly vmallocRange?: { readonly start: number; readonly end: number };
  /** Who runs next, and for how long; for experiments with the emulator itself. */
  readonly engine?: EngineOptions;
  /**
   * Sanitizers to switch on, by name: `"tlb"`, `"race"`, ...; see
   * {@linkcode SANITIZERS}. They cost host time, and no virtual time.
   */
  readonly sanitize?: readonly string[];
  /** Called with each line of the kernel log as it is printed. */
  readonly onLog?: (line: string) => void;
}

/**
 * A machine that has booted.
 *
 * @example
 * ```ts
 * import { boot, vfree, vload, vmalloc, vstore } from "@vmaplab/vmaplab";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const machine = boot();
 * const before = machine.snapshot();
 * const sum = machine.run(function* (t) {
 *   const addr = yield* vmalloc(t, 2 ** 20);
 *   yield* vstore(t, addr, 8, 40);
 *   const value = yield* vload(t, addr, 8);
 *   yield* vfree(t, addr);
 *   return value + 2;
 * });
 * assertEquals(sum, 42);
 * assert(machine.profile(before)[0].ticks > 0);
 * assertEquals(machine.counters().tlb.length, 8);
 * ```
 */
export class BootedMachine {
  /** What ended the machine: an oops, a deadlock, or an exception of the host's. */
  #end: Error | null = null;

  /** Made by {@linkcode boot}. */
  constructor(readonly machine: Machine, readonly kernel: Kernel) {}

  /**
   * Runs `fn` on pid 1, which sleeps and wakes like any kernel thread, until it
   * returns. Other threads go on meanwhile, and stop with it.
   *
   * @returns What `fn` returned.
   * @throws {KernelBug} If the kernel oopses. The machine is dead then: every
   * later call throws the same.
   * @throws {Deadlock} If nothing can go on.
   */
  run<T>(fn: (t: Thread) => Steps<T>): T {
    if (this.#end !== null) throw this.#end;
    const job: HostJob = { fn, done: false, result: undefined };
    const door = HostDoor.of(this.kernel);
    door.give(job);
    try {
      runUntil(this.machine, () => job.done);
    } catch (error) {
      this.#end = error as Error;
      throw error;
    }
    return job.result as T;
  }

  /**
   * Lets the machine come to rest, and has the sanitizers look at whole
   * structures then: for leaks, for areas, blocks and counters that do not add
   * up. For the end of a run: it takes virtual time. Without sanitizers it does
   * nothing.
   *
   * @throws {KernelBug} What a sanitizer finds ({@linkcode SanitizerReport}),
   * or an oops on the way. The machine is dead then.
   * @throws {TypeError} If the machine does not come to rest, as threads of
   * one's own go on.
   *
   * @example
   * ```ts
   * import { boot, SanitizerReport, vmalloc } from "@vmaplab/vmaplab";
   * import { assertThrows } from "@std/assert";
   *
   * const machine = boot({ sanitize: ["kasan", "areas"] });
   * machine.run((t) => vmalloc(t, 4096)); // on vmlist: still somebody's
   * machine.checkQuiet();
   * machine.kernel.vmalloc.vmlist = null; // nobody can free it now
   * assertThrows(() => machine.checkQuiet(), SanitizerReport);
   * ```
   */
  checkQuiet(): void {
    if (this.#end !== null) throw this.#end;
    const { sanitizers } = this.kernel;
    if (sanitizers === null) return;
    let pid1: Thread | null = null;
    for (let tries = 0; pid1 === null || !this.#atRest(pid1); tries++) {
      if (tries === REST_TRIES) {
        throw new TypeError(
          "Cannot check the machine as it does not come to rest: threads go on",
        );
      }
      pid1 = this.run(function* (t) {
        yield* msleep(t, REST_MS);
        return t;
      });
    }
    try {
      sanitizers.quiet(pid1, this.kernel);
    } catch (error) {
      this.#end = error as Error;
      throw error;
    }
  }

  /** Whether nobody runs but `pid1`, which waits for the host; and no interrupt is being handled. */
  #atRest(pid1: Thread): boolean {
    for (const thread of this.kernel.sched.threads) {
      if (thread.on_rq && thread !== pid1) return false;
    }
    return this.machine.engine.cpus.every(({ top }) =>
      top === null || top.below === null
    );
  }

  /** The kernel log, a line each, with time stamps. */
  dmesg(): string[] {
    return this.kernel.printk.dmesg().split("\n").filter((line) => line !== "");
  }

  /** Counters as of now, to measure from. */
  snapshot(): Snapshot {
    return snapshot(this.machine, this.kernel);
  }

  /**
   * Virtual time by kernel symbol, all CPUs together, most first.
   *
   * @param since Left out: power-on.
   */
  profile(since: Snapshot = powerOn(this.machine)): ProfileLine[] {
    return profileBetween(since, this.snapshot());
  }

  /**
   * What each class of locks did, most waited for first.
   *
   * @param since Left out: power-on.
   */
  lockStat(since: Snapshot = powerOn(this.machine)): LockLine[] {
    return locksBetween(since, this.snapshot());
  }

  /** TLBs, interprocessor interrupts, flushes, the vmap layer: as of now, since power-on. */
  counters(): Counters {
    return counters(this.machine, this.kernel);
  }
}

/**
 * Boots a machine to the point where pid 1 asks for work: the steps of
 * start_kernel() in their order, the other CPUs one by one, the initcalls.
 *
 * Linux: init/main.c.
 *
 * @throws {KernelBug} If the kernel oopses on the way; a {@linkcode SanitizerReport}
 * is one.
 *
 * @example
 * ```ts
 * import { boot } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const machine = boot({ params: { vmap: "vmlist", loglevel: 4 } });
 * const lines = machine.dmesg();
 * assert(lines.at(-1)?.endsWith("Boot complete: 8 CPUs, vmap=vmlist"));
 * ```
 */
export function boot(options: BootOptions = {}): BootedMachine {
  refuseUnknown(options);
  const params = { ...DEFAULT_PARAMS, ...options.params };
  const { spec = findPreset(DEFAULT_PRESET) } = options;
  const machine = new Machine(spec, params.seed, {
    lockupCycles: LOCKUP_SECONDS * spec.clockHz,
    ...options.engine,
  });
  if (spec.xen !== undefined) machine.xen = new Hypervisor(machine);
  const printk = new Printk(spec.clockHz);
  const { onLog } = options;
  if (onLog !== undefined) {
    printk.console = (line) => {
      if (line.level < params.loglevel) {
        onLog(`${printk.stamp(line.atCycles)} ${line.text}`);
      }
    };
  }
  const kernel = new Kernel(machine, params, printk);
  if (options.vmallocRange) kernel.vmalloc_range = options.vmallocRange;
  if (options.layers) kernel.vmap_layers = options.layers;
  machine.mmu.onFault = (t, vaddr, write, reason) =>
    do_page_fault(t as Thread, vaddr, write, reason);
  const { sanitize: sanitizers = [] } = options;
  if (sanitizers.length > 0) sanitize(kernel, sanitizers);
  const door = new HostDoor(kernel, options.initcalls ?? []);
  const swapper = new Thread(kernel, "swapper", false);
  swapper.stack[0] = ksym("startup_64");
  swapper.gen = start_kernel(swapper, options.steps ?? START_KERNEL_STEPS)
    [Symbol.iterator]();
  machine.engine.start(machine.engine.cpus[0], swapper, 0);
  runUntil(machine, () => door.booted);
  return new BootedMachine(machine, kernel);
}

/** Names that {@linkcode BootOptions} has. */
const OPTION_NAMES: Readonly<Record<keyof BootOptions, true>> = {
  spec: true,
  params: true,
  layers: true,
  initcalls: true,
  steps: true,
  vmallocRange: true,
  engine: true,
  sanitize: true,
  onLog: true,
};

/** Who runs without type checks would otherwise measure another machine than asked for. */
function refuseUnknown(options: BootOptions): void {
  for (const name of Object.keys(options)) {
    if (name in OPTION_NAMES) continue;
    throw new TypeError(
      `Cannot boot as options must be among ${
        Object.keys(OPTION_NAMES).join(", ")
      } (nearest is "${
        nearest(name, Object.keys(OPTION_NAMES))
      }"): current value is "${name}"`,
    );
  }
}

/** Runs the engine until pid 1 has handed control back and `done()` holds. */
function runUntil(machine: Machine, done: () => boolean): void {
  while (!done()) {
    if (machine.engine.run() === "idle" && !done()) {
      throw new Deadlock("deadlock: every CPU is idle and pid 1 sleeps", []);
    }
  }
}
