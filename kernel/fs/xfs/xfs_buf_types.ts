/** What a buffer and its device are (fs/xfs/linux-2.6/xfs_buf.h of 2.6.28). */
import type { Steps } from "../../../arch/asm.ts";
import { Cell } from "../../../arch/hw/cell.ts";
import type { CacheLine } from "../../../arch/hw/line.ts";
import type { BlockDevice } from "../../block/block_device.ts";
import type { Kernel } from "../../kernel.ts";
import type { Errno } from "../../lib/errno.ts";
import { ListHead } from "../../lib/list.ts";
import { Semaphore } from "../../locking/semaphore.ts";
import { Spinlock } from "../../locking/spinlock.ts";
import type { AddressSpace } from "../../mm/filemap.ts";
import type { Page } from "../../mm/page.ts";
import { type KmallocObject, SlabObject } from "../../mm/slab.ts";
import type { Thread } from "../../thread.ts";
import { Work } from "../../workqueue.ts";

/** It is being read. */
export const XBF_READ = 1 << 0;
/** It has an address; asked for: it is to get one. */
export const XBF_MAPPED = 1 << 2;
/** Nobody waits for its I/O, which releases it. */
export const XBF_ASYNC = 1 << 4;
/** Its contents are valid. */
export const XBF_DONE = 1 << 5;
/** It is read in case somebody asks for it. */
export const XBF_READ_AHEAD = 1 << 12;
/** Asked for: take its lock. */
export const XBF_LOCK = 1 << 14;
/** Asked for: take its lock if it is free. */
export const XBF_TRYLOCK = 1 << 15;
/** Asked for: memory must not come from file systems. */
export const XBF_DONT_BLOCK = 1 << 16;
/** Its pages are a device's page cache's. */
export const _XBF_PAGE_CACHE = 1 << 17;

/** Not kept in b_flags. */
export const XBF_ARGUMENTS = XBF_LOCK | XBF_TRYLOCK | XBF_MAPPED |
  XBF_DONT_BLOCK | XBF_READ_AHEAD;

/** log2 of a basic block, bytes. */
export const BBSHIFT = 9;
/** Pages that a buffer has room for in itself. */
export const XB_PAGES = 2;
/** sizeof(xfs_buf_t) on 64 bits, bytes, about. */
export const XFS_BUF_BYTES = 320;
/** sizeof(xfs_bufhash_t) on 64 bits, bytes: list head and lock. */
export const XFS_BUFHASH_BYTES = 24;

/** How buffers of several pages are mapped: `xfs.buf_map=`. */
export type BufMap = "vmap" | "vm_map_ram";

/** One bucket of a target's hash. */
export class XfsBufhash {
  readonly bh_lock: Spinlock;
  /** Guarded by bh_lock; what was asked for last is first. */
  readonly bh_list: ListHead<XfsBuf> = new ListHead<XfsBuf>();

  constructor(k: Kernel, line: CacheLine) {
    this.bh_lock = new Spinlock(k, "&hash->bh_lock", line);
  }
}

/** A device that has buffers. */
export class XfsBuftarg {
  // Fixed after set-up.
  /** Block size of the file system, bytes: xfs_setsize_buftarg(). */
  bt_bsize = 0;
  /** Sector size of the file system, bytes. */
  bt_sectorsize = 0;
  /** Where the pages are cached. */
  readonly bt_mapping: AddressSpace;
  bt_hash: readonly XfsBufhash[] = [];
  /** log2 of the buckets. */
  bt_hashshift = 0;
  /** Memory of the buckets. */
  bt_hash_mem: KmallocObject | null = null;
  /** Its xfsbufd. */
  bt_task: Thread | null = null;

  /** Made by xfs_alloc_buftarg(). */
  constructor(
    readonly bt_bdev: BlockDevice,
    /** Mount name, for messages. */
    readonly bt_name: string,
    readonly bt_buf_map: BufMap,
  ) {
    this.bt_mapping = bt_bdev.mapping;
  }
}

/** One buffer: a stretch of a device, in memory as long as somebody holds it. */
export class XfsBuf extends SlabObject {
  // Set when it is hashed.
  b_target!: XfsBuftarg;
  b_hash!: XfsBufhash;
  /** Where it starts, bytes. */
  b_file_offset = 0;
  /** Bytes. */
  b_buffer_length = 0;
  /** Where it starts, sectors of 512 bytes. */
  b_bn = -1;
  /** In b_hash. Guarded by its lock. */
  readonly b_hash_list: ListHead<XfsBuf> = new ListHead<XfsBuf>(this);

  /** Who has a reference. Becomes 0 under the bucket's lock alone. */
  b_hold!: Cell<number>;
  /** Its lock: whoever comes in has the buffer. */
  b_sema!: Semaphore;

  // Guarded by b_sema.
  /** Virtual address of its first byte; 0 = not mapped. */
  b_addr = 0;
  /** Bytes that were asked for. */
  b_count_desired = 0;
  /** `XBF_*`. While it is being read, its I/O's. */
  b_flags = 0;
  /** What became of its last I/O. */
  b_error: 0 | Errno = 0;
  /** The first `b_page_count` are its. */
  readonly b_pages: Page[] = [];
  b_page_count = 0;
  /** First byte within the first page. */
  b_offset = 0;
  /** Memory of the list of pages, if it has more than {@linkcode XB_PAGES}. */
  b_pages_mem: KmallocObject | null = null;

  /** Parts of an I/O that are under way. */
  b_io_remaining!: Cell<number>;
  /** Up once for each I/O that somebody waits for. */
  b_iodonesema!: Semaphore;
  /** What ends an I/O that nobody waits for. */
  b_iodone_work!: Work;

  /** Gives an object that is used for the first time what lies on its lines. */
  attach(k: Kernel, iodone: (t: Thread, bp: XfsBuf) => Steps): void {
    const { machine } = k;
    const line = (at: number) => machine.lineAt(this.paddr + at);
    this.b_sema = new Semaphore(k, "&bp->b_sema", 0, line(0));
    this.b_hold = new Cell("&bp->b_hold", 0, line(128));
    this.b_io_remaining = new Cell("&bp->b_io_remaining", 0, line(192));
    this.b_iodonesema = new Semaphore(k, "&bp->b_iodonesema", 0, line(192));
    this.b_iodone_work = new Work((t) => iodone(t, this), line(192));
  }
}
