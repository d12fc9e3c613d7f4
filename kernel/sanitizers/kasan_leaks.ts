/**
 * Which slab objects somebody can still free: what kasan's leak check takes off
 * the list. Walks the vmap layer's structures; nothing else may be under way.
 */
import type { Kernel } from "../kernel.ts";
import { list_entries } from "../lib/list.ts";
import { radix_tree_gang_lookup } from "../lib/radix_tree.ts";
import { RewriteLayer } from "../mm/rewrite_layer.ts";
import type { SlabObject } from "../mm/slab_object.ts";
import type { Spot } from "./report.ts";

/** An object that nobody can free. */
export interface Leak {
  readonly obj: SlabObject;
  /** Name of its cache. */
  readonly cache: string;
  /** Where it was allocated. */
  readonly spot: Spot;
}

/** Caches of the vmap layer and its interface, all of whose objects are in a known place. */
export const VMAP_CACHES = /^(vmap_area|vmap_block|vm_struct)$/;

/**
 * What is linked where it belongs: vm_structs on vmlist, with their arrays of
 * pages; areas in the list, those freed lazily and those of blocks included;
 * blocks in their tree.
 */
export function reachable_objects(k: Kernel): Set<SlabObject> {
  const found = new Set<SlabObject>();
  if (k.vmalloc === undefined) return found;
  for (let vm = k.vmalloc.vmlist; vm !== null; vm = vm.next) {
    found.add(vm);
    if (vm.pages_obj !== null) found.add(vm.pages_obj);
  }
  if (!(k.vmap instanceof RewriteLayer)) return found;
  const { vmap_area_list, vmap_block_tree } = k.vmap.state;
  for (const va of list_entries(vmap_area_list)) found.add(va);
  const blocks = radix_tree_gang_lookup(vmap_block_tree, 0, Infinity);
  for (const vb of blocks) found.add(vb);
  return found;
}
