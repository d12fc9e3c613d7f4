/** The command line of `deno task verify`, read and checked before anything runs. */
import {
  type Flags,
  integer,
  manyOf,
  oneOf,
  only,
  readFlags,
} from "../../boot/cli/flags.ts";
import { sanitizersOf } from "../../boot/cli/sanitize_option.ts";
import { badValue, UsageError } from "../../boot/cli/usage.ts";
import { QUIRKS } from "../../kernel/mm/quirks.ts";
import { VMAP_LAYERS } from "../../kernel/mm/vmalloc.ts";
import type { Case } from "../search/case.ts";
import { FAULTS, parseCase, ReplayError } from "../search/replay_string.ts";
import type { PolicyName, SearchOptions } from "../search/session.ts";

/** Policies, and what each does. */
export const POLICIES = [
  { name: "mix", summary: "random walk and PCT in turns: the default" },
  { name: "random", summary: "random walk: now and then something happens" },
  {
    name: "pct",
    summary: "random priorities, --depth=N - 1 changes of them a round",
  },
  {
    name: "dfs",
    summary: "every schedule of small programs, up to --depth=N preemptions",
  },
  { name: "rr", summary: "round robin: each CPU goes on until it waits" },
] as const;

/** What to do, checked. */
export type VerifyCommand =
  | { readonly kind: "help" | "list" }
  | {
    readonly kind: "replay";
    readonly text: string;
    readonly case: Case;
    readonly trace: boolean;
  }
  | {
    readonly kind: "search";
    readonly options: SearchOptions;
    /** Schedules at most. */
    readonly iterations: number;
    /** Host seconds at most. */
    readonly seconds: number;
    /** File with programs, read and written; `null` = none. */
    readonly corpus: string | null;
    readonly quiet: boolean;
  };

const VALUES = [
  "quirk",
  "seed",
  "time-limit",
  "iterations",
  "policy",
  "cpus",
  "depth",
  "sanitize",
  "vmap",
  "fault",
  "corpus",
  "replay",
] as const;
const SWITCHES = ["list", "trace", "quiet", "help"] as const;
type VerifyFlags = Flags<typeof VALUES[number], typeof SWITCHES[number]>;

/** Most CPUs that programs are made for. */
const MAX_CPUS = 4;
/** Seeds stay apart: a seed has 2^20 sessions. */
const MAX_SEED = 2 ** 32 - 1;
/** A week, seconds. */
const MAX_SECONDS = 604_800;
const DEFAULT_SECONDS = 60;
const DEFAULT_DEPTH = 3;
const MAX_DEPTH = 20;

/**
 * Reads and checks the command line.
 *
 * @throws {UsageError} For the first mistake.
 */
export function parseVerify(args: readonly string[]): VerifyCommand {
  const flags: VerifyFlags = readFlags(args, VALUES, SWITCHES);
  if (flags.help) return { kind: "help" };
  if (flags.list) return { kind: "list" };
  const replay = only(flags, "replay");
  if (replay !== null) return replayCommand(flags, replay);
  if (flags.trace) {
    throw new UsageError(
      "Cannot use --trace as it goes with --replay=STRING alone: there is none",
    );
  }
  const iterations = integer(
    "--iterations",
    only(flags, "iterations"),
    1,
    Number.MAX_SAFE_INTEGER,
  );
  const seconds = integer(
    "--time-limit",
    only(flags, "time-limit"),
    1,
    MAX_SECONDS,
    " seconds",
  );
  return {
    kind: "search",
    options: searchOptions(flags),
    iterations: iterations ?? Infinity,
    // One limit is enough: a number of schedules gives the same run anywhere.
    seconds: seconds ?? (iterations === null ? DEFAULT_SECONDS : Infinity),
    corpus: only(flags, "corpus"),
    quiet: flags.quiet,
  };
}

function searchOptions(flags: VerifyFlags): SearchOptions {
  const policies: PolicyName[] = POLICIES.map(({ name }) => name);
  const vmap = oneOf(
    "--vmap",
    only(flags, "vmap") ?? "rewrite",
    Object.keys(VMAP_LAYERS),
  );
  const quirks = manyOf(
    "--quirk",
    only(flags, "quirk"),
    QUIRKS.map(({ name }) => name),
  ) ?? [];
  if (quirks.length > 0 && vmap !== "rewrite") {
    throw badValue("--quirk", "go with --vmap=rewrite", flags.quirk[0]);
  }
  const policy = oneOf("--policy", only(flags, "policy") ?? "mix", policies);
  const faults = manyOf(
    "--fault",
    only(flags, "fault"),
    FAULTS.map(({ name }) => name),
  ) ?? [];
  if (faults.length > 0 && (policy === "dfs" || policy === "rr")) {
    throw badValue(
      "--fault",
      "go with --policy=mix, random or pct: the others fail nothing",
      faults.join(","),
    );
  }
  return {
    cpus: integer("--cpus", only(flags, "cpus"), 1, MAX_CPUS) ?? 2,
    vmap,
    quirks,
    sanitize: sanitizersOf(only(flags, "sanitize") ?? "all"),
    policy,
    depth: integer("--depth", only(flags, "depth"), 1, MAX_DEPTH) ??
      DEFAULT_DEPTH,
    faults,
    seed: integer("--seed", only(flags, "seed"), 0, MAX_SEED) ?? 1,
  };
}

/** A string says all that there is to say: nothing else goes with it but --trace. */
function replayCommand(flags: VerifyFlags, text: string): VerifyCommand {
  const other = VALUES.find((name) =>
    name !== "replay" && flags[name].length > 0
  );
  if (other !== undefined) {
    throw new UsageError(
      `Cannot use --${other} with --replay as the string says it already`,
    );
  }
  try {
    return { kind: "replay", text, case: parseCase(text), trace: flags.trace };
  } catch (error) {
    if (error instanceof ReplayError) throw new UsageError(error.message);
    throw error;
  }
}
