/**
 * Moving the bytes of frames: between the host's arrays, which stand for what a
 * network brings, and pages, and from page to page, all through the TLB and the
 * page tables of the CPU that runs.
 *
 * Four bytes a time, since a number here holds 53 bits; nothing here crosses a
 * page.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  vload,
  vstore,
} from "../../../arch/asm.ts";
import type { Thread } from "../../thread.ts";

const MEMCPY = ksym("memcpy");
const MEMCMP = ksym("memcmp");

function word(bytes: Uint8Array, i: number): number {
  return (bytes[i] | bytes[i + 1] << 8 | bytes[i + 2] << 16 |
    bytes[i + 3] << 24) >>> 0;
}

/** Copies `bytes` to `to`. */
export function* copy_in(t: Thread, to: number, bytes: Uint8Array): Steps {
  enter(t, MEMCPY);
  const { length } = bytes;
  charge(t, 6 + (length >> 2));
  let i = 0;
  for (; i + 4 <= length; i += 4) yield* vstore(t, to + i, 4, word(bytes, i));
  for (; i < length; i++) yield* vstore(t, to + i, 1, bytes[i]);
  leave(t);
}

/** Copies `length` bytes from `from` to `to`. */
export function* copy_over(
  t: Thread,
  to: number,
  from: number,
  length: number,
): Steps {
  enter(t, MEMCPY);
  charge(t, 6 + (length >> 2));
  let i = 0;
  for (; i + 4 <= length; i += 4) {
    yield* vstore(t, to + i, 4, yield* vload(t, from + i, 4));
  }
  for (; i < length; i++) {
    yield* vstore(t, to + i, 1, yield* vload(t, from + i, 1));
  }
  leave(t);
}

/** The first of `bytes` that is not at its place from `at` on; -1 = all are. */
export function* mismatch(
  t: Thread,
  at: number,
  bytes: Uint8Array,
): Steps<number> {
  enter(t, MEMCMP);
  const { length } = bytes;
  charge(t, 6 + (length >> 1));
  let found = -1;
  for (let i = 0; i < length && found < 0;) {
    const size = i + 4 <= length ? 4 : 1;
    const got = yield* vload(t, at + i, size);
    const want = size === 4 ? word(bytes, i) : bytes[i];
    if (got !== want) found = i + (size === 4 ? differing(got, want) : 0);
    i += size;
  }
  leave(t);
  return found;
}

/** Which of four bytes differs first. */
function differing(a: number, b: number): number {
  return (31 - Math.clz32((a ^ b) & -(a ^ b))) >> 3;
}
