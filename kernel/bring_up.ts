/**
 * Small kernels: the two stretches of start_kernel() that each of them needs, for
 * tests and for the schedule explorer. `boot/start_kernel.ts` has the whole order,
 * step by step.
 */
import { local_irq_disable, type Steps } from "../arch/asm.ts";
import { parseVaddr } from "../arch/hw/pte.ts";
import { boot_cpu_init } from "./cpumask.ts";
import { init_IRQ } from "./irq.ts";
import { setup_bootmem_allocator } from "./mm/bootmem.ts";
import { do_page_fault } from "./mm/fault.ts";
import { init_memory_mapping } from "./mm/init.ts";
import {
  build_all_zonelists,
  mem_init,
  page_alloc_init,
} from "./mm/page_init.ts";
import { setup_per_cpu_pageset } from "./mm/percpu_pages.ts";
import { kmem_cache_init } from "./mm/slab.ts";
import type { VmapLayerFactory } from "./mm/vmap_layer.ts";
import { vmalloc_init } from "./mm/vmalloc.ts";
import { rcu_init } from "./rcu.ts";
import { sched_init } from "./sched/sched.ts";
import { smp_call_init } from "./smp.ts";
import { softirq_init } from "./softirq.ts";
import type { Thread } from "./thread.ts";
import { tick_init } from "./tick.ts";
import { init_timers } from "./timer.ts";

/** What is below memory management. Context: the boot CPU; interrupts are off after it. */
export function bring_up_core(t: Thread): void {
  local_irq_disable(t);
  boot_cpu_init(t);
  sched_init(t);
  rcu_init(t);
  init_IRQ(t);
  init_timers(t);
  softirq_init(t);
  tick_init(t);
  smp_call_init(t);
}

/** How {@linkcode bring_up_memory} may differ from the machine's own way. */
export interface MemoryOptions {
  /** Pages of vmalloc space; absent = the machine's. */
  readonly pages?: number;
  /** Layers that `vmap=` may name besides the built-in ones. */
  readonly layers?: Readonly<Record<string, VmapLayerFactory>>;
  /** Runs before vmalloc_init(). */
  readonly before?: (t: Thread) => Steps<unknown> | void;
}

/** Memory management, the vmap layer included. Context: after {@linkcode bring_up_core}. */
export function* bring_up_memory(t: Thread, options: MemoryOptions): Steps {
  const { k } = t;
  const { memory, mmu, spec } = k.machine;
  mmu.onFault = (c, vaddr, write, reason) =>
    do_page_fault(c as Thread, vaddr, write, reason);
  setup_bootmem_allocator(t);
  yield* init_memory_mapping(t);
  build_all_zonelists(t);
  page_alloc_init(t);
  const { pages, layers, before } = options;
  if (pages !== undefined) {
    const start = parseVaddr(mmu.format, spec.layout.vmallocStart);
    k.vmalloc_range = { start, end: start + pages * memory.pageBytes };
  }
  if (layers !== undefined) k.vmap_layers = layers;
  const steps = before?.(t);
  if (steps !== undefined) yield* steps;
  vmalloc_init(t);
  yield* mem_init(t);
  kmem_cache_init(t);
  setup_per_cpu_pageset(t);
}
