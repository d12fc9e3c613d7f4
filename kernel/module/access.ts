/**
 * The loader's reads and writes of kernel memory: little-endian fields, strings
 * and runs of bytes at any alignment, through the TLB and the page tables of
 * the CPU that runs.
 *
 * Differs from hardware: eight bytes are two accesses of four, since a number
 * here holds 53 bits; what crosses a page goes byte by byte.
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
import type { U64 } from "../lib/u64.ts";
import { pfn_at } from "../mm/pgtable.ts";
import type { Thread } from "../thread.ts";

const COPY_FROM_USER = ksym("copy_user_generic_string");
const MEMCPY = ksym("memcpy");
const MEMSET = ksym("memset");

/** Whether `size` bytes at `addr` lie in two pages. */
function crosses(t: Thread, addr: number, size: number): boolean {
  const { pageBytes } = t.machine.memory;
  return (addr & (pageBytes - 1)) + size > pageBytes;
}

/** The next access of a run that has `left` bytes to go: 4, or 1. */
function stride(t: Thread, addr: number, left: number): 4 | 1 {
  return left >= 4 && !crosses(t, addr, 4) ? 4 : 1;
}

/** `size` (1, 2 or 4) bytes, unsigned. Context: any. */
export function get_le(t: Thread, addr: number, size: number): Steps<number> {
  return crosses(t, addr, size)
    ? bytewise(t, addr, size)
    : vload(t, addr, size);
}

function* bytewise(t: Thread, addr: number, size: number): Steps<number> {
  let value = 0;
  for (let i = size - 1; i >= 0; i--) {
    charge(t, 2);
    value = value * 256 + (yield* vload(t, addr + i, 1));
  }
  return value;
}

/** 8 bytes. Context: any. */
export function* get_le64(t: Thread, addr: number): Steps<U64> {
  const lo = yield* get_le(t, addr, 4);
  const hi = yield* get_le(t, addr + 4, 4);
  return { lo, hi };
}

/** Writes `size` (1, 2 or 4) bytes. Context: any. */
export function* put_le(
  t: Thread,
  addr: number,
  size: number,
  value: number,
): Steps {
  if (!crosses(t, addr, size)) {
    yield* vstore(t, addr, size, value);
    return;
  }
  for (let i = 0; i < size; i++) {
    charge(t, 2);
    yield* vstore(t, addr + i, 1, (value >>> (8 * i)) & 0xff);
  }
}

/** Writes 8 bytes. Context: any. */
export function* put_le64(t: Thread, addr: number, { lo, hi }: U64): Steps {
  yield* put_le(t, addr, 4, lo);
  yield* put_le(t, addr + 4, 4, hi);
}

/**
 * The bytes from `addr` up to a zero, or to `end`; one character each.
 *
 * Context: any.
 */
export function* get_string(
  t: Thread,
  addr: number,
  end: number,
): Steps<string> {
  let text = "";
  for (let at = addr; at < end; at++) {
    charge(t, 3);
    const byte = yield* vload(t, at, 1);
    if (byte === 0) break;
    text += String.fromCharCode(byte);
  }
  return text;
}

/** copy_from_user(): what a process handed in comes to kernel memory. Its own side costs nothing. */
export function* copy_from_user(
  t: Thread,
  to: number,
  from: Uint8Array,
): Steps {
  enter(t, COPY_FROM_USER);
  charge(t, 20 + (from.length >> 3)); // rep movsq
  for (let i = 0; i < from.length;) {
    const n = stride(t, to + i, from.length - i);
    const value = n === 1 ? from[i] : (from[i] | from[i + 1] << 8 |
      from[i + 2] << 16 | from[i + 3] << 24) >>> 0;
    yield* vstore(t, to + i, n, value);
    i += n;
  }
  leave(t);
}

/** memcpy() within kernel memory. Context: any. */
export function* memcpy_at(
  t: Thread,
  to: number,
  from: number,
  length: number,
): Steps {
  enter(t, MEMCPY);
  charge(t, 10 + (length >> 3));
  for (let i = 0; i < length;) {
    const n = crosses(t, from + i, 4) ? 1 : stride(t, to + i, length - i);
    yield* vstore(t, to + i, n, yield* vload(t, from + i, n));
    i += n;
  }
  leave(t);
}

/**
 * memset() to zero. Context: any.
 *
 * A whole page is zeroed as one frame, to spare the host, unless this CPU's TLB
 * says that it is another one than the tables do: then word by word, as
 * everything else, so that the frame that hardware would spoil is spoilt.
 */
export function* memzero_at(t: Thread, to: number, length: number): Steps {
  const { pageBytes } = t.machine.memory;
  enter(t, MEMSET);
  charge(t, 10 + (length >> 3));
  for (let i = 0; i < length;) {
    const at = to + i;
    if (at % pageBytes === 0 && length - i >= pageBytes) {
      yield* zero_page(t, at);
      i += pageBytes;
      continue;
    }
    const n = stride(t, at, length - i);
    yield* vstore(t, at, n, 0);
    i += n;
  }
  leave(t);
}

function* zero_page(t: Thread, at: number): Steps {
  const { memory } = t.machine;
  const pfn = pfn_at(t.k, at);
  const first = yield* vload(t, at, 4);
  // Of a frame that was never written there is nothing to zero, and no need to back it.
  if (first === 0 && pfn >= 0 && memory.peek(pfn)?.words == null) return;
  yield* vstore(t, at, 4, 1);
  if (pfn >= 0) memory.zero(pfn);
  if ((yield* vload(t, at, 4)) === 0) return;
  for (let i = 0; i < memory.pageBytes; i += 4) yield* vstore(t, at + i, 4, 0);
}

/** Copies kernel memory out for whoever looks on: a loop of loads. Context: any. */
export function* copy_out_at(
  t: Thread,
  from: number,
  length: number,
): Steps<Uint8Array> {
  const out = new Uint8Array(length);
  for (let i = 0; i < length;) {
    const n = stride(t, from + i, length - i);
    const value = yield* vload(t, from + i, n);
    for (let b = 0; b < n; b++) out[i + b] = value >>> (8 * b);
    i += n;
  }
  return out;
}
