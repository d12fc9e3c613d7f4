/**
 * The boot-time allocator (mm/bootmem.c): first fit over free physical memory,
 * until `free_all_bootmem()` hands what is left to the page allocator.
 *
 * Differs from Linux: free memory is a sorted list of byte ranges for the whole
 * machine rather than a bitmap for each node, which for 64 GiB would cost the
 * host more than everything else at boot; small requests share a page, as
 * Linux's `last_end_off` has it. The kernel image is where 2.6.28 puts it, at 2 MiB,
 * and 10 MiB large; the first 64 KiB and the BIOS hole are reserved too. Other
 * requests start at 16 MiB to spare the DMA zone, and go below if they must.
 *
 * Context: one CPU, boot. All of it is plain.
 */
import { charge, charge_cycles, enter, ksym, leave } from "../../arch/asm.ts";
import { parseVaddr } from "../../arch/hw/pte.ts";
import { BUG_ON, KernelBug } from "../bug.ts";
import type { Kernel } from "../kernel.ts";
import { KERN_ALERT, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import { clearPageCycles } from "./clear_page.ts";
import type { PageAllocator } from "./page_alloc.ts";

const ALLOC_BOOTMEM = ksym("__alloc_bootmem");

const KiB = 2 ** 10;
const MiB = 2 ** 20;
const GiB = 2 ** 30;

/** Requests start here (MAX_DMA_ADDRESS). */
const BOOTMEM_GOAL = 16 * MiB;
/** Kernel text, data, bss. */
const IMAGE_START = 2 * MiB;
const IMAGE_BYTES = 10 * MiB;
/** __VMALLOC_RESERVE of i386, which low memory must leave free. */
const VMALLOC_RESERVE = 128 * MiB;

/** `[start, end)`, bytes. */
export interface PhysRange {
  start: number;
  end: number;
}

/** Free and reserved memory before the page allocator; `k.bootmem`. */
export class Bootmem {
  /** End of the RAM that is used: all, or `mem=`; frames. */
  readonly max_pfn: number;
  /** End of the RAM with a permanent kernel address; frames. Less than `max_pfn` on i386. */
  readonly max_low_pfn: number;
  readonly pageBytes: number;
  /** Sorted, not touching. */
  readonly free: PhysRange[];
  /** The page allocator while it is being set up; mem_init() publishes it as `k.pages`. */
  pages: PageAllocator | null = null;
  /** Whether free_all_bootmem() has run. */
  retired = false;

  constructor(readonly k: Kernel) {
    const { memory, mmu, spec } = k.machine;
    this.pageBytes = memory.pageBytes;
    const limit = k.params.mem_bytes ?? Infinity;
    this.max_pfn = Math.min(
      k.machine.xen?.firstFrame ?? memory.nrFrames,
      Math.floor(limit / this.pageBytes),
    );
    let low = this.max_pfn;
    if (spec.paging.format === "i386-pae") {
      const reserve = k.params.vmalloc_bytes ?? VMALLOC_RESERVE;
      const start = parseVaddr(mmu.format, spec.layout.directMapStart);
      const bytes = 4 * GiB - start - reserve;
      low = Math.min(low, Math.floor(bytes / this.pageBytes));
    }
    this.max_low_pfn = low;
    this.free = [{ start: 0, end: this.max_pfn * this.pageBytes }];
    this.reserve(0, 64 * KiB);
    this.reserve(640 * KiB, MiB);
    this.reserve(IMAGE_START, IMAGE_START + IMAGE_BYTES);
  }

  /** Kernel image, bytes: for the boot message. */
  get imageBytes(): number {
    return IMAGE_BYTES;
  }

  /** Takes `[start, end)` out of what is free, as much of it as was. */
  reserve(start: number, end: number): void {
    const { free } = this;
    for (let i = 0; i < free.length; i++) {
      const range = free[i];
      if (range.end <= start || end <= range.start) continue;
      const parts: PhysRange[] = [];
      if (range.start < start) parts.push({ start: range.start, end: start });
      if (end < range.end) parts.push({ start: end, end: range.end });
      free.splice(i, 1, ...parts);
      i += parts.length - 1;
    }
  }

  /** Lowest place for `bytes` in `[goal, limit)`; -1 = none. */
  find(bytes: number, align: number, goal: number, limit: number): number {
    for (const range of this.free) {
      const from = Math.max(range.start, goal);
      const at = Math.ceil(from / align) * align;
      if (at + bytes <= Math.min(range.end, limit)) return at;
    }
    return -1;
  }

  /** Gives `[start, end)` back, none of which is free. */
  release(start: number, end: number): void {
    const { free } = this;
    let i = 0;
    while (i < free.length && free[i].start < start) i++;
    free.splice(i, 0, { start, end });
    if (i + 1 < free.length && free[i + 1].start === end) {
      free[i].end = free[i + 1].end;
      free.splice(i + 1, 1);
    }
    if (i > 0 && free[i - 1].end === start) {
      free[i - 1].end = free[i].end;
      free.splice(i, 1);
    }
  }

  /** Whether frame `pfn` is out of the page allocator's hands: any byte of it is taken. */
  isReserved(pfn: number): boolean {
    const start = pfn * this.pageBytes;
    const end = start + this.pageBytes;
    let low = 0;
    let high = this.free.length;
    while (low < high) { // first range that ends past `start`
      const mid = (low + high) >>> 1;
      if (this.free[mid].end > start) high = mid;
      else low = mid + 1;
    }
    const range = this.free[low];
    return range === undefined || range.start > start || range.end < end;
  }
}

/** Sets `k.bootmem` up: part of setup_arch(). */
export function setup_bootmem_allocator(t: Thread): void {
  charge(t, 2000);
  t.k.bootmem = new Bootmem(t.k);
}

/**
 * `bytes` of zeroed memory, on a line of its own.
 *
 * @param node Node to try first; none = the lowest address.
 * @returns Physical address, bytes.
 * @throws {KernelBug} If there is none: it never fails otherwise.
 */
export function alloc_bootmem(t: Thread, bytes: number, node = -1): number {
  return __alloc_bootmem(t, bytes, t.machine.spec.memory.lineBytes, node);
}

/** As {@linkcode alloc_bootmem}, whole pages. @returns The first frame's number. */
export function alloc_bootmem_pages(
  t: Thread,
  bytes: number,
  node = -1,
): number {
  const { pageBytes } = t.machine.memory;
  const rounded = Math.ceil(bytes / pageBytes) * pageBytes;
  return __alloc_bootmem(t, rounded, pageBytes, node) / pageBytes;
}

/** As {@linkcode alloc_bootmem}. @param align A power of two, bytes. */
export function __alloc_bootmem(
  t: Thread,
  bytes: number,
  align: number,
  node: number,
): number {
  enter(t, ALLOC_BOOTMEM);
  t.k.need(t, "bootmem", "setup_bootmem_allocator");
  const { bootmem } = t.k;
  BUG_ON(t, bootmem.retired, "alloc_bootmem() after free_all_bootmem()");
  BUG_ON(t, !(bytes > 0), "alloc_bootmem() of nothing");
  charge(t, 150 + 8 * bootmem.free.length);
  const at = find_bootmem(bootmem, bytes, align, node);
  if (at < 0) {
    const what = `bootmem alloc of ${bytes} bytes failed!`;
    printk(t, KERN_ALERT, what);
    throw new KernelBug(t, `Kernel panic - not syncing: ${what}`);
  }
  bootmem.reserve(at, at + bytes);
  zero_phys(t, at, bytes);
  leave(t);
  return at;
}

/** Gives back `bytes` at physical address `paddr`. */
export function free_bootmem(t: Thread, paddr: number, bytes: number): void {
  charge(t, 80);
  const { bootmem } = t.k;
  BUG_ON(t, bootmem.retired, "free_bootmem() after free_all_bootmem()");
  for (const { start, end } of bootmem.free) {
    const apart = end <= paddr || paddr + bytes <= start;
    BUG_ON(t, !apart, "free_bootmem() of free memory");
  }
  bootmem.release(paddr, paddr + bytes);
}

/** On `node` above the goal, on it anywhere, then anywhere above the goal, then anywhere. */
function find_bootmem(
  bootmem: Bootmem,
  bytes: number,
  align: number,
  node: number,
): number {
  const end = bootmem.max_low_pfn * bootmem.pageBytes;
  if (node >= 0) {
    const { memory } = bootmem.k.machine;
    const span = memory.framesPerNode * memory.pageBytes;
    const low = node * span;
    const high = Math.min(low + span, end);
    const goal = Math.max(low, BOOTMEM_GOAL);
    let at = bootmem.find(bytes, align, goal, high);
    if (at < 0) at = bootmem.find(bytes, align, low, high);
    if (at >= 0) return at;
  }
  const at = bootmem.find(bytes, align, BOOTMEM_GOAL, end);
  return at >= 0 ? at : bootmem.find(bytes, align, 0, end);
}

/** Zeroes memory that may begin and end inside a page, charging for it. */
export function zero_phys(t: Thread, paddr: number, bytes: number): void {
  const { memory } = t.machine;
  const { pageBytes } = memory;
  charge_cycles(
    t,
    Math.ceil(clearPageCycles(t.machine.spec) * bytes / pageBytes),
  );
  const end = paddr + bytes;
  for (let at = paddr; at < end;) {
    const pfn = Math.floor(at / pageBytes);
    const stop = Math.min(end, (pfn + 1) * pageBytes);
    const frame = memory.peek(pfn);
    if (frame !== undefined && frame.words !== null) {
      frame.bytes.fill(0, at - pfn * pageBytes, stop - pfn * pageBytes);
    }
    at = stop;
  }
}
