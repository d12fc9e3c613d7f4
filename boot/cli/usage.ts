/** Mistakes on the command line, and how they read: one line each. */
import { nearest } from "../../arch/sim/nearest.ts";

/** The user asked for what cannot be done. The message starts with "Cannot". */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The error of an option whose value does not fit. `must` goes on after "as it must". */
export function badValue(
  option: string,
  must: string,
  value: string,
): UsageError {
  return new UsageError(
    `Cannot use ${option} as it must ${must}: current value is ${
      JSON.stringify(value)
    }`,
  );
}

/** The error of a value that is none of `choices`. `more` adds what else would do. */
export function badChoice(
  option: string,
  choices: readonly string[],
  value: string,
  more = "",
): UsageError {
  const hint = value === "" ? "" : ` (nearest is "${nearest(value, choices)}")`;
  return badValue(
    option,
    `be one of ${choices.join(", ")}${hint}${more}`,
    value,
  );
}

/** `text` without anything that would start a new line or move a terminal's cursor. */
export function oneLine(text: string): string {
  return text.replace(
    // deno-lint-ignore no-control-regex -- control characters are what goes
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g,
    " ",
  );
}
