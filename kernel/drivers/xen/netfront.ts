/**
 * netfront: an Ethernet interface whose frames go through two rings to another
 * domain (drivers/net/xen-netfront.c of 2.6.28). This file has its set-up and
 * its end; netfront_io.ts has the frames.
 *
 * Left out: page flipping, suspend and resume.
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import { ENODEV, err, type Errno, IS_ERR_VALUE } from "../../lib/errno.ts";
import {
  spin_lock_irqsave,
  spin_unlock_irqrestore,
} from "../../locking/spinlock.ts";
import { __free_page } from "../../mm/page_alloc.ts";
import { KERN_INFO, printk } from "../../printk.ts";
import type { Thread } from "../../thread.ts";
import { unbind_from_irqhandler } from "../../xen/events.ts";
import { gnttab_end_foreign_access } from "../../xen/grant_table.ts";
import {
  carrier_off,
  Netfront,
  take_slot,
  xennet_alloc_rx_buffers,
  xennet_interrupt,
} from "./netfront_io.ts";
import { NETIF_RX_ENTRY_BYTES, NETIF_TX_ENTRY_BYTES } from "./netif.ts";
import { setup_evtchn, setup_ring } from "./frontend.ts";
import {
  xenbus_dev_fatal,
  xenbus_switch_state,
  type XenbusDriver,
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateConnected,
  XenbusStateInitWait,
  XenbusStateUnknown,
} from "./xenbus.ts";
import { free_ring } from "./xenbus_client.ts";
import { xenbus_scan, xenbus_write } from "./xenstore.ts";

const TALK_TO_BACKEND = ksym("talk_to_backend");
const XENNET_DISCONNECT_BACKEND = ksym("xennet_disconnect_backend");

/** The driver of front ends of type `vif`. */
export const netfront: XenbusDriver = {
  type: "vif",
  *probe(t, dev) {
    charge(t, 2000); // create_netdev()
    const handle = yield* xenbus_scan(
      t,
      dev.bus.xs,
      `${dev.nodename}/handle`,
    );
    if (IS_ERR_VALUE(handle)) return handle;
    dev.driver_data = new Netfront(t, dev);
    return 0;
  },
  *otherend_changed(t, dev, state) {
    const np = dev.driver_data as Netfront;
    switch (state) {
      case XenbusStateInitWait:
        if (np.tx.ring_page === null) yield* xennet_connect(t, np);
        break;
      case XenbusStateClosing:
      case XenbusStateClosed:
        yield* carrier_off(t, np);
        yield* xenbus_switch_state(t, dev, XenbusStateClosed);
        break;
      case XenbusStateUnknown:
        if (np.carrier) yield* carrier_off(t, np);
        break;
      default:
        break;
    }
  },
  *remove(t, dev) {
    const np = dev.driver_data as Netfront;
    yield* carrier_off(t, np);
    yield* xennet_disconnect_backend(t, np);
    dev.driver_data = null;
  },
};

/** The back end is there: makes the rings and tells it where they are. */
function* xennet_connect(t: Thread, np: Netfront): Steps {
  enter(t, TALK_TO_BACKEND);
  const { dev } = np;
  const { xs } = dev.bus;
  const copies = yield* xenbus_scan(t, xs, `${dev.otherend}/feature-rx-copy`);
  let error: 0 | Errno = copies === 1 ? 0 : err(ENODEV);
  if (error === 0) error = yield* setup_netfront(t, np);
  if (error === 0) {
    const { nodename } = dev;
    for (
      const [key, value] of [
        ["tx-ring-ref", np.tx.ring_ref],
        ["rx-ring-ref", np.rx.ring_ref],
        ["event-channel", np.evtchn],
        ["request-rx-copy", 1],
        ["feature-rx-notify", 1],
      ] as const
    ) yield* xenbus_write(t, xs, `${nodename}/${key}`, value);
    np.carrier = true;
    const flags = yield* spin_lock_irqsave(t, np.rx_lock);
    yield* xennet_alloc_rx_buffers(t, np);
    yield* spin_unlock_irqrestore(t, np.rx_lock, flags);
    yield* xenbus_switch_state(t, dev, XenbusStateConnected);
    printk(t, KERN_INFO, `netfront: ${dev.nodename} is up, copying receive`);
  } else {
    yield* xenbus_dev_fatal(t, dev, error, "setting up rings");
  }
  leave(t);
}

function* setup_netfront(t: Thread, np: Netfront): Steps<0 | Errno> {
  const sides = [[np.tx, NETIF_TX_ENTRY_BYTES], [
    np.rx,
    NETIF_RX_ENTRY_BYTES,
  ]] as const;
  for (const [side, entryBytes] of sides) {
    const error = yield* setup_ring(t, np.dev, side, entryBytes);
    if (error !== 0) return error;
    for (let id = side.ring.nr_ents - 1; id >= 0; id--) {
      side.slots[id] = { page: null, gref: 0 };
      side.free_ids.push(id);
    }
  }
  return yield* setup_evtchn(
    t,
    np.dev,
    np,
    (t) => xennet_interrupt(t, np),
  );
}

/** Gives back all that {@linkcode setup_netfront} and frames took; the back end has closed. */
function* xennet_disconnect_backend(t: Thread, np: Netfront): Steps {
  enter(t, XENNET_DISCONNECT_BACKEND);
  if (np.evtchn !== 0) yield* unbind_from_irqhandler(t, np.evtchn);
  np.evtchn = 0;
  for (const side of [np.tx, np.rx]) {
    for (let id = 0; id < side.slots.length; id++) {
      const page = yield* take_slot(t, np, side, id);
      if (page !== null) yield* __free_page(t, page);
    }
    yield* free_ring(t, side.ring_ref, side.ring_page);
    side.ring_page = null;
  }
  for (let slot = np.stuck.pop(); slot !== undefined; slot = np.stuck.pop()) {
    if (yield* gnttab_end_foreign_access(t, slot.gref)) {
      yield* __free_page(t, slot.page!);
    }
  }
  for (let f = np.received.shift(); f !== undefined; f = np.received.shift()) {
    yield* __free_page(t, f.page);
  }
  leave(t);
}
