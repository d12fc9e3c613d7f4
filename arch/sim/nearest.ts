/** Suggestions for mistyped names. Pure. */

/** Single-character edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`. */
export function editDistance(a: string, b: string): number {
  let before: number[] = []; // two rows up
  let above = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min(
        above[j] + 1,
        row[j - 1] + 1,
        above[j - 1] + (same ? 0 : 1),
      );
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, before[j - 2] + 1);
      }
      row.push(cost);
    }
    [before, above] = [above, row];
  }
  return above[b.length];
}

/**
 * The choice that `name` most likely meant, whatever its case; the first of
 * equals. `undefined` if there are no choices.
 */
export function nearest(
  name: string,
  choices: Iterable<string>,
): string | undefined {
  let best: string | undefined;
  let least = Infinity;
  for (const choice of choices) {
    const edits = editDistance(name.toLowerCase(), choice.toLowerCase());
    if (edits < least) [best, least] = [choice, edits];
  }
  return best;
}
