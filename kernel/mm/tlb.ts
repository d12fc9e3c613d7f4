/**
 * Flushing TLBs of all CPUs (arch/x86/kernel/tlb_64.c and asm/tlbflush.h;
 * arch/ia64/kernel/smp.c and mm/tlb.c).
 *
 * On x86 of 2.6.28 flushing a range of kernel addresses means flushing
 * everything, on every CPU, by an interrupt that the caller waits for; ia64
 * does the same, by purging the whole translation cache (a loop of `ptc.e`).
 * That is the cost that lazy unmapping saves.
 *
 * Context: interrupts on, and no lock held that another CPU may want with
 * interrupts off: the wait would never end.
 */
import {
  charge,
  charge_cycles,
  enter,
  flush_tlb_local,
  ksym,
  leave,
  type Steps,
} from "../../arch/asm.ts";
import { on_each_cpu } from "../smp.ts";
import type { Thread } from "../thread.ts";

const FLUSH_TLB_ALL = ksym("flush_tlb_all");
const DO_FLUSH_TLB_ALL = ksym("do_flush_tlb_all");
const SMP_FLUSH_TLB_ALL = ksym("smp_flush_tlb_all");
const LOCAL_FLUSH_TLB_ALL = ksym("local_flush_tlb_all");
const FLUSH_TLB_KERNEL_RANGE = ksym("flush_tlb_kernel_range");

/** Flushes this CPU's TLB, global entries too. Runs with interrupts off. Plain. */
function do_flush_tlb_all(t: Thread): void {
  enter(t, DO_FLUSH_TLB_ALL);
  charge(t, 14);
  flush_tlb_local(t, true);
  leave_mm(t);
  leave(t);
}

/**
 * Gives up the user page table that this CPU has borrowed: clears its bit in the
 * owner's cpu_vm_mask and loads CR3. Idle and kernel threads run on the page
 * table of the last process there (TLBSTATE_LAZY) and stay marked as such, so
 * every flush does it again. There are no processes here, but a CPU on which
 * none has ever run is a rare thing. The owner's line is taken to be this CPU's;
 * CR3 drops nothing that the flush has left. Plain.
 */
function leave_mm(t: Thread): void {
  const { spec, lockedCycles } = t.machine;
  charge(t, 12);
  charge_cycles(t, spec.cache.hitCycles + lockedCycles + spec.tlb.flushCycles);
}

/** {@linkcode do_flush_tlb_all} of ia64; kernel threads borrow nothing there that they would have to give up. Plain. */
function local_flush_tlb_all(t: Thread): void {
  enter(t, LOCAL_FLUSH_TLB_ALL);
  charge(t, 20); // the loop's bounds, from the CPU's data
  flush_tlb_local(t, true);
  leave(t);
}

/**
 * Flushes every online CPU's TLB and waits until all have done so.
 *
 * Linux: arch/x86/kernel/tlb_64.c.
 *
 * @example
 * ```ts
 * import { boot, flush_tlb_all } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const machine = boot();
 * machine.run((t) => flush_tlb_all(t));
 * for (const { flushesGlobal } of machine.counters().tlb) {
 *   assert(flushesGlobal > 0);
 * }
 * ```
 */
export function* flush_tlb_all(t: Thread): Steps {
  const ia64 = t.k.arch === "ia64";
  enter(t, ia64 ? SMP_FLUSH_TLB_ALL : FLUSH_TLB_ALL);
  charge(t, 6);
  const flush = ia64 ? local_flush_tlb_all : do_flush_tlb_all;
  yield* on_each_cpu(t, flush, null, true);
  leave(t);
}

/**
 * Flushes translations of kernel addresses in `[start, end)` on every CPU.
 *
 * Linux: arch/x86/include/asm/tlbflush.h.
 *
 * @example
 * ```ts
 * import { boot, flush_tlb_kernel_range } from "@vmaplab/vmaplab";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const machine = boot();
 * const before = machine.counters();
 * machine.run((t) =>
 *   flush_tlb_kernel_range(t, 0xc20000000000, 0xc20000001000)
 * );
 * const after = machine.counters();
 * assertEquals(after.tlbFlushes - before.tlbFlushes, 1);
 * assert(after.ipis - before.ipis >= 7);
 * ```
 */
export function* flush_tlb_kernel_range(
  t: Thread,
  start: number,
  end: number,
): Steps {
  enter(t, FLUSH_TLB_KERNEL_RANGE);
  const state = t.k.vmalloc;
  state.flushes++;
  state.last_flush_start = start;
  state.last_flush_end = end;
  yield* flush_tlb_all(t);
  leave(t);
}
