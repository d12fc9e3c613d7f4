/** Fields of structures that have been copied out of a buffer, or that a verifier looks at in its pages. */

/** 16 bits, big endian. */
export function be16(bytes: Uint8Array, at: number): number {
  return bytes[at] << 8 | bytes[at + 1];
}

/** 32 bits, big endian, unsigned. */
export function be32(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 |
    bytes[at + 3]) >>> 0;
}

/** 64 bits, big endian, unsigned; exact below 2^53, and above MAX_SAFE_INTEGER if it is not. */
export function be64(bytes: Uint8Array, at: number): number {
  return be32(bytes, at) * 2 ** 32 + be32(bytes, at + 4);
}

/** 32 bits, big endian, two's complement. */
export function be32s(bytes: Uint8Array, at: number): number {
  return be32(bytes, at) | 0;
}

/** Whether `bytes` has `want` at `at`. */
export function same_bytes(
  bytes: Uint8Array,
  at: number,
  want: Uint8Array,
): boolean {
  for (let i = 0; i < want.length; i++) {
    if (bytes[at + i] !== want[i]) return false;
  }
  return true;
}
