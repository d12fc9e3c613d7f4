/** The slab allocator's arrays and per-node lists (mm/slab.c). */
import { CacheLine } from "../../arch/hw/line.ts";
import type { Kernel } from "../kernel.ts";
import { ListHead } from "../lib/list.ts";
import { Spinlock } from "../locking/spinlock.ts";
import type { KmemCache } from "./slab.ts";
import type { SlabBlock, SlabObject } from "./slab_object.ts";

/** Most objects an alien array keeps. */
const ALIEN_LIMIT = 12;

/** Free objects, last in first out. A CPU's own, or guarded by who shares it. */
export class ArrayCache {
  avail = 0;
  /** Used since the last refill: refill all of a batch. */
  touched = false;
  /** `entry[0...avail]` are free objects. */
  readonly entry: SlabObject[] = [];

  constructor(readonly limit: number) {}
}

/** Free objects of one node that CPUs of another have freed. Guarded by `lock`. */
export class AlienCache extends ArrayCache {
  readonly lock: Spinlock;

  constructor(k: Kernel, limit: number, node: number) {
    super(limit);
    this.lock = new Spinlock(k, "&alc->lock", new CacheLine(node));
  }
}

/** Slabs of one cache on one node: struct kmem_list3. */
export class KmemList3 {
  readonly list_lock: Spinlock;

  // Guarded by `list_lock`.
  /** Some objects free. */
  readonly slabs_partial: ListHead<SlabBlock> = new ListHead<SlabBlock>();
  readonly slabs_full: ListHead<SlabBlock> = new ListHead<SlabBlock>();
  /** All objects free. */
  readonly slabs_free: ListHead<SlabBlock> = new ListHead<SlabBlock>();
  /** Free objects in the slabs. */
  free_objects = 0;
  /** Above this many, slabs that become free go back to the page allocator. */
  readonly free_limit: number;
  /** Where the next slab's objects begin, colours. */
  colour_next = 0;
  /** Free objects that all CPUs of the node share; `null` = too large to keep. */
  readonly shared: ArrayCache | null;
  /** Line of the lists, beside the lock's. */
  readonly line: CacheLine;

  /** By node they belong to; each has its own lock. Made when first needed. */
  readonly alien: (AlienCache | undefined)[];

  constructor(
    k: Kernel,
    // deno-lint-ignore no-explicit-any -- of any kind
    cache: KmemCache<any>,
    readonly node: number,
  ) {
    const { limits, layout } = cache;
    this.list_lock = new Spinlock(
      k,
      "&parent->list_lock",
      new CacheLine(node),
    );
    this.line = new CacheLine(node);
    const { nodes } = k.machine.spec.topology;
    const cpus = Math.ceil(k.machine.nrCpus / nodes); // nr_cpus_node()
    this.free_limit = (1 + cpus) * limits.batchcount + layout.num;
    this.shared = limits.shared > 0 ? new ArrayCache(limits.shared) : null;
    this.alien = new Array(nodes).fill(undefined);
  }

  /** Array for objects of `node`. @param limit A CPU array's limit. */
  alienOf(k: Kernel, node: number, limit: number): AlienCache {
    return this.alien[node] ??= new AlienCache(
      k,
      limit > 1 ? ALIEN_LIMIT : limit,
      this.node,
    );
  }
}
