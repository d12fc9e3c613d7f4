/** Results as CSV (RFC 4180, lines end in LF): a line a run, no profile; of xfs-ls a line a name, of none a line a module, of a mixed run a line a part. */
import type {
  AnyRun,
  BootResult,
  MixedPart,
  MixedRun,
  ModulesRun,
  NamedInode,
  NoneRun,
  RunResult,
  XfsLargeDirRun,
  XfsLsRun,
} from "../boot/results.ts";

type Field = string | number | null;

/** A column: its name, and what it shows of a row. */
type Column<Row> = readonly [
  name: string,
  valueOf: (result: BootResult<AnyRun>, row: Row) => Field,
];

const MACHINE: readonly Column<unknown>[] = [
  ["schema", (result) => result.schema],
  ["machine", (result) => result.machine.name],
  ["cpus", (result) => result.machine.cpus],
  ["seed", (result) => result.seed],
];

const MAP_TOUCH_UNMAP: readonly Column<RunResult>[] = [
  ...MACHINE,
  ["workload", (_, run) => run.workload],
  ["vmap", (_, run) => run.vmap],
  ["api", (_, run) => run.api],
  ["threads", (_, run) => run.threads],
  ["pages", (_, run) => run.pages],
  ["ops", (_, run) => run.ops],
  ["ns_per_op", (_, run) => run.ns_per_op],
  ["reference_ns", (_, run) => run.reference_ns],
  ["tlb_flushes", (_, run) => run.tlb_flushes],
  ["ipis", (_, run) => run.ipis],
  ["lock_wait_ns", (_, run) => run.lock_wait_ns],
];

const XFS_LARGE_DIR: readonly Column<XfsLargeDirRun>[] = [
  ...MACHINE,
  ["workload", (_, run) => run.workload],
  ["vmap", (_, run) => run.vmap],
  ["buf_map", (_, run) => run.buf_map],
  ["threads", (_, run) => run.threads],
  ["ops", (_, run) => run.ops],
  ["lookups", (_, run) => run.lookups],
  ["lookups_per_s", (_, run) => run.lookups_per_s],
  ["speedup", (_, run) => run.speedup],
  ["vmap_ops", (_, run) => run.vmap_ops],
  ["vmap_percent", (_, run) => run.vmap_percent],
  ["tlb_flushes", (_, run) => run.tlb_flushes],
  ["ipis", (_, run) => run.ipis],
  ["lock_wait_ns", (_, run) => run.lock_wait_ns],
];

interface LsRow {
  readonly run: XfsLsRun;
  readonly entry: NamedInode;
}

const XFS_LS: readonly Column<LsRow>[] = [
  ...MACHINE,
  ["workload", (_, { run }) => run.workload],
  ["vmap", (_, { run }) => run.vmap],
  ["path", (_, { run }) => run.path],
  ["ino", (_, { entry }) => entry.ino],
  ["name", (_, { entry }) => entry.name],
  ["name_hex", (_, { entry }) => entry.name_hex ?? null],
];

const MODULES: readonly Column<ModulesRun>[] = [
  ...MACHINE,
  ["workload", (_, run) => run.workload],
  ["vmap", (_, run) => run.vmap],
  ["threads", (_, run) => run.threads],
  ["ops", (_, run) => run.ops],
  ["loads_per_s", (_, run) => run.loads_per_s],
  ["sections", (_, run) => run.sections],
  ["section_bytes", (_, run) => run.section_bytes],
  ["refusals", (_, run) => run.refusals],
  ["tlb_flushes", (_, run) => run.tlb_flushes],
  ["ipis", (_, run) => run.ipis],
  ["lock_wait_ns", (_, run) => run.lock_wait_ns],
];

interface ModuleRow {
  readonly run: NoneRun;
  readonly module: string;
}

const NONE: readonly Column<ModuleRow>[] = [
  ...MACHINE,
  ["workload", (_, { run }) => run.workload],
  ["vmap", (_, { run }) => run.vmap],
  ["module", (_, { module }) => module],
];

/** Added to each row of a run that something was to be injected into. */
const INJECTED: readonly Column<AnyRun>[] = [
  ["failslab", (_, { injected }) => injected?.failslab ?? null],
  ["fail_page_alloc", (_, { injected }) => injected?.fail_page_alloc ?? null],
  ["fail_page_table", (_, { injected }) => injected?.fail_page_table ?? null],
  ["late_ipis", (_, { injected }) => injected?.late_ipis ?? null],
  ["failed_ops", (_, { injected }) => injected?.failed_ops ?? null],
];

interface PartRow {
  readonly run: MixedRun;
  readonly part: MixedPart;
}

const MIXED: readonly Column<PartRow>[] = [
  ...MACHINE,
  ["workload", (_, { run }) => run.workload],
  ["vmap", (_, { run }) => run.vmap],
  ["part", (_, { part }) => part.name],
  ["tasks", (_, { part }) => part.tasks],
  ["ops", (_, { part }) => part.ops],
  ["skipped", (_, { part }) => part.skipped],
];

/**
 * A header line, then a line a run. An empty field stands for `null`.
 *
 * @example
 * ```ts
 * import { findPreset, formatCsv, runBoot } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const spec = findPreset("opteron-2x4");
 * const result = runBoot({ spec, layers: ["rewrite"], threads: [1], ops: 50 });
 * const [header, row] = formatCsv(result).split("\n");
 * assertEquals(header.split(",").length, row.split(",").length);
 * ```
 */
export function formatCsv(result: BootResult<AnyRun>): string {
  const ls: LsRow[] = [];
  const largeDir: XfsLargeDirRun[] = [];
  const mapTouchUnmap: RunResult[] = [];
  const parts: PartRow[] = [];
  const modules: ModulesRun[] = [];
  const loaded: ModuleRow[] = [];
  let none = false;
  let lists = false;
  for (const run of result.runs) {
    if ("parts" in run) {
      for (const part of run.parts) parts.push({ run, part });
    } else if ("modules" in run) {
      none = true;
      for (const module of run.modules) loaded.push({ run, module });
    } else if ("loads_per_s" in run) modules.push(run);
    else if ("entries" in run) {
      lists = true;
      for (const entry of run.entries) ls.push({ run, entry });
    } else if ("lookups" in run) largeDir.push(run);
    else mapTouchUnmap.push(run);
  }
  if (parts.length > 0) return table(result, MIXED, parts);
  if (none) return table(result, NONE, loaded);
  if (modules.length > 0) return table(result, MODULES, modules);
  if (lists) return table(result, XFS_LS, ls);
  if (largeDir.length > 0) return table(result, XFS_LARGE_DIR, largeDir);
  return table(result, MAP_TOUCH_UNMAP, mapTouchUnmap);
}

function table<Row extends AnyRun | { readonly run: AnyRun }>(
  result: BootResult<AnyRun>,
  own: readonly Column<Row>[],
  rows: readonly Row[],
): string {
  const injected = result.runs.some((run) => run.injected !== undefined);
  const columns = injected
    ? [...own, ...INJECTED.map((column) => ofRow<Row>(column))]
    : own;
  const lines = rows.map((row) =>
    columns.map(([, valueOf]) => csvField(valueOf(result, row)))
  );
  return [columns.map(([name]) => name), ...lines]
    .map((line) => `${line.join(",")}\n`).join("");
}

/** A column of the run that a row belongs to. */
function ofRow<Row extends AnyRun | { readonly run: AnyRun }>(
  [name, valueOf]: Column<AnyRun>,
): Column<Row> {
  return [
    name,
    (result, row) => valueOf(result, "run" in row ? row.run : row),
  ];
}

function csvField(value: Field): string {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
