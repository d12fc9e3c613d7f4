/**
 * Measuring a machine: its counters at a moment, and what its kernel did
 * between two moments. Reading them costs no virtual time.
 */
import type { Machine } from "../arch/hw/machine.ts";
import { CpuState } from "../arch/sim/cpu.ts";
import { symCount, symName } from "../arch/sim/symbol.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { LockClass } from "../kernel/locking/lock_stat.ts";
import { nr_free_pages } from "../kernel/mm/page_alloc.ts";
import type { LayerCounters } from "../kernel/mm/vmap_layer.ts";
import { cycles_seen_by_ticks } from "../kernel/profile.ts";
import type { LockLine, ProfileLine } from "./results.ts";

/** One tick of a profile: a microsecond of one CPU, of virtual time. */
const TICKS_PER_SECOND = 1e6;

/** What one CPU's TLB has counted since boot. */
export interface TlbCounters {
  /** Lookups that found a translation, in any level. */
  readonly hits: number;
  /** Lookups that found none: a walk of the page tables each. */
  readonly misses: number;
  /** Flushes that left global (kernel) entries alone. */
  readonly flushes: number;
  /** Flushes of everything. */
  readonly flushesGlobal: number;
  /** Single translations dropped by `invlpg`. */
  readonly invalidations: number;
  /** Valid translations lost to make room. */
  readonly evictions: number;
}

/** What a machine and its kernel have counted since boot. */
export interface Counters {
  /** Virtual time of the CPU that is furthest ahead, ns. */
  readonly atNs: number;
  /** Interprocessor interrupts, one a target. */
  readonly ipis: number;
  /** Flushes of kernel translations on all CPUs: `flush_tlb_kernel_range()`. */
  readonly tlbFlushes: number;
  /** Each CPU's TLB, by CPU number. */
  readonly tlb: readonly TlbCounters[];
  /** Warnings in the kernel log. */
  readonly warnings: number;
  /** Pages that the buddy allocator and its per-CPU lists have free. */
  readonly freePages: number;
  /** The vmap layer's own counters. */
  readonly vmap: LayerCounters;
}

/** Counters at one moment, to measure from; see `BootedMachine.snapshot()`. */
export interface Snapshot {
  /** Clock of the machine, hertz. */
  readonly clockHz: number;
  /** Flushes of kernel translations on all CPUs. */
  readonly tlbFlushes: number;
  /** Interprocessor interrupts, one a target. */
  readonly ipis: number;
  /** Calls of vmap(). */
  readonly vmaps: number;
  /** Calls of vm_map_ram(). */
  readonly ramMaps: number;
  /** Cycles by number of the kernel symbol they are charged to. */
  readonly cycles: Float64Array;
  /** Cycles by number of the symbol that interrupts from other CPUs took them from; see {@linkcode cycles_seen_by_ticks}. */
  readonly interrupted: Float64Array;
  /** Copies of the counters of each lock class, by name; times in cycles. */
  readonly locks: ReadonlyMap<string, LockClass>;
}

/** Counters as of now. */
export function snapshot(machine: Machine, kernel: Kernel): Snapshot {
  return {
    clockHz: machine.spec.clockHz,
    tlbFlushes: kernel.vmalloc.flushes,
    ipis: machine.counters.ipis,
    vmaps: kernel.vmalloc.nr_vmap,
    ramMaps: kernel.vmalloc.nr_vm_map_ram,
    cycles: cyclesUntilNow(machine),
    interrupted: kernel.irq.interrupted.slice(0, symCount()),
    locks: new Map(
      kernel.lockStats.all().map((c) => [c.name, Object.assign({}, c)]),
    ),
  };
}

/**
 * Cycles by symbol as of now. The engine charges a wait when it ends; one that
 * goes on counts up to now, so that a CPU that sleeps across a moment has its
 * time on both sides of it.
 */
function cyclesUntilNow({ engine }: Machine): Float64Array {
  const cycles = engine.cyclesBySym.slice(0, symCount());
  const now = engine.running?.clock ??
    engine.cpus.reduce((latest, { clock }) => Math.max(latest, clock), 0);
  for (const { state, clock, top } of engine.cpus) {
    const waits = state === CpuState.HALTED || state === CpuState.PARKED;
    if (!waits || clock >= now) continue;
    cycles[top!.stack[top!.depth - 1]] += now - clock;
  }
  return cycles;
}

/** Counters as of power-on: all 0. */
export function powerOn(machine: Machine): Snapshot {
  return {
    clockHz: machine.spec.clockHz,
    tlbFlushes: 0,
    ipis: 0,
    vmaps: 0,
    ramMaps: 0,
    cycles: new Float64Array(0),
    interrupted: new Float64Array(0),
    locks: new Map(),
  };
}

/** Everything countable as of now. */
export function counters(machine: Machine, kernel: Kernel): Counters {
  const clocks = machine.engine.cpus.map(({ clock }) => clock);
  return {
    atNs: roundNs(machine.toNs(clocks.reduce((a, b) => Math.max(a, b), 0))),
    ipis: machine.counters.ipis,
    tlbFlushes: kernel.vmalloc.flushes,
    tlb: machine.mmu.tlbs.map((tlb) => ({
      hits: tlb.hitsL1 + tlb.hitsL2 + tlb.hitsLarge,
      misses: tlb.misses,
      flushes: tlb.flushes,
      flushesGlobal: tlb.flushesGlobal,
      invalidations: tlb.invalidations,
      evictions: tlb.evictions,
    })),
    warnings: kernel.printk.warnings,
    freePages: nr_free_pages(kernel),
    vmap: kernel.vmap.counters(),
  };
}

/** Nanoseconds with one decimal. */
export function roundNs(ns: number): number {
  return Math.round(ns * 10) / 10;
}

/** Time by symbol between two snapshots, most first. */
export function profileBetween(start: Snapshot, end: Snapshot): ProfileLine[] {
  return profileOf(difference(start.cycles, end.cycles), end.clockHz);
}

/** {@linkcode profileBetween} as timer ticks would see it: what runs with interrupts off, they do not. */
export function tickProfileBetween(
  start: Snapshot,
  end: Snapshot,
): ProfileLine[] {
  const cycles = difference(start.cycles, end.cycles);
  const interrupted = difference(start.interrupted, end.interrupted);
  return profileOf(cycles_seen_by_ticks(cycles, interrupted), end.clockHz);
}

/** As long as `after`. */
function difference(before: Float64Array, after: Float64Array): Float64Array {
  return after.map((value, i) => value - (before[i] ?? 0));
}

function profileOf(cyclesBySym: Float64Array, clockHz: number): ProfileLine[] {
  const perTick = clockHz / TICKS_PER_SECOND;
  let total = 0;
  const spent: { symbol: string; cycles: number }[] = [];
  cyclesBySym.forEach((cycles, sym) => {
    if (cycles <= 0) return;
    total += cycles;
    spent.push({ symbol: symName(sym), cycles });
  });
  spent.sort((a, b) => b.cycles - a.cycles || (a.symbol < b.symbol ? -1 : 1));
  return spent.map(({ symbol, cycles }) => ({
    symbol,
    ticks: Math.round(cycles / perTick),
    percent: Math.round(cycles / total * 10_000) / 100,
  })).filter((line) => line.ticks > 0);
}

/** What each lock class did between two snapshots, most waited for first. */
export function locksBetween(start: Snapshot, end: Snapshot): LockLine[] {
  const ns = (cycles: number) => roundNs(cycles * 1e9 / end.clockHz);
  const lines: LockLine[] = [];
  for (const [name, after] of end.locks) {
    const before = start.locks.get(name);
    const acquisitions = after.acquisitions - (before?.acquisitions ?? 0);
    if (acquisitions === 0) continue;
    lines.push({
      name,
      acquisitions,
      contentions: after.contentions - (before?.contentions ?? 0),
      wait_ns: ns(after.waitCycles - (before?.waitCycles ?? 0)),
      hold_ns: ns(after.holdCycles - (before?.holdCycles ?? 0)),
    });
  }
  return lines.sort((a, b) =>
    b.wait_ns - a.wait_ns || b.hold_ns - a.hold_ns ||
    (a.name < b.name ? -1 : 1)
  );
}
