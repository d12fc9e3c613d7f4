/**
 * The command line: every flag read and checked before anything runs, so that
 * a mistake costs one line and no time.
 */
import { DEFAULT_PRESET } from "../../arch/hw/presets/index.ts";
import type { MachineSpec } from "../../arch/hw/spec.ts";
import { cpusOf, withCpus } from "../../arch/hw/validate.ts";
import { VMAP_LAYERS } from "../../kernel/mm/vmalloc.ts";
import type { KernelParams } from "../../kernel/params.ts";
import {
  ParamError,
  parseCommandLine,
  type ParsedCommandLine,
} from "../params.ts";
import { DISK_DRIVERS, type DiskDriver } from "../xfs_disk.ts";
import {
  checkOnce,
  type Flags,
  integer,
  oneOf,
  only,
  readFlags,
} from "./flags.ts";
import type { Io } from "./io.ts";
import { checkPages, checkVmalloc } from "./limits.ts";
import { findMachine } from "./machine_option.ts";
import { sanitizersOf } from "./sanitize_option.ts";
import { badValue, UsageError } from "./usage.ts";

/** What to boot and run, checked. */
export interface BootCommand {
  readonly kind: "boot";
  readonly spec: MachineSpec;
  readonly params: KernelParams;
  /** Kernel command line as given. */
  readonly commandLine: string;
  readonly workload: Workload;
  /** The mixed run comes before it: no workload was named. */
  readonly mixed: boolean;
  readonly layers: readonly string[];
  readonly threads: readonly number[];
  readonly pages: number;
  readonly ops: number | null;
  readonly api: "ram" | "vmap" | null;
  /** File with a disk's image; `null` = the embedded one. */
  readonly disk: string | null;
  /** Who reads it. */
  readonly diskDriver: DiskDriver;
  /** File with frames for the network front ends; `null` = they are made up. */
  readonly pcap: string | null;
  /** Directory on the disk; `null` = the workload's own choice. */
  readonly path: string | null;
  /** Files with modules to load, in order. */
  readonly insmod: readonly string[];
  /** File with a kernel's symbols; `null` = none. */
  readonly ksyms: string | null;
  /** Sanitizers to switch on, by name. */
  readonly sanitize: readonly string[];
  readonly format: Format;
  /** No boot log, no progress, no rates. */
  readonly quiet: boolean;
}

/** What the command line asks for. */
export type Command = BootCommand | { readonly kind: "help" };

/** Forms that results come in. */
export const FORMATS = ["text", "json", "csv"] as const;
/** One of {@linkcode FORMATS}. */
export type Format = typeof FORMATS[number];

/** Workloads that `--workload=` names; the first comes after the mixed run if none is named. */
export const WORKLOADS = [
  "map-touch-unmap",
  "xfs-large-dir",
  "xfs-ls",
  "modules",
  "xen",
  "all",
  "none",
] as const;
/** One of {@linkcode WORKLOADS}. */
export type Workload = typeof WORKLOADS[number];
/** Workloads that compare nothing. */
const ONE_LAYER: readonly Workload[] = ["xfs-ls", "xen", "all", "none"];
/** Layers that run by default: 2.6.27's, then 2.6.28's. */
export const DEFAULT_LAYERS: readonly string[] = ["vmlist", "rewrite"];
/** Pages of a mapping by default, as measured in 2008. */
export const DEFAULT_PAGES = 4;

const APIS = ["ram", "vmap"] as const;
const MAX_CPUS = 4096;
/** Pages of one mapping: 256 MiB of 4 KiB pages, far above what buffers take. */
const MAX_PAGES = 65_536;
const MAX_OPS = 1_000_000_000;

const VALUE_FLAGS = [
  "machine",
  "cpus",
  "threads",
  "vmap",
  "workload",
  "pages",
  "ops",
  "api",
  "disk",
  "disk-driver",
  "pcap",
  "path",
  "insmod",
  "ksyms",
  "append",
  "sanitize",
  "seed",
  "format",
] as const;
const SWITCHES = ["quiet", "help"] as const;

type ValueFlag = typeof VALUE_FLAGS[number];

/** Options that go with some workloads alone. */
const WORKLOADS_OF: Partial<Record<ValueFlag, readonly Workload[]>> = {
  threads: ["map-touch-unmap", "xfs-large-dir", "modules"],
  ops: ["map-touch-unmap", "xfs-large-dir", "modules"],
  pages: ["map-touch-unmap"],
  api: ["map-touch-unmap"],
  disk: ["xfs-large-dir", "xfs-ls"],
  "disk-driver": ["xfs-large-dir", "xfs-ls"],
  pcap: ["xen"],
  path: ["xfs-large-dir", "xfs-ls"],
};
/** Values of each flag, in order; empty = it was not given. */
type BootFlags = Flags<ValueFlag, typeof SWITCHES[number]>;

/**
 * Reads and checks the command line.
 *
 * @throws {UsageError} For the first mistake.
 */
export function parseOptions(args: readonly string[], io: Io): Command {
  const flags = readFlags(args, VALUE_FLAGS, SWITCHES);
  if (flags.help) return { kind: "help" };
  const format = oneOf("--format", only(flags, "format") ?? "text", FORMATS);
  const named = only(flags, "workload");
  const workload = oneOf("--workload", named ?? WORKLOADS[0], WORKLOADS);
  checkGoesWith(flags, workload);
  const commandLine = flags.append.join(" ");
  const parsed = kernelParams(commandLine);
  const spec = machine(flags, args, io);
  if (workload === "xen") checkHasXen("--workload=xen", spec);
  const params = { ...parsed.params, seed: seed(flags, parsed) };
  const layers = vmapLayers(flags, parsed, workload);
  const threads = threadCounts(flags, spec, params, workload);
  const pages = integer("--pages", only(flags, "pages"), 1, MAX_PAGES) ??
    DEFAULT_PAGES;
  checkVmalloc(spec, params);
  if (workload === "map-touch-unmap") {
    checkPages(spec, params, threads, pages);
  }
  const api = only(flags, "api");
  return {
    kind: "boot",
    spec,
    params: { ...params, vmap: layers[0] },
    commandLine,
    workload,
    mixed: named === null,
    layers,
    threads,
    pages,
    ops: integer("--ops", only(flags, "ops"), 1, MAX_OPS),
    api: api === null ? null : oneOf("--api", api, APIS),
    disk: file(flags, "disk"),
    diskDriver: diskDriver(flags, spec),
    pcap: file(flags, "pcap"),
    path: path(flags),
    insmod: insmod(flags),
    ksyms: ksyms(flags),
    sanitize: sanitizersOf(only(flags, "sanitize") ?? "none"),
    format,
    quiet: flags.quiet,
  };
}

function kernelParams(commandLine: string): ParsedCommandLine {
  try {
    return parseCommandLine(commandLine);
  } catch (error) {
    if (error instanceof ParamError) throw new UsageError(error.message);
    throw error;
  }
}

function machine(
  flags: BootFlags,
  args: readonly string[],
  io: Io,
): MachineSpec {
  const cpus = integer("--cpus", only(flags, "cpus"), 1, MAX_CPUS);
  const spec = findMachine(only(flags, "machine") ?? DEFAULT_PRESET, args, io);
  return cpus === null ? spec : withCpus(spec, cpus);
}

/** `--seed=` comes before `seed=` of the kernel command line. */
function seed(flags: BootFlags, { params }: ParsedCommandLine): number {
  return integer("--seed", only(flags, "seed"), 0, Number.MAX_SAFE_INTEGER) ??
    params.seed;
}

/** `--vmap=` comes before `vmap=` of the kernel command line. What compares nothing runs on one layer. */
function vmapLayers(
  flags: BootFlags,
  { params, given }: ParsedCommandLine,
  workload: Workload,
): readonly string[] {
  const value = only(flags, "vmap");
  const one = ONE_LAYER.includes(workload);
  if (value === null) {
    return one || given.has("vmap") ? [params.vmap] : DEFAULT_LAYERS;
  }
  const names = value.split(",");
  for (const name of names) oneOf("--vmap", name, Object.keys(VMAP_LAYERS));
  checkOnce("--vmap", names, value);
  if (one && names.length > 1) {
    throw badValue("--vmap", `name one layer with ${workload}`, value);
  }
  return names;
}

function threadCounts(
  flags: BootFlags,
  spec: MachineSpec,
  params: KernelParams,
  workload: Workload,
): readonly number[] {
  const present = cpusOf(spec);
  const cpus = Math.min(present, params.nr_cpus ?? present);
  const value = only(flags, "threads");
  if (value === null) {
    return workload === "map-touch-unmap" ? defaultThreads(cpus) : [cpus];
  }
  const limit = `, the CPUs of ${spec.name}${
    cpus < present ? " with nr_cpus" : ""
  }`;
  const counts = value.split(",").map((word) =>
    integer("--threads", word, 1, cpus, limit)!
  );
  checkOnce("--threads", counts, value);
  return counts;
}

/** Powers of two up to the number of CPUs, and that number. */
export function defaultThreads(cpus: number): number[] {
  const counts: number[] = [];
  for (let n = 1; n < cpus; n *= 2) counts.push(n);
  return [...counts, cpus];
}

/** Refuses an option that says nothing to `workload`. */
function checkGoesWith(flags: BootFlags, workload: Workload): void {
  for (const name of VALUE_FLAGS) {
    const fitting = WORKLOADS_OF[name];
    if (flags[name].length === 0 || fitting === undefined) continue;
    if (fitting.includes(workload)) continue;
    throw new UsageError(
      `Cannot use --${name} as it goes with --workload=${
        fitting.join(" or --workload=")
      } alone: current workload is ${JSON.stringify(workload)}`,
    );
  }
}

function file(flags: BootFlags, name: "disk" | "pcap"): string | null {
  const value = only(flags, name);
  if (value === "") throw badValue(`--${name}`, "be the path of a file", value);
  return value;
}

/** A front end has its back end in another domain: there must be Xen. */
function diskDriver(flags: BootFlags, spec: MachineSpec): DiskDriver {
  const value = only(flags, "disk-driver") ?? DISK_DRIVERS[0];
  const driver = oneOf("--disk-driver", value, DISK_DRIVERS);
  if (driver !== "brd") checkHasXen(`--disk-driver=${driver}`, spec);
  return driver;
}

function checkHasXen(option: string, spec: MachineSpec): void {
  if (spec.xen !== undefined) return;
  throw new UsageError(
    `Cannot use ${option} as it goes with a machine that has Xen, such as --machine=xen-pv, alone: current machine is ${
      JSON.stringify(spec.name)
    }`,
  );
}

function path(flags: BootFlags): string | null {
  const value = only(flags, "path");
  if (value === null || value.startsWith("/")) return value;
  const hint = value === "" ? "/" : `/${value}`;
  throw badValue(
    "--path",
    `start with / (nearest is ${JSON.stringify(hint)})`,
    value,
  );
}

function insmod(flags: BootFlags): readonly string[] {
  const value = only(flags, "insmod");
  if (value === null) return [];
  const paths = value.split(",");
  if (paths.includes("")) {
    throw badValue("--insmod", "be paths of files, with commas between", value);
  }
  return paths;
}

function ksyms(flags: BootFlags): string | null {
  const value = only(flags, "ksyms");
  if (value === "") throw badValue("--ksyms", "be the path of a file", value);
  if (value !== null && flags.insmod.length === 0) {
    throw new UsageError(
      "Cannot use --ksyms as it goes with --insmod alone: there is none",
    );
  }
  return value;
}
