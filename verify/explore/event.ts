/**
 * Scheduling decisions: what a schedule consists of, and their text form.
 *
 * A schedule says only where it departs from the rule: whoever runs goes on
 * until it cannot; then the next CPU by number that can run does, and takes the
 * interrupts that have been sent to it. So a schedule is a short list, and
 * dropping any entry gives another schedule.
 */

/** Kinds of decision. */
export const EventKind = {
  /** CPU `a` goes on, and takes what interrupts have been sent to it. */
  SWITCH: 0,
  /** CPU `a` goes on; interrupts sent to it stay on their way. */
  HOLD: 1,
  /** A timer tick on CPU `a`: ends a grace period if nobody reads; softirqs run. */
  TICK: 2,
  /** The tasks of CPUs `a` and `b` change places: both are migrated. */
  MIGRATE: 3,
  /** CPU `a` fills its TLB, speculatively, for page `b` of vmalloc space. */
  FILL: 4,
  /** CPU `a` loses its translation of page `b` of vmalloc space. */
  EVICT: 5,
  /** Request number `a` of the round for memory, counted from 0, fails. */
  FAIL: 6,
} as const;

/** One decision. */
export interface ScheduleEvent {
  /** Operations on shared state that all CPUs have performed in the round before it. */
  readonly at: number;
  /** One of {@linkcode EventKind}. */
  readonly kind: number;
  readonly a: number;
  readonly b: number;
}

/** A decision in words. */
export function describeEvent({ kind, a, b }: ScheduleEvent): string {
  switch (kind) {
    case EventKind.SWITCH:
      return `CPU ${a} goes on, an interrupt on its way arrives`;
    case EventKind.HOLD:
      return `CPU ${a} goes on, interrupts stay on their way`;
    case EventKind.TICK:
      return `tick on CPU ${a}`;
    case EventKind.MIGRATE:
      return `the tasks of CPU ${a} and CPU ${b} change places`;
    case EventKind.FILL:
      return `CPU ${a} fills its TLB for page ${b}`;
    case EventKind.EVICT:
      return `CPU ${a} loses its translation of page ${b}`;
    default:
      return `request ${a} for memory fails`;
  }
}

/** Letters of the kinds, in their order. */
const LETTERS = "shtmfex";
/** Operands of each kind. */
const OPERANDS = [1, 1, 1, 2, 2, 2, 1];

/**
 * `events` as text: the operations since the one before in base 36, in capitals
 * so that letters of kinds end them; a letter; operands in base 36, the second
 * after a dot. Such as `"1Cs1 0t0 A1m0.1"`, without the spaces: `"1Cs10t0A1m0.1"`
 * would be ambiguous, so each ends in `_`.
 */
export function formatEvents(events: readonly ScheduleEvent[]): string {
  let last = 0;
  return events.map(({ at, kind, a, b }) => {
    const gap = at === last ? "" : base36(at - last);
    last = at;
    const operands = [a, b].slice(0, OPERANDS[kind]).map(base36).join(".");
    return `${gap}${LETTERS[kind]}${operands}`;
  }).join("_");
}

/**
 * The inverse of {@linkcode formatEvents}.
 *
 * @throws {RangeError} If `text` is no schedule.
 */
export function parseEvents(text: string): ScheduleEvent[] {
  if (text === "") return [];
  let at = 0;
  return text.split("_").map((word) => {
    const match = /^([0-9A-Z]*)([shtmfex])([0-9A-Z]*)(?:\.([0-9A-Z]+))?$/.exec(
      word,
    );
    const kind = match === null ? -1 : LETTERS.indexOf(match[2]);
    const given = match === null
      ? -1
      : match[3] === ""
      ? 0
      : match[4] === undefined
      ? 1
      : 2;
    if (match === null || given !== OPERANDS[kind]) {
      throw new RangeError(
        `Cannot read a schedule as "${word}" is no decision`,
      );
    }
    at += parseInt(match[1] || "0", 36);
    return {
      at,
      kind,
      a: parseInt(match[3] || "0", 36),
      b: parseInt(match[4] ?? "0", 36),
    };
  });
}

function base36(n: number): string {
  return n.toString(36).toUpperCase();
}
