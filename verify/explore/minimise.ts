/**
 * Makes a list shorter while it still does what it is kept for: delta debugging
 * (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input",
 * IEEE TSE 2002). For the decisions of a schedule that fails, and as well for
 * the calls of a program.
 *
 * Differs from `ddmin`: subsets are not tried, complements alone, since a
 * schedule that fails seldom does so by a small part of its decisions, and the
 * first halves are complements of each other anyway. Pure.
 */

/**
 * The shortest list that it finds: parts of `events` are left out, halves first,
 * then ever smaller ones, one by one in the end.
 *
 * @param events What fails. Not changed.
 * @param stillFails Whether a shorter list, in the order of `events`, fails in
 * the same way. Must give the same answer for the same list. Not asked about
 * `events` itself.
 * @param maxTries Calls of `stillFails` after which the best so far is good enough.
 * @returns A list that fails, of which no single entry can be left out unless
 * `maxTries` ended the search.
 *
 * @example
 * ```ts
 * import { minimiseEvents } from "./minimise.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const fails = (list: readonly number[]) =>
 *   list.includes(3) && list.includes(7);
 * assertEquals(minimiseEvents([1, 2, 3, 4, 5, 6, 7, 8], fails), [3, 7]);
 * ```
 */
export function minimiseEvents<T>(
  events: readonly T[],
  stillFails: (events: readonly T[]) => boolean,
  maxTries = Infinity,
): readonly T[] {
  let best = events;
  let tries = 0;
  // Most often nothing at all is needed: the rule alone fails.
  if (best.length > 1 && tries++ < maxTries && stillFails([])) return [];
  let size = Math.ceil(best.length / 2);
  while (best.length > 0 && tries < maxTries) {
    let dropped = false;
    // From the end: what happens after the failure has decided is the most of it.
    for (let end = best.length; end > 0 && tries < maxTries;) {
      const start = Math.max(0, end - size);
      const rest = [...best.slice(0, start), ...best.slice(end)];
      tries++;
      if (stillFails(rest)) {
        best = rest;
        dropped = true;
      }
      end = start;
    }
    if (size === 1 && !dropped) break;
    size = size === 1 ? 1 : Math.ceil(size / 2);
    size = Math.min(size, Math.max(1, best.length));
  }
  return best;
}
