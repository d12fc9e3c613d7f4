/**
 * Areas on their way out, for the areas sanitizer: freed lazily, taken by a
 * purge, unlinked.
 *
 * - an area freed twice, or in use when it is purged or unlinked;
 * - a counter of lazily freed pages below what is free and in no purge's hands:
 *   whoever frees counts first, whoever purges subtracts last.
 */
import type { Kernel } from "../kernel.ts";
import type { VmapRange } from "../mm/vmap_layer.ts";
import type { Thread } from "../thread.ts";
import type { AreaBook, KnownArea } from "./area_book.ts";
import { historySections, reportArea } from "./area_report.ts";
import { spotOf } from "./report.ts";

/** See the file's head. */
export class AreaFrees {
  constructor(readonly k: Kernel, readonly book: AreaBook) {}

  areaLazy(t: Thread, area: VmapRange, lazyPages: number): void {
    const { book } = this;
    const known = book.find(area);
    if (known === null) return;
    if (known.freed !== null) {
      reportArea(t, "area freed a second time", historySections(this.k, known));
    }
    known.freed = spotOf(t);
    known.lazySeq = ++book.seq;
    book.lazyBytes += known.end - known.start;
    const pages = book.lazyBytes / this.k.vmalloc.page_size;
    if (lazyPages < pages) {
      reportArea(t, "lazily freed pages are not counted", [{
        title: "pages:",
        lines: [`${pages} are free, ${lazyPages} counted`],
      }]);
    }
  }

  areaTaken(t: Thread, area: VmapRange): void {
    const known = this.book.find(area);
    if (known === null || known.taken) return;
    if (known.freed === null) {
      reportArea(t, "area in use purged", historySections(this.k, known));
    }
    known.taken = true;
    this.book.lazyBytes -= known.end - known.start;
  }

  /** @returns Its record, no more in the book; `null` = it was not known. */
  areaRemoved(t: Thread, area: VmapRange): KnownArea | null {
    const known = this.book.find(area);
    if (known === null) return null;
    if (known.freed === null) {
      reportArea(t, "area in use unlinked", historySections(this.k, known));
    }
    this.book.remove(known);
    return known;
  }
}
