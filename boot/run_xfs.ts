/**
 * The workloads on XFS, each on machines that have just booted: runs them, and
 * gathers what came out.
 */
import { withCpus } from "../arch/hw/validate.ts";
import type { DirEntry } from "../kernel/fs/readdir.ts";
import type { BufMap } from "../kernel/fs/xfs/xfs_buf.ts";
import { boot, type BootedMachine } from "./boot.ts";
import { eachMachine } from "./each_machine.ts";
import type { ListedDirectory } from "./images/listed.ts";
import { holdFaults } from "./injected.ts";
import {
  locksBetween,
  profileBetween,
  roundNs,
  type Snapshot,
  tickProfileBetween,
} from "./measure.ts";
import { kernelTextBytes, textBytes } from "./reference_xfs.ts";
import type {
  BootResult,
  NamedInode,
  ProfileLine,
  XfsLargeDirRun,
  XfsLsRun,
} from "./results.ts";
import { vmapPercent } from "./vmap_symbols.ts";
import { WorkloadError } from "./workload_error.ts";
import { bytesOf, join } from "./workloads/paths.ts";
import { isTarget, xfs_large_dir } from "./workloads/xfs_large_dir.ts";
import { list_tree, xfs_ls } from "./workloads/xfs_list.ts";
import { type DiskOptions, withDisk } from "./xfs_disk.ts";

/** What `xfs-ls` takes. */
export type XfsLsOptions = DiskOptions;

/** What `xfs-large-dir` takes. */
export interface XfsLargeDirOptions extends DiskOptions {
  /** Every directory of the disk; `null` = a first walk makes the list. */
  readonly directories: readonly ListedDirectory[] | null;
  /** Operations of each task; `null` or left out: the layer's default. */
  readonly ops?: number | null;
}

const SLASH = 0x2f;

/** Layer of the machine that lists a disk: not the one to be measured before. */
const LISTING_LAYER = "rewrite";
/**
 * Operations of all tasks together by default. A layer that purges lazily needs
 * several purges for an average; one that flushes every time is the same each
 * time.
 */
const OPS = { vmlist: 3072, others: 16_384 };
/** And of each task, at least: less is the beginning alone. */
const MIN_OPS = 24;

function defaultOps(layer: string, threads: number): number {
  const all = layer === "vmlist" ? OPS.vmlist : OPS.others;
  return Math.max(MIN_OPS, Math.ceil(all / threads));
}

/**
 * Lists the directory `path` of an XFS image, on each of the layers.
 *
 * @throws {WorkloadError} If the image does not mount or there is no such directory.
 *
 * @example
 * ```ts
 * import {
 *   findPreset,
 *   runXfsLs,
 *   SparseImage,
 *   WorkloadError,
 * } from "@vmaplab/vmaplab";
 * import { assertThrows } from "@std/assert";
 *
 * const disk = new SparseImage(2 ** 20); // zeros; readImage() makes one of a file
 * assertThrows(
 *   () =>
 *     runXfsLs({
 *       spec: findPreset("opteron-2x4"),
 *       layers: ["rewrite"],
 *       threads: [1],
 *       disk,
 *       path: "/",
 *     }),
 *   WorkloadError,
 *   "Cannot mount the disk as xfs",
 * );
 * ```
 */
export function runXfsLs(options: XfsLsOptions): BootResult<XfsLsRun> {
  const { path } = options;
  return eachMachine(options, (booted, vmap) => ({
    workload: "xfs-ls",
    vmap,
    path,
    entries: withDisk(
      booted,
      options,
      `list ${JSON.stringify(path)}`,
      (t) => xfs_ls(t, bytesOf(path)),
    ).map(namedInode),
  }));
}

/**
 * Looks names up in large directories, with each layer and each number of
 * tasks, on a machine of its own each.
 *
 * @throws {WorkloadError} If the image does not mount or has no names to look up.
 * @throws {KernelBug} If a lookup finds something else than is there.
 *
 * @example
 * ```ts
 * import {
 *   findPreset,
 *   runXfsLargeDir,
 *   SparseImage,
 *   WorkloadError,
 * } from "@vmaplab/vmaplab";
 * import { assertThrows } from "@std/assert";
 *
 * const disk = new SparseImage(2 ** 20); // zeros; readImage() makes one of a file
 * assertThrows(
 *   () =>
 *     runXfsLargeDir({
 *       spec: findPreset("altix-64"),
 *       layers: ["vmlist", "rewrite"],
 *       threads: [64],
 *       disk,
 *       path: "/",
 *       directories: null, // a first walk makes the list
 *     }),
 *   WorkloadError,
 *   "Cannot mount the disk as xfs",
 * );
 * ```
 */
export function runXfsLargeDir(
  options: XfsLargeDirOptions,
): BootResult<XfsLargeDirRun> {
  const directories = directoriesOf(options);
  const result = eachMachine(
    options,
    (booted, layer, threads, onShare) =>
      measure(booted, { ...options, directories }, layer, threads, onShare),
  );
  const { runs } = result;
  return {
    ...result,
    runs: runs.map((run) => ({ ...run, speedup: speedup(run, runs) })),
  };
}

function speedup(
  { threads, lookups_per_s }: XfsLargeDirRun,
  runs: readonly XfsLargeDirRun[],
): number | null {
  const before = runs.find((r) => r.vmap === "vmlist" && r.threads === threads);
  return before
    ? Math.round(lookups_per_s / before.lookups_per_s * 100) / 100
    : null;
}

function measure(
  booted: BootedMachine,
  options: XfsLargeDirOptions & { directories: readonly ListedDirectory[] },
  vmap: string,
  threads: number,
  onShare: (share: number) => void,
): XfsLargeDirRun {
  const { machine, kernel } = booted;
  const ops = options.ops ?? defaultOps(vmap, threads);
  let start: Snapshot | null = null;
  let end: Snapshot | null = null;
  holdFaults(kernel);
  const what = "look names up";
  const measured = withDisk(booted, options, what, (t) =>
    xfs_large_dir(t, {
      threads,
      ops,
      warmup: Math.ceil(ops / 5),
      directories: options.directories,
      onProgress: (done) => onShare(done / (threads * ops)),
      onWindow: (edge) => {
        if (edge === "start") start = booted.snapshot();
        else end = booted.snapshot();
      },
    }));
  const exact = profileBetween(start!, end!);
  const profile = tickProfileBetween(start!, end!);
  const locks = locksBetween(start!, end!);
  const ticks = profile.reduce((sum, line) => sum + line.ticks, 0);
  const ia64 = kernel.arch === "ia64"; // whose text sizes are known
  const text = kernelTextBytes(vmap);
  const seconds = machine.toNs(measured.windowCycles) / 1e9;
  const buf_map = kernel.params.xfs_buf_map ?? defaultBufMap(vmap);
  return {
    workload: "xfs-large-dir",
    vmap,
    buf_map,
    threads,
    ops: measured.opsInWindow,
    lookups: measured.lookupsInWindow,
    lookups_per_s: Math.round(measured.lookupsInWindow / seconds),
    speedup: null,
    vmap_ops: buf_map === "vmap"
      ? end!.vmaps - start!.vmaps
      : end!.ramMaps - start!.ramMaps,
    vmap_percent: vmapPercent(exact),
    tlb_flushes: end!.tlbFlushes - start!.tlbFlushes,
    ipis: end!.ipis - start!.ipis,
    lock_wait_ns: roundNs(locks.reduce((sum, l) => sum + l.wait_ns, 0)),
    total_load: ia64 && text !== null ? roundLoad(ticks / text) : null,
    profile: profile.map((line) => ({
      ...line,
      load: ia64 ? loadOf(line, vmap) : null,
    })),
    locks,
  };
}

/** As xfs_alloc_buftarg() chooses. */
function defaultBufMap(vmap: string): BufMap {
  return vmap === "vmlist" ? "vmap" : "vm_map_ram";
}

/**
 * The directories to look names up in: those from `path` down that have files.
 * Where nobody has a list, a machine of one CPU makes it.
 *
 * @throws {WorkloadError} If there are none.
 */
function directoriesOf(options: XfsLargeDirOptions): ListedDirectory[] {
  const { path, directories } = options;
  const top = bytesOf(path);
  let live = false; // its boot is nothing to see
  const list = () => {
    const booted = boot({
      spec: withCpus(options.spec, 1),
      params: { ...options.params, nr_cpus: null, vmap: LISTING_LAYER },
      sanitize: options.sanitize,
      onLog: (line) => live && options.onLog?.(line),
    });
    live = true;
    holdFaults(booted.kernel);
    const what = `list ${JSON.stringify(path)}`;
    const found = withDisk(booted, options, what, (t) => list_tree(t, top));
    booted.checkQuiet();
    return found;
  };
  const found = (directories ?? list()).filter((dir) =>
    isBelow(dir.path, top) && dir.entries.some(isTarget)
  );
  if (found.length > 0) return found;
  throw new WorkloadError(
    `Cannot look names up in ${JSON.stringify(path)}: there are no files`,
    [],
  );
}

/** Ticks over the size that the function had in the ia64 kernel of 2008; `null` = not known. */
function loadOf({ symbol, ticks }: ProfileLine, vmap: string): number | null {
  const size = textBytes(symbol, vmap);
  return size === null ? null : roundLoad(ticks / size);
}

/** As many decimals as `readprofile` has. */
function roundLoad(load: number): number {
  return Math.round(load * 10_000) / 10_000;
}

function namedInode({ name, ino }: DirEntry): NamedInode {
  try {
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    return { name: decoder.decode(name), ino };
  } catch {
    return {
      name: new TextDecoder().decode(name),
      name_hex: name.toHex(),
      ino,
    };
  }
}

/** Whether `path` is `top` or something in it. */
function isBelow(path: Uint8Array, top: Uint8Array): boolean {
  const start = slashed(top);
  const whole = slashed(path);
  return start.every((byte, i) => whole[i] === byte);
}

/** With a `/` at its end. */
function slashed(path: Uint8Array): Uint8Array {
  return path.at(-1) === SLASH ? path : join(path, new Uint8Array(0));
}
