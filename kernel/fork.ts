/**
 * Processes, as far as their memory goes (kernel/fork.c, mm/mmap.c, 2.6.28): an
 * address space is made, copied and taken apart; a thread of the kernel stands
 * for the process and touches its pages.
 *
 * On Xen every page of an address space's tree of tables becomes a page table to
 * the hypervisor at the end of dup_mm(), and an ordinary page again in
 * exit_mmap(): that is what the vmap layer's lazily unmapped aliases stand in
 * the way of.
 *
 * Lock order: mm.page_table_lock; inside it what pinning takes (xen/mmu.ts).
 *
 * Left out: files, signals, credentials; the address space is not loaded (see
 * mm/memory.ts). x86-64 only.
 */
import { charge, enter, ksym, leave, type Steps } from "../arch/asm.ts";
import { ENOMEM, err, type Errno } from "./lib/errno.ts";
import { kthread_run } from "./kthread.ts";
import { __GFP_ZERO, GFP_KERNEL } from "./mm/gfp.ts";
import {
  copy_page_range,
  free_pgtables,
  unmap_vmas,
  UserMm,
  type Vma,
} from "./mm/memory.ts";
import { pfn_to_page } from "./mm/page.ts";
import { __free_page, alloc_page } from "./mm/page_alloc.ts";
import type { Thread } from "./thread.ts";

const MM_ALLOC = ksym("mm_alloc");
const PGD_ALLOC = ksym("pgd_alloc");
const DUP_MM = ksym("dup_mm");
const EXIT_MMAP = ksym("exit_mmap");

/** Entries of a root table, of which the upper half is the kernel's. */
const PTRS_PER_PGD = 512;

/** A root table with the kernel's entries. @returns Its frame, or -ENOMEM. */
function* pgd_alloc(t: Thread): Steps<number | Errno> {
  enter(t, PGD_ALLOC);
  const page = yield* alloc_page(t, GFP_KERNEL | __GFP_ZERO);
  if (page === null) {
    leave(t);
    return err(ENOMEM);
  }
  const { memory } = t.machine;
  const from = memory.frame(t.k.init_mm.pgd).back();
  const to = memory.frame(page.pfn).back();
  for (let i = PTRS_PER_PGD; i < 2 * PTRS_PER_PGD; i++) to[i] = from[i];
  charge(t, PTRS_PER_PGD);
  leave(t);
  return page.pfn;
}

/**
 * An address space without pages, not pinned yet.
 *
 * Context: process; may sleep.
 *
 * @returns It, or -ENOMEM.
 */
export function* mm_alloc(
  t: Thread,
  vmas: readonly Vma[],
): Steps<UserMm | Errno> {
  enter(t, MM_ALLOC);
  charge(t, 120);
  const pgd = yield* pgd_alloc(t);
  if (pgd < 0) {
    leave(t);
    return pgd as Errno;
  }
  const mm = new UserMm(t.k, pgd, vmas);
  const pv = t.k.pv_mmu;
  const error = pv === null ? 0 : yield* pv.pgd_alloc(t, mm);
  if (error !== 0) yield* __free_page(t, pfn_to_page(t.k, pgd));
  leave(t);
  return error === 0 ? mm : error;
}

/** Takes `mm` into use: on Xen it is pinned. Linux: activate_mm(). */
export function* activate_mm(t: Thread, mm: UserMm): Steps {
  if (t.k.pv_mmu !== null) yield* t.k.pv_mmu.dup_mmap(t, mm);
}

/**
 * Copies an address space: tables are new, pages shared until one is written.
 *
 * Context: process, the one that owns `old`; may sleep.
 *
 * @returns The copy, in use; or -ENOMEM.
 */
export function* dup_mm(t: Thread, old: UserMm): Steps<UserMm | Errno> {
  enter(t, DUP_MM);
  const mm = yield* mm_alloc(t, old.vmas);
  if (typeof mm === "number") {
    leave(t);
    return mm;
  }
  charge(t, 150 * old.vmas.length);
  const error = yield* copy_page_range(t, mm, old);
  if (error !== 0) {
    yield* exit_mmap(t, mm);
    leave(t);
    return error;
  }
  yield* activate_mm(t, mm);
  leave(t);
  return mm;
}

/** Takes an address space apart; nobody uses it any more. */
export function* exit_mmap(t: Thread, mm: UserMm): Steps {
  enter(t, EXIT_MMAP);
  charge(t, 60);
  if (t.k.pv_mmu !== null) yield* t.k.pv_mmu.exit_mmap(t, mm);
  yield* unmap_vmas(t, mm);
  yield* free_pgtables(t, mm);
  if (t.k.pv_mmu !== null) yield* t.k.pv_mmu.pgd_free(t, mm);
  yield* __free_page(t, pfn_to_page(t.k, mm.pgd));
  leave(t);
}

/**
 * Starts a process with a copy of `old`: a thread that runs `fn` and then exits,
 * its address space with it.
 *
 * @returns The thread, to be waited for by kthread_join(); or -ENOMEM.
 */
export function* do_fork(
  t: Thread,
  old: UserMm,
  fn: (t: Thread, mm: UserMm) => Steps<unknown>,
  name: string,
): Steps<Thread | Errno> {
  const mm = yield* dup_mm(t, old);
  if (typeof mm === "number") return mm;
  return yield* kthread_run(t, function* (self) {
    const result = yield* fn(self, mm);
    yield* exit_mmap(self, mm);
    return result;
  }, name);
}
