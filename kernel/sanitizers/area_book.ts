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

/** A request for room under way. */
export interface RoomRequest {
  readonly t: unknown;
  /** Number of the last event before it. */
  readonly seq: number;
  readonly size: number;
  readonly align: number;
  readonly vstart: number;
  readonly vend: number;
}

/** A range that was in use. */
interface Taken {
  readonly start: number;
  readonly end: number;
}

/**
 * Where the request would fit, with a page free on either side, among what was
 * in use at any time since it was made.
 *
 * @param inUse In order of address; may overlap.
 * @returns The address; -1 = nowhere.
 */
export function roomFor(
  request: RoomRequest,
  inUse: readonly Taken[],
  pageBytes: number,
): number {
  const { size, align, vstart, vend } = request;
  const up = (addr: number) => Math.ceil(addr / align) * align;
  let addr = up(vstart);
  for (let i = 0; i < inUse.length; i++) {
    const { start, end } = inUse[i];
    if (end + pageBytes <= addr) continue;
    if (addr + size + pageBytes <= start) break;
    addr = up(end + pageBytes);
  }
  return addr + size <= vend ? addr : -1;
}
