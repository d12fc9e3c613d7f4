/**
 * One running kernel: the state that C keeps in global variables, a field for
 * each subsystem. Nothing in `kernel/` lives at module level, so two kernels
 * run side by side in one process.
 *
 * A field is set by the boot step that initialises its subsystem; touching it
 * earlier is the boot-order bug that {@linkcode Kernel.need} reports.
 */
import type { Machine } from "../arch/hw/machine.ts";
import { KernelBug } from "./bug.ts";
import type { CpuMask } from "./cpumask.ts";
import type { HashCaches } from "./fs/hash_caches.ts";
import type { IrqState } from "./irq.ts";
import { LockStats } from "./locking/lock_stat.ts";
import type { Bootmem } from "./mm/bootmem.ts";
import type { MmStruct } from "./mm/pgtable.ts";
import type { PageAllocator } from "./mm/page_alloc.ts";
import type { Slab } from "./mm/slab.ts";
import type { VmallocState } from "./mm/vmalloc.ts";
import type { VmStruct } from "./mm/vm_struct.ts";
import type { VmapLayer, VmapLayerFactory } from "./mm/vmap_layer.ts";
import type { KernelParams } from "./params.ts";
import type { Printk } from "./printk.ts";
import type { Rcu } from "./rcu.ts";
import type { Sched } from "./sched/sched.ts";
import type { Smp } from "./smp.ts";
import type { Softirqs } from "./softirq.ts";
import type { Thread } from "./thread.ts";
import type { Tick } from "./tick.ts";
import type { Timers } from "./timer.ts";
import type { Workqueues } from "./workqueue.ts";

/** Subsystems that a boot step brings up. */
export interface Subsystems {
  sched: Sched;
  irq: IrqState;
  softirq: Softirqs;
  timers: Timers;
  tick: Tick;
  rcu: Rcu;
  smp: Smp;
  workqueues: Workqueues;
  bootmem: Bootmem;
  pages: PageAllocator;
  slab: Slab;
  init_mm: MmStruct;
  vmalloc: VmallocState;
  vmap: VmapLayer;
}

/** One kernel; see the file's head. */
export class Kernel {
  readonly lockStats = new LockStats();
  /** CPUs that could ever be online, that are plugged in, and that run. */
  cpu_possible!: CpuMask;
  cpu_present!: CpuMask;
  cpu_online!: CpuMask;

  sched!: Sched;
  irq!: IrqState;
  softirq!: Softirqs;
  timers!: Timers;
  tick!: Tick;
  rcu!: Rcu;
  smp!: Smp;
  workqueues!: Workqueues;
  bootmem!: Bootmem;
  pages!: PageAllocator;
  slab!: Slab;
  init_mm!: MmStruct;
  vmalloc!: VmallocState;
  vmap!: VmapLayer;
  /** Limits of vmalloc space instead of the machine's, `[start, end)`; read by vmalloc_init(). */
  vmalloc_range: { readonly start: number; readonly end: number } | null = null;
  /** Layers that `vmap=` may name besides the built-in ones. */
  vmap_layers: Readonly<Record<string, VmapLayerFactory>> = {};
  /** Areas registered before vmalloc_init(); see vm_area_add_early(). */
  early_vmlist: VmStruct | null = null;

  /** dcache and icache tables; `null` until one of the vfs_caches_init steps has made them. */
  hash_caches: HashCaches | null = null;

  constructor(
    readonly machine: Machine,
    readonly params: KernelParams,
    readonly printk: Printk,
  ) {}

  /**
   * Asserts that a subsystem is up.
   *
   * @throws {KernelBug} If it is not: a null pointer dereference, as on a machine.
   */
  need(t: Thread, name: keyof Subsystems, initcall: string): void {
    if (this[name] !== undefined) return;
    throw new KernelBug(
      t,
      `BUG: unable to handle kernel NULL pointer dereference: "${name}" is used before ${initcall}()`,
    );
  }
}
