/**
 * Recorded allocator operations as data: a strict reader of trace files.
 *
 * A trace is JSON lines: one header, then operations in order, each with the
 * state that the real C code was in afterwards, and `state` lines in between.
 * The reader refuses whatever it does not know, because a field that nobody
 * compares is a difference that nobody sees; only the header, whose further
 * fields are informative, may carry more.
 *
 * Addresses stand in the file as 64-bit hexadecimal strings and are held here
 * as everywhere: the low 48 bits in a number. Pure; no files are touched.
 */
import { parseVaddr, printVaddr, X86_64 } from "../arch/hw/pte.ts";

/** Pages hold this many bytes in every trace. */
const PAGE_BYTES = 4096;
/** Longest value that a message quotes, characters. */
const MAX_QUOTED = 60;

/** Which code a trace was recorded from. */
export type TraceVariant = "vanilla" | "posted" | "as-merged" | "repaired";

const VARIANTS: readonly TraceVariant[] = [
  "vanilla",
  "posted",
  "as-merged",
  "repaired",
];

/** Half-open range of virtual addresses, low 48 bits. */
export interface AddressRange {
  /** First address. */
  readonly start: number;
  /** First address after it. */
  readonly end: number;
}

/** First line of a trace: the machine and the code it was recorded on. */
export interface TraceHeader {
  /** The line as it stands in the file. */
  readonly text: string;
  /** Decides the layer and its quirks. */
  readonly variant: TraceVariant;
  /** CPUs, all possible and all online. */
  readonly nrCpus: number;
  /** Limits of the space; the end need not be page aligned. */
  readonly space: AddressRange;
  /** Lazily freed pages above which a purge comes; `null` in vanilla. */
  readonly lazyMaxPages: number | null;
  /** Pages of a per-CPU block; `null` in vanilla. */
  readonly vmapBbmapBits: number | null;
}

/** What every line has. */
export interface LineBase {
  /** Line number in the file, from 1. */
  readonly line: number;
  /** The line as it stands in the file. */
  readonly text: string;
  /** Kernel-range TLB flush calls so far. */
  readonly flushes: number;
  /** Pages freed lazily and not yet purged; `null` in vanilla. */
  readonly lazyNr: number | null;
}

/** What every operation has: where it runs, and how it leaves things. */
export interface OperationBase extends LineBase {
  /** CPU that the call runs on. */
  readonly cpu: number;
  /** Last range flushed during the operation; `null` = nothing was flushed. */
  readonly flush: AddressRange | null;
  /** Warnings raised during the operation, in order. */
  readonly warn: readonly string[];
}

/** What every allocation has. */
export interface AllocationBase extends OperationBase {
  /** Name of what it allocates, new in the file. */
  readonly id: number;
  /** First address; `null` = it failed. */
  readonly addr: number | null;
}

/** `vmalloc(bytes)`. */
export interface VmallocLine extends AllocationBase {
  /** The call. */
  readonly op: "vmalloc";
  /** Size asked for; not rounded. */
  readonly bytes: number;
}

/** `vmap()` or `vm_map_ram()` of so many pages. */
export interface MapLine extends AllocationBase {
  /** The call. */
  readonly op: "vmap" | "vm_map_ram";
  /** Pages to map. */
  readonly pages: number;
}

/** `get_vm_area(bytes, flags)`: `VM_ALLOC` or `VM_IOREMAP`. */
export interface GetAreaLine extends AllocationBase {
  /** The call. */
  readonly op: "get_vm_area";
  /** Size asked for; not rounded. */
  readonly bytes: number;
  /** What the area is for; `ioremap` aligns it to its size. */
  readonly flags: "alloc" | "ioremap";
}

/** Gives back what the allocation `id` got. */
export interface FreeLine extends OperationBase {
  /** The call. */
  readonly op: "vfree" | "vunmap" | "free_vm_area";
  /** Name of what it frees. */
  readonly id: number;
}

/** `vm_unmap_ram()` of what `vm_map_ram()` got as `id`, same count. */
export interface UnmapRamLine extends OperationBase {
  /** The call. */
  readonly op: "vm_unmap_ram";
  /** Name of what it unmaps. */
  readonly id: number;
  /** Pages to unmap. */
  readonly pages: number;
}

/** `vm_unmap_aliases()`. */
export interface UnmapAliasesLine extends OperationBase {
  /** The call. */
  readonly op: "vm_unmap_aliases";
}

/** One call of the kernel's API. */
export type OperationLine =
  | VmallocLine
  | MapLine
  | GetAreaLine
  | FreeLine
  | UnmapRamLine
  | UnmapAliasesLine;

/** The whole allocator's state; not an operation. */
export interface StateLine extends LineBase {
  /** Not a call. */
  readonly op: "state";
  /** Areas in the set, lazily freed ones and per-CPU blocks included. */
  readonly areas: number;
  /** Blocks on any CPU's queue; `null` in vanilla. */
  readonly blocksWithFree: number | null;
  /** Pages that the live allocations ought to have mapped. */
  readonly livePages: number;
  /** How many of those have no present entry. */
  readonly liveUnmapped: number;
  /** Present entries in the whole space. */
  readonly ptes: number;
  /** Warnings so far. */
  readonly warns: number;
  /** Range of the most recent flush; `null` = there was none yet. */
  readonly lastFlush: AddressRange | null;
}

/** One line after the header. */
export type TraceLine = OperationLine | StateLine;

/** One file. */
export interface Trace {
  /** File name, for messages. */
  readonly name: string;
  /** Its first line. */
  readonly header: TraceHeader;
  /** All other lines, in order. */
  readonly lines: readonly TraceLine[];
}

/**
 * A trace that cannot be read; the message is one line with file and line
 * number.
 *
 * @example
 * ```ts
 * import { parseTrace, TraceSyntaxError } from "@vmaplab/vmaplab";
 * import { assert, assertThrows } from "@std/assert";
 *
 * const error = assertThrows(() => parseTrace("", "empty.jsonl"));
 * assert(error instanceof TraceSyntaxError);
 * ```
 */
export class TraceSyntaxError extends SyntaxError {
  /** Name shown before the message. */
  override name = "TraceSyntaxError";
}

/** `vaddr` as traces write it: `0x` and sixteen digits. */
export function printAddress(vaddr: number): string {
  return `0x${printVaddr(X86_64, vaddr)}`;
}

/**
 * Reads a whole trace.
 *
 * @param text The file's contents.
 * @param name The file's name, for messages.
 * @throws {TraceSyntaxError} At the first line that is not as the format says.
 *
 * @example
 * ```ts
 * import { parseTrace, TraceSyntaxError } from "@vmaplab/vmaplab";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(
 *   () => parseTrace('{"format":2}', "new.jsonl"),
 *   TraceSyntaxError,
 *   "new.jsonl:1",
 * );
 * ```
 */
export function parseTrace(text: string, name: string): Trace {
  const rows = text.split("\n");
  if (rows.at(-1) === "") rows.pop();
  const header = readHeader(new Fields(name, 1, rows[0] ?? ""));
  const ids: Ids = new Map();
  const lines: TraceLine[] = [];
  for (let i = 1; i < rows.length; i++) {
    lines.push(readLine(new Fields(name, i + 1, rows[i]), header, ids));
  }
  return { name, header, lines };
}

/** What each id stands for; `null` = it failed, or has been freed. */
type Ids = Map<number, OperationLine | null>;

function readHeader(f: Fields): TraceHeader {
  f.oneOf("format", [1]);
  const variant = f.oneOf("variant", VARIANTS);
  const vanilla = variant === "vanilla";
  f.oneOf("allocator", [vanilla ? "vanilla" : "rewrite"]);
  f.oneOf("page_size", [PAGE_BYTES]);
  f.oneOf("pinned", [false]);
  const start = f.address("vmalloc_start");
  const end = f.address("vmalloc_end");
  if (start % PAGE_BYTES !== 0) f.refuse("vmalloc_start", "page aligned");
  if (end <= start) f.refuse("vmalloc_end", "above vmalloc_start");
  if (vanilla) {
    f.oneOf("lazy_max_pages", [null]);
    f.oneOf("vmap_bbmap_bits", [null]);
  }
  return {
    text: f.text,
    variant,
    nrCpus: f.integer("nr_cpus", 1, 4096),
    space: { start, end },
    lazyMaxPages: vanilla ? null : f.integer("lazy_max_pages", 0),
    vmapBbmapBits: vanilla ? null : f.integer("vmap_bbmap_bits", 1),
  };
}

/** Each operation with the one it undoes. */
const UNDOES = {
  vfree: "vmalloc",
  vunmap: "vmap",
  free_vm_area: "get_vm_area",
  vm_unmap_ram: "vm_map_ram",
} as const;

const OPS = [
  "state",
  "vmalloc",
  "vfree",
  "vmap",
  "vunmap",
  "get_vm_area",
  "free_vm_area",
] as const;
const REWRITE_OPS = [
  "vm_map_ram",
  "vm_unmap_ram",
  "vm_unmap_aliases",
] as const;

/** Reads one line and keeps `ids`, the allocations by name, up to date. */
function readLine(
  f: Fields,
  header: TraceHeader,
  ids: Ids,
): TraceLine {
  const vanilla = header.variant === "vanilla";
  const op = f.oneOf("op", vanilla ? OPS : [...OPS, ...REWRITE_OPS]);
  const base: LineBase = {
    line: f.line,
    text: f.text,
    flushes: f.integer("flushes", 0),
    lazyNr: vanilla ? null : f.integer("lazy_nr"),
  };
  const line = op === "state"
    ? readState(f, base, vanilla)
    : readOperation(f, op, {
      ...base,
      cpu: f.integer("cpu", 0, header.nrCpus - 1),
      flush: f.has("flush") ? f.range("flush") : null,
      warn: f.has("warn") ? f.words("warn") : [],
    }, ids);
  f.end();
  return line;
}

function readState(f: Fields, base: LineBase, vanilla: boolean): StateLine {
  return {
    op: "state",
    ...base,
    areas: f.integer("areas", 0),
    blocksWithFree: vanilla ? null : f.integer("blocks_with_free", 0),
    livePages: f.integer("live_pages", 0),
    liveUnmapped: f.integer("live_unmapped", 0),
    ptes: f.integer("ptes", 0),
    warns: f.integer("warns", 0),
    lastFlush: f.isNull("last_flush") ? null : f.range("last_flush"),
  };
}

function readOperation(
  f: Fields,
  op: OperationLine["op"],
  base: OperationBase,
  ids: Ids,
): OperationLine {
  if (op === "vm_unmap_aliases") return { op, ...base };
  const id = f.integer("id", 0);
  switch (op) {
    case "vfree":
    case "vunmap":
    case "free_vm_area":
    case "vm_unmap_ram": {
      const made = ids.get(id);
      if (made == null || made.op !== UNDOES[op]) {
        f.refuse("id", `one that ${UNDOES[op]} made and nobody has freed`);
      }
      ids.set(id, null);
      if (op !== "vm_unmap_ram") return { op, ...base, id };
      const { pages } = made as MapLine;
      return { op, ...base, id, pages: f.oneOf("pages", [pages]) };
    }
  }
  if (ids.has(id)) f.refuse("id", "new");
  const addr = f.isNull("addr") ? null : f.address("addr");
  const line = readAllocation(f, op, { ...base, id, addr });
  ids.set(id, addr === null ? null : line);
  return line;
}

function readAllocation(
  f: Fields,
  op: (VmallocLine | MapLine | GetAreaLine)["op"],
  base: AllocationBase,
): OperationLine {
  switch (op) {
    case "vmalloc":
      return { op, ...base, bytes: f.integer("bytes", 0) };
    case "vmap":
    case "vm_map_ram":
      return { op, ...base, pages: f.integer("pages", 0) };
    case "get_vm_area":
      return {
        op,
        ...base,
        bytes: f.integer("bytes", 0),
        flags: f.oneOf("flags", ["alloc", "ioremap"]),
      };
  }
}

/** One line's fields, checked one by one as they are taken. */
class Fields {
  readonly #record: Readonly<Record<string, unknown>>;
  readonly #taken = new Set<string>();

  constructor(
    readonly file: string,
    readonly line: number,
    readonly text: string,
  ) {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      value = undefined;
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw this.#error("the line", "a JSON object", text);
    }
    this.#record = value as Record<string, unknown>;
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#record, name);
  }

  isNull(name: string): boolean {
    return this.#take(name) === null;
  }

  integer(
    name: string,
    min = Number.MIN_SAFE_INTEGER,
    max = Number.MAX_SAFE_INTEGER,
  ): number {
    const value = this.#take(name);
    if (Number.isSafeInteger(value)) {
      const n = value as number;
      if (n >= min && n <= max) return n;
    }
    const from = min === Number.MIN_SAFE_INTEGER ? "" : `${min}`;
    const to = max === Number.MAX_SAFE_INTEGER ? "" : `${max}`;
    const range = from + to === "" ? "" : ` in ${from}..${to}`;
    this.refuse(name, `an integer${range}`);
  }

  oneOf<const T extends string | number | boolean | null>(
    name: string,
    choices: readonly T[],
  ): T {
    const value = this.#take(name);
    for (const choice of choices) if (choice === value) return choice;
    const list = choices.map((choice) => JSON.stringify(choice)).join(", ");
    this.refuse(name, choices.length === 1 ? list : `one of ${list}`);
  }

  address(name: string): number {
    return this.#address(name, this.#take(name));
  }

  range(name: string): AddressRange {
    const value = this.#take(name);
    if (!Array.isArray(value) || value.length !== 2) {
      this.refuse(name, "two addresses");
    }
    const start = this.#address(name, value[0]);
    const end = this.#address(name, value[1]);
    if (end <= start) this.refuse(name, "a range whose end is above its start");
    return { start, end };
  }

  words(name: string): readonly string[] {
    const value = this.#take(name);
    if (
      !Array.isArray(value) || value.length === 0 ||
      !value.every((word) => typeof word === "string")
    ) {
      this.refuse(name, "a list of one or more strings");
    }
    return value;
  }

  /** Refuses what nobody has taken. */
  end(): void {
    for (const name in this.#record) {
      if (!this.#taken.has(name)) this.refuse(name, "absent here");
    }
  }

  /** @throws {TraceSyntaxError} Always: field `name` is not `expected`. */
  refuse(name: string, expected: string): never {
    throw this.#error(`"${name}"`, expected, this.#record[name]);
  }

  #take(name: string): unknown {
    this.#taken.add(name);
    return this.has(name) ? this.#record[name] : undefined;
  }

  #address(name: string, value: unknown): number {
    if (typeof value === "string" && /^0x[0-9a-f]{16}$/.test(value)) {
      try {
        return parseVaddr(X86_64, value);
      } catch {
        // 16 digits, but not sign extended: refused below
      }
    }
    this.refuse(name, "an address of 0x and 16 lower-case hexadecimal digits");
  }

  #error(what: string, expected: string, value: unknown): TraceSyntaxError {
    let shown = typeof value === "string" && what === "the line"
      ? value
      : JSON.stringify(value) ?? "missing";
    if (shown.length > MAX_QUOTED) shown = `${shown.slice(0, MAX_QUOTED)}...`;
    return new TraceSyntaxError(
      `${this.file}:${this.line}: Cannot read the trace as ${what} must be ${expected}: current value is ${
        shown === "" ? "empty" : shown
      }`,
    );
  }
}
