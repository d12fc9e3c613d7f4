/**
 * What hardware would not forgive and does not report: mappings of one frame
 * that disagree in their memory type, and a way to write to a page that was
 * made read-only. Looked for after every change of attributes. Plain; charges
 * nothing.
 */
import { PROT_PCD, PROT_PWT, PROT_WRITE } from "../../arch/hw/pte.ts";
import { BUG } from "../bug.ts";
import { KERN_ERR, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import {
  type Alias,
  alias_line,
  find_aliases,
  is_lazy_alias,
  memory_type,
} from "./alias_report.ts";

const TYPE = PROT_PCD | PROT_PWT;
/** Aliases that a report names. */
const MAX_NAMED = 4;

/**
 * Ends the run if a frame of `frames` has an alias that does not go with its
 * new protection.
 *
 * @param frames New `PROT_*` bits of each frame that was changed.
 * @param since Cycle at which the change began: what was unmapped later was not
 * its to get rid of.
 * @param readOnly Whether writing was taken away.
 */
export function check_aliases(
  t: Thread,
  frames: ReadonlyMap<number, number>,
  since: number,
  readOnly: boolean,
): void {
  const bad = find_aliases(t.k, new Set(frames.keys())).filter((alias) =>
    !isYounger(alias, since) &&
    (isOtherType(alias, frames) || (readOnly && isWayIn(alias)))
  );
  if (bad.length === 0) return;
  const [first] = bad;
  const { pageBytes } = t.machine.memory;
  const start = first.pfn * pageBytes;
  const range = `${hex(start)}-${hex(start + pageBytes)}`;
  const conflict = isOtherType(first, frames);
  const what = conflict
    ? `conflicting memory types ${range} ${memory_type(first.prot)}<->${
      memory_type(frames.get(first.pfn)!)
    }`
    : `read-only memory ${range} can be written`;
  printk(t, KERN_ERR, `${t.task.name}:${t.task.pid} ${what}`);
  for (const alias of bad.slice(0, MAX_NAMED)) {
    printk(t, KERN_ERR, alias_line(t.k, alias));
  }
  BUG(t, `${what}: ${alias_line(t.k, first)}`);
}

function isYounger({ record }: Alias, since: number): boolean {
  return record !== null && record.unmapped !== null &&
    record.unmapped.atCycles > since;
}

function isOtherType(
  { pfn, prot }: Alias,
  frames: ReadonlyMap<number, number>,
): boolean {
  return ((prot ^ frames.get(pfn)!) & TYPE) !== 0;
}

/** A writable alias that nobody owns any more; one in use is its owner's affair. */
function isWayIn(alias: Alias): boolean {
  if ((alias.prot & PROT_WRITE) === 0) return false;
  return is_lazy_alias(alias) || (alias.tlbOf >= 0 && alias.record === null);
}

function hex(n: number): string {
  return n.toString(16);
}
