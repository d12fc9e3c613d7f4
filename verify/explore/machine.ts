/**
 * A machine to explore on: a few CPUs, a little memory, a vmalloc space of a few
 * dozen pages, blocks of eight: so that deep states are near. The kernel on it
 * is the real one, brought up as far as the vmap layer needs it.
 *
 * Each CPU runs one task, which takes a function a round and halts between
 * rounds. What a round leaves behind (half used blocks, lazily freed areas,
 * stale translations) the next one finds.
 *
 * Differs from a full boot: no ticks but those that a schedule asks for, so
 * jiffies stand still; one node; no kernel threads besides the tasks.
 */
import {
  irqs_disabled,
  local_irq_disable,
  local_irq_enable,
  safe_halt,
  type Steps,
} from "../../arch/asm.ts";
import { Machine, type MachineOptions } from "../../arch/hw/machine.ts";
import { PageFault } from "../../arch/hw/mmu.ts";
import { generic } from "../../arch/hw/presets/generic.ts";
import type { MachineSpec } from "../../arch/hw/spec.ts";
import { StackOverflow } from "../../arch/sim/context.ts";
import { Deadlock } from "../../arch/sim/engine.ts";
import { BUG_ON, KernelBug } from "../../kernel/bug.ts";
import { RESCHEDULE_VECTOR } from "../../kernel/irq_vectors.ts";
import { Kernel } from "../../kernel/kernel.ts";
import { ListPoisonError } from "../../kernel/lib/list.ts";
import type { VmapLayerFactory } from "../../kernel/mm/vmap_layer.ts";
import { DEFAULT_PARAMS, type KernelParams } from "../../kernel/params.ts";
import { Printk } from "../../kernel/printk.ts";
import { rcu_qsctr_inc } from "../../kernel/rcu.ts";
import { Thread } from "../../kernel/thread.ts";
import type { Chooser } from "./chooser.ts";
import { Driver, Endless } from "./driver.ts";
import { endGracePeriod, exchange } from "./moves.ts";
import { startKernel } from "./start_kernel.ts";

/** What a machine is made of. */
export interface ExploreOptions {
  /** CPUs, 1 to 8. Default: 2. */
  readonly cpus?: number;
  /** CPUs that the kernel is built for (NR_CPUS). Default: 4. */
  readonly nrCpus?: number;
  /** Pages of vmalloc space. Default: 64. */
  readonly pages?: number;
  /** Kernel parameters. */
  readonly params?: Partial<KernelParams>;
  /** Layers that `vmap=` may name besides the built-in ones. */
  readonly layers?: Readonly<Record<string, VmapLayerFactory>>;
  /** Sanitizers that are on. Default: none. */
  readonly sanitize?: readonly string[];
  /** Runs on CPU 0 before vmalloc_init(). */
  readonly early?: (t: Thread) => Steps<unknown> | void;
  /** Operations after which a round counts as endless. Default: 20 000. */
  readonly maxSteps?: number;
  /** Makes the model of the caches, for those who watch it. */
  readonly coherence?: MachineOptions["coherence"];
}

/** What one CPU does in a round. */
export type TaskFunction = (t: Thread) => Steps<unknown>;

/** Most operations of a round: a hundred times what a small one takes. */
const MAX_STEPS = 20_000;
/** Memory, bytes: what the kernel needs, and some. */
const MEMORY_BYTES = 16 * 2 ** 20;
/** Lazily freed pages that bring about a purge. */
const LAZY_MAX = 12;
/** Largest request that a block serves, pages. */
const MAX_ALLOC = 4;
/** Pages that the block size assumes: blocks of eight on a kernel built for four CPUs. */
const SPACE = 512;

/** See the file's head. */
export class ExploreMachine {
  readonly machine: Machine;
  readonly k: Kernel;
  readonly driver: Driver;
  /**
   * Called by functions that share variables of JavaScript between CPUs, each
   * time they are about to use some, for those who must know what depends on what.
   */
  shared: () => void = () => {};
  /** By CPU: what it is to do in this round; `null` = nothing, or done. */
  readonly #work: (TaskFunction | null)[];
  readonly #tasks: Thread[] = [];
  #dead = false;

  /** A machine that has booted. */
  constructor(readonly options: ExploreOptions = {}) {
    const cpus = options.cpus ?? 2;
    if (!(Number.isInteger(cpus) && cpus >= 1 && cpus <= 8)) {
      throw new RangeError(
        `Cannot explore as cpus must be 1 to 8: current value is ${cpus}`,
      );
    }
    this.driver = new Driver();
    this.driver.maxSteps = options.maxSteps ?? MAX_STEPS;
    this.machine = new Machine(exploreSpec(cpus, options.nrCpus ?? 4), 1, {
      policy: this.driver,
      runAheadCycles: 0,
      coherence: options.coherence,
    });
    const params = {
      ...DEFAULT_PARAMS,
      lazy_max: LAZY_MAX,
      vmap_max_alloc: MAX_ALLOC,
      vmap_space: SPACE,
      ...options.params,
    };
    const printk = new Printk(this.machine.spec.clockHz);
    this.k = new Kernel(this.machine, params, printk);
    this.#work = new Array(cpus).fill(null);
    this.#boot();
  }

  /** The task of each CPU, as far as none has been migrated. */
  get tasks(): readonly Thread[] {
    return this.#tasks;
  }

  /**
   * Runs one round: each function on its CPU, until all have come to their end
   * and nothing is under way.
   *
   * @throws {KernelBug} What the round has found; the machine is of no use then.
   * @throws {Deadlock} The same.
   */
  run(functions: readonly TaskFunction[], chooser: Chooser): void {
    if (this.#dead) throw new TypeError("Cannot run as the machine has oopsed");
    const { engine } = this.machine;
    this.#goHome();
    functions.forEach((fn, i) => {
      this.#work[i] = fn;
      const cpu = engine.cpus[i];
      engine.sendInterrupt(cpu, RESCHEDULE_VECTOR, cpu.clock);
    });
    this.#runToEnd(chooser);
    const late = this.#work.findIndex((fn) => fn !== null);
    if (late >= 0) this.#hung(late);
  }

  /** Ends grace periods on all CPUs until no callback waits. */
  settle(chooser: Chooser): void {
    const { k, machine } = this;
    for (let tries = 0; k.rcu.backlog > 0 && tries < 8; tries++) {
      endGracePeriod(k);
      for (const cpu of machine.engine.cpus) {
        machine.engine.setTimer(cpu, cpu.clock);
      }
      this.#runToEnd(chooser);
    }
  }

  /** What whoever looks at the whole kernel finds while nothing is under way. */
  check(): void {
    const { sanitizers } = this.k;
    if (sanitizers !== null) sanitizers.quiet(this.#tasks[0], this.k);
  }

  /** Puts tasks that have been migrated back on their own CPUs; all are halted. */
  #goHome(): void {
    const { cpus } = this.machine.engine;
    for (let i = 0; i < cpus.length; i++) {
      const on = this.#tasks[i].cpu;
      if (on.id !== i) exchange(this.k, cpus[i], on);
    }
  }

  #runToEnd(chooser: Chooser): void {
    this.driver.begin(chooser);
    try {
      this.machine.engine.run();
    } catch (error) {
      this.#dead = true;
      throw this.#asBug(error);
    }
  }

  /** What a wild pointer does in JavaScript, as what it does in a kernel. */
  #asBug(error: unknown): unknown {
    if (error instanceof KernelBug || error instanceof Deadlock) return error;
    const t = this.machine.engine.running?.top as Thread | undefined;
    if (t === undefined) return error;
    if (error instanceof Endless) {
      return new KernelBug(t, `BUG: soft lockup - CPU stuck`);
    }
    if (error instanceof StackOverflow || error instanceof PageFault) {
      return new KernelBug(t, `BUG: ${error.message}`, { cause: error });
    }
    if (error instanceof ListPoisonError) {
      return new KernelBug(
        t,
        "BUG: unable to handle kernel paging request: deleted list entry",
        { cause: error },
      );
    }
    if (!(error instanceof TypeError)) return error;
    return new KernelBug(
      t,
      "BUG: unable to handle kernel NULL pointer dereference",
      { cause: error },
    );
  }

  #hung(id: number): never {
    this.#dead = true;
    const t = this.#tasks[id];
    throw new KernelBug(
      t,
      `INFO: task ${t.name} blocked for ever${
        t.wchan === null ? "" : ` in ${t.wchan}`
      }`,
    );
  }

  #boot(): void {
    const { k, machine, driver } = this;
    const { engine } = machine;
    driver.k = k;
    engine.observer = driver;
    const t = new Thread(k, "swapper", false);
    const { options } = this;
    const steps = startKernel(t, options, (p) => this.#task(p), this.#tasks);
    t.gen = steps[Symbol.iterator]();
    engine.start(engine.cpus[0], t, 0);
    try {
      engine.run();
    } catch (error) {
      this.#dead = true;
      throw this.#asBug(error);
    }
  }

  /** What a task does for ever: its part of each round, then nothing. */
  *#task(t: Thread): Steps<never> {
    const id = this.#tasks.indexOf(t);
    for (;;) {
      local_irq_disable(t);
      const fn = this.#work[id];
      if (fn === null) {
        yield* safe_halt(t);
        continue;
      }
      local_irq_enable(t);
      yield* fn(t);
      // As for a thread that ends: what it has taken it has given back.
      t.k.sanitizers?.threadExit(t);
      BUG_ON(t, t.preempt_count !== 0, "task ended with preemption off");
      BUG_ON(t, irqs_disabled(t), "task ended with interrupts off");
      rcu_qsctr_inc(t); // on its way to schedule()
      this.#work[id] = null;
    }
  }
}

/** One socket of Opteron cores with TLBs of a few entries. */
export function exploreSpec(cpus: number, nrCpus: number): MachineSpec {
  const base = generic(1, cpus);
  return {
    ...base,
    name: "explore",
    description: `${cpus} CPUs to explore on`,
    memory: { ...base.memory, bytesPerNode: MEMORY_BYTES },
    cache: { ...base.cache, jitterCycles: 0 }, // time decides nothing
    tlb: {
      ...base.tlb,
      l1: { entries: 16, ways: 16 },
      l2: { entries: 0, ways: 0 },
      large: { entries: 2, ways: 2 },
    },
    kernel: { ...base.kernel, nrCpus },
  };
}
