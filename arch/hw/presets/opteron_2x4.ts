/**
 * The default machine: two sockets of four cores, AMD Family 10h ("Barcelona")
 * at 2.3 GHz, as the two-socket eight-core Opteron of the patch may have been.
 *
 * Cycle counts that come from outside the core were measured by others at
 * 2.0 GHz and are scaled by 2.3 / 2.0: the north bridge and the links do not
 * run on the core clock.
 */

import type { MachineSpec, Source } from "../spec.ts";

const COREY =
  "Boyd-Wickizer et al., Corey: An Operating System for Many Cores, OSDI 2008, figure of the 16-core AMD machine (2.0 GHz Family 10h)";
const FAMILY_10H =
  "AMD, Software Optimization Guide for Family 10h and 12h Processors (40546), appendix A, translation-lookaside buffers";
const FLUSHES =
  "Molnar and Hansen, linux-mm, June 2015, thread 'TLB flush multiple pages per IPI v5': in-kernel measurements on Intel CPUs";
const LINUX = "Linux 2.6.28";

/** Values that name nothing measured: they describe Linux, and hold for every x86-64 preset of 2.6.28. */
export const X86_64_LAYOUT: MachineSpec["layout"] = {
  directMapStart: "0x880000000000",
  vmallocStart: "0xc20000000000",
  vmallocEnd: "0xe1ffffffffff",
  modulesStart: "0xffffa0000000",
  modulesEnd: "0xffffff000000",
};

/** Sources of {@linkcode X86_64_LAYOUT} and the paging format. */
export const X86_64_SOURCES: readonly Source[] = [
  {
    field: "paging",
    source:
      "AMD64 Architecture Programmer's Manual vol. 2, section 5.3: 4 KiB pages, four levels",
  },
  {
    field: "layout",
    source:
      `${LINUX}, Documentation/x86/x86_64/mm.txt and asm-x86/pgtable_64.h: end of vmalloc is written ffffe1ffffffffff and compared as exclusive`,
  },
];

/** Constants of one Family 10h core and its links, shared by the machines derived from it. */
export const FAMILY_10H_CORE: Pick<
  MachineSpec,
  | "clockHz"
  | "cyclesPerInstruction"
  | "cache"
  | "atomic"
  | "tlb"
  | "ipi"
  | "irq"
  | "idle"
  | "clocksource"
> = {
  clockHz: 2_300_000_000,
  cyclesPerInstruction: 1.5,
  cache: {
    hitCycles: 3,
    sameSocketCycles: 139,
    otherSocketCycles: 282,
    memoryLocalCycles: 231,
    memoryRemoteCycles: 293,
  },
  atomic: { lockedCycles: 27 },
  tlb: {
    l1: { entries: 48, ways: 48 },
    l2: { entries: 512, ways: 4 },
    large: { entries: 128, ways: 2 },
    l2HitCycles: 5,
    walkCycles: 20,
    walkCachesUpper: true,
    invlpgCycles: 240,
    flushCycles: 250,
    flushGlobalCycles: 830,
  },
  ipi: { sendCycles: 200, deliverCycles: 1000, broadcast: "mask" },
  irq: { entryCycles: 500, exitCycles: 300, ackCycles: 60 },
  idle: { wakeCycles: 2300 },
  clocksource: { name: "hpet", readCycles: 2760, shared: true },
};

/** Sources of {@linkcode FAMILY_10H_CORE}, by field. */
export const FAMILY_10H_SOURCES: readonly Source[] = [
  {
    field: "clockHz",
    source: "AMD, Opteron 2356 product data (2007): 2.3 GHz",
  },
  {
    field: "cyclesPerInstruction",
    source: "fitted: one-thread row of the patch's table",
  },
  { field: "cache.hitCycles", source: `${COREY}: L1 3 cycles` },
  {
    field: "cache.sameSocketCycles",
    source:
      `${COREY}: L1 or L2 of another core on the chip 121 cycles, scaled to 2.3 GHz`,
  },
  {
    field: "cache.otherSocketCycles",
    source:
      `${COREY}: cache on another chip, one hop, 245 cycles, scaled to 2.3 GHz. chosen: one hop is reported as 245 and 255`,
  },
  {
    field: "cache.memoryLocalCycles",
    source: `${COREY}: local DRAM 201 cycles, scaled to 2.3 GHz`,
  },
  {
    field: "cache.memoryRemoteCycles",
    source:
      `${COREY}: DRAM one hop away 255 cycles, scaled to 2.3 GHz; cf. Conway and Hughes, The AMD Opteron Northbridge Architecture, IEEE Micro 27(2), 2007`,
  },
  {
    field: "atomic.lockedCycles",
    source:
      "David, Guerraoui and Trigonakis, Everything You Always Wanted to Know About Synchronization but Were Afraid to Ask, SOSP 2013, latency table, Opteron (Family 10h): CAS, FAI, TAS on a modified line 110 cycles against 83 for a store",
  },
  {
    field: "tlb.l1",
    source: `${FAMILY_10H}: 48 entries, fully associative, any page size`,
  },
  {
    field: "tlb.l2",
    source: `${FAMILY_10H}: 512 entries, 4-way, 4 KiB pages`,
  },
  {
    field: "tlb.large",
    source:
      `${FAMILY_10H}: L2 DTLB, 128 entries, 2-way, 2 MiB pages (the L1 entries that 2 MiB pages share with 4 KiB ones are left to the latter)`,
  },
  {
    field: "tlb.l2HitCycles",
    source:
      "iXBT Labs, Detailed Platform Analysis in RightMark Memory Analyzer, part 15: AMD Phenom X4. chosen: near the 5 cycles of K8",
  },
  {
    field: "tlb.walkCycles",
    source:
      "chosen: between 10 and 35 cycles, what L2 TLB misses of K8 and K10 cost beyond the cached table read (iXBT Labs, RightMark parts on K8 and K10)",
  },
  {
    field: "tlb.walkCachesUpper",
    source:
      "Bhargava et al., Accelerating Two-Dimensional Page Walks for Virtualized Systems, ASPLOS 2008: page walk cache of the Family 10h Opteron",
  },
  {
    field: "tlb.invlpgCycles",
    source:
      `${FLUSHES}: __flush_tlb_one 216 to 260 cycles; Molnar says AMD's is as slow. chosen: middle`,
  },
  {
    field: "tlb.flushCycles",
    source:
      `${FLUSHES}: __flush_tlb 96 to 251 cycles. chosen: upper end, for a 2007 core`,
  },
  {
    field: "tlb.flushGlobalCycles",
    source:
      `${FLUSHES}: __flush_tlb_global 746 to 960 cycles (two writes of CR4). chosen: the 2010 Westmere's, 828, the oldest CPU measured`,
  },
  {
    field: "ipi.sendCycles",
    source:
      "chosen: between 100 and 400 cycles for the uncached ICR read and write (AMD64 APM vol. 2, section 16.5; memory-mapped APIC, no x2APIC)",
  },
  {
    field: "ipi.deliverCycles",
    source:
      "chosen: 1000, within 500 to 2000 cycles; Amit, Optimizing the TLB Shootdown Algorithm with Page Access Tracking, USENIX ATC 2017, puts whole shootdowns at microseconds",
  },
  {
    field: "ipi.broadcast",
    source:
      `${LINUX}, arch/x86/kernel/genapic_flat_64.c: flat logical mode addresses up to 8 CPUs by one mask`,
  },
  {
    field: "irq.entryCycles",
    source:
      "Baumann et al., The Multikernel, SOSP 2009, section 5.1: trap about 800 cycles on these Opterons. chosen: 500 of them on entry",
  },
  {
    field: "irq.exitCycles",
    source:
      "Baumann et al., The Multikernel, SOSP 2009, section 5.1: trap about 800 cycles on these Opterons. chosen: 300 of them on exit",
  },
  {
    field: "irq.ackCycles",
    source:
      "chosen: between 30 and 100 cycles, an uncached write inside the core (AMD64 APM vol. 2, section 16.2)",
  },
  {
    field: "idle.wakeCycles",
    source:
      "Schoene, Molka and Werner, Wake-up Latencies for Processor Idle States on Current x86 Processors, Computer Science - Research and Development 30, 2015: C1 about 1 us. chosen: 1 us, within 0.5 to 2",
  },
  {
    field: "clocksource",
    source:
      "Red Hat Enterprise MRG / RHEL for Real Time, reference guide, comparing the cost of reading hardware clock sources: 10 million reads in 0.60 s (tsc), 12.26 s (hpet), 24.46 s (acpi_pm), so 1.2 us; Linux 2.6.28 unsynchronized_tsc() distrusts the TSC of multi-socket AMD machines",
  },
];

/** Two sockets of four Family 10h cores; the default machine. */
export const opteron2x4: MachineSpec = {
  name: "opteron-2x4",
  description: "two-socket, eight-core AMD Opteron 2356, 2.3 GHz, 8 GiB (2008)",
  ...FAMILY_10H_CORE,
  topology: { sockets: 2, coresPerSocket: 4, nodes: 2 },
  memory: { bytesPerNode: 4 * 2 ** 30, lineBytes: 64 },
  paging: { format: "x86-64", pageShift: 12 },
  layout: X86_64_LAYOUT,
  kernel: { hz: 250, ticketLocks: true, nrCpus: 64, hashdist: true },
  sources: [
    ...FAMILY_10H_SOURCES,
    ...X86_64_SOURCES,
    {
      field: "topology",
      source:
        "Piggin, mm: rewrite vmap layer (db64fe02258f): two-socket, eight-core Opteron; a node a socket",
    },
    {
      field: "memory.bytesPerNode",
      source:
        "chosen: 4 GiB a socket, usual in 2008; nothing here depends on it",
    },
    {
      field: "memory.lineBytes",
      source:
        "AMD, Software Optimization Guide for Family 10h and 12h Processors (40546), section 5: 64 bytes",
    },
    {
      field: "kernel.hz",
      source: `${LINUX}, kernel/Kconfig.hz: default HZ_250`,
    },
    {
      field: "kernel.ticketLocks",
      source: "Linux 2.6.25, asm-x86/spinlock.h (314cdbefd1fd)",
    },
    {
      field: "kernel.nrCpus",
      source:
        "chosen: 64, what distributions built for; vmap blocks have 1024 pages for any value up to 2048",
    },
    {
      field: "kernel.hashdist",
      source: `${LINUX}, include/linux/bootmem.h: on for NUMA x86-64 and ia64`,
    },
  ],
};
