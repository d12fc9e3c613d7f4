/**
 * remap_vmalloc_range(): vmalloc memory in a user address space (mm/vmalloc.c).
 *
 * Modelled: a range of user addresses with a page table of its own, entries set
 * with user permission, a reference to each page. Left out: faults, mmap(), the
 * kernel half of that table.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import {
  PROT_ACCESSED,
  PROT_DIRTY,
  PROT_NX,
  PROT_PRESENT,
  PROT_USER,
  PROT_WRITE,
} from "../../arch/hw/pte.ts";
import { EINVAL, err, type Errno, IS_ERR_VALUE } from "../lib/errno.ts";
import type { Thread } from "../thread.ts";
import { get_page } from "./page.ts";
import { insert_pte, type MmStruct, vmalloc_to_page } from "./pgtable.ts";
import { find_vm_area } from "./vm_area.ts";
import { VM_USERMAP } from "./vm_struct.ts";

const REMAP_VMALLOC_RANGE = ksym("remap_vmalloc_range");

/** Ordinary user data (PAGE_SHARED). */
const PAGE_SHARED = PROT_PRESENT | PROT_WRITE | PROT_USER | PROT_ACCESSED |
  PROT_DIRTY | PROT_NX;

/** The range is never swapped out (include/linux/mm.h). */
export const VM_RESERVED = 0x00080000;

/** A range of a user address space. */
export interface VmAreaStruct {
  /** Page tables it belongs to. */
  readonly vm_mm: MmStruct;
  /** First address and end, bytes, multiples of the page. */
  readonly vm_start: number;
  /** End, exclusive, bytes. */
  readonly vm_end: number;
  /** `VM_*` bits; remap_vmalloc_range() sets VM_RESERVED. */
  vm_flags: number;
}

/**
 * Maps what vmalloc_user() returned to all of `vma`.
 *
 * Context: process; may sleep.
 *
 * Linux: mm/vmalloc.c.
 *
 * @param addr What vmalloc_user() returned.
 * @param pgoff Pages to leave out at its start.
 * @returns 0; -EINVAL unless `vma` lies within the area, guard page apart;
 *   -EBUSY, -ENOMEM, with some pages mapped.
 *
 * @example
 * ```ts
 * import {
 *   __GFP_ZERO,
 *   alloc_page,
 *   boot,
 *   GFP_KERNEL,
 *   MmStruct,
 *   remap_vmalloc_range,
 *   vmalloc_user,
 *   type VmAreaStruct,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const error = boot().run(function* (t) {
 *   const addr = yield* vmalloc_user(t, 8192);
 *   const root = (yield* alloc_page(t, GFP_KERNEL | __GFP_ZERO))!;
 *   const vma: VmAreaStruct = {
 *     vm_mm: new MmStruct(t.k, root.pfn),
 *     vm_start: 0x400000,
 *     vm_end: 0x402000,
 *     vm_flags: 0,
 *   };
 *   return yield* remap_vmalloc_range(t, vma, addr, 0);
 * });
 * assertEquals(error, 0);
 * ```
 */
export function* remap_vmalloc_range(
  t: Thread,
  vma: VmAreaStruct,
  addr: number,
  pgoff: number,
): Steps<0 | Errno> {
  enter(t, REMAP_VMALLOC_RANGE);
  charge(t, 30);
  const error = yield* remap(t, vma, addr, pgoff);
  leave(t);
  return error;
}

function* remap(
  t: Thread,
  vma: VmAreaStruct,
  addr: number,
  pgoff: number,
): Steps<0 | Errno> {
  const { page_size } = t.k.vmalloc;
  if (addr % page_size !== 0) return err(EINVAL);
  const area = yield* find_vm_area(t, addr);
  if (area === null || (area.flags & VM_USERMAP) === 0) return err(EINVAL);
  const size = vma.vm_end - vma.vm_start;
  // A27: page counts, so that no sum or shift can overflow.
  const inside = pgoff >= 0 && size > 0 &&
    pgoff + size / page_size <= area.size / page_size - 1;
  if (!inside) return err(EINVAL);
  let from = addr + pgoff * page_size;
  for (let to = vma.vm_start; to < vma.vm_end; to += page_size) {
    charge(t, 20);
    const page = vmalloc_to_page(t, from)!;
    yield* get_page(t, page);
    const nr = yield* insert_pte(t, vma.vm_mm, to, page.pfn, PAGE_SHARED);
    if (IS_ERR_VALUE(nr)) return nr;
    from += page_size;
  }
  vma.vm_flags |= VM_RESERVED;
  return 0;
}
