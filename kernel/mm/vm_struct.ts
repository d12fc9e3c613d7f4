/**
 * vm_struct and `vmlist`: what vmalloc(), vmap() and ioremap() know of an area,
 * on one list sorted by address (include/linux/vmalloc.h).
 *
 * In 2.6.27 this list *is* the allocator (see vmlist_layer.ts); from 2.6.28 on
 * it serves readers: vread(), /proc/vmallocinfo, iounmap(), xenbus. Its head
 * shares a cache line with its lock, as two neighbouring variables do.
 */
import { charge, type Steps, touch_read, touch_write } from "../../arch/asm.ts";
import { BUG } from "../bug.ts";
import {
  read_lock,
  read_unlock,
  write_lock,
  write_unlock,
} from "../locking/rwlock.ts";
import { lockdep_assert_held } from "../locking/spinlock.ts";
import type { Thread } from "../thread.ts";
import type { Page } from "./page.ts";
import { type KmallocObject, SlabObject } from "./slab.ts";

/** Mapped by ioremap(), and the like. */
export const VM_IOREMAP = 0x1;
/** Allocated by vmalloc(). */
export const VM_ALLOC = 0x2;
/** Mapped by vmap(). */
export const VM_MAP = 0x4;
/** May be mapped to user space by remap_vmalloc_range(). */
export const VM_USERMAP = 0x8;
/** The array of pages came from vmalloc() itself. */
export const VM_VPAGES = 0x10;

/** One listed step: load of next, compare, branch. */
const STEP_INSTRUCTIONS = 5;

/**
 * One area of the vmalloc interface. 64 bytes: one cache line.
 *
 * Linux: include/linux/vmalloc.h.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   find_vm_area,
 *   VM_ALLOC,
 *   vmalloc,
 *   VmStruct,
 * } from "@vmaplab/vmaplab";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const area = boot().run(function* (t) {
 *   return yield* find_vm_area(t, yield* vmalloc(t, 8192));
 * });
 * assert(area instanceof VmStruct);
 * assertEquals([area.size, area.nr_pages, area.flags], [12288, 2, VM_ALLOC]);
 * ```
 */
export class VmStruct extends SlabObject {
  // Guarded by vmlist_lock.
  /** The next one by address. Guarded by vmlist_lock. */
  next: VmStruct | null = null;
  /** First address, bytes; 0 = none yet. */
  addr = 0;
  /** Bytes, the guard page included as long as the area is listed. */
  size = 0;

  // Own: whoever owns the area.
  /** `VM_*` bits. */
  flags = 0;
  /** What is mapped, of vmalloc(); empty otherwise. */
  pages: readonly (Page | null)[] = [];
  /** Pages mapped, of vmalloc(). */
  nr_pages = 0;
  /** Where the array of pages lies: an address of VM_VPAGES, or a small object. */
  pages_addr = 0;
  /** What kmalloc() gave for the array of pages; `null` = no such array. */
  pages_obj: KmallocObject | null = null;
  /** Bus address, of ioremap(). */
  phys_addr = 0;
  /** Number of the symbol that asked for it, for /proc/vmallocinfo. */
  caller = 0;

  /** What kmalloc() hands out is dirty: sets every field. */
  reset(flags: number, size: number, caller: number): void {
    this.next = null;
    this.addr = 0;
    this.size = size;
    this.flags = flags;
    this.pages = NO_PAGES;
    this.nr_pages = 0;
    this.pages_addr = 0;
    this.pages_obj = null;
    this.phys_addr = 0;
    this.caller = caller;
  }
}

const NO_PAGES: readonly (Page | null)[] = [];

/**
 * Links `vm` after `prev`; `null` = at the head. Locks: vmlist_lock held for writing.
 */
export function __vmlist_link(
  t: Thread,
  vm: VmStruct,
  prev: VmStruct | null,
): void {
  const state = t.k.vmalloc;
  lockdep_assert_held(t, state.vmlist_lock);
  charge(t, 4);
  touch_write(t, vm.line);
  if (prev === null) {
    vm.next = state.vmlist;
    state.vmlist = vm;
  } else {
    touch_write(t, prev.line);
    vm.next = prev.next;
    prev.next = vm;
  }
  state.nr_vm_structs++;
  t.k.sanitizers?.vmListed(t, vm);
}

/** Unlinks what follows `prev`; `null` = the head. Locks: vmlist_lock held for writing. */
export function __vmlist_unlink(
  t: Thread,
  vm: VmStruct,
  prev: VmStruct | null,
): void {
  const state = t.k.vmalloc;
  lockdep_assert_held(t, state.vmlist_lock);
  charge(t, 3);
  if (prev === null) state.vmlist = vm.next;
  else {
    touch_write(t, prev.line);
    prev.next = vm.next;
  }
  state.nr_vm_structs--;
  t.k.sanitizers?.vmUnlisted(t, vm);
}

/**
 * Lists `vm` at its address, as 2.6.28's __get_vm_area_node() does.
 *
 * Locks: takes vmlist_lock for writing.
 */
export function* vmlist_insert(t: Thread, vm: VmStruct): Steps {
  const state = t.k.vmalloc;
  yield* write_lock(t, state.vmlist_lock);
  let prev: VmStruct | null = null;
  for (let p = state.vmlist; p !== null && p.addr < vm.addr; p = p.next) {
    touch_read(t, p.line);
    charge(t, STEP_INSTRUCTIONS);
    state.vmlist_steps++;
    prev = p;
  }
  __vmlist_link(t, vm, prev);
  yield* write_unlock(t, state.vmlist_lock);
}

/**
 * Takes `vm` off the list. One that is not on it runs off the end.
 *
 * Locks: takes vmlist_lock for writing.
 */
export function* vmlist_remove(t: Thread, vm: VmStruct): Steps {
  const state = t.k.vmalloc;
  yield* write_lock(t, state.vmlist_lock);
  let prev: VmStruct | null = null;
  for (let p = state.vmlist; p !== vm; p = p.next) {
    if (p === null) BUG(t, "NULL pointer dereference: not on vmlist");
    touch_read(t, p.line);
    charge(t, STEP_INSTRUCTIONS);
    state.vmlist_steps++;
    prev = p;
  }
  __vmlist_unlink(t, vm, prev);
  yield* write_unlock(t, state.vmlist_lock);
}

/**
 * Finds the vm_struct that starts at `addr` by walking the list, as iounmap() does.
 *
 * Locks: takes vmlist_lock for reading.
 */
export function* vmlist_find(
  t: Thread,
  addr: number,
): Steps<VmStruct | null> {
  const state = t.k.vmalloc;
  yield* read_lock(t, state.vmlist_lock);
  let p = state.vmlist;
  for (; p !== null && p.addr !== addr; p = p.next) {
    touch_read(t, p.line);
    charge(t, STEP_INSTRUCTIONS);
  }
  yield* read_unlock(t, state.vmlist_lock);
  return p;
}
