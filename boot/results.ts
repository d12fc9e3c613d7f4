/**
 * What a run leaves behind: the shape of `--format=json`, described for users
 * in `docs/OUTPUT.md`. Data only; every number is a pure function of what was
 * asked for, so none comes from the host's clock.
 */

/** Version of the shapes below; goes up when a field changes its meaning or goes away. */
export const RESULT_SCHEMA = 1;

/** Virtual time that one kernel symbol took, on all CPUs together. */
export interface ProfileLine {
  readonly symbol: string;
  /** One tick is one virtual microsecond of one CPU. */
  readonly ticks: number;
  /** Share of all ticks of the run, idle ones included. */
  readonly percent: number;
}

/** What one lock class did during a run. */
export interface LockLine {
  readonly name: string;
  readonly acquisitions: number;
  /** Acquisitions that had to wait. */
  readonly contentions: number;
  /** Virtual nanoseconds, all waiters together. */
  readonly wait_ns: number;
  /** Virtual nanoseconds, all holders together. */
  readonly hold_ns: number;
}

/** One workload, on one vmap layer, with one number of threads. */
export interface RunResult {
  readonly workload: string;
  /** Name of the vmap layer. */
  readonly vmap: string;
  /** Calls that map and unmap: `"ram"` = vm_map_ram(), `"vmap"` = vmap(). */
  readonly api: string;
  readonly threads: number;
  /** Pages of one mapping. */
  readonly pages: number;
  /** Operations of all threads while the counters below ran. */
  readonly ops: number;
  /** Virtual nanoseconds that one thread takes for one operation. */
  readonly ns_per_op: number;
  /** The same as measured on the real machine in 2008; `null` = was not. */
  readonly reference_ns: number | null;
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

/** The machine that ran. */
export interface MachineResult {
  readonly name: string;
  readonly description: string;
  readonly cpus: number;
  readonly sockets: number;
  readonly nodes: number;
  readonly clock_hz: number;
  /** Bytes of a base page. */
  readonly page_size: number;
  readonly memory_bytes: number;
}

/** A boot and the runs after it. */
export interface BootResult {
  /** {@linkcode RESULT_SCHEMA}. */
  readonly schema: number;
  readonly machine: MachineResult;
  readonly seed: number;
  /** Kernel command line as given. */
  readonly command_line: string;
  /** Kernel log with time stamps, a line each. */
  readonly dmesg: readonly string[];
  /** By layer, then by threads, as asked for. */
  readonly runs: readonly RunResult[];
}
