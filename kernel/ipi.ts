/**
 * Sending interrupts to other CPUs: the local APIC of x86 (asm-x86/ipi.h), or
 * the hub of an SN2 (arch/ia64/sn/kernel/sn2/sn2_smp.c), where an interrupt is
 * a write to a register of the target's hub, one for each target.
 *
 * Differs from Linux: the interrupt command register's rest, which nothing here
 * reads, is not composed. The lock that the first revisions of the hub needed
 * around the write (enable_shub_wars_1_1) is left out.
 */
import {
  charge,
  charge_cycles,
  enter,
  ksym,
  leave,
  send_ipi,
  send_ipi_mask,
  type Steps,
} from "../arch/asm.ts";
import { RESCHEDULE_VECTOR } from "./irq_vectors.ts";
import type { Thread } from "./thread.ts";

const SN2_SEND_IPI = ksym("sn2_send_IPI");
const SN_SEND_IPI_PHYS = ksym("sn_send_IPI_phys");
const PIO_PHYS_WRITE_MMR = ksym("pio_phys_write_mmr");

/** Sends `vector` to CPU number `cpu`. Context: preemption off. */
export function send_IPI(t: Thread, cpu: number, vector: number): Steps {
  return t.k.arch === "ia64"
    ? sn2_send_IPI(t, cpu, vector)
    : send_ipi(t, cpu, vector);
}

/** Sends `vector` to each of `cpus`. Context: preemption off. */
export function send_IPI_mask(
  t: Thread,
  cpus: readonly number[],
  vector: number,
): Steps {
  return t.k.arch === "ia64"
    ? sn2_send_IPIs(t, cpus, vector)
    : send_ipi_mask(t, cpus, vector);
}

/** Has CPU number `cpu` look at need_resched. Context: preemption off. */
export function smp_send_reschedule(t: Thread, cpu: number): Steps {
  return send_IPI(t, cpu, RESCHEDULE_VECTOR);
}

function* sn2_send_IPIs(
  t: Thread,
  cpus: readonly number[],
  vector: number,
): Steps {
  for (let i = 0; i < cpus.length; i++) {
    yield* sn2_send_IPI(t, cpus[i], vector);
  }
}

/** Finds the target's node and slot, and has the register written. */
function* sn2_send_IPI(t: Thread, cpu: number, vector: number): Steps {
  enter(t, SN2_SEND_IPI);
  charge(t, 14); // cpu_physical_id(), cpuid_to_nasid(): a table each
  enter(t, SN_SEND_IPI_PHYS);
  charge(t, 16); // address and value
  charge_cycles(t, t.k.machine.lockedCycles); // mb()
  enter(t, PIO_PHYS_WRITE_MMR);
  charge(t, 8); // physical addressing on and off, and waits for either
  yield* send_ipi(t, cpu, vector);
  leave(t);
  leave(t);
  leave(t);
}
