/**
 * The kernel command line: split, matched and read as parse_args() and
 * memparse() of Linux 2.6.28 do (kernel/params.c, lib/cmdline.c).
 *
 * Kept: `a=b`, `a="b c"`, `"a=b c"`, dashes equal to underscores in names, the
 * last of several wins, numbers in C's bases, K, M and G. Differs: after `--`
 * everything is for init (Linux came to that in 3.15), and a value that cannot
 * be read is an error instead of a line in the log. A name that nothing knows
 * is reported, not an error: see {@linkcode unknownBootOption}.
 */
import { nearest } from "../arch/sim/nearest.ts";
import { PAGEATTR_QUIRKS } from "../kernel/mm/pageattr_quirks.ts";
import { QUIRKS } from "../kernel/mm/quirks.ts";
import { VMAP_LAYERS } from "../kernel/mm/vmalloc.ts";
import {
  DEFAULT_PARAMS,
  type FaultSetting,
  type KernelParams,
} from "../kernel/params.ts";
import { XEN_QUIRKS } from "../kernel/xen/xen_state.ts";

/**
 * A kernel parameter whose value cannot be read. The message is one line.
 *
 * @example
 * ```ts
 * import { ParamError, parseCommandLine } from "@vmaplab/vmaplab";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(
 *   () => parseCommandLine("vmalloc=-1"),
 *   ParamError,
 *   "Cannot use kernel parameter vmalloc",
 * );
 * ```
 */
export class ParamError extends RangeError {
  /** Name shown before the message. */
  override readonly name = "ParamError";

  /**
   * Builds the message from its parts.
   *
   * @param parameter Name as documented, such as `"vmap.quirk"`.
   * @param expected What the value must be, in words.
   * @param value What it is; `null` = the name came alone.
   */
  constructor(
    readonly parameter: string,
    expected: string,
    readonly value: string | null,
  ) {
    super(
      `Cannot use kernel parameter ${parameter} as it must be ${expected}: current value is ${
        value === null ? "missing" : JSON.stringify(value)
      }`,
    );
  }
}

/** One word of a command line. */
export interface RawParam {
  /** As written. */
  readonly name: string;
  /** Without its quotes; `null` = there was no `=`. */
  readonly value: string | null;
}

/** A command line taken apart. */
export interface ParsedCommandLine {
  /** The parameters, defaults filled in. */
  readonly params: KernelParams;
  /** Documented names of the parameters that were given. */
  readonly given: ReadonlySet<string>;
  /** What came after `--`. */
  readonly initArgs: readonly string[];
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Draft = Mutable<KernelParams>;

/** A parameter of the kernel, for parsing and for `--help`. */
export interface Parameter {
  /** With underscores, as documented. */
  readonly name: string;
  /** What stands for the value in help; empty = a flag. */
  readonly placeholder: string;
  readonly help: string;
  /** @throws {ParamError} If `value` cannot be read. */
  readonly set: (draft: Draft, value: string | null) => void;
}

/** Most CPUs that nr_cpus= may name. */
const MAX_NR_CPUS = 4096;
/** Less does not hold a kernel, bytes. */
const MIN_MEM = 32 * 2 ** 20;
/** Smallest vmalloc space, bytes: a page of every architecture. */
const MIN_VMALLOC = 64 * 2 ** 10;
/** Largest request of blocks, pages: a block has 1024 at most, and holds two. */
const MAX_MAX_ALLOC = 512;
/** Console level of `debug`: every message. */
const CONSOLE_LOGLEVEL_DEBUG = 10;
/** Console level of `quiet`: errors and worse. */
const CONSOLE_LOGLEVEL_QUIET = 4;

/** Largest `int`, and latest that an interrupt may come, cycles. */
const MAX_INT = 2 ** 31 - 1;
const MAX_DELAY = 10 ** 9;

/** Ways of mapping a buffer. */
const BUF_MAPS = ["vmap", "vm_map_ram"] as const;

/** Every parameter, in the order that `--help` shows. */
export const PARAMETERS: readonly Parameter[] = [
  {
    name: "vmap",
    placeholder: "LAYER",
    help: `vmap layer: ${Object.keys(VMAP_LAYERS).join(", ")}`,
    set: (draft, value) => {
      const names = Object.keys(VMAP_LAYERS);
      draft.vmap = choice("vmap", value, names, `one of ${names.join(", ")}`);
    },
  },
  {
    name: "vmap.quirk",
    placeholder: "NAME,..",
    help: "historic bugs of the rewrite to put back",
    set: (draft, value) => {
      const names = QUIRKS.map(({ name }) => name);
      draft.vmap_quirk = choices(
        "vmap.quirk",
        value,
        names,
        "a list of quirks from --help",
      );
    },
  },
  {
    name: "pageattr.quirk",
    placeholder: "NAME,..",
    help: `change_page_attr() without what it needs: ${
      PAGEATTR_QUIRKS.map(({ name }) => name).join(", ")
    }`,
    set: (draft, value) => {
      const names = PAGEATTR_QUIRKS.map(({ name }) => name);
      draft.pageattr_quirk = choices(
        "pageattr.quirk",
        value,
        names,
        `a list of ${names.join(", ")}`,
      );
    },
  },
  {
    name: "xen.quirk",
    placeholder: "NAME,..",
    help: `calls of vm_unmap_aliases() to leave out on Xen: ${
      XEN_QUIRKS.map(({ name }) => name).join(", ")
    }`,
    set: (draft, value) => {
      const names = XEN_QUIRKS.map(({ name }) => name);
      draft.xen_quirk = choices(
        "xen.quirk",
        value,
        names,
        `one of ${names.join(", ")}`,
      );
    },
  },
  {
    name: "lazy_max",
    placeholder: "PAGES",
    help: "lazily unmapped pages that bring about a purge",
    set: (draft, value) => {
      draft.lazy_max = integer(
        "lazy_max",
        value,
        0,
        Number.MAX_SAFE_INTEGER,
        "a number of pages such as 8192",
      );
    },
  },
  {
    name: "vmap.max_alloc",
    placeholder: "PAGES",
    help: "largest request that per-CPU blocks serve",
    set: (draft, value) => {
      const expected = `a power of two in 1..${MAX_MAX_ALLOC}`;
      const pages = integer(
        "vmap.max_alloc",
        value,
        1,
        MAX_MAX_ALLOC,
        expected,
      );
      if ((pages & (pages - 1)) !== 0) {
        throw new ParamError("vmap.max_alloc", expected, value);
      }
      draft.vmap_max_alloc = pages;
    },
  },
  {
    name: "vmap.space",
    placeholder: "PAGES",
    help: "size of vmalloc space that the size of a block goes by",
    set: (draft, value) => {
      draft.vmap_space = integer(
        "vmap.space",
        value,
        0,
        Number.MAX_SAFE_INTEGER,
        "a number of pages such as 1024",
      );
    },
  },
  {
    name: "xfs.buf_map",
    placeholder: "CALL",
    help:
      "how XFS maps buffers of several pages: vmap, unmapped 64 at a time, or vm_map_ram (default: vmap on vmlist)",
    set: (draft, value) => {
      draft.xfs_buf_map = choice(
        "xfs.buf_map",
        value,
        BUF_MAPS,
        `one of ${BUF_MAPS.join(", ")}`,
      );
    },
  },
  {
    name: "nr_cpus",
    placeholder: "N",
    help: "CPUs to bring up at most",
    set: (draft, value) => {
      draft.nr_cpus = integer("nr_cpus", value, 1, MAX_NR_CPUS);
    },
  },
  {
    name: "mem",
    placeholder: "SIZE",
    help: "memory to use, such as 512M",
    set: (draft, value) => {
      draft.mem_bytes = size("mem", value, MIN_MEM, "512M");
    },
  },
  {
    name: "vmalloc",
    placeholder: "SIZE",
    help: "size of vmalloc space, such as 128M",
    set: (draft, value) => {
      draft.vmalloc_bytes = size("vmalloc", value, MIN_VMALLOC, "128M");
    },
  },
  {
    name: "hashdist",
    placeholder: "0|1",
    help: "large hash tables from vmalloc space",
    set: (draft, value) => {
      draft.hashdist = integer("hashdist", value, 0, 1, "0 or 1") === 1;
    },
  },
  {
    name: "loglevel",
    placeholder: "N",
    help: "log messages of a level below N, 0..10",
    set: (draft, value) => {
      draft.loglevel = integer("loglevel", value, 0, CONSOLE_LOGLEVEL_DEBUG);
    },
  },
  {
    name: "quiet",
    placeholder: "",
    help: "errors alone: loglevel 4",
    set: (draft, value) => {
      flag("quiet", value);
      draft.loglevel = CONSOLE_LOGLEVEL_QUIET;
    },
  },
  {
    name: "debug",
    placeholder: "",
    help: "every message: loglevel 10",
    set: (draft, value) => {
      flag("debug", value);
      draft.loglevel = CONSOLE_LOGLEVEL_DEBUG;
    },
  },
  faultParameter("failslab", "slab objects, kmalloc()", "bytes"),
  faultParameter("fail_page_alloc", "blocks of pages", "pages"),
  faultParameter("fail_page_table", "page tables", "tables"),
  {
    name: "ipi_delay",
    placeholder: "P,CYCLES",
    help: "P percent of interrupts between CPUs come up to CYCLES late",
    set: (draft, value) => {
      const [probability, cycles] = integers(
        "ipi_delay",
        value,
        [[0, 100], [1, MAX_DELAY]],
        `<probability>,<cycles> such as 10,5000: a percentage, and 1..${MAX_DELAY} cycles`,
      );
      draft.ipi_delay = { probability, cycles };
    },
  },
  {
    name: "seed",
    placeholder: "N",
    help: "seed of everything random; --seed comes first",
    set: (draft, value) => {
      draft.seed = integer("seed", value, 0, Number.MAX_SAFE_INTEGER);
    },
  },
  {
    name: "panic_on_warn",
    placeholder: "",
    help: "a kernel warning ends the run",
    set: (draft, value) => {
      draft.panic_on_warn = value === null ||
        integer("panic_on_warn", value, 0, 1, "0 or 1") === 1;
    },
  },
];

/**
 * Reads a kernel command line such as `"vmap=vmlist vmalloc=64M"`. Names that
 * nobody knows go to `params.unknown_options`; the log reports them.
 *
 * Linux: parse_args() of kernel/params.c.
 *
 * @throws {ParamError} If the value of a known parameter cannot be read.
 *
 * @example
 * ```ts
 * import { boot, parseCommandLine } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const { params } = parseCommandLine("vmap=vmlist vmalloc=64M quiet splash");
 * assertEquals(params.vmap, "vmlist");
 * assertEquals(params.vmalloc_bytes, 64 * 2 ** 20);
 * assertEquals(params.unknown_options, ["splash"]); // the log says so
 * assertEquals(boot({ params }).kernel.vmap.name, "vmlist");
 * ```
 */
export function parseCommandLine(line: string): ParsedCommandLine {
  const draft: Draft = { ...DEFAULT_PARAMS };
  const given = new Set<string>();
  const unknown: string[] = [];
  const words = splitCommandLine(line);
  const end = words.findIndex(({ name, value }) =>
    name === "--" && value === null
  );
  for (const { name, value } of end < 0 ? words : words.slice(0, end)) {
    const parameter = PARAMETERS.find((p) => sameName(p.name, name));
    if (parameter === undefined) {
      unknown.push(name);
      continue;
    }
    parameter.set(draft, value);
    given.add(parameter.name);
  }
  return {
    params: { ...draft, command_line: line, unknown_options: unknown },
    given,
    initArgs: end < 0 ? [] : words.slice(end + 1).map(wordOf),
  };
}

/** What the kernel says of a name that nothing knows. */
export function unknownBootOption(name: string): string {
  return `Unknown boot option \`${name}': ignoring`;
}

/**
 * Splits a command line at spaces outside quotes, and each word at its first
 * `=`. Quotes around a word or a value go away; others stay, as in Linux.
 */
export function splitCommandLine(line: string): RawParam[] {
  const words: RawParam[] = [];
  for (let i = 0; i < line.length;) {
    if (isSpace(line[i])) {
      i++;
      continue;
    }
    const start = i;
    let inQuotes = false;
    let equals = -1;
    for (; i < line.length && (inQuotes || !isSpace(line[i])); i++) {
      if (line[i] === "=" && equals < 0) equals = i - start;
      if (line[i] === '"') inQuotes = !inQuotes;
    }
    words.push(takeApart(line.slice(start, i), equals));
  }
  return words;
}

/**
 * Reads a size as memparse() does: a C integer literal and perhaps K, M or G.
 *
 * @returns Bytes; `NaN` if `text` is not a size, or too large to be exact.
 */
export function memparse(text: string): number {
  const match = /^(.*?)([kmg]?)$/i.exec(text);
  const shift = { "": 0, k: 10, m: 20, g: 30 }[match![2].toLowerCase()]!;
  const bytes = cInteger(match![1]) * 2 ** shift;
  return Number.isSafeInteger(bytes) ? bytes : NaN;
}

/** A word without its quotes. `equals` = where its first `=` is; -1 = nowhere. */
function takeApart(word: string, equals: number): RawParam {
  let text = word;
  const quoted = text.startsWith('"');
  if (quoted) {
    text = text.slice(1);
    equals--;
    if (text.endsWith('"')) text = text.slice(0, -1);
  }
  if (equals < 0) return { name: text, value: null };
  let value = text.slice(equals + 1);
  if (!quoted && value.startsWith('"')) {
    value = value.slice(1);
    if (value.endsWith('"')) value = value.slice(0, -1);
  }
  return { name: text.slice(0, equals), value };
}

function wordOf({ name, value }: RawParam): string {
  return value === null ? name : `${name}=${value}`;
}

function isSpace(c: string): boolean {
  return c === " " || (c >= "\t" && c <= "\r");
}

function sameName(a: string, b: string): boolean {
  return a.replaceAll("-", "_") === b.replaceAll("-", "_");
}

/** Value of a C literal: decimal, `0x` hexadecimal, `0` octal; else `NaN`. */
function cInteger(text: string): number {
  if (/^(0x[0-9a-f]+|[1-9][0-9]*|0)$/i.test(text)) return Number(text);
  if (/^0[0-7]+$/.test(text)) return parseInt(text, 8);
  return NaN;
}

function integer(
  name: string,
  value: string | null,
  min: number,
  max: number,
  expected = `an integer in ${min}..${max}`,
): number {
  const n = cInteger(value ?? "");
  if (Number.isSafeInteger(n) && n >= min && n <= max) return n;
  throw new ParamError(name, expected, value);
}

/** failslab= and its kin. */
function faultParameter(
  name: "failslab" | "fail_page_alloc" | "fail_page_table",
  what: string,
  unit: string,
): Parameter {
  return {
    name,
    placeholder: "I,P,S,T",
    help:
      `${what} that fail: P percent of each I-th request, S ${unit} spared, T at most (-1: no limit)`,
    set: (draft, value) => {
      draft[name] = faultSetting(name, value);
    },
  };
}

/** `<interval>,<probability>,<space>,<times>`: setup_fault_attr(). */
function faultSetting(name: string, value: string | null): FaultSetting {
  const [interval, probability, space, times] = integers(
    name,
    value,
    [[0, 2 ** 32 - 1], [0, 100], [0, MAX_INT], [-1, MAX_INT]],
    "<interval>,<probability>,<space>,<times> such as 1,10,0,-1: a percentage, and times -1 for no limit",
  );
  return { interval, probability, space, times };
}

/** Decimal integers between commas, as many as there are `ranges`. */
function integers(
  name: string,
  value: string | null,
  ranges: readonly (readonly [min: number, max: number])[],
  expected: string,
): number[] {
  const words = (value ?? "").split(",");
  const numbers = words.map((word) =>
    /^-?[0-9]+$/.test(word) ? Number(word) : NaN
  );
  const right = numbers.length === ranges.length &&
    numbers.every((n, i) => n >= ranges[i][0] && n <= ranges[i][1]);
  if (right) return numbers;
  throw new ParamError(name, expected, value);
}

function size(
  name: string,
  value: string | null,
  min: number,
  example: string,
): number {
  const bytes = memparse(value ?? "");
  if (Number.isNaN(bytes)) {
    throw new ParamError(name, `a size such as ${example}`, value);
  }
  if (bytes >= min) return bytes;
  throw new ParamError(name, `at least ${sizeText(min)}`, value);
}

/** `bytes` in the largest unit that memparse() knows and that divides it. */
export function sizeText(bytes: number): string {
  const units: [string, number][] = [["G", 30], ["M", 20], ["K", 10]];
  for (const [unit, shift] of units) {
    if (bytes !== 0 && bytes % 2 ** shift === 0) {
      return `${bytes / 2 ** shift}${unit}`;
    }
  }
  return `${bytes}`;
}

function choice<T extends string>(
  name: string,
  text: string | null,
  choices: readonly T[],
  expected: string,
  value: string | null = text,
): T {
  const found = choices.find((choice) => choice === text);
  if (found !== undefined) return found;
  const hint = text ? ` (nearest is "${nearest(text, choices)}")` : "";
  throw new ParamError(name, `${expected}${hint}`, value);
}

/** A list with commas, each item one of `names`. */
function choices(
  name: string,
  value: string | null,
  names: readonly string[],
  expected: string,
): Set<string> {
  const items = (value ?? "").split(",");
  return new Set(
    items.map((item) => choice(name, item, names, expected, value)),
  );
}

function flag(name: string, value: string | null): void {
  if (value === null) return;
  throw new ParamError(name, "given without a value", value);
}
