/**
 * Bitmaps: plain functions on a `Uint32Array`, bit `n` in word `n / 32`.
 *
 * Differs from Linux: words have 32 bits, not those of `long`; atomic and
 * non-atomic forms do the same, since nothing here can be interrupted (callers
 * charge the atomic); bits of the last word beyond `bits` are ignored and left
 * alone. `bitmap_find_free_region()` skips full words, which the C routine
 * does not: it finds the same position, and a caller that charges virtual time
 * takes the C routine's work from `region_scan_steps()`, so that the emulator's
 * short cut never shows in a result.
 */

import { __ffs, hweight32 } from "./bitops.ts";
import { EBUSY, ENOMEM, err, type Errno } from "./errno.ts";

/**
 * Makes a bitmap of clear bits.
 *
 * @param bits Number of bits.
 * @returns The words.
 */
export function bitmap_alloc(bits: number): Uint32Array {
  return new Uint32Array((bits + 31) >>> 5);
}

/**
 * Sets a bit.
 *
 * @param nr The bit.
 * @param addr The bitmap.
 */
export function set_bit(nr: number, addr: Uint32Array): void {
  addr[nr >>> 5] |= 1 << (nr & 31);
}

/**
 * Sets a bit; Linux's non-atomic form.
 *
 * @param nr The bit.
 * @param addr The bitmap.
 */
export function __set_bit(nr: number, addr: Uint32Array): void {
  addr[nr >>> 5] |= 1 << (nr & 31);
}

/**
 * Clears a bit.
 *
 * @param nr The bit.
 * @param addr The bitmap.
 */
export function clear_bit(nr: number, addr: Uint32Array): void {
  addr[nr >>> 5] &= ~(1 << (nr & 31));
}

/**
 * Clears a bit; Linux's non-atomic form.
 *
 * @param nr The bit.
 * @param addr The bitmap.
 */
export function __clear_bit(nr: number, addr: Uint32Array): void {
  addr[nr >>> 5] &= ~(1 << (nr & 31));
}

/**
 * Reads a bit.
 *
 * @param nr The bit.
 * @param addr The bitmap.
 * @returns Whether it is set.
 */
export function test_bit(nr: number, addr: Uint32Array): boolean {
  return (addr[nr >>> 5] & (1 << (nr & 31))) !== 0;
}

/** Bits `from` and up of a word; 0 <= from <= 31. */
function mask_from(from: number): number {
  return -1 << from;
}

/** Bits below `end & 31` of a word, all 32 when `end` ends a word. */
function mask_below(end: number): number {
  return -1 >>> (-end & 31);
}

/**
 * Clears the bitmap.
 *
 * @param dst The bitmap.
 * @param nbits Its size; the rest of its last word is cleared too, as in Linux.
 */
export function bitmap_zero(dst: Uint32Array, nbits: number): void {
  dst.fill(0, 0, (nbits + 31) >>> 5);
}

/**
 * Sets `[start, start + len)`.
 *
 * @param map The bitmap.
 * @param start First bit.
 * @param len Number of bits.
 */
export function bitmap_set(map: Uint32Array, start: number, len: number): void {
  if (len <= 0) return;
  const end = start + len;
  const first = start >>> 5;
  const last = (end - 1) >>> 5;
  if (first === last) {
    map[first] |= mask_from(start & 31) & mask_below(end);
    return;
  }
  map[first] |= mask_from(start & 31);
  for (let w = first + 1; w < last; w++) map[w] = 0xffffffff;
  map[last] |= mask_below(end);
}

/**
 * Clears `[start, start + len)`.
 *
 * @param map The bitmap.
 * @param start First bit.
 * @param len Number of bits.
 */
export function bitmap_clear(
  map: Uint32Array,
  start: number,
  len: number,
): void {
  if (len <= 0) return;
  const end = start + len;
  const first = start >>> 5;
  const last = (end - 1) >>> 5;
  if (first === last) {
    map[first] &= ~(mask_from(start & 31) & mask_below(end));
    return;
  }
  map[first] &= ~mask_from(start & 31);
  for (let w = first + 1; w < last; w++) map[w] = 0;
  map[last] &= ~mask_below(end);
}

/** First bit at or after `offset` that is set in `addr ^ flip`; `size` when none is. */
function find_next(
  addr: Uint32Array,
  size: number,
  offset: number,
  flip: number,
): number {
  if (offset >= size) return size;
  const last = (size - 1) >>> 5;
  let w = offset >>> 5;
  let word = (addr[w] ^ flip) & mask_from(offset & 31);
  while (word === 0) {
    if (++w > last) return size;
    word = addr[w] ^ flip;
  }
  const pos = w * 32 + __ffs(word);
  return pos < size ? pos : size;
}

/**
 * Finds the next set bit.
 *
 * @param addr The bitmap.
 * @param size Its size in bits.
 * @param offset Where to start.
 * @returns The bit, or `size`.
 */
export function find_next_bit(
  addr: Uint32Array,
  size: number,
  offset: number,
): number {
  return find_next(addr, size, offset, 0);
}

/**
 * Finds the next clear bit.
 *
 * @param addr The bitmap.
 * @param size Its size in bits.
 * @param offset Where to start.
 * @returns The bit, or `size`.
 */
export function find_next_zero_bit(
  addr: Uint32Array,
  size: number,
  offset: number,
): number {
  return find_next(addr, size, offset, -1);
}

/**
 * Finds the first set bit.
 *
 * @param addr The bitmap.
 * @param size Its size in bits.
 * @returns The bit, or `size`.
 */
export function find_first_bit(addr: Uint32Array, size: number): number {
  return find_next(addr, size, 0, 0);
}

/**
 * Finds the first clear bit.
 *
 * @param addr The bitmap.
 * @param size Its size in bits.
 * @returns The bit, or `size`.
 */
export function find_first_zero_bit(addr: Uint32Array, size: number): number {
  return find_next(addr, size, 0, -1);
}

/**
 * Counts set bits.
 *
 * @param src The bitmap.
 * @param nbits Its size.
 * @returns How many of them are set.
 */
export function bitmap_weight(src: Uint32Array, nbits: number): number {
  const words = nbits >>> 5;
  let weight = 0;
  for (let w = 0; w < words; w++) weight += hweight32(src[w]);
  if ((nbits & 31) !== 0) weight += hweight32(src[words] & mask_below(nbits));
  return weight;
}

/**
 * Tells whether every bit is set.
 *
 * @param src The bitmap.
 * @param nbits Its size.
 * @returns True for a bitmap of 0 bits.
 */
export function bitmap_full(src: Uint32Array, nbits: number): boolean {
  return find_next(src, nbits, 0, -1) >= nbits;
}

/**
 * Tells whether every bit is clear.
 *
 * @param src The bitmap.
 * @param nbits Its size.
 * @returns True for a bitmap of 0 bits.
 */
export function bitmap_empty(src: Uint32Array, nbits: number): boolean {
  return find_next(src, nbits, 0, 0) >= nbits;
}

/** The highest order whose region a shift can say; bitmaps are smaller. */
const MAX_ORDER = 30;

/** Bits of a region: a shift is fast, a power is right for every order. */
function region_bits(order: number): number {
  return order <= MAX_ORDER ? 1 << order : 2 ** order;
}

/** Starts of the aligned regions inside one word, for orders 0 to 4. */
function region_starts(order: number): number {
  switch (order) {
    case 0:
      return -1;
    case 1:
      return 0x55555555;
    case 2:
      return 0x11111111;
    case 3:
      return 0x01010101;
    default:
      return 0x00010001;
  }
}

/** Position of the first free aligned region within a word; `size` when there is none. */
function find_small_region(
  bitmap: Uint32Array,
  bits: number,
  order: number,
  from: number,
): number {
  const starts = region_starts(order);
  const words = (bits + 31) >>> 5;
  for (let w = from; w < words; w++) {
    let free = ~bitmap[w];
    if (free === 0) continue;
    // After each step a bit says that twice as many bits from it on are free.
    for (let run = 1; run < 1 << order; run <<= 1) free &= free >>> run;
    free &= starts;
    if (free !== 0) return w * 32 + __ffs(free);
  }
  return bits;
}

/** Position of the first free aligned region of whole words; `size` when there is none. */
function find_large_region(
  bitmap: Uint32Array,
  bits: number,
  order: number,
  from: number,
): number {
  const span = 1 << (order - 5);
  const words = bits >>> 5;
  for (let w = from & -span; w + span <= words; w += span) {
    let n = 0;
    while (n < span && bitmap[w + n] === 0) n++;
    if (n === span) return w * 32;
  }
  return bits;
}

/**
 * Finds the first naturally aligned free region and sets it.
 *
 * Differs from the C of 2.6.28 where `bits` is no multiple of the region: that
 * one could hand out a region across the end; this one never does.
 *
 * @param bitmap The bitmap.
 * @param bits Its size.
 * @param order The region has `2 ** order` bits.
 * @param from Words that the bitmap begins with and that are known to be full.
 * @returns Its first bit, or -ENOMEM.
 */
export function bitmap_find_free_region(
  bitmap: Uint32Array,
  bits: number,
  order: number,
  from = 0,
): number | Errno {
  if (order > MAX_ORDER) return err(ENOMEM);
  const pos = order < 5
    ? find_small_region(bitmap, bits, order, from)
    : find_large_region(bitmap, bits, order, from);
  const size = region_bits(order);
  if (pos + size > bits) return err(ENOMEM); // regions only lie further up: none fits
  bitmap_set(bitmap, pos, size);
  return pos;
}

/**
 * Counts the positions that the C `bitmap_find_free_region()` looks at: it
 * tests each aligned region from 0 on, full words or not. A search that fails
 * has looked at all of them, `Math.floor(bits / 2 ** order)`.
 *
 * @param pos What a successful search returned.
 * @param order The order searched for.
 * @returns The number of tests, the last one successful. A test reads one word,
 *   or words up to the first that is not free where a region has several.
 */
export function region_scan_steps(pos: number, order: number): number {
  return (pos >>> order) + 1;
}

/**
 * Sets a region if it is free.
 *
 * @param bitmap The bitmap.
 * @param pos First bit, a multiple of `2 ** order`.
 * @param order The region has `2 ** order` bits.
 * @returns 0, or -EBUSY when one of its bits is set: then nothing changes.
 */
export function bitmap_allocate_region(
  bitmap: Uint32Array,
  pos: number,
  order: number,
): 0 | Errno {
  const end = pos + region_bits(order);
  if (find_next(bitmap, end, pos, 0) < end) return err(EBUSY);
  bitmap_set(bitmap, pos, end - pos);
  return 0;
}

/**
 * Clears a region.
 *
 * @param bitmap The bitmap.
 * @param pos First bit, a multiple of `2 ** order`.
 * @param order The region has `2 ** order` bits.
 */
export function bitmap_release_region(
  bitmap: Uint32Array,
  pos: number,
  order: number,
): void {
  bitmap_clear(bitmap, pos, region_bits(order));
}
