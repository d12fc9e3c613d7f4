/**
 * The same silicon under a 32-bit kernel with PAE: 128 MiB of vmalloc space,
 * 4 CPUs, where address space runs out before time does.
 */

import type { MachineSpec } from "../spec.ts";
import {
  CPUID_DUMP,
  FAMILY_10H_CORE,
  FAMILY_10H_SOURCES,
} from "./opteron_2x4.ts";

/** Two sockets of two cores in 32-bit mode, 2 GiB of RAM. */
export const i386_4: MachineSpec = {
  ...FAMILY_10H_CORE,
  name: "i386-4",
  description:
    "32-bit PAE kernel on four Opteron CPUs, 2.3 GHz, 2 GiB, 128 MiB vmalloc reserve (2008)",
  topology: { sockets: 2, coresPerSocket: 2, nodes: 1 },
  memory: { bytesPerNode: 2 * 2 ** 30, lineBytes: 64 },
  paging: { format: "i386-pae", pageShift: 12 },
  layout: {
    directMapStart: "0xc0000000",
    vmallocStart: "0xf8800000",
    vmallocEnd: "0xff9fe000",
    modulesStart: "0xf8800000",
    modulesEnd: "0xff9fe000",
  },
  kernel: { hz: 250, ticketLocks: true, nrCpus: 8, hashdist: false },
  sources: [
    ...FAMILY_10H_SOURCES,
    {
      field: "topology",
      source:
        "chosen: 4 CPUs over two sockets; a 32-bit distribution kernel of 2008 had no NUMA",
    },
    {
      field: "memory.bytesPerNode",
      source: "chosen: 2 GiB, 896 MiB of it low memory, the rest high memory",
    },
    {
      field: "memory.lineBytes",
      source: `${CPUID_DUMP}: 80000005h ECX 40020140h: 64 bytes`,
    },
    {
      field: "paging",
      source:
        "recalled, not checked: AMD64 Architecture Programmer's Manual vol. 2, section 5.2.3: PAE, 4 KiB pages",
    },
    {
      field: "layout",
      source:
        "Linux, include/asm-x86/pgtable_32.h as of 01eb7858c017 (2008): vmalloc starts 8 MiB above low memory, ends two pages below PKMAP_BASE, which is aligned to 2 MiB and has 512 pages under PAE. recalled, not checked: 896 MiB of low memory (__VMALLOC_RESERVE is 128 MiB), where the fixmap starts, modules in vmalloc space",
    },
    {
      field: "kernel.hz",
      source:
        "Linux 2.6.28, kernel/Kconfig.hz: default HZ_250 (checked from 2.6.13 on)",
    },
    {
      field: "kernel.ticketLocks",
      source:
        "recalled, not checked: Linux 2.6.25, asm-x86/spinlock.h (314cdbefd1fd)",
    },
    {
      field: "kernel.nrCpus",
      source:
        "recalled, not checked: Linux 2.6.28, arch/x86/Kconfig: NR_CPUS defaults to 8",
    },
    {
      field: "kernel.hashdist",
      source:
        "Linux 2.6.28, include/linux/bootmem.h: HASHDIST_DEFAULT off but on NUMA x86-64 and ia64",
    },
  ],
};
