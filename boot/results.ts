/**
 * What a run leaves behind: the shape of `--format=json`, described for users
 * in `docs/OUTPUT.md`. Data only; every number is a pure function of what was
 * asked for, so none comes from the host's clock.
 */

/** Version of the shapes below; goes up when a field changes its meaning or goes away. */
export const RESULT_SCHEMA = 1;

/** Virtual time that one kernel symbol took, on all CPUs together. */
export interface ProfileLine {
  /** The function, by Linux's name. */
  readonly symbol: string;
  /** One tick is one virtual microsecond of one CPU. */
  readonly ticks: number;
  /** Share of all ticks of the run, idle ones included. */
  readonly percent: number;
}

/** A line as `readprofile` prints it. */
export interface LoadedLine extends ProfileLine {
  /** Ticks for each byte of the function's text; `null` = its size is not known. */
  readonly load: number | null;
}

/** What one lock class did during a run. */
export interface LockLine {
  /** Name of the class, such as `"vmlist_lock"`. */
  readonly name: string;
  /** Times that a lock of the class was taken. */
  readonly acquisitions: number;
  /** Acquisitions that had to wait. */
  readonly contentions: number;
  /** Virtual nanoseconds, all waiters together. */
  readonly wait_ns: number;
  /** Virtual nanoseconds, all holders together. */
  readonly hold_ns: number;
}

/** What fault injection did in a run, from the boot on. */
export interface InjectedFaults {
  /** Objects of slabs that were refused. */
  readonly failslab: number;
  /** Blocks of pages that were refused. */
  readonly fail_page_alloc: number;
  /** Page tables that were refused. */
  readonly fail_page_table: number;
  /** Interrupts between CPUs that came late. */
  readonly late_ipis: number;
  /** Operations that failed for it. */
  readonly failed_ops: number;
}

/** What every run has. */
export interface CommonRun {
  /** What was injected; absent = the kernel parameters ask for nothing. */
  readonly injected?: InjectedFaults;
}

/** One workload that was measured, on one vmap layer, with one number of threads. */
export interface MeasuredRun extends CommonRun {
  /** Such as `"map-touch-unmap"`. */
  readonly workload: string;
  /** Name of the vmap layer. */
  readonly vmap: string;
  /** Kernel threads that ran in parallel. */
  readonly threads: number;
  /** Operations of all threads while the counters below ran. */
  readonly ops: number;
  /** Flushes of kernel translations on all CPUs. */
  readonly tlb_flushes: number;
  /** Interprocessor interrupts, one a target. */
  readonly ipis: number;
  /** Virtual nanoseconds waited for locks, all threads and locks together. */
  readonly lock_wait_ns: number;
  /** By ticks, most first. */
  readonly profile: readonly ProfileLine[];
  /** By waiting time, most first. */
  readonly locks: readonly LockLine[];
}

/** A run of `map-touch-unmap`. */
export interface RunResult extends MeasuredRun {
  /** Calls that map and unmap: `"ram"` = vm_map_ram(), `"vmap"` = vmap(). */
  readonly api: string;
  /** Pages of one mapping. */
  readonly pages: number;
  /** Virtual nanoseconds that one thread takes for one operation. */
  readonly ns_per_op: number;
  /** The same as measured on the real machine in 2008; `null` = was not. */
  readonly reference_ns: number | null;
}

/** A run of `xfs-large-dir`: an operation is a name looked up and stat'ed, or a directory read. */
export interface XfsLargeDirRun extends MeasuredRun {
  /** Which workload it was. */
  readonly workload: "xfs-large-dir";
  /** How XFS maps buffers of several pages: `"vmap"` or `"vm_map_ram"`. */
  readonly buf_map: string;
  /** Names looked up and stat'ed. */
  readonly lookups: number;
  /** Names looked up and stat'ed in a virtual second, all threads together. */
  readonly lookups_per_s: number;
  /** `lookups_per_s` over that of `vmlist` with as many threads; `null` = that did not run. */
  readonly speedup: number | null;
  /** Mappings made of several pages: calls of vmap() and vm_map_ram(). */
  readonly vmap_ops: number;
  /** Share of the ticks that were not idle, in functions of the vmap layer and in flushes of TLBs. */
  readonly vmap_percent: number;
  /** All ticks for each byte of the kernel's text; `null` = its size is not known. */
  readonly total_load: number | null;
  /** By ticks, most first. */
  readonly profile: readonly LoadedLine[];
}

/** One name of a directory. */
export interface NamedInode {
  /** The name; what is not UTF-8 in it is replaced by U+FFFD. */
  readonly name: string;
  /** The bytes of the name in hexadecimal; only where they are not UTF-8. */
  readonly name_hex?: string;
  /** Inode number. */
  readonly ino: number;
}

/** A run of `xfs-ls`. */
export interface XfsLsRun extends CommonRun {
  /** Which workload it was. */
  readonly workload: "xfs-ls";
  /** Name of the vmap layer. */
  readonly vmap: string;
  /** The directory, as given. */
  readonly path: string;
  /** What is in it but `.` and `..`, by the bytes of the names. */
  readonly entries: readonly NamedInode[];
}

/** A run of `modules`: an operation is a module loaded, compared and unloaded. */
export interface ModulesRun extends MeasuredRun {
  /** Says which workload. */
  readonly workload: "modules";
  /** Modules loaded, compared and unloaded in a virtual second, all tasks together. */
  readonly loads_per_s: number;
  /** Sections that were read back and compared. */
  readonly sections: number;
  /** Bytes of them. */
  readonly section_bytes: number;
  /** Attempts that failed as they must: a name that is taken, a module in use. */
  readonly refusals: number;
}

/** A run of `none`: the machine has booted, and the modules of `--insmod` are loaded. */
export interface NoneRun extends CommonRun {
  /** Says which workload. */
  readonly workload: "none";
  /** Name of the vmap layer. */
  readonly vmap: string;
  /** Lines of /proc/modules. */
  readonly modules: readonly string[];
}

/** What one subsystem did in a mixed run. */
export interface MixedPart {
  /** Such as `"xfs"`. */
  readonly name: string;
  /** Kernel threads. */
  readonly tasks: number;
  /** Operations in the time that counts. */
  readonly ops: number;
  /** What an operation is, in the plural. */
  readonly unit: string;
  /** Why it did not run; `null` = it did. */
  readonly skipped: string | null;
}

/** Calls of the vmap layer's interface, by name. */
export interface VmapCalls {
  /** vmalloc() and its kin, the module loader's too. */
  readonly vmalloc: number;
  /** vmap(). */
  readonly vmap: number;
  /** vm_map_ram(). */
  readonly vm_map_ram: number;
  /** ioremap() and its kin. */
  readonly ioremap: number;
  /** alloc_vm_area(). */
  readonly alloc_vm_area: number;
  /** vm_unmap_aliases(). */
  readonly vm_unmap_aliases: number;
}

/** Several subsystems side by side for a stretch of virtual time: before the benchmark, or a workload of its own. */
export interface MixedRun extends CommonRun {
  /** `"mixed"`, `"xen"` or `"all"`. */
  readonly workload: string;
  /** Name of the vmap layer. */
  readonly vmap: string;
  /** Virtual time from the first operation to the end of the last, ns. */
  readonly window_ns: number;
  /** What each subsystem did. */
  readonly parts: readonly MixedPart[];
  /** From getting ready for that time until all was given back; so the two counts that follow. */
  readonly calls: VmapCalls;
  /** Flushes of kernel translations on all CPUs. */
  readonly tlb_flushes: number;
  /** Interprocessor interrupts, one a target. */
  readonly ipis: number;
  /** Most areas that held addresses at one time. */
  readonly peak_areas: number;
  /** Most lazily unmapped pages at one time. */
  readonly peak_lazy_pages: number;
  /** Pages that were taken and not given back. */
  readonly leaked_pages: number;
  /** Areas that were taken and not given back. */
  readonly leaked_areas: number;
}

/** A run of any workload; `workload` says of which. */
export type AnyRun =
  | RunResult
  | XfsLargeDirRun
  | XfsLsRun
  | ModulesRun
  | NoneRun
  | MixedRun;

/** The machine that ran. */
export interface MachineResult {
  /** Name that `--machine=` takes. */
  readonly name: string;
  /** The same in words. */
  readonly description: string;
  /** CPUs present. */
  readonly cpus: number;
  /** Those of them that the kernel runs: `nr_cpus=` may leave some out. */
  readonly cpus_online: number;
  /** CPU packages. */
  readonly sockets: number;
  /** NUMA nodes. */
  readonly nodes: number;
  /** CPU clock, hertz. */
  readonly clock_hz: number;
  /** Bytes of a base page. */
  readonly page_size: number;
  /** RAM of all nodes. */
  readonly memory_bytes: number;
}

/** A boot and the runs after it, of one workload. */
export interface BootResult<Run extends AnyRun = RunResult> {
  /** {@linkcode RESULT_SCHEMA}. */
  readonly schema: number;
  /** What ran. */
  readonly machine: MachineResult;
  /** Seed of everything random: the same seed gives the same result. */
  readonly seed: number;
  /** Kernel command line as given. */
  readonly command_line: string;
  /** The run of several subsystems before the others; absent = there was none. */
  readonly mixed?: MixedRun;
  /** Kernel log with time stamps, a line each. */
  readonly dmesg: readonly string[];
  /** By layer, then by threads, as asked for. */
  readonly runs: readonly Run[];
}
