/**
 * Who mapped an address of the vmap layer, who unmapped it, and when: what a
 * report of an alias needs and no kernel keeps.
 *
 * Observer's book-keeping: costs no virtual time and changes nothing. Off until
 * {@linkcode keep_alias_log}, as it costs the host a little for each mapping;
 * what was mapped before has no record.
 */
import { ksym, type Sym } from "../../arch/asm.ts";
import type { Kernel } from "../kernel.ts";
import type { Thread } from "../thread.ts";

/** One end of a mapping's life. */
export interface AliasEvent {
  /** Number of the symbol that called the vmap layer. */
  readonly caller: number;
  readonly comm: string;
  readonly pid: number;
  readonly cpu: number;
  readonly atCycles: number;
}

/** A mapping that was made once. */
export interface AliasRecord {
  /** First address, bytes. */
  readonly start: number;
  /** End, exclusive, the guard page not included. */
  readonly end: number;
  readonly mapped: AliasEvent;
  /** `null` while it is in use. */
  unmapped: AliasEvent | null;
}

/** Functions of the layer itself: who called them is of interest. */
const OWN: ReadonlySet<Sym> = new Set(
  [
    "__get_vm_area_node",
    "__vmalloc",
    "__vmalloc_area_node",
    "__vmalloc_node",
    "__vunmap",
    "alloc_vm_area",
    "free_vm_area",
    "get_vm_area_caller",
    "ioremap",
    "__ioremap_caller",
    "iounmap",
    "module_alloc",
    "module_free",
    "remove_vm_area",
    "vfree",
    "vm_map_ram",
    "vm_unmap_ram",
    "vmalloc",
    "vmap",
    "vunmap",
  ].map((name) => ksym(name)),
);

/** The mappings of one kernel, by their first address: the last one at each. */
export class AliasLog {
  readonly #records = new Map<number, AliasRecord>();

  /** Notes that `t` has mapped `[start, end)`. */
  mapped(t: Thread, start: number, end: number): void {
    const record = { start, end, mapped: eventOf(t), unmapped: null };
    this.#records.set(start, record);
  }

  /** Notes that `t` unmaps what was mapped at `start`. */
  unmapped(t: Thread, start: number): void {
    const record = this.#records.get(start);
    if (record !== undefined) record.unmapped = eventOf(t);
  }

  /** The last mapping that covered `vaddr`; `null` = none known. */
  find(vaddr: number): AliasRecord | null {
    let found: AliasRecord | null = null;
    for (const record of this.#records.values()) {
      if (vaddr < record.start || vaddr >= record.end) continue;
      if (found !== null && found.mapped.atCycles > record.mapped.atCycles) {
        continue;
      }
      found = record;
    }
    return found;
  }
}

/** Keeps the log from now on. */
export function keep_alias_log(k: Kernel): AliasLog {
  return k.alias_log ??= new AliasLog();
}

function eventOf(t: Thread): AliasEvent {
  let i = t.depth - 1;
  while (i > 0 && OWN.has(t.stack[i] as Sym)) i--;
  return {
    caller: t.stack[i],
    comm: t.task.name,
    pid: t.task.pid,
    cpu: t.cpu.id,
    atCycles: t.cpu.clock,
  };
}
