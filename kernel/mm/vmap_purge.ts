/**
 * Lazy purging: areas that were freed lose their page-table entries and their
 * addresses together, with one TLB flush for all of them (mm/vmalloc.c, 2.6.28).
 *
 * Lock order:
 *
 *     purge_lock
 *       vmap_area_lock
 *
 * purge_lock is held over the flush, which waits for every CPU: nobody may wait
 * for it with interrupts off (A9). One flush range serves all areas: its hull.
 */
import {
  atomic_add_return,
  charge,
  enter,
  ksym,
  leave,
  local_irq_restore,
  local_irq_save,
  read_line,
  type Steps,
  write_line,
} from "../../arch/asm.ts";
import { BUG_ON } from "../bug.ts";
import { fls } from "../lib/bitops.ts";
import { list_add_tail, ListHead } from "../lib/list.ts";
import { spin_lock, spin_trylock, spin_unlock } from "../locking/spinlock.ts";
import { rcu_read_lock, rcu_read_unlock } from "../rcu.ts";
import type { Thread } from "../thread.ts";
import { vunmap_page_range } from "./pgtable.ts";
import type { RewriteState } from "./rewrite_state.ts";
import { flush_tlb_kernel_range } from "./tlb.ts";
import {
  __free_vmap_area,
  VM_LAZY_FREE,
  VM_LAZY_FREEING,
  type VmapArea,
} from "./vmap_area.ts";

const PURGE_VMAP_AREA_LAZY = ksym("__purge_vmap_area_lazy");

/** Lazily freed memory for each bit of the number of CPUs. */
const LAZY_BYTES = 32 * 2 ** 20;
/** One area of the walk over all: load of the flags, test, load of next. */
const WALK_INSTRUCTIONS = 5;

/**
 * Pages that may wait for a purge: 32 MiB, times the bits of the number of
 * online CPUs. A flush interrupts every CPU, so more of them pay for rarer
 * ones; the logarithm is a guess between that and the memory held back.
 */
export function lazy_max_pages(t: Thread, w: RewriteState): number {
  charge(t, 8);
  return lazy_limit(w);
}

/** {@linkcode lazy_max_pages} for reports: costs nothing. */
export function lazy_limit(w: RewriteState): number {
  const { params, cpu_online } = w.k;
  return params.lazy_max ??
    fls(cpu_online.weight) * (LAZY_BYTES / w.page_size);
}

/**
 * Purges: clears the entries of all lazily freed areas, flushes every TLB once,
 * and gives the addresses back.
 *
 * Context: interrupts on.
 * Locks: takes purge_lock, vmap_area_lock.
 *
 * @param start Flush at least `[start, end)`; Infinity, 0 = nothing asked for.
 * @param sync Wait for a purge under way, rather than leave it to that.
 * @param force Flush even if no area was freed.
 */
export function* __purge_vmap_area_lazy(
  t: Thread,
  w: RewriteState,
  start: number,
  end: number,
  sync: boolean,
  force: boolean,
): Steps {
  enter(t, PURGE_VMAP_AREA_LAZY);
  if (sync || force) yield* take_purge_lock(t, w);
  else if (!(yield* spin_trylock(t, w.purge_lock))) {
    leave(t);
    return;
  }
  const valist = new ListHead<VmapArea>();
  let nr = 0;

  rcu_read_lock(t);
  const head = w.vmap_area_list;
  yield* read_line(t, w.list_line);
  for (let p = head.next; p !== head; p = p.next) {
    const va = p.owner!;
    charge(t, WALK_INSTRUCTIONS);
    yield* read_line(t, va.line);
    if ((va.flags & VM_LAZY_FREE) === 0) continue;
    if (va.va_start < start) start = va.va_start;
    if (va.va_end > end) end = va.va_end;
    nr += (va.va_end - va.va_start) / w.page_size;
    yield* vunmap_page_range(t, va.va_start, va.va_end);
    yield* write_line(t, va.line);
    va.flags = (va.flags | VM_LAZY_FREEING) & ~VM_LAZY_FREE;
    t.k.sanitizers?.areaTaken(t, va);
    list_add_tail(va.purge_list, valist);
    charge(t, 18);
  }
  rcu_read_unlock(t);

  if (nr > 0) {
    w.purges++;
    const left = yield* atomic_add_return(t, w.vmap_lazy_nr, -nr);
    // A8: whoever flags before counting can be overtaken.
    BUG_ON(
      t,
      w.quirks.counterAfterFlag && left < 0,
      "more pages purged than vmap_lazy_nr counts",
    );
  }
  if ((nr > 0 || force) && !w.quirks.purgeWithoutFlush) { // V1
    yield* flush_tlb_kernel_range(t, start, end);
  }
  if (nr > 0) {
    yield* spin_lock(t, w.vmap_area_lock);
    for (let p = valist.next; p !== valist;) {
      // A7: once freed, an area's links are somebody else's.
      const next = p.next;
      yield* __free_vmap_area(t, w, p.owner!);
      p = w.quirks.purgeIterator ? p.next : next;
    }
    yield* spin_unlock(t, w.vmap_area_lock);
  }
  yield* spin_unlock(t, w.purge_lock);
  leave(t);
}

/** Waits for purge_lock, able to answer its holder's flush meanwhile. */
function* take_purge_lock(t: Thread, w: RewriteState): Steps {
  if (!w.quirks.purgeLockIrqsOff) return yield* spin_lock(t, w.purge_lock);
  const flags = local_irq_save(t); // A9
  yield* spin_lock(t, w.purge_lock);
  local_irq_restore(t, flags);
}

/** Purges unless somebody else does: too much has piled up. */
export function try_purge_vmap_area_lazy(t: Thread, w: RewriteState): Steps {
  return __purge_vmap_area_lazy(t, w, Infinity, 0, false, false);
}

/** Purges, after whoever else does: addresses have run out. */
export function purge_vmap_area_lazy(t: Thread, w: RewriteState): Steps {
  return __purge_vmap_area_lazy(t, w, Infinity, 0, true, false);
}
