/**
 * vread() and vwrite(): vmalloc space as /dev/kmem and /proc/kcore see it
 * (mm/vmalloc.c).
 *
 * What no vm_struct covers reads as zeros and is skipped on writing, guard
 * pages too. So is what has an area but nothing mapped there (A26): 2.6.28
 * oopsed.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  vload,
  vstore,
} from "../../arch/asm.ts";
import { read_lock, read_unlock } from "../locking/rwlock.ts";
import type { Thread } from "../thread.ts";
import { pfn_at } from "./pgtable.ts";

const VREAD = ksym("vread");
const VWRITE = ksym("vwrite");

/** Widest access: 8 bytes would not fit a number. */
const WORD_BYTES = 4;

/**
 * Copies from vmalloc space at `addr` to `buf`.
 *
 * Locks: takes vmlist_lock for reading, for as long as it copies.
 *
 * Linux: mm/vmalloc.c.
 *
 * @returns Bytes copied or zeroed; those past the last area are not.
 *
 * @example
 * ```ts
 * import { boot, vmalloc, vread, vstore } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const buf = new Uint8Array(4);
 * const done = boot().run(function* (t) {
 *   const addr = yield* vmalloc(t, 4096);
 *   yield* vstore(t, addr, 4, 0x04030201);
 *   return yield* vread(t, buf, addr);
 * });
 * assertEquals([done, ...buf], [4, 1, 2, 3, 4]);
 * ```
 */
export function* vread(
  t: Thread,
  buf: Uint8Array,
  addr: number,
): Steps<number> {
  enter(t, VREAD);
  const done = yield* walk(t, buf, addr, false);
  leave(t);
  return done;
}

/**
 * Copies `buf` to vmalloc space at `addr`.
 *
 * Locks: takes vmlist_lock for reading, for as long as it copies.
 *
 * Linux: mm/vmalloc.c.
 *
 * @returns Bytes copied or skipped; those past the last area are not.
 *
 * @example
 * ```ts
 * import { boot, vload, vmalloc, vwrite } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const word = boot().run(function* (t) {
 *   const addr = yield* vmalloc(t, 4096);
 *   yield* vwrite(t, Uint8Array.of(1, 2, 3, 4), addr);
 *   return yield* vload(t, addr, 4);
 * });
 * assertEquals(word, 0x04030201);
 * ```
 */
export function* vwrite(
  t: Thread,
  buf: Uint8Array,
  addr: number,
): Steps<number> {
  enter(t, VWRITE);
  const done = yield* walk(t, buf, addr, true);
  leave(t);
  return done;
}

function* walk(
  t: Thread,
  buf: Uint8Array,
  addr: number,
  writing: boolean,
): Steps<number> {
  const { vmlist_lock, page_size } = t.k.vmalloc;
  let done = 0;
  yield* read_lock(t, vmlist_lock);
  for (
    let vm = t.k.vmalloc.vmlist;
    vm !== null && done < buf.length;
    vm = vm.next
  ) {
    charge(t, 8);
    const end = vm.addr + vm.size - page_size;
    if (addr + done >= end) continue;
    if (addr + done < vm.addr) {
      const gap = Math.min(buf.length - done, vm.addr - addr - done);
      if (!writing) buf.fill(0, done, done + gap);
      charge(t, 4 * gap);
      done += gap;
    }
    const stop = Math.min(buf.length, end - addr);
    while (done < stop) {
      done += yield* copy_some(t, buf, addr, done, stop, writing);
    }
  }
  yield* read_unlock(t, vmlist_lock);
  return done;
}

/** Copies a word or a byte, or skips a page that is not mapped. @returns Bytes done with. */
function* copy_some(
  t: Thread,
  buf: Uint8Array,
  addr: number,
  done: number,
  stop: number,
  writing: boolean,
): Steps<number> {
  const { page_size } = t.k.vmalloc;
  const at = addr + done;
  if (pfn_at(t.k, at) < 0) {
    const n = Math.min(stop - done, page_size - at % page_size);
    if (!writing) buf.fill(0, done, done + n);
    charge(t, 4 * n);
    return n;
  }
  const word = at % WORD_BYTES === 0 && stop - done >= WORD_BYTES;
  const n = word ? WORD_BYTES : 1;
  charge(t, 4 * n); // it copies bytes
  if (writing) {
    let value = 0;
    for (let i = n - 1; i >= 0; i--) value = value * 256 + buf[done + i];
    yield* vstore(t, at, n, value);
  } else {
    const value = yield* vload(t, at, n);
    for (let i = 0; i < n; i++) buf[done + i] = value >>> (8 * i);
  }
  return n;
}
