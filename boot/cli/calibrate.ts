/**
 * `deno task calibrate`: fits the two constants that sources leave open, runs
 * the eight cells of the 2008 table, and shows what each constant and each part
 * of the cost model does to them: the tables of docs/COST_MODEL.md.
 *
 * The same bytes every time. A good minute.
 */
import { findPreset } from "../../arch/hw/presets/index.ts";
import type { MachineSpec } from "../../arch/hw/spec.ts";
import { withTables } from "../../docs/boot_steps.ts";
import {
  type Amount,
  type Cells,
  cells,
  closeups,
  STUDY,
  THREADS,
} from "./calibrate_cells.ts";
import {
  constantsText,
  costOf,
  costs,
  type Path,
  withConstants,
} from "./calibrate_constants.ts";
import { fit, withFit } from "./calibrate_fit.ts";
import { LARGER_PARTS, largerTable } from "./calibrate_larger.ts";
import {
  type Ablation,
  ablationsTable,
  agreementTable,
  cellsTable,
  fitTable,
  type Nudge,
  profileTable,
  rangesTable,
  type Refit,
  roundsTable,
  sensitivityTable,
} from "./calibrate_tables.ts";
import { host } from "./host.ts";
import type { Io } from "./io.ts";
import { Progress } from "./progress.ts";

/** The machine of the 2008 table. */
const MACHINE = "opteron-2x4";
/** As `deno task boot` runs them. */
const FULL: Amount = { vmlistOps: 1000, rewriteOps: 40_960 };
/** Long enough for the RCU callbacks of flushes to pile up. */
const LONG_TIMES = 25;
const LONG: Amount = {
  vmlistOps: LONG_TIMES * STUDY.vmlistOps,
  rewriteOps: LONG_TIMES * STUDY.rewriteOps,
};
const NUDGE = 0.2;
const SEEDS: readonly number[] = [1, 2, 3, 4, 5, 6, 7, 8];
/** A read of the TSC, cycles (recalled, not checked: Fog, Instruction tables, K10). */
const RDTSC_CYCLES = 67;

/** Chosen constants with the ends of the ranges that their sources state. */
const RANGES: readonly (readonly [Path, low: number, high: number])[] = [
  ["cache.otherSocketCycles", 282, 293],
  ["cache.queuedShare", 0.41, 0.63],
  ["tlb.flushCycles", 96, 251],
  ["tlb.flushGlobalCycles", 746, 960],
  ["ipi.sendCycles", 100, 400],
  ["ipi.deliverCycles", 500, 2000],
  ["irq.ackCycles", 30, 100],
  ["idle.wakeCycles", 1150, 4600],
];

const USAGE = `usage: deno task calibrate [--markdown | --write]
  --markdown  only the tables, as they stand in docs/COST_MODEL.md
  --write     puts them there
`;

/** Titles of the tables, by the name in their markers. */
const TITLES: Readonly<Record<string, string>> = {
  constants: "Constants and their sources",
  fit: "Fitted, each to one cell of the one-thread row",
  cells: "The eight cells with the preset's constants",
  rounds: "One operation of vanilla",
  profile: "Profile of vanilla, for one operation",
  sensitivity: "One constant changed by a fifth: change of the cells, %",
  ranges: "Chosen constants at the ends of their ranges, refitted: errors, %",
  agreement: "Order, length and seeds",
  larger: "Order on larger machines",
  ablations: "Parts of the model taken away",
};

/** Called before each part with what comes. */
type OnPart = (what: string) => void;

function study(spec: MachineSpec): Cells {
  return cells(spec);
}

/** `value` a fifth less and a fifth more; a whole number stays one, and changes. */
export function nudged(value: number): [low: number, high: number] {
  const by = value * NUDGE;
  if (!Number.isInteger(value)) {
    return [hundredths(value - by), hundredths(value + by)];
  }
  const step = Math.max(1, Math.round(by));
  return [value - step, value + step];
}

function hundredths(x: number): number {
  return Math.round(x * 100) / 100;
}

function nudge(spec: MachineSpec, path: Path): Nudge {
  const [low, high] = nudged(costOf(spec, path));
  return {
    path,
    low,
    high,
    atLow: study(withConstants(spec, { [path]: low })),
    atHigh: study(withConstants(spec, { [path]: high })),
  };
}

function refit(
  spec: MachineSpec,
  what: string,
  values: Readonly<Record<Path, number>>,
): Refit {
  const other = withConstants(spec, values);
  try {
    const fitted = fit(other);
    return {
      what,
      result: { fit: fitted, cells: study(withFit(other, fitted)) },
    };
  } catch (error) {
    if (error instanceof RangeError) return { what, result: null };
    throw error;
  }
}

/** Every range by its ends, then all of them together. */
function refits(spec: MachineSpec, onPart: OnPart): Refit[] {
  const rows: Refit[] = [refit(spec, "nothing", {})];
  for (const [path, low, high] of RANGES) {
    onPart(path);
    for (const value of [low, high]) {
      if (value === costOf(spec, path)) continue;
      rows.push(refit(spec, `\`${path}\` ${value}`, { [path]: value }));
    }
  }
  for (const end of [1, 2] as const) {
    const all = Object.fromEntries(
      RANGES.map((range) => [range[0], range[end]]),
    );
    const what = end === 1 ? "all at their low ends" : "all at their high ends";
    rows.push(refit(spec, what, all));
  }
  return rows;
}

function ablations(spec: MachineSpec, base: Cells): Ablation[] {
  const { cache } = spec;
  const without = (what: string, values: Readonly<Record<Path, unknown>>) => ({
    what,
    cells: study(withConstants(spec, values)),
  });
  const tsc = {
    "clocksource.name": "tsc",
    "clocksource.readCycles": RDTSC_CYCLES,
    "clocksource.shared": false,
  };
  return [
    { what: "as it is", cells: base },
    without("a clock device for each CPU", { "clocksource.shared": false }),
    without("clock source TSC", tsc),
    without("no wake-up from halt", { "idle.wakeCycles": 0 }),
    without("both: idle CPUs answer like busy ones", {
      ...tsc,
      "idle.wakeCycles": 0,
    }),
    without("other socket as near as the own one", {
      "cache.otherSocketCycles": cache.sameSocketCycles,
      "cache.memoryRemoteCycles": cache.memoryLocalCycles,
    }),
    without("every line always in the own cache", {
      "cache.sameSocketCycles": cache.hitCycles,
      "cache.otherSocketCycles": cache.hitCycles,
      "cache.memoryLocalCycles": cache.hitCycles,
      "cache.memoryRemoteCycles": cache.hitCycles,
      "cache.jitterCycles": 0,
    }),
    without("no jitter", { "cache.jitterCycles": 0 }),
  ];
}

/** Everything, by the name in the markers. */
export function calibrate(
  spec: MachineSpec,
  onPart: OnPart,
): ReadonlyMap<string, string> {
  const tables = new Map([["constants", constantsText(spec)]]);
  onPart("fit");
  tables.set("fit", fitTable(fit(spec, { amount: FULL }), spec));
  onPart("cells");
  tables.set("cells", cellsTable(cells(spec, { amount: FULL })));
  const vanilla = closeups(spec, "vmlist", THREADS, { amount: FULL });
  tables.set("rounds", roundsTable(vanilla, spec));
  tables.set("profile", profileTable(vanilla));
  onPart("baseline");
  const base = study(spec);
  const nudges = costs(spec).map((path) => {
    onPart(path);
    return nudge(spec, path);
  });
  tables.set("sensitivity", sensitivityTable(spec, base, nudges));
  tables.set("ranges", rangesTable(refits(spec, onPart)));
  onPart("strict order");
  const strict = cells(spec, { runAheadCycles: 0 });
  onPart("longer runs");
  const long = cells(spec, { amount: LONG });
  onPart("seeds");
  const seeds = SEEDS.map((seed) => cells(spec, { seed }));
  const others = [
    { what: "strict order (`runAheadCycles: 0`)", cells: strict },
    { what: `${LONG_TIMES} times the operations`, cells: long },
  ];
  tables.set("agreement", agreementTable(base, others, seeds));
  tables.set("larger", largerTable(onPart));
  onPart("ablations");
  tables.set("ablations", ablationsTable(ablations(spec, base)));
  return tables;
}

/** Parts that {@linkcode calibrate} announces. */
function countParts(spec: MachineSpec): number {
  return 7 + costs(spec).length + RANGES.length + LARGER_PARTS;
}

/** @returns Exit code. */
export function main(args: readonly string[], io: Io): number {
  const [option = ""] = args;
  if (option === "--help") {
    io.out(USAGE);
    return 0;
  }
  if (args.length > 1 || !["", "--markdown", "--write"].includes(option)) {
    io.err(
      `vmaplab: Cannot calibrate as options must be --markdown or --write, or none: current value is "${
        args.join(" ")
      }"\n`,
    );
    return 2;
  }
  const spec = findPreset(MACHINE);
  const progress = new Progress(io, false);
  const total = countParts(spec);
  let done = 0;
  const tables = calibrate(
    spec,
    (what) => progress.update(done++, total, what),
  );
  progress.clear();
  if (option === "--write") {
    const page = new URL("../../docs/COST_MODEL.md", import.meta.url);
    Deno.writeTextFileSync(
      page,
      withTables(Deno.readTextFileSync(page), tables),
    );
    return 0;
  }
  for (const [name, table] of tables) {
    if (option === "") io.out(`${TITLES[name]}\n\n`);
    io.out(`${table}\n\n`);
  }
  return 0;
}

if (import.meta.main) Deno.exit(main(Deno.args, host));
