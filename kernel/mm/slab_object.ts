/**
 * What the slab allocator hands out, and the slabs they lie in (mm/slab.c:
 * struct slab).
 *
 * Differs from Linux: an object is a JavaScript object that stands for its
 * address. It is made when its slot is first used and recycled with it, last in
 * first out, as memory is; so its cache line stays where it was used last, and
 * its fields hold what the last user left there.
 */
import type { CacheLine } from "../../arch/hw/line.ts";
import { CacheLine as Line } from "../../arch/hw/line.ts";
import type { Machine } from "../../arch/hw/machine.ts";
import { ListHead } from "../lib/list.ts";
import type { KmemCache } from "./slab.ts";
import type { Page } from "./page.ts";

/**
 * Anything a cache can hold. Its own fields belong to the slab allocator.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   GFP_KERNEL,
 *   kmem_cache_alloc,
 *   kmem_cache_create,
 *   SlabObject,
 *   write_line,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * class Request extends SlabObject {
 *   sector = 0;
 * }
 * const line = boot().run(function* (t) {
 *   const cache = kmem_cache_create(t, "my_rq", 64, () => new Request());
 *   const rq = (yield* kmem_cache_alloc(t, cache, GFP_KERNEL))!;
 *   rq.sector = 8;
 *   yield* write_line(t, rq.line); // what that store costs
 *   return rq.line;
 * });
 * assertEquals(line.owner, 0);
 * ```
 */
export class SlabObject {
  /** Line of its first byte; small neighbours may share it, as on hardware. */
  line!: CacheLine;
  /** Physical address, bytes. */
  paddr = 0;
  /**
   * Slab it lies in; `null` for an object that no cache made.
   *
   * @internal
   */
  _slab: SlabBlock | null = null;
  /**
   * Number within the slab.
   *
   * @internal
   */
  _index = 0;
  /**
   * Whether a user has it; `false` = free: whoever touches it now uses freed memory.
   *
   * @internal
   */
  _live = false;
  /**
   * What kasan knows of it; `null` unless kasan is on.
   *
   * @internal
   */
  _track: unknown = null;
}

/** Whether `obj` is allocated: what a sanitizer asks on every touch. */
export function slab_object_live(obj: SlabObject): boolean {
  return obj._live;
}

/** End of a slab's chain of free objects. */
export const BUFCTL_END = -1;

/** One slab: a block of pages cut into objects. Guarded by its node's list_lock. */
export class SlabBlock {
  /** Objects that are out, in a CPU's array or with a user. */
  inuse = 0;
  /** First free object; {@linkcode BUFCTL_END} = none. */
  free = 0;
  /** Next free object after each. */
  readonly bufctl: Int32Array;
  /** On the partial, full or free list of its node. */
  readonly list: ListHead<SlabBlock>;
  /** Line of this descriptor. */
  readonly line: CacheLine;
  readonly #objects: (SlabObject | undefined)[];

  declare readonly page: Page;
  /** Physical address of the first object, bytes. */
  declare readonly mem: number;

  constructor(
    machine: Machine,
    // deno-lint-ignore no-explicit-any -- whatever it holds
    readonly cache: KmemCache<any>,
    page: Page,
    mem: number,
  ) {
    this.page = page;
    this.mem = mem;
    const { num, offSlab } = cache.layout;
    this.bufctl = new Int32Array(num);
    for (let i = 0; i < num; i++) this.bufctl[i] = i + 1;
    this.bufctl[num - 1] = BUFCTL_END;
    this.list = new ListHead<SlabBlock>(this);
    this.line = offSlab
      ? new Line(page.node)
      : machine.lineAt(page.pfn * machine.memory.pageBytes);
    this.#objects = new Array(num).fill(undefined);
  }

  /** NUMA node of its pages. */
  get node(): number {
    return this.page.node;
  }

  /** Takes the first free object. There is one. */
  get(machine: Machine): SlabObject {
    const index = this.free;
    this.free = this.bufctl[index];
    this.inuse++;
    return this.#objects[index] ??= this.#make(machine, index);
  }

  /** Puts an object back; it will be the next one out. */
  put(obj: SlabObject): void {
    this.bufctl[obj._index] = this.free;
    this.free = obj._index;
    this.inuse--;
  }

  /** The JavaScript object of slot `index`, which has been used. */
  at(index: number): SlabObject {
    return this.#objects[index]!;
  }

  /** From now on `obj` stands for slot `index`: a new user's, kasan tells it from the old. */
  replace(index: number, obj: SlabObject): void {
    obj._slab = this;
    obj._index = index;
    this.#objects[index] = obj;
  }

  #make(machine: Machine, index: number): SlabObject {
    const { cache } = this;
    const obj = cache.make() as SlabObject;
    obj._slab = this;
    obj._index = index;
    obj.paddr = this.mem + index * cache.layout.size;
    obj.line = machine.lineAt(obj.paddr);
    return obj;
  }
}
