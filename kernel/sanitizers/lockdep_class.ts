/**
 * What lockdep knows of one class of locks, and of the order between two.
 *
 * Three pairs of facts make a deadlock, whichever class they come together at:
 *
 *     above                              below
 *     taken in a hardware interrupt      held with interrupts on
 *     taken in a softirq                 held with softirqs on
 *     asked for with interrupts off      held while other CPUs are to answer
 *
 * The left one is a waiter that keeps a CPU from going on, the right one a
 * holder that such a CPU keeps waiting. Whoever holds A may wait for B, if A -> B
 * is an edge; so a fact of the left passes on to all classes after its own, and
 * one of the right to all before, and the two meet if there is a way from one to
 * the other. Readers of an rwlock do not wait for each other: each fact comes in
 * two kinds, and that of a reader alone passes on only where somebody writes.
 */
import type { Spot } from "./report.ts";

/** Pairs of facts, by number. */
export const HARDIRQ = 0;
export const SOFTIRQ = 1;
export const ANSWER = 2;

/** Facts of writers: a bit for each pair. Those of readers lie above them. */
const WRITERS = 0b111;
const READER_SHIFT = 3;
/** Ways in which an edge has been seen, a bit each: `heldRead * 2 + askedRead`. */
const HELD_BY_WRITER = 0b0011;
const ASKED_BY_WRITER = 0b0101;

/** A bit of {@linkcode DepClass.above} or `below`. */
export function fact(pair: number, read: boolean): number {
  return 1 << (read ? pair + READER_SHIFT : pair);
}

/** `to` was asked for by somebody who held `from`. */
export class DepEdge {
  /** Bit `heldRead * 2 + askedRead`, for each way in which it was seen. */
  ways = 0;

  constructor(
    readonly from: DepClass,
    readonly to: DepClass,
    /** Where it was first seen. */
    readonly spot: Spot,
  ) {}

  /** Facts that pass from `from` on to `to`. */
  down(): number {
    return pass(this.from.above, (this.ways & HELD_BY_WRITER) !== 0);
  }

  /** Facts that pass from `to` back to `from`. */
  up(): number {
    return pass(this.to.below, (this.ways & ASKED_BY_WRITER) !== 0);
  }
}

function pass(facts: number, writer: boolean): number {
  const own = facts & WRITERS;
  return writer ? own | (facts >> READER_SHIFT) : own;
}

/** One class of locks. */
export class DepClass {
  /** Facts of the left column, this class's and those of classes before it. */
  above = 0;
  /** Facts of the right column, this class's and those of classes after it. */
  below = 0;
  /** This class's own facts, and where each was first seen, by bit. */
  ownAbove = 0;
  ownBelow = 0;
  readonly aboveSpots: (Spot | undefined)[] = [];
  readonly belowSpots: (Spot | undefined)[] = [];
  /** Edges to others, by their number. */
  readonly after: (DepEdge | undefined)[] = [];
  readonly edges: DepEdge[] = [];
  readonly edgesIn: DepEdge[] = [];
  /** For searches: the last one that came by, and from where. */
  visited = 0;
  reachedBy: DepEdge | null = null;

  /** `of`: the sanitizer whose it is. */
  constructor(
    readonly of: unknown,
    readonly id: number,
    readonly name: string,
  ) {}

  /** Pair whose two facts meet here; -1 = none. */
  clash(): number {
    const writers = this.above & this.below;
    const met = (writers | (this.above & (this.below >> READER_SHIFT)) |
      ((this.above >> READER_SHIFT) & this.below)) & WRITERS;
    return met === 0 ? -1 : 31 - Math.clz32(met & -met);
  }
}

/**
 * Passes facts on from `start`, which has new ones, as far as they are news.
 *
 * @returns A class where two of a pair meet; `null` = nowhere.
 */
export function spread(start: DepClass): DepClass | null {
  if (start.clash() !== -1) return start;
  const changed = [start];
  for (let c = changed.pop(); c !== undefined; c = changed.pop()) {
    for (const edge of c.edges) {
      const { to } = edge;
      const facts = to.above | edge.down();
      if (facts === to.above) continue;
      to.above = facts;
      if (to.clash() !== -1) return to;
      changed.push(to);
    }
    for (const edge of c.edgesIn) {
      const { from } = edge;
      const facts = from.below | edge.up();
      if (facts === from.below) continue;
      from.below = facts;
      if (from.clash() !== -1) return from;
      changed.push(from);
    }
  }
  return null;
}

/**
 * A way from `edge.to` back to `edge.from` on which everybody waits for the next.
 *
 * @param ways The one in which `edge` has just been seen.
 * @returns Its edges, in order; `null` = there is none.
 */
export function wayBack(edge: DepEdge, ways: number): DepEdge[] | null {
  const path: DepEdge[] = [];
  const seen = new Set<number>();
  const goal = edge.from;
  const go = (at: DepClass, arrivedReading: boolean): boolean => {
    for (const next of at.edges) {
      for (let way = 0; way < 4; way++) {
        if ((next.ways & (1 << way)) === 0) continue;
        if (arrivedReading && way >= 2) continue; // two readers
        const reading = (way & 1) !== 0;
        path.push(next);
        if (next.to === goal) {
          if (!(reading && ways >= 2)) return true;
        } else {
          const state = next.to.id * 2 + Number(reading);
          if (!seen.has(state)) {
            seen.add(state);
            if (go(next.to, reading)) return true;
          }
        }
        path.pop();
      }
    }
    return false;
  };
  return go(edge.to, (ways & 1) !== 0) ? path : null;
}

/** The shortest way from `from` to a class that `ends` it; `null` = none. */
export function shortestWay(
  from: DepClass,
  ends: (c: DepClass) => boolean,
  forward: boolean,
): DepEdge[] | null {
  const by = new Map<DepClass, DepEdge | null>([[from, null]]);
  for (const c of by.keys()) { // a Map grows while it is walked
    if (ends(c)) {
      const path: DepEdge[] = [];
      for (
        let e = by.get(c)!;
        e !== null;
        e = by.get(forward ? e.from : e.to)!
      ) {
        path.push(e);
      }
      return forward ? path.reverse() : path;
    }
    for (const e of forward ? c.edges : c.edgesIn) {
      const next = forward ? e.to : e.from;
      if (!by.has(next)) by.set(next, e);
    }
  }
  return null;
}
