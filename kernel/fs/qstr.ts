/**
 * Names of directory entries and their hash (include/linux/dcache.h: struct
 * qstr, full_name_hash()). A name is bytes: any but `/` and NUL, 1 to
 * {@linkcode NAME_MAX} of them, in no particular encoding.
 */
import { charge } from "../../arch/asm.ts";
import type { Thread } from "../thread.ts";

/** Longest name of a directory entry, bytes. */
export const NAME_MAX = 255;
/** Longest path with the NUL that ends it, bytes. */
export const PATH_MAX = 4096;

/** A byte of a name that is hashed: load, two shifts, two adds, multiplication (lea, add), test, branch. */
export const HASH_INSTRUCTIONS = 8;

/** A name with its hash. */
export class Qstr {
  /** A name; `name` is not copied. */
  constructor(
    readonly name: Uint8Array,
    /** full_name_hash() of it. */
    readonly hash: number,
  ) {}

  /** Bytes. */
  get len(): number {
    return this.name.length;
  }
}

/** One more byte of a name. The low 32 bits of Linux's unsigned long, which is all that is used. */
export function partial_name_hash(c: number, prevhash: number): number {
  return Math.imul(prevhash + (c << 4) + (c >> 4), 11);
}

/** The hash of a whole name. Plain. @returns 32 bits, unsigned. */
export function full_name_hash(t: Thread, name: Uint8Array): number {
  charge(t, 4 + HASH_INSTRUCTIONS * name.length);
  return name_hash(name, 0, name.length);
}

/** The hash of bytes `[start, end)`, uncharged. */
export function name_hash(
  bytes: Uint8Array,
  start: number,
  end: number,
): number {
  let hash = 0;
  for (let i = start; i < end; i++) hash = partial_name_hash(bytes[i], hash);
  return hash >>> 0;
}

/** A name with its hash. Plain. */
export function make_qstr(t: Thread, name: Uint8Array): Qstr {
  return new Qstr(name, full_name_hash(t, name));
}

/** Names as messages show them: printable ASCII as it is, other bytes as `\x..`. */
export function printName(name: Uint8Array): string {
  let text = "";
  for (const c of name) {
    text += c >= 0x20 && c < 0x7f && c !== 0x5c
      ? String.fromCharCode(c)
      : `\\x${c.toString(16).padStart(2, "0")}`;
  }
  return text;
}
