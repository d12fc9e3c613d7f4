/**
 * The sanitizers that are on, as one: passes each event to those that want it,
 * in their order. `k.sanitizers`; also the machine's observer, unless somebody
 * else is, who then passes events on.
 *
 * Each event is written out, as the shorter forms cost an explorer's schedule of
 * 60 operations more on the host (Deno 2.9.6, two busy cores, about 50 us with all
 * sanitizers, runs in turn): a closure for each event made by one function, 3 to 9
 * us with bound methods, 8 us with methods called by name; `for...of`, 0 to 5 us.
 */
import type { Context } from "../../arch/sim/context.ts";
import type { Cpu } from "../../arch/sim/cpu.ts";
import type { Observer } from "../../arch/sim/observer.ts";
import type { Kernel } from "../kernel.ts";
import type { LockOwner } from "../locking/lock_stat.ts";
import type { Page } from "../mm/page.ts";
import type { KmemCache } from "../mm/slab.ts";
import type { SlabObject } from "../mm/slab_object.ts";
import type { VmapRange } from "../mm/vmap_layer.ts";
import type { VmStruct } from "../mm/vm_struct.ts";
import type { RcuHead } from "../rcu_state.ts";
import type { Thread } from "../thread.ts";
import type { LockMode, Sanitizer } from "./sanitizer.ts";
import { StackDepot } from "./stacks.ts";

/** Sanitizers that want one kind of event. */
type Wanting<K extends keyof Sanitizer> =
  & Sanitizer
  & Required<Pick<Sanitizer, K>>;

/** See the file's head. */
export class Sanitizers implements Observer {
  /** Call stacks that any of them keeps. */
  readonly stacks: StackDepot = new StackDepot();
  readonly #operation: readonly Wanting<"operation">[];
  readonly #interrupt: readonly Wanting<"interrupt">[];
  readonly #ipi: readonly Wanting<"ipi">[];
  readonly #flush: readonly Wanting<"flush">[];
  readonly #switchTo: readonly Wanting<"switchTo">[];
  readonly #exchanged: readonly Wanting<"exchanged">[];
  readonly #cpuStarted: readonly Wanting<"cpuStarted">[];
  readonly #lockHandedOver: readonly Wanting<"lockHandedOver">[];
  readonly #lockStranger: readonly Wanting<"lockStranger">[];
  readonly #threadExit: readonly Wanting<"threadExit">[];
  readonly #lockAsked: readonly Wanting<"lockAsked">[];
  readonly #lockTaken: readonly Wanting<"lockTaken">[];
  readonly #lockReleased: readonly Wanting<"lockReleased">[];
  readonly #mightSleep: readonly Wanting<"mightSleep">[];
  readonly #ipiWait: readonly Wanting<"ipiWait">[];
  readonly #objectAllocated: readonly Wanting<"objectAllocated">[];
  readonly #objectFreed: readonly Wanting<"objectFreed">[];
  readonly #objectRefused: readonly Wanting<"objectRefused">[];
  readonly #rcuReadLock: readonly Wanting<"rcuReadLock">[];
  readonly #rcuReadUnlock: readonly Wanting<"rcuReadUnlock">[];
  readonly #scheduling: readonly Wanting<"scheduling">[];
  readonly #rcuQueued: readonly Wanting<"rcuQueued">[];
  readonly #rcuCalled: readonly Wanting<"rcuCalled">[];
  readonly #pageAllocated: readonly Wanting<"pageAllocated">[];
  readonly #pageFreed: readonly Wanting<"pageFreed">[];
  readonly #mapped: readonly Wanting<"mapped">[];
  readonly #ramMapped: readonly Wanting<"ramMapped">[];
  readonly #unmapped: readonly Wanting<"unmapped">[];
  readonly #unmapDone: readonly Wanting<"unmapDone">[];
  readonly #aliasesBegin: readonly Wanting<"aliasesBegin">[];
  readonly #aliasesEnd: readonly Wanting<"aliasesEnd">[];
  readonly #ptesSet: readonly Wanting<"ptesSet">[];
  readonly #ptesCleared: readonly Wanting<"ptesCleared">[];
  readonly #roomWanted: readonly Wanting<"roomWanted">[];
  readonly #roomRefused: readonly Wanting<"roomRefused">[];
  readonly #areaInserted: readonly Wanting<"areaInserted">[];
  readonly #areaLazy: readonly Wanting<"areaLazy">[];
  readonly #areaTaken: readonly Wanting<"areaTaken">[];
  readonly #areaRemoved: readonly Wanting<"areaRemoved">[];
  readonly #vmListed: readonly Wanting<"vmListed">[];
  readonly #vmUnlisted: readonly Wanting<"vmUnlisted">[];
  readonly #blockMade: readonly Wanting<"blockMade">[];
  readonly #blockRequest: readonly Wanting<"blockRequest">[];
  readonly #quiet: readonly Wanting<"quiet">[];

  constructor(readonly all: readonly Sanitizer[]) {
    this.#operation = wanting(all, "operation");
    this.#interrupt = wanting(all, "interrupt");
    this.#ipi = wanting(all, "ipi");
    this.#flush = wanting(all, "flush");
    this.#switchTo = wanting(all, "switchTo");
    this.#exchanged = wanting(all, "exchanged");
    this.#cpuStarted = wanting(all, "cpuStarted");
    this.#lockHandedOver = wanting(all, "lockHandedOver");
    this.#lockStranger = wanting(all, "lockStranger");
    this.#threadExit = wanting(all, "threadExit");
    this.#lockAsked = wanting(all, "lockAsked");
    this.#lockTaken = wanting(all, "lockTaken");
    this.#lockReleased = wanting(all, "lockReleased");
    this.#mightSleep = wanting(all, "mightSleep");
    this.#ipiWait = wanting(all, "ipiWait");
    this.#objectAllocated = wanting(all, "objectAllocated");
    this.#objectFreed = wanting(all, "objectFreed");
    this.#objectRefused = wanting(all, "objectRefused");
    this.#rcuReadLock = wanting(all, "rcuReadLock");
    this.#rcuReadUnlock = wanting(all, "rcuReadUnlock");
    this.#scheduling = wanting(all, "scheduling");
    this.#rcuQueued = wanting(all, "rcuQueued");
    this.#rcuCalled = wanting(all, "rcuCalled");
    this.#pageAllocated = wanting(all, "pageAllocated");
    this.#pageFreed = wanting(all, "pageFreed");
    this.#mapped = wanting(all, "mapped");
    this.#ramMapped = wanting(all, "ramMapped");
    this.#unmapped = wanting(all, "unmapped");
    this.#unmapDone = wanting(all, "unmapDone");
    this.#aliasesBegin = wanting(all, "aliasesBegin");
    this.#aliasesEnd = wanting(all, "aliasesEnd");
    this.#ptesSet = wanting(all, "ptesSet");
    this.#ptesCleared = wanting(all, "ptesCleared");
    this.#roomWanted = wanting(all, "roomWanted");
    this.#roomRefused = wanting(all, "roomRefused");
    this.#areaInserted = wanting(all, "areaInserted");
    this.#areaLazy = wanting(all, "areaLazy");
    this.#areaTaken = wanting(all, "areaTaken");
    this.#areaRemoved = wanting(all, "areaRemoved");
    this.#vmListed = wanting(all, "vmListed");
    this.#vmUnlisted = wanting(all, "vmUnlisted");
    this.#blockMade = wanting(all, "blockMade");
    this.#blockRequest = wanting(all, "blockRequest");
    this.#quiet = wanting(all, "quiet");
  }

  operation(t: Context, kind: number, place: unknown, value: number): void {
    const to = this.#operation;
    for (let i = 0; i < to.length; i++) {
      to[i].operation(t as Thread, kind, place, value);
    }
  }

  interrupt(cpu: Cpu, vector: number): void {
    const to = this.#interrupt;
    for (let i = 0; i < to.length; i++) to[i].interrupt(cpu, vector);
  }

  ipi(cpu: Cpu, target: number, vector: number): void {
    const to = this.#ipi;
    for (let i = 0; i < to.length; i++) to[i].ipi(cpu, target, vector);
  }

  flush(cpu: Cpu, global: boolean): void {
    const to = this.#flush;
    for (let i = 0; i < to.length; i++) to[i].flush(cpu, global);
  }

  switchTo(cpu: Cpu, next: Context): void {
    const to = this.#switchTo;
    for (let i = 0; i < to.length; i++) to[i].switchTo(cpu, next as Thread);
  }

  exchanged(a: Cpu, b: Cpu): void {
    const to = this.#exchanged;
    for (let i = 0; i < to.length; i++) to[i].exchanged(a, b);
  }

  cpuStarted(t: Thread, cpu: number): void {
    const to = this.#cpuStarted;
    for (let i = 0; i < to.length; i++) to[i].cpuStarted(t, cpu);
  }

  lockHandedOver(t: Thread, next: Thread, lock: LockOwner): void {
    const to = this.#lockHandedOver;
    for (let i = 0; i < to.length; i++) to[i].lockHandedOver(t, next, lock);
  }

  lockStranger(t: Thread, lock: LockOwner, mode: LockMode): void {
    const to = this.#lockStranger;
    for (let i = 0; i < to.length; i++) to[i].lockStranger(t, lock, mode);
  }

  threadExit(t: Thread): void {
    const to = this.#threadExit;
    for (let i = 0; i < to.length; i++) to[i].threadExit(t);
  }

  lockAsked(
    t: Thread,
    lock: LockOwner,
    mode: LockMode,
    letsIrqsIn = false,
  ): void {
    const to = this.#lockAsked;
    for (let i = 0; i < to.length; i++) {
      to[i].lockAsked(t, lock, mode, letsIrqsIn);
    }
  }

  lockTaken(t: Thread, lock: LockOwner, mode: LockMode, tried: boolean): void {
    const to = this.#lockTaken;
    for (let i = 0; i < to.length; i++) to[i].lockTaken(t, lock, mode, tried);
  }

  lockReleased(t: Thread, lock: LockOwner, mode: LockMode): void {
    const to = this.#lockReleased;
    for (let i = 0; i < to.length; i++) to[i].lockReleased(t, lock, mode);
  }

  mightSleep(t: Thread, what: string): void {
    const to = this.#mightSleep;
    for (let i = 0; i < to.length; i++) to[i].mightSleep(t, what);
  }

  ipiWait(t: Thread): void {
    const to = this.#ipiWait;
    for (let i = 0; i < to.length; i++) to[i].ipiWait(t);
  }

  objectAllocated(
    t: Thread,
    cache: KmemCache<SlabObject>,
    obj: SlabObject,
  ): void {
    const to = this.#objectAllocated;
    for (let i = 0; i < to.length; i++) to[i].objectAllocated(t, cache, obj);
  }

  objectFreed(t: Thread, cache: KmemCache<SlabObject>, obj: SlabObject): void {
    const to = this.#objectFreed;
    for (let i = 0; i < to.length; i++) to[i].objectFreed(t, cache, obj);
  }

  objectRefused(t: Thread, obj: SlabObject, wrongCache: boolean): void {
    const to = this.#objectRefused;
    for (let i = 0; i < to.length; i++) to[i].objectRefused(t, obj, wrongCache);
  }

  rcuReadLock(t: Thread): void {
    const to = this.#rcuReadLock;
    for (let i = 0; i < to.length; i++) to[i].rcuReadLock(t);
  }

  rcuReadUnlock(t: Thread): void {
    const to = this.#rcuReadUnlock;
    for (let i = 0; i < to.length; i++) to[i].rcuReadUnlock(t);
  }

  scheduling(t: Thread): void {
    const to = this.#scheduling;
    for (let i = 0; i < to.length; i++) to[i].scheduling(t);
  }

  rcuQueued(t: Thread, head: RcuHead<unknown>): void {
    const to = this.#rcuQueued;
    for (let i = 0; i < to.length; i++) to[i].rcuQueued(t, head);
  }

  rcuCalled(t: Thread, head: RcuHead<unknown>): void {
    const to = this.#rcuCalled;
    for (let i = 0; i < to.length; i++) to[i].rcuCalled(t, head);
  }

  pageAllocated(t: Thread, page: Page, order: number): void {
    const to = this.#pageAllocated;
    for (let i = 0; i < to.length; i++) to[i].pageAllocated(t, page, order);
  }

  pageFreed(t: Thread, page: Page, order: number): void {
    const to = this.#pageFreed;
    for (let i = 0; i < to.length; i++) to[i].pageFreed(t, page, order);
  }

  mapped(t: Thread, start: number, end: number): void {
    const to = this.#mapped;
    for (let i = 0; i < to.length; i++) to[i].mapped(t, start, end);
  }

  ramMapped(
    t: Thread,
    start: number,
    count: number,
    pages: readonly Page[],
  ): void {
    const to = this.#ramMapped;
    for (let i = 0; i < to.length; i++) {
      to[i].ramMapped(t, start, count, pages);
    }
  }

  unmapped(t: Thread, start: number): void {
    const to = this.#unmapped;
    for (let i = 0; i < to.length; i++) to[i].unmapped(t, start);
  }

  unmapDone(t: Thread, start: number, accepted: boolean): void {
    const to = this.#unmapDone;
    for (let i = 0; i < to.length; i++) to[i].unmapDone(t, start, accepted);
  }

  aliasesBegin(t: Thread): void {
    const to = this.#aliasesBegin;
    for (let i = 0; i < to.length; i++) to[i].aliasesBegin(t);
  }

  aliasesEnd(t: Thread): void {
    const to = this.#aliasesEnd;
    for (let i = 0; i < to.length; i++) to[i].aliasesEnd(t);
  }

  ptesSet(
    t: Thread,
    start: number,
    end: number,
    prot: number,
    pages: readonly Page[] | null,
    first: number,
  ): void {
    const to = this.#ptesSet;
    for (let i = 0; i < to.length; i++) {
      to[i].ptesSet(t, start, end, prot, pages, first);
    }
  }

  ptesCleared(t: Thread, start: number, end: number): void {
    const to = this.#ptesCleared;
    for (let i = 0; i < to.length; i++) to[i].ptesCleared(t, start, end);
  }

  roomWanted(
    t: Thread,
    size: number,
    align: number,
    vstart: number,
    vend: number,
  ): void {
    const to = this.#roomWanted;
    for (let i = 0; i < to.length; i++) {
      to[i].roomWanted(t, size, align, vstart, vend);
    }
  }

  roomRefused(t: Thread): void {
    const to = this.#roomRefused;
    for (let i = 0; i < to.length; i++) to[i].roomRefused(t);
  }

  areaInserted(t: Thread, area: VmapRange): void {
    const to = this.#areaInserted;
    for (let i = 0; i < to.length; i++) to[i].areaInserted(t, area);
  }

  areaLazy(t: Thread, area: VmapRange, lazyPages: number): void {
    const to = this.#areaLazy;
    for (let i = 0; i < to.length; i++) to[i].areaLazy(t, area, lazyPages);
  }

  areaTaken(t: Thread, area: VmapRange): void {
    const to = this.#areaTaken;
    for (let i = 0; i < to.length; i++) to[i].areaTaken(t, area);
  }

  areaRemoved(t: Thread, area: VmapRange): void {
    const to = this.#areaRemoved;
    for (let i = 0; i < to.length; i++) to[i].areaRemoved(t, area);
  }

  vmListed(t: Thread, vm: VmStruct): void {
    const to = this.#vmListed;
    for (let i = 0; i < to.length; i++) to[i].vmListed(t, vm);
  }

  vmUnlisted(t: Thread, vm: VmStruct): void {
    const to = this.#vmUnlisted;
    for (let i = 0; i < to.length; i++) to[i].vmUnlisted(t, vm);
  }

  blockMade(t: Thread): void {
    const to = this.#blockMade;
    for (let i = 0; i < to.length; i++) to[i].blockMade(t);
  }

  blockRequest(t: Thread, begins: boolean): void {
    const to = this.#blockRequest;
    for (let i = 0; i < to.length; i++) to[i].blockRequest(t, begins);
  }

  quiet(t: Thread, k: Kernel): void {
    const to = this.#quiet;
    for (let i = 0; i < to.length; i++) to[i].quiet(t, k);
  }
}

function wanting<K extends keyof Sanitizer>(
  all: readonly Sanitizer[],
  event: K,
): readonly Wanting<K>[] {
  return all.filter((s) => s[event] !== undefined) as unknown as Wanting<K>[];
}
