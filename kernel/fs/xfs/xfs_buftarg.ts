/**
 * Buffer targets: devices that have buffers (xfs_alloc_buftarg() and what goes
 * with it), and xfsbufd, a thread of each that comes by once a second.
 *
 * Differs from Linux: the pages are cached with the device's own, not with an
 * inode of the target's on it; they go with the target all the same. xfsbufd
 * has nothing to write; it unmaps addresses that wait for it.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  read_line,
  type Steps,
} from "../../../arch/asm.ts";
import { BUG_ON } from "../../bug.ts";
import { EINVAL, ENOMEM, err, type Errno } from "../../lib/errno.ts";
import { list_empty, list_first_entry } from "../../lib/list.ts";
import {
  kthread_run,
  kthread_should_stop,
  kthread_stop,
} from "../../kthread.ts";
import { spin_lock, spin_unlock } from "../../locking/spinlock.ts";
import { GFP_KERNEL } from "../../mm/gfp.ts";
import { kfree, kmalloc } from "../../mm/slab.ts";
import { truncate_inode_pages } from "../../mm/truncate.ts";
import type { BlockDevice } from "../../block/block_device.ts";
import { KERN_WARNING, printk } from "../../printk.ts";
import type { Thread } from "../../thread.ts";
import { msecs_to_jiffies } from "../../timekeeping.ts";
import { msleep, schedule_timeout_interruptible } from "../../timer.ts";
import { purge_addresses } from "./xfs_buf_map.ts";
import { xfs_buf_init } from "./xfs_buf_state.ts";
import {
  type BufMap,
  XFS_BUFHASH_BYTES,
  XfsBufhash,
  XfsBuftarg,
} from "./xfs_buf_types.ts";

const XFS_ALLOC_BUFTARG = ksym("xfs_alloc_buftarg");
const XFS_FREE_BUFTARG = ksym("xfs_free_buftarg");
const XFS_WAIT_BUFTARG = ksym("xfs_wait_buftarg");
const XFSBUFD = ksym("xfsbufd");

/** log2 of the buckets of a target that is not an external log. */
const HASH_SHIFT = 8;
/** xfs_buf_timer_centisecs = 100, in milliseconds. */
const XFS_BUF_TIMER_MS = 1000;
/** How often xfs_wait_buftarg() looks whether a buffer has gone, and how many times before it calls that a leak. */
const WAIT_MS = 100;
const MAX_WAITS = 600;

/** How this kernel maps buffers unless a target says otherwise: `xfs.buf_map=`; else what went with the layer. */
export function default_buf_map(t: Thread): BufMap {
  const { params, vmap } = t.k;
  return params.xfs_buf_map ??
    (vmap.name === "vmlist" ? "vmap" : "vm_map_ram");
}

/**
 * Makes a target of `bdev`, with an xfsbufd. Blocks are taken to be pages until
 * xfs_setsize_buftarg() knows better.
 *
 * Context: process.
 *
 * @param name Name of the mount, for messages.
 * @returns -ENOMEM if memory is out.
 */
export function* xfs_alloc_buftarg(
  t: Thread,
  bdev: BlockDevice,
  name: string,
  buf_map: BufMap = default_buf_map(t),
): Steps<XfsBuftarg | Errno> {
  enter(t, XFS_ALLOC_BUFTARG);
  charge(t, 100);
  xfs_buf_init(t);
  const btp = new XfsBuftarg(bdev, name, buf_map);
  btp.bt_bsize = t.machine.memory.pageBytes;
  btp.bt_sectorsize = bdev.hardsect_size;
  if (!(yield* xfs_alloc_bufhash(t, btp))) {
    leave(t);
    return err(ENOMEM);
  }
  btp.bt_task = yield* kthread_run(t, xfsbufd, "xfsbufd");
  leave(t);
  return btp;
}

function* xfs_alloc_bufhash(t: Thread, btp: XfsBuftarg): Steps<boolean> {
  const buckets = 1 << HASH_SHIFT;
  const mem = yield* kmalloc(t, buckets * XFS_BUFHASH_BYTES, GFP_KERNEL);
  if (mem === null) return false;
  charge(t, 6 * buckets);
  btp.bt_hash_mem = mem;
  btp.bt_hashshift = HASH_SHIFT;
  btp.bt_hash = Array.from({ length: buckets }, (_, i) => {
    const line = t.machine.lineAt(mem.paddr + i * XFS_BUFHASH_BYTES);
    return new XfsBufhash(t.k, line);
  });
  return true;
}

/**
 * Says what the superblock has said of the sizes. Plain.
 *
 * @param blocksize Bytes; a power of two, at least a sector.
 * @param sectorsize Bytes; a power of two, at least one of the device's.
 * @returns 0, or -EINVAL after a message.
 */
export function xfs_setsize_buftarg(
  t: Thread,
  btp: XfsBuftarg,
  blocksize: number,
  sectorsize: number,
): 0 | Errno {
  charge(t, 20);
  const { hardsect_size, name } = btp.bt_bdev;
  if (!(sectorsize >= hardsect_size && blocksize >= sectorsize)) {
    printk(
      t,
      KERN_WARNING,
      `XFS: Cannot set_blocksize to ${sectorsize} on device ${name}`,
    );
    return err(EINVAL);
  }
  btp.bt_bsize = blocksize;
  btp.bt_sectorsize = sectorsize;
  return 0;
}

/**
 * Waits until nobody has a buffer of `btp`, and gives everything back: its
 * thread, addresses that wait, cached pages.
 *
 * Context: process.
 */
export function* xfs_free_buftarg(t: Thread, btp: XfsBuftarg): Steps {
  enter(t, XFS_FREE_BUFTARG);
  charge(t, 40);
  yield* xfs_wait_buftarg(t, btp);
  if (btp.bt_task !== null) yield* kthread_stop(t, btp.bt_task);
  btp.bt_task = null;
  // 2.6.28 leaves the addresses to the thread's last round.
  yield* purge_addresses(t, xfs_buf_init(t));
  yield* truncate_inode_pages(t, btp.bt_mapping, 0);
  btp.bt_hash = [];
  yield* kfree(t, btp.bt_hash_mem);
  btp.bt_hash_mem = null;
  leave(t);
}

function* xfs_wait_buftarg(t: Thread, btp: XfsBuftarg): Steps {
  enter(t, XFS_WAIT_BUFTARG);
  for (const { bh_lock, bh_list } of btp.bt_hash) {
    for (let waits = 0;; waits++) {
      charge(t, 6);
      yield* spin_lock(t, bh_lock);
      const bp = list_empty(bh_list) ? null : list_first_entry(bh_list);
      yield* spin_unlock(t, bh_lock);
      if (bp === null) break;
      BUG_ON(
        t,
        waits === MAX_WAITS,
        `buffer of block ${bp.b_bn} of ${btp.bt_name} is never released`,
      );
      yield* msleep(t, WAIT_MS);
    }
  }
  leave(t);
}

function* xfsbufd(t: Thread): Steps {
  enter(t, XFSBUFD);
  const state = xfs_buf_init(t);
  do {
    t.wchan = "xfsbufd";
    const jiffies = msecs_to_jiffies(t, XFS_BUF_TIMER_MS);
    yield* schedule_timeout_interruptible(t, jiffies);
    t.wchan = null;
    charge(t, 20);
    yield* read_line(t, state.as_line);
    if (state.as_list_len > 0) yield* purge_addresses(t, state);
  } while (!kthread_should_stop(t));
  leave(t);
}
