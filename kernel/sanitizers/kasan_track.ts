/**
 * How kasan tells uses of one slab object apart, and how it takes the fields of
 * one away: an object is *poisoned*, which moves its fields into a
 * {@linkcode Track} and leaves accessors in their place that ask a
 * {@linkcode Guard} first. Links that are part of the object (ListHead, RbNode
 * and the like) are poisoned with it: what a cache's `make()` puts into a field
 * is part of the object if it has a field that leads back to it.
 *
 * The accessors are those of a prototype of their own, and the fields are
 * deleted, which costs the host much less than to define accessors on the object
 * (measured on a VmapArea with its four links, Deno 2.9.6, one noisy core: see
 * kasan.ts). A poisoned object still is an instance of its class.
 */
import type { Thread } from "../thread.ts";
import type { SlabObject } from "../mm/slab_object.ts";
import type { Spot } from "./report.ts";

/** Where an object stands between its allocation and its free. */
export const TrackState = {
  /** Its user's. Not poisoned. */
  LIVE: 0,
  /** call_rcu() has it: readers may look at it, nobody else. */
  QUEUED: 1,
  /** Its RCU callback has been called: that one's alone. */
  CALLED: 2,
  /** Freed. Nobody's, for ever: its slot has another object now. */
  FREED: 3,
} as const;

/** A value of {@linkcode TrackState}. */
export type TrackState = typeof TrackState[keyof typeof TrackState];

/** One use of a slab object. */
export class Track {
  state: TrackState = TrackState.LIVE;
  /** Where call_rcu() was called, and where it was freed. */
  queued: Spot | null = null;
  freed: Spot | null = null;
  /** Who runs its RCU callback. */
  caller: Thread | null = null;
  /** Fields while it is poisoned: its own, then each link's; `null` before and after. */
  values: unknown[][] | null = null;

  // Among those that are live, by serial; ends at a sentinel.
  next: Track = this;
  prev: Track = this;

  constructor(
    /** Order of allocation. */
    readonly serial: number,
    readonly obj: SlabObject | null,
    /** Where it was allocated; `null` = before anybody looked. */
    readonly allocated: Spot | null,
  ) {}
}

/** Who decides whether a poisoned object may be touched. */
export interface Guard {
  /** `field` of what `track` is about is read or written. Throws if it must not be. */
  touched(track: Track, field: string): void;
}

/** Anything, by the names of its fields. */
export interface Fields {
  [key: string]: unknown;
}

/** An object, or a link, that has been poisoned or can be. */
interface Tracked extends Fields {
  _track: Track;
}

/** Fields of the slab allocator and of kasan, which stay. */
const KEPT: readonly string[] = ["_slab", "_index", "_live", "_track"];

/** A part of an object: itself, or one of its links. */
interface Part {
  /** Field of the object that has it; `""` = the object itself. */
  readonly field: string;
  readonly keys: readonly string[];
  /** Has the accessors. */
  readonly poisoned: object;
}

/** What the objects of one cache are made of. */
export class Shape {
  readonly #parts: Part[] = [];

  /** @param sample What the cache's `make()` makes. */
  constructor(readonly guard: Guard, sample: SlabObject) {
    const fields = sample as unknown as Fields;
    this.#parts.push(this.#part("", fields));
    for (const key of Object.keys(fields)) {
      const value = fields[key];
      if (isObject(value) && Object.values(value).includes(sample)) {
        this.#parts.push(this.#part(key, value));
      }
    }
  }

  /**
   * Takes the fields of `obj` into its track. `spared` is a link that stays as
   * it is, unless `null`: {@linkcode poisonRest} has it later.
   */
  poison(obj: SlabObject, track: Track, spared: unknown): void {
    const parts = this.#parts;
    const values: unknown[][] = [];
    for (let i = parts.length - 1; i >= 0; i--) {
      const part = partOf(obj, parts[i]);
      values[i] = part === spared ? [] : seize(part, parts[i], track);
    }
    track.values = values;
  }

  /** Takes the fields of what {@linkcode poison} has spared. */
  poisonRest(track: Track): void {
    const parts = this.#parts;
    const values = track.values!;
    for (let i = 1; i < parts.length; i++) {
      if (values[i].length === 0) {
        const part = values[0][parts[0].keys.indexOf(parts[i].field)];
        values[i] = seize(part as Tracked, parts[i], track);
      }
    }
  }

  /**
   * Gives `fresh`, newly made, what the poisoned `old` holds, as memory keeps
   * what its last user left in it; links lead to where `old`'s led. A field that
   * `make()` leaves unset, for the first user to set, stays unset: that one is
   * the first again.
   */
  inherit(fresh: SlabObject, old: SlabObject, track: Track): void {
    const parts = this.#parts;
    const to = fresh as unknown as Fields;
    for (let i = 0; i < parts.length; i++) {
      const { field, keys } = parts[i];
      const values = track.values![i];
      const part = i === 0 ? to : to[field] as Fields;
      const oldPart = i === 0 ? old : this.#oldLink(track, field);
      for (let j = 0; j < keys.length; j++) {
        const key = keys[j];
        const value = values[j];
        if (part[key] === undefined) continue;
        if (value === old) part[key] = fresh;
        else if (value === oldPart) part[key] = part;
        else if (i > 0 || !this.#isLink(key)) part[key] = value;
      }
    }
  }

  #oldLink(track: Track, field: string): unknown {
    return track.values![0][this.#parts[0].keys.indexOf(field)];
  }

  #isLink(key: string): boolean {
    const parts = this.#parts;
    for (let i = 1; i < parts.length; i++) {
      if (parts[i].field === key) return true;
    }
    return false;
  }

  #part(field: string, sample: Fields): Part {
    const keys = Object.keys(sample).filter((key) => !KEPT.includes(key));
    const accessors: PropertyDescriptorMap = {};
    const group = this.#parts.length;
    for (let i = 0; i < keys.length; i++) {
      const name = field === "" ? keys[i] : `${field}.${keys[i]}`;
      accessors[keys[i]] = accessor(this.guard, group, i, name);
    }
    const poisoned = Object.create(Object.getPrototypeOf(sample), accessors);
    return { field, keys, poisoned };
  }
}

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null;
}

function partOf(obj: SlabObject, { field }: Part): Tracked {
  const fields = obj as unknown as Tracked;
  return field === "" ? fields : fields[field] as Tracked;
}

/** Takes the fields of `part` away. @returns What they held. */
function seize(
  part: Tracked,
  { keys, poisoned }: Part,
  track: Track,
): unknown[] {
  const values = new Array<unknown>(keys.length);
  for (let i = 0; i < keys.length; i++) values[i] = part[keys[i]];
  for (let i = 0; i < keys.length; i++) delete part[keys[i]];
  Object.setPrototypeOf(part, poisoned);
  part._track = track;
  return values;
}

/** Stands for field number `index` of part number `group`. */
function accessor(
  guard: Guard,
  group: number,
  index: number,
  name: string,
): PropertyDescriptor {
  return {
    get(this: Tracked): unknown {
      guard.touched(this._track, name);
      const { values } = this._track;
      return values === null ? undefined : values[group][index];
    },
    set(this: Tracked, value: unknown) {
      guard.touched(this._track, name);
      const { values } = this._track;
      if (values !== null) values[group][index] = value;
    },
    configurable: true,
  };
}
