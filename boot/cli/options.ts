/**
 * The command line: every flag read and checked before anything runs, so that
 * a mistake costs one line and no time.
 */
import { parseArgs } from "@std/cli/parse-args";
import { DEFAULT_PRESET } from "../../arch/hw/presets/index.ts";
import type { MachineSpec } from "../../arch/hw/spec.ts";
import { cpusOf, withCpus } from "../../arch/hw/validate.ts";
import { nearest } from "../../arch/sim/nearest.ts";
import { VMAP_LAYERS } from "../../kernel/mm/vmalloc.ts";
import type { KernelParams } from "../../kernel/params.ts";
import { SANITIZERS } from "../../kernel/sanitizers/index.ts";
import {
  ParamError,
  parseCommandLine,
  type ParsedCommandLine,
} from "../params.ts";
import { DISK_DRIVERS, type DiskDriver } from "../xfs_disk.ts";
import type { Io } from "./io.ts";
import { checkPages, checkVmalloc } from "./limits.ts";
import { findMachine } from "./machine_option.ts";
import { badChoice, badValue, UsageError } from "./usage.ts";

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
type Flags = Record<ValueFlag, string[]> & Record<"quiet" | "help", boolean>;

/**
 * Reads and checks the command line.
 *
 * @throws {UsageError} For the first mistake.
 */
export function parseOptions(args: readonly string[], io: Io): Command {
  const flags = readFlags(args);
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
    sanitize: sanitizers(flags),
    format,
    quiet: flags.quiet,
  };
}

function readFlags(args: readonly string[]): Flags {
  const known = [...VALUE_FLAGS, ...SWITCHES];
  const flags = parseArgs(args[0] === "--" ? args.slice(1) : args, {
    string: [...VALUE_FLAGS, "_"],
    boolean: SWITCHES,
    collect: VALUE_FLAGS,
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
  for (const name of SWITCHES) {
    const valued = args.find((arg) => arg.startsWith(`--${name}=`));
    if (valued !== undefined) {
      throw new UsageError(
        `Cannot use ${JSON.stringify(valued)}: --${name} takes no value`,
      );
    }
  }
  return flags as unknown as Flags;
}

function strayWord(word: string): UsageError {
  return new UsageError(
    `Cannot use ${
      JSON.stringify(word)
    } as only options are expected: see --help`,
  );
}

/** The value of a flag that may come once; `null` = it did not come. */
function only(flags: Flags, name: ValueFlag): string | null {
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

function oneOf<T extends string>(
  option: string,
  value: string,
  choices: readonly T[],
): T {
  const found = choices.find((choice) => choice === value);
  if (found === undefined) throw badChoice(option, choices, value);
  return found;
}

function integer(
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

function kernelParams(commandLine: string): ParsedCommandLine {
  try {
    return parseCommandLine(commandLine);
  } catch (error) {
    if (error instanceof ParamError) throw new UsageError(error.message);
    throw error;
  }
}

function machine(flags: Flags, args: readonly string[], io: Io): MachineSpec {
  const cpus = integer("--cpus", only(flags, "cpus"), 1, MAX_CPUS);
  const spec = findMachine(only(flags, "machine") ?? DEFAULT_PRESET, args, io);
  return cpus === null ? spec : withCpus(spec, cpus);
}

/** `--seed=` comes before `seed=` of the kernel command line. */
function seed(flags: Flags, { params }: ParsedCommandLine): number {
  return integer("--seed", only(flags, "seed"), 0, Number.MAX_SAFE_INTEGER) ??
    params.seed;
}

/** `--vmap=` comes before `vmap=` of the kernel command line. What compares nothing runs on one layer. */
function vmapLayers(
  flags: Flags,
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
  flags: Flags,
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

function checkOnce(
  option: string,
  items: readonly (string | number)[],
  value: string,
): void {
  if (new Set(items).size === items.length) return;
  throw badValue(option, "name each item once", value);
}

/** Refuses an option that says nothing to `workload`. */
function checkGoesWith(flags: Flags, workload: Workload): void {
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

function file(flags: Flags, name: "disk" | "pcap"): string | null {
  const value = only(flags, name);
  if (value === "") throw badValue(`--${name}`, "be the path of a file", value);
  return value;
}

/** A front end has its back end in another domain: there must be Xen. */
function diskDriver(flags: Flags, spec: MachineSpec): DiskDriver {
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

function path(flags: Flags): string | null {
  const value = only(flags, "path");
  if (value === null || value.startsWith("/")) return value;
  const hint = value === "" ? "/" : `/${value}`;
  throw badValue(
    "--path",
    `start with / (nearest is ${JSON.stringify(hint)})`,
    value,
  );
}

/** `--sanitize=NAME[,NAME]`, or `all`. */
function sanitizers(flags: Flags): readonly string[] {
  const value = only(flags, "sanitize");
  if (value === null) return [];
  const all = SANITIZERS.map(({ name }) => name);
  if (value === "all") return all;
  const names = value.split(",");
  for (const name of names) oneOf("--sanitize", name, [...all, "all"]);
  if (names.includes("all")) {
    throw badValue("--sanitize", "be all alone or names of some", value);
  }
  checkOnce("--sanitize", names, value);
  return names;
}

function insmod(flags: Flags): readonly string[] {
  const value = only(flags, "insmod");
  if (value === null) return [];
  const paths = value.split(",");
  if (paths.includes("")) {
    throw badValue("--insmod", "be paths of files, with commas between", value);
  }
  return paths;
}

function ksyms(flags: Flags): string | null {
  const value = only(flags, "ksyms");
  if (value === "") throw badValue("--ksyms", "be the path of a file", value);
  if (value !== null && flags.insmod.length === 0) {
    throw new UsageError(
      "Cannot use --ksyms as it goes with --insmod alone: there is none",
    );
  }
  return value;
}
