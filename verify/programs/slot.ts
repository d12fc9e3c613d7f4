/** What programs know by a number: slots, the mappings that they hold, the pages that are mapped. */
import type { Page } from "../../kernel/mm/page.ts";
import type { VmStruct } from "../../kernel/mm/vm_struct.ts";

/** A page that programs map, and what it must contain. */
export class PoolPage {
  /** Live mappings of it. */
  mapped = 0;
  /** Whether a task changes it, or what it contains. */
  claimed = false;
  /** Tasks that read it: nobody claims it meanwhile. */
  readers = 0;
  /** Word at its start; -1 = whatever it was when it came. */
  value = -1;

  constructor(public page: Page) {}
}

/** A live mapping. */
export interface Mapping {
  /** The mapping call: see `CallKind`. */
  readonly kind: number;
  readonly addr: number;
  /** Pages of address space. */
  readonly count: number;
  /** What is mapped there; empty = nothing. */
  readonly pages: readonly PoolPage[];
  /** Of get_vm_area() and its like; `null` otherwise. */
  readonly vm: VmStruct | null;
}

/** What programs know by a number. */
export class Slot {
  readonly mappings: Mapping[] = [];
  /** Whether a task changes what it holds. */
  busy = false;
  /** Tasks that use what it holds: nobody changes it meanwhile. */
  users = 0;
  /** Where something was mapped last; 0 = never. */
  lastAddr = 0;
  lastCount = 0;

  constructor(readonly number: number) {}
}
