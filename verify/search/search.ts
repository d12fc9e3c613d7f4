/** The search: session after session, until something is found or it is told to stop. */
import { Coverage } from "../programs/coverage.ts";
import { Corpus } from "../programs/corpus.ts";
import type { Case, Finding } from "./case.ts";
import { runSession, type SearchOptions } from "./session.ts";

/** How far a search has come. */
export interface SearchProgress {
  /** Schedules that were run: rounds. */
  readonly schedules: number;
  /** Operations on shared state, all together. */
  readonly steps: number;
  /** Of `dfs`: programs of which all schedules were run. */
  readonly exhausted: number;
  /** Bits of coverage: ways from one kernel function to another, and states, seen. */
  readonly coverage: number;
  /** Programs that have been kept. */
  readonly corpus: number;
}

/** What a search came to. */
export interface SearchResult extends SearchProgress {
  /** The first finding, not minimised; `null` = none. */
  readonly found: { readonly finding: Finding; readonly case: Case } | null;
}

/** When to stop, and whom to tell. */
export interface SearchLimits {
  /** Schedules, at most. */
  readonly iterations: number;
  /** Asked after each session: whether to go on. */
  readonly more?: (progress: SearchProgress) => boolean;
  /** Programs to begin with, and to add to; absent = none. */
  readonly corpus?: Corpus;
}

/** See the file's head. */
export function search(
  options: SearchOptions,
  limits: SearchLimits,
): SearchResult {
  const corpus = limits.corpus ?? new Corpus(new Coverage());
  const { coverage } = corpus;
  let schedules = 0;
  let steps = 0;
  let exhausted = 0;
  let found: SearchResult["found"] = null;
  const progress = (): SearchProgress => ({
    schedules,
    steps,
    exhausted,
    coverage: coverage.count,
    corpus: corpus.size,
  });
  for (let nr = 0; found === null && schedules < limits.iterations; nr++) {
    const left = limits.iterations - schedules;
    const session = runSession(options, nr, left, coverage, corpus);
    if (session.exhausted) exhausted++;
    schedules += session.rounds;
    steps += session.steps;
    found = session.found;
    if (limits.more !== undefined && !limits.more(progress())) break;
  }
  return { ...progress(), found };
}
