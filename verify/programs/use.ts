/** Calls that use what is mapped, and pages that are not. */
import { pload, pstore, type Steps, vload, vstore } from "../../arch/asm.ts";
import { GFP_KERNEL } from "../../kernel/mm/gfp.ts";
import { __free_page, alloc_page } from "../../kernel/mm/page_alloc.ts";
import {
  find_vm_area,
  vm_unmap_aliases,
  vmalloc_to_page,
} from "../../kernel/mm/vmalloc.ts";
import { vread } from "../../kernel/mm/vread.ts";
import type { Thread } from "../../kernel/thread.ts";
import { check_pages, check_word, unexpected } from "./expect.ts";
import { CallKind, HUGE } from "./call.ts";
import type { Mapping, PoolPage, Slot } from "./slot.ts";
import type { World } from "./world.ts";

/** Bytes of the word that is written and read. */
const WORD = 4;
/** Words are below this, so that none is taken for the mark of an unknown one. */
const VALUES = 2 ** 31;

/**
 * Reads or writes a word through the first mapping of a slot, or another one of
 * it. Several tasks may read a page at a time, through one mapping or several;
 * who writes one is alone at it.
 */
export function* touch(
  t: Thread,
  w: World,
  { mappings }: Slot,
  n: number,
): Steps {
  const index = n >> 1;
  const m = mappings[index % mappings.length];
  if (m.pages.length === 0) return;
  const at = index % m.pages.length;
  const p = m.pages[at];
  if (p.claimed) return;
  const addr = m.addr + at * t.k.vmalloc.page_size;
  if (n % 2 === 0) {
    p.readers++;
    const value = yield* vload(t, addr, WORD);
    check_word(t, p, value, "read through a mapping", addr);
    p.readers--;
  } else if (p.readers === 0) {
    p.claimed = true;
    const value = next_value(w);
    yield* vstore(t, addr, WORD, value);
    p.value = value;
    check_word(t, p, direct(t, p), "written through a mapping", addr);
    p.claimed = false;
  }
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

/** Looks `m` up, in both ways. */
export function* lookup(t: Thread, m: Mapping): Steps {
  if (m.kind !== CallKind.MAP_RAM) {
    const vm = yield* find_vm_area(t, m.addr);
    if (vm === null || vm.addr !== m.addr || (m.vm !== null && vm !== m.vm)) {
      unexpected(t, "find_vm_area() does not find a live area", []);
    }
  }
  const { page_size } = t.k.vmalloc;
  for (let i = 0; i < m.pages.length; i++) {
    const page = vmalloc_to_page(t, m.addr + i * page_size);
    if (page !== m.pages[i].page) check_pages(t, m);
  }
}

/** As /dev/kmem does: of whatever is there, without asking its owner. */
export function* read_any(t: Thread, w: World, slot: Slot, n: number): Steps {
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
export function* use_privately(t: Thread, w: World, n: number): Steps {
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
export function* recycle(t: Thread, w: World, n: number): Steps {
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
