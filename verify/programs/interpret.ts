/**
 * What each operation of a program does, and what it expects of the kernel:
 *
 * - an allocation may fail; then the slot stays empty;
 * - addresses that a call returns are within the range asked for, and no live
 *   mapping has them;
 * - they lead to the pages that were to be mapped, until they are given back;
 * - a word written through one mapping is read back through any other, and in
 *   the direct map.
 *
 * What is otherwise is reported as by a sanitizer called `data`.
 */
import {
  enter,
  ksym,
  leave,
  pload,
  pstore,
  type Steps,
  vload,
  vstore,
} from "../../arch/asm.ts";
import { PAGE_KERNEL } from "../../arch/hw/pte.ts";
import { KernelBug } from "../../kernel/bug.ts";
import { GFP_KERNEL } from "../../kernel/mm/gfp.ts";
import { __free_page, alloc_page } from "../../kernel/mm/page_alloc.ts";
import { type Page, pfn_to_page } from "../../kernel/mm/page.ts";
import { pfn_at } from "../../kernel/mm/pgtable.ts";
import { VM_ALLOC, VM_MAP, VmStruct } from "../../kernel/mm/vm_struct.ts";
import {
  __get_vm_area,
  find_vm_area,
  free_vm_area,
  get_vm_area,
  map_vm_area,
  remove_vm_area,
  vfree,
  vm_area_add_early,
  vm_map_ram,
  vm_unmap_aliases,
  vm_unmap_ram,
  vmalloc,
  vmalloc_to_page,
  vmap,
  vunmap,
} from "../../kernel/mm/vmalloc.ts";
import { vread } from "../../kernel/mm/vread.ts";
import { SanitizerReport } from "../../kernel/sanitizers/report.ts";
import type { Thread } from "../../kernel/thread.ts";
import type { TaskFunction } from "../explore/machine.ts";
import {
  EIGHTHS,
  HUGE,
  OpKind,
  pagesOf,
  type Program,
  type ProgramOp,
} from "./op.ts";
import { type Mapping, PoolPage, type Slot, type World } from "./world.ts";

/** By kind of operation: what call traces show. */
const SYMBOLS = [
  "do_vmalloc",
  "do_vmap",
  "do_vm_map_ram",
  "do_burst",
  "do_area",
  "do_range",
  "do_free",
  "do_free_twice",
  "do_touch",
  "do_lookup",
  "do_read",
  "do_flush",
  "do_private",
  "do_recycle",
  "do_early_area",
].map(ksym);

/** Bytes of the word that is written and read. */
const WORD = 4;
/** Words are below this, so that none is taken for the mark of an unknown one. */
const VALUES = 2 ** 31;
/** Pages that a huge request is given: it cannot be served. */
const HUGE_PAGES = 8;
/** Eighths of vmalloc space that RANGE looks in. */
const RANGE_EIGHTHS = 2;
/** What the layers say of a vm_unmap_ram() of what is not mapped. */
const REFUSALS = [
  "vm_unmap_ram of pages that are not mapped",
  "vm_unmap_ram of an address that is not mapped",
  "address lies in no block",
  "address is not mapped",
];
/** Sanitizers that see a second vm_unmap_ram() follow a block that is gone. */
const OBJECT_SANITIZERS = ["kasan", "rcu"];

/** Performs `op`, as far as its slot allows. */
export function* perform(t: Thread, w: World, op: ProgramOp): Steps {
  const { kind, n } = op;
  const slot = w.slots[op.slot];
  enter(t, SYMBOLS[kind]);
  w.machine.shared();
  switch (kind) {
    case OpKind.READ:
      yield* read_any(t, w, slot, n);
      break;
    case OpKind.FLUSH:
      yield* vm_unmap_aliases(t);
      break;
    case OpKind.PRIVATE:
      yield* use_privately(t, w, n);
      break;
    case OpKind.RECYCLE:
      yield* recycle(t, w, n);
      break;
    default:
      if (slot.busy) break;
      slot.busy = true;
      yield* perform_on(t, w, slot, kind, n);
      slot.busy = false;
  }
  w.machine.shared();
  leave(t);
}

/** {@linkcode perform} on a slot that has been claimed. */
function* perform_on(
  t: Thread,
  w: World,
  slot: Slot,
  kind: number,
  n: number,
): Steps {
  const full = slot.mappings.length > 0;
  if (kind <= OpKind.RANGE) {
    if (full) yield* empty_slot(t, w, slot, Infinity);
    // A misuse under way is harmless only as long as nobody gets addresses.
    else if (w.misuse === null) {
      w.takersUnderWay++;
      w.takers++;
      yield* fill_slot(t, w, slot, kind, n);
      w.takersUnderWay--;
    }
    return;
  }
  if (!full) return;
  switch (kind) {
    case OpKind.FREE:
      yield* empty_slot(t, w, slot, n === 0 ? Infinity : n);
      break;
    case OpKind.FREE_TWICE:
      yield* free_twice(t, w, slot);
      break;
    case OpKind.TOUCH:
      yield* touch(t, w, slot, n);
      break;
    default:
      yield* lookup(t, slot.mappings[0]);
  }
}

// Mapping.

function* fill_slot(
  t: Thread,
  w: World,
  slot: Slot,
  kind: number,
  n: number,
): Steps {
  switch (kind) {
    case OpKind.VMALLOC:
      yield* map_memory(t, w, slot, n);
      break;
    case OpKind.VMAP: {
      const count = pagesOf(n);
      const pages = pool_pages(w, slot, n);
      const addr = yield* vmap(t, frames(pages), count, VM_MAP, PAGE_KERNEL);
      if (addr === 0) unuse(w, pages);
      else add(t, w, slot, { kind, addr, count, pages, vm: null });
      break;
    }
    case OpKind.MAP_RAM:
      yield* map_ram(t, w, slot, n);
      break;
    case OpKind.BURST: {
      const size = ((n >> 3) & 3) + 1;
      for (let i = n & 7; i >= 0; i--) yield* map_ram(t, w, slot, size);
      break;
    }
    case OpKind.AREA: {
      const count = pagesOf(n);
      const bytes = count * t.k.vmalloc.page_size;
      const vm = yield* get_vm_area(t, bytes, VM_ALLOC);
      if (vm === null) break;
      add(t, w, slot, { kind, addr: vm.addr, count, pages: NONE, vm });
      break;
    }
    default:
      yield* map_range(t, w, slot, n);
  }
}

const NONE: readonly PoolPage[] = [];

function* map_memory(t: Thread, w: World, slot: Slot, n: number): Steps {
  const count = pagesOf(n);
  const { page_size } = t.k.vmalloc;
  const addr = yield* vmalloc(t, count * page_size);
  if (addr === 0) return;
  check_room(t, w, addr, count, t.k.vmalloc);
  const pages: PoolPage[] = [];
  for (let i = 0; i < count; i++) {
    const pfn = pfn_at(t.k, addr + i * page_size);
    if (pfn < 0) wrong_pages(t, addr + i * page_size, "no page", pfn);
    pages.push(new PoolPage(pfn_to_page(t.k, pfn)));
  }
  const kind = OpKind.VMALLOC;
  add(t, w, slot, { kind, addr, count, pages, vm: null });
}

function* map_ram(t: Thread, w: World, slot: Slot, n: number): Steps {
  const count = pagesOf(n);
  const pages = pool_pages(w, slot, n);
  const addr = yield* vm_map_ram(t, frames(pages), count, -1, PAGE_KERNEL);
  if (addr === 0) return unuse(w, pages);
  const kind = OpKind.MAP_RAM;
  add(t, w, slot, { kind, addr, count, pages, vm: null });
}

/** As the module loader does: an area in a range of its own, filled afterwards. */
function* map_range(t: Thread, w: World, slot: Slot, n: number): Steps {
  const { start, end, page_size } = t.k.vmalloc;
  const count = n & 7;
  const eighth = (n >> 3) % EIGHTHS;
  const part = Math.floor((end - start) / page_size / EIGHTHS) * page_size;
  const from = start + eighth * part;
  const to = Math.min(end, from + RANGE_EIGHTHS * part);
  const vm = yield* __get_vm_area(t, count * page_size, VM_MAP, from, to);
  if (vm === null) return;
  const { addr } = vm;
  check_room(t, w, addr, count, { start: from, end: to });
  const pages = pool_pages(w, slot, count);
  if ((yield* map_vm_area(t, vm, PAGE_KERNEL, frames(pages))) !== 0) {
    yield* free_vm_area(t, vm);
    return unuse(w, pages);
  }
  add(t, w, slot, { kind: OpKind.RANGE, addr, count, pages, vm });
}

/** Pages of the pool for a mapping of size `n`, the same one more than once if it is large. Claimed ones are left out. */
function pool_pages(w: World, slot: Slot, n: number): PoolPage[] {
  w.machine.shared();
  const { pool } = w;
  const pages: PoolPage[] = [];
  const count = n < HUGE ? n : HUGE_PAGES;
  let at = slot.number + w.takers;
  for (let tries = 0; pages.length < count; at++) {
    const page = pool[at % pool.length];
    if (page.claimed && tries++ < pool.length) continue;
    pages.push(page);
    page.mapped++;
  }
  return pages;
}

function frames(pages: readonly PoolPage[]): Page[] {
  return pages.map(({ page }) => page);
}

/** `m` is live from now on. */
function add(t: Thread, w: World, slot: Slot, m: Mapping): void {
  w.machine.shared();
  check_room(t, w, m.addr, m.count, t.k.vmalloc);
  check_pages(t, m);
  slot.mappings.push(m);
  slot.lastAddr = m.addr;
  slot.lastCount = m.count;
}

// Giving back.

/** Gives back the first `count` mappings of `slot`, in order. */
export function* empty_slot(
  t: Thread,
  w: World,
  { mappings }: Slot,
  count: number,
): Steps {
  for (; count > 0 && mappings.length > 0; count--) {
    const m = mappings.shift()!;
    check_pages(t, m);
    yield* give_back(t, m);
    unuse(w, m.pages); // not before: until it returns, the mapping may be there
  }
}

/** A mapping less of each. */
function unuse(w: World, pages: readonly PoolPage[]): void {
  w.machine.shared();
  for (let i = 0; i < pages.length; i++) pages[i].mapped--;
}

function give_back(t: Thread, { kind, addr, count, vm }: Mapping): Steps {
  switch (kind) {
    case OpKind.VMALLOC:
      return vfree(t, addr);
    case OpKind.VMAP:
      return vunmap(t, addr);
    case OpKind.MAP_RAM:
      return vm_unmap_ram(t, addr, count);
    default:
      return free_vm_area(t, vm!);
  }
}

/**
 * The second time is the caller's mistake, which the kernel must notice as long
 * as nobody has been given the address again: so not while others may be.
 */
function* free_twice(t: Thread, w: World, slot: Slot): Steps {
  const { takers } = w;
  const alone = w.takersUnderWay === 0;
  const m = slot.mappings[0];
  yield* empty_slot(t, w, slot, 1);
  w.machine.shared();
  // Somebody may have been given these addresses meanwhile.
  if (!alone || w.takers !== takers || w.misuse !== null) return;
  w.misuse = { pid: t.task.pid, kind: m.kind };
  if (m.vm === null) yield* give_back(t, m);
  else if ((yield* remove_vm_area(t, m.addr)) !== null) {
    report(t, "remove_vm_area() found an area that had been removed", []);
  }
  w.machine.shared();
  w.misuse = null;
}

/**
 * Whether `error` is how the kernel refuses a misuse that programs commit on
 * purpose: no finding, although the machine is of no use any more. A second
 * vm_unmap_ram() ends in a BUG, or reads a block that is gone by then, for which
 * its caller is to blame; the others are to be survived.
 */
export function isRefusal(error: unknown, w: World): boolean {
  if (!(error instanceof KernelBug) || w.misuse === null) return false;
  const { pid, kind } = w.misuse;
  if (pid !== error.pid || kind !== OpKind.MAP_RAM) return false;
  if (error instanceof SanitizerReport) {
    return OBJECT_SANITIZERS.includes(error.sanitizer);
  }
  return REFUSALS.some((text) => error.headline.endsWith(text));
}

// Use.

function* touch(t: Thread, w: World, { mappings }: Slot, n: number): Steps {
  const index = n >> 1;
  const m = mappings[index % mappings.length];
  if (m.pages.length === 0) return;
  const at = index % m.pages.length;
  const p = m.pages[at];
  if (p.claimed) return;
  p.claimed = true;
  const addr = m.addr + at * t.k.vmalloc.page_size;
  if (n % 2 === 1) {
    const value = next_value(w);
    yield* vstore(t, addr, WORD, value);
    p.value = value;
    check_word(t, p, direct(t, p), "written through a mapping", addr);
  } else {
    const value = yield* vload(t, addr, WORD);
    check_word(t, p, value, "read through a mapping", addr);
  }
  p.claimed = false;
}

function next_value(w: World): number {
  w.machine.shared();
  w.serial = (w.serial + 1) % VALUES;
  return w.serial;
}

/** The word of `p` in the direct map, without an operation. */
function direct(t: Thread, p: PoolPage): number {
  const { memory } = t.machine;
  return memory.read32(p.page.pfn * memory.pageBytes);
}

function* lookup(t: Thread, m: Mapping): Steps {
  if (m.kind !== OpKind.MAP_RAM) {
    const vm = yield* find_vm_area(t, m.addr);
    if (vm === null || vm.addr !== m.addr || (m.vm !== null && vm !== m.vm)) {
      report(t, "find_vm_area() does not find a live area", []);
    }
  }
  const { page_size } = t.k.vmalloc;
  for (let i = 0; i < m.pages.length; i++) {
    const page = vmalloc_to_page(t, m.addr + i * page_size);
    if (page !== m.pages[i].page) check_pages(t, m);
  }
}

/** As /dev/kmem does: of whatever is there, without asking its owner. */
function* read_any(t: Thread, w: World, slot: Slot, n: number): Steps {
  if (slot.lastAddr === 0) return;
  const { page_size } = t.k.vmalloc;
  const page = slot.lastCount > 0 ? n % Math.min(slot.lastCount, HUGE) : 0;
  yield* vread(t, w.buffer, slot.lastAddr + page * page_size);
}

/** Claims a page of the pool that no live mapping has; `null` = there is none. */
function claim_unmapped({ pool }: World, from: number): PoolPage | null {
  for (let i = 0; i < pool.length; i++) {
    const p = pool[(from + i) % pool.length];
    if (p.mapped > 0 || p.claimed) continue;
    p.claimed = true;
    return p;
  }
  return null;
}

/** As those do who give a page another memory type: no alias may be left. */
function* use_privately(t: Thread, w: World, n: number): Steps {
  const p = claim_unmapped(w, n);
  if (p === null) return;
  yield* vm_unmap_aliases(t);
  const paddr = p.page.pfn * t.machine.memory.pageBytes;
  check_word(t, p, yield* pload(t, paddr, WORD), "kept in a page", 0);
  const value = next_value(w);
  yield* pstore(t, paddr, WORD, value);
  p.value = value;
  p.claimed = false;
}

/** The new one is taken first, so that somebody else gets the old one. */
function* recycle(t: Thread, w: World, n: number): Steps {
  const p = claim_unmapped(w, n);
  if (p === null) return;
  check_word(t, p, direct(t, p), "kept in a page", 0);
  const fresh = yield* alloc_page(t, GFP_KERNEL);
  if (fresh !== null) {
    const old = p.page;
    p.page = fresh;
    p.value = -1;
    yield* __free_page(t, old);
  }
  p.claimed = false;
}

// Before vmalloc_init().

/**
 * What the early operations of `program` do: for {@linkcode ExploreMachine}'s
 * `early`. An area that would lie on another is left out.
 */
export function earlyFunction({ early }: Program): TaskFunction | undefined {
  if (early.length === 0) return undefined;
  return function* (t: Thread) {
    const taken = new Set<number>();
    for (const { kind, slot, n } of early) {
      if (kind === OpKind.FLUSH) yield* vm_unmap_aliases(t);
      else if (!taken.has(slot)) {
        taken.add(slot);
        add_early_area(t, slot, n);
      }
    }
  };
}

function add_early_area(t: Thread, eighth: number, n: number): void {
  const range = t.k.vmalloc_range;
  if (range === null) return;
  const { pageBytes } = t.machine.memory;
  const pages = Math.floor((range.end - range.start) / pageBytes / EIGHTHS);
  const count = Math.min(n, pages - 1);
  if (count < 1) return;
  const vm = new VmStruct();
  vm.reset(VM_ALLOC, (count + 1) * pageBytes, 0);
  vm.addr = range.start + eighth * pages * pageBytes;
  vm_area_add_early(t, vm);
}

// What is expected.

/** `[addr, addr + count pages)` is within `[start, end)` and nobody else's. */
function check_room(
  t: Thread,
  w: World,
  addr: number,
  count: number,
  { start, end }: { readonly start: number; readonly end: number },
): void {
  const { page_size } = t.k.vmalloc;
  const stop = addr + count * page_size;
  if (addr % page_size !== 0 || addr < start || stop > end) {
    report(t, "a mapping lies outside of the range that it was asked for in", [
      `${hex(addr)}-${hex(stop)} is not in ${hex(start)}-${hex(end)}`,
    ]);
  }
  for (let i = 0; i < w.slots.length; i++) {
    const { mappings } = w.slots[i];
    for (let j = 0; j < mappings.length; j++) {
      const m = mappings[j];
      const mStop = m.addr + m.count * page_size;
      if (addr < mStop && m.addr < stop) {
        given_twice(t, addr, stop, m.addr, mStop);
      }
    }
  }
  for (let i = 0; i < w.early.length; i++) {
    const vm = w.early[i];
    const mStop = vm.addr + vm.size - page_size;
    if (addr < mStop && vm.addr < stop) {
      given_twice(t, addr, stop, vm.addr, mStop);
    }
  }
}

function given_twice(
  t: Thread,
  addr: number,
  stop: number,
  mAddr: number,
  mStop: number,
): never {
  report(t, "addresses were given out that are in use", [
    `new:    ${hex(addr)}-${hex(stop)}`,
    `in use: ${hex(mAddr)}-${hex(mStop)}`,
  ]);
}

/** `m` leads to its pages. */
function check_pages(t: Thread, { addr, pages }: Mapping): void {
  const { page_size } = t.k.vmalloc;
  for (let i = 0; i < pages.length; i++) {
    const at = addr + i * page_size;
    const { pfn } = pages[i].page;
    const found = pfn_at(t.k, at);
    if (found !== pfn) wrong_pages(t, at, `page ${hex(pfn)}`, found);
  }
}

function wrong_pages(
  t: Thread,
  at: number,
  wanted: string,
  found: number,
): never {
  report(
    t,
    found < 0
      ? "a live mapping has lost its page"
      : "a live mapping leads to another page",
    [
      `at ${hex(at)}: ${wanted} was mapped, ${
        found < 0 ? "nothing" : `page ${hex(found)}`
      } is`,
    ],
  );
}

/** `found` is what `p` contains. */
function check_word(
  t: Thread,
  p: PoolPage,
  found: number,
  how: string,
  addr: number,
): void {
  if (p.value < 0 || found === p.value) return;
  report(t, `wrong data through a mapping: ${how}`, [
    ...(addr === 0 ? [] : [`address ${hex(addr)}`]),
    `page ${hex(p.page.pfn)}: ${p.value} was written last, ${found} is there`,
  ]);
}

function hex(n: number): string {
  return n.toString(16);
}

function report(t: Thread, what: string, lines: readonly string[]): never {
  throw new SanitizerReport(
    t,
    "data",
    `data: ${what}`,
    lines.length === 0 ? [] : [{ title: "details:", lines }],
  );
}
