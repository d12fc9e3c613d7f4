/**
 * The balloon (drivers/xen/balloon.c): pages that the guest allocates and gives
 * back to Xen, and takes again.
 *
 * Lock order: balloon_mutex alone.
 *
 * As in 2.6.28, vm_unmap_aliases() is not called: a lazily unmapped alias of a
 * page that is given back still has its entry. Xen keeps the frame for as long
 * as an entry refers to it; here it is gone, and {@linkcode Balloon.aliased}
 * counts how often that has been so.
 *
 * Differs from Linux: frames come back under their old numbers; no target in
 * xenstore, no low-memory limits, no retries by a timer.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { PAGE_KERNEL, type PtePair } from "../../arch/hw/pte.ts";
import { UVMF_NONE } from "../../arch/xen/abi.ts";
import { BUG_ON } from "../bug.ts";
import { Mutex, mutex_lock, mutex_unlock } from "../locking/mutex.ts";
import { find_aliases } from "../mm/alias_report.ts";
import { clear_page } from "../mm/clear_page.ts";
import { __GFP_NORETRY, __GFP_NOWARN, GFP_HIGHUSER } from "../mm/gfp.ts";
import { type Page, page_address } from "../mm/page.ts";
import { __free_page, alloc_page } from "../mm/page_alloc.ts";
import { flush_tlb_all } from "../mm/tlb.ts";
import type { Thread } from "../thread.ts";
import {
  HYPERVISOR_memory_op,
  HYPERVISOR_update_va_mapping,
} from "./hypercall.ts";
import { xen_state } from "./setup.ts";

const DECREASE_RESERVATION = ksym("decrease_reservation");
const INCREASE_RESERVATION = ksym("increase_reservation");

/** Pages in the balloon. */
export class Balloon {
  readonly balloon_mutex: Mutex;
  /** Pages that Xen has; the last ones in come out first. */
  readonly ballooned_pages: Page[] = [];
  /** Pages given back that still had an alias in vmalloc space. */
  aliased = 0;

  constructor(t: Thread) {
    this.balloon_mutex = new Mutex(t.k, "balloon_mutex");
  }
}

/** The balloon of `t`'s kernel. */
export function balloon_of(t: Thread): Balloon {
  return xen_state(t).balloon ??= new Balloon(t);
}

/** Gives up to `nr_pages` pages back to Xen. Context: process; may sleep. @returns How many. */
export function* decrease_reservation(
  t: Thread,
  nr_pages: number,
): Steps<number> {
  enter(t, DECREASE_RESERVATION);
  const balloon = balloon_of(t);
  yield* mutex_lock(t, balloon.balloon_mutex);
  const pages: Page[] = [];
  while (pages.length < nr_pages) {
    const page = yield* alloc_page(
      t,
      GFP_HIGHUSER | __GFP_NORETRY | __GFP_NOWARN,
    );
    if (page === null) break;
    clear_page(t, page.pfn); // scrub_page()
    pages.push(page);
  }
  for (const page of pages) yield* map_direct(t, page, false);
  yield* flush_tlb_all(t);
  const frames = pages.map(({ pfn }) => pfn);
  balloon.aliased += count_aliased(t, frames);
  const given = yield* HYPERVISOR_memory_op(t, "decrease_reservation", frames);
  BUG_ON(t, given !== frames.length, "the balloon's pages are refused");
  balloon.ballooned_pages.push(...pages);
  yield* mutex_unlock(t, balloon.balloon_mutex);
  leave(t);
  return given;
}

/** Frames of `frames` that are still mapped in vmalloc space. For the count alone. */
function count_aliased(t: Thread, frames: readonly number[]): number {
  const aliases = find_aliases(t.k, new Set(frames));
  return new Set(aliases.filter(({ tlbOf }) => tlbOf < 0).map(({ pfn }) => pfn))
    .size;
}

/** Takes up to `nr_pages` pages from Xen again. Context: process; may sleep. @returns How many. */
export function* increase_reservation(
  t: Thread,
  nr_pages: number,
): Steps<number> {
  enter(t, INCREASE_RESERVATION);
  const balloon = balloon_of(t);
  yield* mutex_lock(t, balloon.balloon_mutex);
  const pages = balloon.ballooned_pages.splice(-nr_pages, nr_pages);
  const frames = pages.map(({ pfn }) => pfn);
  const got = yield* HYPERVISOR_memory_op(t, "populate_physmap", frames);
  BUG_ON(t, got !== frames.length, "Xen does not give the pages back");
  for (const page of pages) {
    yield* map_direct(t, page, true);
    yield* __free_page(t, page);
  }
  yield* mutex_unlock(t, balloon.balloon_mutex);
  leave(t);
  return got;
}

/** The direct map's entry of `page`, there or not. */
function* map_direct(t: Thread, page: Page, present: boolean): Steps {
  charge(t, 10);
  const pte: PtePair = { lo: 0, hi: 0 };
  if (present) t.machine.mmu.format.encode(page.pfn, PAGE_KERNEL, pte);
  const vaddr = page_address(t.k, page);
  const error = yield* HYPERVISOR_update_va_mapping(
    t,
    vaddr,
    pte.lo,
    pte.hi,
    UVMF_NONE,
  );
  BUG_ON(t, error !== 0, "a direct-map entry is refused");
}
