/** A block device as its users see it (include/linux/fs.h: struct block_device). */
import type { AddressSpace } from "../mm/filemap.ts";
import type { RequestQueue } from "./blk_core.ts";

/** log2 of a sector, bytes. */
export const SECTOR_SHIFT = 9;
/** The unit of device addresses, bytes. */
export const SECTOR_BYTES = 512;

/** One device. */
export interface BlockDevice {
  /** Such as `"ram0"`. */
  readonly name: string;
  /** Its size, sectors of 512 bytes. */
  readonly sectors: number;
  /** Smallest access, bytes: bdev_hardsect_size(). */
  readonly hardsect_size: number;
  readonly queue: RequestQueue;
  /** Its page cache. */
  readonly mapping: AddressSpace;
}
