/** What the buffers of all XFS file systems of one kernel share. */
import { CacheLine } from "../../../arch/hw/line.ts";
import { Spinlock } from "../../locking/spinlock.ts";
import {
  type KmallocObject,
  kmem_cache_create,
  type KmemCache,
  SLAB_HWCACHE_ALIGN,
} from "../../mm/slab.ts";
import type { Thread } from "../../thread.ts";
import { create_workqueue, type Workqueue } from "../../workqueue.ts";
import { XFS_BUF_BYTES, XfsBuf } from "./xfs_buf_types.ts";

/** An address that waits to be unmapped: `a_list_t`. */
export interface AListEntry {
  readonly vm_addr: number;
  readonly mem: KmallocObject;
  next: AListEntry | null;
}

/** `k.xfs_buf`, from the first target on. */
export class XfsBufState {
  readonly xfs_buf_zone: KmemCache<XfsBuf>;
  /** Ends I/O that nobody waits for. */
  readonly xfslogd_workqueue: Workqueue;
  /** Line of the next fields. */
  readonly as_line: CacheLine = new CacheLine(0);
  readonly as_lock: Spinlock;
  // Guarded by as_lock; as_list_len is looked at without it.
  as_free_head: AListEntry | null = null;
  as_list_len = 0;
  /** CONFIG_XEN: a page must not be mapped when it becomes a page table, so nothing waits to be unmapped. */
  unmap_at_once = false;
  /** Counts, for reports and tests. */
  readonly stats = {
    /** Buffers of several pages that were mapped. */
    maps: 0,
    /** Pages of those. */
    mapped_pages: 0,
    /** Purges that found something. */
    purges: 0,
    /** Buffers that were read from the device. */
    reads: 0,
    /** Buffers handed out. */
    gets: 0,
  };

  constructor(t: Thread) {
    const { k } = t;
    this.xfs_buf_zone = kmem_cache_create(
      t,
      "xfs_buf_t",
      XFS_BUF_BYTES,
      () => new XfsBuf(),
      SLAB_HWCACHE_ALIGN,
    );
    this.xfslogd_workqueue = create_workqueue(t, "xfslogd");
    this.as_lock = new Spinlock(k, "as_lock", this.as_line);
    this.unmap_at_once = k.xen !== null;
  }
}

/** Makes the state at the first call: xfs_buf_init(). */
export function xfs_buf_init(t: Thread): XfsBufState {
  return t.k.xfs_buf ??= new XfsBufState(t);
}
