/** What kasan knows of one use of a slab object, from its allocation to its free and for ever after. */
import type { SlabObject } from "../mm/slab_object.ts";
import type { Thread } from "../thread.ts";
import type { Spot } from "./report.ts";

/** Where an object stands between its allocation and its free. */
export const TrackState = {
  /** Its user's. */
  LIVE: 0,
  /** call_rcu() has it: readers may look at it, nobody else. */
  QUEUED: 1,
  /** Its RCU callback has been called: no reader's any more. */
  CALLED: 2,
  /** Freed: nobody's, for ever. Its memory goes on as another JavaScript object. */
  FREED: 3,
} as const;

/** A value of {@linkcode TrackState}. */
export type TrackState = typeof TrackState[keyof typeof TrackState];

/** One use of a slab object. */
export class Track {
  state: TrackState = TrackState.LIVE;
  /** Where call_rcu() was called. */
  queued: Spot | null = null;
  /** Where it was freed. */
  freed: Spot | null = null;
  /** Who runs its RCU callback. */
  caller: Thread | null = null;

  // Among those that are live, oldest first; ends at a sentinel.
  next: Track = this;
  prev: Track = this;

  constructor(
    /** Who is asked. */
    readonly guard: Guard,
    /** Name of its cache. */
    readonly cache: string,
    /** Where it was allocated; `null` = before anybody looked. */
    readonly allocated: Spot | null,
  ) {}

  /** The JavaScript object; `null` in the sentinel. */
  obj: SlabObject | null = null;
}

/** Who is asked when an object is touched that is not plainly its user's. */
export interface Guard {
  /** `field` of what `track` is about is read or written. Throws if it must not be. */
  touched(track: Track, field: string): void;
  /** `field` is read, and nobody has written it since the allocation. */
  unset(track: Track, field: string): void;
}
