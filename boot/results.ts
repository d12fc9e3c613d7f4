export const RESULT_SCHEMA = 1;
export interface ProfileLine {
  symbol: string;
  ticks: number;
  percent: number;
}
export interface LockLine {
  name: string;
  acquisitions: number;
  contentions: number;
  wait_ns: number;
  hold_ns: number;
}
export interface RunResult {
  workload: string;
  vmap: string;
  api: string;
  threads: number;
  pages: number;
  ops: number;
  ns_per_op: number;
  reference_ns: number | null;
  tlb_flushes: number;
  ipis: number;
  lock_wait_ns: number;
  profile: ProfileLine[];
  locks: LockLine[];
}
export interface BootResult {
  schema: number;
  machine: {
    name: string;
    description: string;
    cpus: number;
    sockets: number;
    nodes: number;
    clock_hz: number;
    page_size: number;
    memory_bytes: number;
  };
  seed: number;
  command_line: string;
  dmesg: string[];
  runs: RunResult[];
}
