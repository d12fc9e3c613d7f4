/**
 * Reads machine files: `--machine=FILE.json`, and `--cpus=N`.
 *
 * A file either states every field of {@linkcode MachineSpec} (`sources` may be
 * missing), or starts with `"extends": "PRESET"` and states what differs.
 * Nothing is accepted silently: an unknown key is an error, so that a typo
 * cannot leave a default in place.
 */

import { nearest } from "../sim/nearest.ts";
import { MAX_CPUS } from "./presets/generic.ts";
import { findPreset, PRESETS } from "./presets/index.ts";
import { pteFormat } from "./pte.ts";
import type { MachineSpec, Source, TlbLevelSpec } from "./spec.ts";

/**
 * A machine file that cannot be used. The message is one line and names the
 * field.
 *
 * @example
 * ```ts
 * import { SpecError, validateSpec } from "@vmaplab/vmaplab";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const error = assertThrows(
 *   () => validateSpec({ extends: "opteron-2x4", clockHz: 0 }),
 *   SpecError,
 * );
 * assertEquals(error.field, "clockHz");
 * ```
 */
export class SpecError extends RangeError {
  /** Name shown before the message. */
  override readonly name = "SpecError";

  /**
   * Builds the message from its parts.
   *
   * @param field Dotted path, such as `"tlb.l1.ways"`.
   * @param expected What it must be, in words.
   * @param value What it is; `undefined` = missing.
   */
  constructor(readonly field: string, expected: string, value: unknown) {
    super(
      `Cannot use machine file as ${field} must ${expected}: current value is ${
        show(value)
      }`,
    );
  }
}

function show(value: unknown): string {
  if (value === undefined) return "missing";
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}

type Json = Record<string, unknown>;
/** Throws unless `value` suits the field at `path`. */
type Check = (value: unknown, path: string) => void;
/** Fields of an object; a key that ends in `?` may be missing. */
interface Shape {
  readonly [key: string]: Check | Shape;
}

function integer(min: number, max: number): Check {
  return (value, path) => {
    if (Number.isSafeInteger(value) && Number(value) >= min) {
      if (Number(value) <= max) return;
    }
    throw new SpecError(path, `be an integer in ${min}..${max}`, value);
  };
}

function oneOf(...choices: string[]): Check {
  return (value, path) => {
    if (typeof value === "string" && choices.includes(value)) return;
    const hint = typeof value === "string"
      ? ` (nearest is "${nearest(value, choices)}")`
      : "";
    throw new SpecError(path, `be one of ${choices.join(", ")}${hint}`, value);
  };
}

const text: Check = (value, path) => {
  // One line: it is printed in the boot log and in tables.
  if (typeof value === "string" && /^[^\p{Cc}]{1,200}$/u.test(value)) return;
  throw new SpecError(path, "be 1 to 200 printable characters", value);
};

const flag: Check = (value, path) => {
  if (typeof value !== "boolean") {
    throw new SpecError(path, "be true or false", value);
  }
};

const cycles = integer(0, 1e9);

const rate: Check = (value, path) => {
  if (typeof value === "number" && value > 0 && value <= 100) return;
  throw new SpecError(path, "be a number above 0, at most 100", value);
};

const share: Check = (value, path) => {
  if (typeof value === "number" && value > 0 && value <= 1) return;
  throw new SpecError(path, "be a number above 0, at most 1", value);
};

const address: Check = (value, path) => {
  if (typeof value === "string" && /^0x[0-9a-f]{1,12}$/i.test(value)) return;
  throw new SpecError(
    path,
    'be the low 48 bits in hex, such as "0xc20000000000"',
    value,
  );
};

const sources: Check = (value, path) => {
  if (!Array.isArray(value)) {
    throw new SpecError(path, "be a list of { field, source }", value);
  }
  value.forEach((item, i) =>
    checkObject(item, `${path}[${i}]`, { field: text, source: longText })
  );
};

const longText: Check = (value, path) => {
  if (typeof value === "string" && /^[^\p{Cc}]{1,1000}$/u.test(value)) return;
  throw new SpecError(path, "be 1 to 1000 printable characters", value);
};

const TLB_LEVEL: Shape = {
  entries: integer(0, 32767),
  ways: integer(1, 32767),
};

const XEN: Shape = {
  trapCycles: cycles,
  updateCycles: cycles,
  emulateCycles: cycles,
  validateCycles: cycles,
  eventCycles: cycles,
};

const SHAPE: Shape = {
  name: text,
  description: text,
  clockHz: integer(1e6, 1e11),
  cyclesPerInstruction: rate,
  topology: {
    sockets: integer(1, MAX_CPUS),
    coresPerSocket: integer(1, MAX_CPUS),
    "cpus?": integer(1, MAX_CPUS),
    nodes: integer(1, MAX_CPUS),
  },
  memory: {
    bytesPerNode: integer(2 ** 20, 2 ** 45),
    lineBytes: integer(8, 4096),
  },
  paging: {
    format: oneOf("x86-64", "i386-pae", "ia64-16k"),
    pageShift: integer(12, 16),
  },
  layout: {
    directMapStart: address,
    vmallocStart: address,
    vmallocEnd: address,
    modulesStart: address,
    modulesEnd: address,
  },
  cache: {
    hitCycles: cycles,
    sameSocketCycles: cycles,
    otherSocketCycles: cycles,
    memoryLocalCycles: cycles,
    memoryRemoteCycles: cycles,
    queuedShare: share,
    jitterCycles: cycles,
    "homeBusyCycles?": cycles,
  },
  atomic: { lockedCycles: cycles },
  tlb: {
    l1: TLB_LEVEL,
    l2: TLB_LEVEL,
    large: TLB_LEVEL,
    l2HitCycles: cycles,
    walkCycles: cycles,
    walkCachesUpper: flag,
    invlpgCycles: cycles,
    flushCycles: cycles,
    flushGlobalCycles: cycles,
  },
  ipi: {
    sendCycles: cycles,
    deliverCycles: cycles,
    broadcast: oneOf("mask", "each"),
  },
  irq: { entryCycles: cycles, exitCycles: cycles, ackCycles: cycles },
  idle: { wakeCycles: cycles },
  clocksource: {
    name: oneOf("hpet", "acpi_pm", "tsc", "itc", "rtc"),
    readCycles: cycles,
    shared: flag,
  },
  kernel: {
    hz: integer(1, 10000),
    ticketLocks: flag,
    nrCpus: integer(1, MAX_CPUS),
    hashdist: flag,
  },
  "xen?": XEN,
  "sources?": sources,
};

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function fieldOf(key: string): string {
  return key.endsWith("?") ? key.slice(0, -1) : key;
}

function under(path: string, key: string): string {
  return path === "" ? key : `${path}.${key}`;
}

/** Checks `value` against `shape`; `partial` lets any field be missing. */
function checkObject(
  value: unknown,
  path: string,
  shape: Shape,
  partial = false,
): void {
  if (!isObject(value)) {
    throw new SpecError(path || "it", "be a JSON object", value);
  }
  checkKeys(value, path, Object.keys(shape).map(fieldOf));
  for (const [key, check] of Object.entries(shape)) {
    const field = fieldOf(key);
    if (!Object.hasOwn(value, field)) {
      if (partial || key !== field) continue;
    }
    const at = under(path, field);
    if (typeof check === "function") check(value[field], at);
    else if (value[field] === undefined) {
      throw new SpecError(at, "be a JSON object", undefined);
    } else checkObject(value[field], at, check, partial);
  }
}

function checkKeys(value: Json, path: string, known: string[]): void {
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue;
    throw new SpecError(
      under(path, JSON.stringify(key).slice(1, -1)),
      `be a field that exists (nearest is "${
        under(path, nearest(key, known)!)
      }")`,
      value[key],
    );
  }
}

/** Copies `over`, field by field of `shape`, onto a copy of `base`; both were checked. */
function merge(base: Json, over: Json, shape: Shape): Json {
  const merged: Json = {};
  for (const [key, check] of Object.entries(shape)) {
    const field = fieldOf(key);
    const mine = Object.hasOwn(over, field) ? over[field] : undefined;
    const theirs = base[field];
    if (key !== field && mine === undefined && theirs === undefined) continue;
    if (typeof check !== "function") {
      merged[field] = merge(
        (theirs ?? {}) as Json,
        (mine ?? {}) as Json,
        check,
      );
    } else if (mine !== undefined || theirs !== undefined) {
      merged[field] = mine ?? theirs;
    }
  }
  return merged;
}

/** Dotted paths of the values that a file states, `sources` aside. */
function leaves(value: Json, path = ""): string[] {
  return Object.entries(value).flatMap(([key, item]) => {
    const at = under(path, key);
    if (at === "sources") return [];
    return isObject(item) ? leaves(item, at) : [at];
  });
}

/** Sources after a merge: what the file states is no longer the preset's. */
function mergeSources(base: readonly Source[], file: Json): Source[] {
  const own = (file.sources ?? []) as Source[];
  const stated = leaves(file).filter((field) =>
    field !== "name" && field !== "description"
  );
  return [
    ...own,
    ...stated.filter((field) => !own.some((source) => source.field === field))
      .map((field) => ({ field, source: "chosen: by the machine file" })),
    ...base.filter(({ field }) => !stated.includes(field)),
  ];
}

/**
 * Turns parsed JSON into a machine, or says why not.
 *
 * @throws {SpecError} Naming the field, its value, what was expected, and for
 * names the nearest valid one.
 *
 * @example
 * ```ts
 * import { findPreset, validateSpec } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const spec = validateSpec({
 *   extends: "opteron-2x4",
 *   name: "slow-links",
 *   cache: { otherSocketCycles: 1000 },
 * });
 * assertEquals(spec.cache.otherSocketCycles, 1000);
 * assertEquals(
 *   spec.cache.hitCycles,
 *   findPreset("opteron-2x4").cache.hitCycles,
 * );
 * ```
 */
export function validateSpec(json: unknown): MachineSpec {
  if (!isObject(json)) throw new SpecError("it", "be a JSON object", json);
  let file: Json = json;
  if (Object.hasOwn(json, "extends")) {
    oneOf(...Object.keys(PRESETS))(json.extends, "extends");
    const base = findPreset(json.extends as string);
    const { extends: _, ...rest } = json;
    checkObject(rest, "", SHAPE, true);
    file = merge(base as unknown as Json, rest, SHAPE);
    file.sources = mergeSources(base.sources, rest);
  } else {
    checkKeys(json, "", ["extends", ...Object.keys(SHAPE).map(fieldOf)]);
    checkObject(json, "", SHAPE);
    file = merge({ sources: [] }, json, SHAPE);
  }
  const spec = file as unknown as MachineSpec;
  checkSpec(spec);
  return spec;
}

/**
 * Checks what no single field shows: that the fields fit together.
 *
 * @throws {SpecError} For the first that does not.
 */
export function checkSpec(spec: MachineSpec): void {
  checkTopology(spec);
  checkMemory(spec);
  checkLayout(spec);
  checkXen(spec);
  checkTlbLevel("tlb.l1", spec.tlb.l1);
  checkTlbLevel("tlb.l2", spec.tlb.l2);
  checkTlbLevel("tlb.large", spec.tlb.large);
  if (spec.tlb.l1.entries === 0) {
    throw new SpecError("tlb.l1.entries", "be >= 1", 0);
  }
}

/** A file may add `xen` to a machine that has none: then all of it. */
function checkXen({ xen, paging }: MachineSpec): void {
  if (xen === undefined) return;
  checkObject(xen, "xen", XEN);
  if (paging.format !== "x86-64") {
    throw new SpecError(
      "paging.format",
      'be "x86-64" with "xen"',
      paging.format,
    );
  }
}

/**
 * CPUs present in a machine.
 *
 * @example
 * ```ts
 * import { cpusOf, findPreset } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(cpusOf(findPreset("opteron-2x4")), 8);
 * ```
 */
export function cpusOf(spec: Pick<MachineSpec, "topology">): number {
  const { sockets, coresPerSocket, cpus } = spec.topology;
  return cpus ?? sockets * coresPerSocket;
}

function checkTopology(spec: MachineSpec): void {
  const { sockets, coresPerSocket, nodes } = spec.topology;
  const cpus = cpusOf(spec);
  if (cpus > MAX_CPUS) {
    throw new SpecError(
      "topology.sockets",
      `give at most ${MAX_CPUS} CPUs with topology.coresPerSocket (${coresPerSocket})`,
      sockets,
    );
  }
  const full = sockets * coresPerSocket;
  if (cpus > full || cpus <= full - coresPerSocket) {
    throw new SpecError(
      "topology.cpus",
      `fill ${sockets} sockets of ${coresPerSocket}, the last at least in part (${
        full - coresPerSocket + 1
      }..${full})`,
      cpus,
    );
  }
  if (sockets % nodes !== 0) {
    throw new SpecError(
      "topology.nodes",
      `divide topology.sockets (${sockets})`,
      nodes,
    );
  }
  if (spec.kernel.nrCpus < cpus) {
    throw new SpecError(
      "kernel.nrCpus",
      `be at least the CPUs present (${cpus})`,
      spec.kernel.nrCpus,
    );
  }
}

function checkMemory(spec: MachineSpec): void {
  const format = pteFormat(spec.paging.format);
  if (spec.paging.pageShift !== format.pageShift) {
    throw new SpecError(
      "paging.pageShift",
      `be ${format.pageShift}, which ${format.name} has`,
      spec.paging.pageShift,
    );
  }
  const { bytesPerNode, lineBytes } = spec.memory;
  const pageBytes = 2 ** format.pageShift;
  if ((lineBytes & (lineBytes - 1)) !== 0) {
    throw new SpecError("memory.lineBytes", "be a power of two", lineBytes);
  }
  const most = 2 ** 31 / spec.topology.nodes * pageBytes;
  if (bytesPerNode % pageBytes !== 0 || bytesPerNode > most) {
    throw new SpecError(
      "memory.bytesPerNode",
      `be a multiple of the page size (${pageBytes}), and 2147483648 pages at most in all nodes`,
      bytesPerNode,
    );
  }
}

function checkLayout(spec: MachineSpec): void {
  const vmalloc = checkRange(spec, "vmallocStart", "vmallocEnd");
  const modules = checkRange(spec, "modulesStart", "modulesEnd");
  const same = vmalloc[0] === modules[0] && vmalloc[1] === modules[1];
  if (!same && overlap(vmalloc, modules)) {
    throw new SpecError(
      "layout.modulesStart",
      "begin a range that is the vmalloc range or disjoint from it",
      spec.layout.modulesStart,
    );
  }
  const format = pteFormat(spec.paging.format);
  const start = checkAddress(spec, "directMapStart");
  if (format.identityStart !== Infinity && start !== format.identityStart) {
    throw new SpecError(
      "layout.directMapStart",
      `be 0x${
        format.identityStart.toString(16)
      }, where ${format.name} translates without tables`,
      spec.layout.directMapStart,
    );
  }
  const ram = spec.memory.bytesPerNode * spec.topology.nodes;
  // i386 maps what fits below vmalloc, the rest is high memory.
  const mapped = format.name === "i386-pae" ? 2 ** format.pageShift : ram;
  const direct: Range = [start, start + mapped];
  if (direct[1] > 2 ** format.vaddrBits) {
    throw new SpecError(
      "layout.directMapStart",
      `leave room for all memory (0x${ram.toString(16)} bytes)`,
      spec.layout.directMapStart,
    );
  }
  if (overlap(direct, vmalloc) || overlap(direct, modules)) {
    throw new SpecError(
      "layout.directMapStart",
      `keep all memory (0x${
        ram.toString(16)
      } bytes) clear of vmalloc and modules`,
      spec.layout.directMapStart,
    );
  }
}

type Range = readonly [start: number, end: number];

function overlap(a: Range, b: Range): boolean {
  return a[0] < b[1] && b[0] < a[1];
}

/** A kernel range; its end is a page boundary, or one byte short of it as x86-64 writes VMALLOC_END. */
function checkRange(
  spec: MachineSpec,
  startKey: keyof MachineSpec["layout"],
  endKey: keyof MachineSpec["layout"],
): Range {
  const start = checkAddress(spec, startKey);
  const end = parseInt(spec.layout[endKey], 16);
  const limit = 2 ** pteFormat(spec.paging.format).vaddrBits;
  if (end > limit) {
    throw new SpecError(
      `layout.${endKey}`,
      `be at most 0x${limit.toString(16)}`,
      spec.layout[endKey],
    );
  }
  const pageBytes = 2 ** spec.paging.pageShift;
  if (end % pageBytes !== 0 && end % pageBytes !== pageBytes - 1) {
    throw new SpecError(
      `layout.${endKey}`,
      `be a multiple of the page size (0x${
        pageBytes.toString(16)
      }), or one less`,
      spec.layout[endKey],
    );
  }
  if (end - start < pageBytes - 1) {
    throw new SpecError(
      `layout.${endKey}`,
      `be above layout.${startKey} (${spec.layout[startKey]})`,
      spec.layout[endKey],
    );
  }
  return [start, end];
}

/** A page-aligned address of the kernel's half. */
function checkAddress(
  spec: MachineSpec,
  key: keyof MachineSpec["layout"],
): number {
  const format = pteFormat(spec.paging.format);
  const vaddr = parseInt(spec.layout[key], 16);
  if (vaddr < format.kernelStart || vaddr >= 2 ** format.vaddrBits) {
    throw new SpecError(
      `layout.${key}`,
      `be in the kernel's part of ${format.name} (0x${
        format.kernelStart.toString(16)
      }..0x${(2 ** format.vaddrBits - 1).toString(16)})`,
      spec.layout[key],
    );
  }
  if (vaddr % 2 ** format.pageShift !== 0) {
    throw new SpecError(
      `layout.${key}`,
      `be a multiple of the page size (0x${
        (2 ** format.pageShift).toString(16)
      })`,
      spec.layout[key],
    );
  }
  return vaddr;
}

function checkTlbLevel(path: string, { entries, ways }: TlbLevelSpec): void {
  if (entries === 0) return;
  if (entries % ways !== 0) {
    throw new SpecError(
      `${path}.ways`,
      `divide ${path}.entries (${entries})`,
      ways,
    );
  }
  const sets = entries / ways;
  if ((sets & (sets - 1)) !== 0) {
    throw new SpecError(
      `${path}.ways`,
      `split ${path}.entries (${entries}) into a power of two of sets`,
      ways,
    );
  }
}

/**
 * The same machine with `cpus` CPUs: cores per socket stay, sockets follow
 * (rounded up, so the last may be partly populated), nodes keep their share of
 * sockets as far as that divides, each node its memory. `kernel.nrCpus` rises
 * if it must; above 8 CPUs an x86 of flat-mode size addresses each target
 * with its own write, as Linux does.
 *
 * @throws {RangeError} If `cpus` is not an integer in 1..4096.
 *
 * @example
 * ```ts
 * import { findPreset, withCpus } from "@vmaplab/vmaplab";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const spec = withCpus(findPreset("opteron-2x4"), 64);
 * assertEquals(spec.topology.sockets, 16);
 * assertThrows(() => withCpus(spec, 5000), RangeError);
 * ```
 */
export function withCpus(spec: MachineSpec, cpus: number): MachineSpec {
  if (!(Number.isInteger(cpus) && cpus >= 1 && cpus <= MAX_CPUS)) {
    throw new RangeError(
      `Cannot set the number of CPUs as it must be an integer in 1..${MAX_CPUS}: current value is ${cpus}`,
    );
  }
  const was = cpusOf(spec);
  if (cpus === was) return spec;
  const { coresPerSocket } = spec.topology;
  const sockets = Math.ceil(cpus / coresPerSocket);
  const socketsPerNode = spec.topology.sockets / spec.topology.nodes;
  let nodes = spec.topology.nodes === 1
    ? 1
    : Math.max(1, Math.floor(sockets / socketsPerNode));
  while (sockets % nodes !== 0) nodes--;
  const outgrown = spec.ipi.broadcast === "mask" && was <= 8 && cpus > 8;
  const full = cpus === sockets * coresPerSocket;
  return {
    ...spec,
    description: `${spec.description}; ${cpus} CPUs`,
    topology: { sockets, coresPerSocket, nodes, ...(full ? {} : { cpus }) },
    ipi: outgrown ? { ...spec.ipi, broadcast: "each" } : spec.ipi,
    kernel: {
      ...spec.kernel,
      nrCpus: Math.max(spec.kernel.nrCpus, cpus),
    },
    sources: [
      { field: "topology", source: `chosen: ${cpus} CPUs asked for` },
      ...spec.sources.filter(({ field }) => field !== "topology"),
    ],
  };
}

/**
 * Where the field at dotted path `field` comes from: its own source, or that
 * of the nearest section around it.
 *
 * @example
 * ```ts
 * import { findPreset, sourceOf } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * const source = sourceOf(findPreset("opteron-2x4"), "topology.sockets");
 * assert(source !== undefined && source.source !== "");
 * ```
 */
export function sourceOf(
  spec: MachineSpec,
  field: string,
): Source | undefined {
  for (let path = field; path !== "";) {
    const found = spec.sources.find((source) => source.field === path);
    if (found !== undefined) return found;
    path = path.slice(0, Math.max(path.lastIndexOf("."), 0));
  }
  return undefined;
}
