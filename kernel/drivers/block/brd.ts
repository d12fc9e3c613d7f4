/**
 * RAM disks (drivers/block/brd.c of 2.6.28): bios are served at once, in the
 * submitter's context, by copying.
 *
 * Differs from Linux: what the disk holds is an image in host memory
 * (image.ts), not pages of the machine's, so that a disk may be larger than the
 * machine; the copy is charged as if it came from memory. Read-only.
 */
import {
  charge,
  charge_cycles,
  enter,
  ksym,
  leave,
  type Steps,
} from "../../../arch/asm.ts";
import type { MachineSpec } from "../../../arch/hw/spec.ts";
import { type Bio, bio_endio, type BioVec, READ } from "../../block/bio.ts";
import {
  blk_queue_make_request,
  type RequestQueue,
} from "../../block/blk_core.ts";
import { type BlockDevice, SECTOR_BYTES } from "../../block/block_device.ts";
import { EIO, EROFS, err, type Errno } from "../../lib/errno.ts";
import { AddressSpace } from "../../mm/filemap.ts";
import { truncate_inode_pages } from "../../mm/truncate.ts";
import type { Thread } from "../../thread.ts";
import type { SparseImage } from "./image.ts";

const BRD_MAKE_REQUEST = ksym("brd_make_request");
const COPY_FROM_BRD = ksym("copy_from_brd");
const MEMCPY = ksym("memcpy");

/** Line fills that a CPU has under way at once, as in clear_page.ts. */
const FILLS_AT_ONCE = 8;
/** Bytes of one load or store. */
const WORD_BYTES = 8;

/** A RAM disk; {@linkcode brd_alloc} makes it. */
export class BrdDevice implements BlockDevice {
  readonly hardsect_size = SECTOR_BYTES;
  readonly sectors: number;
  readonly mapping: AddressSpace;
  readonly queue: RequestQueue;
  /** Error injection: whether a read that touches `sector` fails with -EIO. */
  should_fail: ((sector: number) => boolean) | null = null;
  /** Bytes read so far. */
  bytes_read = 0;
  readonly #buffer: Uint8Array;

  constructor(t: Thread, readonly name: string, readonly image: SparseImage) {
    this.sectors = Math.floor(image.sizeBytes / SECTOR_BYTES);
    this.mapping = new AddressSpace(t.k, name);
    this.queue = blk_queue_make_request(
      t,
      (t, _q, bio) => brd_make_request(t, this, bio),
    );
    this.#buffer = new Uint8Array(t.machine.memory.pageBytes);
  }

  /** Copies from `sector` on into a piece of a page. Host side. */
  fill(t: Thread, { bv_page, bv_offset, bv_len }: BioVec, sector: number) {
    const { memory } = t.machine;
    const piece = this.#buffer.subarray(0, bv_len);
    this.image.read(sector * SECTOR_BYTES, piece);
    memory.writeBytes(bv_page.pfn * memory.pageBytes + bv_offset, piece);
    this.bytes_read += bv_len;
  }
}

/** Makes a RAM disk with `image`'s contents. Plain. */
export function brd_alloc(
  t: Thread,
  name: string,
  image: SparseImage,
): BrdDevice {
  charge(t, 1000);
  return new BrdDevice(t, name, image);
}

/** Removes a RAM disk that nobody uses, and what is cached of it. Context: process. */
export function* brd_free(t: Thread, brd: BrdDevice): Steps {
  charge(t, 200);
  yield* truncate_inode_pages(t, brd.mapping, 0);
}

function* brd_make_request(t: Thread, brd: BrdDevice, bio: Bio): Steps {
  enter(t, BRD_MAKE_REQUEST);
  charge(t, 40);
  let error: 0 | Errno = bio.bi_rw === READ ? 0 : err(EROFS);
  let sector = bio.bi_sector;
  for (let i = 0; i < bio.bi_vcnt && error === 0; i++) {
    const vec = bio.bi_io_vec[i];
    charge(t, 30);
    error = copy_from_brd(t, brd, vec, sector);
    sector += vec.bv_len / SECTOR_BYTES;
  }
  yield* bio_endio(t, bio, error);
  leave(t);
}

function copy_from_brd(
  t: Thread,
  brd: BrdDevice,
  vec: BioVec,
  sector: number,
): 0 | Errno {
  if (brd.should_fail !== null) {
    const end = sector + vec.bv_len / SECTOR_BYTES;
    for (let s = sector; s < end; s++) if (brd.should_fail(s)) return err(EIO);
  }
  enter(t, COPY_FROM_BRD);
  charge(t, 30); // radix tree of the disk's pages, kmap_atomic()
  enter(t, MEMCPY);
  charge_cycles(t, copyCycles(t.machine.spec, vec.bv_len));
  brd.fill(t, vec, sector);
  leave(t);
  leave(t);
  return 0;
}

/**
 * Cycles to copy `bytes` from memory to memory: for each line its words, one a
 * cycle, or the fills of source and destination, {@linkcode FILLS_AT_ONCE} of
 * which overlap, whichever is longer. As in clear_page.ts, lines do not stay
 * with the CPU.
 */
export function copyCycles(spec: MachineSpec, bytes: number): number {
  const { lineBytes } = spec.memory;
  const words = lineBytes / WORD_BYTES;
  const fills = 2 * spec.cache.memoryLocalCycles / FILLS_AT_ONCE;
  return Math.ceil(bytes / lineBytes * Math.max(words, fills));
}
