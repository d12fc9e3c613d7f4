/**
 * Kernel symbols: the names that virtual time is charged to and that call
 * traces print.
 *
 * The table is append-only and shared by all machines of the process, like a
 * string pool: a number stands for a name and for nothing else, so two
 * machines cannot see each other through it. Numbers depend on import order
 * and therefore never reach any output; reports sort by time and name.
 */

/** A symbol's number. */
export type Sym = number & { readonly __brand: "Sym" };

/** Most symbols there can be; sizes every profile array. */
export const MAX_SYMBOLS = 4096;

const names: string[] = [];
const numbers = new Map<string, Sym>();

/**
 * The number of `name`, new or known.
 *
 * @throws {RangeError} If {@linkcode MAX_SYMBOLS} names exist already.
 *
 * @example
 * ```ts
 * import { ksym } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const VB_ALLOC = ksym("vb_alloc");
 * assertEquals(ksym("vb_alloc"), VB_ALLOC);
 * ```
 */
export function ksym(name: string): Sym {
  const known = numbers.get(name);
  if (known !== undefined) return known;
  if (names.length === MAX_SYMBOLS) {
    throw new RangeError(
      `Cannot add symbol "${name}" as there must be <= ${MAX_SYMBOLS} symbols`,
    );
  }
  const sym = names.length as Sym;
  names.push(name);
  numbers.set(name, sym);
  return sym;
}

/**
 * The name that {@linkcode ksym} was given.
 *
 * @example
 * ```ts
 * import { ksym, symName } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(symName(ksym("vb_alloc")), "vb_alloc");
 * ```
 */
export function symName(sym: number): string {
  return names[sym] ?? "[unknown]";
}

/** How many symbols exist. */
export function symCount(): number {
  return names.length;
}

/** Time that no kernel function accounts for; always symbol 0. */
export const SYM_UNKNOWN: Sym = ksym("[unknown]");
