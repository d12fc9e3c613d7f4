/** Kernel parameters: what the kernel command line sets. Parsing it is `boot/`'s. */

/** Which allocations of a kind fail: `<interval>,<probability>,<space>,<times>`. */
export interface FaultSetting {
  /** One call in this many is looked at. */
  readonly interval: number;
  /** How many of those fail, percent. */
  readonly probability: number;
  /** What is handed out first without a failure: bytes, pages or tables. */
  readonly space: number;
  /** Failures at most; -1 = no limit. */
  readonly times: number;
}

/** Which interrupts from CPU to CPU are late. */
export interface IpiDelay {
  /** How many, percent. */
  readonly probability: number;
  /** By how much at most, cycles. */
  readonly cycles: number;
}

/** The parameters of one kernel; fixed after boot. */
export interface KernelParams {
  /** CPUs to bring up at most (`maxcpus=`, `nr_cpus=`); `null` = all. */
  readonly nr_cpus: number | null;
  /** Memory to use (`mem=`), bytes; `null` = all. */
  readonly mem_bytes: number | null;
  /** Size of the vmalloc range (`vmalloc=`), bytes; `null` = the machine's. */
  readonly vmalloc_bytes: number | null;
  /** Large hash tables from vmalloc space (`hashdist=`); `null` = the machine's default. */
  readonly hashdist: boolean | null;
  /** Messages of a level below this reach the console. */
  readonly loglevel: number;
  /** Which vmap layer runs: `"rewrite"` = 2.6.28's, `"vmlist"` = 2.6.27's, or one of one's own. */
  readonly vmap: string;
  /** Historic bugs to put back (`vmap.quirk=`), by name. */
  readonly vmap_quirk: ReadonlySet<string>;
  /** Mistakes in changing page attributes (`pageattr.quirk=`), by name. */
  readonly pageattr_quirk: ReadonlySet<string>;
  /** Calls of vm_unmap_aliases() to leave out (`xen.quirk=`), by name. */
  readonly xen_quirk: ReadonlySet<string>;
  /** Lazily unmapped pages that bring about a purge; `null` = Linux's rule. */
  readonly lazy_max: number | null;
  /**
   * Pages of the largest request that blocks serve (`vmap.max_alloc=`), a power
   * of two; `null` = BITS_PER_LONG. A block is twice that, or more.
   */
  readonly vmap_max_alloc: number | null;
  /** Pages of vmalloc space that the block size goes by (`vmap.space=`); `null` = Linux's guess. */
  readonly vmap_space: number | null;
  /** How XFS maps buffers of several pages (`xfs.buf_map=`); `null` = as the kernel with that vmap layer did. */
  readonly xfs_buf_map: "vmap" | "vm_map_ram" | null;
  /** Objects of slabs that fail (`failslab=`); `null` = none. */
  readonly failslab: FaultSetting | null;
  /** Pages that fail (`fail_page_alloc=`); `null` = none. */
  readonly fail_page_alloc: FaultSetting | null;
  /** Page tables that fail (`fail_page_table=`); `null` = none. */
  readonly fail_page_table: FaultSetting | null;
  /** Interrupts from CPU to CPU that are late (`ipi_delay=`); `null` = none. */
  readonly ipi_delay: IpiDelay | null;
  /** Seed of everything random. */
  readonly seed: number;
  /** A warning ends the run (`panic_on_warn`). */
  readonly panic_on_warn: boolean;
  /** The kernel command line as given, for the log. */
  readonly command_line: string;
  /** Options that nobody knew, as given: the log says so. */
  readonly unknown_options: readonly string[];
}

/** What an empty command line means. */
export const DEFAULT_PARAMS: KernelParams = Object.freeze({
  nr_cpus: null,
  mem_bytes: null,
  vmalloc_bytes: null,
  hashdist: null,
  loglevel: 7,
  vmap: "rewrite",
  vmap_quirk: new Set<string>(),
  xen_quirk: new Set<string>(),
  pageattr_quirk: new Set<string>(),
  lazy_max: null,
  vmap_max_alloc: null,
  vmap_space: null,
  xfs_buf_map: null,
  failslab: null,
  fail_page_alloc: null,
  fail_page_table: null,
  ipi_delay: null,
  seed: 1,
  panic_on_warn: false,
  command_line: "",
  unknown_options: [],
});
