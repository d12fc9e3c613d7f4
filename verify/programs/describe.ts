/** Programs as lines for people, much like C. */
import {
  OpKind,
  pagesOf,
  type Program,
  type ProgramOp,
  usesSlot,
} from "./op.ts";

/** How what a kind of mapping made is given back. */
const FREES: Readonly<Record<number, string>> = {
  [OpKind.VMALLOC]: "vfree",
  [OpKind.VMAP]: "vunmap",
  [OpKind.MAP_RAM]: "vm_unmap_ram",
  [OpKind.BURST]: "vm_unmap_ram",
  [OpKind.AREA]: "free_vm_area",
  [OpKind.RANGE]: "free_vm_area",
};

/**
 * One line for each operation, such as `"task 0: s1 = vm_map_ram(2 pages)"`.
 *
 * A slot that one task alone uses is taken to hold nothing at first; what others
 * use too is said both ways, as it depends on the schedule.
 *
 * @param inUse Slots that hold something when the program starts.
 */
export function describeProgram(
  { early, tasks }: Program,
  inUse: ReadonlySet<number> = new Set(),
): string[] {
  const lines = early.map((op) => `early:  ${describeEarly(op)}`);
  const shared = sharedSlots(tasks, inUse);
  tasks.forEach((ops, i) => {
    /** Kind of mapping that each slot holds for sure; -1 = none. */
    const held = new Map<number, number>();
    for (const op of ops) {
      lines.push(`task ${i}: ${describeOp(op, shared, held)}`);
    }
  });
  return lines;
}

/** Slots of which nobody can say what they hold. */
function sharedSlots(
  tasks: readonly (readonly ProgramOp[])[],
  inUse: ReadonlySet<number>,
): ReadonlySet<number> {
  const users = new Map<number, number>();
  const shared = new Set(inUse);
  tasks.forEach((ops, i) => {
    for (const { kind, slot } of ops) {
      if (!usesSlot(kind) || kind === OpKind.READ) continue;
      if ((users.get(slot) ?? i) !== i) shared.add(slot);
      users.set(slot, i);
    }
  });
  return shared;
}

function describeEarly({ kind, slot, n }: ProgramOp): string {
  if (kind === OpKind.FLUSH) return "vm_unmap_aliases()";
  return `vm_area_add_early(${pages(n)} in eighth ${slot} of vmalloc space)`;
}

function describeOp(
  { kind, slot, n }: ProgramOp,
  shared: ReadonlySet<number>,
  held: Map<number, number>,
): string {
  const s = `s${slot}`;
  const known = !shared.has(slot);
  const holds = known ? held.get(slot) ?? -1 : -1;
  if (kind <= OpKind.RANGE) {
    const call = describeMapping(kind, n);
    if (!known) return `${s} = ${s} ? free(${s}) : ${call}`;
    held.set(slot, holds < 0 ? kind : -1);
    return holds < 0 ? `${s} = ${call}` : `${FREES[holds]}(${s})`;
  }
  const nothing = known && holds < 0 ? `  // ${s} holds nothing` : "";
  switch (kind) {
    case OpKind.FREE:
    case OpKind.FREE_TWICE: {
      const free = holds < 0 ? "free" : FREES[holds];
      if (kind === OpKind.FREE_TWICE) {
        if (holds !== OpKind.BURST) held.set(slot, -1);
        return `${free}(${s}); ${free}(${s})${nothing || "  // by mistake"}`;
      }
      if (holds !== OpKind.BURST || n === 0) held.set(slot, -1);
      const some = n > 0 && holds === OpKind.BURST ? `, the first ${n}` : "";
      return `${free}(${s}${some})${nothing}`;
    }
    case OpKind.TOUCH:
      return n % 2 === 0
        ? `read(${s}, page ${n >> 1})${nothing}`
        : `write(${s}, page ${n >> 1})${nothing}`;
    case OpKind.LOOKUP:
      return `find_vm_area(${s}); vmalloc_to_page(${s})${nothing}`;
    case OpKind.READ:
      return `vread(${s}, page ${n})`;
    case OpKind.FLUSH:
      return "vm_unmap_aliases()";
    case OpKind.PRIVATE:
      return `vm_unmap_aliases(); write(an unmapped page from p${n} on)`;
    default:
      return `__free_page(an unmapped page from p${n} on); alloc_page()`;
  }
}

function describeMapping(kind: number, n: number): string {
  switch (kind) {
    case OpKind.VMALLOC:
      return `vmalloc(${pages(n)})`;
    case OpKind.VMAP:
      return `vmap(${pages(n)})`;
    case OpKind.MAP_RAM:
      return `vm_map_ram(${pages(n)})`;
    case OpKind.BURST:
      return `${(n & 7) + 1} times vm_map_ram(${pages((n >> 3) + 1)})`;
    case OpKind.AREA:
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
  const exponent = Math.floor(Math.log2(count));
  const rest = count - 2 ** exponent;
  return `2^${exponent}${rest === 0 ? "" : `+${rest}`} pages`;
}
