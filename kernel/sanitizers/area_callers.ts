/**
 * What callers of the vmap API see, for the areas sanitizer: addresses got and
 * given back. The layer need not tell of areas for this.
 *
 * - vm_map_ram() that returns before all pages are there;
 * - an address freed a second time, and that accepted.
 */
import type { Kernel } from "../kernel.ts";
import type { Page } from "../mm/page.ts";
import { pfn_at } from "../mm/pgtable.ts";
import type { Thread } from "../thread.ts";
import { printAddr, reportArea } from "./area_report.ts";
import { type Spot, spotOf, spotSection } from "./report.ts";

/** What a caller has got. */
interface Given {
  readonly mapped: Spot;
  /** Who gave it back, as soon as that is done. */
  unmapped: Spot | null;
}

/** An address being given back. Calls nest. */
interface Unmapping {
  readonly t: Thread;
  readonly start: number;
  readonly given: Given;
  readonly began: Spot;
  depth: number;
  accepted: boolean;
}

/** See the file's head. */
export class AreaCallers {
  /** By first address: the last mapping there. */
  readonly #given: Map<number, Given> = new Map();
  readonly #unmappings: Unmapping[] = [];

  constructor(readonly k: Kernel) {}

  mapped(t: Thread, start: number): void {
    this.#given.set(start, { mapped: spotOf(t), unmapped: null });
  }

  ramMapped(
    t: Thread,
    start: number,
    count: number,
    pages: readonly Page[],
  ): void {
    const { k } = this;
    for (let i = 0; i < count; i++) {
      const addr = start + i * k.vmalloc.page_size;
      const pfn = pfn_at(k, addr);
      if (pfn >= 0 && pfn === pages[i]?.pfn) continue;
      reportArea(t, "vm_map_ram() has not mapped what was asked for", [{
        title: "page:",
        lines: [
          `${i} of ${count}, at ${printAddr(k, addr)}, ${
            pfn < 0 ? "is not mapped" : `leads to frame ${pfn.toString(16)}`
          }`,
        ],
      }]);
    }
  }

  unmapped(t: Thread, start: number): void {
    const outer = this.#unmappings.find((u) => u.t === t && u.start === start);
    if (outer !== undefined) {
      outer.depth++;
      return;
    }
    const given = this.#given.get(start);
    if (given === undefined) return;
    const began = spotOf(t);
    const accepted = true;
    this.#unmappings.push({ t, start, given, began, depth: 1, accepted });
  }

  unmapDone(t: Thread, start: number, accepted: boolean): void {
    const list = this.#unmappings;
    const at = list.findIndex((u) => u.t === t && u.start === start);
    if (at < 0) return;
    const unmapping = list[at];
    unmapping.accepted &&= accepted;
    if (--unmapping.depth > 0) return;
    list.splice(at, 1);
    if (!unmapping.accepted) return;
    const { given, began } = unmapping;
    if (given.unmapped === null) given.unmapped = began;
    else {
      reportArea(t, "address freed a second time", [
        spotSection(this.k, `${printAddr(this.k, start)} mapped`, given.mapped),
        spotSection(this.k, "freed", given.unmapped),
      ]);
    }
  }

  /** Nothing is under way. */
  clear(): void {
    this.#unmappings.length = 0;
  }
}
