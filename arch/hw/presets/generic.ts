/**
 * A 2008-class x86-64 machine of any size: the Opteron's core and links, more
 * of them.
 *
 * What is extrapolated: every other socket is one average hop away, however
 * many there are. Machines above 8 sockets existed (SGI UV, 2009, with its own
 * hubs) and were slower across; raise `cache.otherSocketCycles` for that.
 */

import type { MachineSpec } from "../spec.ts";
import {
  CPUID_DUMP,
  FAMILY_10H_CORE,
  FAMILY_10H_SOURCES,
  X86_64_LAYOUT,
  X86_64_SOURCES,
} from "./opteron_2x4.ts";

/** Most CPUs of any machine: Linux 2.6.28's largest NR_CPUS (MAXSMP). */
export const MAX_CPUS = 4096;
/** Flat logical APIC mode ends here; above, each target takes its own write. */
const FLAT_MODE_CPUS = 8;

const OVERRIDDEN = new Set([
  "cache.otherSocketCycles",
  "cache.memoryRemoteCycles",
  "ipi.broadcast",
  "clocksource",
]);

/**
 * A machine of `sockets` times `coresPerSocket` CPUs, a node a socket.
 *
 * @throws {RangeError} If that is not 1 to 4096 CPUs.
 *
 * @example
 * ```ts
 * import { boot, cpusOf, generic } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const spec = generic(2, 2);
 * assertEquals(cpusOf(spec), 4);
 * assertEquals(boot({ spec }).kernel.cpu_online.weight, 4);
 * ```
 */
export function generic(sockets = 4, coresPerSocket = 4): MachineSpec {
  const cpus = sockets * coresPerSocket;
  if (
    !(Number.isInteger(sockets) && Number.isInteger(coresPerSocket)) ||
    !(sockets >= 1 && coresPerSocket >= 1 && cpus <= MAX_CPUS)
  ) {
    throw new RangeError(
      `Cannot create a generic machine as sockets * coresPerSocket must be an integer in 1..${MAX_CPUS}: current value is ${sockets} * ${coresPerSocket}`,
    );
  }
  const twoHops = sockets > 2;
  return {
    ...FAMILY_10H_CORE,
    name: "generic",
    description:
      `generic 2008 x86-64, ${sockets} x ${coresPerSocket} CPUs, 2.3 GHz, ${sockets} GiB`,
    topology: { sockets, coresPerSocket, nodes: sockets },
    cache: {
      ...FAMILY_10H_CORE.cache,
      otherSocketCycles: twoHops ? 329 : 282,
      memoryRemoteCycles: twoHops ? 335 : 293,
    },
    ipi: {
      ...FAMILY_10H_CORE.ipi,
      broadcast: cpus <= FLAT_MODE_CPUS ? "mask" : "each",
    },
    clocksource: { name: "tsc", readCycles: 67, shared: false },
    memory: { bytesPerNode: 2 ** 30, lineBytes: 64 },
    paging: { format: "x86-64", pageShift: 12 },
    layout: X86_64_LAYOUT,
    kernel: {
      hz: 250,
      ticketLocks: true,
      nrCpus: Math.max(cpus, 64),
      hashdist: true,
    },
    sources: [
      ...FAMILY_10H_SOURCES.filter(({ field }) => !OVERRIDDEN.has(field)),
      ...X86_64_SOURCES,
      {
        field: "cache.otherSocketCycles",
        source:
          "as opteron-2x4 up to two sockets. chosen above: mean of one hop (245) and two hops (327), scaled to 2.3 GHz (recalled, not checked: Boyd-Wickizer et al., Corey, OSDI 2008)",
      },
      {
        field: "cache.memoryRemoteCycles",
        source:
          "as opteron-2x4 up to two sockets. chosen above: mean of one hop (255) and two hops (327), scaled to 2.3 GHz (recalled, not checked: Boyd-Wickizer et al., Corey, OSDI 2008)",
      },
      {
        field: "ipi.broadcast",
        source:
          "Linux, arch/x86/kernel/genapic_flat_64.c as of 1bd9d6b64e14 (2008): one mask up to 8 CPUs, physical mode with a write a target above",
      },
      {
        field: "clocksource",
        source:
          "chosen: TSC, as on machines whose TSCs agree: an HPET that serves one CPU at a time is overrun by the ticks of some hundred. recalled, not checked: Fog, Instruction tables, AMD K10: RDTSC 67 cycles",
      },
      { field: "topology", source: "chosen: by the caller; a node a socket" },
      {
        field: "memory.bytesPerNode",
        source: "chosen: 1 GiB a node; nothing here depends on it",
      },
      {
        field: "memory.lineBytes",
        source: `${CPUID_DUMP}: 80000005h ECX 40020140h: 64 bytes`,
      },
      {
        field: "kernel",
        source:
          "as opteron-2x4; nrCpus chosen: CPUs present, at least 64 (recalled, not checked: Linux 2.6.28, MAXSMP: at most 4096)",
      },
    ],
  };
}
