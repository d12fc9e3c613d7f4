/**
 * The hash of names in directories (fs/xfs/xfs_da_btree.c: xfs_da_hashname()):
 * seven bits further for each byte, all 32 bits in play.
 */
import { charge, enter, ksym, leave } from "../../../arch/asm.ts";
import type { Thread } from "../../thread.ts";

const XFS_DA_HASHNAME = ksym("xfs_da_hashname");

/** Four bytes of a name: four loads, three shifts, a rotation, four exclusive ors, advance, compare. */
const INSTRUCTIONS_PER_4_BYTES = 15;
const INSTRUCTIONS_FIXED = 14;

/** Rotates `x` left by `n` bits, 0 < n < 32. */
function rol32(x: number, n: number): number {
  return x << n | x >>> (32 - n);
}

/** Hash of `name`. Charges nothing. */
export function da_hash(name: Uint8Array): number {
  let hash = 0;
  let i = 0;
  for (; i + 4 <= name.length; i += 4) {
    hash = name[i] << 21 ^ name[i + 1] << 14 ^ name[i + 2] << 7 ^
      name[i + 3] ^ rol32(hash, 28);
  }
  switch (name.length - i) {
    case 3:
      hash = name[i] << 14 ^ name[i + 1] << 7 ^ name[i + 2] ^ rol32(hash, 21);
      break;
    case 2:
      hash = name[i] << 7 ^ name[i + 1] ^ rol32(hash, 14);
      break;
    case 1:
      hash = name[i] ^ rol32(hash, 7);
      break;
  }
  return hash >>> 0;
}

/** Hash of `name`. Plain. */
export function xfs_da_hashname(t: Thread, name: Uint8Array): number {
  enter(t, XFS_DA_HASHNAME);
  charge(
    t,
    INSTRUCTIONS_FIXED + INSTRUCTIONS_PER_4_BYTES * Math.ceil(name.length / 4),
  );
  const hash = da_hash(name);
  leave(t);
  return hash;
}
