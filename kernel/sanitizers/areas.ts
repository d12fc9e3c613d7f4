/**
 * Address ranges, blocks and counters of the vmap layer that do not add up.
 *
 * At each event, against a record of its own (area_book.ts):
 *
 * - an area that wraps, is smaller than asked for, overlaps another, or what a listed vm_struct owns;
 * - a vm_struct listed without an area of its own;
 * - a mapping made outside of any area in use;
 * - a purge that clears entries of an area in use, or takes one; anybody else who
 *   clears entries of an area that is free, as a purge may give its addresses away
 *   at any time; entries cleared outside of areas;
 * - a counter of lazily freed pages below what is free and in no purge's hands:
 *   whoever frees counts first, whoever purges subtracts last;
 * - a request refused that would have fitted, with a page free on either side,
 *   among what was in use at any time since it was made. Areas that had been
 *   freed before do not count: a purge could have had them;
 * - two blocks made for one request;
 * - vm_map_ram() that returns before all pages are there;
 * - an address or an area freed a second time, and that accepted.
 *
 * While nothing is under way: all that the layer's own check() looks for: order
 * of list and tree, entries outside of areas, vmlist against areas, blocks
 * against their maps, the counter against the sum.
 *
 * Layers that tell of no areas are judged by check() and by what callers see.
 */
import { ksym } from "../../arch/asm.ts";
import { printVaddr } from "../../arch/hw/pte.ts";
import type { Kernel } from "../kernel.ts";
import type { Page } from "../mm/page.ts";
import { pfn_at } from "../mm/pgtable.ts";
import type { VmapRange } from "../mm/vmap_layer.ts";
import type { VmStruct } from "../mm/vm_struct.ts";
import type { Thread } from "../thread.ts";
import {
  AreaBook,
  type KnownArea,
  roomFor,
  type RoomRequest,
} from "./area_book.ts";
import {
  type ReportSection,
  SanitizerReport,
  type Spot,
  spotOf,
  spotSection,
} from "./report.ts";
import type { Sanitizer } from "./sanitizer.ts";

const PURGE = ksym("__purge_vmap_area_lazy");

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

/** A request to a block under way. */
interface BlockRequest {
  readonly t: Thread;
  made: number;
}

/** See the file's head. */
export class AreaSanitizer implements Sanitizer {
  readonly #book: AreaBook = new AreaBook();
  /** The layer tells of its areas. */
  #told = false;
  /** Events so far: they order what is freed against requests. */
  #seq = 0;
  readonly #requests: RoomRequest[] = [];
  /** Areas that are gone, but were in use after some request was made. */
  readonly #gone: KnownArea[] = [];
  readonly #blockRequests: BlockRequest[] = [];
  /** By first address: the last mapping there. */
  readonly #given: Map<number, Given> = new Map();
  readonly #unmappings: Unmapping[] = [];

  constructor(readonly k: Kernel) {}

  areaInserted(t: Thread, area: VmapRange): void {
    this.#told = true;
    const { va_start, va_end } = area;
    const wanted = this.#requests.find((r) => r.t === t);
    this.#endRequest(t);
    if (va_end <= va_start) {
      const range = this.#ranges(va_start, va_end);
      this.#report(t, "area wraps around the end of addresses", range);
    }
    if (wanted !== undefined && va_end - va_start < wanted.size) {
      const range = this.#ranges(va_start, va_end);
      this.#report(t, "area smaller than asked for", range);
    }
    const other = this.#book.overlapping(va_start, va_end);
    if (other !== null) {
      this.#report(t, "areas overlap", [
        ...this.#ranges(va_start, va_end),
        ...this.#history(other),
      ]);
    }
    const vm = this.#listedAt(va_start, va_end);
    if (vm !== null && vm !== area.private) {
      this.#report(t, "addresses of a listed vm_struct handed out", [
        ...this.#ranges(va_start, va_end),
        ...this.#ranges(vm.addr, vm.addr + vm.size),
      ]);
    }
    this.#book.insert(area, spotOf(t));
  }

  areaLazy(t: Thread, area: VmapRange, lazyPages: number): void {
    const known = this.#book.find(area);
    if (known === null) return;
    if (known.freed !== null) {
      this.#report(t, "area freed a second time", this.#history(known));
    }
    known.freed = spotOf(t);
    known.lazySeq = ++this.#seq;
    this.#book.lazyBytes += known.end - known.start;
    const pages = this.#book.lazyBytes / this.k.vmalloc.page_size;
    if (lazyPages < pages) {
      this.#report(t, "lazily freed pages are not counted", [{
        title: "pages:",
        lines: [`${pages} are free, ${lazyPages} counted`],
      }]);
    }
  }

  areaTaken(t: Thread, area: VmapRange): void {
    const known = this.#book.find(area);
    if (known === null || known.taken) return;
    if (known.freed === null) {
      this.#report(t, "area in use purged", this.#history(known));
    }
    known.taken = true;
    this.#book.lazyBytes -= known.end - known.start;
  }

  areaRemoved(t: Thread, area: VmapRange): void {
    const known = this.#book.find(area);
    if (known === null) return;
    if (known.freed === null) {
      this.#report(t, "area in use unlinked", this.#history(known));
    }
    this.#book.remove(known);
    if (this.#requests.some(({ seq }) => seq < known.lazySeq)) {
      this.#gone.push(known);
    }
  }

  ptesSet(t: Thread, start: number, end: number): void {
    if (!this.#told || !this.#isVmalloc(start)) return;
    const known = this.#book.overlapping(start, end);
    const inside = known !== null && known.start <= start && known.end >= end;
    if (inside && known.freed === null) return;
    this.#report(
      t,
      inside ? "mapping made in a free area" : "mapping made outside of areas",
      [
        ...this.#ranges(start, end),
        ...(known === null ? [] : this.#history(known)),
      ],
    );
  }

  ptesCleared(t: Thread, start: number, end: number): void {
    if (!this.#told || !this.#isVmalloc(start)) return;
    const known = this.#book.overlapping(start, end);
    const inside = known !== null && known.start <= start && known.end >= end;
    const purge = t.depth > 1 && t.stack[t.depth - 2] === PURGE;
    if (inside && purge === (known.freed !== null)) return;
    let headline = "entries cleared outside of areas";
    if (inside) {
      headline = purge
        ? "entries purged of an area in use"
        : "entries of a free area cleared by other than the purge";
    }
    this.#report(t, headline, [
      ...this.#ranges(start, end),
      ...(known === null ? [] : this.#history(known)),
    ]);
  }

  vmListed(t: Thread, vm: VmStruct): void {
    for (let p = this.k.vmalloc.vmlist; p !== null; p = p.next) {
      if (p === vm || p.addr >= vm.addr + vm.size) continue;
      if (p.addr + p.size <= vm.addr) continue;
      this.#report(t, "vm_structs overlap", [
        ...this.#ranges(vm.addr, vm.addr + vm.size),
        ...this.#ranges(p.addr, p.addr + p.size),
      ]);
    }
    if (!this.#told) return;
    const known = this.#book.overlapping(vm.addr, vm.addr + vm.size);
    const own = known !== null && known.start === vm.addr &&
      known.end === vm.addr + vm.size && known.area.private === vm;
    if (own) return;
    this.#report(t, "vm_struct listed without an area of its own", [
      ...this.#ranges(vm.addr, vm.addr + vm.size),
      ...(known === null ? [] : this.#history(known)),
    ]);
  }

  roomWanted(
    t: Thread,
    size: number,
    align: number,
    vstart: number,
    vend: number,
  ): void {
    this.#endRequest(t);
    this.#requests.push({ t, seq: ++this.#seq, size, align, vstart, vend });
  }

  roomRefused(t: Thread): void {
    const request = this.#requests.find((r) => r.t === t);
    if (request === undefined) return;
    const wasUsed = ({ lazySeq }: KnownArea) => lazySeq > request.seq;
    const inUse = [...this.#book.areas, ...this.#gone].filter(wasUsed);
    inUse.sort((a, b) => a.start - b.start);
    const { page_size } = this.k.vmalloc;
    const addr = roomFor(request, inUse, page_size);
    this.#endRequest(t);
    if (addr < 0) return;
    this.#report(t, "allocation refused that would have fitted", [
      ...this.#ranges(addr, addr + request.size),
      {
        title: "in use meanwhile:",
        lines: inUse.map(({ start, end }) => this.#range(start, end)),
      },
    ]);
  }

  blockRequest(t: Thread, begins: boolean): void {
    const at = this.#blockRequests.findIndex((r) => r.t === t);
    if (at >= 0) this.#blockRequests.splice(at, 1);
    if (begins) this.#blockRequests.push({ t, made: 0 });
  }

  blockMade(t: Thread): void {
    const request = this.#blockRequests.find((r) => r.t === t);
    if (request === undefined || ++request.made === 1) return;
    this.#report(t, "two blocks made for one request");
  }

  ramMapped(
    t: Thread,
    start: number,
    count: number,
    pages: readonly Page[],
  ): void {
    const { page_size } = this.k.vmalloc;
    for (let i = 0; i < count; i++) {
      const addr = start + i * page_size;
      const pfn = pfn_at(this.k, addr);
      if (pfn >= 0 && pfn === pages[i]?.pfn) continue;
      this.#report(t, "vm_map_ram() has not mapped what was asked for", [{
        title: "page:",
        lines: [
          `${i} of ${count}, at ${this.#hex(addr)}, ${
            pfn < 0 ? "is not mapped" : `leads to frame ${pfn.toString(16)}`
          }`,
        ],
      }]);
    }
  }

  mapped(t: Thread, start: number): void {
    this.#given.set(start, { mapped: spotOf(t), unmapped: null });
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
      this.#report(t, "address freed a second time", [
        spotSection(this.k, `${this.#hex(start)} mapped`, given.mapped),
        spotSection(this.k, "freed", given.unmapped),
      ]);
    }
  }

  quiet(t: Thread, k: Kernel): void {
    this.#requests.length = 0;
    this.#gone.length = 0;
    this.#blockRequests.length = 0;
    this.#unmappings.length = 0;
    const found = k.vmap.check();
    if (found.length === 0) return;
    // A headline without the numbers.
    const first = found[0].replaceAll(/\b(?=[a-f]*\d)[\da-f]+\b/g, "N");
    this.#report(t, `inconsistent: ${first}`, [{
      title: "all that check() says:",
      lines: found,
    }]);
  }

  /** A listed vm_struct that owns an address of `[start, end)`. */
  #listedAt(start: number, end: number): VmStruct | null {
    let vm = this.k.vmalloc.vmlist;
    while (vm !== null && (vm.addr >= end || vm.addr + vm.size <= start)) {
      vm = vm.next;
    }
    return vm;
  }

  #endRequest(t: Thread): void {
    const requests = this.#requests;
    for (let i = 0; i < requests.length; i++) {
      if (requests[i].t !== t) continue;
      requests.splice(i, 1);
      if (requests.length === 0) this.#gone.length = 0;
      return;
    }
  }

  #isVmalloc(vaddr: number): boolean {
    const { start, end, modules } = this.k.vmalloc;
    return (vaddr >= start && vaddr < end) ||
      (vaddr >= modules.start && vaddr < modules.end);
  }

  #hex(vaddr: number): string {
    return printVaddr(this.k.machine.mmu.format, vaddr);
  }

  #range(start: number, end: number): string {
    return `[${this.#hex(start)}, ${this.#hex(end)})`;
  }

  #ranges(start: number, end: number): ReportSection[] {
    return [{ title: "range:", lines: [this.#range(start, end)] }];
  }

  /** What is known of an area. */
  #history({ start, end, inserted, freed }: KnownArea): ReportSection[] {
    const range = this.#range(start, end);
    const sections = [spotSection(this.k, `area ${range} taken`, inserted)];
    if (freed !== null) {
      sections.push(spotSection(this.k, `area ${range} freed`, freed));
    }
    return sections;
  }

  #report(
    t: Thread,
    headline: string,
    sections: readonly ReportSection[] = [],
  ): never {
    throw new SanitizerReport(t, "areas", `BUG: vmap: ${headline}`, sections);
  }
}
