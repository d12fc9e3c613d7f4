/** Programs as lines for people, much like C. */
import { printVaddr, type PteFormat } from "../../arch/hw/pte.ts";
import type { Slot } from "./slot.ts";
import {
  type Call,
  CallKind,
  pagesOf,
  type Program,
  usesSlot,
} from "./call.ts";

/** How what a kind of mapping made is given back. */
const FREES: Readonly<Record<number, string>> = {
  [CallKind.VMALLOC]: "vfree",
  [CallKind.VMAP]: "vunmap",
  [CallKind.MAP_RAM]: "vm_unmap_ram",
  [CallKind.BURST]: "vm_unmap_ram",
  [CallKind.AREA]: "free_vm_area",
  [CallKind.RANGE]: "free_vm_area",
};

/**
 * One line for each call, such as `"task 0: s1 = vm_map_ram(2 pages)"`.
 *
 * A slot that several tasks use is said both ways, as it depends on the schedule.
 *
 * @param inUse Slots that hold something when the program starts, and the kind of
 * call that filled each.
 */
export function describeProgram(
  { early, tasks }: Program,
  inUse: ReadonlyMap<number, number> = new Map(),
): string[] {
  const lines = early.map((call) => `early:  ${describeEarly(call)}`);
  const shared = sharedSlots(tasks);
  tasks.forEach((calls, i) => {
    /** Kind of mapping that each slot holds for sure; -1 = none. */
    const held = new Map(inUse);
    for (const call of calls) {
      lines.push(`task ${i}: ${describeCall(call, shared, held)}`);
    }
  });
  return lines;
}

/** Slots of which nobody can say what they hold. */
function sharedSlots(
  tasks: readonly (readonly Call[])[],
): ReadonlySet<number> {
  const users = new Map<number, number>();
  const shared = new Set<number>();
  tasks.forEach((calls, i) => {
    for (const { kind, slot } of calls) {
      if (!usesSlot(kind) || kind === CallKind.READ) continue;
      if ((users.get(slot) ?? i) !== i) shared.add(slot);
      users.set(slot, i);
    }
  });
  return shared;
}

/** What `call` does now, given what its slot holds; ahead of it, so without a result. */
export function describeNow(
  format: PteFormat,
  { mappings }: Slot,
  call: Call,
): string {
  const { kind, n } = call;
  const [first] = mappings;
  if (!usesSlot(kind) || (first === undefined && kind <= CallKind.RANGE)) {
    return describeCall(call, new Set(), new Map()).replace(/^s\d+ = /, "");
  }
  if (first === undefined) return "nothing: the slot is empty";
  const at = printVaddr(format, first.addr);
  switch (kind) {
    case CallKind.TOUCH:
      return `${n % 2 === 0 ? "read" : "write"} at ${at}, page ${n >> 1}`;
    case CallKind.LOOKUP:
      return `find_vm_area(${at})`;
    case CallKind.READ:
      return `vread(${at}, page ${n})`;
  }
  const times = kind === CallKind.FREE_TWICE
    ? ", twice by mistake"
    : mappings.length > 1
    ? ` and ${mappings.length - 1} more`
    : "";
  return `${FREES[first.kind]}(${at}, ${pages(first.count)})${times}`;
}

function describeEarly({ kind, slot, n }: Call): string {
  if (kind === CallKind.FLUSH) return "vm_unmap_aliases()";
  return `vm_area_add_early(${pages(n)} in eighth ${slot} of vmalloc space)`;
}

function describeCall(
  { kind, slot, n }: Call,
  shared: ReadonlySet<number>,
  held: Map<number, number>,
): string {
  const s = `s${slot}`;
  const known = !shared.has(slot);
  const holds = known ? held.get(slot) ?? -1 : -1;
  if (kind <= CallKind.RANGE) {
    const made = describeMapping(kind, n);
    if (!known) return `${s} = ${s} ? free(${s}) : ${made}`;
    held.set(slot, holds < 0 ? kind : -1);
    return holds < 0 ? `${s} = ${made}` : `${FREES[holds]}(${s})`;
  }
  const nothing = known && holds < 0 ? `  // ${s} holds nothing` : "";
  switch (kind) {
    case CallKind.FREE:
    case CallKind.FREE_TWICE: {
      const free = holds < 0 ? "free" : FREES[holds];
      if (kind === CallKind.FREE_TWICE) {
        if (holds !== CallKind.BURST) held.set(slot, -1);
        return `${free}(${s}); ${free}(${s})${nothing || "  // by mistake"}`;
      }
      if (holds !== CallKind.BURST || n === 0) held.set(slot, -1);
      const some = n > 0 && holds === CallKind.BURST ? `, the first ${n}` : "";
      return `${free}(${s}${some})${nothing}`;
    }
    case CallKind.TOUCH:
      return n % 2 === 0
        ? `read(${s}, page ${n >> 1})${nothing}`
        : `write(${s}, page ${n >> 1})${nothing}`;
    case CallKind.LOOKUP:
      return `find_vm_area(${s}); vmalloc_to_page(${s})${nothing}`;
    case CallKind.READ:
      return `vread(${s}, page ${n})`;
    case CallKind.FLUSH:
      return "vm_unmap_aliases()";
    case CallKind.PRIVATE:
      return `vm_unmap_aliases(); write(an unmapped page from p${n} on)`;
    default:
      return `__free_page(an unmapped page from p${n} on); alloc_page()`;
  }
}

function describeMapping(kind: number, n: number): string {
  switch (kind) {
    case CallKind.VMALLOC:
      return `vmalloc(${pages(n)})`;
    case CallKind.VMAP:
      return `vmap(${pages(n)})`;
    case CallKind.MAP_RAM:
      return `vm_map_ram(${pages(n)})`;
    case CallKind.BURST:
      return `${(n & 7) + 1} times vm_map_ram(${pages((n >> 3) + 1)})`;
    case CallKind.AREA:
      return `get_vm_area(${pages(n)})`;
    default:
      return `__get_vm_area(${pages(n & 7)} from eighth ${
        n >> 3
      } on); map_vm_area()`;
  }
}

function pages(n: number): string {
  const count = pagesOf(n);
  if (count === 1) return "1 page";
  if (n === count) return `${count} pages`;
  let exponent = 0;
  while (2 ** (exponent + 1) <= count) exponent++;
  const rest = count - 2 ** exponent;
  return `2^${exponent}${rest === 0 ? "" : `+${rest}`} pages`;
}
