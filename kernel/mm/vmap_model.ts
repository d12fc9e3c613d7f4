/**
 * Where addresses must come from, the slow way: sorted arrays, no locks, no
 * time. Both layers' rules, written down a second time for tests.
 *
 * Everything is in pages from the start of vmalloc space.
 */

/** One area: `[start, end)`. */
interface Area {
  readonly start: number;
  readonly end: number;
  lazy: boolean;
}

/** One block of the per-CPU kind. */
interface Block {
  readonly area: Area;
  /** Pages handed out, and come back. */
  readonly used: boolean[];
  readonly dirty: boolean[];
}

/** What a model answers: the page an operation ended up at; -1 = NULL. */
export interface PlaceModel {
  /** Flushes so far, and the last one's range. */
  readonly flushes: number;
  readonly lastFlush: readonly [number, number];
  /** Pages freed and not purged. */
  readonly lazy: number;
  /** Takes `pages` and a guard page, aligned. */
  area(pages: number, align: number): number;
  freeArea(start: number): void;
  ram(pages: number): number;
  freeRam(start: number, pages: number): void;
  aliases(): void;
}

/** 2.6.28, one CPU. */
export class RewriteModel implements PlaceModel {
  flushes = 0;
  lastFlush: [number, number] = [0, 0];
  areas: Area[] = [];
  /** Newest first. */
  blocks: Block[] = [];

  constructor(
    readonly space: number,
    readonly lazyMax: number,
    readonly blockPages = 1024,
    readonly maxRam = 64,
  ) {}

  get lazy(): number {
    return this.areas.filter((a) => a.lazy).reduce((n, a) => n + size(a), 0);
  }

  area(pages: number, align: number): number {
    return pages === 0 ? -1 : this.#place(pages + 1, align)?.start ?? -1;
  }

  freeArea(start: number): void {
    this.#free(this.areas.find((a) => a.start === start)!);
  }

  ram(pages: number): number {
    if (pages === 0) return -1;
    if (pages > this.maxRam) return this.#place(pages, 1)?.start ?? -1;
    const share = 2 ** Math.ceil(Math.log2(pages));
    for (const block of this.blocks) {
      const at = room(block.used, share);
      if (at >= 0) return block.area.start + at;
    }
    const area = this.#place(this.blockPages, this.blockPages);
    if (area === null) return -1;
    const used = new Array(this.blockPages).fill(false);
    const block = { area, used, dirty: [...used] };
    this.blocks.unshift(block);
    return area.start + room(block.used, share);
  }

  freeRam(start: number, pages: number): void {
    if (pages > this.maxRam) return this.freeArea(start);
    const share = 2 ** Math.ceil(Math.log2(pages));
    const block = this.blocks.find(({ area }) =>
      area.start <= start && start < area.end
    )!;
    block.dirty.fill(
      true,
      start - block.area.start,
      start - block.area.start + share,
    );
    if (!block.dirty.every((d) => d)) return;
    this.blocks = this.blocks.filter((b) => b !== block);
    this.#free(block.area);
  }

  aliases(): void {
    const dirty = this.blocks.flatMap(({ area, dirty }) =>
      dirty.flatMap((d, i) => d ? [area.start + i] : [])
    );
    this.#purge(dirty);
  }

  #place(pages: number, align: number): Area | null {
    for (const attempt of [1, 2]) {
      const start = this.#search(pages, align);
      if (start + pages <= this.space) {
        const area = { start, end: start + pages, lazy: false };
        this.areas.push(area);
        this.areas.sort((a, b) => a.start - b.start);
        return area;
      }
      if (attempt === 1) this.#purge([]);
    }
    return null;
  }

  #search(pages: number, align: number): number {
    if (this.areas.length === 0 || this.areas[0].start >= pages) return 0;
    let cursor = 0;
    for (const area of this.areas) {
      if (cursor + pages < area.start || cursor + pages > this.space) break;
      cursor = Math.ceil((area.end + 1) / align) * align;
    }
    return cursor;
  }

  #free(area: Area): void {
    area.lazy = true;
    if (this.lazy > this.lazyMax) this.#purge([]);
  }

  #purge(dirty: number[]): void {
    const gone = this.areas.filter((a) => a.lazy);
    if (gone.length === 0 && dirty.length === 0) return;
    this.flushes++;
    const start = Math.min(...gone.map((a) => a.start), ...dirty);
    const end = Math.max(
      ...gone.map((a) => a.end),
      ...dirty.map((d) => d + 1),
    );
    this.lastFlush = [start, end];
    this.areas = this.areas.filter((a) => !a.lazy);
  }
}

/** 2.6.27. */
export class VmlistModel implements PlaceModel {
  flushes = 0;
  lastFlush: [number, number] = [0, 0];
  readonly lazy = 0;
  areas: Area[] = [];

  constructor(readonly space: number) {}

  area(pages: number, align: number): number {
    const wanted = pages + 1;
    if (pages === 0) return -1;
    let cursor = 0;
    for (const area of this.areas) {
      if (area.start < cursor) {
        if (area.end >= cursor) cursor = up(area.end, align);
      } else if (cursor + wanted <= area.start) break;
      else {
        cursor = up(area.end, align);
        if (cursor + wanted > this.space) return -1;
      }
    }
    if (cursor + wanted > this.space) return -1;
    this.areas.push({ start: cursor, end: cursor + wanted, lazy: false });
    this.areas.sort((a, b) => a.start - b.start);
    return cursor;
  }

  freeArea(start: number): void {
    const area = this.areas.find((a) => a.start === start)!;
    this.areas = this.areas.filter((a) => a !== area);
    this.flushes++;
    this.lastFlush = [area.start, area.end];
  }

  ram(pages: number): number {
    return this.area(pages, 1);
  }

  freeRam(start: number, _pages: number): void {
    this.freeArea(start);
  }

  aliases(): void {}
}

function up(x: number, align: number): number {
  return Math.ceil(x / align) * align;
}

function size(area: Area): number {
  return area.end - area.start;
}

/** Takes the first aligned run of `share` unused pages. @returns Its start, or -1. */
function room(used: boolean[], share: number): number {
  for (let at = 0; at + share <= used.length; at += share) {
    if (used.slice(at, at + share).some((u) => u)) continue;
    used.fill(true, at, at + share);
    return at;
  }
  return -1;
}
