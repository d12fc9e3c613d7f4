/**
 * Fault injection as workloads see it: held while they get ready, then armed;
 * operations that fail are counted and the run goes on, but only if something
 * was made to fail: everything else is still a bug.
 */
import { BUG } from "../kernel/bug.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Thread } from "../kernel/thread.ts";
import type { InjectedFaults } from "./results.ts";

/** Has nothing fail until {@linkcode armFaults}: a workload gets ready. Costs no virtual time. */
export function holdFaults(k: Kernel): void {
  k.faults.disarm();
}

/** From here on what the parameters ask for fails. Costs no virtual time. */
export function armFaults(k: Kernel): void {
  k.faults.arm();
}

/**
 * An operation has failed: counted if an allocation was made to fail before, a
 * BUG if not. The caller gives back what it has and goes on.
 *
 * @param what What to say of it, for the BUG.
 */
export function failedOp(t: Thread, what: string): void {
  const { faults } = t.k;
  if (faults.injected === 0) BUG(t, what);
  faults.failedOps++;
}

/** Whether allocations have been made to fail, so that errors are to be expected. */
export function faultsInjected(k: Kernel): boolean {
  return k.faults.injected > 0;
}

/** What was injected until now; `null` = the parameters ask for nothing. */
export function injectedFaults({ faults }: Kernel): InjectedFaults | null {
  if (!faults.wanted) return null;
  return {
    failslab: faults.failslab.injected,
    fail_page_alloc: faults.fail_page_alloc.injected,
    fail_page_table: faults.fail_page_table.injected,
    late_ipis: faults.lateIpis,
    failed_ops: faults.failedOps,
  };
}
