/**
 * How a cache cuts its slabs up and how much its CPUs keep (mm/slab.c:
 * cache_estimate(), calculate_slab_order(), enable_cpucache()).
 */
import type { MachineSpec } from "../../arch/hw/spec.ts";
import { ALIGN } from "../lib/bitops.ts";
import { MAX_ORDER } from "./mmzone.ts";

/** sizeof(struct slab), by sizeof(long), and sizeof(kmem_bufctl_t). */
const SLAB_BYTES_32 = 28;
const SLAB_BYTES_64 = 48;
const BUFCTL_BYTES = 4;
/** Slabs of a higher order must be needed for a single object. */
const BREAK_GFP_ORDER = 1;
/** Most objects of one slab that an off-slab descriptor can chain. */
const OFF_SLAB_LIMIT = (131072 - SLAB_BYTES_64) / BUFCTL_BYTES;

/** The shape of a cache's slabs. */
export interface SlabLayout {
  /** Bytes from object to object. */
  readonly size: number;
  /** Objects of a slab. */
  readonly num: number;
  /** A slab is `2 ** gfporder` pages. */
  readonly gfporder: number;
  /** The descriptor lies elsewhere than on the slab's own pages. */
  readonly offSlab: boolean;
  /** Bytes of the descriptor, before the first object; 0 if off-slab. */
  readonly headBytes: number;
  /** Starting places for the objects of successive slabs. */
  readonly colours: number;
  /** Bytes from one to the next. */
  readonly colourOff: number;
}

/** Sizes of the array caches, objects. */
export interface SlabLimits {
  /** A CPU's array. */
  readonly limit: number;
  /** Moved between it and the node's lists at a time. */
  readonly batchcount: number;
  /** The node's shared array; 0 = none. */
  readonly shared: number;
}

/**
 * The layout for objects of `bytes`.
 *
 * @param hwcacheAlign SLAB_HWCACHE_ALIGN: no object shares a line that it need not.
 * @returns `null` if no slab can hold one.
 */
export function slab_layout(
  spec: MachineSpec,
  bytes: number,
  hwcacheAlign: boolean,
): SlabLayout | null {
  const word = spec.paging.format === "i386-pae" ? 4 : 8;
  const struct = word === 4 ? SLAB_BYTES_32 : SLAB_BYTES_64;
  const pageBytes = 2 ** spec.paging.pageShift;
  const { lineBytes } = spec.memory;
  let align = word;
  if (hwcacheAlign) {
    align = lineBytes;
    while (align > word && bytes <= align / 2) align /= 2;
  }
  const size = ALIGN(Math.max(bytes, word), align);
  let offSlab = size >= pageBytes / 8;
  for (let order = 0; order < MAX_ORDER; order++) {
    const space = pageBytes * 2 ** order;
    const num = objectsIn(space, size, align, offSlab ? 0 : struct);
    if (num === 0) continue;
    if (offSlab && num > OFF_SLAB_LIMIT) break;
    let headBytes = offSlab ? 0 : slabHead(num, align, struct);
    let leftOver = space - headBytes - num * size;
    if (
      order < BREAK_GFP_ORDER && leftOver * 8 > space && order + 1 < MAX_ORDER
    ) {
      continue;
    }
    if (offSlab && leftOver >= slabHead(num, align, struct)) {
      offSlab = false; // there is room for the descriptor after all
      headBytes = slabHead(num, align, struct);
      leftOver -= headBytes;
    }
    const colourOff = Math.max(lineBytes, align);
    return {
      size,
      num,
      gfporder: order,
      offSlab,
      headBytes,
      colours: Math.floor(leftOver / colourOff),
      colourOff,
    };
  }
  return null;
}

function slabHead(num: number, align: number, struct: number): number {
  return ALIGN(struct + num * BUFCTL_BYTES, align);
}

/** @param struct Bytes of the descriptor on the slab; 0 = it lies elsewhere. */
function objectsIn(
  space: number,
  size: number,
  align: number,
  struct: number,
): number {
  if (struct === 0) return Math.floor(space / size);
  let num = Math.floor((space - struct) / (size + BUFCTL_BYTES));
  if (num > 0 && slabHead(num, align, struct) + num * size > space) num--;
  return Math.max(0, num);
}

/** Array sizes for objects of `size` bytes: the larger, the fewer are kept. */
export function slab_limits(
  size: number,
  pageBytes: number,
  nrCpus: number,
): SlabLimits {
  let limit = 120;
  if (size > 131072) limit = 1;
  else if (size > pageBytes) limit = 8;
  else if (size > 1024) limit = 24;
  else if (size > 256) limit = 54;
  const batchcount = (limit + 1) >> 1;
  const shared = size <= pageBytes && nrCpus > 1 ? 8 * batchcount : 0;
  return { limit, batchcount, shared };
}
