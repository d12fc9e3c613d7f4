/** A machine with memory management up and nothing else, for this folder's tests. */
import type { Steps } from "../../arch/asm.ts";
import { Machine } from "../../arch/hw/machine.ts";
import { findPreset } from "../../arch/hw/presets/index.ts";
import type { MachineSpec } from "../../arch/hw/spec.ts";
import { Kernel } from "../kernel.ts";
import { DEFAULT_PARAMS, type KernelParams } from "../params.ts";
import { Printk } from "../printk.ts";
import { Thread } from "../thread.ts";
import { setup_bootmem_allocator } from "./bootmem.ts";
import { kmem_cache_init } from "./kmalloc.ts";
import { build_all_zonelists, mem_init, page_alloc_init } from "./page_init.ts";
import { drain_local_pages, setup_per_cpu_pageset } from "./percpu_pages.ts";

/** What {@linkcode Rig} is made of. */
export interface RigOptions {
  readonly preset?: string;
  readonly spec?: Partial<MachineSpec>;
  readonly params?: Partial<KernelParams>;
  /** Boot step after which to stop. */
  readonly until?: "bootmem" | "zonelists" | "mem_init" | "slab";
}

/** One machine and kernel; runs functions on any of its CPUs, one after the other or together. */
export class Rig {
  readonly machine: Machine;
  readonly k: Kernel;

  constructor(options: RigOptions = {}) {
    const spec = {
      ...findPreset(options.preset ?? "opteron-2x4"),
      ...options.spec,
    };
    this.machine = new Machine(spec, 1);
    this.k = new Kernel(
      this.machine,
      { ...DEFAULT_PARAMS, ...options.params },
      new Printk(spec.clockHz),
    );
    this.run((t) => boot_memory(t, options.until));
  }

  /** Runs `fn` on CPU `cpu` to its end. */
  run<T>(fn: (t: Thread) => Steps<T>, cpu = 0): T {
    return this.runAll([[cpu, fn]])[0];
  }

  /** Runs a plain function on CPU 0. */
  call<T>(fn: (t: Thread) => T): T {
    // deno-lint-ignore require-yield -- `fn` never waits
    return this.run(function* (t) {
      return fn(t);
    });
  }

  /** Runs functions on different CPUs at the same time. */
  runAll<T>(jobs: readonly [number, (t: Thread) => Steps<T>][]): T[] {
    const { engine } = this.machine;
    const results: T[] = [];
    const start = Math.max(...engine.cpus.map((cpu) => cpu.clock));
    jobs.forEach(([id, fn], i) => {
      const t = new Thread(this.k, `test/${id}`, false);
      t.gen = (function* () {
        results[i] = yield* fn(t);
      })();
      engine.start(engine.cpus[id], t, start);
      engine.cpus[id].irqsOn = true;
    });
    engine.run();
    return results;
  }

  /** Gives every CPU's pages back to the zones. */
  drain(): void {
    for (let id = 0; id < this.machine.nrCpus; id++) {
      this.run(drain_local_pages, id);
    }
  }
}

/** The boot steps of memory management, up to `until`. */
export function* boot_memory(
  t: Thread,
  until?: RigOptions["until"],
): Steps {
  setup_bootmem_allocator(t);
  if (until === "bootmem") return;
  build_all_zonelists(t);
  page_alloc_init(t);
  if (until === "zonelists") return;
  yield* mem_init(t);
  if (until === "mem_init") return;
  kmem_cache_init(t);
  if (until === "slab") return;
  setup_per_cpu_pageset(t);
}
