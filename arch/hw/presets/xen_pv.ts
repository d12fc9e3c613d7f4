/**
 * A paravirtualised guest of Xen 3.3 on the two-socket Opteron: eight virtual
 * CPUs, each on a CPU of its own.
 *
 * The guest sees no NUMA, and it may not use large pages: the direct map is of
 * base pages, which is what its TLB misses come from. Interrupts between virtual
 * CPUs are event channels, so each is a hypercall and an upcall.
 */

import type { MachineSpec } from "../spec.ts";
import {
  CPUID_DUMP,
  FAMILY_10H_CORE,
  FAMILY_10H_SOURCES,
  X86_64_LAYOUT,
  X86_64_SOURCES,
} from "./opteron_2x4.ts";

const OVERRIDDEN = new Set([
  "cache.memoryRemoteCycles",
  "clocksource",
  "idle.wakeCycles",
  "ipi.broadcast",
  "ipi.deliverCycles",
  "ipi.sendCycles",
]);
const LAT_SYSCALL =
  "Campbell, Xen commit 3e1b9525de43 (2006): lmbench lat_syscall of a guest's system call 0.327 us by a direct trap, 0.550 us through Xen's own handler";

/** A guest of Xen on the default machine's hardware. */
export const xenPv: MachineSpec = {
  ...FAMILY_10H_CORE,
  name: "xen-pv",
  description:
    "Xen 3.3 guest of 8 virtual CPUs, AMD Opteron 2356, 1 GiB (2008)",
  topology: { sockets: 2, coresPerSocket: 4, nodes: 1 },
  memory: { bytesPerNode: 2 ** 30, lineBytes: 64 },
  paging: { format: "x86-64", pageShift: 12 },
  layout: X86_64_LAYOUT,
  ipi: { sendCycles: 700, deliverCycles: 2000, broadcast: "each" },
  idle: { wakeCycles: 4600 },
  clocksource: { name: "tsc", readCycles: 110, shared: false },
  kernel: { hz: 250, ticketLocks: true, nrCpus: 64, hashdist: false },
  xen: {
    trapCycles: 350,
    updateCycles: 200,
    emulateCycles: 2000,
    validateCycles: 1500,
    eventCycles: 1200,
  },
  sources: [
    ...FAMILY_10H_SOURCES.filter(({ field }) => !OVERRIDDEN.has(field)),
    ...X86_64_SOURCES,
    {
      field: "topology",
      source:
        "chosen: the default machine's CPUs, a virtual CPU on each; one node, as Xen 3.3 tells guests of no other",
    },
    {
      field: "memory.bytesPerNode",
      source: "chosen: 1 GiB, a guest of 2008; nothing here depends on it",
    },
    {
      field: "memory.lineBytes",
      source: `${CPUID_DUMP}: 80000005h ECX 40020140h: 64 bytes`,
    },
    {
      field: "cache.memoryRemoteCycles",
      source: "as opteron-2x4; not used, as there is one node",
    },
    {
      field: "ipi.sendCycles",
      source:
        "chosen: a hypercall (trapCycles, updateCycles) and Xen's write of the interrupt command register; no figure was found",
    },
    {
      field: "ipi.deliverCycles",
      source:
        "chosen: opteron-2x4's 1000 and as much again for Xen's handler and the bounce into the guest; no figure was found",
    },
    {
      field: "ipi.broadcast",
      source:
        "Linux 2.6.28, arch/x86/xen/smp.c: one event channel notification a target",
    },
    {
      field: "idle.wakeCycles",
      source:
        "chosen: opteron-2x4's 1 us and as much again for Xen's scheduler; no figure was found",
    },
    {
      field: "clocksource",
      source:
        "chosen: rdtsc (67 cycles; recalled, not checked: Fog, Instruction tables, AMD K10) and the scaling of Linux 2.6.28's arch/x86/xen/time.c with its version check; 110 cycles",
    },
    {
      field: "kernel",
      source:
        "as opteron-2x4; hashdist off, as there is one node (include/linux/bootmem.h)",
    },
    {
      field: "xen.trapCycles",
      source:
        `chosen: 350, by syscall and sysret with Xen's switch of stacks and check for work; bound from above by 750 cycles (${LAT_SYSCALL})`,
    },
    {
      field: "xen.updateCycles",
      source:
        "chosen: 200 for copying the request, the domain's lock and the type checks of one entry; no figure was found",
    },
    {
      field: "xen.emulateCycles",
      source:
        `chosen: 2000 for a page fault into Xen, decoding, and the check of the entry (ptwr_do_page_fault); more than the bounce of 510 cycles alone (${LAT_SYSCALL}: 0.550 - 0.327 us)`,
    },
    {
      field: "xen.validateCycles",
      source:
        "chosen: three cycles for each of 512 entries that are mostly empty; no figure was found",
    },
    {
      field: "xen.eventCycles",
      source:
        "chosen: half of ipi.deliverCycles and more, as it includes the way; no figure was found",
    },
  ],
};
