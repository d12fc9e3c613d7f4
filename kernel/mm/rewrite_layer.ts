/**
 * "mm: rewrite vmap layer", as one {@linkcode VmapLayer}: global areas
 * (vmap_area.ts), lazy purging (vmap_purge.ts), per-CPU blocks (vmap_block.ts)
 * and vm_unmap_aliases() (vmap_aliases.ts) put together.
 *
 * Lock order of the whole layer:
 *
 *     vmlist_lock              alone
 *     vb.lock
 *       vbq.lock
 *       vmap_block_tree_lock
 *     purge_lock
 *       vmap_area_lock
 */
import * as asm from "../../arch/asm.ts";
import type { Steps } from "../../arch/asm.ts";
import { Cell } from "../../arch/hw/cell.ts";
import { CacheLine } from "../../arch/hw/line.ts";
import * as bug from "../bug.ts";
import * as errno from "../lib/errno.ts";
import type { Errno } from "../lib/errno.ts";
import { list_entries } from "../lib/list.ts";
import { radix_tree_gang_lookup } from "../lib/radix_tree.ts";
import { check_rbtree, rb_first, rb_next } from "../lib/rbtree.ts";
import { bitmap_weight } from "../lib/bitmap.ts";
import { spin_lock, spin_unlock } from "../locking/spinlock.ts";
import type { Thread } from "../thread.ts";
import { GFP_KERNEL } from "./gfp.ts";
import type { Page } from "./page.ts";
import * as pgtable from "./pgtable.ts";
import { RewriteState } from "./rewrite_state.ts";
import { vm_unmap_aliases } from "./vmap_aliases.ts";
import {
  __find_vmap_area,
  __insert_vmap_area,
  alloc_vmap_area,
  find_vmap_area,
  free_unmap_vmap_area,
  free_unmap_vmap_area_addr,
  VM_LAZY_FREE,
  VM_LAZY_FREEING,
  VM_VM_AREA,
  VmapArea,
} from "./vmap_area.ts";
import * as alloc from "./vb_alloc.ts";
import * as free from "./vb_free.ts";
import type { VmapBlock } from "./vmap_block.ts";
import { AreaLayer, check_areas, type LayerCounters } from "./vmap_layer.ts";
import { lazy_limit } from "./vmap_purge.ts";
import { vmlist_insert, vmlist_remove, type VmStruct } from "./vm_struct.ts";

// Functions as constants of this module: docs/ARCHITECTURE.md, "What V8 likes".
const { charge, enter, ksym, leave, load, store } = asm;
const { BUG_ON } = bug;
const { IS_ERR_VALUE } = errno;
const { vmap_page_range } = pgtable;
const { vb_alloc } = alloc;
const { vb_free } = free;

const VM_MAP_RAM = ksym("vm_map_ram");
const VM_UNMAP_RAM = ksym("vm_unmap_ram");
const FIND_VMAP_AREA = ksym("find_vmap_area");

/** The layer; see the file's head. */
export class RewriteLayer extends AreaLayer<VmapArea> {
  readonly name = "rewrite";
  /** Set by init. */
  declare state: RewriteState;
  /** A13: __get_vm_area_node()'s pointer, if it is static. */
  readonly #static_va: Cell<VmapArea | null> = new Cell<VmapArea | null>(
    "va",
    null,
  );

  init(_t: Thread): void {
    this.state = new RewriteState(this.k);
  }

  /** From bootmem, as there is no slab allocator yet. */
  import_vm(t: Thread, vm: VmStruct): void {
    const w = this.state;
    if (w.quirks.noImport) return; // A14
    const va = new VmapArea(w);
    va.line = new CacheLine(0);
    va.va_start = vm.addr;
    va.va_end = vm.addr + vm.size;
    va.flags = VM_VM_AREA;
    va.private = vm;
    // Alone: one CPU runs, and it is in vmalloc_init().
    w.vmap_area_lock.owner = t;
    __insert_vmap_area(t, w, va);
    w.vmap_area_lock.owner = null;
  }

  protected override alloc_area(
    t: Thread,
    size: number,
    align: number,
    vstart: number,
    vend: number,
    node: number,
    gfp: number,
  ): Steps<VmapArea | Errno> {
    return alloc_vmap_area(
      t,
      this.state,
      size,
      align,
      vstart,
      vend,
      node,
      gfp,
    );
  }

  protected override free_unmap(t: Thread, area: VmapArea): Steps {
    return free_unmap_vmap_area(t, this.state, area);
  }

  protected override find_area(
    t: Thread,
    addr: number,
  ): Steps<VmapArea | null> {
    return find_vmap_area(t, this.state, addr);
  }

  /** Found once only: a second free of the same address comes back empty-handed. */
  protected override *claim_area(
    t: Thread,
    addr: number,
  ): Steps<VmapArea | null> {
    const w = this.state;
    enter(t, FIND_VMAP_AREA);
    yield* spin_lock(t, w.vmap_area_lock);
    let va = __find_vmap_area(t, w, addr);
    if (va !== null && (va.flags & VM_VM_AREA) === 0) va = null;
    // A12: left set, it says until the purge that the area is in use.
    if (va !== null && !w.quirks.doubleFree) va.flags &= ~VM_VM_AREA;
    yield* spin_unlock(t, w.vmap_area_lock);
    leave(t);
    return va;
  }

  override *insert_vm(
    t: Thread,
    vm: VmStruct,
    size: number,
    align: number,
    start: number,
    end: number,
    node: number,
    gfp: number,
  ): Steps<0 | Errno> {
    const w = this.state;
    let va = yield* alloc_vmap_area(t, w, size, align, start, end, node, gfp);
    if (typeof va === "number") return va;
    if (w.quirks.staticArea) { // A13: read back after others may have written it
      yield* store(t, this.#static_va, va);
      va = (yield* load(t, this.#static_va))!;
    }
    vm.addr = va.va_start;
    va.private = vm;
    va.flags |= VM_VM_AREA;
    yield* vmlist_insert(t, vm);
    return 0;
  }

  override *remove_vm(t: Thread, addr: number): Steps<VmStruct | null> {
    const w = this.state;
    const va = yield* this.claim_area(t, addr);
    if (va === null) return null;
    const vm = va.private!;
    // A11: hidden first; once freed the address may be somebody else's.
    if (w.quirks.freeBeforeUnlink) {
      yield* free_unmap_vmap_area(t, w, va);
      vm.size -= w.page_size;
      yield* vmlist_remove(t, vm);
    } else {
      yield* vmlist_remove(t, vm);
      yield* free_unmap_vmap_area(t, w, va);
      vm.size -= w.page_size;
    }
    return vm;
  }

  override *find_vm(t: Thread, addr: number): Steps<VmStruct | null> {
    const va = yield* find_vmap_area(t, this.state, addr);
    return va !== null && (va.flags & VM_VM_AREA) !== 0 ? va.private : null;
  }

  /** Comes back at once, without a generator, if block and line of entries are at hand. */
  override vm_map_ram(
    t: Thread,
    pages: readonly Page[],
    count: number,
    node: number,
    prot: number,
  ): Steps<number> {
    enter(t, VM_MAP_RAM);
    charge(t, 14);
    const steps = this.#take(t, count, node);
    const { ready } = t.op;
    return steps === ready
      ? this.#map(t, ready.value as number, pages, count, prot, true)
      : this.#take_and_map(t, steps, pages, count, prot);
  }

  /** Addresses for `count` pages: an error or 0 if there are none. */
  #take(t: Thread, count: number, node: number): Steps<number> {
    const w = this.state;
    if (count > w.VMAP_MAX_ALLOC) return this.#take_area(t, count, node);
    // B13: nothing is asked for.
    if (count === 0 && !w.quirks.shortSize) {
      return t.op.ready.give(0) as Steps<number>;
    }
    t.k.sanitizers?.blockRequest(t, true);
    const steps = vb_alloc(t, w, this.#bytes(count), GFP_KERNEL);
    if (t.k.sanitizers === null) return steps;
    if (steps !== t.op.ready) return this.#take_watched(t, steps);
    t.k.sanitizers.blockRequest(t, false);
    return steps;
  }

  *#take_area(t: Thread, count: number, node: number): Steps<number> {
    const { start, end } = t.k.vmalloc;
    const w = this.state;
    const va = yield* alloc_vmap_area(
      t,
      w,
      this.#bytes(count),
      w.page_size,
      start,
      end,
      node,
      GFP_KERNEL,
    );
    return typeof va === "number" ? va : va.va_start;
  }

  *#take_watched(t: Thread, taking: Steps<number>): Steps<number> {
    const addr = yield* taking;
    t.k.sanitizers!.blockRequest(t, false);
    return addr;
  }

  *#take_and_map(
    t: Thread,
    taking: Steps<number>,
    pages: readonly Page[],
    count: number,
    prot: number,
  ): Steps<number> {
    const addr = yield* taking;
    return yield* this.#map(t, addr, pages, count, prot, false);
  }

  /** Ends vm_map_ram() once it has its addresses, or has been told that there are none. */
  #map(
    t: Thread,
    addr: number,
    pages: readonly Page[],
    count: number,
    prot: number,
    inSection: boolean,
  ): Steps<number> {
    const { ready } = t.op;
    if (addr <= 0) {
      leave(t);
      return ready.give(0) as Steps<number>;
    }
    const end = addr + this.#bytes(count);
    const steps = vmap_page_range(t, addr, end, prot, pages, 0, inSection);
    if (steps !== ready || IS_ERR_VALUE(ready.value as number)) {
      return this.#await_mapped(t, steps, addr, count);
    }
    leave(t);
    return ready.give(addr) as Steps<number>;
  }

  *#await_mapped(
    t: Thread,
    mapping: Steps<number>,
    addr: number,
    count: number,
  ): Steps<number> {
    const nr = yield* mapping;
    if (IS_ERR_VALUE(nr)) {
      yield* this.vm_unmap_ram(t, addr, count);
      addr = 0;
    }
    leave(t);
    return addr;
  }

  /** B13: `int` arithmetic loses the upper half. */
  #bytes(count: number): number {
    const bytes = count * this.state.page_size;
    return this.state.quirks.shortSize ? bytes % 2 ** 32 : bytes;
  }

  /** Ends in a jump to vb_free(), as compilers do it: no frame of its own is left. */
  override vm_unmap_ram(t: Thread, addr: number, count: number): Steps {
    enter(t, VM_UNMAP_RAM);
    charge(t, 14);
    const { start, end } = t.k.vmalloc;
    const page = addr * this.state.page_of_byte;
    BUG_ON(t, addr === 0, "vm_unmap_ram of NULL");
    BUG_ON(
      t,
      addr < start || addr > end,
      "vm_unmap_ram of an address outside of vmalloc space",
    );
    BUG_ON(
      t,
      Math.floor(page) !== page,
      "vm_unmap_ram of a misaligned address",
    );
    leave(t);
    const w = this.state;
    return count <= w.VMAP_MAX_ALLOC
      ? vb_free(t, w, addr, this.#bytes(count))
      : free_unmap_vmap_area_addr(t, w, addr);
  }

  override vm_unmap_aliases(t: Thread): Steps {
    return vm_unmap_aliases(t, this.state);
  }

  override counters(): LayerCounters {
    const w = this.state;
    let queued = 0;
    for (const cpu of this.k.cpu_possible.list) {
      const vbq = w.vmap_block_queue.peek(cpu);
      if (vbq !== null) queued += list_entries(vbq.free).length;
    }
    return {
      areas: w.nr_areas,
      lazy_nr: w.vmap_lazy_nr.value,
      lazy_max: lazy_limit(w),
      blocks: w.nr_blocks,
      blocks_with_free: queued,
      purges: w.purges,
      walk_steps: w.walk_steps,
    };
  }

  override check(): string[] {
    const areas = list_entries(this.state.vmap_area_list);
    return [
      ...check_areas(this.k, areas),
      ...this.#check_tree(areas),
      ...this.#check_lazy(areas),
      ...this.#check_blocks(areas),
    ];
  }

  /** List order equals tree order. */
  #check_tree(areas: readonly VmapArea[]): string[] {
    const root = this.state.vmap_area_root;
    check_rbtree(root, (a, b) => a.va.va_start - b.va.va_start);
    let i = 0;
    for (let n = rb_first(root); n !== null; n = rb_next(n), i++) {
      if (n.va !== areas[i]) return [`tree and list differ at entry ${i}`];
    }
    return i === areas.length ? [] : ["the list has areas the tree has not"];
  }

  /** The counter is the sum of what waits; exact while nothing is under way. */
  #check_lazy(areas: readonly VmapArea[]): string[] {
    const w = this.state;
    let sum = 0;
    for (const va of areas) {
      if ((va.flags & (VM_LAZY_FREE | VM_LAZY_FREEING)) === 0) continue;
      sum += (va.va_end - va.va_start) / w.page_size;
    }
    const counted = w.vmap_lazy_nr.value;
    return sum === counted
      ? []
      : [`vmap_lazy_nr is ${counted}, lazily freed areas have ${sum} pages`];
  }

  /** Pages of a block add up; it is on a queue if and only if it has some to hand out. */
  #check_blocks(areas: readonly VmapArea[]): string[] {
    const w = this.state;
    const bits = w.VMAP_BBMAP_BITS;
    const known = new Set(areas);
    const queued = new Set<VmapBlock>();
    const found: string[] = [];
    for (const cpu of this.k.cpu_possible.list) {
      const vbq = w.vmap_block_queue.peek(cpu);
      for (const vb of vbq === null ? [] : list_entries(vbq.free)) {
        if (queued.has(vb)) found.push("a block is queued twice");
        queued.add(vb);
      }
    }
    const blocks = radix_tree_gang_lookup(w.vmap_block_tree, 0, Infinity);
    for (const vb of blocks) {
      const at = vb.va.va_start.toString(16);
      if (!known.has(vb.va)) found.push(`block at ${at} has no area`);
      const allocated = bitmap_weight(vb.alloc_map, bits);
      const dirty = bitmap_weight(vb.dirty_map, bits);
      if (vb.free !== bits - allocated || vb.dirty !== dirty) {
        found.push(
          `block at ${at}: ${vb.free} free, ${vb.dirty} dirty; maps say ${
            bits - allocated
          } and ${dirty}`,
        );
      }
      if (queued.delete(vb) !== vb.free > 0) {
        found.push(`block at ${at}: ${vb.free} free, wrongly queued or not`);
      }
    }
    if (queued.size > 0) found.push("a queued block is not in the tree");
    return found;
  }
}
