/**
 * kmalloc(): memory by size, from caches of the next larger one
 * (include/linux/slab_def.h, kmalloc_sizes.h, mm/slab.c).
 *
 * Differs from Linux: a size is always looked up at run time; a request above
 * the largest cache says so in the log; one of 0 bytes gets the smallest object
 * instead of ZERO_SIZE_PTR. DMA caches are left out.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { should_failslab } from "../fault_inject.ts";
import { KERN_WARNING, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import { DONE, Ready } from "../../arch/sim/ready.ts";
import { __GFP_NOWARN, __GFP_WAIT, __GFP_ZERO } from "./gfp.ts";
import { MAX_ORDER } from "./mmzone.ts";
import {
  ALLOC_INSTRUCTIONS,
  array_pop,
  array_push,
  check_free,
  FREE_INSTRUCTIONS,
  FREE_INSTRUCTIONS_NUMA,
  kmem_cache_create,
  type KmemCache,
  Slab,
  SLAB_HWCACHE_ALIGN,
} from "./slab.ts";
import { SlabObject } from "./slab_object.ts";
import {
  cache_alloc_slow,
  cache_free_slow,
  kmem_cache_alloc_on,
} from "./slab_refill.ts";

const __KMALLOC = ksym("__kmalloc");
const KFREE = ksym("kfree");
const KMEM_CACHE_INIT = ksym("kmem_cache_init");

/** Largest request, bytes (KMALLOC_MAX_SIZE is 32 MiB or the largest block). */
const KMALLOC_LIMIT = 2 ** 25;

/**
 * A nameless buffer: its bytes are those of memory at `paddr`.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   GFP_KERNEL,
 *   kmalloc,
 *   KmallocObject,
 *   ksize,
 *   pstore,
 * } from "@vmaplab/vmaplab";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const size = boot().run(function* (t) {
 *   const obj = yield* kmalloc(t, 100, GFP_KERNEL);
 *   assert(obj instanceof KmallocObject);
 *   yield* pstore(t, obj.paddr, 8, 1); // its bytes
 *   return ksize(obj);
 * });
 * assertEquals(size, 128);
 * ```
 */
export class KmallocObject extends SlabObject {}

/** What kmalloc() hands out of. */
export class GeneralCaches {
  /** By size, smallest first. */
  readonly caches: KmemCache<KmallocObject>[] = [];
  readonly nothing: Ready<null> = new Ready(null);

  /** The cache for `bytes`; `null` = too large. */
  find(bytes: number): KmemCache<KmallocObject> | null {
    const { caches } = this;
    let i = 0;
    while (i < caches.length && caches[i].objectBytes < bytes) i++;
    return i < caches.length ? caches[i] : null;
  }
}

/** Sizes of the general caches, bytes. */
export function malloc_sizes(pageBytes: number, lineBytes: number): number[] {
  const largest = Math.min(pageBytes * 2 ** (MAX_ORDER - 1), KMALLOC_LIMIT);
  const sizes: number[] = [];
  for (let size = pageBytes === 4096 ? 32 : 64; size <= largest; size *= 2) {
    sizes.push(size);
    if (size === 64 && lineBytes < 64) sizes.push(96);
    if (size === 128 && lineBytes < 128) sizes.push(192);
  }
  return sizes;
}

/** Brings the slab allocator up: `k.slab` is usable from here on. Boot. */
export function kmem_cache_init(t: Thread): void {
  enter(t, KMEM_CACHE_INIT);
  const { k } = t;
  k.need(t, "pages", "mem_init");
  k.slab = new Slab();
  const general = new GeneralCaches();
  k.slab.general = general;
  const { memory, spec } = k.machine;
  const make = () => new KmallocObject();
  for (const size of malloc_sizes(memory.pageBytes, spec.memory.lineBytes)) {
    const name = `size-${size}`;
    general.caches.push(
      kmem_cache_create(t, name, size, make, SLAB_HWCACHE_ALIGN),
    );
  }
  leave(t);
}

/**
 * `bytes` of memory, with what its last user left there unless __GFP_ZERO.
 *
 * Context: any without __GFP_WAIT; process, interrupts on, with it.
 *
 * Linux: include/linux/slab_def.h.
 *
 * @returns `null` if there is none or it is too much.
 *
 * @example
 * ```ts
 * import { boot, GFP_KERNEL, kfree, kmalloc } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const buf = yield* kmalloc(t, 200, GFP_KERNEL);
 *   assert(buf !== null); // null = no memory
 *   yield* kfree(t, buf);
 * });
 * ```
 */
export function kmalloc(
  t: Thread,
  bytes: number,
  gfp: number,
): Steps<KmallocObject | null> {
  return kmalloc_node(t, bytes, gfp, -1);
}

/**
 * {@linkcode kmalloc} from `node`'s memory if there is any; -1 = this CPU's.
 *
 * Linux: include/linux/slab_def.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   GFP_KERNEL,
 *   kfree,
 *   kmalloc_node,
 *   pfn_to_page,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const node = boot().run(function* (t) {
 *   const buf = (yield* kmalloc_node(t, 64, GFP_KERNEL, 1))!;
 *   const page = pfn_to_page(t.k, Math.floor(buf.paddr / 4096));
 *   yield* kfree(t, buf);
 *   return page.node;
 * });
 * assertEquals(node, 1);
 * ```
 */
export function kmalloc_node(
  t: Thread,
  bytes: number,
  gfp: number,
  node: number,
): Steps<KmallocObject | null> {
  t.k.need(t, "slab", "kmem_cache_init");
  const { general } = t.k.slab;
  enter(t, __KMALLOC);
  if ((gfp & __GFP_WAIT) !== 0) t.k.sanitizers?.mightSleep(t, "kmalloc");
  charge(t, 14);
  const cache = general.find(bytes);
  if (cache === null) {
    if ((gfp & __GFP_NOWARN) === 0) {
      printk(t, KERN_WARNING, `kmalloc: ${bytes} bytes are too much`);
    }
    leave(t);
    return general.nothing;
  }
  if (t.k.faults.active && should_failslab(t, cache.objectBytes, gfp)) {
    leave(t);
    return general.nothing;
  }
  const remote = node >= 0 && node !== t.cpu.node;
  const ac = cache.array[t.cpu.id];
  if (
    !remote && ac !== undefined && ac.avail > 0 && (gfp & __GFP_ZERO) === 0
  ) {
    charge(t, ALLOC_INSTRUCTIONS - 14);
    const obj = array_pop(cache, ac);
    leave(t);
    return cache.ready.give(obj);
  }
  leave(t);
  return remote
    ? kmem_cache_alloc_on(t, cache, gfp, node)
    : cache_alloc_slow(t, cache, gfp, __KMALLOC);
}

/**
 * {@linkcode kmalloc}, zeroed.
 *
 * Linux: include/linux/slab.h.
 *
 * @example
 * ```ts
 * import { boot, GFP_KERNEL, kzalloc, pload } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const word = boot().run(function* (t) {
 *   const buf = (yield* kzalloc(t, 64, GFP_KERNEL))!;
 *   return yield* pload(t, buf.paddr + 56, 8);
 * });
 * assertEquals(word, 0);
 * ```
 */
export function kzalloc(
  t: Thread,
  bytes: number,
  gfp: number,
): Steps<KmallocObject | null> {
  return kmalloc_node(t, bytes, gfp | __GFP_ZERO, -1);
}

/**
 * Frees what {@linkcode kmalloc}, or any cache, returned; `null` is fine.
 *
 * Context: any.
 *
 * Linux: mm/slab.c.
 *
 * @example
 * ```ts
 * import { boot, GFP_KERNEL, kfree, kmalloc } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const before = t.k.slab.inUse().get("size-64");
 *   yield* kfree(t, yield* kmalloc(t, 64, GFP_KERNEL));
 *   yield* kfree(t, null); // fine
 *   assertEquals(t.k.slab.inUse().get("size-64"), before);
 * });
 * ```
 */
export function kfree(t: Thread, obj: SlabObject | null): Steps {
  if (obj === null) return DONE;
  enter(t, KFREE);
  const cache = check_free(t, obj._slab?.cache ?? null, obj);
  const ac = cache.array[t.cpu.id];
  if (
    ac === undefined || ac.avail === ac.limit ||
    (cache.numa && obj._slab!.node !== t.cpu.node)
  ) {
    leave(t);
    return cache_free_slow(t, cache, obj, KFREE);
  }
  charge(t, cache.numa ? FREE_INSTRUCTIONS_NUMA : FREE_INSTRUCTIONS);
  array_push(cache, ac, obj);
  leave(t);
  return DONE;
}

/**
 * Bytes that `obj` really has; 0 for `null`.
 *
 * Linux: mm/slab.c.
 *
 * @example
 * ```ts
 * import { boot, GFP_KERNEL, kmalloc, ksize } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const size = boot().run(function* (t) {
 *   return ksize(yield* kmalloc(t, 33, GFP_KERNEL));
 * });
 * assertEquals(size, 64);
 * ```
 */
export function ksize(obj: SlabObject | null): number {
  return obj?._slab?.cache.objectBytes ?? 0;
}
