/** Checks of a cache's invariants, for tests and sanitizers. Costs no virtual time. */
import { check_list, list_entry, type ListHead } from "../lib/list.ts";
import type { KmemCache } from "./slab.ts";
import type { ArrayCache } from "./slab_lists.ts";
import { BUFCTL_END, type SlabBlock, type SlabObject } from "./slab_object.ts";

/**
 * Checks that every slab is on the right list, that chains and counts agree,
 * that arrays hold free objects once, and that all objects are accounted for.
 *
 * Context: no CPU is inside the allocator.
 *
 * @throws {Error} On the first thing wrong.
 */
// deno-lint-ignore no-explicit-any -- caches of any kind
export function check_cache(cache: KmemCache<any>): void {
  const seen = new Set<SlabObject>();
  let slabs = 0;
  let out = 0;
  for (const l3 of cache.nodelists) {
    if (l3 === undefined) continue;
    let free = 0;
    const walk = (
      list: ListHead<SlabBlock>,
      right: (inuse: number) => boolean,
    ): void => {
      check_list(list);
      for (let p = list.next; p !== list; p = p.next) {
        const slab = list_entry(p);
        const chained = chainLength(slab);
        const ok = slab.node === l3.node && right(slab.inuse) &&
          chained === cache.layout.num - slab.inuse;
        if (!ok) throw new Error(`Slab at ${slab.mem} is on the wrong list`);
        slabs++;
        free += chained;
        out += slab.inuse;
      }
    };
    walk(l3.slabs_free, (inuse) => inuse === 0);
    walk(l3.slabs_partial, (n) => n > 0 && n < cache.layout.num);
    walk(l3.slabs_full, (inuse) => inuse === cache.layout.num);
    if (free !== l3.free_objects) {
      throw new Error(`Node counts ${l3.free_objects} free, has ${free}`);
    }
    checkArray(l3.shared ?? undefined, l3.node, seen);
    l3.alien.forEach((alien, node) => checkArray(alien, node, seen));
  }
  const { cpus } = cache.k.machine.engine;
  cache.array.forEach((ac, cpu) => checkArray(ac, cpus[cpu].node, seen));
  if (slabs !== cache.slabs) {
    throw new Error(`Cache counts ${cache.slabs} slabs, has ${slabs}`);
  }
  if (out !== cache.active + seen.size) {
    throw new Error(
      `${out} objects are out: ${cache.active} live, ${seen.size} in arrays`,
    );
  }
}

function chainLength(slab: SlabBlock): number {
  let n = 0;
  for (let i = slab.free; i !== BUFCTL_END; i = slab.bufctl[i]) {
    if (++n > slab.bufctl.length) {
      throw new Error("Chain of free objects loops");
    }
  }
  return n;
}

function checkArray(
  ac: ArrayCache | undefined,
  node: number,
  seen: Set<SlabObject>,
): void {
  if (ac === undefined) return;
  if (ac.avail > ac.limit) throw new Error("Array is over its limit");
  for (let i = 0; i < ac.avail; i++) {
    const obj = ac.entry[i];
    if (obj._live || obj._slab!.node !== node || seen.has(obj)) {
      throw new Error(`Array holds an object it must not: ${obj.paddr}`);
    }
    seen.add(obj);
  }
}
