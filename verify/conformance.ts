/**
 * Replays recorded allocator operations on a booted machine and compares what
 * the kernel does with what the real C code did.
 *
 * The machine boots like any other, and one kernel thread makes the calls that
 * every user of the vmalloc interface makes, on the CPUs that the trace names.
 * So the comparison covers the kernel, its page tables and its TLB flushes as
 * they run everywhere else; nothing of the allocator is written a second time
 * here. What is looked at afterwards is read from outside, at no virtual cost.
 */
import type { Steps } from "../arch/asm.ts";
import { generic } from "../arch/hw/presets/generic.ts";
import { PAGE_KERNEL } from "../arch/hw/pte.ts";
import type { MachineSpec } from "../arch/hw/spec.ts";
import { Deadlock } from "../arch/sim/engine.ts";
import { boot } from "../boot/boot.ts";
import { KernelBug } from "../kernel/bug.ts";
import type { Kernel } from "../kernel/kernel.ts";
import { GFP_KERNEL } from "../kernel/mm/gfp.ts";
import type { Page } from "../kernel/mm/page.ts";
import { alloc_page } from "../kernel/mm/page_alloc.ts";
import { count_ptes, pfn_at } from "../kernel/mm/pgtable.ts";
import { RewriteLayer } from "../kernel/mm/rewrite_layer.ts";
import {
  VM_ALLOC,
  VM_IOREMAP,
  VM_MAP,
  type VmStruct,
} from "../kernel/mm/vm_struct.ts";
import {
  free_vm_area,
  get_vm_area,
  vfree,
  vm_map_ram,
  vm_unmap_aliases,
  vm_unmap_ram,
  vmalloc,
  vmap,
  vunmap,
} from "../kernel/mm/vmalloc.ts";
import type { KernelParams } from "../kernel/params.ts";
import { set_cpus_allowed } from "../kernel/sched/migrate.ts";
import type { Thread } from "../kernel/thread.ts";
import {
  type AddressRange,
  type OperationLine,
  printAddress,
  type StateLine,
  type Trace,
  type TraceHeader,
  type TraceVariant,
} from "./conformance_trace.ts";

/** Memory of the machine, bytes: more than any trace has mapped. Frames cost nothing until used. */
const MEMORY_BYTES = 16 * 2 ** 30;
/** Different pages that mappings are made of; longer ones repeat them. */
const POOL_PAGES = 1024;
/** How often progress is reported, lines. */
const PROGRESS_LINES = 64;

/** Layer and quirks for each variant, as the format defines them. */
const VARIANT_PARAMS: Readonly<
  Record<TraceVariant, { vmap: string; quirks: readonly string[] }>
> = {
  "vanilla": { vmap: "vmlist", quirks: [] },
  "repaired": { vmap: "rewrite", quirks: [] },
  "as-merged": {
    vmap: "rewrite",
    quirks: ["retry-from-failure", "full-blocks-skipped"],
  },
  "posted": {
    vmap: "rewrite",
    quirks: [
      "retry-from-failure",
      "full-blocks-skipped",
      "posted-search",
    ],
  },
};

/** One field that is not as recorded. */
export interface FieldDifference {
  /** Name, as in the trace. */
  readonly field: string;
  /** What the trace says. */
  readonly expected: string;
  /** What the kernel did. */
  readonly got: string;
}

/** A line at which the kernel is not as recorded. */
export interface ConformanceDifference {
  /** Line number in the file. */
  readonly line: number;
  /** The line as it stands there. */
  readonly text: string;
  /** Every field that differs; never empty. */
  readonly fields: readonly FieldDifference[];
}

/** What a replay found. */
export interface ConformanceResult {
  /** Name of the trace. */
  readonly name: string;
  /** Operations that were as recorded. */
  readonly operations: number;
  /** The first difference, where the replay stopped; `null` = none. */
  readonly difference: ConformanceDifference | null;
}

/** Options of {@linkcode replayTrace}. */
export interface ReplayOptions {
  /** Called now and then with the lines done and the lines there are. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** The kernel parameters that make the kernel behave like `variant`. */
function paramsOf(variant: TraceVariant): Partial<KernelParams> {
  const { vmap, quirks } = VARIANT_PARAMS[variant];
  return { vmap, vmap_quirk: new Set(quirks), hashdist: false };
}

/**
 * Boots a kernel as the trace's header says and replays the operations.
 *
 * A difference ends the replay, as later lines depend on it; so does an oops,
 * which is reported as a difference of the operation that ran into it.
 *
 * @example
 * ```ts
 * import { parseTrace, replayTrace } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * // Two lines of a recording of the C code: a machine, and one call on it.
 * const header = {
 *   format: 1,
 *   allocator: "vanilla",
 *   variant: "vanilla",
 *   nr_cpus: 1,
 *   vmalloc_start: "0xffffc20000000000",
 *   vmalloc_end: "0xffffc20004000000",
 *   page_size: 4096,
 *   lazy_max_pages: null,
 *   vmap_bbmap_bits: null,
 *   pinned: false,
 * };
 * const call = {
 *   op: "vmalloc",
 *   cpu: 0,
 *   id: 0,
 *   bytes: 4096,
 *   addr: "0xffffc20000000000",
 *   flushes: 0,
 * };
 * const text = [header, call].map((line) => JSON.stringify(line)).join("\n");
 * const { difference, operations } = replayTrace(parseTrace(text, "mine"));
 * assertEquals([difference, operations], [null, 1]);
 * ```
 */
export function replayTrace(
  trace: Trace,
  options: ReplayOptions = {},
): ConformanceResult {
  const { header, name } = trace;
  const booted = boot({
    spec: machineFor(header),
    params: paramsOf(header.variant),
    vmallocRange: header.space,
  });
  const replay = new Replay(booted.kernel, trace, options);
  let difference: ConformanceDifference | null;
  try {
    difference = booted.run((t) => replay.run(t));
  } catch (error) {
    if (!(error instanceof KernelBug || error instanceof Deadlock)) throw error;
    difference = replay.died(error);
  }
  return { name, operations: replay.operations, difference };
}

/** What a result looks like on the terminal, a line or several. */
export function formatResult(result: ConformanceResult): string {
  const { name, operations, difference } = result;
  if (difference === null) return `ok ${name} (${operations} operations)`;
  const width = Math.max(...difference.fields.map((f) => f.field.length));
  return [
    `FAILED ${name}:${difference.line} (after ${operations} operations as recorded)`,
    `  ${difference.text}`,
    ...difference.fields.map(({ field, expected, got }) =>
      `  ${field.padEnd(width)}  expected ${expected}, got ${got}`
    ),
  ].join("\n");
}

/** One socket, one node: where the allocator puts things depends on neither. */
function machineFor(header: TraceHeader): MachineSpec {
  const spec = generic(1, header.nrCpus);
  return { ...spec, memory: { ...spec.memory, bytesPerNode: MEMORY_BYTES } };
}

/** Something allocated: what freeing it takes, and what it ought to have mapped. */
interface Live {
  readonly addr: number;
  /** Pages that ought to be mapped from `addr` on. */
  readonly pages: number;
  /** The descriptor, of get_vm_area(). */
  readonly area: VmStruct | null;
}

/** Counters of the kernel at one moment. */
interface Mark {
  flushes: number;
  pteNotNone: number;
  warnings: number;
}

/** One replay under way. */
class Replay {
  /** Operations that were as recorded. */
  operations = 0;
  /** Line under way; -1 = the header. */
  #at = -1;
  readonly #live = new Map<number, Live>();
  readonly #pool: Page[] = [];
  readonly #start: Mark;
  /** Before the operation under way. */
  readonly #before: Mark;

  constructor(
    readonly k: Kernel,
    readonly trace: Trace,
    readonly options: ReplayOptions,
  ) {
    this.#start = this.#mark();
    this.#before = this.#mark();
  }

  /** @returns The first difference, or `null`. */
  *run(t: Thread): Steps<ConformanceDifference | null> {
    const { lines } = this.trace;
    const header = this.#compareHeader();
    if (header.fields.length > 0) return this.#difference(header);
    for (let i = 0; i < lines.length; i++) {
      if (i % PROGRESS_LINES === 0) {
        this.options.onProgress?.(i, lines.length);
      }
      this.#at = i;
      const line = lines[i];
      const found = line.op === "state"
        ? this.#compareState(line)
        : yield* this.#operate(t, line);
      if (found.fields.length > 0) return this.#difference(found);
    }
    this.options.onProgress?.(lines.length, lines.length);
    return null;
  }

  /** The difference that an oops is. */
  died(error: Error): ConformanceDifference {
    const found = new Comparison();
    found.text("kernel", "returns", `${error.name}: ${error.message}`);
    return this.#difference(found);
  }

  #difference({ fields }: Comparison): ConformanceDifference {
    const line = this.trace.lines[this.#at];
    if (line !== undefined) return { line: line.line, text: line.text, fields };
    return { line: 1, text: this.trace.header.text, fields };
  }

  /** Whether the kernel that booted is the one the header describes, its space empty. */
  #compareHeader(): Comparison {
    const { header } = this.trace;
    const found = new Comparison();
    const layer = this.k.vmap;
    const { areas, lazy_max } = layer.counters();
    found.number("nr_cpus", header.nrCpus, this.k.cpu_online.weight);
    found.number("areas", 0, areas);
    found.number("ptes", 0, this.#countPtes());
    if (layer instanceof RewriteLayer) {
      const { VMAP_BBMAP_BITS } = layer.state;
      found.number("lazy_max_pages", header.lazyMaxPages, lazy_max);
      found.number("vmap_bbmap_bits", header.vmapBbmapBits, VMAP_BBMAP_BITS);
    }
    return found;
  }

  *#operate(t: Thread, line: OperationLine): Steps<Comparison> {
    yield* set_cpus_allowed(t, t, [line.cpu]);
    const found = new Comparison();
    found.number("cpu", line.cpu, t.cpu.id);
    this.#mark(this.#before);
    const addr = yield* this.#perform(t, line);
    if ("addr" in line) found.address("addr", line.addr, addr);
    this.#compareAfter(line, found);
    this.operations += found.fields.length === 0 ? 1 : 0;
    return found;
  }

  /** Calls the kernel. @returns The address it allocated; 0 = NULL, or it allocates nothing. */
  *#perform(t: Thread, line: OperationLine): Steps<number> {
    switch (line.op) {
      case "vmalloc": {
        const addr = yield* vmalloc(t, line.bytes);
        const pageBytes = this.k.vmalloc.page_size;
        return this.#keep(line.id, addr, Math.ceil(line.bytes / pageBytes));
      }
      case "vmap": {
        const pages = yield* this.#pages(t, line.pages);
        const addr = yield* vmap(t, pages, line.pages, VM_MAP, PAGE_KERNEL);
        return this.#keep(line.id, addr, line.pages);
      }
      case "vm_map_ram": {
        const pages = yield* this.#pages(t, line.pages);
        const addr = yield* vm_map_ram(t, pages, line.pages, -1, PAGE_KERNEL);
        return this.#keep(line.id, addr, line.pages);
      }
      case "get_vm_area": {
        const flags = line.flags === "ioremap" ? VM_IOREMAP : VM_ALLOC;
        const area = yield* get_vm_area(t, line.bytes, flags);
        return this.#keep(line.id, area === null ? 0 : area.addr, 0, area);
      }
      case "vfree":
        yield* vfree(t, this.#take(line.id).addr);
        return 0;
      case "vunmap":
        yield* vunmap(t, this.#take(line.id).addr);
        return 0;
      case "free_vm_area":
        yield* free_vm_area(t, this.#take(line.id).area!);
        return 0;
      case "vm_unmap_ram":
        yield* vm_unmap_ram(t, this.#take(line.id).addr, line.pages);
        return 0;
      case "vm_unmap_aliases":
        yield* vm_unmap_aliases(t);
        return 0;
    }
  }

  #keep(
    id: number,
    addr: number,
    pages: number,
    area: VmStruct | null = null,
  ): number {
    if (addr !== 0) this.#live.set(id, { addr, pages, area });
    return addr;
  }

  #take(id: number): Live {
    const live = this.#live.get(id)!; // parseTrace() has seen to it
    this.#live.delete(id);
    return live;
  }

  /** `count` pages of the page allocator; the same ones come again and again. */
  *#pages(t: Thread, count: number): Steps<Page[]> {
    const pool = this.#pool;
    while (pool.length < Math.min(count, POOL_PAGES)) {
      const page = yield* alloc_page(t, GFP_KERNEL);
      if (page === null) throw new RangeError("Cannot replay: out of memory");
      pool.push(page);
    }
    return Array.from({ length: count }, (_, i) => pool[i % pool.length]);
  }

  #compareAfter(line: OperationLine, found: Comparison): void {
    const state = this.k.vmalloc;
    const before = this.#before;
    found.number("flushes", line.flushes, state.flushes - this.#start.flushes);
    this.#compareLazy(line.lazyNr, found);
    const flushed = state.flushes > before.flushes ? this.#lastFlush() : null;
    found.range("flush", line.flush, flushed);
    found.text("warn", line.warn.join(", "), this.#warned().join(", "));
  }

  #compareState(line: StateLine): Comparison {
    const state = this.k.vmalloc;
    const start = this.#start;
    const found = new Comparison();
    const { areas, blocks_with_free } = this.k.vmap.counters();
    found.number("areas", line.areas, areas);
    this.#compareLazy(line.lazyNr, found);
    if (line.blocksWithFree !== null) {
      found.number("blocks_with_free", line.blocksWithFree, blocks_with_free);
    }
    let pages = 0;
    let unmapped = 0;
    for (const live of this.#live.values()) {
      pages += live.pages;
      for (let i = 0; i < live.pages; i++) {
        if (pfn_at(this.k, live.addr + i * state.page_size) < 0) unmapped++;
      }
    }
    found.number("live_pages", line.livePages, pages);
    found.number("live_unmapped", line.liveUnmapped, unmapped);
    found.number("ptes", line.ptes, this.#countPtes());
    found.number("flushes", line.flushes, state.flushes - start.flushes);
    found.number("warns", line.warns, this.#mark().warnings - start.warnings);
    const flushed = state.flushes > start.flushes ? this.#lastFlush() : null;
    found.range("last_flush", line.lastFlush, flushed);
    return found;
  }

  #compareLazy(expected: number | null, found: Comparison): void {
    if (expected === null) return;
    found.number("lazy_nr", expected, this.k.vmap.counters().lazy_nr);
  }

  /** Warnings of the operation under way. */
  #warned(): string[] {
    const now = this.#mark();
    const known = now.pteNotNone - this.#before.pteNotNone;
    const all = now.warnings - this.#before.warnings;
    return [
      ...Array<string>(known).fill("pte_not_none"),
      ...Array<string>(all - known).fill("another warning"),
    ];
  }

  #lastFlush(): AddressRange {
    const { last_flush_start, last_flush_end } = this.k.vmalloc;
    return { start: last_flush_start, end: last_flush_end };
  }

  #countPtes(): number {
    const { start, end } = this.k.vmalloc;
    return count_ptes(this.k, start, end);
  }

  #mark(mark: Mark = { flushes: 0, pteNotNone: 0, warnings: 0 }): Mark {
    mark.flushes = this.k.vmalloc.flushes;
    mark.pteNotNone = this.k.vmalloc.pte_not_none;
    mark.warnings = this.k.printk.warnings;
    return mark;
  }
}

/** Gathers the fields of one line that differ. */
class Comparison {
  readonly fields: FieldDifference[] = [];

  number(field: string, expected: number | null, got: number | null): void {
    if (expected !== got) this.#add(field, String(expected), String(got));
  }

  text(field: string, expected: string, got: string): void {
    if (expected !== got) this.#add(field, expected || "none", got || "none");
  }

  /** `got` = 0 is NULL. */
  address(field: string, expected: number | null, got: number): void {
    if ((expected ?? 0) === got) return;
    const print = (addr: number | null) =>
      addr === null || addr === 0 ? "null" : printAddress(addr);
    this.#add(field, print(expected), print(got));
  }

  range(
    field: string,
    expected: AddressRange | null,
    got: AddressRange | null,
  ): void {
    if (expected?.start === got?.start && expected?.end === got?.end) return;
    const print = (r: AddressRange | null) =>
      r === null
        ? "none"
        : `[${printAddress(r.start)}, ${printAddress(r.end)})`;
    this.#add(field, print(expected), print(got));
  }

  #add(field: string, expected: string, got: string): void {
    this.fields.push({ field, expected, got });
  }
}
