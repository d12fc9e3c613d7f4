/**
 * Requests for room and for blocks, for the areas sanitizer: from when they are
 * made to when they are served or refused. A thread has one of each at most.
 *
 * - a request refused that would have fitted, with a page free on either side,
 *   among what was in use at any time since it was made. Areas that had been
 *   freed before do not count: a purge could have had them;
 * - two blocks made for one request.
 */
import type { Kernel } from "../kernel.ts";
import type { Thread } from "../thread.ts";
import type { AreaBook, KnownArea } from "./area_book.ts";
import { printRange, rangeSection, reportArea } from "./area_report.ts";

/** Room asked for: `size` bytes in `[vstart, vend)`. */
interface Room {
  readonly size: number;
  readonly align: number;
  readonly vstart: number;
  readonly vend: number;
}

/** A request for room under way. */
interface RoomRequest extends Room {
  readonly t: Thread;
  /** Number of the last event before it. */
  readonly seq: number;
}

/** A request to a block under way. */
interface BlockRequest {
  readonly t: Thread;
  made: number;
}

/** See the file's head. */
export class AreaRequests {
  readonly #rooms: RoomRequest[] = [];
  /** Areas that are gone, but were in use after some request was made. */
  readonly #gone: KnownArea[] = [];
  readonly #blocks: BlockRequest[] = [];

  constructor(readonly k: Kernel, readonly book: AreaBook) {}

  roomWanted(
    t: Thread,
    size: number,
    align: number,
    vstart: number,
    vend: number,
  ): void {
    this.#endRoom(t);
    this.#rooms.push({ t, seq: ++this.book.seq, size, align, vstart, vend });
  }

  /**
   * `t` has got room.
   *
   * @returns Bytes that it had asked for; 0 = it had not asked.
   */
  roomGot(t: Thread): number {
    const request = this.#rooms.find((r) => r.t === t);
    if (request === undefined) return 0;
    this.#endRoom(t);
    return request.size;
  }

  roomRefused(t: Thread): void {
    const request = this.#rooms.find((r) => r.t === t);
    if (request === undefined) return;
    const wasUsed = ({ lazySeq }: KnownArea) => lazySeq > request.seq;
    const inUse = [...this.book.areas, ...this.#gone].filter(wasUsed);
    inUse.sort((a, b) => a.start - b.start);
    const addr = roomFor(request, inUse, this.k.vmalloc.page_size);
    this.#endRoom(t);
    if (addr < 0) return;
    reportArea(t, "allocation refused that would have fitted", [
      rangeSection(this.k, addr, addr + request.size),
      {
        title: "in use meanwhile:",
        lines: inUse.map(({ start, end }) => printRange(this.k, start, end)),
      },
    ]);
  }

  /** `known` has left the book. */
  areaGone(known: KnownArea): void {
    if (this.#rooms.some(({ seq }) => seq < known.lazySeq)) {
      this.#gone.push(known);
    }
  }

  blockRequest(t: Thread, begins: boolean): void {
    const at = this.#blocks.findIndex((r) => r.t === t);
    if (at >= 0) this.#blocks.splice(at, 1);
    if (begins) this.#blocks.push({ t, made: 0 });
  }

  blockMade(t: Thread): void {
    const request = this.#blocks.find((r) => r.t === t);
    if (request === undefined || ++request.made === 1) return;
    reportArea(t, "two blocks made for one request");
  }

  /** Nothing is under way. */
  clear(): void {
    this.#rooms.length = 0;
    this.#gone.length = 0;
    this.#blocks.length = 0;
  }

  #endRoom(t: Thread): void {
    const rooms = this.#rooms;
    for (let i = 0; i < rooms.length; i++) {
      if (rooms[i].t !== t) continue;
      rooms.splice(i, 1);
      if (rooms.length === 0) this.#gone.length = 0;
      return;
    }
  }
}

/**
 * Where the request would fit among `inUse`, with a page free on either side.
 *
 * @param inUse In order of address; may overlap.
 * @returns The address; -1 = nowhere.
 */
export function roomFor(
  request: Room,
  inUse: readonly Pick<KnownArea, "start" | "end">[],
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
