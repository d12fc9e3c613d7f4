/**
 * The order in which zones are tried (mm/page_alloc.c, build_zonelists()):
 * nodes from near to far, and on each node the highest zone first.
 *
 * Differs from Linux: a node's list is made when it is first used, which spares
 * machines of a thousand nodes a million entries; distances are local or not,
 * and remote nodes follow in a ring from the local one, as Linux's
 * find_next_best_node() deals nodes of one distance. Zone order
 * (numa_zonelist_order=) is left out.
 */
import { __GFP_DMA, __GFP_DMA32, __GFP_HIGHMEM } from "./gfp.ts";
import {
  type Zone,
  ZONE_DMA,
  ZONE_DMA32,
  ZONE_HIGHMEM,
  ZONE_NORMAL,
} from "./mmzone.ts";

/** Zones in the order of preference. */
export class Zonelist {
  constructor(
    /** All populated zones. */
    readonly zones: readonly Zone[],
    /** Those of the first node: for __GFP_THISNODE. */
    readonly thisNode: readonly Zone[],
  ) {}
}

/** The list for requests from `node`. @param byNode Zones of each node, lowest first. */
export function build_zonelist(
  byNode: readonly (readonly Zone[])[],
  node: number,
): Zonelist {
  const nodes = byNode.length;
  const zones: Zone[] = [];
  for (let i = 0; i < nodes; i++) {
    const here = byNode[(node + i) % nodes];
    for (let z = here.length - 1; z >= 0; z--) {
      if (here[z].spanned_pages > 0) zones.push(here[z]);
    }
  }
  return new Zonelist(zones, zones.filter((zone) => zone.node === node));
}

/** Highest zone that `gfp` allows. @param hasDma32 Whether the architecture has that zone. */
export function gfp_zone(gfp: number, hasDma32: boolean): number {
  if ((gfp & __GFP_DMA) !== 0) return ZONE_DMA;
  if ((gfp & __GFP_DMA32) !== 0) return hasDma32 ? ZONE_DMA32 : ZONE_NORMAL;
  return (gfp & __GFP_HIGHMEM) !== 0 ? ZONE_HIGHMEM : ZONE_NORMAL;
}
