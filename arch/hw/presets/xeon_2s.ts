/**
 * A modern two-socket server under the same 2.6.28 kernel: Intel Xeon Platinum
 * 8375C ("Ice Lake-SP", 2021), the one whose core-to-core latencies are public
 * within and across sockets from one measurement.
 *
 * Without hyper-threading, and with all caches of a socket one distance away:
 * the mesh's spread around the median is left out.
 */

import type { MachineSpec } from "../spec.ts";
import { X86_64_LAYOUT, X86_64_SOURCES } from "./opteron_2x4.ts";

const CORE_TO_CORE =
  "Viennot, core-to-core-latency (github.com/nviennot/core-to-core-latency), Xeon Platinum 8375C";
const INTEL_OPTIMIZATION =
  "recalled, not checked: Intel, 64 and IA-32 Architectures Optimization Reference Manual (248966), Ice Lake client microarchitecture";
const FLUSHES =
  "recalled, not checked: Molnar and Hansen, linux-mm, June 2015, thread 'TLB flush multiple pages per IPI v5'";

/** Two sockets of 32 Ice Lake-SP cores. */
export const xeon2s: MachineSpec = {
  name: "xeon-2s",
  description:
    "two-socket, 64-core Intel Xeon Platinum 8375C, 2.9 GHz, 128 GiB (2021)",
  clockHz: 2_900_000_000,
  cyclesPerInstruction: 1.5,
  topology: { sockets: 2, coresPerSocket: 32, nodes: 2 },
  memory: { bytesPerNode: 64 * 2 ** 30, lineBytes: 64 },
  paging: { format: "x86-64", pageShift: 12 },
  layout: X86_64_LAYOUT,
  cache: {
    hitCycles: 5,
    sameSocketCycles: 148,
    otherSocketCycles: 313,
    memoryLocalCycles: 247,
    memoryRemoteCycles: 406,
    queuedShare: 1,
    jitterCycles: 30,
  },
  atomic: { lockedCycles: 18 },
  tlb: {
    l1: { entries: 64, ways: 4 },
    l2: { entries: 2048, ways: 16 },
    large: { entries: 32, ways: 4 },
    l2HitCycles: 7,
    walkCycles: 12,
    walkCachesUpper: true,
    invlpgCycles: 216,
    flushCycles: 124,
    flushGlobalCycles: 960,
  },
  ipi: { sendCycles: 100, deliverCycles: 1500, broadcast: "mask" },
  irq: { entryCycles: 500, exitCycles: 300, ackCycles: 40 },
  idle: { wakeCycles: 2900 },
  clocksource: { name: "tsc", readCycles: 40, shared: false },
  kernel: { hz: 250, ticketLocks: true, nrCpus: 64, hashdist: true },
  sources: [
    ...X86_64_SOURCES,
    {
      field: "clockHz",
      source: `${CORE_TO_CORE}: 2.90 GHz (turbo is left out)`,
    },
    {
      field: "cyclesPerInstruction",
      source:
        "fitted: one-thread row of the patch's table (on opteron-2x4; kept here, an upper bound)",
    },
    {
      field: "topology",
      source: `${CORE_TO_CORE}: 32 cores a socket, dual-socket results`,
    },
    {
      field: "memory.bytesPerNode",
      source:
        "chosen: 64 GiB a socket, half of the cloud instance measured; nothing here depends on it",
    },
    {
      field: "memory.lineBytes",
      source: `${INTEL_OPTIMIZATION}: 64 bytes`,
    },
    {
      field: "cache.hitCycles",
      source: `${INTEL_OPTIMIZATION}: L1 data cache 5 cycles`,
    },
    {
      field: "cache.sameSocketCycles",
      source: `${CORE_TO_CORE}: median 51 ns within a socket`,
    },
    {
      field: "cache.otherSocketCycles",
      source: `${CORE_TO_CORE}: median 108 ns across sockets`,
    },
    {
      field: "cache.memoryLocalCycles",
      source:
        "chosen: 85 ns, within 80 to 90 (recalled, not checked: Intel Memory Latency Checker and AnandTech, Intel 3rd Gen Xeon Scalable review, 2021, on Ice Lake-SP)",
    },
    {
      field: "cache.memoryRemoteCycles",
      source:
        "chosen: 140 ns, within 130 to 150 (recalled, not checked: Intel Memory Latency Checker on two-socket Ice Lake-SP)",
    },
    {
      field: "cache.queuedShare",
      source: `chosen: 1: ${CORE_TO_CORE} measures one request after another`,
    },
    {
      field: "cache.jitterCycles",
      source: "chosen: 30, a tenth of the way between sockets",
    },
    {
      field: "atomic.lockedCycles",
      source:
        "recalled, not checked: Fog, Instruction tables, Intel Ice Lake: locked ADD, XADD, CMPXCHG to memory about 18 cycles",
    },
    {
      field: "tlb.l1",
      source: `${INTEL_OPTIMIZATION}: DTLB for 4 KiB loads, 64 entries, 4-way`,
    },
    {
      field: "tlb.l2",
      source: `${INTEL_OPTIMIZATION}: STLB, 2048 entries, 16-way`,
    },
    {
      field: "tlb.large",
      source:
        `${INTEL_OPTIMIZATION}: DTLB for 2 MiB loads, 32 entries, 4-way (their share of the STLB is left to 4 KiB pages)`,
    },
    {
      field: "tlb.l2HitCycles",
      source:
        "chosen: 7 cycles, within 1 (recalled, not checked: 7-cpu.com, Skylake, STLB hits)",
    },
    {
      field: "tlb.walkCycles",
      source:
        "chosen: between 9 and 26 cycles (recalled, not checked: 7-cpu.com, Skylake, page-walk penalties with cached tables)",
    },
    {
      field: "tlb.walkCachesUpper",
      source:
        "recalled, not checked: Intel, 64 and IA-32 Architectures SDM vol. 3A, section 4.10.3: paging-structure caches",
    },
    {
      field: "tlb.invlpgCycles",
      source: `${FLUSHES}: __flush_tlb_single 216 cycles on a Haswell Xeon`,
    },
    {
      field: "tlb.flushCycles",
      source: `${FLUSHES}: __flush_tlb 124 cycles on a Haswell Xeon`,
    },
    {
      field: "tlb.flushGlobalCycles",
      source: `${FLUSHES}: __flush_tlb_global 960 cycles on a Haswell Xeon`,
    },
    {
      field: "ipi.sendCycles",
      source:
        "chosen: between 50 and 200 cycles for an x2APIC ICR write. No figure was found",
    },
    {
      field: "ipi.deliverCycles",
      source:
        "chosen: 0.5 us on the way, of shootdowns that take microseconds (recalled, not checked: Amit, Optimizing the TLB Shootdown Algorithm with Page Access Tracking, USENIX ATC 2017)",
    },
    {
      field: "ipi.broadcast",
      source:
        "recalled, not checked: Intel, 64 and IA-32 Architectures SDM vol. 3A, section 11.12: x2APIC cluster mode, a write for up to 16 CPUs; taken as one mask",
    },
    {
      field: "irq.entryCycles",
      source: "chosen: as opteron-2x4, within 300 to 800 cycles",
    },
    {
      field: "irq.exitCycles",
      source: "chosen: as opteron-2x4, within 200 to 500 cycles",
    },
    {
      field: "irq.ackCycles",
      source:
        "chosen: between 20 and 60 cycles, one x2APIC register write. No figure was found",
    },
    {
      field: "idle.wakeCycles",
      source:
        "chosen: 1 us, within 1 to 2 (recalled, not checked: Schoene, Molka and Werner, Wake-up Latencies for Processor Idle States on Current x86 Processors, Computer Science - Research and Development 30, 2015: C1 of Intel Xeons)",
    },
    {
      field: "clocksource",
      source:
        "recalled, not checked: Fog, Instruction tables, Intel Ice Lake: rdtsc about 25 cycles, with its fence about 40; the TSC is invariant and synchronized",
    },
    {
      field: "kernel",
      source:
        "as opteron-2x4 (Linux 2.6.28); chosen: NR_CPUS 64, the CPUs present",
    },
  ],
};
