/**
 * Flags of a command line, read and checked one by one. What each command
 * accepts is its own; how a mistake is told is the same for all.
 */
import { parseArgs } from "@std/cli/parse-args";
import { nearest } from "../../arch/sim/nearest.ts";
import { badChoice, badValue, UsageError } from "./usage.ts";

/** Values of each flag `V`, in order, and which switches `S` are on. */
export type Flags<V extends string, S extends string> =
  & Record<V, string[]>
  & Record<S, boolean>;

/**
 * Reads flags with values and switches without; `-h` is `--help`.
 *
 * @throws {UsageError} For a flag that is neither, and for a stray word.
 */
export function readFlags<V extends string, S extends string>(
  args: readonly string[],
  values: readonly V[],
  switches: readonly S[],
): Flags<V, S> {
  const known: string[] = [...values, ...switches];
  const flags = parseArgs(args[0] === "--" ? args.slice(1) : args, {
    string: [...values, "_"] as string[],
    boolean: switches as readonly string[],
    collect: values as readonly string[],
    alias: { help: "h" },
    unknown: (arg, key) => {
      if (key === undefined) throw strayWord(arg);
      const hint = known.find((name) => name.startsWith(key)) ??
        nearest(key, known);
      throw new UsageError(
        `Cannot use ${
          JSON.stringify(arg)
        } as there is no such option: nearest is --${hint}`,
      );
    },
  });
  if (flags._.length > 0) throw strayWord(String(flags._[0]));
  for (const name of switches) {
    const valued = args.find((arg) => arg.startsWith(`--${name}=`));
    if (valued !== undefined) {
      throw new UsageError(
        `Cannot use ${JSON.stringify(valued)}: --${name} takes no value`,
      );
    }
  }
  return flags as unknown as Flags<V, S>;
}

function strayWord(word: string): UsageError {
  return new UsageError(
    `Cannot use ${
      JSON.stringify(word)
    } as only options are expected: see --help`,
  );
}

/** The value of a flag that may come once; `null` = it did not come. */
export function only<V extends string>(
  flags: Record<V, string[]>,
  name: V,
): string | null {
  const values = flags[name];
  if (values.length > 1) {
    throw new UsageError(
      `Cannot use --${name} as it must come once: current values are ${
        values.map((value) => JSON.stringify(value)).join(", ")
      }`,
    );
  }
  return values[0] ?? null;
}

/** `value`, if it is one of `choices`. */
export function oneOf<T extends string>(
  option: string,
  value: string,
  choices: readonly T[],
): T {
  const found = choices.find((choice) => choice === value);
  if (found === undefined) throw badChoice(option, choices, value);
  return found;
}

/** The items of a list with commas, each one of `choices` and there once; `null` = no list. */
export function manyOf<T extends string>(
  option: string,
  value: string | null,
  choices: readonly T[],
): T[] | null {
  if (value === null) return null;
  const items = value.split(",").map((item) => oneOf(option, item, choices));
  checkOnce(option, items, value);
  return items;
}

/** Refuses a list, given as `value`, that names an item twice. */
export function checkOnce(
  option: string,
  items: readonly (string | number)[],
  value: string,
): void {
  if (new Set(items).size === items.length) return;
  throw badValue(option, "name each item once", value);
}

/** An integer from `min` to `max`; `null` = none was given. */
export function integer(
  option: string,
  value: string | null,
  min: number,
  max: number,
  limit = "",
): number | null {
  if (value === null) return null;
  const n = /^[0-9]+$/.test(value) ? Number(value) : NaN;
  if (n >= min && n <= max) return n;
  throw badValue(option, `be an integer in ${min}..${max}${limit}`, value);
}
