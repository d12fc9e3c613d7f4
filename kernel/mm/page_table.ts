/**
 * Frame number to {@linkcode Page} and zone: what mem_map and pfn_to_page() are
 * in Linux.
 *
 * The first page of every MAX_ORDER block has a slot of its own; the others
 * share a chunk for each block, made when one of them is first needed. So a
 * machine that has just booted has one object for each free 4 MiB.
 */
import type { Kernel } from "../kernel.ts";
import type { Bootmem } from "./bootmem.ts";
import {
  MAX_ORDER,
  MAX_ORDER_NR_PAGES,
  type Zone,
  ZONE_DMA32,
} from "./mmzone.ts";
import { Page, PG_reserved } from "./page.ts";

const BLOCK_SHIFT = MAX_ORDER - 1;
const BLOCK_MASK = MAX_ORDER_NR_PAGES - 1;

/** All pages and zones of one kernel. */
export class PageTable {
  readonly pageBytes: number;
  readonly pageShift: number;
  /** End of the memory in use, frames. */
  readonly max_pfn: number;
  /** By node, lowest zone first; a node may have none. */
  readonly zonesByNode: readonly (readonly Zone[])[];
  /** Whether the architecture has ZONE_DMA32. */
  readonly hasDma32: boolean;
  /** `Page` objects made so far. */
  nrObjects = 0;
  readonly #bootmem: Bootmem;
  readonly #framesPerNode: number;
  readonly #heads: (Page | undefined)[];
  readonly #chunks: ((Page | undefined)[] | undefined)[];

  constructor(
    k: Kernel,
    /** By node, then lowest first. */
    readonly zones: readonly Zone[],
  ) {
    const { memory, spec } = k.machine;
    this.#bootmem = k.bootmem;
    this.pageBytes = memory.pageBytes;
    this.pageShift = spec.paging.pageShift;
    this.max_pfn = k.bootmem.max_pfn;
    this.#framesPerNode = memory.framesPerNode;
    const byNode: Zone[][] = Array.from(
      { length: spec.topology.nodes },
      () => [],
    );
    for (const zone of zones) byNode[zone.node].push(zone);
    this.zonesByNode = byNode;
    this.hasDma32 = zones.some((zone) => zone.index === ZONE_DMA32);
    const blocks = Math.ceil(this.max_pfn / MAX_ORDER_NR_PAGES);
    this.#heads = new Array(blocks).fill(undefined);
    this.#chunks = new Array(blocks).fill(undefined);
  }

  /** Whether frame `pfn` is memory in use. */
  hasPage(pfn: number): boolean {
    return pfn >>> 0 === pfn && pfn < this.max_pfn;
  }

  /**
   * The page of frame `pfn`.
   *
   * @throws {RangeError} If there is no such memory.
   */
  page(pfn: number): Page {
    return this.peekPage(pfn) ?? this.#create(pfn);
  }

  /** The page of frame `pfn` if anybody has asked for it; else `null`. */
  peekPage(pfn: number): Page | null {
    const within = pfn & BLOCK_MASK;
    if (within === 0) return this.#heads[pfn >>> BLOCK_SHIFT] ?? null;
    return this.#chunks[pfn >>> BLOCK_SHIFT]?.[within] ?? null;
  }

  /** Zone of frame `pfn`, which exists. */
  zoneOf(pfn: number): Zone {
    const zones = this.zonesByNode[Math.floor(pfn / this.#framesPerNode)];
    let i = zones.length - 1;
    while (pfn < zones[i].zone_start_pfn) i--;
    return zones[i];
  }

  #create(pfn: number): Page {
    if (!this.hasPage(pfn)) {
      throw new RangeError(
        `Cannot find a page as pfn must be an integer in 0..${
          this.max_pfn - 1
        }: current value is ${pfn}`,
      );
    }
    const page = new Page(pfn, this.zoneOf(pfn));
    this.nrObjects++;
    if (this.#bootmem.isReserved(pfn)) {
      page.flags = PG_reserved;
      page._count = 1;
    }
    const within = pfn & BLOCK_MASK;
    const block = pfn >>> BLOCK_SHIFT;
    if (within === 0) this.#heads[block] = page;
    else {
      const chunk = this.#chunks[block] ??= new Array(MAX_ORDER_NR_PAGES)
        .fill(undefined);
      chunk[within] = page;
    }
    return page;
  }
}
