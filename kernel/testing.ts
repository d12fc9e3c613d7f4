/**
 * Small kernels for tests: the pieces below memory management, booted, and a
 * thread function to run on them.
 */
import {
  charge_cycles,
  local_irq_enable,
  read_line,
  type Steps,
} from "../arch/asm.ts";
import { Machine } from "../arch/hw/machine.ts";
import { generic } from "../arch/hw/presets/generic.ts";
import { findPreset } from "../arch/hw/presets/index.ts";
import type { MachineSpec } from "../arch/hw/spec.ts";
import type { EngineOptions, StopReason } from "../arch/sim/engine.ts";
import { bring_up_core } from "./bring_up.ts";
import { Kernel } from "./kernel.ts";
import { kthread_run } from "./kthread.ts";
import { DEFAULT_PARAMS, type KernelParams } from "./params.ts";
import { Printk } from "./printk.ts";
import { cpu_idle } from "./sched/idle.ts";
import { setup_boot_clock, smp_init } from "./smpboot.ts";
import { Thread } from "./thread.ts";
import { init_workqueues } from "./workqueue.ts";

/** What {@linkcode runKernel} is to run, and on what. */
export interface RunOptions {
  /** CPUs; 8 unless said otherwise. Above 8 the generic machine is used, four a socket. */
  readonly cpus?: number;
  readonly spec?: MachineSpec;
  readonly seed?: number;
  readonly params?: Partial<KernelParams>;
  readonly engine?: EngineOptions;
  /** Runs on the boot CPU before others are up, interrupts off: more of start_kernel(). */
  readonly early?: (t: Thread) => Steps<unknown>;
}

/** A finished run. */
export interface KernelRun<T> {
  readonly k: Kernel;
  readonly machine: Machine;
  readonly result: T;
  readonly stopped: StopReason;
  /** Every CPU's clock at the end, cycles. */
  readonly clocks: number[];
}

/** Longest stretch of work that no interrupt can come into, cycles. */
const SPEND_CHUNK_CYCLES = 20_000;

/**
 * Works for `cycles`, letting interrupts in. Not cpu_relax(): that parks the CPU
 * if the last thing it did was to load one cell.
 */
export function* spend(t: Thread, cycles: number): Steps {
  const { line } = t.k.sched.rqs[t.cpu.id].lock.slock;
  for (let left = cycles; left > 0; left -= SPEND_CHUNK_CYCLES) {
    charge_cycles(t, Math.min(left, SPEND_CHUNK_CYCLES));
    yield* read_line(t, line);
  }
}

/** {@linkcode spend} in milliseconds. */
export function spendMs(t: Thread, ms: number): Steps {
  return spend(t, t.k.machine.toCycles(ms * 1e6));
}

/** The default machine with `cpus` CPUs. */
export function testSpec(cpus = 8): MachineSpec {
  if (cpus > 8) return generic(Math.ceil(cpus / 4), 4);
  const spec = findPreset("opteron-2x4");
  return { ...spec, topology: { ...spec.topology, cpus } };
}

/** A machine and a kernel on it, not booted. */
export function testKernel(options: RunOptions = {}): Kernel {
  const spec = options.spec ?? testSpec(options.cpus);
  const machine = new Machine(spec, options.seed ?? 1, {
    lockupCycles: 20 * spec.clockHz,
    ...options.engine,
  });
  const params = { ...DEFAULT_PARAMS, ...options.params };
  return new Kernel(machine, params, new Printk(spec.clockHz));
}

/**
 * Boots a kernel, runs `main` as a thread, and goes on until the machine is
 * quiet.
 *
 * @returns What `main` returned, and the kernel for looking at.
 * @throws {Error} If `main` never came to its end.
 */
export function runKernel<T>(
  options: RunOptions,
  main: (t: Thread) => Steps<T>,
): KernelRun<T> {
  const k = testKernel(options);
  const { engine } = k.machine;
  let result: { value: T } | null = null;
  const init = function* (t: Thread): Steps {
    yield* smp_init(t);
    init_workqueues(t);
    result = { value: yield* main(t) };
  };
  const boot = new Thread(k, "swapper", false);
  boot.gen = start_kernel(boot, options, init)[Symbol.iterator]();
  engine.start(engine.cpus[0], boot, 0);
  const stopped = engine.run();
  if (result === null) {
    const asleep = [...k.sched.threads].map((p) =>
      `${p.name} sleeps in ${p.wchan}`
    );
    throw new Error(`Kernel is idle and main has not ended: ${asleep}`);
  }
  return {
    k,
    machine: k.machine,
    result: (result as { value: T }).value,
    stopped,
    clocks: engine.cpus.map((cpu) => cpu.clock),
  };
}

function* start_kernel(
  t: Thread,
  options: RunOptions,
  init: (t: Thread) => Steps,
): Steps<never> {
  bring_up_core(t);
  if (options.early !== undefined) yield* options.early(t);
  yield* setup_boot_clock(t);
  local_irq_enable(t);
  yield* kthread_run(t, init, "init");
  return yield* cpu_idle(t);
}

/** Has the page requests fail of which `fails` says so; `null` = none any more. */
export function failPages(
  k: Kernel,
  fails: ((t: Thread, order: number) => boolean) | null,
): void {
  const { faults } = k;
  faults.decide = fails === null
    ? null
    : (t, attr, pages) =>
      attr === faults.fail_page_alloc && fails(t, Math.log2(pages));
}
