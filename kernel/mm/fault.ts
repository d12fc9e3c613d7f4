/**
 * do_page_fault() (arch/x86/mm/fault.c) for kernel addresses. All page tables
 * of the model share one set of kernel entries, so there is nothing to copy
 * from init_mm (vmalloc_fault()): every fault is an oops.
 */
import type { FaultReason } from "../../arch/hw/mmu.ts";
import { printVaddr } from "../../arch/hw/pte.ts";
import { KernelBug } from "../bug.ts";
import type { Thread } from "../thread.ts";

/** First page: what a null pointer plus a field's offset reaches, bytes. */
const NULL_PAGE = 4096;

/**
 * Ends the run with the kernel's message.
 *
 * @throws {KernelBug} Always.
 */
export function do_page_fault(
  t: Thread,
  vaddr: number,
  write: boolean,
  reason: FaultReason,
): never {
  const at = printVaddr(t.machine.mmu.format, vaddr);
  const what = vaddr < NULL_PAGE
    ? "kernel NULL pointer dereference"
    : "kernel paging request";
  throw new KernelBug(
    t,
    `BUG: unable to handle ${what} at ${at} (${
      write ? "write" : "read"
    }, ${reason})`,
  );
}
