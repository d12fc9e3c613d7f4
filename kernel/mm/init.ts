/**
 * The kernel's first page tables: `init_mm` and the direct map of memory
 * (arch/x86/mm/init_64.c, init_memory_mapping()).
 *
 * Context: boot, one CPU, before the page allocator: tables come from bootmem,
 * and nobody is there to take a lock against.
 *
 * Left out: the map of the kernel's own text, which nothing here runs from; on
 * ia64 the direct map too, since region 7 needs no tables.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import {
  PAGE_KERNEL,
  PAGE_KERNEL_LARGE,
  parseVaddr,
  type PtePair,
} from "../../arch/hw/pte.ts";
import type { Thread } from "../thread.ts";
import { DONE } from "../../arch/sim/ready.ts";
import { alloc_bootmem_pages } from "./bootmem.ts";
import { MmStruct, populate } from "./pgtable.ts";

const INIT_MEMORY_MAPPING = ksym("init_memory_mapping");

/**
 * Makes `init_mm`, maps all low memory at the direct map's address, by large
 * pages where they fit, and loads the root table into every CPU. Nobody runs
 * meanwhile.
 */
export function init_memory_mapping(t: Thread): Steps {
  enter(t, INIT_MEMORY_MAPPING);
  const k = t.k;
  const { machine } = k;
  const { memory, mmu } = machine;
  const { format } = mmu;
  const pgd = alloc_table(t);
  k.init_mm = new MmStruct(k, pgd);
  if (format.identityStart === Infinity) {
    const start = parseVaddr(format, machine.spec.layout.directMapStart);
    const large = 2 ** format.largePageBits;
    const end = k.bootmem.max_low_pfn;
    for (let pfn = 0; pfn < end;) {
      // Xen lets no guest use large pages.
      const fits = machine.xen === null && format.largePageBits > 0 &&
        pfn + large <= end;
      const vaddr = start + pfn * memory.pageBytes;
      if (fits) map_boot(t, vaddr, pfn, PAGE_KERNEL_LARGE, format.largeLevel);
      else map_boot(t, vaddr, pfn, PAGE_KERNEL, format.levels.length - 1);
      pfn += fits ? large : 1;
    }
  }
  for (let cpu = 0; cpu < machine.nrCpus; cpu++) mmu.setRoot(cpu, pgd);
  leave(t);
  return DONE;
}

/** A zeroed frame for a table. @returns Its number. */
function alloc_table(t: Thread): number {
  const { memory } = t.machine;
  const pfn = alloc_bootmem_pages(t, memory.pageBytes);
  memory.zero(pfn);
  return pfn;
}

/** Sets the entry of `vaddr` at `leaf`, adding the tables above it. */
function map_boot(
  t: Thread,
  vaddr: number,
  pfn: number,
  prot: number,
  leaf: number,
): void {
  const { memory, mmu } = t.machine;
  const { format } = mmu;
  const mm = t.k.init_mm;
  const pte: PtePair = { lo: 0, hi: 0 };
  let table = mm.pgd;
  for (let level = 0; level < leaf; level++) {
    const w = format.index(vaddr, level) * 2;
    let words = memory.frame(table).back();
    if ((words[w] | words[w + 1]) === 0) {
      populate(t, mm, vaddr, level, alloc_table(t));
      words = memory.frame(table).back();
    }
    table = format.pfn(words[w], words[w + 1], 0);
  }
  charge(t, 20);
  const w = format.index(vaddr, leaf) * 2;
  format.encode(pfn, prot, pte);
  const words = memory.frame(table).back();
  words[w] = pte.lo;
  words[w + 1] = pte.hi;
}
