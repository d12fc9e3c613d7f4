/**
 * Areas of a vmap layer, as its events tell: a second record, kept apart from
 * the layer's own tree and list, that those are judged by. For the areas
 * sanitizer.
 */
import type { VmapRange } from "../mm/vmap_layer.ts";
import type { Spot } from "./report.ts";

/** One area. */
export interface KnownArea {
  readonly area: VmapRange;
  readonly start: number;
  readonly end: number;
  readonly inserted: Spot;
  /** Number of the event that freed it; Infinity = in use. */
  lazySeq: number;
  freed: Spot | null;
  /** A purge has it in hand. */
  taken: boolean;
}

/** All areas that hold addresses, by address. */
export class AreaBook {
  /** Disjoint, in order of address. */
  readonly areas: KnownArea[] = [];
  /** Pages freed lazily that no purge has in hand. */
  lazyBytes = 0;
  /** Events so far: they order what is freed against requests. */
  seq = 0;

  /** First area that ends above `addr`, by its index. */
  indexAbove(addr: number): number {
    const { areas } = this;
    let low = 0;
    let high = areas.length;
    while (low < high) {
      const mid = (low + high) >>> 1;
      if (areas[mid].end > addr) high = mid;
      else low = mid + 1;
    }
    return low;
  }

  /** An area that has an address of `[start, end)`; `null` = none has. */
  overlapping(start: number, end: number): KnownArea | null {
    const i = this.indexAbove(start);
    if (i === this.areas.length) return null;
    const known = this.areas[i];
    return known.start < end ? known : null;
  }

  /** Adds an area that overlaps none. */
  insert(area: VmapRange, inserted: Spot): void {
    const { va_start: start, va_end: end } = area;
    const known: KnownArea = {
      area,
      start,
      end,
      inserted,
      lazySeq: Infinity,
      freed: null,
      taken: false,
    };
    const at = this.indexAbove(start);
    if (at === this.areas.length) this.areas.push(known);
    else this.areas.splice(at, 0, known);
  }

  /** The record of `area`; `null` = it is not known. */
  find(area: VmapRange): KnownArea | null {
    const known = this.areas[this.indexAbove(area.va_start)];
    return known !== undefined && known.area === area ? known : null;
  }

  remove(known: KnownArea): void {
    const { areas } = this;
    const at = this.indexAbove(known.start);
    if (at === areas.length - 1) areas.pop();
    else areas.splice(at, 1);
  }
}
