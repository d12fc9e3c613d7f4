/**
 * What a machine is made of, as data: the shape every preset fills in and
 * every `--machine=FILE.json` is validated against.
 *
 * A constant never depends on how many threads run or on which vmap layer is
 * in use: it describes hardware. Times are integer cycles of the CPU clock
 * unless the name says otherwise.
 */

/** Where a constant comes from: a public source, or how it was fitted. */
export interface Source {
  /** Dotted path of the field, such as `"cache.sameSocketCycles"`; a section name covers all of its fields. */
  readonly field: string;
  /** Title, and page or section, of the public document; or `"fitted: ..."`, `"chosen: ..."`. */
  readonly source: string;
}

/** Translation cache of one level. */
export interface TlbLevelSpec {
  /** Entries for base pages; 0 = this level does not exist. */
  readonly entries: number;
  /** Ways of a set; equal to `entries` = fully associative. Divides `entries`. */
  readonly ways: number;
}

/** Everything the emulated machine is built from. */
export interface MachineSpec {
  /** Name accepted by `--machine=`. */
  readonly name: string;
  /** One line for `--help` and the boot log. */
  readonly description: string;
  /** CPU clock, hertz. */
  readonly clockHz: number;
  /** Average cycles per instruction of kernel code that hits its caches. */
  readonly cyclesPerInstruction: number;
  /** Sockets, cores, NUMA nodes. */
  readonly topology: {
    /** CPU packages. */
    readonly sockets: number;
    /** CPUs of one full socket. */
    readonly coresPerSocket: number;
    /** CPUs present, at most `sockets * coresPerSocket`; sockets fill up in order. Absent = all. */
    readonly cpus?: number;
    /** NUMA nodes; sockets are dealt to nodes in order. Divides or equals `sockets`. */
    readonly nodes: number;
  };
  /** RAM and the size of a cache line. */
  readonly memory: {
    /** Bytes of RAM in each node. */
    readonly bytesPerNode: number;
    /** Bytes of one cache line. */
    readonly lineBytes: number;
  };
  /** Page-table format. */
  readonly paging: {
    /** Page-table format; it names the architecture too, so that `ia64-16k` is an ia64 kernel. */
    readonly format: "x86-64" | "i386-pae" | "ia64-16k";
    /** log2 of the base page size in bytes; follows from the format, stated so that readers see it. */
    readonly pageShift: number;
  };
  /** Kernel virtual ranges, each `[start, end)`, as the low 48 bits in hex such as `"0xc20000000000"`. */
  readonly layout: {
    /** Linear map of all (i386: low) memory. */
    readonly directMapStart: string;
    /** First address of vmalloc space. */
    readonly vmallocStart: string;
    /** End of vmalloc space; a page boundary, or one byte short of it as x86-64 writes it. */
    readonly vmallocEnd: string;
    /** Equal to the vmalloc range where modules live there (i386, ia64). */
    readonly modulesStart: string;
    /** End of module space, written as `vmallocEnd` is. */
    readonly modulesEnd: string;
  };
  /** What an access costs, by where the line is. */
  readonly cache: {
    /** Load or store that hits the CPU's own cache. */
    readonly hitCycles: number;
    /** Line held by another core of this socket. */
    readonly sameSocketCycles: number;
    /** Line held by a core of another socket. */
    readonly otherSocketCycles: number;
    /** Line in memory of this CPU's node. */
    readonly memoryLocalCycles: number;
    /** Line in memory of another node. */
    readonly memoryRemoteCycles: number;
    /**
     * Part of a transfer that is left when a request has had to wait for
     * another to the same line, above 0, at most 1: its way to the line's home
     * lies behind it. 1 = all of it.
     */
    readonly queuedShare: number;
    /**
     * Transfers between CPUs take up to this much longer, evenly spread: what
     * they meet on the way. Seeded. 0 = never; then threads can fall into a
     * pattern, one shut out of a lock for good, that no real machine keeps.
     */
    readonly jitterCycles: number;
    /**
     * Machines with a directory: a line that several CPUs share lies in its home
     * node's memory as well, which hands out copies this far apart, each as far
     * away as memory is. Absent: its owner hands out every copy, one after the
     * other.
     */
    readonly homeBusyCycles?: number;
  };
  /** What a locked instruction adds. */
  readonly atomic: {
    /** Added to any locked read-modify-write, wherever the line is. */
    readonly lockedCycles: number;
  };
  /** Translation caches and what their misses and flushes cost. */
  readonly tlb: {
    /** First level, base pages. */
    readonly l1: TlbLevelSpec;
    /** Second level, base pages. */
    readonly l2: TlbLevelSpec;
    /** Entries for large pages (2 MiB on x86-64 and PAE, granules of region 7 on ia64), beside the base-page ones. */
    readonly large: TlbLevelSpec;
    /** Added to an access that misses L1 and hits L2. */
    readonly l2HitCycles: number;
    /** Fixed part of a page walk; each table read is charged as a cache access beside it. */
    readonly walkCycles: number;
    /** Page walker caches upper levels: a walk reads only the last table. */
    readonly walkCachesUpper: boolean;
    /** `invlpg` of one page. */
    readonly invlpgCycles: number;
    /** Flush of all non-global entries (reload of CR3). */
    readonly flushCycles: number;
    /** Flush of everything, global entries too (CR4.PGE off and on). */
    readonly flushGlobalCycles: number;
  };
  /** Interprocessor interrupts. */
  readonly ipi: {
    /** Sender's cost of one write to the interrupt command register. */
    readonly sendCycles: number;
    /** From that write to the interrupt's arrival at the target. */
    readonly deliverCycles: number;
    /** `"mask"`: one write reaches a whole mask of CPUs; `"each"`: one write a target. */
    readonly broadcast: "mask" | "each";
  };
  /** What any interrupt costs the CPU that takes it. */
  readonly irq: {
    /** Recognition, vectoring, register save. */
    readonly entryCycles: number;
    /** Register restore, `iret`. */
    readonly exitCycles: number;
    /** End-of-interrupt write to the local APIC. */
    readonly ackCycles: number;
  };
  /** Halted CPUs. */
  readonly idle: {
    /** From an interrupt's arrival at a halted CPU to its first instruction. */
    readonly wakeCycles: number;
  };
  /** The clock that `ktime_get()` reads. */
  readonly clocksource: {
    readonly name: "hpet" | "acpi_pm" | "tsc" | "itc" | "rtc";
    /** One read. */
    readonly readCycles: number;
    /** One device serves one CPU at a time, rather than a register in each CPU. */
    readonly shared: boolean;
  };
  /** How the kernel was configured for this machine. */
  readonly kernel: {
    /** Timer ticks a second (CONFIG_HZ). */
    readonly hz: number;
    /** Spinlocks are ticket locks (x86 since 2.6.25), or the older test-and-set kind (ia64 until 2.6.32). */
    readonly ticketLocks: boolean;
    /** NR_CPUS the kernel is built for; at least the CPUs present. Sizes the vmap blocks. */
    readonly nrCpus: number;
    /** Default of hashdist= (NUMA x86-64 and ia64 kernels: true). */
    readonly hashdist: boolean;
  };
  /** Machines whose kernel runs as a guest of Xen: what the hypervisor costs it. Absent = no hypervisor. */
  readonly xen?: {
    /** A hypercall: into Xen and back, the call itself not included. */
    readonly trapCycles: number;
    /** One request: a page-table entry written, an operation of a list. */
    readonly updateCycles: number;
    /** A write to a page table that Xen emulates: fault, decoding, check. */
    readonly emulateCycles: number;
    /** Looking at all entries of a frame that becomes a page table, or is one no more. */
    readonly validateCycles: number;
    /** From an event that is sent to the upcall of the virtual CPU. */
    readonly eventCycles: number;
  };
  /** Where each constant comes from. */
  readonly sources: readonly Source[];
}
