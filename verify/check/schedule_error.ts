/** What a check has found, in words, and the schedule that shows it again. */
import { formatOops } from "../../report/oops.ts";
import { oopsOf } from "../../report/oops_of.ts";
import {
  formatEvents,
  parseEvents,
  type ScheduleEvent,
} from "../explore/event.ts";
import { SCHEDULE_VERSION } from "../explore/version.ts";

/** What {@linkcode ScheduleError} is made from. */
export interface ScheduleFinding {
  /** What was thrown. */
  readonly error: unknown;
  readonly events: readonly ScheduleEvent[];
  /** Clock of the machine, hertz. */
  readonly clockHz: number;
  /** How it was found, a line; `""` = not to be said. */
  readonly found: string;
  /** The call that shows it again, `SCHEDULE` in place of the schedule. */
  readonly again: string;
}

/**
 * A schedule under which a scenario fails: thrown by {@linkcode checkRandom},
 * {@linkcode checkPct}, {@linkcode checkDfs} and {@linkcode replay}.
 *
 * The message has the headline, how it was found, the oops in the kernel's
 * layout, and the call that shows the same again. `cause` is what was thrown
 * under the schedule: a {@linkcode KernelBug}, a {@linkcode Deadlock}, or what
 * an assertion of the scenario throws.
 *
 * @example
 * ```ts
 * import { BUG_ON, checkRandom, ScheduleError } from "@vmaplab/vmaplab";
 * import { assertEquals, assertMatch, assertThrows } from "@std/assert";
 *
 * const error = assertThrows(
 *   () =>
 *     checkRandom({ iterations: 1 }, () => ({
 *       cpus: [function* (t) {
 *         BUG_ON(t, true, "always");
 *       }],
 *     })),
 *   ScheduleError,
 * );
 * assertEquals(error.headline, "kernel BUG at kthread: always");
 * assertMatch(error.schedule, /^v\d+\.$/); // no decision is needed
 * ```
 */
export class ScheduleError extends Error {
  /** Name shown before the message. */
  override name = "ScheduleError";
  /** First line of the oops. */
  readonly headline: string;
  /** What {@linkcode replay} takes. */
  readonly schedule: string;

  /**
   * A finding.
   *
   * @internal
   */
  constructor(finding: ScheduleFinding) {
    const { error, events, found, again } = finding;
    const headline = headlineOf(error);
    const schedule = formatSchedule(events);
    const call = again.replace("SCHEDULE", JSON.stringify(schedule));
    super(
      [
        headline,
        ...(found === "" ? [] : [found]),
        "",
        ...details(finding),
        "",
        call,
      ].join("\n"),
      { cause: error },
    );
    this.headline = headline;
    this.schedule = schedule;
  }
}

/** First line of what `error` says: that of an oops, or of a failed assertion. */
function headlineOf(error: unknown): string {
  if (!(error instanceof Error)) return `thrown: ${String(error)}`;
  const { headline } = error as { headline?: unknown };
  if (typeof headline === "string") return headline;
  const line = error.message.split("\n").find((text) => text.trim() !== "");
  return `${error.name}: ${(line ?? "").trim()}`;
}

/** Whether two errors are the same finding: numbers in an assertion's message may differ. */
export function sameFinding(a: unknown, b: unknown): boolean {
  const masked = (error: unknown) => headlineOf(error).replaceAll(/\d+/g, "#");
  return masked(a) === masked(b);
}

/** The oops, or what an assertion says; what a wild pointer was in JavaScript. */
function details({ error, clockHz }: ScheduleFinding): string[] {
  // The schedule says how to see it again, not a seed.
  const oops = oopsOf(error, clockHz, null);
  if (oops === null) {
    return error instanceof Error ? error.message.trimEnd().split("\n") : [];
  }
  const text = formatOops(oops).trimEnd().split("\n");
  const { cause } = error as Error;
  if (cause instanceof Error) {
    const [frame] = /^ +at .*$/m.exec(cause.stack ?? "") ?? [""];
    text.push(
      `Caused by: ${cause.name}: ${cause.message}${
        frame && ` ${frame.trim()}`
      }`,
    );
  }
  return text;
}

/** A schedule as a string: version, decisions. */
function formatSchedule(events: readonly ScheduleEvent[]): string {
  return `v${SCHEDULE_VERSION}.${formatEvents(events)}`;
}

/**
 * The inverse of {@linkcode formatSchedule}.
 *
 * @throws {RangeError} If `text` is no schedule of this version.
 */
export function parseSchedule(text: string): ScheduleEvent[] {
  const match = /^v(\d+)\.(.*)$/.exec(text);
  if (match === null) {
    throw new RangeError(
      `Cannot replay "${text}" as it is no schedule: expected what a ScheduleError has, such as "v${SCHEDULE_VERSION}.1Cs1"`,
    );
  }
  const [, version, events] = match;
  if (Number(version) !== SCHEDULE_VERSION) {
    throw new RangeError(
      `Cannot replay a schedule of version ${version} as this is version ${SCHEDULE_VERSION}: use the vmaplab that printed it`,
    );
  }
  return parseEvents(events);
}
