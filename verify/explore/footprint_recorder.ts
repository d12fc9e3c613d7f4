/**
 * Records footprints (footprint.ts) on a machine: as its coherence model, to hear
 * of lines, and as the first of its sanitizers, to hear of things.
 *
 * It is told before the others are, and of objects that nobody may touch any
 * more: so it reads no field of an object that is its user's.
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
import type { Footprint } from "./footprint.ts";
import type { ExploreMachine } from "./machine.ts";

/** Bits of things without a line; CPU numbers are below 8. */
const EVENTS = 1;
const IRQ = 1 << 1;
const TLB = 1 << 9;
const ALL_TLBS = 0xff << 9;
const SHARED = 1 << 17;
const RCU = 1 << 18;

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
