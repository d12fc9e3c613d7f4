/**
 * Address ranges that are taken, for the areas sanitizer: each area against the
 * other areas and against `vmlist`, each listed vm_struct and each mapping
 * against the areas.
 *
 * - an area that wraps, is smaller than asked for, overlaps another, or what a listed vm_struct owns;
 * - a vm_struct listed without an area of its own, or over another;
 * - a mapping made outside of any area in use;
 * - entries cleared outside of areas, or by who must not: those of an area in
 *   use by a purge, those of a free one by anybody else, as a purge may give
 *   its addresses away at any time.
 *
 * Nothing is said of vm_structs and entries against areas before the layer has
 * told of its first: there are layers that tell of none.
 */
import { ksym } from "../../arch/asm.ts";
import type { Kernel } from "../kernel.ts";
import type { VmapRange } from "../mm/vmap_layer.ts";
import type { VmStruct } from "../mm/vm_struct.ts";
import type { Thread } from "../thread.ts";
import type { AreaBook, KnownArea } from "./area_book.ts";
import { historySections, rangeSection, reportArea } from "./area_report.ts";
import { spotOf } from "./report.ts";

const PURGE = ksym("__purge_vmap_area_lazy");

/** See the file's head. */
export class AreaRanges {
  /** The layer tells of its areas. */
  #told = false;

  constructor(readonly k: Kernel, readonly book: AreaBook) {}

  /** @param wanted Bytes asked for; 0 = that is not known. */
  areaInserted(t: Thread, area: VmapRange, wanted: number): void {
    this.#told = true;
    const { k } = this;
    const { va_start, va_end } = area;
    if (va_end <= va_start) {
      reportArea(t, "area wraps around the end of addresses", [
        rangeSection(k, va_start, va_end),
      ]);
    }
    if (va_end - va_start < wanted) {
      reportArea(t, "area smaller than asked for", [
        rangeSection(k, va_start, va_end),
      ]);
    }
    const other = this.book.overlapping(va_start, va_end);
    if (other !== null) {
      reportArea(t, "areas overlap", [
        rangeSection(k, va_start, va_end),
        ...historySections(k, other),
      ]);
    }
    const vm = this.#listedAt(va_start, va_end);
    if (vm !== null && vm !== area.private) {
      reportArea(t, "addresses of a listed vm_struct handed out", [
        rangeSection(k, va_start, va_end),
        rangeSection(k, vm.addr, vm.addr + vm.size),
      ]);
    }
    this.book.insert(area, spotOf(t));
  }

  vmListed(t: Thread, vm: VmStruct): void {
    const { k } = this;
    const end = vm.addr + vm.size;
    for (let p = k.vmalloc.vmlist; p !== null; p = p.next) {
      if (p === vm || p.addr >= end) continue;
      if (p.addr + p.size <= vm.addr) continue;
      reportArea(t, "vm_structs overlap", [
        rangeSection(k, vm.addr, end),
        rangeSection(k, p.addr, p.addr + p.size),
      ]);
    }
    if (!this.#told) return;
    const known = this.book.overlapping(vm.addr, end);
    const own = known !== null && known.start === vm.addr &&
      known.end === end && known.area.private === vm;
    if (own) return;
    reportArea(t, "vm_struct listed without an area of its own", [
      rangeSection(k, vm.addr, end),
      ...historySections(k, known),
    ]);
  }

  ptesSet(t: Thread, start: number, end: number): void {
    if (!this.#told || !this.#isVmalloc(start)) return;
    const known = this.book.overlapping(start, end);
    const inside = contains(known, start, end);
    if (inside && known.freed === null) return;
    reportArea(
      t,
      inside ? "mapping made in a free area" : "mapping made outside of areas",
      [
        rangeSection(this.k, start, end),
        ...historySections(this.k, known),
      ],
    );
  }

  ptesCleared(t: Thread, start: number, end: number): void {
    if (!this.#told || !this.#isVmalloc(start)) return;
    const known = this.book.overlapping(start, end);
    const inside = contains(known, start, end);
    const purge = t.depth > 1 && t.stack[t.depth - 2] === PURGE;
    if (inside && purge === (known.freed !== null)) return;
    let headline = "entries cleared outside of areas";
    if (inside) {
      headline = purge
        ? "entries purged of an area in use"
        : "entries of a free area cleared by other than the purge";
    }
    reportArea(t, headline, [
      rangeSection(this.k, start, end),
      ...historySections(this.k, known),
    ]);
  }

  /** A listed vm_struct that owns an address of `[start, end)`. */
  #listedAt(start: number, end: number): VmStruct | null {
    let vm = this.k.vmalloc.vmlist;
    while (vm !== null && (vm.addr >= end || vm.addr + vm.size <= start)) {
      vm = vm.next;
    }
    return vm;
  }

  #isVmalloc(vaddr: number): boolean {
    const { start, end, modules } = this.k.vmalloc;
    return (vaddr >= start && vaddr < end) ||
      (vaddr >= modules.start && vaddr < modules.end);
  }
}

/** `known` has all of `[start, end)`. */
function contains(
  known: KnownArea | null,
  start: number,
  end: number,
): known is KnownArea {
  return known !== null && known.start <= start && known.end >= end;
}
