/**
 * blkfront: a disk whose requests go through a ring to another domain
 * (drivers/block/xen-blkfront.c of 2.6.28). This file has its set-up and its
 * end; blkfront_io.ts has the requests.
 *
 * The ring is a page from the page allocator, granted to the back end.
 *
 * Left out: partitions, suspend and resume, removable media.
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import type { RequestQueue } from "../../block/blk_core.ts";
import { type BlockDevice, SECTOR_BYTES } from "../../block/block_device.ts";
import { EINVAL, err, type Errno, IS_ERR_VALUE } from "../../lib/errno.ts";
import { spin_lock_irq, spin_unlock_irq } from "../../locking/spinlock.ts";
import { AddressSpace } from "../../mm/filemap.ts";
import { truncate_inode_pages } from "../../mm/truncate.ts";
import { KERN_INFO, KERN_WARNING, printk } from "../../printk.ts";
import type { Thread } from "../../thread.ts";
import { unbind_from_irqhandler } from "../../xen/events.ts";
import {
  BlkfrontInfo,
  blkif_interrupt,
  fail_all,
  revoke,
} from "./blkfront_io.ts";
import { BLKIF_ENTRY_BYTES } from "./blkif.ts";
import { setup_evtchn, setup_ring } from "./frontend.ts";
import {
  xenbus_dev_fatal,
  xenbus_switch_state,
  type XenbusDevice,
  type XenbusDriver,
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateConnected,
  XenbusStateInitialised,
  XenbusStateUnknown,
} from "./xenbus.ts";
import { free_ring } from "./xenbus_client.ts";
import { xenbus_scan, xenbus_write } from "./xenstore.ts";

const TALK_TO_BACKEND = ksym("talk_to_backend");
const BLKFRONT_CONNECT = ksym("blkfront_connect");
const BLKIF_FREE = ksym("blkif_free");

/** Major number of such disks, and minors of each: `virtual-device` is of both. */
export const XENVBD_MAJOR = 202;
export const MINORS = 16;

/** The disk as its users see it. */
class XenVbd implements BlockDevice {
  constructor(
    readonly name: string,
    readonly sectors: number,
    readonly hardsect_size: number,
    readonly queue: RequestQueue,
    readonly mapping: AddressSpace,
  ) {}
}

/** The driver of front ends of type `vbd`. */
export const blkfront: XenbusDriver = {
  type: "vbd",
  probe: blkfront_probe,
  otherend_changed: backend_changed,
  remove: blkfront_remove,
};

function* blkfront_probe(t: Thread, dev: XenbusDevice): Steps<0 | Errno> {
  const { xs } = dev.bus;
  const key = `${dev.nodename}/virtual-device`;
  const vdevice = yield* xenbus_scan(t, xs, key);
  if (IS_ERR_VALUE(vdevice)) return vdevice;
  const info = new BlkfrontInfo(t, dev, vdevice);
  dev.driver_data = info;
  const error = yield* talk_to_backend(t, info);
  if (error !== 0) yield* blkif_free(t, info);
  return error;
}

/** Makes the ring and tells the back end where it is. */
function* talk_to_backend(t: Thread, info: BlkfrontInfo): Steps<0 | Errno> {
  enter(t, TALK_TO_BACKEND);
  const { dev } = info;
  const error = yield* setup_blkring(t, info);
  if (error === 0) {
    const { xs } = dev.bus;
    const { nodename } = dev;
    yield* xenbus_write(t, xs, `${nodename}/ring-ref`, info.ring_ref);
    yield* xenbus_write(t, xs, `${nodename}/event-channel`, info.evtchn);
    yield* xenbus_write(t, xs, `${nodename}/protocol`, "x86_64-abi");
    yield* xenbus_switch_state(t, dev, XenbusStateInitialised);
  }
  leave(t);
  return error;
}

function* setup_blkring(t: Thread, info: BlkfrontInfo): Steps<0 | Errno> {
  const error = yield* setup_ring(t, info.dev, info, BLKIF_ENTRY_BYTES);
  if (error !== 0) return error;
  for (let id = info.ring.nr_ents - 1; id >= 0; id--) {
    info.shadow[id] = { request: null, grefs: [] };
    info.free_ids.push(id);
  }
  return yield* setup_evtchn(
    t,
    info.dev,
    info,
    (t) => blkif_interrupt(t, info),
  );
}

function* backend_changed(t: Thread, dev: XenbusDevice, state: number): Steps {
  const info = dev.driver_data as BlkfrontInfo;
  switch (state) {
    case XenbusStateConnected:
      if (info.state === "new") yield* blkfront_connect(t, info);
      break;
    case XenbusStateClosing:
    case XenbusStateClosed:
      yield* blkfront_gone(t, info);
      yield* xenbus_switch_state(t, dev, XenbusStateClosed);
      break;
    case XenbusStateUnknown: // its directory has gone, or is not there yet
      if (info.state === "connected") yield* blkfront_gone(t, info);
      break;
    default:
      break;
  }
}

/** The back end has the ring: makes the disk. */
function* blkfront_connect(t: Thread, info: BlkfrontInfo): Steps {
  enter(t, BLKFRONT_CONNECT);
  const { dev } = info;
  const { xs } = dev.bus;
  const sectors = yield* xenbus_scan(t, xs, `${dev.otherend}/sectors`);
  const size = yield* xenbus_scan(t, xs, `${dev.otherend}/sector-size`);
  const valid = sectors >= 0 && size >= SECTOR_BYTES &&
    size <= t.machine.memory.pageBytes && Number.isInteger(Math.log2(size));
  if (valid) {
    charge(t, 2000); // add_disk()
    const letter = (info.vdevice & 0xff) / MINORS;
    const name = `xvd${String.fromCharCode(0x61 + letter)}`;
    const mapping = new AddressSpace(t.k, name);
    yield* spin_lock_irq(t, info.queue.queue_lock);
    info.gd = new XenVbd(name, sectors, size, info.queue, mapping);
    info.state = "connected";
    yield* spin_unlock_irq(t, info.queue.queue_lock);
    printk(t, KERN_INFO, `blkfront: ${name}: ${sectors} sectors of 512 bytes`);
    yield* xenbus_switch_state(t, dev, XenbusStateConnected);
  } else {
    const what = `reading backend fields at ${dev.otherend}`;
    yield* xenbus_dev_fatal(t, dev, err(EINVAL), what);
  }
  leave(t);
}

/** The back end goes. */
function* blkfront_gone(t: Thread, info: BlkfrontInfo): Steps {
  yield* spin_lock_irq(t, info.queue.queue_lock);
  yield* fail_all(t, info);
  yield* spin_unlock_irq(t, info.queue.queue_lock);
}

function* blkfront_remove(t: Thread, dev: XenbusDevice): Steps {
  const info = dev.driver_data as BlkfrontInfo;
  yield* blkfront_gone(t, info);
  yield* blkif_free(t, info);
  dev.driver_data = null;
}

/** Gives back all that {@linkcode setup_blkring} took, as far as it came. */
function* blkif_free(t: Thread, info: BlkfrontInfo): Steps {
  enter(t, BLKIF_FREE);
  if (info.evtchn !== 0) yield* unbind_from_irqhandler(t, info.evtchn);
  const stuck = info.stuck;
  info.stuck = [];
  yield* revoke(t, info, stuck); // the back end has closed since
  for (const gref of info.stuck) {
    printk(t, KERN_WARNING, `blkfront: grant ${gref} is still in use`);
  }
  yield* free_ring(t, info.ring_ref, info.ring_page);
  info.ring_page = null;
  if (info.gd !== null) yield* truncate_inode_pages(t, info.gd.mapping, 0);
  leave(t);
}
