/**
 * Reading what a buffer holds: big-endian fields and bytes, through the TLB and
 * the page tables of the CPU that runs (asm/byteorder.h, XFS's be*_to_cpu()).
 *
 * Any alignment; what crosses a page is read byte by byte. Interface first: a
 * faster one follows.
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

const MEMCMP = ksym("memcmp");

/** One byte. */
export function get_u8(t: Thread, addr: number): Steps<number> {
  return vload(t, addr, 1);
}

/** 16 bits, unsigned. */
export function get_be16(t: Thread, addr: number): Steps<number> {
  return get_bytes(t, addr, 2);
}

/** 32 bits, unsigned. */
export function get_be32(t: Thread, addr: number): Steps<number> {
  return get_bytes(t, addr, 4);
}

/** 64 bits, unsigned; exact below 2^53, and above MAX_SAFE_INTEGER if it is not. */
export function get_be64(t: Thread, addr: number): Steps<number> {
  return get_bytes(t, addr, 8);
}

function* get_bytes(t: Thread, addr: number, size: number): Steps<number> {
  let value = 0;
  for (let i = 0; i < size; i++) {
    value = value * 256 + (yield* vload(t, addr + i, 1));
  }
  return value;
}

/** Copies `length` bytes at `addr` to the start of `out`. */
export function* copy_out(
  t: Thread,
  addr: number,
  length: number,
  out: Uint8Array,
): Steps {
  for (let i = 0; i < length; i++) out[i] = yield* vload(t, addr + i, 1);
}

/** Whether the bytes at `addr` are `bytes`. */
export function* memcmp_at(
  t: Thread,
  addr: number,
  bytes: Uint8Array,
): Steps<boolean> {
  enter(t, MEMCMP);
  let same = true;
  for (let i = 0; i < bytes.length && same; i++) {
    charge(t, 5);
    same = (yield* vload(t, addr + i, 1)) === bytes[i];
  }
  leave(t);
  return same;
}
