/**
 * What the last search for room has passed (vmap_search.ts), so that the next
 * one from the same place need not look at those areas again: a short cut of the
 * host's. Everything is charged as if it did, each line, each step; 2.6.28 does.
 * (Since 2.6.39, 89699605fe7, Linux itself begins where the last search ended.)
 *
 * As long as no area is unlinked, and none is linked before the end of what was
 * passed, the next search of the same size passes the same areas.
 *
 * Locks: vmap_area_lock guards it.
 */
import type { CacheLine } from "../../arch/hw/line.ts";
import type { VmapArea } from "./vmap_area.ts";

/** One layer's memo. */
export class WalkMemo {
  /** Lines of the areas passed, in order. */
  readonly lines: CacheLine[] = [];
  /** The last of these areas; `null` = nothing is remembered. */
  last: VmapArea | null = null;
  #first: VmapArea | null = null;
  #addr = 0;
  #size = 0;
  #align = 0;
  #vend = 0;

  /**
   * Whether a search that begins at `first` passes what is remembered. If not,
   * it is remembered from now on, through {@linkcode pass}.
   */
  begin(
    first: VmapArea,
    addr: number,
    size: number,
    align: number,
    vend: number,
  ): boolean {
    if (
      this.last !== null && this.#first === first && this.#addr === addr &&
      this.#size === size && this.#align === align && this.#vend === vend
    ) return true;
    this.forget();
    this.#first = first;
    this.#addr = addr;
    this.#size = size;
    this.#align = align;
    this.#vend = vend;
    return false;
  }

  /** The search has passed `va`. */
  pass(va: VmapArea): void {
    this.lines.push(va.line);
    this.last = va;
  }

  /** `va` has been linked. */
  linked(va: VmapArea): void {
    if (this.last !== null && va.va_start < this.last.va_end) this.forget();
  }

  /** An area has been unlinked. */
  forget(): void {
    this.last = null;
    this.lines.length = 0;
  }
}
