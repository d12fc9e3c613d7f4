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
  "recalled, not checked: Boyd-Wickizer et al., Corey: An Operating System for Many Cores, OSDI 2008, figure of the 16-core AMD machine (2.0 GHz Family 10h)";
/** Register dump of two Family 10h processors, revision B1. */
export const CPUID_DUMP =
  "InstLatx64 (github.com/InstLatx64/InstLatx64), AuthenticAMD0100F21_K10_Barcelona_CPUID.txt";
const INSTRUCTIONS =
  "InstLatx64, AuthenticAMD0100F21_K10_Barcelona_InstLatX64.txt";
/** Read latencies: "Shanghai" is two sockets at 2.4 GHz, "Agena" one at 2.6 GHz. */
const MEMORY =
  "InstLatx64, AuthenticAMD0100F42_K10_Shanghai_MemLatX64.txt and 0100F22_K10_Agena_MemLatX64.txt";
const FLUSHES =
  "recalled, not checked: Molnar and Hansen, linux-mm, June 2015, thread 'TLB flush multiple pages per IPI v5': in-kernel measurements on Intel CPUs";
const MULTIKERNEL =
  "recalled, not checked: Baumann et al., The Multikernel, SOSP 2009, section 5.1";
const PIGGIN =
  "Piggin, '[patch] mm: rewrite vmap layer', linux-mm, 19 August 2008";
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
      "recalled, not checked: AMD64 Architecture Programmer's Manual vol. 2, section 5.3: 4 KiB pages, four levels",
  },
  {
    field: "layout",
    source:
      `${LINUX}, Documentation/x86/x86_64/mm.txt and pgtable_64.h; checked in the patch that moved vmalloc to ffffc90000000000 (for 2.6.31), which shows the values before: ffff880000000000, ffffc20000000000 to ffffe1ffffffffff, ffffffffa0000000 to ffffffffff000000. The end of vmalloc is compared as exclusive`,
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
  cyclesPerInstruction: 2.2,
  cache: {
    hitCycles: 3,
    sameSocketCycles: 139,
    otherSocketCycles: 282,
    memoryLocalCycles: 231,
    memoryRemoteCycles: 293,
    queuedShare: 0.5,
    jitterCycles: 53,
  },
  atomic: { lockedCycles: 18 },
  tlb: {
    l1: { entries: 48, ways: 48 },
    l2: { entries: 512, ways: 4 },
    large: { entries: 128, ways: 2 },
    l2HitCycles: 5,
    walkCycles: 24,
    walkCachesUpper: true,
    invlpgCycles: 240,
    flushCycles: 250,
    flushGlobalCycles: 830,
  },
  ipi: { sendCycles: 200, deliverCycles: 1000, broadcast: "mask" },
  irq: { entryCycles: 500, exitCycles: 300, ackCycles: 60 },
  idle: { wakeCycles: 2300 },
  clocksource: { name: "hpet", readCycles: 1600, shared: true },
};

/** Sources of {@linkcode FAMILY_10H_CORE}, by field. */
export const FAMILY_10H_SOURCES: readonly Source[] = [
  {
    field: "clockHz",
    source:
      "Hering, xen-devel, 13 May 2021: lscpu of a two-socket Opteron 2356: 2300.057 MHz, two nodes of four cores, family 16 model 2",
  },
  {
    field: "cyclesPerInstruction",
    source:
      `fitted: 2.18 to the rewrite's cell of one thread, 2900 ns (${PIGGIN}); rounded to 0.05. Nothing bounds it: it stands for misses in caches and TLBs and for branches, too`,
  },
  {
    field: "cache.hitCycles",
    source: `${INSTRUCTIONS}: load of 32 or 64 bits 3.0 cycles`,
  },
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
    source:
      `${COREY}: local DRAM 201 cycles, scaled to 2.3 GHz. checked against ${MEMORY}: 99.0 ns on Shanghai, 228 cycles of this clock (61 to 81 ns on Agena, which has no other socket to probe)`,
  },
  {
    field: "cache.memoryRemoteCycles",
    source: `${COREY}: DRAM one hop away 255 cycles, scaled to 2.3 GHz`,
  },
  {
    field: "cache.queuedShare",
    source:
      "chosen: 0.5, within 0.41 to 0.63: AnandTech, article 2322 (September 2007), page 4, Cache2Cache on a two-socket Opteron 2350: 152 ns a ping-pong within a socket, 199 ns across. Each has four transfers of one line in a row, two for a store that takes it and two for a load that fetches it: 38 and 50 ns each, 87 and 114 cycles of this clock, of 139 and 282 alone",
  },
  {
    field: "cache.jitterCycles",
    source:
      `chosen: 53, by which ${MEMORY} differ between regular and random access on Shanghai: 99 to 122 ns, 228 to 281 cycles of this clock`,
  },
  {
    field: "atomic.lockedCycles",
    source:
      `${INSTRUCTIONS}: XCHG with memory, which locks, 21 to 22 cycles with its load of 3. Up to 27 elsewhere (recalled, not checked: David, Guerraoui and Trigonakis, Everything You Always Wanted to Know About Synchronization but Were Afraid to Ask, SOSP 2013, Opteron: atomics on a modified line 110 cycles, a store 83)`,
  },
  {
    field: "tlb.l1",
    source:
      `${CPUID_DUMP}: 80000005h EBX FF30FF20h: 48 data entries for 4 KiB pages, fully associative`,
  },
  {
    field: "tlb.l2",
    source:
      `${CPUID_DUMP}: 80000006h EBX 42004200h: 512 data entries for 4 KiB pages, 4-way`,
  },
  {
    field: "tlb.large",
    source:
      `${CPUID_DUMP}: 80000006h EAX 20800000h: L2, 128 data entries for 2 MiB pages, 2-way (the 48 L1 entries that 2 MiB pages share with 4 KiB ones are left to the latter)`,
  },
  {
    field: "tlb.l2HitCycles",
    source:
      `chosen: between 2 and 5 cycles, by which ${MEMORY} rise at a 4 KiB stride past 48 pages: 15 to 17 in the L2 cache; 51 to 55 (Shanghai) and 63 to 68 (Agena) in L3`,
  },
  {
    field: "tlb.walkCycles",
    source:
      `chosen: 24 beside the last table's read; ${MEMORY} rise by 22 to 30 cycles over an L2 TLB hit where pages no longer fit that TLB: 55 to 79 or 85 (Shanghai), 68 to 90 and 70 to 97 (Agena)`,
  },
  {
    field: "tlb.walkCachesUpper",
    source:
      "recalled, not checked: Bhargava et al., Accelerating Two-Dimensional Page Walks for Virtualized Systems, ASPLOS 2008: page walk cache of the Family 10h Opteron",
  },
  {
    field: "tlb.invlpgCycles",
    source:
      `chosen: middle of 216 to 260 cycles (${FLUSHES}: __flush_tlb_one; Molnar says AMD's is as slow). Shi, LKML, May 2012 (x86/flush_tlb), reckons with 100 to 140 ns on Intel. No figure for Family 10h was found`,
  },
  {
    field: "tlb.flushCycles",
    source:
      `chosen: upper end of 96 to 251 cycles (${FLUSHES}: __flush_tlb), for a 2007 core. No figure for Family 10h was found`,
  },
  {
    field: "tlb.flushGlobalCycles",
    source:
      `chosen: 828 cycles of the 2010 Westmere, the oldest CPU of 746 to 960 (${FLUSHES}: __flush_tlb_global, two writes of CR4). No figure for Family 10h was found`,
  },
  {
    field: "ipi.sendCycles",
    source:
      "chosen: between 100 and 400 cycles for the uncached writes of both halves of the ICR after a read of its status (memory-mapped APIC). No figure for Family 10h was found",
  },
  {
    field: "ipi.deliverCycles",
    source:
      `chosen: 1000, within 500 to 2000 cycles; no figure for Family 10h was found. Bound from above: vanilla at one thread, 14.7 us a round with one flush by IPI in it, against 2.9 us without (${PIGGIN})`,
  },
  {
    field: "ipi.broadcast",
    source:
      "Linux, arch/x86/kernel/genapic_flat_64.c as of 1bd9d6b64e14 (2008): flat logical mode sends to a mask with one write; physical mode, a write a target, above 8 CPUs on AMD",
  },
  {
    field: "irq.entryCycles",
    source:
      `chosen: 500 on entry, of a trap of about 800 cycles on these Opterons (${MULTIKERNEL})`,
  },
  {
    field: "irq.exitCycles",
    source:
      `chosen: 300 on exit, of a trap of about 800 cycles on these Opterons (${MULTIKERNEL})`,
  },
  {
    field: "irq.ackCycles",
    source:
      "chosen: between 30 and 100 cycles, an uncached write inside the core. No figure was found",
  },
  {
    field: "idle.wakeCycles",
    source:
      "chosen: 1 us, within 0.5 to 2 (recalled, not checked: Schoene, Molka and Werner, Wake-up Latencies for Processor Idle States on Current x86 Processors, Computer Science - Research and Development 30, 2015: C1 about 1 us, on later CPUs)",
  },
  {
    field: "clocksource",
    source:
      `fitted: 1602 cycles, 0.70 us, to vanilla's cell of one thread, 14700 ns (${PIGGIN}); rounded to 10; within 0.5 us (Intel) and 1.5 us (AMD) a read of the HPET, a round trip to the southbridge (Vandrovec and Ladisch, LKML, 19 October 2005). chosen: HPET, as on a machine whose TSCs failed the boot-time check; else Linux of 2008 takes the TSC where CPUID 80000007h EDX bit 8 is set (unsynchronized_tsc(), arch/x86/kernel/tsc_64.c as of 0ef95533326a), and Barcelona sets it (InstLatx64: 1F9h). recalled, not checked: RHEL for Real Time reference guide, timestamping: 10 million reads in 12.26 s (hpet), 24.46 s (acpi_pm); its 0.60 s (tsc) is checked`,
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
      source: `${PIGGIN}: 4 core, 2 socket opteron; a node a socket`,
    },
    {
      field: "memory.bytesPerNode",
      source:
        "chosen: 4 GiB a socket, usual in 2008; nothing here depends on it",
    },
    {
      field: "memory.lineBytes",
      source: `${CPUID_DUMP}: 80000005h ECX 40020140h: 64 bytes`,
    },
    {
      field: "kernel.hz",
      source:
        `${LINUX}, kernel/Kconfig.hz: default HZ_250 (checked from 2.6.13 on)`,
    },
    {
      field: "kernel.ticketLocks",
      source:
        "recalled, not checked: Linux 2.6.25, asm-x86/spinlock.h (314cdbefd1fd)",
    },
    {
      field: "kernel.nrCpus",
      source:
        "chosen: 64, what distributions built for; vmap blocks have 1024 pages for any value up to 2048",
    },
    {
      field: "kernel.hashdist",
      source:
        `${LINUX}, include/linux/bootmem.h: HASHDIST_DEFAULT on for NUMA x86-64 and ia64`,
    },
  ],
};
