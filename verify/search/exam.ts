/**
 * The exam: whether the search finds each historic bug, by the general programs
 * and sanitizers alone.
 */
import { type Quirk, QUIRKS } from "../../kernel/mm/quirks.ts";
import { SANITIZERS } from "../../kernel/sanitizers/index.ts";
import { minimiseCase } from "./minimise_case.ts";
import { formatCase } from "./replay_string.ts";
import { search, type SearchLimits } from "./search.ts";
import type { SearchOptions } from "./session.ts";

/**
 * Quirks that show nothing by themselves: `insert-overlap` takes a check away,
 * and without another bug nothing overlaps.
 */
export const HARMLESS_ALONE: ReadonlySet<string> = new Set(["insert-overlap"]);

/** The questions: every quirk that can show. */
export const EXAM: readonly Quirk[] = QUIRKS.filter(({ name }) =>
  !HARMLESS_ALONE.has(name)
);

/** An answer. */
export interface ExamResult {
  readonly quirk: Quirk;
  readonly seed: number;
  /** Schedules up to the finding, or up to where the search was stopped. */
  readonly schedules: number;
  /** Who found it; `null` = nobody. */
  readonly by: string | null;
  /** First line of the oops; `null` = none. */
  readonly headline: string | null;
  /** What replays it, minimised; `null` = nothing was found, or none was asked for. */
  readonly replay: string | null;
}

/** What the exam searches with: two CPUs, everything on. */
export function examOptions(
  quirks: readonly string[],
  seed: number,
): SearchOptions {
  return {
    cpus: 2,
    vmap: "rewrite",
    quirks,
    sanitize: SANITIZERS.map(({ name }) => name),
    policy: "mix",
    depth: 3,
    faults: [],
    seed,
  };
}

/** Searches for one quirk. */
export function examine(
  quirk: Quirk,
  seed: number,
  limits: SearchLimits,
  minimise: boolean,
): ExamResult {
  const { schedules, found } = search(examOptions([quirk.name], seed), limits);
  if (found === null) {
    return { quirk, seed, schedules, by: null, headline: null, replay: null };
  }
  const { finding } = found;
  const replay = minimise
    ? formatCase(minimiseCase(found.case, finding))
    : null;
  const { by, headline } = finding;
  return { quirk, seed, schedules, by, headline, replay };
}
