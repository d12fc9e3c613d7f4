/**
 * start_kernel(): the order in which 2.6.28 comes up (init/main.c), as a table
 * that reads like it. Each step says what must exist before it; steps that the
 * model has no work for say why.
 *
 * The order is the point: vmalloc_init() runs before vfs_caches_init_early(),
 * mem_init() and kmem_cache_init(), so it may touch static and per-CPU data
 * only, and nobody may call vmalloc() before the slab allocator is up.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  local_irq_disable,
  local_irq_enable,
  type Steps,
} from "../arch/asm.ts";
import { boot_cpu_init } from "../kernel/cpumask.ts";
import {
  vfs_caches_init,
  vfs_caches_init_early,
} from "../kernel/fs/hash_caches.ts";
import { setup_bootmem_allocator } from "../kernel/mm/bootmem.ts";
import { init_memory_mapping } from "../kernel/mm/init.ts";
import {
  build_all_zonelists,
  mem_init,
  page_alloc_init,
} from "../kernel/mm/page_init.ts";
import { setup_per_cpu_pageset } from "../kernel/mm/percpu_pages.ts";
import { kmem_cache_init } from "../kernel/mm/slab.ts";
import { vmalloc_init } from "../kernel/mm/vmalloc.ts";
import { KERN_INFO, KERN_NOTICE, printk } from "../kernel/printk.ts";
import { init_IRQ } from "../kernel/irq.ts";
import { rcu_init } from "../kernel/rcu.ts";
import { sched_init } from "../kernel/sched/sched.ts";
import { softirq_init } from "../kernel/softirq.ts";
import type { Thread } from "../kernel/thread.ts";
import { tick_init } from "../kernel/tick.ts";
import { init_timers } from "../kernel/timer.ts";
import { unknownBootOption } from "./params.ts";
import { rest_init } from "./rest_init.ts";
import { xen_pagetable_setup_done } from "../kernel/xen/mmu.ts";
import { xen_start_kernel } from "../kernel/xen/setup.ts";
import { type BootStep, nothing, runSteps, step } from "./step.ts";

const START_KERNEL = ksym("start_kernel");

/** Version string of the kernel modelled. */
export const UTS_RELEASE = "2.6.28-vmaplab";

function banner(t: Thread): void {
  const { spec, nrCpus } = t.machine;
  printk(
    t,
    KERN_NOTICE,
    `Linux version ${UTS_RELEASE} (vmaplab) SMP, ${spec.name}: ${spec.description}`,
  );
  printk(t, KERN_INFO, `CPUs: ${nrCpus}, seed: ${t.machine.seed}`);
}

/** x86's part: memory, page tables of the linear map; on Xen, which has started the kernel, these become page tables to it too. */
function* setup_arch(t: Thread): Steps {
  xen_start_kernel(t);
  setup_bootmem_allocator(t);
  yield* init_memory_mapping(t);
  yield* xen_pagetable_setup_done(t);
}

/** The parameters have been parsed; says which of them nobody knew. */
function parse_args(t: Thread): void {
  printk(t, KERN_NOTICE, `Kernel command line: ${t.k.params.command_line}`);
  for (const name of t.k.params.unknown_options) {
    printk(t, KERN_NOTICE, unknownBootOption(name));
  }
}

function calibrate_delay(t: Thread): void {
  const { clockHz, kernel } = t.machine.spec;
  const lpj = Math.floor(clockHz / kernel.hz);
  const mips = (2 * clockHz / 1e6).toFixed(2);
  printk(
    t,
    KERN_INFO,
    `Calibrating delay loop (skipped), value calculated using timer frequency.. ${mips} BogoMIPS (lpj=${lpj})`,
  );
}

const NO_CGROUPS = "no control groups in the model";
const NO_PROCESSES = "kernel threads only: no processes, signals or users";
const NO_DEBUG = "checks are the model's own";

/** The steps of start_kernel() in 2.6.28's order. */
export const START_KERNEL_STEPS: readonly BootStep[] = [
  nothing("smp_setup_processor_id", "CPU numbers are the machine's"),
  nothing("unwind_init", "call stacks are kept, not unwound"),
  nothing("lockdep_init", NO_DEBUG),
  nothing("debug_objects_early_init", NO_DEBUG),
  nothing("cgroup_init_early", NO_CGROUPS),
  step("local_irq_disable", [], local_irq_disable),
  nothing("early_boot_irqs_off", NO_DEBUG),
  nothing("early_init_irq_lock_class", NO_DEBUG),
  nothing("lock_kernel", "no big kernel lock: nothing in the model takes it"),
  nothing(
    "tick_init",
    "registers a notifier; timekeeping_init sets the tick up",
  ),
  step("boot_cpu_init", [], boot_cpu_init),
  nothing("page_address_init", "every page has a linear address, or none"),
  step("linux_banner", [], banner),
  step("setup_arch", [], setup_arch),
  nothing("mm_init_owner", NO_PROCESSES),
  nothing(
    "setup_command_line",
    "parameters are parsed by the boot loader, boot/params.ts",
  ),
  nothing("unwind_setup", "call stacks are kept, not unwound"),
  nothing(
    "setup_per_cpu_areas",
    "per-CPU variables are objects, made at first use",
  ),
  nothing("setup_nr_cpu_ids", "CPU masks know their size"),
  nothing("smp_prepare_boot_cpu", "boot_cpu_init has done it"),
  step("sched_init", [], sched_init),
  step("build_all_zonelists", ["bootmem"], build_all_zonelists),
  step("page_alloc_init", ["bootmem"], page_alloc_init),
  nothing("parse_early_param", "parameters are parsed by the boot loader"),
  step("parse_args", [], parse_args),
  nothing(
    "sort_main_extable",
    "no exception table: faults in the kernel are oopses",
  ),
  nothing("trap_init", "the machine's fault hook is set with the page tables"),
  step("rcu_init", ["sched"], rcu_init),
  step("init_IRQ", ["sched"], init_IRQ),
  nothing("pidhash_init", "threads are found by reference"),
  step("init_timers", ["irq"], init_timers),
  nothing("hrtimers_init", "each CPU's base is made by timekeeping_init"),
  step("softirq_init", ["irq"], softirq_init),
  step("timekeeping_init", ["timers", "softirq"], tick_init),
  nothing("time_init", "the clock source is the machine's"),
  nothing("sched_clock_init", "the scheduler reads the CPU's clock"),
  nothing("profile_init", "every cycle is accounted to a symbol already"),
  nothing("early_boot_irqs_on", NO_DEBUG),
  step("local_irq_enable", ["irq"], local_irq_enable),
  nothing("console_init", "the log is printed by boot/cli"),
  nothing("lockdep_info", NO_DEBUG),
  nothing("locking_selftest", "the test suite does it"),
  step("vmalloc_init", ["init_mm"], vmalloc_init),
  step("vfs_caches_init_early", ["bootmem"], vfs_caches_init_early),
  nothing("cpuset_init_early", NO_CGROUPS),
  nothing("page_cgroup_init", NO_CGROUPS),
  step("mem_init", ["bootmem"], mem_init),
  nothing("enable_debug_pagealloc", NO_DEBUG),
  nothing("cpu_hotplug_init", "CPUs stay"),
  step("kmem_cache_init", ["pages"], kmem_cache_init),
  nothing("debug_objects_mem_init", NO_DEBUG),
  nothing("idr_init_cache", "nothing in the model uses idr"),
  step("setup_per_cpu_pageset", ["pages", "slab"], setup_per_cpu_pageset),
  nothing("numa_policy_init", "allocations state their node"),
  step("calibrate_delay", [], calibrate_delay),
  nothing("pidmap_init", "process numbers count up"),
  nothing("pgtable_cache_init", "page tables come from the page allocator"),
  nothing("prio_tree_init", "no file mappings"),
  nothing("anon_vma_init", "no anonymous memory"),
  nothing("thread_info_cache_init", "thread stacks are not in emulated memory"),
  nothing("fork_init", NO_PROCESSES),
  nothing("proc_caches_init", NO_PROCESSES),
  nothing("buffer_init", "no buffer heads in the model"),
  nothing("key_init", NO_PROCESSES),
  nothing("security_init", NO_PROCESSES),
  step("vfs_caches_init", ["slab", "pages"], vfs_caches_init),
  nothing("radix_tree_init", "tree nodes are plain objects"),
  nothing("signals_init", NO_PROCESSES),
  nothing("page_writeback_init", "no dirty page cache"),
  nothing("proc_root_init", "no /proc: BootedMachine has counters"),
  nothing("cgroup_init", NO_CGROUPS),
  nothing("cpuset_init", NO_CGROUPS),
  nothing("taskstats_init_early", NO_PROCESSES),
  nothing("delayacct_init", NO_PROCESSES),
  nothing("check_bugs", "no instruction patching before modules"),
  nothing("acpi_early_init", "no firmware"),
  nothing("ftrace_init", NO_DEBUG),
  step("rest_init", ["sched", "slab", "vmalloc", "rcu"], rest_init),
];

/** Brings the kernel up on the boot CPU; its last step turns `t` into the idle thread. */
export function* start_kernel(
  t: Thread,
  steps: readonly BootStep[] = START_KERNEL_STEPS,
): Steps {
  enter(t, START_KERNEL);
  charge(t, 100);
  yield* runSteps(t, steps);
  leave(t);
}
