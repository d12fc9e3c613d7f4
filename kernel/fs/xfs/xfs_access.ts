/**
 * Reading what a buffer holds: big-endian fields and bytes, through the TLB and
 * the page tables of the CPU that runs (be*_to_cpu() of what a pointer into a
 * buffer points to).
 *
 * Any alignment; what crosses a page is read byte by byte.
 *
 * Differs from hardware: eight bytes are two loads of four, since a number here
 * holds 53 bits; the second hits the line of the first, unless they are apart.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  vload,
} from "../../../arch/asm.ts";
import type { Thread } from "../../thread.ts";

const MEMCPY = ksym("memcpy");
const MEMCMP = ksym("memcmp");

const TWO_32 = 2 ** 32;
/** A word of lib/string.c's memcmp(): two loads, subtraction, test, count, branch for each byte. */
const MEMCMP_INSTRUCTIONS_PER_BYTE = 5;

/** Whether `size` bytes at `addr` lie in two pages. */
function crosses(t: Thread, addr: number, size: number): boolean {
  const { pageBytes } = t.machine.memory;
  // The low 32 bits of the address: all that a page's size looks at.
  return (addr & (pageBytes - 1)) + size > pageBytes;
}

function swap16(x: number): number {
  return (x & 0xff) << 8 | x >>> 8;
}

function swap32(x: number): number {
  return ((x & 0xff) << 24 | (x & 0xff00) << 8 | (x >>> 8) & 0xff00 |
    x >>> 24) >>> 0;
}

/** What `vload()` has at hand. */
function value(load: Steps<number>): number {
  return load[Symbol.iterator]().next().value as number;
}

/** One byte. Context: any. */
export function get_u8(t: Thread, addr: number): Steps<number> {
  return vload(t, addr, 1);
}

/** 16 bits, unsigned. Context: any. */
export function get_be16(t: Thread, addr: number): Steps<number> {
  if (!t.op.mayRunAhead() || crosses(t, addr, 2)) return load16(t, addr);
  const v = swap16(value(vload(t, addr, 2)));
  charge(t, 1); // rol
  return t.op.ready.give(v) as Steps<number>;
}

/** 32 bits, unsigned. Context: any. */
export function get_be32(t: Thread, addr: number): Steps<number> {
  if (!t.op.mayRunAhead() || crosses(t, addr, 4)) return load32(t, addr);
  const v = swap32(value(vload(t, addr, 4)));
  charge(t, 1); // bswap
  return t.op.ready.give(v) as Steps<number>;
}

/**
 * 64 bits, unsigned: exact up to 2^53; if it is not exact, it is above
 * Number.MAX_SAFE_INTEGER, so that any test of its range refuses it.
 *
 * Context: any.
 */
export function* get_be64(t: Thread, addr: number): Steps<number> {
  const high = yield* get_be32(t, addr);
  const low = yield* get_be32(t, addr + 4);
  return high * TWO_32 + low;
}

/** {@linkcode get_be16} that has to wait, or crosses a page. */
function* load16(t: Thread, addr: number): Steps<number> {
  if (crosses(t, addr, 2)) return yield* bytewise(t, addr, 2);
  const v = yield* vload(t, addr, 2);
  charge(t, 1);
  return swap16(v);
}

/** {@linkcode get_be32} that has to wait, or crosses a page. */
function* load32(t: Thread, addr: number): Steps<number> {
  if (crosses(t, addr, 4)) return yield* bytewise(t, addr, 4);
  const v = yield* vload(t, addr, 4);
  charge(t, 1);
  return swap32(v);
}

function* bytewise(t: Thread, addr: number, size: number): Steps<number> {
  let v = 0;
  for (let i = 0; i < size; i++) {
    charge(t, 2);
    v = v * 256 + (yield* vload(t, addr + i, 1));
  }
  return v;
}

/** The next load of a run that has `left` bytes to go: 4, or 1. */
function stride(t: Thread, addr: number, left: number): 4 | 1 {
  return left >= 4 && !crosses(t, addr, 4) ? 4 : 1;
}

/** Copies `length` bytes at `addr` to the start of `out`. Context: any. */
export function* copy_out(
  t: Thread,
  addr: number,
  length: number,
  out: Uint8Array,
): Steps {
  enter(t, MEMCPY);
  charge(t, 6 + (length >> 2));
  for (let i = 0; i < length;) {
    const n = stride(t, addr + i, length - i);
    const word = yield* vload(t, addr + i, n);
    out[i] = word;
    if (n === 4) {
      out[i + 1] = word >>> 8;
      out[i + 2] = word >>> 16;
      out[i + 3] = word >>> 24;
    }
    i += n;
  }
  leave(t);
}

/**
 * Whether the bytes at `addr` are `bytes`: memcmp() == 0.
 *
 * Context: any.
 */
export function* memcmp_at(
  t: Thread,
  addr: number,
  bytes: Uint8Array,
): Steps<boolean> {
  enter(t, MEMCMP);
  charge(t, 6);
  const { length } = bytes;
  let i = 0;
  while (i < length) {
    const n = stride(t, addr + i, length - i);
    const word = yield* vload(t, addr + i, n);
    charge(t, MEMCMP_INSTRUCTIONS_PER_BYTE * n);
    let want = bytes[i];
    if (n === 4) {
      want = (want | bytes[i + 1] << 8 | bytes[i + 2] << 16 |
        bytes[i + 3] << 24) >>> 0;
    }
    if (word !== want) break;
    i += n;
  }
  leave(t);
  return i >= length;
}
