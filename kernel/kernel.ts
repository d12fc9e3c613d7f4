/**
 * One running kernel: the state that C keeps in global variables, a field for
 * each subsystem. Nothing in `kernel/` lives at module level, so two kernels
 * run side by side in one process.
 *
 * A field is set by the boot step that initialises its subsystem; touching it
 * earlier is the boot-order bug that {@linkcode Kernel.need} reports.
 */
import type { Machine } from "../arch/hw/machine.ts";
import type { BlockState } from "./block/block_state.ts";
import { KernelBug } from "./bug.ts";
import type { CpuMask } from "./cpumask.ts";
import { Faults } from "./fault_inject.ts";
import type { HashCaches } from "./fs/hash_caches.ts";
import type { XfsBufState } from "./fs/xfs/xfs_buf_state.ts";
import type { Vfs } from "./fs/vfs.ts";
import type { IrqState } from "./irq.ts";
import type { KernelText } from "./kernel_text.ts";
import { LockStats } from "./locking/lock_stat.ts";
import type { AliasLog } from "./mm/alias_log.ts";
import type { Bootmem } from "./mm/bootmem.ts";
import type { PageCache } from "./mm/filemap.ts";
import type { PageattrState } from "./mm/pageattr_state.ts";
import type { MmStruct } from "./mm/pgtable.ts";
import type { PageAllocator } from "./mm/page_alloc.ts";
import type { Slab } from "./mm/slab.ts";
import type { VmallocState } from "./mm/vmalloc.ts";
import type { VmStruct } from "./mm/vm_struct.ts";
import type { VmapLayer, VmapLayerFactory } from "./mm/vmap_layer.ts";
import type { ModuleState } from "./module/module.ts";
import type { KernelParams } from "./params.ts";
import type { Printk } from "./printk.ts";
import type { Rcu } from "./rcu.ts";
import type { Sanitizers } from "./sanitizers/sanitizers.ts";
import type { Sched } from "./sched/sched.ts";
import type { Smp } from "./smp.ts";
import type { Softirqs } from "./softirq.ts";
import type { Thread } from "./thread.ts";
import type { Tick } from "./tick.ts";
import type { Timers } from "./timer.ts";
import type { Workqueues } from "./workqueue.ts";
import type { PvMmuOps } from "./mm/pv_mmu.ts";
import type { XenDevices } from "./drivers/xen/xen_devices.ts";
import type { XenState } from "./xen/xen_state.ts";

/** Architectures whose kernels differ: locks, calls between CPUs, the tick, how a TLB is flushed. */
export type Arch = "x86" | "ia64";

/** Subsystems that a boot step brings up. */
export interface Subsystems {
  /**
   * The scheduler.
   *
   * @internal
   */
  sched: Sched;
  /**
   * Interrupts.
   *
   * @internal
   */
  irq: IrqState;
  /**
   * Softirqs and tasklets.
   *
   * @internal
   */
  softirq: Softirqs;
  /**
   * Timers in jiffies.
   *
   * @internal
   */
  timers: Timers;
  /** Ticks, and `jiffies`. */
  tick: Tick;
  /**
   * Read-copy update.
   *
   * @internal
   */
  rcu: Rcu;
  /**
   * Calls between CPUs.
   *
   * @internal
   */
  smp: Smp;
  /**
   * Work queues.
   *
   * @internal
   */
  workqueues: Workqueues;
  /**
   * The allocator of early boot.
   *
   * @internal
   */
  bootmem: Bootmem;
  /**
   * The page allocator; see {@linkcode nr_free_pages}.
   *
   * @internal
   */
  pages: PageAllocator;
  /** Caches of small objects. */
  slab: Slab;
  /** The kernel's own page tables. */
  init_mm: MmStruct;
  /** What the vmalloc interface knows, whichever layer runs. */
  vmalloc: VmallocState;
  /** The vmap layer that runs. */
  vmap: VmapLayer;
}

/**
 * One running kernel: a field for each subsystem, set by the boot step that
 * brings it up. A thread finds its own as `t.k`. Kernels run side by side.
 *
 * @example
 * ```ts
 * import { boot } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const { kernel } = boot();
 * assertEquals(kernel.cpu_online.list, [0, 1, 2, 3, 4, 5, 6, 7]);
 * assertEquals(kernel.vmap.name, "rewrite");
 * assertEquals(kernel.vmalloc.page_size, 4096);
 * ```
 */
export class Kernel {
  /** What the kernel is built for; follows from the machine's page-table format. */
  readonly arch: Arch;
  /** Statistics of every lock class. */
  readonly lockStats: LockStats = new LockStats();
  /** CPUs that could ever be online, that are plugged in, and that run. */
  cpu_possible!: CpuMask;
  /** CPUs that are plugged in. */
  cpu_present!: CpuMask;
  /** CPUs that run. */
  cpu_online!: CpuMask;

  /**
   * The scheduler.
   *
   * @internal
   */
  sched!: Sched;
  /**
   * Interrupts.
   *
   * @internal
   */
  irq!: IrqState;
  /**
   * Softirqs and tasklets.
   *
   * @internal
   */
  softirq!: Softirqs;
  /**
   * Timers in jiffies.
   *
   * @internal
   */
  timers!: Timers;
  /** Ticks, and `jiffies`. */
  tick!: Tick;
  /**
   * Read-copy update.
   *
   * @internal
   */
  rcu!: Rcu;
  /**
   * Calls between CPUs.
   *
   * @internal
   */
  smp!: Smp;
  /**
   * Work queues.
   *
   * @internal
   */
  workqueues!: Workqueues;
  /**
   * The allocator of early boot.
   *
   * @internal
   */
  bootmem!: Bootmem;
  /**
   * The page allocator.
   *
   * @internal
   */
  pages!: PageAllocator;
  /** Caches of small objects. */
  slab!: Slab;
  /** The kernel's own page tables. */
  init_mm!: MmStruct;
  /** What the vmalloc interface knows, whichever layer runs. */
  vmalloc!: VmallocState;
  /** The vmap layer that runs. */
  vmap!: VmapLayer;
  /** Limits of vmalloc space instead of the machine's, `[start, end)`; read by vmalloc_init(). */
  vmalloc_range: { readonly start: number; readonly end: number } | null = null;
  /** Layers that `vmap=` may name besides the built-in ones. */
  vmap_layers: Readonly<Record<string, VmapLayerFactory>> = {};
  /**
   * Areas registered before vmalloc_init(); see vm_area_add_early().
   *
   * @internal
   */
  early_vmlist: VmStruct | null = null;

  /**
   * dcache and icache tables; `null` until one of the vfs_caches_init steps has made them.
   *
   * @internal
   */
  hash_caches: HashCaches | null = null;
  /**
   * What page caches share; `null` until the first has a page.
   *
   * @internal
   */
  page_cache: PageCache | null = null;
  /**
   * The block layer's slabs; `null` until it has a bio.
   *
   * @internal
   */
  block: BlockState | null = null;
  /**
   * What all XFS buffers share; `null` until there is a target.
   *
   * @internal
   */
  xfs_buf: XfsBufState | null = null;

  /**
   * File systems; `null` until the first is registered.
   *
   * @internal
   */
  vfs: Vfs | null = null;

  /**
   * Modules; `null` until somebody asks for one.
   *
   * @internal
   */
  module: ModuleState | null = null;
  /**
   * Who mapped what; `null` until somebody wants to know.
   *
   * @internal
   */
  alias_log: AliasLog | null = null;
  /**
   * Who looks for mistakes while the kernel runs; `null` = nobody.
   *
   * @internal
   */
  sanitizers: Sanitizers | null = null;
  /** Allocations that are made to fail, and late interrupts. */
  readonly faults: Faults;
  /**
   * Attributes of pages; `null` until the first are changed.
   *
   * @internal
   */
  pageattr: PageattrState | null = null;
  /**
   * The kernel's image, a stand-in; `null` until somebody needs it.
   *
   * @internal
   */
  text: KernelText | null = null;

  /**
   * What a guest of Xen knows of it; `null` = the kernel has the machine to itself.
   *
   * @internal
   */
  xen: XenState | null = null;
  /**
   * Page tables by way of a hypervisor; `null` = they are the kernel's own to write.
   *
   * @internal
   */
  pv_mmu: PvMmuOps | null = null;
  /**
   * Xenstore, buses and devices of both domains; `null` until somebody asks for a device.
   *
   * @internal
   */
  xen_devices: XenDevices | null = null;

  /** The machine below. */
  declare readonly machine: Machine;
  /** Its command line. */
  declare readonly params: KernelParams;
  /** Its log. */
  declare readonly printk: Printk;

  /** A kernel that has not booted; {@linkcode boot} makes and boots one. */
  constructor(machine: Machine, params: KernelParams, printk: Printk) {
    this.machine = machine;
    this.params = params;
    this.printk = printk;
    this.faults = new Faults(machine, params);
    this.arch = machine.mmu.format.name === "ia64-16k" ? "ia64" : "x86";
  }

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
