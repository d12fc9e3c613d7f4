/**
 * Points of an exhaustive search (dfs.ts): what can be done there, what has been,
 * what sleeps, and what the bounds leave.
 */
import type { Driver } from "./driver.ts";
import { dependent, type Footprint } from "./footprint.ts";
import { canHold, canInterrupt, canMigrate, canTick } from "./moves.ts";

/** Kinds of choice. */
export const ChoiceKind = {
  /** CPU `a` goes on, without taking an interrupt. */
  GO: 0,
  /** CPU `a` takes the first interrupt that is on its way to it. */
  INTERRUPT: 1,
  /** A timer tick on CPU `a`. */
  TICK: 2,
  /** The tasks of CPUs `a` and `b` change places. */
  MIGRATE: 3,
} as const;

/** Something that can be done at a point. */
interface Choice {
  /** One of {@linkcode ChoiceKind}. */
  readonly kind: number;
  readonly a: number;
  readonly b: number;
  /** Preemptions that it costs: 0 or 1. */
  readonly cost: number;
  /** Whether it is to go on, for free: see the head of dfs.ts. */
  readonly goesOn: boolean;
}

/** What a run may spend, or has spent. */
export interface Budget {
  readonly preemptions: number;
  readonly ticks: number;
  readonly migrations: number;
}

/** A choice that has been searched, and what it did. */
interface Searched {
  readonly choice: Choice;
  readonly footprint: Footprint;
  readonly complete: boolean;
}

/** A point where there was something to choose. */
export interface Point {
  /** What is awake, in the order in which it is tried. */
  readonly choices: readonly Choice[];
  /** The one under way. */
  at: number;
  /** What the one under way did; `null` = it has not ended yet. */
  footprint: Footprint | null;
  readonly asleep: readonly Searched[];
  readonly searched: Searched[];
  /** Whether the search below all choices so far was complete. */
  complete: boolean;
  /** The same of the one under way. */
  completeBelow: boolean;
  /** Spent before this point. */
  readonly spent: Budget;
}

/** What is left out at a point. */
interface LeftOut {
  /** Choices that slept. */
  pruned: number;
  /** Choices beyond the bound on preemptions. */
  bounded: number;
}

/**
 * The point that a run has come to, for the first time.
 *
 * @param above The point before it; `null` = it is the first.
 * @param stopped Whether who ran had to stop, so that any choice is free.
 * @param leftOut Added to.
 */
export function openPoint(
  d: Driver,
  above: Point | null,
  stopped: boolean,
  bounds: Budget,
  leftOut: LeftOut,
): Point {
  const asleep = above === null ? [] : stillAsleep(above);
  const spent = spentAfter(above);
  const choices: Choice[] = [];
  let complete = true;
  for (const choice of possible(d, stopped, spent, bounds)) {
    const sleeper = asleep.find((s) => same(s.choice, choice));
    if (sleeper !== undefined) {
      leftOut.pruned++;
      if (!sleeper.complete) complete = false;
    } else if (spent.preemptions + choice.cost > bounds.preemptions) {
      leftOut.bounded++;
      complete = false;
    } else {
      choices.push(choice);
    }
  }
  return {
    choices,
    at: 0,
    footprint: null,
    asleep,
    searched: [],
    complete,
    completeBelow: true,
    spent,
  };
}

/**
 * Goes from the end of one run to the beginning of the next: drops points with
 * nothing else to try from the end of `path`, and takes the next choice of the
 * last one that has some.
 *
 * @param reduce Whether what has been searched may go to sleep.
 * @returns Whether there is one.
 */
export function advance(path: Point[], reduce: boolean): boolean {
  while (path.length > 0) {
    const point = path[path.length - 1];
    const choice = point.choices[point.at];
    const complete = point.completeBelow;
    if (!complete) point.complete = false;
    if (reduce && (complete || choice.goesOn)) {
      point.searched.push({ choice, footprint: point.footprint!, complete });
    }
    if (++point.at < point.choices.length) {
      point.footprint = null;
      point.completeBelow = true;
      return true;
    }
    path.pop();
    if (path.length > 0 && !point.complete) {
      path[path.length - 1].completeBelow = false;
    }
  }
  return false;
}

/** What can be done now: going on first, then by CPU. */
function possible(
  d: Driver,
  stopped: boolean,
  spent: Budget,
  bounds: Budget,
): Choice[] {
  const { k } = d;
  const { cpus } = k.machine.engine;
  const n = cpus.length;
  const current = stopped ? null : d.current;
  const cost = current === null ? 0 : 1;
  const found: Choice[] = [];
  const add = (kind: number, a: number, b = 0) =>
    void found.push({ kind, a, b, cost, goesOn: false });
  const from = d.current === null ? 0 : d.current.id;
  for (let i = 0; i < n; i++) {
    const cpu = cpus[(from + i) % n];
    const a = cpu.id;
    if (canHold(cpu)) {
      if (cpu !== current) add(ChoiceKind.GO, a);
      else found.push({ kind: ChoiceKind.GO, a, b: 0, cost: 0, goesOn: true });
    }
    if (canInterrupt(cpu)) add(ChoiceKind.INTERRUPT, a);
  }
  if (spent.ticks < bounds.ticks) {
    for (const cpu of cpus) if (canTick(cpu)) add(ChoiceKind.TICK, cpu.id);
  }
  if (spent.migrations < bounds.migrations) {
    for (let a = 0; a < n; a++) {
      for (let b = a + 1; b < n; b++) {
        if (canMigrate(k, cpus[a]) && canMigrate(k, cpus[b])) {
          add(ChoiceKind.MIGRATE, a, b);
        }
      }
    }
  }
  return found;
}

function same(x: Choice, y: Choice): boolean {
  return x.kind === y.kind && x.a === y.a && x.b === y.b;
}

/** What sleeps after the choice under way at `point`. */
function stillAsleep(point: Point): Searched[] {
  const { a } = point.choices[point.at];
  const done = point.footprint!;
  const sleeps = (s: Searched) =>
    s.choice.a !== a && !dependent(s.footprint, done);
  return [
    ...point.asleep.filter(sleeps),
    ...point.searched.filter(sleeps),
  ];
}

/** What has been spent of each kind, the choice under way at `point` included. */
function spentAfter(point: Point | null): Budget {
  if (point === null) return { preemptions: 0, ticks: 0, migrations: 0 };
  const { spent } = point;
  const { kind, cost } = point.choices[point.at];
  return {
    preemptions: spent.preemptions + cost,
    ticks: spent.ticks + (kind === ChoiceKind.TICK ? 1 : 0),
    migrations: spent.migrations + (kind === ChoiceKind.MIGRATE ? 1 : 0),
  };
}
