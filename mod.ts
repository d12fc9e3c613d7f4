/**
 * An emulated SMP machine with a Linux 2.6.28 kernel on it, to run kernel code
 * of one's own on and to measure it: page tables, TLBs, cache lines and
 * interprocessor interrupts are emulated, every run repeats exactly, and what
 * it costs is virtual time.
 *
 * {@linkcode boot} boots a machine. {@linkcode BootedMachine.run} runs a
 * generator on its pid 1; from there the kernel's functions are called by
 * Linux's names, the thread that calls before Linux's arguments:
 *
 * ```ts
 * import { boot, vfree, vload, vmalloc, vstore } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const machine = boot({ params: { vmap: "rewrite" } });
 * const value = machine.run(function* (t) {
 *   const addr = yield* vmalloc(t, 3 * 4096);
 *   yield* vstore(t, addr, 8, 42);
 *   const value = yield* vload(t, addr, 8);
 *   yield* vfree(t, addr);
 *   return value;
 * });
 * assertEquals(value, 42);
 * assertEquals(machine.counters().vmap.lazy_nr, 4); // 3 pages and a guard
 * ```
 *
 * What returns {@linkcode Steps} is used with `yield*`: other CPUs may run
 * inside. A plain function is atomic. Times are cycles of the machine's CPUs
 * unless the name says otherwise (`Machine.toNs()` converts), sizes are bytes,
 * page counts are pages, addresses are the low 48 bits as a number, errors are
 * negative `E*` numbers or 0 for a missing address, as in Linux. A kernel that
 * goes wrong throws {@linkcode KernelBug}; the machine is of no use then.
 *
 * "Linux:" in a description names the file of 2.6.28 whose behaviour is
 * modelled; `docs/LINUX.md` says what is kept, changed and left out.
 *
 * Examples import `@vmaplab/vmaplab`: map that to the URL of this file in
 * `deno.json`, or write the URL. Nothing else needs to be mapped.
 *
 * @module
 */

// Booting a machine, and what it says afterwards.

export { boot, BootedMachine, type BootOptions } from "./boot/boot.ts";
export type { Initcall } from "./boot/host_door.ts";
export type { Counters, Snapshot, TlbCounters } from "./boot/measure.ts";
export {
  ParamError,
  parseCommandLine,
  type ParsedCommandLine,
} from "./boot/params.ts";
export { KERNEL_INIT_STEPS } from "./boot/rest_init.ts";
export { START_KERNEL_STEPS, UTS_RELEASE } from "./boot/start_kernel.ts";
export { type BootStep, nothing, step } from "./boot/step.ts";
export { type Arch, Kernel, type Subsystems } from "./kernel/kernel.ts";
export { FaultAttr, Faults } from "./kernel/fault_inject.ts";
export {
  DEFAULT_PARAMS,
  type FaultSetting,
  type IpiDelay,
  type KernelParams,
} from "./kernel/params.ts";
export { type SanitizerEntry, SANITIZERS } from "./kernel/sanitizers/index.ts";
export {
  type ReportSection,
  SanitizerReport,
} from "./kernel/sanitizers/report.ts";

// Machines.

export {
  Machine,
  type MachineCounters,
  type MachineOptions,
} from "./arch/hw/machine.ts";
export { type AccessSize, Frame, PhysMemory } from "./arch/hw/memory.ts";
export { type FaultHandler, type FaultReason, Mmu } from "./arch/hw/mmu.ts";
export type { PteFormat, PtePair } from "./arch/hw/pte.ts";
export { Tlb, type TlbPlace, type TlbVisitor } from "./arch/hw/tlb.ts";
export { generic, MAX_CPUS } from "./arch/hw/presets/generic.ts";
export {
  DEFAULT_PRESET,
  findPreset,
  PRESETS,
} from "./arch/hw/presets/index.ts";
export type { MachineSpec, Source, TlbLevelSpec } from "./arch/hw/spec.ts";
export {
  cpusOf,
  sourceOf,
  SpecError,
  validateSpec,
  withCpus,
} from "./arch/hw/validate.ts";

// The benchmarks, and their results.

export type { MachinesOptions } from "./boot/each_machine.ts";
export type { Insmod, ModuleFile } from "./boot/insmod.ts";
export type { ListedDirectory, ListedEntry } from "./boot/images/listed.ts";
export {
  type AnyRun,
  type BootResult,
  type CommonRun,
  type InjectedFaults,
  type LoadedLine,
  type LockLine,
  type MachineResult,
  type MeasuredRun,
  type MixedPart,
  type MixedRun,
  type ModulesRun,
  type NamedInode,
  type NoneRun,
  type ProfileLine,
  RESULT_SCHEMA,
  type RunResult,
  type VmapCalls,
  type XfsLargeDirRun,
  type XfsLsRun,
} from "./boot/results.ts";
export { runBoot, type RunOptions } from "./boot/run.ts";
export {
  type ModulesOptions,
  runModules,
  runNone,
} from "./boot/run_modules.ts";
export {
  runXfsLargeDir,
  runXfsLs,
  type XfsLargeDirOptions,
  type XfsLsOptions,
} from "./boot/run_xfs.ts";
export { WorkloadError } from "./boot/workload_error.ts";
export type { DiskDriver, DiskOptions } from "./boot/xfs_disk.ts";
export {
  map_touch_unmap,
  type MapApi,
  type MapTouchUnmap,
  type Measured,
} from "./boot/workloads/map_touch_unmap.ts";
export type { ModuleFiles } from "./boot/workloads/modules.ts";
export { formatCsv } from "./report/csv.ts";
export { formatJson } from "./report/json.ts";
export { formatLocks } from "./report/locks.ts";
export { formatProfile } from "./report/profile.ts";
export { formatTable } from "./report/table.ts";

// Disks.

export {
  ImageError,
  readImage,
  SparseImage,
} from "./kernel/drivers/block/image.ts";

// What kernel code is made of: threads, operations on shared state, time.

export {
  atomic_add_return,
  charge,
  charge_cycles,
  cmpxchg,
  cpu_relax,
  enter,
  flush_tlb_local,
  invlpg,
  irqs_disabled,
  ksym,
  leave,
  load,
  local_irq_disable,
  local_irq_enable,
  local_irq_restore,
  local_irq_save,
  MachineContext,
  OpKind,
  pload,
  pstore,
  read_line,
  READ_ONCE,
  spin_cmpxchg,
  spin_until,
  type Steps,
  store,
  type Sym,
  touch_read,
  touch_write,
  vload,
  vstore,
  write_line,
  WRITE_ONCE,
  xchg,
} from "./arch/asm.ts";
export { Cell, type Holder } from "./arch/hw/cell.ts";
export { CacheLine } from "./arch/hw/line.ts";
export { Context } from "./arch/sim/context.ts";
export { Cpu } from "./arch/sim/cpu.ts";
export type { ParkedList, ParkingPlace } from "./arch/sim/waiters.ts";
export {
  Engine,
  type EngineOptions,
  type StopReason,
} from "./arch/sim/engine.ts";
export type { Observer } from "./arch/sim/observer.ts";
export { type Policy, TimedPolicy } from "./arch/sim/policy.ts";
export { symName } from "./arch/sim/symbol.ts";

// Threads and the scheduler.

export {
  kthread_bind,
  kthread_create,
  kthread_join,
  kthread_run,
  kthread_should_stop,
  kthread_stop,
  type ThreadFunction,
} from "./kernel/kthread.ts";
export { set_cpus_allowed } from "./kernel/sched/migrate.ts";
export {
  cond_resched,
  need_resched,
  schedule,
  yield_cpu,
} from "./kernel/sched/sched.ts";
export { wake_up_process } from "./kernel/sched/wakeup.ts";
export {
  get_cpu,
  in_atomic,
  in_interrupt,
  preempt_disable,
  preempt_enable,
  put_cpu,
  smp_processor_id,
  TASK_DEAD,
  TASK_INTERRUPTIBLE,
  TASK_RUNNING,
  TASK_UNINTERRUPTIBLE,
  Thread,
} from "./kernel/thread.ts";

// Sleeping, waiting, time.

export { usleep } from "./kernel/hrtimer.ts";
export {
  complete,
  complete_all,
  Completion,
  completion_done,
  init_completion,
  wait_for_completion,
  wait_for_completion_timeout,
} from "./kernel/locking/completion.ts";
export {
  finish_wait,
  prepare_to_wait,
  Wait,
  wait_event,
  wait_event_timeout,
  WaitQueue,
  wake_up,
  wake_up_all,
} from "./kernel/sched/wait.ts";
export { Tick } from "./kernel/tick.ts";
export { ktime_get, msecs_to_jiffies } from "./kernel/timekeeping.ts";
export {
  add_timer,
  del_timer,
  del_timer_sync,
  mod_timer,
  msleep,
  schedule_timeout,
  schedule_timeout_interruptible,
  schedule_timeout_uninterruptible,
  Timer,
  timer_pending,
} from "./kernel/timer.ts";

// Locks.

export { LockClass, LockOwner, LockStats } from "./kernel/locking/lock_stat.ts";
export {
  Mutex,
  mutex_is_locked,
  mutex_lock,
  mutex_trylock,
  mutex_unlock,
} from "./kernel/locking/mutex.ts";
export {
  read_lock,
  read_unlock,
  Rwlock,
  write_lock,
  write_lock_irqsave,
  write_unlock,
  write_unlock_irqrestore,
} from "./kernel/locking/rwlock.ts";
export {
  read_seqbegin,
  read_seqretry,
  Seqlock,
  write_seqlock,
  write_sequnlock,
} from "./kernel/locking/seqlock.ts";
export {
  lockdep_assert_held,
  spin_is_locked,
  spin_lock,
  spin_lock_irq,
  spin_lock_irqsave,
  spin_trylock,
  spin_unlock,
  spin_unlock_irq,
  spin_unlock_irqrestore,
  Spinlock,
  type SpinlockOptions,
} from "./kernel/locking/spinlock.ts";

// Several CPUs: masks, calls, per-CPU variables, RCU, softirqs, work queues.

export { CpuMask } from "./kernel/cpumask.ts";
export {
  __get_cpu_var,
  get_cpu_var,
  PerCpu,
  put_cpu_var,
} from "./kernel/percpu.ts";
export {
  call_rcu,
  rcu_barrier,
  rcu_read_lock,
  rcu_read_unlock,
  type RcuCallback,
  RcuHead,
  synchronize_rcu,
} from "./kernel/rcu.ts";
export {
  on_each_cpu,
  smp_call_function,
  smp_call_function_mask,
  smp_call_function_single,
  type SmpFunction,
} from "./kernel/smp.ts";
export { Tasklet, tasklet_schedule } from "./kernel/softirq.ts";
export {
  cancel_delayed_work,
  create_workqueue,
  DelayedWork,
  flush_scheduled_work,
  flush_workqueue,
  queue_delayed_work,
  queue_work,
  schedule_delayed_work,
  schedule_work,
  Work,
  Workqueue,
} from "./kernel/workqueue.ts";

// Pages and small objects.

export {
  PAGE_KERNEL,
  PAGE_KERNEL_EXEC,
  PAGE_KERNEL_NOCACHE,
  PAGE_KERNEL_RO,
  printVaddr,
} from "./arch/hw/pte.ts";
export {
  __get_free_page,
  __get_free_pages,
  free_page,
  free_pages,
  get_zeroed_page,
} from "./kernel/mm/get_free_pages.ts";
export {
  __GFP_DMA,
  __GFP_DMA32,
  __GFP_HIGHMEM,
  __GFP_NORETRY,
  __GFP_NOWARN,
  __GFP_WAIT,
  __GFP_ZERO,
  GFP_ATOMIC,
  GFP_DMA,
  GFP_DMA32,
  GFP_KERNEL,
  GFP_NOFS,
  GFP_NOIO,
} from "./kernel/mm/gfp.ts";
export {
  get_page,
  Page,
  page_address,
  page_count,
  page_to_pfn,
  pfn_to_page,
  virt_to_page,
} from "./kernel/mm/page.ts";
export {
  __free_page,
  __free_pages,
  alloc_page,
  alloc_pages,
  alloc_pages_node,
  nr_free_pages,
  put_page,
} from "./kernel/mm/page_alloc.ts";
export {
  kfree,
  kmalloc,
  kmalloc_node,
  KmallocObject,
  kmem_cache_alloc,
  kmem_cache_alloc_node,
  kmem_cache_create,
  kmem_cache_destroy,
  kmem_cache_free,
  KmemCache,
  ksize,
  kzalloc,
  Slab,
  SLAB_HWCACHE_ALIGN,
  type SlabInfo,
  SlabObject,
} from "./kernel/mm/slab.ts";

// Kernel addresses: vmalloc, vmap, vm_map_ram, ioremap.

export { ioremap, ioremap_nocache, iounmap } from "./kernel/mm/ioremap.ts";
export {
  set_memory_nx,
  set_memory_ro,
  set_memory_rw,
  set_memory_uc,
  set_memory_wb,
  set_memory_wc,
  set_memory_x,
} from "./kernel/mm/set_memory.ts";
export { text_poke } from "./kernel/alternative.ts";
export {
  MmStruct,
  vmalloc_to_page,
  vmalloc_to_pfn,
} from "./kernel/mm/pgtable.ts";
export {
  remap_vmalloc_range,
  type VmAreaStruct,
} from "./kernel/mm/remap_vmalloc.ts";
export { vfree, vunmap } from "./kernel/mm/vfree.ts";
export {
  __get_vm_area,
  alloc_vm_area,
  find_vm_area,
  free_vm_area,
  free_vm_struct,
  get_vm_area,
  get_vm_area_caller,
  get_vm_area_node,
  map_vm_area,
  remove_vm_area,
  unmap_kernel_range,
} from "./kernel/mm/vm_area.ts";
export {
  VM_ALLOC,
  VM_IOREMAP,
  VM_MAP,
  VM_USERMAP,
  VmStruct,
} from "./kernel/mm/vm_struct.ts";
export {
  __vmalloc,
  is_vmalloc_addr,
  vm_area_add_early,
  vmalloc,
  vmalloc_32,
  vmalloc_32_user,
  vmalloc_exec,
  vmalloc_node,
  vmalloc_user,
  vzalloc,
} from "./kernel/mm/vmalloc.ts";
export {
  vm_map_ram,
  vm_unmap_aliases,
  vm_unmap_ram,
  vmap,
} from "./kernel/mm/vmap.ts";
export { vread, vwrite } from "./kernel/mm/vread.ts";

// A vmap layer of one's own.

export { vmap_page_range, vunmap_page_range } from "./kernel/mm/pgtable.ts";
export { type Quirk, QUIRKS } from "./kernel/mm/quirks.ts";
export { flush_tlb_all, flush_tlb_kernel_range } from "./kernel/mm/tlb.ts";
export { VMAP_LAYERS } from "./kernel/mm/vmalloc.ts";
export { type AddressRange, VmallocState } from "./kernel/mm/vmalloc_state.ts";
export {
  AreaLayer,
  check_areas,
  type LayerCounters,
  type VmapLayer,
  type VmapLayerFactory,
  type VmapRange,
} from "./kernel/mm/vmap_layer.ts";

// Modules.

export { type LabModuleName, labModules } from "./boot/images/lab_modules.ts";
export type { U64 } from "./kernel/lib/u64.ts";
export { module_kallsyms } from "./kernel/module/kallsyms.ts";
export {
  type MapSymbol,
  MapSyntaxError,
  parseSystemMap,
} from "./kernel/module/kernel_symbols.ts";
export { module_alloc, module_free } from "./kernel/module/module_alloc.ts";
export {
  proc_modules,
  sys_delete_module,
  sys_init_module,
} from "./kernel/module/sys_module.ts";

// Structures: lists, red-black trees, arithmetic.

export {
  ALIGN,
  ALIGN_DOWN,
  get_order,
  IS_ALIGNED,
} from "./kernel/lib/bitops.ts";
export {
  list_add,
  list_add_tail,
  list_del,
  list_del_init,
  list_empty,
  list_entries,
  list_entry,
  list_first_entry,
  ListHead,
} from "./kernel/lib/list.ts";
export {
  rb_erase,
  rb_first,
  rb_insert_color,
  rb_last,
  rb_link_node,
  rb_next,
  rb_prev,
  RbNode,
  RbRoot,
  type RbSide,
} from "./kernel/lib/rbtree.ts";

// The log, and what goes wrong.

export { PageFault } from "./arch/hw/mmu.ts";
export { StackOverflow } from "./arch/sim/context.ts";
export { Deadlock } from "./arch/sim/engine.ts";
export { ListPoisonError } from "./kernel/lib/list.ts";
export { BUG, BUG_ON, KernelBug, WARN_ON } from "./kernel/bug.ts";
export {
  EAGAIN,
  EBUSY,
  EEXIST,
  EFAULT,
  EINVAL,
  EIO,
  ENODEV,
  ENOENT,
  ENOMEM,
  ENOSPC,
  ENXIO,
  err,
  errname,
  type Errno,
  ETIMEDOUT,
  IS_ERR_VALUE,
} from "./kernel/lib/errno.ts";
export {
  KERN_ALERT,
  KERN_CRIT,
  KERN_DEBUG,
  KERN_EMERG,
  KERN_ERR,
  KERN_INFO,
  KERN_NOTICE,
  KERN_WARNING,
  type LogLine,
  Printk,
  printk,
} from "./kernel/printk.ts";

// Conformance to the C code.

export {
  type ConformanceDifference,
  type ConformanceResult,
  type FieldDifference,
  type ReplayOptions,
  replayTrace,
} from "./verify/conformance.ts";
export {
  type AddressRange as TraceRange,
  type AllocationBase,
  type FreeLine,
  type GetAreaLine,
  type LineBase,
  type MapLine,
  type OperationBase,
  type OperationLine,
  parseTrace,
  type StateLine,
  type Trace,
  type TraceHeader,
  type TraceLine,
  TraceSyntaxError,
  type TraceVariant,
  type UnmapAliasesLine,
  type UnmapRamLine,
  type VmallocLine,
} from "./verify/conformance_trace.ts";

// Checks of one's own kernel code under many schedules.

export {
  checkDfs,
  type CheckDfsOptions,
  checkPct,
  type CheckPctOptions,
  checkRandom,
  type CheckRandomOptions,
  type CheckResult,
  replay,
} from "./verify/check/check.ts";
export type {
  CheckOptions,
  ScheduleScenario,
} from "./verify/check/scenario.ts";
export { ScheduleError } from "./verify/check/schedule_error.ts";
