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
  /** Sessions; of `dfs`, programs. */
  readonly sessions: number;
  /** Of `dfs`: programs of which all schedules were run. */
  readonly exhausted: number;
  /** Steps from one kernel function to another, and states, seen. */
  readonly coverage: number;
  /** Programs that have been kept. */
  readonly corpus: number;
}

/** What a search came to. */
export interface SearchResult extends SearchProgress {
  /** The first finding, not minimised; `null` = none. */
  readonly found: { readonly finding: Finding; readonly case: Case } | null;
}

/** When to stop. */
export interface SearchLimits {
  /** Schedules, at most. */
  readonly iterations: number;
  /** Asked now and then: whether to go on. */
  readonly more?: () => boolean;
  /** Programs to begin with, and to add to; absent = none. */
  readonly corpus?: Corpus;
}

/** Searches, and tells after each session how far it has come. */
export function* searching(
  options: SearchOptions,
  limits: SearchLimits,
): Generator<SearchProgress, SearchResult> {
  const corpus = limits.corpus ?? new Corpus(new Coverage());
  const { coverage } = corpus;
  const more = limits.more ?? (() => true);
  let schedules = 0;
  let steps = 0;
  let exhausted = 0;
  let sessions = 0;
  let found: SearchResult["found"] = null;
  const progress = (): SearchProgress => ({
    schedules,
    steps,
    sessions,
    exhausted,
    coverage: coverage.count,
    corpus: corpus.size,
  });
  while (found === null && schedules < limits.iterations && more()) {
    const left = limits.iterations - schedules;
    const session = runSession(
      options,
      sessions++,
      left,
      coverage,
      corpus,
      more,
    );
    schedules += session.rounds;
    steps += session.steps;
    if (session.exhausted) exhausted++;
    found = session.found;
    yield progress();
  }
  return { ...progress(), found };
}

/** {@linkcode searching} to its end. */
export function search(
  options: SearchOptions,
  limits: SearchLimits,
): SearchResult {
  const steps = searching(options, limits);
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}
