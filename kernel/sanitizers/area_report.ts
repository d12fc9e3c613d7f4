/**
 * What the reports of the areas sanitizer are made of: addresses, ranges and the
 * history of an area. The headline goes without addresses, so that two reports
 * of one bug have the same; they are in the sections.
 */
import { printVaddr } from "../../arch/hw/pte.ts";
import type { Kernel } from "../kernel.ts";
import type { Thread } from "../thread.ts";
import type { KnownArea } from "./area_book.ts";
import { type ReportSection, SanitizerReport, spotSection } from "./report.ts";

/** Ends the round, with `headline`. */
export function reportArea(
  t: Thread,
  headline: string,
  sections: readonly ReportSection[] = [],
): never {
  throw new SanitizerReport(t, "areas", `BUG: vmap: ${headline}`, sections);
}

/** An address as text. */
export function printAddr(k: Kernel, vaddr: number): string {
  return printVaddr(k.machine.mmu.format, vaddr);
}

/** `[start, end)` as text. */
export function printRange(k: Kernel, start: number, end: number): string {
  return `[${printAddr(k, start)}, ${printAddr(k, end)})`;
}

/** A section for `[start, end)`. */
export function rangeSection(
  k: Kernel,
  start: number,
  end: number,
): ReportSection {
  return { title: "range:", lines: [printRange(k, start, end)] };
}

/** What is known of an area: who took it, and who freed it; `null` = nothing. */
export function historySections(
  k: Kernel,
  known: KnownArea | null,
): ReportSection[] {
  if (known === null) return [];
  const { start, end, inserted, freed } = known;
  const range = printRange(k, start, end);
  const sections = [spotSection(k, `area ${range} taken`, inserted)];
  if (freed !== null) {
    sections.push(spotSection(k, `area ${range} freed`, freed));
  }
  return sections;
}
