/** What programs do before vmalloc_init(). */
import { VM_ALLOC, VmStruct } from "../../kernel/mm/vm_struct.ts";
import {
  vm_area_add_early,
  vm_unmap_aliases,
} from "../../kernel/mm/vmalloc.ts";
import type { Thread } from "../../kernel/thread.ts";
import type { TaskFunction } from "../explore/machine.ts";
import { CallKind, EIGHTHS, type Program } from "./call.ts";

/**
 * What the early calls of `program` do: for {@linkcode ExploreMachine}'s
 * `early`. An area that would lie on another is left out.
 */
export function earlyFunction({ early }: Program): TaskFunction | undefined {
  if (early.length === 0) return undefined;
  return function* (t: Thread) {
    const taken = new Set<number>();
    for (const { kind, slot, n } of early) {
      if (kind === CallKind.FLUSH) yield* vm_unmap_aliases(t);
      else if (!taken.has(slot)) {
        taken.add(slot);
        add_early_area(t, slot, n);
      }
    }
  };
}

function add_early_area(t: Thread, eighth: number, n: number): void {
  const range = t.k.vmalloc_range;
  if (range === null) return;
  const { pageBytes } = t.machine.memory;
  const pages = Math.floor((range.end - range.start) / pageBytes / EIGHTHS);
  const count = Math.min(n, pages - 1);
  if (count < 1) return;
  const vm = new VmStruct();
  vm.reset(VM_ALLOC, (count + 1) * pageBytes, 0);
  vm.addr = range.start + eighth * pages * pageBytes;
  vm_area_add_early(t, vm);
}
