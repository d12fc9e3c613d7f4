/** Whether a machine is large enough for the mixed run. */
import type { Kernel } from "../../kernel/kernel.ts";

/** Less vmalloc space than this can run out, as blocks are never taken apart, bytes. */
const MIN_VMALLOC = 100 * 2 ** 20;
/** Less memory does not hold the disk and what is cached of it, bytes. */
const MIN_MEMORY = 128 * 2 ** 20;

/** Why `k` has no room for the mixed run; `null` = it has. */
export function too_small(k: Kernel): string | null {
  const { start, end, page_size } = k.vmalloc;
  if (end - start < MIN_VMALLOC) return lacking("vmalloc space", MIN_VMALLOC);
  const memory = k.bootmem.max_pfn * page_size;
  return memory < MIN_MEMORY ? lacking("memory", MIN_MEMORY) : null;
}

function lacking(what: string, bytes: number): string {
  return `less than ${bytes / 2 ** 20}M of ${what}`;
}
