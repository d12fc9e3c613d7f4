/**
 * 2.6.27's allocator: one list of vm_structs sorted by address, one rwlock,
 * and a TLB flush on every CPU for every free, under that lock. What
 * "mm: rewrite vmap layer" replaced.
 *
 * Lock order: vmlist_lock, taken for writing, then the locks of
 * smp_call_function(): whoever waits for the list waits for the flush too.
 *
 * Nothing is lazy here: vm_unmap_aliases() has nothing to do. vm_map_ram() is
 * vmap() under another name: 2.6.27 did not have it, and what it replaced in
 * its first users was vmap().
 */
import {
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  touch_read,
} from "../../arch/asm.ts";
import type { Kernel } from "../kernel.ts";
import { EBUSY, err, type Errno } from "../lib/errno.ts";
import { ALIGN } from "../lib/bitops.ts";
import {
  read_lock,
  read_unlock,
  write_lock,
  write_unlock,
} from "../locking/rwlock.ts";
import { lockdep_assert_held } from "../locking/spinlock.ts";
import type { Thread } from "../thread.ts";
import type { Page } from "./page.ts";
import { vunmap_page_range } from "./pgtable.ts";
import { flush_tlb_kernel_range } from "./tlb.ts";
import {
  __vmlist_link,
  __vmlist_unlink,
  VM_MAP,
  type VmStruct,
} from "./vm_struct.ts";
import { vmalloc_warn_space } from "./vmalloc_state.ts";
import { vmap, vunmap } from "./vmap.ts";
import {
  check_areas,
  type LayerCounters,
  type VmapLayer,
  type VmapRange,
} from "./vmap_layer.ts";

const UNMAP_VM_AREA = ksym("unmap_vm_area");
const __REMOVE_VM_AREA = ksym("__remove_vm_area");
const FIND_VM_AREA = ksym("__find_vm_area");

/** One step of __get_vm_area_node()'s loop: load, three compares, an add. */
const SEARCH_INSTRUCTIONS = 9;
/** One step of __find_vm_area()'s and __remove_vm_area()'s: load, compare. */
const FIND_INSTRUCTIONS = 4;

/** The layer; see the file's head. */
export class VmlistLayer implements VmapLayer {
  readonly name = "vmlist";
  #walk_steps = 0;
  /** Found by {@linkcode VmlistLayer.#search}: what the new area goes after. Guarded by vmlist_lock. */
  #prev: VmStruct | null = null;

  constructor(readonly k: Kernel) {}

  init(_t: Thread): void {}

  /** Being listed is all there is. */
  import_vm(_t: Thread, _vm: VmStruct): void {}

  *insert_vm(
    t: Thread,
    vm: VmStruct,
    size: number,
    align: number,
    start: number,
    end: number,
    _node: number,
    _gfp: number,
  ): Steps<0 | Errno> {
    const { vmlist_lock } = this.k.vmalloc;
    yield* write_lock(t, vmlist_lock);
    const addr = this.#search(t, size, align, start, end);
    if (addr >= 0) {
      vm.addr = addr;
      __vmlist_link(t, vm, this.#prev);
    }
    yield* write_unlock(t, vmlist_lock);
    if (addr >= 0) return 0;
    vmalloc_warn_space(t, "allocation failed: out of vmalloc space -");
    return err(EBUSY);
  }

  /** First fit. Locks: vmlist_lock held for writing. @returns The address, or -1. */
  #search(
    t: Thread,
    size: number,
    align: number,
    start: number,
    end: number,
  ): number {
    const state = this.k.vmalloc;
    lockdep_assert_held(t, state.vmlist_lock);
    let addr = ALIGN(start, align);
    this.#prev = null;
    let steps = 0;
    let p = state.vmlist;
    for (; p !== null; p = p.next) {
      steps++;
      touch_read(t, p.line);
      const p_end = p.addr + p.size;
      if (p.addr < addr) {
        if (p_end >= addr) addr = ALIGN(p_end, align);
      } else {
        if (addr + size <= p.addr) break;
        addr = ALIGN(p_end, align);
        if (addr + size > end) break;
      }
      this.#prev = p;
    }
    charge(t, 10 + SEARCH_INSTRUCTIONS * steps);
    this.#walk_steps += steps;
    return addr + size > end ? -1 : addr;
  }

  /** The clear, the flush and the unlinking all happen under the lock. */
  *remove_vm(t: Thread, addr: number): Steps<VmStruct | null> {
    const state = this.k.vmalloc;
    yield* write_lock(t, state.vmlist_lock);
    enter(t, __REMOVE_VM_AREA);
    const vm = this.#find(t, addr);
    if (vm !== null) {
      const prev = this.#prev;
      yield* this.#unmap_vm_area(t, vm);
      __vmlist_unlink(t, vm, prev);
      vm.size -= state.page_size;
    }
    leave(t);
    yield* write_unlock(t, state.vmlist_lock);
    return vm;
  }

  *#unmap_vm_area(t: Thread, vm: VmStruct): Steps {
    enter(t, UNMAP_VM_AREA);
    charge(t, 8);
    const end = vm.addr + vm.size;
    yield* vunmap_page_range(t, vm.addr, end);
    yield* flush_tlb_kernel_range(t, vm.addr, end);
    leave(t);
  }

  *find_vm(t: Thread, addr: number): Steps<VmStruct | null> {
    const { vmlist_lock } = this.k.vmalloc;
    yield* read_lock(t, vmlist_lock);
    const vm = this.#find(t, addr);
    yield* read_unlock(t, vmlist_lock);
    return vm;
  }

  /** Leaves what comes before in `#prev`. Locks: vmlist_lock held. */
  #find(t: Thread, addr: number): VmStruct | null {
    enter(t, FIND_VM_AREA);
    let prev: VmStruct | null = null;
    let p = this.k.vmalloc.vmlist;
    for (; p !== null && p.addr !== addr; p = p.next) {
      touch_read(t, p.line);
      charge(t, FIND_INSTRUCTIONS);
      prev = p;
    }
    if (this.k.vmalloc.vmlist_lock.owner === t) this.#prev = prev;
    leave(t);
    return p;
  }

  vm_map_ram(
    t: Thread,
    pages: readonly Page[],
    count: number,
    _node: number,
    prot: number,
  ): Steps<number> {
    return vmap(t, pages, count, VM_MAP, prot);
  }

  vm_unmap_ram(t: Thread, addr: number, _count: number): Steps {
    return vunmap(t, addr);
  }

  // deno-lint-ignore require-yield
  *vm_unmap_aliases(t: Thread): Steps {
    charge(t, 2);
  }

  counters(): LayerCounters {
    return {
      areas: this.k.vmalloc.nr_vm_structs,
      lazy_nr: 0,
      lazy_max: 0,
      blocks: 0,
      blocks_with_free: 0,
      purges: 0,
      walk_steps: this.#walk_steps,
    };
  }

  check(): string[] {
    const areas: VmapRange[] = [];
    for (let vm = this.k.vmalloc.vmlist; vm !== null; vm = vm.next) {
      const va_end = vm.addr + vm.size;
      areas.push({ va_start: vm.addr, va_end, private: vm });
    }
    return check_areas(this.k, areas);
  }
}
