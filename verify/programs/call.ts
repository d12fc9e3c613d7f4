/**
 * Programs of vmap API calls: what they consist of.
 *
 * A program says what each task does, in calls on numbered slots that all
 * tasks share. A slot holds mappings, of whatever kind; a call does what
 * the slot allows when its turn comes, so that every program is a right use of
 * the interface under every schedule, and so is every part of one.
 */

/** What a call does. `n` of a mapping is its size: see {@linkcode pagesOf}. */
export const CallKind = {
  // On a slot that holds nothing; on one that does they give it all back.
  /** vmalloc() of `n` pages. */
  VMALLOC: 0,
  /** vmap() of `n` pages of the pool. */
  VMAP: 1,
  /** vm_map_ram() of `n` pages of the pool. */
  MAP_RAM: 2,
  /** `n % 8 + 1` times vm_map_ram() of `floor(n / 8) + 1` pages. */
  BURST: 3,
  /** get_vm_area() of `n` pages, nothing mapped there. */
  AREA: 4,
  /** __get_vm_area() of `n % 8` pages from eighth `floor(n / 8)` of vmalloc space on, filled by map_vm_area(). */
  RANGE: 5,

  // On a slot that holds something.
  /** Gives back `n` of its mappings, the first ones; 0 = all. */
  FREE: 6,
  /** Gives back its first mapping, and then, by mistake, once more. */
  FREE_TWICE: 7,
  /** Reads (`n` even) or writes page `floor(n / 2)` through the mapping. */
  TOUCH: 8,
  /** Looks the mapping up: find_vm_area(), vmalloc_to_page(). */
  LOOKUP: 9,
  /** vread() of a word of page `n` of what is, or was, mapped there. */
  READ: 10,

  // On no slot.
  /** vm_unmap_aliases(). */
  FLUSH: 11,
  /** A page of the pool that is not mapped, from number `n` on: vm_unmap_aliases(), then it is written in the direct map. */
  PRIVATE: 12,
  /** A page of the pool that is not mapped, from number `n` on, is freed, and another one takes its place. */
  RECYCLE: 13,

  // Before vmalloc_init(): this one, and FLUSH.
  /** vm_area_add_early() of `n` pages in eighth `slot` of vmalloc space. */
  EARLY_AREA: 14,
} as const;

/** A value of {@linkcode CallKind}. */
export type CallKind = typeof CallKind[keyof typeof CallKind];

/** Slots there are. */
export const SLOTS = 12;
/** Eighths of vmalloc space that an early area can lie in. */
export const EIGHTHS = 8;
/** Largest `n`: three digits. */
export const MAX_N = 36 ** 3 - 1;

/** From here on `n` stands for a huge size: see {@linkcode pagesOf}. */
export const HUGE = 64;
/** Exponents of huge sizes, pages: they wrap in 32, 46, 47 and 48 bits. */
const HUGE_EXPONENTS = [20, 34, 35, 36];

/** One call. */
export interface Call {
  /** One of {@linkcode CallKind}. */
  readonly kind: number;
  /** Slot that it is about; 0 if it is about none. */
  readonly slot: number;
  /** A size, or which one; see {@linkcode CallKind}. */
  readonly n: number;
}

/** What the tasks of one round do. */
export interface Program {
  /** On the boot CPU before vmalloc_init(): in the first round of a machine's life alone. */
  readonly early: readonly Call[];
  /** By task; at least one. */
  readonly tasks: readonly (readonly Call[])[];
}

/** Pages that `n` of VMALLOC, VMAP, MAP_RAM and AREA stands for. */
export function pagesOf(n: number): number {
  if (n < HUGE) return n;
  return 2 ** HUGE_EXPONENTS[(n >> 3) & 3] + (n & 7);
}

/** Calls of all tasks, and early ones. */
export function countCalls({ early, tasks }: Program): number {
  return tasks.reduce((sum, calls) => sum + calls.length, early.length);
}

/** Whether a call of `kind` is about a slot. */
export function usesSlot(kind: number): boolean {
  return kind < CallKind.FLUSH || kind === CallKind.EARLY_AREA;
}
