/**
 * Giving memory of caches back: kmem_cache_shrink(), kmem_cache_destroy()
 * (mm/slab.c). The periodic reaper is left out.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  local_irq_restore,
  local_irq_save,
  type Steps,
} from "../../arch/asm.ts";
import { spin_lock, spin_unlock } from "../locking/spinlock.ts";
import { list_empty } from "../lib/list.ts";
import { KERN_ERR, printk } from "../printk.ts";
import { on_each_cpu } from "../smp.ts";
import type { Thread } from "../thread.ts";
import type { KmemCache, SlabObject } from "./slab.ts";
import type { KmemList3 } from "./slab_lists.ts";
import { drain_freelist, free_block } from "./slab_grow.ts";
import { __drain_alien_cache } from "./slab_refill.ts";

const KMEM_CACHE_SHRINK = ksym("kmem_cache_shrink");
const KMEM_CACHE_DESTROY = ksym("kmem_cache_destroy");
const DO_DRAIN = ksym("do_drain");

// deno-lint-ignore no-explicit-any -- caches of any kind
type AnyCache = KmemCache<any>;

/**
 * Gives back all slabs without a live object, after emptying all arrays.
 *
 * Context: process, interrupts on.
 *
 * @returns Whether slabs remain: nonzero = some do, as in Linux.
 */
export function* kmem_cache_shrink<T extends SlabObject>(
  t: Thread,
  cache: KmemCache<T>,
): Steps<number> {
  enter(t, KMEM_CACHE_SHRINK);
  if (t.k.smp === undefined) yield* do_drain(t, cache);
  else yield* on_each_cpu(t, do_drain, cache, true);
  let remain = 0;
  // By number, not by iterator: lists may come into being meanwhile.
  for (let node = 0; node < cache.nodelists.length; node++) {
    const l3 = cache.nodelists[node];
    if (l3 === undefined) continue;
    yield* drain_aliens(t, cache, l3);
  }
  for (let node = 0; node < cache.nodelists.length; node++) {
    const l3 = cache.nodelists[node];
    if (l3 === undefined) continue;
    yield* drain_shared(t, cache, l3);
    yield* drain_freelist(t, cache, l3, Infinity);
    if (!list_empty(l3.slabs_full) || !list_empty(l3.slabs_partial)) remain = 1;
  }
  leave(t);
  return remain;
}

/** Empties this CPU's array. Context: any. */
function* do_drain(t: Thread, cache: AnyCache): Steps {
  enter(t, DO_DRAIN);
  charge(t, 12);
  const flags = local_irq_save(t);
  const ac = cache.array[t.cpu.id];
  if (ac !== undefined && ac.avail > 0) {
    const l3 = cache.listsOf(t.cpu.node);
    yield* spin_lock(t, l3.list_lock);
    yield* free_block(t, cache, l3, ac, ac.avail);
    yield* spin_unlock(t, l3.list_lock);
  }
  local_irq_restore(t, flags);
  leave(t);
}

function* drain_aliens(t: Thread, cache: AnyCache, l3: KmemList3): Steps {
  for (let node = 0; node < l3.alien.length; node++) {
    const alien = l3.alien[node];
    if (alien === undefined) continue;
    const flags = local_irq_save(t);
    yield* spin_lock(t, alien.lock);
    yield* __drain_alien_cache(t, cache, alien, node);
    yield* spin_unlock(t, alien.lock);
    local_irq_restore(t, flags);
  }
}

function* drain_shared(t: Thread, cache: AnyCache, l3: KmemList3): Steps {
  if (l3.shared === null) return;
  const flags = local_irq_save(t);
  yield* spin_lock(t, l3.list_lock);
  yield* free_block(t, cache, l3, l3.shared, l3.shared.avail);
  yield* spin_unlock(t, l3.list_lock);
  local_irq_restore(t, flags);
}

/**
 * Ends a cache. With objects still out it says so and leaves the cache alone.
 *
 * Context: process, interrupts on.
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
 *   kmem_cache_destroy,
 *   kmem_cache_free,
 *   SlabObject,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const destroyed = boot().run(function* (t) {
 *   const cache = kmem_cache_create(t, "my_cache", 48, () => new SlabObject());
 *   const obj = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
 *   yield* kmem_cache_destroy(t, cache); // complains: one is still out
 *   yield* kmem_cache_free(t, cache, obj);
 *   const before = cache.destroyed;
 *   yield* kmem_cache_destroy(t, cache);
 *   return [before, cache.destroyed];
 * });
 * assertEquals(destroyed, [false, true]);
 * ```
 */
export function* kmem_cache_destroy<T extends SlabObject>(
  t: Thread,
  cache: KmemCache<T>,
): Steps {
  enter(t, KMEM_CACHE_DESTROY);
  charge(t, 200);
  if ((yield* kmem_cache_shrink(t, cache)) !== 0) {
    printk(
      t,
      KERN_ERR,
      `slab error in kmem_cache_destroy(): cache \`${cache.name}': Can't free all objects`,
    );
    leave(t);
    return;
  }
  const { caches } = t.k.slab;
  caches.splice(caches.indexOf(cache), 1);
  cache.destroyed = true;
  leave(t);
}
