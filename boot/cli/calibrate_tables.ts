/** What calibration finds, as the tables of docs/COST_MODEL.md. */
import type { MachineSpec } from "../../arch/hw/spec.ts";
import { markdownTable } from "../../docs/boot_steps.ts";
import {
  type Cells,
  type Closeup,
  LAYERS,
  MEASURED,
  THREADS,
} from "./calibrate_cells.ts";
import { costOf, type Path } from "./calibrate_constants.ts";
import { type Fit, READ_NS, rounded } from "./calibrate_fit.ts";

/** Names of the layers in the tables' heads. */
const TITLES = { vmlist: "vanilla", rewrite: "rewrite" } as const;

/** Symbols of each profile that the table shows. */
const PROFILE_SYMBOLS = 7;

function percent(value: number, of: number): string {
  const text = ((value / of - 1) * 100).toFixed(1);
  if (text === "0.0" || text === "-0.0") return "0.0";
  return text.startsWith("-") ? text : `+${text}`;
}

function micros(ns: number): string {
  return (ns / 1000).toFixed(1);
}

function code(text: string): string {
  return `\`${text}\``;
}

/** Heads of the columns by number of threads. */
const THREAD_HEADS = THREADS.map((n) => n === 1 ? "1 thread" : `${n} threads`);

/** Heads of the eight cells' columns. */
const CELL_HEADS = LAYERS.flatMap((layer) =>
  THREADS.map((threads) => `${TITLES[layer]} ${threads}`)
);

/** The eight cells of `now` against `base`, percent. */
function changes(now: Cells, base: Cells): string[] {
  return LAYERS.flatMap((layer) =>
    now[layer].map((ns, i) => percent(ns, base[layer][i]))
  );
}

/** What was fitted, to what, and what the preset has. */
export function fitTable(fitted: Fit, spec: MachineSpec): string {
  const near = rounded(fitted);
  const inNs = (cycles: number) => Math.round(cycles * 1e9 / spec.clockHz);
  return markdownTable(
    ["Constant", "Fitted to", "Result", "Rounded", "Preset", "Bounds"],
    [
      [
        code("cyclesPerInstruction"),
        `rewrite, 1 thread: ${MEASURED.rewrite[0]} ns`,
        fitted.cyclesPerInstruction.toFixed(3),
        String(near.cyclesPerInstruction),
        String(spec.cyclesPerInstruction),
        "none",
      ],
      [
        code("clocksource.readCycles"),
        `vanilla, 1 thread: ${MEASURED.vmlist[0]} ns`,
        `${fitted.readCycles} (${inNs(fitted.readCycles)} ns)`,
        String(near.readCycles),
        String(spec.clocksource.readCycles),
        `${READ_NS.join(" to ")} ns`,
      ],
    ],
  );
}

/** The eight cells against 2008's. */
export function cellsTable(predicted: Cells): string {
  const rows = LAYERS.flatMap((layer) =>
    THREADS.map((threads, i) => {
      const ns = predicted[layer][i];
      const real = MEASURED[layer][i];
      return [
        TITLES[layer],
        String(threads),
        String(real),
        String(Math.round(ns)),
        percent(ns, real),
        i === 0 ? "fitted" : "prediction",
      ];
    })
  );
  const ratio = (cells: Cells) => (cells.vmlist[3] / cells.rewrite[3]);
  rows.push([
    "ratio",
    "8",
    ratio(MEASURED).toFixed(1),
    ratio(predicted).toFixed(1),
    percent(ratio(predicted), ratio(MEASURED)),
    "prediction",
  ]);
  return markdownTable(
    ["Layer", "Threads", "2008, ns", "Here, ns", "Error, %", ""],
    rows,
  );
}

/** Vanilla with each number of threads: what the time of one operation consists of. */
export function roundsTable(
  vanilla: readonly Closeup[],
  spec: MachineSpec,
): string {
  const symbol = (run: Closeup, name: string) =>
    (run.profile.find((line) => line.symbol === name)?.ticks ?? 0) / run.ops;
  const held = (run: Closeup) =>
    run.locks.find(({ name }) => name === "vmlist_lock")!.hold_ns / run.ops /
    1000;
  const service = (run: Closeup) => run.nsPerOp / run.threads / 1000;
  const device = (run: Closeup) =>
    run.clockReads / run.ops * spec.clocksource.readCycles / spec.clockHz * 1e6;
  const cpus = spec.topology.sockets * spec.topology.coresPerSocket;
  const row = (what: string, of: (run: Closeup, i: number) => string) => [
    what,
    ...vanilla.map(of),
  ];
  return markdownTable(
    ["µs of one operation, vanilla", ...THREAD_HEADS],
    [
      row(
        "2008: time / threads",
        (_, i) => micros(MEASURED.vmlist[i] / THREADS[i]),
      ),
      row("here: time / threads", (run) => service(run).toFixed(1)),
      row("`vmlist_lock` held", (run) => held(run).toFixed(1)),
      row(
        "of that, waiting for the flush (`csd_flag_wait`)",
        (run) => symbol(run, "csd_flag_wait").toFixed(1),
      ),
      row(
        "from holder to holder",
        (run) =>
          run.threads === 1
            ? "no other"
            : (service(run) - held(run)).toFixed(1),
      ),
      row("idle CPUs that the flush wakes", (run) => `${cpus - run.threads}`),
      row(
        "reads of the clock device",
        (run) => (run.clockReads / run.ops).toFixed(1),
      ),
      row("the device is busy", (run) => device(run).toFixed(1)),
      row(
        "the device is busy, % of the time",
        (run) => (device(run) / service(run) * 100).toFixed(0),
      ),
    ],
  );
}

/** Vanilla's profiles side by side: time of all CPUs for one operation. */
export function profileTable(vanilla: readonly Closeup[]): string {
  const symbols = new Set(
    vanilla.flatMap(({ profile }) =>
      profile.slice(0, PROFILE_SYMBOLS).map(({ symbol }) => symbol)
    ),
  );
  return markdownTable(
    ["µs of all CPUs", ...THREAD_HEADS],
    [...symbols].map((name) => [
      code(name),
      ...vanilla.map(({ profile, ops }) =>
        ((profile.find(({ symbol }) => symbol === name)?.ticks ?? 0) / ops)
          .toFixed(1)
      ),
    ]),
  );
}

/** One constant changed both ways. */
export interface Nudge {
  readonly path: Path;
  readonly low: number;
  readonly high: number;
  readonly atLow: Cells;
  readonly atHigh: Cells;
}

/** What each constant, a fifth less and a fifth more, does to the cells. */
export function sensitivityTable(
  spec: MachineSpec,
  base: Cells,
  nudges: readonly Nudge[],
): string {
  return markdownTable(
    ["Constant", "From", "To", ...CELL_HEADS],
    nudges.flatMap(({ path, low, high, atLow, atHigh }) => {
      const value = String(costOf(spec, path));
      return [
        [code(path), value, String(low), ...changes(atLow, base)],
        ["", "", String(high), ...changes(atHigh, base)],
      ];
    }),
  );
}

/** Constants set otherwise, both fitted again. */
export interface Refit {
  readonly what: string;
  /** `null`: the fit has no solution. */
  readonly result: { readonly fit: Fit; readonly cells: Cells } | null;
}

/** The predictions with chosen constants at the ends of their ranges, errors against 2008. */
export function rangesTable(refits: readonly Refit[]): string {
  return markdownTable(
    ["Chosen otherwise", "cpi", "Read", ...CELL_HEADS],
    refits.map(({ what, result }) =>
      result === null ? [what, "no fit"] : [
        what,
        result.fit.cyclesPerInstruction.toFixed(2),
        String(result.fit.readCycles),
        ...changes(result.cells, MEASURED),
      ]
    ).map((row) => [
      ...row,
      ...new Array(3 + CELL_HEADS.length - row.length).fill(""),
    ]),
  );
}

/** Runs that should agree: strict order, more operations, other seeds. */
export function agreementTable(
  base: Cells,
  others: readonly { readonly what: string; readonly cells: Cells }[],
  seeds: readonly Cells[],
): string {
  const spread = LAYERS.flatMap((layer) =>
    THREADS.map((_, i) => {
      const all = seeds.map((cells) => cells[layer][i]);
      const mean = all.reduce((a, b) => a + b, 0) / all.length;
      const half = (Math.max(...all) - Math.min(...all)) / 2;
      return `±${(half / mean * 100).toFixed(1)}`;
    })
  );
  return markdownTable(["%", ...CELL_HEADS], [
    ...others.map(({ what, cells }) => [what, ...changes(cells, base)]),
    [`${seeds.length} seeds, half the spread`, ...spread],
  ]);
}

/** A machine that lacks something, to see what that explains. */
export interface Ablation {
  readonly what: string;
  readonly cells: Cells;
}

/** Time of one operation, µs, with parts of the model taken away. */
export function ablationsTable(ablations: readonly Ablation[]): string {
  const row = ({ what, cells }: Ablation) => [
    what,
    ...LAYERS.flatMap((layer) => cells[layer].map(micros)),
  ];
  return markdownTable(["µs", ...CELL_HEADS], [
    row({ what: "2008", cells: MEASURED }),
    ...ablations.map(row),
  ]);
}
