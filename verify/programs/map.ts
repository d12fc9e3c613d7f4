/** Calls that fill slots, and that empty them. */
import type { Steps } from "../../arch/asm.ts";
import { PAGE_KERNEL } from "../../arch/hw/pte.ts";
import { type Page, pfn_to_page } from "../../kernel/mm/page.ts";
import { pfn_at } from "../../kernel/mm/pgtable.ts";
import { VM_ALLOC, VM_MAP } from "../../kernel/mm/vm_struct.ts";
import {
  __get_vm_area,
  free_vm_area,
  get_vm_area,
  map_vm_area,
  vfree,
  vm_map_ram,
  vm_unmap_ram,
  vmalloc,
  vmap,
  vunmap,
} from "../../kernel/mm/vmalloc.ts";
import type { Thread } from "../../kernel/thread.ts";
import { check_pages, check_room, wrong_pages } from "./expect.ts";
import { CallKind, EIGHTHS, HUGE, pagesOf } from "./call.ts";
import { type Mapping, PoolPage, type Slot } from "./slot.ts";
import type { World } from "./world.ts";

/** Pages that a huge request is given: it cannot be served. */
const HUGE_PAGES = 8;
/** From the first page of a slot to that of the next: few slots at work share pages by chance, all do when they hold much. */
const SLOT_STRIDE = 3;
/** Eighths of vmalloc space that RANGE looks in. */
const RANGE_EIGHTHS = 2;

/** Fills `slot` as call `kind` says; it stays empty if there is no room or no memory. */
export function* fill_slot(
  t: Thread,
  w: World,
  slot: Slot,
  kind: number,
  n: number,
): Steps {
  switch (kind) {
    case CallKind.VMALLOC:
      yield* map_memory(t, w, slot, n);
      break;
    case CallKind.VMAP: {
      const count = pagesOf(n);
      const pages = pool_pages(w, slot, n);
      const addr = yield* vmap(t, frames(pages), count, VM_MAP, PAGE_KERNEL);
      if (addr === 0) unuse(w, pages);
      else add(t, w, slot, { kind, addr, count, pages, vm: null });
      break;
    }
    case CallKind.MAP_RAM:
      yield* map_ram(t, w, slot, n);
      break;
    case CallKind.BURST: {
      const size = ((n >> 3) & 3) + 1;
      for (let i = n & 7; i >= 0; i--) yield* map_ram(t, w, slot, size);
      break;
    }
    case CallKind.AREA: {
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
  const kind = CallKind.VMALLOC;
  add(t, w, slot, { kind, addr, count, pages, vm: null });
}

function* map_ram(t: Thread, w: World, slot: Slot, n: number): Steps {
  const count = pagesOf(n);
  const pages = pool_pages(w, slot, n);
  const addr = yield* vm_map_ram(t, frames(pages), count, -1, PAGE_KERNEL);
  if (addr === 0) return unuse(w, pages);
  const kind = CallKind.MAP_RAM;
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
  add(t, w, slot, { kind: CallKind.RANGE, addr, count, pages, vm });
}

/**
 * Pages of the pool for a mapping of size `n`, the same one more than once if it
 * is large. Claimed ones are left out. Which ones follows from the slot and from
 * what is mapped now, not from what was before: so that a case goes on failing
 * when rounds that do not matter are cut from it.
 */
function pool_pages(w: World, slot: Slot, n: number): PoolPage[] {
  w.machine.shared();
  const { pool } = w;
  const pages: PoolPage[] = [];
  const count = n < HUGE ? n : HUGE_PAGES;
  let at = slot.number * SLOT_STRIDE + w.live;
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
  w.live++;
  slot.lastAddr = m.addr;
  slot.lastCount = m.count;
}

/** Gives back the first `count` mappings of `slot`, in order. */
export function* empty_slot(
  t: Thread,
  w: World,
  { mappings }: Slot,
  count: number,
): Steps {
  for (; count > 0 && mappings.length > 0; count--) {
    const m = mappings.shift()!;
    w.live--;
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

/** Gives back one mapping, by the function that belongs to its kind. */
export function give_back(
  t: Thread,
  { kind, addr, count, vm }: Mapping,
): Steps {
  switch (kind) {
    case CallKind.VMALLOC:
      return vfree(t, addr);
    case CallKind.VMAP:
      return vunmap(t, addr);
    case CallKind.MAP_RAM:
      return vm_unmap_ram(t, addr, count);
    default:
      return free_vm_area(t, vm!);
  }
}
