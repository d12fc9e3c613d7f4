/**
 * The boot of the explorer's machine (machine.ts): the kernel is brought up as
 * far as the vmap layer needs it, in the order of init/main.c.
 *
 * Differs from boot/start_kernel.ts: no devices, no clock sources, no processes;
 * the other CPUs are up at once; each CPU gets a task.
 */
import {
  local_irq_disable,
  local_irq_enable,
  type Steps,
} from "../../arch/asm.ts";
import { parseVaddr } from "../../arch/hw/pte.ts";
import { boot_cpu_init } from "../../kernel/cpumask.ts";
import { init_IRQ } from "../../kernel/irq.ts";
import {
  fork_thread,
  kthread_bind,
  kthread_create,
} from "../../kernel/kthread.ts";
import { setup_bootmem_allocator } from "../../kernel/mm/bootmem.ts";
import { do_page_fault } from "../../kernel/mm/fault.ts";
import { init_memory_mapping } from "../../kernel/mm/init.ts";
import {
  build_all_zonelists,
  mem_init,
  page_alloc_init,
} from "../../kernel/mm/page_init.ts";
import { setup_per_cpu_pageset } from "../../kernel/mm/percpu_pages.ts";
import { kmem_cache_init } from "../../kernel/mm/slab.ts";
import { vmalloc_init } from "../../kernel/mm/vmalloc.ts";
import { rcu_init } from "../../kernel/rcu.ts";
import { sanitize } from "../../kernel/sanitizers/index.ts";
import { cpu_idle } from "../../kernel/sched/idle.ts";
import {
  init_idle,
  sched_init,
  set_rq_online,
} from "../../kernel/sched/sched.ts";
import { wake_up_process } from "../../kernel/sched/wakeup.ts";
import { smp_call_init } from "../../kernel/smp.ts";
import { softirq_init } from "../../kernel/softirq.ts";
import type { Thread } from "../../kernel/thread.ts";
import { tick_init } from "../../kernel/tick.ts";
import { init_timers } from "../../kernel/timer.ts";
import type { ExploreOptions } from "./machine.ts";

/**
 * What CPU 0 does from power-on, for ever.
 *
 * @param task What the task of each CPU does.
 * @param tasks The tasks are added here, by CPU.
 */
export function* startKernel(
  t: Thread,
  options: ExploreOptions,
  task: (p: Thread) => Steps<never>,
  tasks: Thread[],
): Steps {
  const { k } = t;
  local_irq_disable(t);
  boot_cpu_init(t);
  sched_init(t);
  rcu_init(t);
  init_IRQ(t);
  init_timers(t);
  softirq_init(t);
  tick_init(t);
  smp_call_init(t);
  k.machine.mmu.onFault = (c, vaddr, write, reason) =>
    do_page_fault(c as Thread, vaddr, write, reason);
  setup_bootmem_allocator(t);
  yield* init_memory_mapping(t);
  build_all_zonelists(t);
  page_alloc_init(t);
  const { mmu, spec } = k.machine;
  const start = parseVaddr(mmu.format, spec.layout.vmallocStart);
  const bytes = (options.pages ?? 64) * k.machine.memory.pageBytes;
  k.vmalloc_range = { start, end: start + bytes };
  if (options.layers !== undefined) k.vmap_layers = options.layers;
  if (options.sanitize !== undefined) sanitize(k, options.sanitize);
  const early = options.early?.(t);
  if (early !== undefined) yield* early;
  vmalloc_init(t);
  yield* mem_init(t);
  kmem_cache_init(t);
  setup_per_cpu_pageset(t);
  yield* startCpus(t, task, tasks);
  local_irq_enable(t);
  yield* cpu_idle(t);
}

/** Brings the other CPUs up, without the time that this takes; each gets its task. */
function* startCpus(
  t: Thread,
  task: (p: Thread) => Steps<never>,
  tasks: Thread[],
): Steps {
  const { k } = t;
  const { engine } = k.machine;
  for (const cpu of engine.cpus) {
    if (cpu.id === 0) continue;
    const idle = fork_thread(t, "swapper");
    init_idle(idle, cpu.id);
    set_rq_online(t, cpu.id);
    k.cpu_online.set(cpu.id);
    idle.gen = idleLoop(idle)[Symbol.iterator]();
  }
  for (const cpu of engine.cpus) {
    const p = yield* kthread_create(
      t,
      task,
      `task/${cpu.id}`,
    );
    kthread_bind(p, cpu.id);
    yield* wake_up_process(t, p);
    tasks.push(p);
  }
  for (const { id } of engine.cpus) {
    const { idle } = k.sched.rqs[id];
    if (id === 0) continue;
    engine.start(engine.cpus[id], idle, t.cpu.clock);
    k.sanitizers?.cpuStarted(t, id);
  }
}

function* idleLoop(t: Thread): Steps<never> {
  local_irq_enable(t);
  return yield* cpu_idle(t);
}
