/**
 * What page-table code asks of a kernel that runs as a guest: Linux's pv_mmu_ops,
 * as far as the model has calls for it (arch/x86/include/asm/paravirt.h).
 */
import type { Steps } from "../../arch/asm.ts";
import type { Errno } from "../lib/errno.ts";
import type { Thread } from "../thread.ts";
import type { Page } from "./page.ts";
import type { MmStruct } from "./pgtable.ts";

/** One entry to be written: `ptr` is its physical address, bytes. */
export interface PteUpdate {
  readonly ptr: number;
  readonly lo: number;
  readonly hi: number;
}

/** Page tables by way of a hypervisor. */
export interface PvMmuOps {
  /**
   * Points the entry of `vaddr` at `level` to `table` if it is still empty:
   * paravirt_alloc_pte() and set_pmd(), and their kin of other levels.
   *
   * Locks: mm.page_table_lock held.
   *
   * @returns Whether it was.
   */
  populate(
    t: Thread,
    mm: MmStruct,
    vaddr: number,
    level: number,
    table: number,
  ): Steps<boolean>;
  /** A root table has been made for `mm`: what goes with it. @returns 0 or -ENOMEM. */
  pgd_alloc(t: Thread, mm: MmStruct): Steps<0 | Errno>;
  /** The root table of `mm` is about to be freed: what went with it. */
  pgd_free(t: Thread, mm: MmStruct): Steps;
  /** `mm` is complete and about to be used: arch_dup_mmap(). */
  dup_mmap(t: Thread, mm: MmStruct): Steps;
  /** `mm` is about to be taken apart: arch_exit_mmap(). */
  exit_mmap(t: Thread, mm: MmStruct): Steps;
  /** A table of `mm`, whose entry above has been cleared, is about to be freed: paravirt_release_pte(). */
  release_table(t: Thread, mm: MmStruct, pfn: number, level: number): Steps;
  /** Writes last-level entries of `mm`, which is pinned: lazy MMU mode, one trap for all. */
  update_ptes(
    t: Thread,
    mm: MmStruct,
    updates: readonly PteUpdate[],
  ): Steps;
  /** Before entries of `[start, end)` are set: charges for them, and ends the run if one would be refused. Plain. */
  set_ptes(
    t: Thread,
    mm: MmStruct,
    start: number,
    end: number,
    prot: number,
    pages: readonly Page[] | null,
    first: number,
  ): void;
  /** Before `count` entries of the kernel's space are cleared: charges for them. Plain. */
  clear_ptes(t: Thread, count: number): void;
}
