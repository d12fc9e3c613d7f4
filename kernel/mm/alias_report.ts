/**
 * Aliases of a frame: every translation of it that is in a page table or in a
 * TLB, and how a report names one.
 *
 * For the checks of whoever cannot live with an alias: change_page_attr(), the
 * hypervisor. Plain; charges nothing; looks at all of vmalloc space and at all
 * TLBs, so not for hot paths.
 */
import {
  printVaddr,
  PROT_LARGE,
  PROT_PCD,
  PROT_PWT,
  PROT_WRITE,
} from "../../arch/hw/pte.ts";
import { symName } from "../../arch/sim/symbol.ts";
import type { Kernel } from "../kernel.ts";
import type { AliasEvent, AliasRecord } from "./alias_log.ts";
import { for_each_pte } from "./pgtable.ts";

/** One translation of a frame. */
export interface Alias {
  /** Address of the page. */
  readonly vaddr: number;
  readonly pfn: number;
  /** `PROT_*` bits, those of the translation itself. */
  readonly prot: number;
  /** CPU whose TLB has it; -1 = it is in the page table. */
  readonly tlbOf: number;
  /** Who made it, and whether it is in use; `null` = not known. */
  readonly record: AliasRecord | null;
}

/**
 * The aliases of `frames`: entries of vmalloc and module space, and what any
 * TLB holds, of the direct map too.
 */
export function find_aliases(k: Kernel, frames: ReadonlySet<number>): Alias[] {
  const found: Alias[] = [];
  const add = (vaddr: number, pfn: number, prot: number, tlbOf: number) => {
    if (!frames.has(pfn)) return;
    const record = k.alias_log?.find(vaddr) ?? null;
    found.push({ vaddr, pfn, prot, tlbOf, record });
  };
  if (k.vmalloc !== undefined) {
    const { start, end, modules } = k.vmalloc;
    const visit = (vaddr: number, pfn: number, prot: number) =>
      add(vaddr, pfn, prot, -1);
    for_each_pte(k, start, end, visit);
    if (modules.start !== start) {
      for_each_pte(k, modules.start, modules.end, visit);
    }
  }
  const { format, tlbs } = k.machine.mmu;
  const pageBytes = 2 ** format.pageShift;
  const large = 2 ** format.largePageBits;
  tlbs.forEach((tlb, cpu) =>
    tlb.forEach((vpn, pfn, prot, place) => {
      if (place !== "large") return add(vpn * pageBytes, pfn, prot, cpu);
      for (const frame of frames) {
        if (frame < pfn || frame >= pfn + large) continue;
        const vaddr = (vpn + frame - pfn) * pageBytes;
        add(vaddr, frame, prot & ~PROT_LARGE, cpu);
      }
    })
  );
  return found;
}

/** Whether `alias` outlives its mapping: unmapped, and still there. */
export function is_lazy_alias(alias: Alias): boolean {
  return alias.record !== null && alias.record.unmapped !== null;
}

/** Memory type that `prot` asks for, by the PAT as Linux 2.6.28 programs it. */
export function memory_type(prot: number): string {
  const bits = prot & (PROT_PCD | PROT_PWT);
  if (bits === 0) return "write-back";
  if (bits === PROT_PWT) return "write-combining";
  return bits === PROT_PCD ? "uncached-minus" : "uncached";
}

/** `alias` in words, a line: where it is, who mapped it, who unmapped it, when. */
export function alias_line(k: Kernel, alias: Alias): string {
  const { vaddr, pfn, prot, tlbOf, record } = alias;
  const access = (prot & PROT_WRITE) !== 0 ? "writable" : "read-only";
  const where = tlbOf < 0 ? "in the page table" : `in the TLB of CPU ${tlbOf}`;
  const at = printVaddr(k.machine.mmu.format, vaddr);
  return `alias ${at} of frame ${pfn.toString(16)}, ${access} ${
    memory_type(prot)
  }, ${where}: ${life(k, record)}`;
}

function life(k: Kernel, record: AliasRecord | null): string {
  if (record === null) return "mapped by an unknown caller";
  const { mapped, unmapped } = record;
  const since = unmapped === null
    ? "still in use"
    : `unmapped by ${event(k, unmapped)}`;
  return `mapped by ${event(k, mapped)}, ${since}`;
}

function event(k: Kernel, { caller, comm, cpu, atCycles }: AliasEvent): string {
  const stamp = k.printk.stamp(atCycles).replaceAll(/[[\] ]/g, "");
  return `${symName(caller)} (${comm}, CPU ${cpu}) at ${stamp}`;
}
