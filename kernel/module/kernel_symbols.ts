/**
 * What the kernel exports to modules (`__ksymtab`), and System.map files, which
 * say where other kernels have theirs.
 *
 * Differs from Linux: nothing of the kernel here is machine code, so the
 * addresses of its own table are made up: one every 64 bytes from where 2.6.28
 * has its text. They exist so that relocations have something to reach.
 */
import type { U64 } from "../lib/u64.ts";

/** Where the addresses of {@linkcode EXPORTED} start, low half; the upper one is all ones. Chosen: 2.6.28's text starts 2 MiB into its 512 MiB. */
const TEXT_START = 0x80200000;
/** Bytes between two of them: a cache line. */
const SPACING = 64;

/** EXPORT_SYMBOL() of 2.6.28, as far as the functions are here. */
const EXPORTED =
  `__get_free_pages __kmalloc __vmalloc __alloc_pages_internal _spin_lock
_spin_unlock _spin_lock_irqsave _spin_unlock_irqrestore _read_lock _read_unlock
_write_lock _write_unlock alloc_pages_current add_timer complete complete_all
del_timer down down_read down_write free_pages init_timer iounmap ioremap_nocache
jiffies kfree kmem_cache_alloc kmem_cache_create kmem_cache_destroy
kmem_cache_free kthread_create kthread_bind kthread_stop memcmp memcpy memset
mod_timer msleep mutex_lock mutex_trylock mutex_unlock on_each_cpu printk
remap_vmalloc_range schedule schedule_timeout schedule_work
smp_call_function strcmp strlen strncmp up up_read up_write vfree vm_map_ram
vm_unmap_ram vmalloc vmalloc_32 vmalloc_node vmalloc_to_page vmalloc_to_pfn
vmalloc_user vmap vunmap wait_for_completion wake_up_process`
    .split(/\s+/);

/** EXPORT_SYMBOL_GPL() of 2.6.28, likewise. */
const EXPORTED_GPL = `alloc_vm_area call_rcu free_vm_area hrtimer_start
map_vm_area queue_work rcu_barrier synchronize_rcu vm_unmap_aliases`
  .split(/\s+/);

/** One symbol of the kernel. */
export interface KernelSymbol {
  readonly value: U64;
  readonly gpl: boolean;
  /** Entries that a search from the start passes: what it costs. */
  readonly position: number;
}

/** A symbol as a System.map has it. */
export interface MapSymbol {
  /** Its name. */
  readonly name: string;
  /** Its address. */
  readonly value: U64;
}

/**
 * A System.map that cannot be read.
 *
 * @example
 * ```ts
 * import { MapSyntaxError, parseSystemMap } from "@vmaplab/vmaplab";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(() => parseSystemMap("_text\n"), MapSyntaxError, "line 1");
 * ```
 */
export class MapSyntaxError extends Error {
  /** Name shown before the message. */
  override readonly name = "MapSyntaxError";
}

/** One kernel's exports. */
export class KernelSymbols {
  readonly #symbols = new Map<string, KernelSymbol>();

  /** The table of the kernel itself. */
  constructor() {
    const own = [...EXPORTED, ...EXPORTED_GPL];
    own.forEach((name, i) => {
      const value = { lo: TEXT_START + i * SPACING, hi: 0xffffffff };
      const gpl = i >= EXPORTED.length;
      this.#symbols.set(name, { value, gpl, position: i });
    });
  }

  /** Adds symbols; those that are there already move, and stay under their licence. */
  add(symbols: readonly MapSymbol[]): void {
    for (const { name, value } of symbols) {
      const old = this.#symbols.get(name);
      const position = old?.position ?? this.#symbols.size;
      this.#symbols.set(name, { value, gpl: old?.gpl ?? false, position });
    }
  }

  /** Symbols in all. */
  get count(): number {
    return this.#symbols.size;
  }

  /** The symbol called `name`. */
  find(name: string): KernelSymbol | null {
    return this.#symbols.get(name) ?? null;
  }
}

/** `ADDRESS TYPE NAME`, and of /proc/kallsyms perhaps a module. */
const LINE =
  /^([0-9a-fA-F]{8}|[0-9a-fA-F]{16}) ([A-Za-z?]) (\S+)(?:\s+\[.*\])?$/;

/**
 * Reads a System.map, or what `nm` or /proc/kallsyms print: a line a symbol,
 * address, type, name. Every symbol counts as exported; of two with one name
 * the first global one does (its type is a capital letter).
 *
 * @throws {MapSyntaxError} For the first line that is none.
 *
 * @example
 * ```ts
 * import { parseSystemMap } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(parseSystemMap("ffffffff81000000 T _text\n"), [
 *   { name: "_text", value: { lo: 0x81000000, hi: 0xffffffff } },
 * ]);
 * ```
 */
export function parseSystemMap(text: string): MapSymbol[] {
  const found = new Map<string, { value: U64; global: boolean }>();
  text.split("\n").forEach((raw, i) => {
    const line = raw.trimEnd();
    if (line === "") return;
    const match = LINE.exec(line);
    if (match === null) {
      throw new MapSyntaxError(
        `line ${i + 1} is not "ADDRESS TYPE NAME": ${
          JSON.stringify(line.slice(0, 60))
        }`,
      );
    }
    const [, digits, type, name] = match;
    const global = type === type.toUpperCase();
    const old = found.get(name);
    if (old !== undefined && (old.global || !global)) return;
    found.set(name, {
      value: {
        lo: parseInt(digits.slice(-8), 16),
        hi: digits.length === 16 ? parseInt(digits.slice(0, 8), 16) : 0,
      },
      global,
    });
  });
  return [...found].map(([name, { value }]) => ({ name, value }));
}
