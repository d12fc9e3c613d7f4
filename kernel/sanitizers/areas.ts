/**
 * Address ranges, blocks and counters of the vmap layer that do not add up.
 *
 * At each event, against a record of its own (area_book.ts):
 *
 * - area_ranges.ts: areas, listed vm_structs and page-table entries that are not
 *   where they have to be;
 * - area_requests.ts: requests for room or a block that are not served as they
 *   should be;
 * - area_frees.ts: areas freed or purged out of turn, and the counter of lazily
 *   freed pages;
 * - area_callers.ts: what callers get, and give back twice.
 *
 * While nothing is under way: all that the layer's own check() looks for: order
 * of list and tree, entries outside of areas, vmlist against areas, blocks
 * against their maps, the counter against the sum.
 *
 * Layers that tell of no areas are judged by check() and by what callers see.
 */
import type { Kernel } from "../kernel.ts";
import type { Page } from "../mm/page.ts";
import type { VmapRange } from "../mm/vmap_layer.ts";
import type { VmStruct } from "../mm/vm_struct.ts";
import type { Thread } from "../thread.ts";
import { AreaBook } from "./area_book.ts";
import { AreaCallers } from "./area_callers.ts";
import { AreaFrees } from "./area_frees.ts";
import { AreaRanges } from "./area_ranges.ts";
import { reportArea } from "./area_report.ts";
import { AreaRequests } from "./area_requests.ts";
import type { Sanitizer } from "./sanitizer.ts";

/** Passes each event to the part that it concerns. See the file's head. */
export class AreaSanitizer implements Sanitizer {
  readonly #ranges: AreaRanges;
  readonly #requests: AreaRequests;
  readonly #frees: AreaFrees;
  readonly #callers: AreaCallers;

  constructor(readonly k: Kernel) {
    const book = new AreaBook();
    this.#ranges = new AreaRanges(k, book);
    this.#requests = new AreaRequests(k, book);
    this.#frees = new AreaFrees(k, book);
    this.#callers = new AreaCallers(k);
  }

  areaInserted(t: Thread, area: VmapRange): void {
    this.#ranges.areaInserted(t, area, this.#requests.roomGot(t));
  }

  areaLazy(t: Thread, area: VmapRange, lazyPages: number): void {
    this.#frees.areaLazy(t, area, lazyPages);
  }

  areaTaken(t: Thread, area: VmapRange): void {
    this.#frees.areaTaken(t, area);
  }

  areaRemoved(t: Thread, area: VmapRange): void {
    const known = this.#frees.areaRemoved(t, area);
    if (known !== null) this.#requests.areaGone(known);
  }

  ptesSet(t: Thread, start: number, end: number): void {
    this.#ranges.ptesSet(t, start, end);
  }

  ptesCleared(t: Thread, start: number, end: number): void {
    this.#ranges.ptesCleared(t, start, end);
  }

  vmListed(t: Thread, vm: VmStruct): void {
    this.#ranges.vmListed(t, vm);
  }

  roomWanted(
    t: Thread,
    size: number,
    align: number,
    vstart: number,
    vend: number,
  ): void {
    this.#requests.roomWanted(t, size, align, vstart, vend);
  }

  roomRefused(t: Thread): void {
    this.#requests.roomRefused(t);
  }

  blockRequest(t: Thread, begins: boolean): void {
    this.#requests.blockRequest(t, begins);
  }

  blockMade(t: Thread): void {
    this.#requests.blockMade(t);
  }

  mapped(t: Thread, start: number): void {
    this.#callers.mapped(t, start);
  }

  ramMapped(
    t: Thread,
    start: number,
    count: number,
    pages: readonly Page[],
  ): void {
    this.#callers.ramMapped(t, start, count, pages);
  }

  unmapped(t: Thread, start: number): void {
    this.#callers.unmapped(t, start);
  }

  unmapDone(t: Thread, start: number, accepted: boolean): void {
    this.#callers.unmapDone(t, start, accepted);
  }

  quiet(t: Thread, k: Kernel): void {
    this.#requests.clear();
    this.#callers.clear();
    const found = k.vmap.check();
    if (found.length === 0) return;
    // A headline without the numbers.
    const first = found[0].replaceAll(/\b(?=[a-f]*\d)[\da-f]+\b/g, "N");
    reportArea(t, `inconsistent: ${first}`, [{
      title: "all that check() says:",
      lines: found,
    }]);
  }
}
