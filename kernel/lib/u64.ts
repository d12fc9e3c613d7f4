/**
 * 64-bit words as two halves, for what must wrap as 64 bits do: values of
 * symbols and addends of relocations, which a bad file may set to anything.
 * Plain; never yields.
 */

/** One word; both halves are unsigned. */
export interface U64 {
  /** Bits 31..0. */
  readonly lo: number;
  /** Bits 63..32. */
  readonly hi: number;
}

const TWO_32 = 2 ** 32;

/** Nothing. */
export const U64_ZERO: U64 = { lo: 0, hi: 0 };

/** `a + b`, the carry out of bit 63 lost. */
export function add64(a: U64, b: U64): U64 {
  const lo = a.lo + b.lo;
  const carry = lo >= TWO_32 ? 1 : 0;
  return { lo: lo >>> 0, hi: (a.hi + b.hi + carry) >>> 0 };
}

/** `a - b`, wrapping. */
export function sub64(a: U64, b: U64): U64 {
  const borrow = a.lo < b.lo ? 1 : 0;
  return { lo: (a.lo - b.lo) >>> 0, hi: (a.hi - b.hi - borrow) >>> 0 };
}

/** Whether zero-extending the low half gives `x`. */
export function fitsU32(x: U64): boolean {
  return x.hi === 0;
}

/** Whether sign-extending the low half gives `x`. */
export function fitsS32(x: U64): boolean {
  return x.hi === (x.lo >= 2 ** 31 ? 0xffffffff : 0);
}

/** Exact below 2^53; if it is not, above Number.MAX_SAFE_INTEGER, so that any test of a range refuses it. */
export function number64(x: U64): number {
  return x.hi * TWO_32 + x.lo;
}

/** The address with the low 48 bits `addr`, sign-extended if it is one of 64 bits. */
export function addr64(addr: number): U64 {
  const hi = Math.floor(addr / TWO_32);
  return {
    lo: addr >>> 0,
    hi: hi >= 0x8000 ? (hi | 0xffff0000) >>> 0 : hi,
  };
}

/** The low 48 bits. */
export function vaddrOf(x: U64): number {
  return (x.hi & 0xffff) * TWO_32 + x.lo;
}

/** 16 digits. */
export function hex64({ lo, hi }: U64): string {
  return hi.toString(16).padStart(8, "0") + lo.toString(16).padStart(8, "0");
}
