/**
 * Where an area goes: first fit from the bottom, one page kept free after each
 * area (mm/vmalloc.c, 2.6.28, the search in alloc_vmap_area()).
 *
 * Context: everything here is plain and wants vmap_area_lock held.
 *
 * The walk passes every area below the place it finds, lazily freed ones too:
 * that is what makes vmap() slower as the backlog grows.
 * What the search before has passed is charged, and not looked at again
 * (walk_memo.ts).
 */
import { charge, touch_read } from "../../arch/asm.ts";
import { rb_next } from "../lib/rbtree.ts";
import { lockdep_assert_held } from "../locking/spinlock.ts";
import type { Thread } from "../thread.ts";
import type { RewriteState } from "./rewrite_state.ts";
import type { VmapArea, VmapNode } from "./vmap_area.ts";

/** Descent by one tree level: load, compare, branch, load of a child. */
export const DESCENT_INSTRUCTIONS = 8;
/** One area of the search for room: rb_next(), two sums, two compares, an alignment. */
const WALK_INSTRUCTIONS = 16;

/** Puts `addr` back into the address space, as arithmetic on unsigned longs does. */
export function wrap(w: RewriteState, addr: number): number {
  return addr >= w.address_limit ? addr - w.address_limit : addr;
}

/**
 * Finds the lowest place for `size` bytes from `addr` on, one page away from
 * the areas around it; the lowest area alone may follow directly.
 *
 * Locks: vmap_area_lock held.
 *
 * @param addr A multiple of `align`.
 * @returns A candidate. It does not fit if it ends above `vend`.
 */
export function find_room(
  t: Thread,
  w: RewriteState,
  addr: number,
  size: number,
  align: number,
  vend: number,
): number {
  lockdep_assert_held(t, w.vmap_area_lock);
  const first = w.quirks.postedSearch
    ? first_posted(t, w, addr) // A1
    : first_in_way(t, w, addr, size);
  if (first === null) return addr;
  // A6: without the check, sums wrap.
  const wraps = w.quirks.noOverflowCheck;
  const page = w.page_size;
  const head = w.vmap_area_list;
  const memo = w.walk_memo;
  let p = first.list;
  let steps = 0;
  if (memo.begin(first, addr, size, align, vend)) {
    const { lines } = memo;
    const last = memo.last!;
    for (let i = 0; i < lines.length; i++) touch_read(t, lines[i]);
    steps = lines.length;
    p = last.list.next;
    addr = w.align(last.va_end + page, align);
    if (wraps) addr = wrap(w, addr);
  }
  while (p !== head) {
    const va = p.owner!;
    const end = wraps ? wrap(w, addr + size) : addr + size;
    if (end < va.va_start || end > vend) break;
    addr = w.align(va.va_end + page, align);
    if (wraps) addr = wrap(w, addr);
    memo.pass(va);
    p = p.next;
    steps++;
    touch_read(t, va.line);
  }
  w.walk_steps += steps;
  charge(t, WALK_INSTRUCTIONS * steps);
  return addr;
}

/** The lowest area that reaches up to `addr`, if it is in the way of `size` bytes there. */
function first_in_way(
  t: Thread,
  w: RewriteState,
  addr: number,
  size: number,
): VmapArea | null {
  let first: VmapArea | null = null;
  let steps = 1;
  for (let n = w.vmap_area_root.rb_node; n !== null;) {
    const va = n.va;
    steps++;
    touch_read(t, va.line);
    if (va.va_end >= addr) {
      first = va;
      n = n.rb_left;
    } else n = n.rb_right;
  }
  w.descent_steps += steps;
  charge(t, DESCENT_INSTRUCTIONS * steps);
  if (first === null) return null;
  const end = w.quirks.noOverflowCheck ? wrap(w, addr + size) : addr + size;
  return first.va_start < end ? first : null;
}

/** A1: the search as posted remembers an area only if it starts at `addr` or below. */
function first_posted(
  t: Thread,
  w: RewriteState,
  addr: number,
): VmapArea | null {
  let first: VmapNode | null = null;
  let steps = 1;
  for (let n = w.vmap_area_root.rb_node; n !== null;) {
    steps++;
    touch_read(t, n.va.line);
    if (n.va.va_end >= addr) {
      if (first === null && n.va.va_start <= addr) first = n;
      n = n.rb_left;
    } else {
      first = n;
      n = n.rb_right;
    }
  }
  w.descent_steps += steps;
  charge(t, DESCENT_INSTRUCTIONS * steps);
  if (first !== null && first.va.va_end < addr) first = rb_next(first);
  return first === null ? null : first.va;
}
