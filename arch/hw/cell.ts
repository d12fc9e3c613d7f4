/**
 * A variable that several CPUs use: a value on a cache line.
 *
 * Cells are read and written through `arch/asm.ts` alone. Cells that lie side
 * by side in a C structure share a line here too; that is how a list head
 * beside its lock gets slower with the lock.
 */
import { CacheLine } from "./line.ts";

/** Says who keeps a cell's waiters waiting, for deadlock reports. */
export interface Holder {
  /** One line such as `"held by kthread/3 on CPU 2"`; `null` = nobody known. */
  describeHolder(): string | null;
}

/**
 * One variable of type `T` on a line.
 *
 * @example
 * ```ts
 * import { boot, Cell, store } from "@vmaplab/vmaplab";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const head = new Cell<string | null>("head", null);
 * const lock = new Cell("lock", 0, head.line); // shares its cache line
 * boot().run((t) => store(t, head, "first"));
 * assertEquals(head.value, "first");
 * assert(lock.line === head.line);
 * ```
 */
export class Cell<T = number> {
  /** The line it lies on. */
  declare readonly line: CacheLine;
  /** Who holds what this cell guards. */
  holder: Holder | null = null;
  /**
   * What a sanitizer remembers of it.
   *
   * @internal
   */
  shadow: unknown = null;

  /** Name in reports and traces, such as `"vmlist_lock"`. */
  declare readonly name: string;
  /** Current value. Read it through `arch/asm.ts`; direct reads are for tests and reports. */
  declare value: T;

  /** A cell that no CPU has cached. */
  constructor(
    name: string,
    value: T,
    /** Line it shares with a neighbour; a line of its own if absent. */
    line?: CacheLine,
  ) {
    this.name = name;
    this.value = value;
    this.line = line ?? new CacheLine(0);
  }
}
