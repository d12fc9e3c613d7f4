/**
 * A vmap layer of one's own: addresses only ever go up, and every free flushes
 * all TLBs at once. It runs the benchmark of 2008 beside the kernel's layers,
 * on eight CPUs. Finding room costs it next to nothing; flushing leaves it far
 * behind the rewrite all the same.
 *
 *     deno run examples/own_layer.ts
 */
import {
  ALIGN,
  AreaLayer,
  Cell,
  check_areas,
  cmpxchg,
  EBUSY,
  err,
  type Errno,
  findPreset,
  flush_tlb_kernel_range,
  type LayerCounters,
  load,
  runBoot,
  type Steps,
  type Thread,
  type VmapRange,
  vunmap_page_range,
} from "../mod.ts";

class Bump extends AreaLayer<VmapRange> {
  readonly name = "bump";
  readonly #top = new Cell("bump_top", this.k.vmalloc.start);
  readonly #areas = new Map<number, VmapRange>(); // a hash table, by address

  init(): void {}
  import_vm(): void {} // nothing is mapped before init on this machine
  *vm_unmap_aliases(): Steps {} // there are none

  *alloc_area(
    t: Thread,
    size: number,
    align: number,
    start: number,
    end: number,
  ): Steps<VmapRange | Errno> {
    for (;;) {
      const top = yield* load(t, this.#top);
      const va_start = ALIGN(Math.max(top, start), align);
      const va_end = va_start + size;
      if (va_end > end) return err(EBUSY);
      if ((yield* cmpxchg(t, this.#top, top, va_end)) !== top) continue;
      const area = { va_start, va_end, private: null };
      this.#areas.set(va_start, area);
      return area;
    }
  }

  *find_area(t: Thread, addr: number): Steps<VmapRange | null> {
    yield* load(t, this.#top); // on its line: the table
    return this.#areas.get(addr) ?? null;
  }

  *claim_area(t: Thread, addr: number): Steps<VmapRange | null> {
    const area = yield* this.find_area(t, addr);
    return this.#areas.delete(addr) ? area : null; // one caller gets it
  }

  *free_unmap(t: Thread, { va_start, va_end }: VmapRange): Steps {
    this.#areas.delete(va_start);
    yield* vunmap_page_range(t, va_start, va_end);
    yield* flush_tlb_kernel_range(t, va_start, va_end);
  }

  counters(): LayerCounters {
    const none = { blocks: 0, blocks_with_free: 0, purges: 0, walk_steps: 0 };
    return { areas: this.#areas.size, lazy_nr: 0, lazy_max: 0, ...none };
  }

  check(): string[] {
    return check_areas(this.k, [...this.#areas.values()]);
  }
}

/** @returns The lines to print. */
export function main(): string[] {
  const { runs } = runBoot({
    spec: findPreset("opteron-2x4"),
    layers: ["vmlist", "rewrite", "bump"],
    vmapLayers: { bump: (k) => new Bump(k) },
    threads: [8],
    ops: 500,
  });
  return runs.map(({ vmap, ns_per_op, ops, tlb_flushes }) =>
    `${vmap}: ${ns_per_op} ns an operation, ${tlb_flushes} flushes in ${ops}`
  );
}

if (import.meta.main) console.log(main().join("\n"));
