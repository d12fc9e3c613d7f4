/**
 * blkback: serves a front end's ring from a block device of this domain's
 * (drivers/xen/blkback of linux-2.6.18-xen, which 2.6.28 does not have). This
 * file has its set-up and its end; blkback_io.ts has the requests.
 *
 * The ring is mapped where alloc_vm_area() found room
 * (xenbus_map_ring_valloc()), and so are the pages of requests: an area with a
 * slot for each piece of each request under way.
 *
 * Left out: statistics of sysfs.
 */
import type { Steps } from "../../../arch/asm.ts";
import type { BlockDevice } from "../../block/block_device.ts";
import { kthread_stop } from "../../kthread.ts";
import {
  EINVAL,
  ENODEV,
  ENOMEM,
  err,
  type Errno,
  IS_ERR_VALUE,
} from "../../lib/errno.ts";
import { alloc_vm_area, free_vm_area } from "../../mm/vmalloc.ts";
import { wait_event } from "../../sched/wait.ts";
import type { Thread } from "../../thread.ts";
import { unbind_from_irqhandler } from "../../xen/events.ts";
import { connect_evtchn, follow_frontend, run_backend } from "./backend.ts";
import {
  Blkback,
  blkif_be_int,
  BLKIF_REQS,
  blkif_schedule,
  PendingReq,
} from "./blkback_io.ts";
import {
  BLKIF_ENTRY_BYTES,
  BLKIF_MAX_SEGMENTS_PER_REQUEST,
  VDISK_READONLY,
} from "./blkif.ts";
import { BackRing } from "./ring.ts";
import {
  xenbus_dev_fatal,
  xenbus_switch_state,
  type XenbusDevice,
  type XenbusDriver,
  XenbusStateConnected,
  XenbusStateInitialised,
  XenbusStateInitWait,
} from "./xenbus.ts";
import {
  xenbus_map_ring_valloc,
  xenbus_unmap_ring_vfree,
} from "./xenbus_client.ts";
import { xenbus_read, xenbus_scan, xenbus_write } from "./xenstore.ts";

/** The driver of back ends of type `vbd`; `find` knows the devices that `params` may name. */
export function blkback(
  find: (name: string) => BlockDevice | undefined,
): XenbusDriver {
  return {
    type: "vbd",
    *probe(t, dev) {
      const params = yield* xenbus_read(
        t,
        dev.bus.xs,
        `${dev.nodename}/params`,
      );
      if (typeof params === "number") return params;
      const bdev = find(params);
      if (bdev === undefined) return err(ENODEV);
      dev.driver_data = new Blkback(t, dev, bdev);
      yield* xenbus_switch_state(t, dev, XenbusStateInitWait);
      return 0;
    },
    otherend_changed: frontend_changed,
    *remove(t, dev) {
      yield* blkif_disconnect(t, dev.driver_data as Blkback);
      dev.driver_data = null;
    },
  };
}

function frontend_changed(t: Thread, dev: XenbusDevice, state: number): Steps {
  const be = dev.driver_data as Blkback;
  return follow_frontend(
    t,
    dev,
    state,
    XenbusStateInitialised,
    () => connect(t, be),
    () => blkif_disconnect(t, be),
  );
}

/** Maps the ring and says what disk there is. */
function* connect(t: Thread, be: Blkback): Steps {
  const { dev, bdev } = be;
  const { xs } = dev.bus;
  const error = yield* connect_ring(t, be);
  if (error !== 0) {
    yield* blkif_disconnect(t, be);
    yield* xenbus_dev_fatal(t, dev, error, "mapping ring-ref, event-channel");
    return;
  }
  for (
    const [key, value] of [
      ["sectors", bdev.sectors],
      ["info", VDISK_READONLY],
      ["sector-size", bdev.hardsect_size],
    ] as const
  ) yield* xenbus_write(t, xs, `${dev.nodename}/${key}`, value);
  yield* xenbus_switch_state(t, dev, XenbusStateConnected);
}

function* connect_ring(t: Thread, be: Blkback): Steps<0 | Errno> {
  const { dev } = be;
  const { xs } = dev.bus;
  const { pageBytes } = t.machine.memory;
  const ref = yield* xenbus_scan(t, xs, `${dev.otherend}/ring-ref`);
  if (IS_ERR_VALUE(ref)) return ref;
  const port = yield* xenbus_scan(t, xs, `${dev.otherend}/event-channel`);
  if (IS_ERR_VALUE(port)) return port;
  const protocol = yield* xenbus_read(t, xs, `${dev.otherend}/protocol`);
  if (protocol !== "x86_64-abi") return err(EINVAL);
  const slots = BLKIF_REQS * BLKIF_MAX_SEGMENTS_PER_REQUEST;
  be.area = yield* alloc_vm_area(t, slots * pageBytes);
  if (be.area === null) return err(ENOMEM);
  for (let i = 0; i < BLKIF_REQS; i++) {
    const first = i * BLKIF_MAX_SEGMENTS_PER_REQUEST;
    be.free.push(new PendingReq(be.area.addr + first * pageBytes));
  }
  const sring = yield* xenbus_map_ring_valloc(t, dev, ref);
  if (IS_ERR_VALUE(sring)) return sring;
  be.ring = new BackRing(sring, pageBytes, BLKIF_ENTRY_BYTES);
  const error = yield* connect_evtchn(
    t,
    dev,
    be,
    port,
    (t) => blkif_be_int(t, be),
  );
  if (error !== 0) return error;
  be.thread = yield* run_backend(
    t,
    (p) => blkif_schedule(p, be),
    `blkback.${dev.otherend_id}.${be.bdev.name}`,
  );
  return 0;
}

/** Gives back all that {@linkcode connect_ring} took, as far as it came. */
function* blkif_disconnect(t: Thread, be: Blkback): Steps {
  if (be.thread !== null) yield* kthread_stop(t, be.thread);
  be.thread = null;
  if (be.area !== null) { // and so the slots: what is under way comes back
    yield* wait_event(t, be.pending_wq, () => be.free.length === BLKIF_REQS);
    be.free = [];
  }
  if (be.evtchn !== 0) yield* unbind_from_irqhandler(t, be.evtchn);
  be.evtchn = 0;
  if (be.ring !== null) {
    yield* xenbus_unmap_ring_vfree(t, be.dev, be.ring.sring);
  }
  be.ring = null;
  if (be.area !== null) yield* free_vm_area(t, be.area);
  be.area = null;
}
