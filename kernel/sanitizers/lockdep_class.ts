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
 * is an edge, and makes A's waiters wait with it: so a fact of the left passes on
 * to all classes after its own, until it meets one of the right.
 *
 * Readers of an rwlock do not wait for each other: each fact comes in two kinds,
 * a writer's and a reader's, of which two readers' do not clash.
 */
import type { Spot } from "./report.ts";

/** Pairs of facts, by number. */
export const HARDIRQ = 0;
export const SOFTIRQ = 1;
export const ANSWER = 2;

/** Facts of writers: a bit for each pair. Those of readers lie above them. */
const WRITERS = 0b111;
const READER_SHIFT = 3;
/** Ways in which an edge can be seen: `heldRead * 2 + askedRead`. */
const NR_WAYS = 4;

/** A bit of {@linkcode DepClass.above} or `below`. */
export function fact(pair: number, read: boolean): number {
  return 1 << (read ? pair + READER_SHIFT : pair);
}

/** Whether `bit` is the number of a reader's fact. */
export function isReaders(bit: number): boolean {
  return bit >= READER_SHIFT;
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
  passed(): number {
    const { above } = this.from;
    let facts = 0;
    for (let way = 0; way < NR_WAYS; way++) {
      if ((this.ways & (1 << way)) === 0) continue;
      const heldRead = way >= 2;
      // A reader among the waiters waits for writers alone.
      const on = (above & WRITERS) | (heldRead ? 0 : above >> READER_SHIFT);
      facts |= (way & 1) !== 0 ? on << READER_SHIFT : on;
    }
    return facts;
  }
}

/** One class of locks. */
export class DepClass {
  /** Facts of the left column, this class's and those passed on to it. */
  above = 0;
  /** Facts of the left column that are its own. */
  ownAbove = 0;
  /** Facts of the right column. */
  below = 0;
  /** Where each was first seen, by bit. */
  readonly aboveSpots: (Spot | undefined)[] = [];
  readonly belowSpots: (Spot | undefined)[] = [];
  /** Edges to others, by their number, and in a row. */
  readonly after: (DepEdge | undefined)[] = [];
  readonly edges: DepEdge[] = [];
  readonly edgesIn: DepEdge[] = [];

  /** `of`: the sanitizer whose it is. */
  constructor(
    readonly of: unknown,
    readonly id: number,
    readonly name: string,
  ) {}

  /** Pair whose two facts meet here; -1 = none. */
  clash(): number {
    const { above, below } = this;
    const met = ((above & below) | (above & (below >> READER_SHIFT)) |
      ((above >> READER_SHIFT) & below)) & WRITERS;
    return met === 0 ? -1 : 31 - Math.clz32(met & -met);
  }
}

/**
 * Passes on what `start` has learnt, as far as it is news.
 *
 * @returns A class where two facts of a pair meet; `null` = nowhere.
 */
export function spread(start: DepClass): DepClass | null {
  if (start.clash() !== -1) return start;
  const changed = [start];
  for (let c = changed.pop(); c !== undefined; c = changed.pop()) {
    if (c.above === 0) continue;
    for (const edge of c.edges) {
      const { to } = edge;
      const facts = to.above | edge.passed();
      if (facts === to.above) continue;
      to.above = facts;
      if (to.clash() !== -1) return to;
      changed.push(to);
    }
  }
  return null;
}

/**
 * A way from `edge.to` back to `edge.from` on which everybody waits for the next.
 *
 * @param way The one in which `edge` has just been seen.
 * @returns Its edges, in order; `null` = there is none.
 */
export function wayBack(edge: DepEdge, way: number): DepEdge[] | null {
  const path: DepEdge[] = [];
  const seen = new Set<number>();
  const goal = edge.from;
  const go = (at: DepClass, arrivedReading: boolean): boolean => {
    for (const next of at.edges) {
      for (let w = 0; w < NR_WAYS; w++) {
        if ((next.ways & (1 << w)) === 0) continue;
        if (arrivedReading && w >= 2) continue; // two readers
        const reading = (w & 1) !== 0;
        path.push(next);
        if (next.to === goal) {
          if (!(reading && way >= 2)) return true;
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
  return go(edge.to, (way & 1) !== 0) ? path : null;
}

/** The shortest way to `to` from a class that `starts` it, which may be `to` itself. */
export function shortestWay(
  starts: (c: DepClass) => boolean,
  to: DepClass,
): DepEdge[] {
  const by = new Map<DepClass, DepEdge | null>([[to, null]]);
  for (const c of by.keys()) { // a Map grows while it is walked
    if (starts(c)) {
      const path: DepEdge[] = [];
      for (let e = by.get(c)!; e !== null; e = by.get(e.to)!) path.push(e);
      return path;
    }
    for (const e of c.edgesIn) if (!by.has(e.from)) by.set(e.from, e);
  }
  return [];
}
