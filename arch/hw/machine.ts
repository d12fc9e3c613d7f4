/**
 * One emulated machine: CPUs, caches, memory, TLBs, interrupts and the clock
 * device, put together from a {@linkcode MachineSpec}. Knows nothing of Linux.
 */
import type { MachineContext } from "../op.ts";
import type { Cpu } from "../sim/cpu.ts";
import { type CpuPlace, Engine, type EngineOptions } from "../sim/engine.ts";
import { SerialDevice } from "./device.ts";
import { CacheLine, Coherence } from "./line.ts";
import { type AccessSize, type Frame, PhysMemory } from "./memory.ts";
import { Mmu } from "./mmu.ts";
import { Spinners } from "./spinners.ts";
import type { MachineSpec } from "./spec.ts";
import { cpusOf } from "./validate.ts";
import type { Hypervisor } from "../xen/hypervisor.ts";

const TWO_32 = 2 ** 32;

/** Options of {@linkcode Machine}. */
export interface MachineOptions extends EngineOptions {
  /**
   * Makes the model of the caches: one that somebody watches, say. It must cost
   * what {@linkcode Coherence} does.
   *
   * @internal
   */
  readonly coherence?: (
    engine: Engine,
    spec: MachineSpec,
    seed: number,
  ) => Coherence;
}

/** Counters of the machine as a whole. */
export interface MachineCounters {
  /** Interprocessor interrupts that arrived or will, one a target. */
  ipis: number;
}

/**
 * One emulated machine: CPUs, caches, memory, TLBs, interrupts and the clock
 * device that its {@linkcode MachineSpec} describes. Knows nothing of Linux.
 *
 * @example
 * ```ts
 * import { boot } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const { machine } = boot();
 * assertEquals(machine.nrCpus, 8);
 * assertEquals(machine.memory.pageBytes, 4096);
 * assertEquals(machine.toNs(machine.spec.clockHz), 1e9);
 * ```
 */
export class Machine {
  /** CPUs and their clocks, and who runs next. */
  declare readonly engine: Engine;
  /**
   * What cache lines cost.
   *
   * @internal
   */
  declare readonly coherence: Coherence;
  /**
   * CPUs that spin on ticket locks.
   *
   * @internal
   */
  declare readonly spinners: Spinners;
  /** Page frames. */
  declare readonly memory: PhysMemory;
  /** Page-table walks and TLBs. */
  declare readonly mmu: Mmu;
  /**
   * The clock device, as a queue.
   *
   * @internal
   */
  declare readonly clocksource: SerialDevice;
  /**
   * The hypervisor below the kernel; `null` = the kernel has the machine to itself.
   *
   * @internal
   */
  xen: Hypervisor | null = null;
  /**
   * How much later than usual an interrupt from CPU to CPU arrives, cycles, drawn
   * anew for each; `null` = none is late.
   *
   * @internal
   */
  ipiDelay: (() => number) | null = null;
  /** What the machine has counted since power-on. */
  readonly counters: MachineCounters = { ipis: 0 };
  /** Cycles of one instruction that {@linkcode charge} counts. */
  declare readonly cyclesPerInstruction: number;
  /** Cycles that a locked instruction takes beside its cache line's. */
  declare readonly lockedCycles: number;
  readonly #pageBytes: number = 0;
  readonly #pageOfByte: number = 0; // 1 / #pageBytes: exact, a power of two
  readonly #lineShift: number = 0;
  readonly #linesPerPage: number = 0;

  /** What it is made of. */
  declare readonly spec: MachineSpec;
  /** Seed of everything random in a run. */
  declare readonly seed: number;

  /** A machine that is off; {@linkcode boot} makes one and boots a kernel on it. */
  constructor(spec: MachineSpec, seed: number, options: MachineOptions = {}) {
    this.spec = spec;
    this.seed = seed;
    this.engine = new Engine(cpuPlaces(spec), {
      wakeCycles: spec.idle.wakeCycles,
      ...options,
    });
    this.coherence = options.coherence?.(this.engine, spec, seed) ??
      new Coherence(this.engine, spec, seed);
    this.spinners = new Spinners(this.nrCpus, this.coherence);
    if (this.engine.hasSections) this.engine.parking.watch = this.spinners;
    this.memory = new PhysMemory(spec);
    this.#pageBytes = 1 << spec.paging.pageShift;
    this.#pageOfByte = 1 / this.#pageBytes;
    this.#lineShift = Math.log2(spec.memory.lineBytes) | 0;
    this.#linesPerPage = this.#pageBytes / spec.memory.lineBytes;
    this.mmu = new Mmu(this);
    this.clocksource = new SerialDevice(
      spec.clocksource.name,
      spec.clocksource.readCycles,
    );
    this.cyclesPerInstruction = spec.cyclesPerInstruction;
    this.lockedCycles = spec.atomic.lockedCycles;
  }

  /** CPUs of the machine, online or not. */
  get nrCpus(): number {
    return this.engine.cpus.length;
  }

  /** Virtual nanoseconds of `cycles`. */
  toNs(cycles: number): number {
    return cycles * 1e9 / this.spec.clockHz;
  }

  /** Cycles of `ns` virtual nanoseconds. */
  toCycles(ns: number): number {
    return Math.round(ns * this.spec.clockHz / 1e9);
  }

  /** `t` sends `vector` to one CPU or to a mask of them with one register write. */
  sendIpi(
    t: MachineContext,
    target: number | readonly number[],
    vector: number,
  ): void {
    const { cpu } = t;
    const { ipi } = this.spec;
    t.spend(ipi.sendCycles);
    const at = cpu.clock + ipi.deliverCycles;
    const targets = typeof target === "number" ? [target] : target;
    for (const id of targets) {
      this.counters.ipis++;
      this.engine.observer?.ipi?.(cpu, id, vector);
      const late = this.ipiDelay === null ? 0 : this.ipiDelay();
      this.engine.sendInterrupt(this.engine.cpus[id], vector, at + late);
    }
  }

  /** A read of the clock source that starts now. @returns How long it takes, cycles. */
  readClock(cpu: Cpu): number {
    const { shared, readCycles } = this.spec.clocksource;
    return shared ? this.clocksource.read(cpu.clock) - cpu.clock : readCycles;
  }

  /** Lets `cpu` go on with `next`, which is new or was switched out. */
  switchTo(cpu: Cpu, next: MachineContext): void {
    cpu.settle();
    next.cpu = cpu;
    cpu.top = next;
    this.engine.observer?.switchTo?.(cpu, next);
  }

  /** The cache line of physical address `paddr`. */
  lineAt(paddr: number): CacheLine {
    const pfn = Math.floor(paddr * this.#pageOfByte);
    return this.lineIn(this.memory.frame(pfn), paddr - pfn * this.#pageBytes);
  }

  /** The cache line of byte `offset` in `frame`. */
  lineIn(frame: Frame, offset: number): CacheLine {
    const lines = frame.lines;
    if (lines !== null) {
      const line = lines[offset >>> this.#lineShift];
      if (line !== undefined) return line;
    }
    return this.#addLine(frame, offset >>> this.#lineShift);
  }

  /** First use of a line, and perhaps of its frame. */
  #addLine(frame: Frame, index: number): CacheLine {
    let lines = frame.lines;
    if (lines === null) {
      // Pushed, not `new Array(n)`: V8 takes that for small integers at first,
      // and throws away every code that reads it when it learns otherwise.
      lines = [];
      for (let i = 0; i < this.#linesPerPage; i++) lines.push(undefined);
      frame.lines = lines;
    }
    return lines[index] = new CacheLine(this.memory.nodeOf(frame.pfn));
  }

  /** Reads memory by physical address, charging its line. */
  physRead(t: MachineContext, paddr: number, size: number): number {
    const pfn = Math.floor(paddr * this.#pageOfByte);
    const frame = this.memory.frame(pfn);
    return this.readFrame(t, frame, paddr - pfn * this.#pageBytes, size);
  }

  /** Writes memory by physical address, charging its line. */
  physWrite(
    t: MachineContext,
    paddr: number,
    size: number,
    value: number,
  ): void {
    const pfn = Math.floor(paddr * this.#pageOfByte);
    const frame = this.memory.frame(pfn);
    this.writeFrame(t, frame, paddr - pfn * this.#pageBytes, size, value);
  }

  /** Reads `size` bytes at `offset` in `frame`, charging the line. */
  readFrame(
    t: MachineContext,
    frame: Frame,
    offset: number,
    size: number,
  ): number {
    const line = this.lineIn(frame, offset);
    t.spend(this.coherence.read(t.cpu, line));
    const paddr = frame.pfn * this.#pageBytes + offset;
    return this.memory.readNumber(paddr, size as AccessSize);
  }

  /** Writes `size` bytes at `offset` in `frame`, charging the line. */
  writeFrame(
    t: MachineContext,
    frame: Frame,
    offset: number,
    size: number,
    value: number,
  ): void {
    const line = this.lineIn(frame, offset);
    t.spend(this.coherence.write(t.cpu, line));
    if (size === 8 && (offset & 7) === 0) { // the usual case, without a second look-up
      const words = frame.words ?? frame.back();
      words[offset >>> 2] = value;
      words[(offset >>> 2) + 1] = value >>> 0 === value
        ? 0
        : Math.floor(value / TWO_32);
    } else {
      const paddr = frame.pfn * this.#pageBytes + offset;
      this.memory.writeNumber(paddr, size as AccessSize, value);
    }
  }
}

/** CPU numbers go through the cores of socket 0, then socket 1, and so on. */
function cpuPlaces(spec: MachineSpec): CpuPlace[] {
  const { sockets, coresPerSocket, nodes } = spec.topology;
  return Array.from({ length: cpusOf(spec) }, (_, id) => {
    const socket = Math.floor(id / coresPerSocket);
    return { socket, node: Math.floor(socket * nodes / sockets) };
  });
}
