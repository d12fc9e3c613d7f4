/**
 * What the options of a check may be. Who calls without type checks, or
 * misspells a name, would otherwise check something else than asked for, or wait
 * for ever.
 */
import { nearest } from "../../arch/sim/nearest.ts";
import { VMAP_LAYERS } from "../../kernel/mm/vmalloc.ts";
import { DEFAULT_PARAMS } from "../../kernel/params.ts";
import { SANITIZERS } from "../../kernel/sanitizers/index.ts";
import type { CheckOptions } from "./scenario.ts";

/** A number that an option may be. */
interface Bounds {
  readonly least: number;
  readonly most: number;
  /** Whether `Infinity` is one as well. */
  readonly unbounded?: boolean;
}

/** Schedules that nobody waits for the end of. */
const MAX_ITERATIONS = 1e9;

/** Options that are numbers. */
const NUMBERS = {
  iterations: { least: 1, most: MAX_ITERATIONS },
  seed: { least: 0, most: Number.MAX_SAFE_INTEGER },
  // No known bug takes ten; each costs every schedule something.
  depth: { least: 1, most: 100 },
  preemptions: { least: 0, most: 100, unbounded: true },
  ticks: { least: 0, most: 100 },
  migrations: { least: 0, most: 100 },
  cpus: { least: 1, most: 8 },
  // Less holds no area and its guard page; more is no small machine.
  pages: { least: 2, most: 65_536 },
  maxSteps: { least: 1, most: 1e9 },
} satisfies Readonly<Record<string, Bounds>>;

/** Names that all checks know. */
const MACHINE: Readonly<Record<keyof CheckOptions, true>> = {
  cpus: true,
  sanitize: true,
  pages: true,
  params: true,
  layers: true,
  maxSteps: true,
};

/** Names that each check knows besides. */
const OWN = {
  checkRandom: ["iterations", "seed"],
  checkPct: ["iterations", "seed", "depth"],
  checkDfs: ["iterations", "preemptions", "ticks", "migrations"],
  // Those of the check that gave the schedule are no mistake.
  replay: [
    "iterations",
    "seed",
    "depth",
    "preemptions",
    "ticks",
    "migrations",
  ],
} satisfies Readonly<Record<string, readonly (keyof typeof NUMBERS)[]>>;

/**
 * Refuses options that `check` does not know, or that are out of range.
 *
 * @throws {TypeError} If an option has a name or a type that none has.
 * @throws {RangeError} If its value is out of range.
 */
export function validateOptions(
  check: keyof typeof OWN,
  options: CheckOptions,
): void {
  // Who runs all schedules comes to an end by itself.
  const iterations = {
    ...NUMBERS.iterations,
    unbounded: check === "checkDfs" || check === "replay",
  };
  const head = `Cannot ${check === "replay" ? "replay" : "check"} as`;
  if (!isRecord(options)) {
    throw new TypeError(
      `${head} options must be an object: current value is ${show(options)}`,
    );
  }
  refuseUnknown(head, "options", options, [
    ...OWN[check],
    ...Object.keys(MACHINE),
  ]);
  for (const [name, bounds] of Object.entries<Bounds>(NUMBERS)) {
    const value = options[name];
    if (value === undefined) continue;
    checkNumber(head, name, value, name === "iterations" ? iterations : bounds);
  }
  const { sanitize, params, layers } = options as CheckOptions;
  if (layers !== undefined) checkLayers(head, layers);
  if (params !== undefined) checkParams(head, params, layers ?? {});
  if (sanitize !== undefined) checkSanitize(head, sanitize);
}

function checkNumber(
  head: string,
  name: string,
  value: unknown,
  { least, most, unbounded = false }: Bounds,
): void {
  if (unbounded && value === Infinity) return;
  if (Number.isInteger(value)) {
    if ((value as number) >= least && (value as number) <= most) return;
  }
  throw new RangeError(
    `${head} ${name} must be a whole number from ${least} to ${most}${
      unbounded ? ", or Infinity" : ""
    }: current value is ${show(value)}`,
  );
}

function checkParams(head: string, params: unknown, layers: object): void {
  if (!isRecord(params)) {
    throw new TypeError(
      `${head} params must be an object: current value is ${show(params)}`,
    );
  }
  refuseUnknown(head, "params", params, Object.keys(DEFAULT_PARAMS));
  const { vmap } = params;
  if (vmap === undefined) return;
  const names = [...Object.keys(layers), ...Object.keys(VMAP_LAYERS)];
  if (typeof vmap === "string" && names.includes(vmap)) return;
  throw new RangeError(
    `${head} params.vmap must be one of ${names.join(", ")}${
      hint(vmap, names)
    }: current value is ${show(vmap)}`,
  );
}

function checkLayers(head: string, layers: unknown): void {
  if (
    isRecord(layers) &&
    Object.values(layers).every((make) => typeof make === "function")
  ) return;
  throw new TypeError(
    `${head} layers must be an object of functions that make a layer: current value is ${
      show(layers)
    }`,
  );
}

function checkSanitize(head: string, sanitize: unknown): void {
  if (!Array.isArray(sanitize)) {
    throw new TypeError(
      `${head} sanitize must be an array of names: current value is ${
        show(sanitize)
      }`,
    );
  }
  const names = SANITIZERS.map(({ name }) => name);
  for (const name of sanitize) {
    if (names.includes(name)) continue;
    throw new RangeError(
      `${head} sanitize must be among ${names.join(", ")}${
        hint(name, names)
      }: current value is ${show(name)}`,
    );
  }
}

function refuseUnknown(
  head: string,
  what: string,
  options: Readonly<Record<string, unknown>>,
  names: readonly string[],
): void {
  for (const name of Object.keys(options)) {
    if (names.includes(name)) continue;
    throw new TypeError(
      `${head} ${what} must be among ${names.join(", ")}${
        hint(name, names)
      }: current value is "${name}"`,
    );
  }
}

function hint(name: unknown, names: readonly string[]): string {
  return typeof name === "string"
    ? ` (nearest is "${nearest(name, names)}")`
    : "";
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `value` in a few words, on one line. */
export function show(value: unknown): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    case "function":
      return "a function";
    case "object":
      if (value === null) return "null";
      return Array.isArray(value) ? "an array" : "an object";
    default:
      return String(value);
  }
}
