/**
 * What a transition has touched: all that another CPU could notice of it, or
 * that it could notice of another CPU. Two transitions whose footprints do not
 * meet can change places, and nobody can tell.
 *
 * A footprint consists of cache lines, read or written, and of *things* that
 * have no line:
 *
 *     IRQ + cpu   interrupts on their way to a CPU, and its need_resched: read
 *                 by each transition of that CPU, written by who sends one
 *     TLB + cpu   a CPU's translations: written when it fills or flushes, read
 *                 by what sanitizers are told (they look at all TLBs)
 *     EVENTS      what sanitizers are told of pages, areas, mappings, and judge
 *                 by its order; contents of page frames that are zeroed without
 *                 their lines. Written by whoever tells, read by each access to
 *                 memory
 *     RCU         which readers and grace periods overlap, as sanitizers are
 *                 told: read where a reader begins or ends, written by
 *                 call_rcu() and where a callback is called
 *     SHARED      variables of JavaScript that functions of several CPUs share
 *                 and say so: {@linkcode ExploreMachine.shared}
 *
 * The lines are those that the coherence model is asked for, by operations and
 * by touch_read() and touch_write() alike. A freed object counts as written:
 * its line, whether the allocator touches it or not.
 *
 * No thing stands for what sanitizers are told of locks, operations, interrupts:
 * they keep that by thread, by CPU, or by what has a line. lockdep's graph of all
 * locks only grows, and is judged as a whole: two orders come to the same graph,
 * though the report may name another of its edges first.
 *
 * Lines are numbered in the order of their first use since power-on. That is
 * the same number in every run that has begun in the same way, and only in
 * those: of lines that a transition is the first to use it is known only that
 * they are new.
 */
import type { Cpu } from "../../arch/sim/cpu.ts";
import type { Engine } from "../../arch/sim/engine.ts";
import { OpKind } from "../../arch/asm.ts";
import { type CacheLine, Coherence } from "../../arch/hw/line.ts";
import type { MachineSpec } from "../../arch/hw/spec.ts";
import type { KmemCache } from "../../kernel/mm/slab.ts";
import type { SlabObject } from "../../kernel/mm/slab_object.ts";
import type { RcuHead } from "../../kernel/rcu_state.ts";
import { Sanitizers } from "../../kernel/sanitizers/sanitizers.ts";
import type { Sanitizer } from "../../kernel/sanitizers/sanitizer.ts";
import type { Thread } from "../../kernel/thread.ts";
import type { ExploreMachine } from "./machine.ts";

/** Bits of things without a line; CPU numbers are below 8. */
const EVENTS = 1;
const IRQ = 1 << 1;
const TLB = 1 << 9;
const ALL_TLBS = 0xff << 9;
const SHARED = 1 << 17;
const RCU = 1 << 18;

/** What one transition has touched. */
export interface Footprint {
  /** Lines that were in use before it: their numbers. */
  readonly reads: readonly number[];
  /** Lines that it may have written; not in {@linkcode Footprint.reads}. */
  readonly writes: readonly number[];
  /** How many lines had been in use before it: those from here on are new. */
  readonly known: number;
  /** Whether it has read, or written, lines that were new. */
  readonly readsNew: boolean;
  readonly writesNew: boolean;
  /** Things, as bits. */
  readonly thingsRead: number;
  readonly thingsWritten: number;
  /** Depends on everything: a tick, a migration. */
  readonly universal: boolean;
}

/** Whether `a` and `b` may not change places. */
export function dependent(a: Footprint, b: Footprint): boolean {
  if (a.universal || b.universal) return true;
  const things = (a.thingsWritten & (b.thingsRead | b.thingsWritten)) |
    (a.thingsRead & b.thingsWritten);
  if (things !== 0) return true;
  // Beyond what both know by number, any line may be any other.
  const known = Math.min(a.known, b.known);
  const writesA = a.writesNew || beyond(a.writes, known);
  const writesB = b.writesNew || beyond(b.writes, known);
  if (writesA && (writesB || b.readsNew || beyond(b.reads, known))) return true;
  if (writesB && (a.readsNew || beyond(a.reads, known))) return true;
  return meet(a.writes, b.writes) || meet(a.writes, b.reads) ||
    meet(a.reads, b.writes);
}

function beyond(lines: readonly number[], known: number): boolean {
  for (let i = 0; i < lines.length; i++) if (lines[i] >= known) return true;
  return false;
}

function meet(a: readonly number[], b: readonly number[]): boolean {
  for (let i = 0; i < a.length; i++) if (b.includes(a[i])) return true;
  return false;
}

/** The caches, with somebody who watches. Costs what {@linkcode Coherence} does. */
class WatchedCoherence extends Coherence {
  constructor(
    engine: Engine,
    spec: MachineSpec,
    seed: number,
    readonly recorder: FootprintRecorder,
  ) {
    super(engine, spec, seed);
  }

  override has(cpu: Cpu, line: CacheLine): boolean {
    this.recorder.read(line);
    return super.has(cpu, line);
  }

  override read(cpu: Cpu, line: CacheLine): number {
    this.recorder.read(line);
    return super.read(cpu, line);
  }

  override write(cpu: Cpu, line: CacheLine): number {
    this.recorder.wrote(line);
    return super.write(cpu, line);
  }
}

type AnyCache = KmemCache<SlabObject>;

const READ = 1;
const WRITTEN = 2;

/** Records footprints on one machine. */
export class FootprintRecorder implements Sanitizer {
  readonly #numbers = new Map<CacheLine, number>();
  /** Lines of this transition, and how. */
  readonly #touched = new Map<number, number>();
  #known = 0;
  #thingsRead = 0;
  #thingsWritten = 0;
  #universal = false;
  #machine: ExploreMachine | null = null;
  /** Whether sanitizers look at TLBs. */
  #watched = false;
  /** Changes of each CPU's TLB so far. */
  #tlbChanges: number[] = [];
  /** CPU of the runqueue whose lock is on a line. */
  readonly #queueLines = new Map<CacheLine, number>();

  /** For {@linkcode ExploreOptions.coherence}. */
  readonly coherence = (
    engine: Engine,
    spec: MachineSpec,
    seed: number,
  ): Coherence => new WatchedCoherence(engine, spec, seed, this);

  /** `m`, which was made with {@linkcode FootprintRecorder.coherence}, has booted. */
  attach(m: ExploreMachine): void {
    const { k } = m;
    m.shared = () => {
      this.#thingsWritten |= SHARED;
    };
    this.#machine = m;
    this.#watched = k.sanitizers !== null;
    // First, before one of the others takes a freed object's fields away.
    k.sanitizers = new Sanitizers([this, ...k.sanitizers?.all ?? []]);
    for (const { cpu, lock } of k.sched.rqs) {
      this.#queueLines.set(lock.slock.line, cpu);
    }
    this.#tlbChanges = k.machine.mmu.tlbs.map(() => 0);
    this.take(0);
  }

  /** The footprint since the last call, of a transition of CPU number `cpu`. */
  take(cpu: number): Footprint {
    const reads: number[] = [];
    const writes: number[] = [];
    const known = this.#known;
    let readsNew = false;
    let writesNew = false;
    for (const [line, how] of this.#touched) {
      if (line < known) (how === READ ? reads : writes).push(line);
      else if (how === READ) readsNew = true;
      else writesNew = true;
    }
    this.#lookAtTlbs();
    const footprint = {
      reads,
      writes,
      known,
      readsNew,
      writesNew,
      thingsRead: this.#thingsRead | (IRQ << cpu),
      thingsWritten: this.#thingsWritten,
      universal: this.#universal,
    };
    this.#touched.clear();
    this.#known = this.#numbers.size;
    this.#thingsRead = 0;
    this.#thingsWritten = 0;
    this.#universal = false;
    return footprint;
  }

  /** What happens is of the kind that depends on everything. */
  everything(): void {
    this.#universal = true;
  }

  /** Somebody has got a copy of `line`. */
  read(line: CacheLine): void {
    const n = this.#number(line);
    if (!this.#touched.has(n)) this.#touched.set(n, READ);
  }

  /** Somebody has got the only copy of `line`. */
  wrote(line: CacheLine): void {
    this.#touched.set(this.#number(line), WRITTEN);
    // Whoever changes a runqueue may ask its CPU to switch.
    const queue = this.#queueLines.get(line);
    if (queue !== undefined) this.#thingsWritten |= IRQ << queue;
  }

  // Sanitizer.

  operation(_t: Thread, kind: number): void {
    if (kind >= OpKind.PHYS_READ && kind <= OpKind.VIRT_WRITE) {
      this.#thingsRead |= EVENTS;
    }
  }

  ipi(_cpu: Cpu, target: number): void {
    this.#thingsWritten |= IRQ << target;
  }

  objectFreed(_t: Thread, _cache: AnyCache, obj: SlabObject): void {
    this.#wroteObject(obj);
  }

  rcuQueued(_t: Thread, head: RcuHead<unknown>): void {
    this.#rcuCallback(head);
  }

  rcuCalled(_t: Thread, head: RcuHead<unknown>): void {
    this.#rcuCallback(head);
  }

  rcuReadLock(): void {
    if (this.#watched) this.#thingsRead |= RCU;
  }

  rcuReadUnlock(): void {
    if (this.#watched) this.#thingsRead |= RCU;
  }

  pageAllocated(): void {
    this.#event();
  }

  pageFreed(): void {
    this.#event();
  }

  mapped(): void {
    this.#event();
  }

  ramMapped(): void {
    this.#told();
  }

  unmapped(): void {
    this.#event();
  }

  unmapDone(): void {
    this.#told();
  }

  aliasesBegin(): void {
    this.#event();
  }

  aliasesEnd(): void {
    this.#event();
  }

  ptesSet(): void {
    this.#event();
  }

  ptesCleared(): void {
    this.#event();
  }

  roomWanted(): void {
    this.#told();
  }

  roomRefused(): void {
    this.#told();
  }

  areaInserted(): void {
    this.#event();
  }

  areaLazy(): void {
    this.#event();
  }

  areaTaken(): void {
    this.#told();
  }

  areaRemoved(): void {
    this.#event();
  }

  vmListed(): void {
    this.#told();
  }

  vmUnlisted(): void {
    this.#told();
  }

  blockMade(): void {
    this.#told();
  }

  // Inside.

  /** Sanitizers, if there are any, are told something that they judge by its order. */
  #told(): void {
    if (this.#watched) this.#event();
  }

  #rcuCallback({ owner }: RcuHead<unknown>): void {
    if (this.#watched) this.#thingsWritten |= RCU;
    if (isSlabObject(owner)) this.#wroteObject(owner);
  }

  /** By its place: its own fields are the user's, or nobody's, and kasan guards them. */
  #wroteObject({ _slab: slab, _index: index }: SlabObject): void {
    if (slab === null) return;
    const paddr = slab.mem + index * slab.cache.layout.size;
    this.wrote(this.#machine!.machine.lineAt(paddr));
  }

  #event(): void {
    this.#thingsWritten |= EVENTS;
    this.#thingsRead |= ALL_TLBS;
  }

  #lookAtTlbs(): void {
    const changes = this.#tlbChanges;
    const { tlbs } = this.#machine!.machine.mmu;
    for (let i = 0; i < changes.length; i++) {
      const tlb = tlbs[i];
      const now = tlb.misses + tlb.flushes + tlb.flushesGlobal +
        tlb.invalidations;
      if (now === changes[i]) continue;
      changes[i] = now;
      if (this.#watched) this.#thingsWritten |= TLB << i;
    }
  }

  #number(line: CacheLine): number {
    let n = this.#numbers.get(line);
    if (n === undefined) {
      n = this.#numbers.size;
      this.#numbers.set(line, n);
    }
    return n;
  }
}

/** Fields of the slab allocator tell, whether or not a sanitizer has taken others away. */
function isSlabObject(owner: unknown): owner is SlabObject {
  return typeof owner === "object" && owner !== null && "_slab" in owner;
}
