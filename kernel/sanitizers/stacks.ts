/**
 * Call stacks that sanitizers keep, each once: there are few, and a great many
 * moments at which somebody stood in one of them. What Linux has as the stack
 * depot, since 4.6.
 */

/** One call stack. */
class Entry {
  constructor(
    /** Symbols, innermost first. */
    readonly stack: readonly number[],
    /** With the same hash, or one that shares its slot. */
    readonly next: Entry | null,
  ) {}
}

/** Slots of the table; a power of two. */
const SLOTS = 1024;

/** The call stacks of one kernel. */
export class StackDepot {
  readonly #slots: (Entry | null)[] = [];

  constructor() {
    for (let i = 0; i < SLOTS; i++) this.#slots.push(null);
  }

  /** The first `depth` of `stack`, outermost first there. Not to be changed. */
  save(stack: ArrayLike<number>, depth: number): readonly number[] {
    let hash = depth;
    for (let i = 0; i < depth; i++) hash = Math.imul(hash, 31) + stack[i] | 0;
    const slot = (hash ^ hash >>> 15) & (SLOTS - 1);
    const first = this.#slots[slot];
    for (let entry = first; entry !== null; entry = entry.next) {
      if (isSame(entry.stack, stack, depth)) return entry.stack;
    }
    const entry = new Entry(innermostFirst(stack, depth), first);
    this.#slots[slot] = entry;
    return entry.stack;
  }
}

/** The first `depth` of `stack` in a new array, the other way round. */
export function innermostFirst(
  stack: ArrayLike<number>,
  depth: number,
): number[] {
  // No typed array: to allocate one costs the host ten times as much.
  const saved: number[] = [];
  for (let i = depth - 1; i >= 0; i--) saved.push(stack[i]);
  return saved;
}

function isSame(
  saved: readonly number[],
  stack: ArrayLike<number>,
  depth: number,
): boolean {
  if (saved.length !== depth) return false;
  for (let i = 0; i < depth; i++) {
    if (saved[depth - 1 - i] !== stack[i]) return false;
  }
  return true;
}
