/**
 * The slab allocator (mm/slab.c of 2.6.28): caches of objects of one size, an
 * array of free ones on each CPU, three lists of slabs on each node.
 *
 *     alc.lock             an alien array's; interrupts off
 *       l3.list_lock       a node's slabs and shared array; interrupts off
 *         zone.lock
 *
 * This file: caches, and the fast paths, which touch the running CPU's array
 * alone. They are plain: nobody could tell whether others had run inside. What
 * they return is spent at once by the caller's `yield*`.
 *
 * Kept: array, shared and alien caches, colouring, on- and off-slab
 * descriptors' placement, the fallback to other nodes. Left out: the memory of
 * caches, arrays and off-slab descriptors; constructors; DMA caches;
 * SLAB_DESTROY_BY_RCU; the two-second reaper (kmem_cache_shrink() does its work
 * on request); mempolicies. Freeing twice or to the wrong cache is always found,
 * as with CONFIG_DEBUG_SLAB, without its cost.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  type Sym,
} from "../../arch/asm.ts";
import { BUG, BUG_ON } from "../bug.ts";
import { should_failslab } from "../fault_inject.ts";
import type { Kernel } from "../kernel.ts";
import type { Thread } from "../thread.ts";
import { DONE, Ready } from "../../arch/sim/ready.ts";
import { __GFP_WAIT, __GFP_ZERO } from "./gfp.ts";
import type { GeneralCaches } from "./kmalloc.ts";
import { ArrayCache, KmemList3 } from "./slab_lists.ts";
import {
  slab_layout,
  slab_limits,
  type SlabLayout,
  type SlabLimits,
} from "./slab_layout.ts";
import type { SlabObject } from "./slab_object.ts";
import {
  cache_alloc_slow,
  cache_free_slow,
  kmem_cache_alloc_on,
} from "./slab_refill.ts";

export {
  kfree,
  kmalloc,
  kmalloc_node,
  KmallocObject,
  kmem_cache_init,
  ksize,
  kzalloc,
} from "./kmalloc.ts";
export { slab_object_live, SlabObject } from "./slab_object.ts";
export { kmem_cache_destroy, kmem_cache_shrink } from "./slab_shrink.ts";

/**
 * An allocation that the CPU's array serves: prologue and gfp tests 14,
 * interrupts saved, off and restored 9, memory policy 8, array and entry 9,
 * prefetch and return 10.
 */
export const ALLOC_INSTRUCTIONS = 50;
/** Prologue, should_failslab() and return of an allocation that is made to fail. */
const REFUSED_INSTRUCTIONS = 30;
/** A free that the array takes: prologue and tests 10, __phys_addr() and the page's cache 22, interrupts 9, array 9. */
export const FREE_INSTRUCTIONS = 50;
/** On NUMA the object's node is compared with the CPU's too. */
export const FREE_INSTRUCTIONS_NUMA = 64;

const KMEM_CACHE_ALLOC = ksym("kmem_cache_alloc");
const KMEM_CACHE_ALLOC_NODE = ksym("kmem_cache_alloc_node");
const KMEM_CACHE_FREE = ksym("kmem_cache_free");
const KMEM_CACHE_CREATE = ksym("kmem_cache_create");

/** No object shares a cache line that it need not share. */
export const SLAB_HWCACHE_ALIGN = 0x00002000;

/**
 * Objects of one kind.
 *
 * Linux: mm/slab.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   GFP_KERNEL,
 *   kmem_cache_alloc,
 *   kmem_cache_create,
 *   kmem_cache_free,
 *   SlabObject,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * class Inode extends SlabObject {
 *   number = 0;
 * }
 * boot().run(function* (t) {
 *   const cache = kmem_cache_create(t, "my_inode", 500, () => new Inode());
 *   const inode = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
 *   inode.number = 2; // what was there before is anybody's
 *   assertEquals(cache.active, 1);
 *   yield* kmem_cache_free(t, cache, inode);
 * });
 * ```
 */
export class KmemCache<T extends SlabObject> {
  // Fixed after creation.
  /**
   * How objects lie in a slab.
   *
   * @internal
   */
  readonly layout: SlabLayout;
  /**
   * Sizes of the per-CPU arrays.
   *
   * @internal
   */
  readonly limits: SlabLimits;
  /** Several nodes: objects of others go back through alien caches. */
  readonly numa: boolean;
  /**
   * For what the fast path returns.
   *
   * @internal
   */
  readonly ready: Ready<T | null> = new Ready<T | null>(null);

  /**
   * Own CPU only, interrupts off. Made when the CPU first needs it.
   *
   * @internal
   */
  readonly array: (ArrayCache | undefined)[];
  /**
   * By node; made when first needed.
   *
   * @internal
   */
  readonly nodelists: (KmemList3 | undefined)[];

  /** Objects with users. */
  active = 0;
  /** Objects handed out since creation. */
  allocs = 0;
  /** Objects that came back since creation. */
  frees = 0;
  /** Slabs. */
  slabs = 0;
  /** Whether kmem_cache_destroy() has been called. */
  destroyed = false;

  /** Made by {@linkcode kmem_cache_create} alone. */
  constructor(
    readonly k: Kernel,
    readonly name: string,
    /** As asked for, bytes. */
    readonly objectBytes: number,
    readonly make: () => T,
    layout: SlabLayout,
  ) {
    this.layout = layout;
    const { memory, spec, nrCpus } = k.machine;
    this.limits = slab_limits(layout.size, memory.pageBytes, nrCpus);
    this.numa = spec.topology.nodes > 1;
    this.array = new Array(nrCpus).fill(undefined);
    this.nodelists = new Array(spec.topology.nodes).fill(undefined);
  }

  /**
   * CPU number `cpu`'s array.
   *
   * @internal
   */
  arrayOf(cpu: number): ArrayCache {
    return this.array[cpu] ??= new ArrayCache(this.limits.limit);
  }

  /**
   * Node `node`'s lists.
   *
   * @internal
   */
  listsOf(node: number): KmemList3 {
    return this.nodelists[node] ??= new KmemList3(this.k, this, node);
  }
}

/**
 * All caches of one kernel; `k.slab` from kmem_cache_init() on.
 *
 * Linux: mm/slab.c.
 *
 * @example
 * ```ts
 * import { boot } from "@vmaplab/vmaplab";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const { slab } = boot().kernel;
 * assert(slab.inUse().has("vmap_area"));
 * assertEquals(slab.slabinfo()[0].name, "size-32");
 * ```
 */
export class Slab {
  /** In order of creation. */
  // deno-lint-ignore no-explicit-any -- one list for all kinds
  readonly caches: KmemCache<any>[] = [];
  /**
   * Those of kmalloc(); set by kmem_cache_init().
   *
   * @internal
   */
  general!: GeneralCaches;

  /** Objects with users, by cache, in order of creation. Caches of one name are added up. */
  inUse(): Map<string, number> {
    const live = new Map<string, number>();
    for (const { name, active } of this.caches) {
      live.set(name, (live.get(name) ?? 0) + active);
    }
    return live;
  }

  /** What `/proc/slabinfo` shows. */
  slabinfo(): SlabInfo[] {
    return this.caches.map((cache) => ({
      name: cache.name,
      activeObjs: cache.active,
      numObjs: cache.slabs * cache.layout.num,
      objSize: cache.layout.size,
      objPerSlab: cache.layout.num,
      pagesPerSlab: 1 << cache.layout.gfporder,
      slabs: cache.slabs,
      limit: cache.limits.limit,
      batchcount: cache.limits.batchcount,
    }));
  }
}

/** One line of `/proc/slabinfo`. */
export interface SlabInfo {
  /** Name of the cache. */
  readonly name: string;
  /** Objects with users. */
  readonly activeObjs: number;
  /** Objects that its slabs have room for. */
  readonly numObjs: number;
  /** Bytes of one object, padding included. */
  readonly objSize: number;
  /** Objects of one slab. */
  readonly objPerSlab: number;
  /** Pages of one slab. */
  readonly pagesPerSlab: number;
  /** Slabs in memory. */
  readonly slabs: number;
  /** Most objects in a CPU's array. */
  readonly limit: number;
  /** Objects that move between a CPU's array and the slabs at a time. */
  readonly batchcount: number;
}

/**
 * Makes a cache. Plain. Context: process.
 *
 * Linux: mm/slab.c.
 *
 * @param sizeBytes sizeof the object in Linux.
 * @param make Makes the JavaScript object; its fields are the caller's to set anew at each allocation.
 * @param flags SLAB_HWCACHE_ALIGN.
 *
 * @example
 * ```ts
 * import { boot, kmem_cache_create, SlabObject } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const cache = kmem_cache_create(t, "my_cache", 48, () => new SlabObject());
 *   assertEquals([cache.name, cache.objectBytes], ["my_cache", 48]);
 * });
 * ```
 */
export function kmem_cache_create<T extends SlabObject>(
  t: Thread,
  name: string,
  sizeBytes: number,
  make: () => T,
  flags = 0,
): KmemCache<T> {
  enter(t, KMEM_CACHE_CREATE);
  const { k } = t;
  k.need(t, "slab", "kmem_cache_init");
  charge(t, 1500);
  BUG_ON(t, !(sizeBytes > 0), `kmem_cache_create(): size of "${name}" is 0`);
  const layout = slab_layout(
    k.machine.spec,
    sizeBytes,
    (flags & SLAB_HWCACHE_ALIGN) !== 0,
  );
  if (layout === null) BUG(t, `kmem_cache_create(): "${name}" is too large`);
  const cache = new KmemCache<T>(k, name, sizeBytes, make, layout);
  k.slab.caches.push(cache);
  leave(t);
  return cache;
}

/**
 * An object of `cache`, with what its last user left in it.
 *
 * Context: any without __GFP_WAIT; process, interrupts on, with it.
 * Locks: may take l3.list_lock, zone.lock.
 *
 * Linux: mm/slab.c.
 *
 * @returns `null` if memory is out.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   GFP_KERNEL,
 *   kmem_cache_alloc,
 *   kmem_cache_create,
 *   kmem_cache_free,
 *   SlabObject,
 * } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const recycled = boot().run(function* (t) {
 *   const cache = kmem_cache_create(t, "my_cache", 48, () => new SlabObject());
 *   const first = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
 *   yield* kmem_cache_free(t, cache, first);
 *   return (yield* kmem_cache_alloc(t, cache, GFP_KERNEL)) === first;
 * });
 * assert(recycled); // last in, first out
 * ```
 */
export function kmem_cache_alloc<T extends SlabObject>(
  t: Thread,
  cache: KmemCache<T>,
  gfp: number,
): Steps<T | null> {
  if ((gfp & __GFP_WAIT) !== 0) {
    t.k.sanitizers?.mightSleep(t, "kmem_cache_alloc");
  }
  if (t.k.faults.active && refused(t, cache, gfp, KMEM_CACHE_ALLOC)) {
    return cache.ready.give(null);
  }
  const ac = cache.array[t.cpu.id];
  if (ac === undefined || ac.avail === 0 || (gfp & __GFP_ZERO) !== 0) {
    return cache_alloc_slow(t, cache, gfp, KMEM_CACHE_ALLOC);
  }
  enter(t, KMEM_CACHE_ALLOC);
  charge(t, ALLOC_INSTRUCTIONS);
  const obj = array_pop(cache, ac);
  leave(t);
  return cache.ready.give(obj);
}

/**
 * {@linkcode kmem_cache_alloc} from `node`'s memory if there is any; -1 = this
 * CPU's.
 *
 * Linux: mm/slab.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   GFP_KERNEL,
 *   kmem_cache_alloc_node,
 *   kmem_cache_create,
 *   SlabObject,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const node = boot().run(function* (t) {
 *   const cache = kmem_cache_create(t, "my_cache", 48, () => new SlabObject());
 *   const obj = (yield* kmem_cache_alloc_node(t, cache, GFP_KERNEL, 1))!;
 *   return t.machine.memory.nodeOf(Math.floor(obj.paddr / 4096));
 * });
 * assertEquals(node, 1);
 * ```
 */
export function kmem_cache_alloc_node<T extends SlabObject>(
  t: Thread,
  cache: KmemCache<T>,
  gfp: number,
  node: number,
): Steps<T | null> {
  if (node < 0 || node === t.cpu.node) return kmem_cache_alloc(t, cache, gfp);
  if ((gfp & __GFP_WAIT) !== 0) {
    t.k.sanitizers?.mightSleep(t, "kmem_cache_alloc_node");
  }
  if (t.k.faults.active && refused(t, cache, gfp, KMEM_CACHE_ALLOC_NODE)) {
    return cache.ready.give(null);
  }
  return kmem_cache_alloc_on(t, cache, gfp, node);
}

/**
 * Gives an object back. Context: any.
 *
 * Locks: may take an alien array's lock, l3.list_lock, zone.lock.
 *
 * Linux: mm/slab.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   GFP_KERNEL,
 *   KernelBug,
 *   kmem_cache_alloc,
 *   kmem_cache_create,
 *   kmem_cache_free,
 *   SlabObject,
 * } from "@vmaplab/vmaplab";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(
 *   () =>
 *     boot().run(function* (t) {
 *       const cache = kmem_cache_create(t, "c", 48, () => new SlabObject());
 *       const obj = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
 *       yield* kmem_cache_free(t, cache, obj);
 *       yield* kmem_cache_free(t, cache, obj);
 *     }),
 *   KernelBug,
 * );
 * ```
 */
export function kmem_cache_free<T extends SlabObject>(
  t: Thread,
  cache: KmemCache<T>,
  obj: T,
): Steps {
  enter(t, KMEM_CACHE_FREE);
  check_free(t, cache, obj);
  const ac = cache.array[t.cpu.id];
  if (
    ac === undefined || ac.avail === ac.limit ||
    (cache.numa && obj._slab!.node !== t.cpu.node)
  ) {
    leave(t);
    return cache_free_slow(t, cache, obj, KMEM_CACHE_FREE);
  }
  charge(t, cache.numa ? FREE_INSTRUCTIONS_NUMA : FREE_INSTRUCTIONS);
  array_push(cache, ac, obj);
  leave(t);
  return DONE;
}

/** Whether fault injection has an allocation fail, which is then charged to `sym`. */
function refused<T extends SlabObject>(
  t: Thread,
  cache: KmemCache<T>,
  gfp: number,
  sym: Sym,
): boolean {
  enter(t, sym);
  const fails = should_failslab(t, cache.objectBytes, gfp);
  if (fails) charge(t, REFUSED_INSTRUCTIONS);
  leave(t);
  return fails;
}

/** Takes the hottest object of `ac`, which has one. */
export function array_pop<T extends SlabObject>(
  cache: KmemCache<T>,
  ac: ArrayCache,
): T {
  ac.touched = true;
  return mark_live(cache, ac.entry[--ac.avail]) as T;
}

/** Puts an object into `ac`, which has room. */
export function array_push<T extends SlabObject>(
  cache: KmemCache<T>,
  ac: ArrayCache,
  obj: T,
): void {
  mark_free(cache, obj);
  ac.entry[ac.avail++] = obj;
}

/**
 * Books an object that goes to a user.
 *
 * @returns What the user gets: `obj`, or what kasan has put in its place.
 */
export function mark_live(
  // deno-lint-ignore no-explicit-any -- caches of any kind
  cache: KmemCache<any>,
  obj: SlabObject,
): SlabObject {
  cache.active++;
  cache.allocs++;
  const { sanitizers, machine } = cache.k;
  if (sanitizers !== null) {
    const t = machine.engine.running!.top as Thread;
    sanitizers.objectAllocated(t, cache, obj);
    obj = obj._slab!.at(obj._index);
  }
  obj._live = true;
  return obj;
}

/** Books an object that comes back. */
export function mark_free(
  // deno-lint-ignore no-explicit-any -- caches of any kind
  cache: KmemCache<any>,
  obj: SlabObject,
): void {
  const { sanitizers, machine } = cache.k;
  if (sanitizers !== null) {
    const t = machine.engine.running!.top as Thread;
    sanitizers.objectFreed(t, cache, obj);
  }
  obj._live = false;
  cache.active--;
  cache.frees++;
}

/**
 * BUG if `obj` is not an allocated object of `cache`.
 *
 * @param cache `null` = of whatever cache made it.
 * @returns Its cache.
 */
export function check_free(
  t: Thread,
  // deno-lint-ignore no-explicit-any -- caches of any kind
  cache: KmemCache<any> | null,
  obj: SlabObject,
  // deno-lint-ignore no-explicit-any -- the same
): KmemCache<any> {
  const of = obj._slab === null ? null : obj._slab.cache;
  const wrong = of === null || (cache !== null && cache !== of);
  if (wrong || !obj._live) t.k.sanitizers?.objectRefused(t, obj, wrong);
  if (of === null || wrong) {
    BUG(
      t,
      `slab error: object of ${
        of === null ? "no cache" : `cache \`${of.name}'`
      } freed to ${cache === null ? "kfree()" : `cache \`${cache.name}'`}`,
    );
  }
  if (!obj._live) {
    BUG(t, `slab error in cache \`${of.name}': double free detected`);
  }
  return of;
}
