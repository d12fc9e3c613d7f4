/**
 * do_page_fault() (arch/x86/mm/fault.c) for kernel addresses. All page tables
 * of the model share one set of kernel entries, so there is nothing to copy
 * from init_mm (vmalloc_fault()): a fault is an oops, unless it is spurious. Who
 * allows stores to a page again flushes no TLB, and a CPU whose TLB still says
 * otherwise faults once.
 */
import { charge, charge_cycles, enter, ksym, leave } from "../../arch/asm.ts";
import type { FaultReason } from "../../arch/hw/mmu.ts";
import { printVaddr, PROT_WRITE } from "../../arch/hw/pte.ts";
import { KernelBug } from "../bug.ts";
import type { Thread } from "../thread.ts";
import { prot_of } from "./pageattr.ts";

/** First page: what a null pointer plus a field's offset reaches, bytes. */
const NULL_PAGE = 4096;

const SPURIOUS_FAULT = ksym("spurious_fault");

/** do_page_fault() as far as the tables, and their walk. */
const SPURIOUS_INSTRUCTIONS = 120;

/**
 * A store that the page table allows by now. The fault itself has dropped the
 * translation.
 */
function spurious_fault(t: Thread, vaddr: number): boolean {
  const { k } = t;
  if (k.init_mm === undefined) return false;
  if ((prot_of(k, vaddr) & PROT_WRITE) === 0) return false;
  enter(t, SPURIOUS_FAULT);
  const { mmu, spec } = t.machine;
  mmu.tlbs[t.cpu.id].invalidate(Math.floor(vaddr / t.machine.memory.pageBytes));
  charge_cycles(t, spec.irq.entryCycles + spec.irq.exitCycles);
  charge(t, SPURIOUS_INSTRUCTIONS);
  leave(t);
  return true;
}

/**
 * Ends the run with the kernel's message, unless the fault is spurious.
 *
 * @returns True: the access is to be tried again.
 * @throws {KernelBug} If it is a fault.
 */
export function do_page_fault(
  t: Thread,
  vaddr: number,
  write: boolean,
  reason: FaultReason,
): boolean {
  if (reason === "write to read-only" && spurious_fault(t, vaddr)) return true;
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
