/**
 * Random programs: small ones, since what a round leaves behind the next one
 * finds. Each has a mood, which says what kinds of calls and what sizes it
 * favours, and a few slots that its tasks share: bugs are where two meet.
 */
import type { Rng } from "../../arch/sim/random.ts";
import {
  type Call,
  CallKind,
  EIGHTHS,
  HUGE,
  MAX_N,
  type Program,
  SLOTS,
  usesSlot,
} from "./call.ts";

/** Fewest and most calls of a task. */
const MIN_CALLS = 1;
const MAX_CALLS = 3;
/** Most calls of a task that mutations make. */
const MAX_MUTATED_CALLS = 6;
/** One call in this many is odd: of no size, or a huge one; a second free. */
const ODD_SIZE = 120;
const ODD_FREE = 400;
/** One slot in this many is any; the others are the program's own few. */
const ANY_SLOT = 4;

/** One call in this many is on the slot of the one before. */
const SAME_SLOT = 2;

/** What a program favours. */
interface Mood {
  /** Each kind as often as it is favoured. */
  readonly kinds: readonly number[];
  /** Sizes to choose from, pages. */
  readonly sizes: readonly number[];
}

const MOODS: readonly Mood[] = [
  { // small mappings in blocks
    //               M  V  R  B  A  N  F  D  T  L  K  U  P  C
    kinds: weighted([1, 1, 8, 7, 0, 0, 9, 0, 4, 1, 1, 5, 1, 1]),
    sizes: [1, 1, 1, 2, 2, 3, 4, 4],
  },
  { // areas
    kinds: weighted([5, 5, 2, 0, 2, 3, 8, 0, 4, 2, 3, 3, 1, 1]),
    sizes: [1, 1, 1, 2, 2, 3, 4, 6],
  },
  { // until addresses run out
    kinds: weighted([1, 4, 6, 1, 6, 4, 5, 0, 2, 1, 1, 1, 0, 0]),
    sizes: [2, 4, 5, 6, 7, 8, 12, 16],
  },
  { // a little of everything
    kinds: weighted([3, 3, 5, 1, 2, 2, 8, 0, 4, 2, 2, 3, 1, 1]),
    sizes: [1, 1, 2, 2, 3, 4, 5, 8],
  },
];

/**
 * A program for `tasks` tasks.
 *
 * @param first Whether it is to be the first of a machine's life: half of these
 * do something before vmalloc_init().
 */
export function generate(rng: Rng, tasks: number, first = false): Program {
  const mood = MOODS[rng.below(MOODS.length)];
  const slots = ownSlots(rng);
  const lists: Call[][] = [];
  for (let i = 0; i < tasks; i++) {
    const calls: Call[] = [];
    const count = MIN_CALLS + rng.below(MAX_CALLS - MIN_CALLS + 1);
    for (let j = 0; j < count; j++) {
      const call = randomCall(rng, mood, slots);
      calls.push(again(rng, call, calls));
    }
    lists.push(calls);
  }
  const early = first && rng.below(2) === 0 ? generateEarly(rng) : [];
  return { early, tasks: lists };
}

/** What may run before vmalloc_init(): an area or two, a flush. */
function generateEarly(rng: Rng): Call[] {
  const calls: Call[] = [];
  for (let count = 1 + rng.below(2); count > 0; count--) {
    calls.push(
      rng.below(3) === 0 ? { kind: CallKind.FLUSH, slot: 0, n: 0 } : {
        kind: CallKind.EARLY_AREA,
        slot: rng.below(EIGHTHS),
        n: 1 + rng.below(4),
      },
    );
  }
  return calls;
}

/** The few slots that a program is about. */
function ownSlots(rng: Rng): number[] {
  const first = rng.below(SLOTS);
  const slots: number[] = [];
  for (let count = 1 + rng.below(4); count > 0; count--) {
    slots.push((first + slots.length) % SLOTS);
  }
  return slots;
}

function randomCall(
  rng: Rng,
  mood: Mood,
  slots: readonly number[],
): Call {
  const odd = rng.below(ODD_FREE) === 0;
  const kind = odd
    ? CallKind.FREE_TWICE
    : mood.kinds[rng.below(mood.kinds.length)];
  if (kind >= CallKind.FLUSH) {
    return { kind, slot: 0, n: kind === CallKind.FLUSH ? 0 : rng.below(SLOTS) };
  }
  const slot = rng.below(ANY_SLOT) === 0
    ? rng.below(SLOTS)
    : slots[rng.below(slots.length)];
  return { kind, slot, n: randomN(rng, kind, mood) };
}

/** `call`, perhaps on the slot of the last one of its task: what is mapped is used, and given back. */
function again(
  rng: Rng,
  call: Call,
  before: readonly Call[],
): Call {
  const last = before.at(-1);
  if (last === undefined || !usesSlot(call.kind) || !usesSlot(last.kind)) {
    return call;
  }
  if (rng.below(SAME_SLOT) > 0) return call;
  return { kind: call.kind, slot: last.slot, n: call.n };
}

/** Each kind as often as `weights` says, in the order of {@linkcode CallKind}. */
function weighted(weights: readonly number[]): number[] {
  return weights.flatMap((weight, kind) => new Array(weight).fill(kind));
}

function randomN(rng: Rng, kind: number, { sizes }: Mood): number {
  switch (kind) {
    case CallKind.VMALLOC:
    case CallKind.VMAP:
    case CallKind.MAP_RAM:
    case CallKind.AREA:
      if (rng.below(ODD_SIZE) === 0) {
        return rng.below(3) === 0 ? 0 : HUGE + rng.below(HUGE / 2);
      }
      return sizes[rng.below(sizes.length)];
    case CallKind.BURST:
      return rng.below(8) + 8 * (rng.below(8) === 0 ? 1 + rng.below(3) : 0);
    case CallKind.RANGE:
      return 1 + rng.below(4) + 8 * rng.below(EIGHTHS);
    case CallKind.FREE:
      return rng.below(3) === 0 ? 1 + rng.below(4) : 0;
    case CallKind.TOUCH:
      return rng.below(8);
    case CallKind.READ:
      return rng.below(3);
    default:
      return 0;
  }
}

/** `program` with one or a few random changes. */
export function mutate(rng: Rng, program: Program): Program {
  const tasks = program.tasks.map((calls) => calls.slice());
  for (let count = 1 + rng.below(3); count > 0; count--) change(rng, tasks);
  return { early: program.early, tasks };
}

/** Changes one thing; nothing if that cannot be. */
function change(rng: Rng, tasks: Call[][]): void {
  const calls = tasks[rng.below(tasks.length)];
  const at = calls.length === 0 ? 0 : rng.below(calls.length);
  const mood = MOODS[rng.below(MOODS.length)];
  switch (rng.below(8)) {
    case 0: // another one, on slots that the program knows
      if (calls.length < MAX_MUTATED_CALLS) {
        calls.splice(at, 0, randomCall(rng, mood, slotsOf(rng, tasks)));
      }
      return;
    case 1:
      if (calls.length > 0) {
        calls[at] = randomCall(rng, mood, slotsOf(rng, tasks));
      }
      return;
    case 2:
    case 3: // twice as likely as either way of growing
      if (calls.length > 1) calls.splice(at, 1);
      return;
    case 4: { // the same once more, somewhere
      const to = tasks[rng.below(tasks.length)];
      if (calls.length > 0 && to.length < MAX_MUTATED_CALLS) {
        to.splice(rng.below(to.length + 1), 0, calls[at]);
      }
      return;
    }
    case 5: { // two change places
      if (calls.length === 0) return;
      const other = rng.below(calls.length);
      [calls[at], calls[other]] = [calls[other], calls[at]];
      return;
    }
    case 6: // another slot
      if (calls.length > 0 && calls[at].kind < CallKind.FLUSH) {
        const { kind, n } = calls[at];
        calls[at] = { kind, slot: rng.below(SLOTS), n };
      }
      return;
    default: // another number
      if (calls.length > 0) {
        const { kind, slot, n } = calls[at];
        calls[at] = { kind, slot, n: changedN(rng, n) };
      }
  }
}

/** Slots that calls of `tasks` are on, one for each. */
function slotsOf(rng: Rng, tasks: readonly Call[][]): number[] {
  const slots: number[] = [];
  for (const calls of tasks) {
    for (const { kind, slot } of calls) {
      if (kind < CallKind.FLUSH) slots.push(slot);
    }
  }
  return slots.length === 0 ? ownSlots(rng) : slots;
}

function changedN(rng: Rng, n: number): number {
  const changed = rng.below(2) === 0 ? n + 1 + rng.below(3) : n >> 1;
  return Math.min(changed, MAX_N);
}
