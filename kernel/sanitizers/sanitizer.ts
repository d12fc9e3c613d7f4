/**
 * What the kernel and the machine tell sanitizers. Every callback is plain, sees
 * what happens and changes none of it: no virtual time, no state of the kernel.
 * One that has found something throws a {@linkcode SanitizerReport}.
 *
 * `t` is who does it: a thread or an interrupt handler.
 */
import type { Cpu } from "../../arch/sim/cpu.ts";
import type { Kernel } from "../kernel.ts";
import type { LockOwner } from "../locking/lock_stat.ts";
import type { Page } from "../mm/page.ts";
import type { KmemCache } from "../mm/slab.ts";
import type { SlabObject } from "../mm/slab_object.ts";
import type { VmapRange } from "../mm/vmap_layer.ts";
import type { VmStruct } from "../mm/vm_struct.ts";
import type { RcuHead } from "../rcu_state.ts";
import type { Thread } from "../thread.ts";

/** How a lock is taken. */
export const LockMode = {
  /** Spinlock or rwlock, for oneself. */
  SPIN: 0,
  /** Rwlock, shared with other readers. */
  SPIN_READ: 1,
  /** Mutex, semaphore or rwsem: sleeps. */
  SLEEP: 2,
  /** rwsem, shared with other readers: sleeps. */
  SLEEP_READ: 3,
} as const;

/** A value of {@linkcode LockMode}. */
export type LockMode = typeof LockMode[keyof typeof LockMode];

/** One sanitizer: any of these callbacks. */
export interface Sanitizer {
  // From the machine.
  /** An operation on shared state has been performed; see `Observer.operation`. */
  operation?(t: Thread, kind: number, place: unknown, value: number): void;
  /** `cpu` starts to handle an interrupt. */
  interrupt?(cpu: Cpu, vector: number): void;
  /** `cpu` sends `vector` to CPU number `target`. */
  ipi?(cpu: Cpu, target: number, vector: number): void;
  /** `cpu` has flushed its TLB: `global` = kernel entries too. */
  flush?(cpu: Cpu, global: boolean): void;
  /** `cpu` goes on with `next`. */
  switchTo?(cpu: Cpu, next: Thread): void;
  /** What runs on `a` and `b` has changed places, each passed on by its CPU to the other. */
  exchanged?(a: Cpu, b: Cpu): void;
  /** `t` has started CPU number `cpu`, which begins with its idle thread. */
  cpuStarted?(t: Thread, cpu: number): void;

  // Locks.
  /**
   * `t` asks for `lock`, and waits if it must; not called for a trylock.
   * `letsIrqsIn`: interrupts are off, but are let in while it waits.
   */
  lockAsked?(
    t: Thread,
    lock: LockOwner,
    mode: LockMode,
    letsIrqsIn: boolean,
  ): void;
  /** `t` has got `lock`; `tried` = by a trylock, so without waiting. */
  lockTaken?(t: Thread, lock: LockOwner, mode: LockMode, tried: boolean): void;
  /** `t` is about to let go of `lock`. */
  lockReleased?(t: Thread, lock: LockOwner, mode: LockMode): void;
  /** `t` holds `lock`, and `next`, who runs after it here, lets go of it. */
  lockHandedOver?(t: Thread, next: Thread, lock: LockOwner): void;
  /** `t` is not its owner, and tries to let go of it; the kernel stops after this. */
  lockStranger?(t: Thread, lock: LockOwner, mode: LockMode): void;
  /** `t` ends, or, as an idle thread, is about to halt: it holds nothing. */
  threadExit?(t: Thread): void;
  /** `t` is where it may have to sleep; `what` it calls. */
  mightSleep?(t: Thread, what: string): void;
  /** `t` is about to wait for other CPUs to answer an interrupt. */
  ipiWait?(t: Thread): void;

  // Memory.
  /** `obj` goes to a user. */
  objectAllocated?(
    t: Thread,
    cache: KmemCache<SlabObject>,
    obj: SlabObject,
  ): void;
  /** `obj` comes back; double frees have been refused before. */
  objectFreed?(t: Thread, cache: KmemCache<SlabObject>, obj: SlabObject): void;
  /**
   * `obj` is about to be refused by who frees: `wrongCache` = it is not of the
   * cache that it is given to, otherwise it is free already.
   */
  objectRefused?(t: Thread, obj: SlabObject, wrongCache: boolean): void;
  /** rcu_read_lock(): `t.rcu_read_depth` is 1 if it is the outermost. */
  rcuReadLock?(t: Thread): void;
  /** rcu_read_unlock() is about to lower `t.rcu_read_depth`. */
  rcuReadUnlock?(t: Thread): void;
  /** `t` calls schedule(). */
  scheduling?(t: Thread): void;
  /** call_rcu() of `head`. */
  rcuQueued?(t: Thread, head: RcuHead<unknown>): void;
  /** The callback of `head` is about to be called. */
  rcuCalled?(t: Thread, head: RcuHead<unknown>): void;
  /** A block of `2 ** order` pages goes to a user. */
  pageAllocated?(t: Thread, page: Page, order: number): void;
  /** A block of `2 ** order` pages comes back. */
  pageFreed?(t: Thread, page: Page, order: number): void;

  // The vmap layer.
  /** A caller of the API has got `[start, end)`, guard page not included. */
  mapped?(t: Thread, start: number, end: number): void;
  /** vm_map_ram() is about to return `start`, where `pages[0..count)` are to be found. */
  ramMapped?(
    t: Thread,
    start: number,
    count: number,
    pages: readonly Page[],
  ): void;
  /** A caller gives back what was mapped at `start`; calls may nest. */
  unmapped?(t: Thread, start: number): void;
  /** The call that began with `unmapped` is about to return; `accepted` = something was mapped there. */
  unmapDone?(t: Thread, start: number, accepted: boolean): void;
  /** vm_unmap_aliases() begins, of any layer. */
  aliasesBegin?(t: Thread): void;
  /** vm_unmap_aliases() is about to return. */
  aliasesEnd?(t: Thread): void;
  /**
   * Page-table entries of `[start, end)` are about to be written by a mapping;
   * they must be empty. They get `pages[first...]`, or frames from `first` on
   * where `pages` is `null`, with `prot`.
   */
  ptesSet?(
    t: Thread,
    start: number,
    end: number,
    prot: number,
    pages: readonly Page[] | null,
    first: number,
  ): void;
  /** Page-table entries of `[start, end)` have been cleared. */
  ptesCleared?(t: Thread, start: number, end: number): void;
  /** Room for `size` bytes is asked for in `[vstart, vend)`. */
  roomWanted?(
    t: Thread,
    size: number,
    align: number,
    vstart: number,
    vend: number,
  ): void;
  /** The request of `t` is about to fail for want of addresses. */
  roomRefused?(t: Thread): void;
  /** `area` is about to be linked: its addresses are taken. */
  areaInserted?(t: Thread, area: VmapRange): void;
  /** `area` is free, but its addresses are not yet; `lazyPages` = what the layer counts of such pages now. */
  areaLazy?(t: Thread, area: VmapRange, lazyPages: number): void;
  /** A purge has cleared the entries of `area`, and will unlink it. */
  areaTaken?(t: Thread, area: VmapRange): void;
  /** `area` has been unlinked: its addresses may be given out again. */
  areaRemoved?(t: Thread, area: VmapRange): void;
  /** `vm` is on `vmlist`. */
  vmListed?(t: Thread, vm: VmStruct): void;
  /** `vm` is no more on `vmlist`. */
  vmUnlisted?(t: Thread, vm: VmStruct): void;
  /** A per-CPU block has been made. */
  blockMade?(t: Thread): void;
  /** A request that may be served by a block begins (`true`) or ends. */
  blockRequest?(t: Thread, begins: boolean): void;

  /** Nothing is under way on any CPU: whole structures can be looked at. `t` is for the report. */
  quiet?(t: Thread, k: Kernel): void;
}
