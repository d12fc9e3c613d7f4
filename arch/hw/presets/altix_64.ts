/**
 * The machine of the XFS profile: an SGI Altix 3700 (SN2) of 64 Itanium 2
 * processors at 1.5 GHz, two to a front-side bus and hub (SHub), two hubs to a
 * brick, bricks joined by NUMAlink routers.
 *
 * A socket here is a hub with its two processors: what one bus is away is "the
 * same socket", everything else is one average distance away, whatever the
 * number of routers between. The average is of 64 CPUs; a machine of more CPUs
 * would be a little wider.
 *
 * How far a line is, in ns: 145 of memory behind the own hub. Another hub's
 * memory is 290 away from within the brick, and 50 for each router further: 340
 * for the 6 hubs at the same router, 440 for the 24 that are two routers up and
 * down the tree. Mean of these 31: 416, 271 of them in the network. A line that
 * another hub's processor holds takes three such legs, to its home, to the
 * holder, to the asker, where memory takes two: 145 + 1.5 * 271 = 552. Cycles are
 * these times at 1.5 GHz.
 */

import type { MachineSpec } from "../spec.ts";

const TAMU =
  "Texas A&M Supercomputing Facility, hardware of cosmos, an Altix 3700 of 128 CPUs at 1.3 GHz (sc.tamu.edu/systems/cosmos/hardware.shtml)";
const C_BRICK =
  "SGI Altix 3000 C-Brick Block Diagram and Specifications (Linux Journal, article 6440, sidebar 1)";
const LATENCY =
  "recalled, not checked: Woodacre, Robb, Roe and Feind, The SGI Altix 3000 Global Shared-Memory Architecture, SGI 2003: local memory 145 ns, from the other hub of the brick 290 ns";
const ROUTER =
  "SGI, NUMAlink Interconnect Fabric (sgi.com/products/servers/altix/numalink.html): 50 ns for the round trip across a switch";
const ITANIUM_2 = "7-cpu.com, Intel Itanium 2 (Madison, 1.3 GHz)";
const SN2_CONFIG =
  "Linux, arch/ia64/configs/sn2_defconfig as of 2.6.15-rc4 (0a0fc0ddbe73)";
const NO_FIGURE = "No figure for this machine was found";

/** 32 nodes of two Itanium 2 under an SN2 kernel. */
export const altix64: MachineSpec = {
  name: "altix-64",
  description:
    "64-CPU SGI Altix 3700 (SN2), Itanium 2, 1.5 GHz, 32 nodes, 128 GiB, ia64 kernel (2003)",
  clockHz: 1_500_000_000,
  cyclesPerInstruction: 1.6,
  topology: { sockets: 32, coresPerSocket: 2, nodes: 32 },
  memory: { bytesPerNode: 4 * 2 ** 30, lineBytes: 128 },
  paging: { format: "ia64-16k", pageShift: 14 },
  layout: {
    directMapStart: "0x800000000000",
    vmallocStart: "0x200000000",
    vmallocEnd: "0x800000000000",
    modulesStart: "0x200000000",
    modulesEnd: "0x800000000000",
  },
  cache: {
    hitCycles: 5,
    sameSocketCycles: 218,
    otherSocketCycles: 828,
    memoryLocalCycles: 218,
    memoryRemoteCycles: 624,
    queuedShare: 0.75,
    jitterCycles: 75,
    homeBusyCycles: 60,
  },
  atomic: { lockedCycles: 6 },
  tlb: {
    l1: { entries: 32, ways: 32 },
    l2: { entries: 128, ways: 128 },
    large: { entries: 32, ways: 32 },
    l2HitCycles: 4,
    walkCycles: 10,
    walkCachesUpper: true,
    invlpgCycles: 40,
    flushCycles: 120,
    flushGlobalCycles: 120,
  },
  ipi: { sendCycles: 100, deliverCycles: 400, broadcast: "each" },
  irq: { entryCycles: 300, exitCycles: 300, ackCycles: 60 },
  idle: { wakeCycles: 1500 },
  clocksource: { name: "rtc", readCycles: 218, shared: false },
  kernel: { hz: 250, ticketLocks: false, nrCpus: 1024, hashdist: true },
  sources: [
    {
      field: "clockHz",
      source:
        "chosen: 1.5 GHz, the fastest Itanium 2 of the Altix 3700 (2003); which one the machine of the patch had is not known",
    },
    {
      field: "cyclesPerInstruction",
      source:
        "chosen: 1.6: charges count x86-64 instructions, and those are taken to be work that takes a 1.5 GHz Itanium 2 longer than a 2.3 GHz Opteron as SPECint2000 says: AnandTech, article 2022 (2006), page 4: Opteron 1837 at 2.8 GHz, Itanium 2 1502 at 1.66 GHz, scaled by their clocks 1509 and 1352; of opteron-2x4's 2.2 cycles, which are fitted, 0.957 ns become 1.068 ns. Kernel code is compiled worse for Itanium than SPEC's (Gray et al., Itanium: A System Implementor's Tale, USENIX 2005), so this is a lower bound",
    },
    {
      field: "topology",
      source:
        `${C_BRICK}: two processors on each hub's front-side bus, two hubs a brick. 64 CPUs: the patch`,
    },
    {
      field: "memory.bytesPerNode",
      source: `${TAMU}: 4 GB a node; nothing here depends on it`,
    },
    {
      field: "memory.lineBytes",
      source: `${TAMU}: L2 and L3, 128 bytes`,
    },
    {
      field: "paging",
      source:
        `${SN2_CONFIG}: 16 KiB pages. Three levels of tables; that configuration has four (CONFIG_PGTABLE_4), of which the upper ones never change`,
    },
    {
      field: "layout",
      source:
        "recalled, not checked: Linux, include/asm-ia64/pgtable.h: VMALLOC_START a000000200000000, VMALLOC_END a000000000000000 + 2^(4 * PAGE_SHIFT - 9), less a virtual page map that is left out here; modules by vmalloc(). Memory lies at e000000000000000 without SN2's node numbers and address-space bits",
    },
    {
      field: "cache.hitCycles",
      source:
        `${TAMU}: L2 5 cycles (L1 1: 16 KiB that stores write through and atomics pass by)`,
    },
    {
      field: "cache.sameSocketCycles",
      source:
        `chosen: as local memory: both are one transaction of the front-side bus. ${NO_FIGURE}`,
    },
    {
      field: "cache.otherSocketCycles",
      source:
        `chosen: 552 ns, three legs through the network where memory takes two (file's head), from ${LATENCY}. ${NO_FIGURE}`,
    },
    {
      field: "cache.memoryLocalCycles",
      source:
        `${LATENCY}. Between 132 ns with the next hub, SHub 2 (Wikipedia, Itanium, chipsets), and 160 ns of an HP rx2600 (${ITANIUM_2})`,
    },
    {
      field: "cache.memoryRemoteCycles",
      source:
        `chosen: 416 ns, mean over the other 31 nodes (file's head). ${LATENCY}; ${ROUTER}, and ${TAMU}: 50 ns a router, routers of 8 ports in a fat tree of two planes, at most 5 hops among 128 CPUs. chosen: 4 bricks at a router, 3 routers to the others`,
    },
    {
      field: "cache.queuedShare",
      source:
        `chosen: 0.75: what is left of 552 ns without the first of three legs, the way to the home: 416. ${NO_FIGURE}`,
    },
    {
      field: "cache.jitterCycles",
      source: `chosen: 75, one router: ${ROUTER}`,
    },
    {
      field: "cache.homeBusyCycles",
      source:
        `chosen: 60, 40 ns, in which a line of 128 bytes leaves the home: ${C_BRICK}: 6.4 GB/s aggregate interconnect bandwidth a node, half of it outwards`,
    },
    {
      field: "atomic.lockedCycles",
      source:
        "chosen: 6: recalled, not checked: Intel, Itanium 2 Processor Reference Manual for Software Development and Optimization (251110): semaphore instructions are done in L2, about 11 cycles with its 5",
    },
    {
      field: "tlb.l1",
      source:
        `${ITANIUM_2}: first data TLB, 32 entries, fully associative (for 4 KiB of a page each; here for all of it)`,
    },
    {
      field: "tlb.l2",
      source:
        `${ITANIUM_2}: second data TLB, 128 entries, fully associative, for pages of any size`,
    },
    {
      field: "tlb.large",
      source:
        "chosen: 32 entries for granules of 16 MiB, beside the 128 that they share with pages in fact",
    },
    {
      field: "tlb.l2HitCycles",
      source:
        `${ITANIUM_2}: 4 cycles for a miss of the first TLB that hits the second`,
    },
    {
      field: "tlb.walkCycles",
      source:
        `${ITANIUM_2}: 15 cycles for the VHPT walker with the entry in L2, less the 5 of that hit. A granule's miss takes a handler of 23 (Chen, [IA64] relax per-cpu TLB requirement to DTC, 00b65985fb2f), here as much as a page's`,
    },
    {
      field: "tlb.walkCachesUpper",
      source:
        "recalled, not checked: Intel, Itanium Architecture SDM vol. 2, section 4.1.5: the short-format VHPT is the last level of tables as a linear array, found by one translation",
    },
    {
      field: "tlb.invlpgCycles",
      source: `chosen: 40, ptc.l and a serialization. ${NO_FIGURE}`,
    },
    {
      field: "tlb.flushCycles",
      source:
        `chosen: 120, within 50 to 300 cycles: ptc.e, once on Itanium 2 (recalled, not checked: PAL_PTCE_INFO), and a serialization. ${NO_FIGURE}`,
    },
    {
      field: "tlb.flushGlobalCycles",
      source:
        `chosen: as tlb.flushCycles: ptc.e purges every translation that is not pinned. ${NO_FIGURE}`,
    },
    {
      field: "ipi.sendCycles",
      source:
        `chosen: 100, 67 ns, in which the front-side bus takes an uncached write, which is not waited for. ${NO_FIGURE}`,
    },
    {
      field: "ipi.deliverCycles",
      source:
        `chosen: 400, 267 ns: half of the way to remote memory and back, 208 ns, and a transaction of the target's bus. ${NO_FIGURE}`,
    },
    {
      field: "ipi.broadcast",
      source:
        "Linux, arch/ia64/sn/kernel/sn2/sn2_smp.c, sn_send_IPI_phys(): one register write for one processor",
    },
    {
      field: "irq.entryCycles",
      source:
        "chosen: 300 of 600 for entry and exit: more than the 433 cycles of a whole system call by the short way (FreeBSD wiki, ia64/SystemCalls), as an interrupt saves every scratch register",
    },
    {
      field: "irq.exitCycles",
      source: "chosen: 300, as irq.entryCycles",
    },
    {
      field: "irq.ackCycles",
      source:
        `chosen: 60, a read of cr.ivr and writes of cr.tpr and cr.eoi with their serializations. ${NO_FIGURE}`,
    },
    {
      field: "idle.wakeCycles",
      source:
        `chosen: 1 us, as opteron-2x4, for the way out of PAL_HALT_LIGHT, a firmware call. ${NO_FIGURE}`,
    },
    {
      field: "clocksource",
      source:
        `chosen: the hub's real-time counter, since the interval counters of an SN2 drift apart (recalled, not checked: Linux, arch/ia64/sn/kernel/sn2/timer.c); a read of a register of the own hub, taken to be as far as its memory. ${NO_FIGURE}`,
    },
    { field: "kernel.hz", source: `${SN2_CONFIG}: CONFIG_HZ=250` },
    {
      field: "kernel.ticketLocks",
      source:
        "Luck, [IA64] implement ticket locks for Itanium, 2c86963b093c (2009, for 2.6.32): none before",
    },
    {
      field: "kernel.nrCpus",
      source: `${SN2_CONFIG}: CONFIG_NR_CPUS=1024`,
    },
    {
      field: "kernel.hashdist",
      source:
        "Linux 2.6.28, include/linux/bootmem.h: HASHDIST_DEFAULT on for NUMA x86-64 and ia64",
    },
  ],
};
