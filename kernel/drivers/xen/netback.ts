/**
 * netback: serves a front end's two rings (drivers/xen/netback of
 * linux-2.6.18-xen, which 2.6.28 does not have), and hands its frames to a peer
 * in this domain, as a bridge would.
 *
 * Rings are mapped where alloc_vm_area() found room, and so are the pages of
 * frames that the guest sends: an area with a slot for each of a batch. A frame
 * is copied out through its slot. What goes to the guest is copied into its
 * pages by the hypervisor (GNTTABOP_copy).
 *
 * Lock order: none; one thread does it all, and interrupts only wake it.
 *
 * What the front end writes is copied once, then checked: a frame of a length
 * that cannot be, one that crosses its page, one of several pages and a grant
 * that does not map get an error response; a counter that cannot be closes the
 * device.
 *
 * Differs from Linux: a thread per interface, not two tasklets for all; every
 * frame is copied out whole, where netback leaves most of it mapped until the
 * last user of the packet is done with it. Left out: bridges, queues' limits in
 * bytes, sg and gso.
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import {
  DOMID_SELF,
  GNTCOPY_dest_gref,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_okay,
  type GrantCopy,
  type MapGrantRef,
  type UnmapGrantRef,
} from "../../../arch/xen/abi.ts";
import { kthread_should_stop, kthread_stop } from "../../kthread.ts";
import {
  EINVAL,
  ENODEV,
  ENOMEM,
  EPROTO,
  err,
  type Errno,
  IS_ERR_VALUE,
} from "../../lib/errno.ts";
import { GFP_KERNEL } from "../../mm/gfp.ts";
import { type Page, page_address } from "../../mm/page.ts";
import { __free_page, alloc_page } from "../../mm/page_alloc.ts";
import { alloc_vm_area, free_vm_area } from "../../mm/vm_area.ts";
import type { VmStruct } from "../../mm/vm_struct.ts";
import { KERN_DEBUG, printk } from "../../printk.ts";
import { cond_resched } from "../../sched/sched.ts";
import { wait_event, WaitQueue, wake_up } from "../../sched/wait.ts";
import type { Thread } from "../../thread.ts";
import {
  notify_remote_via_evtchn,
  unbind_from_irqhandler,
} from "../../xen/events.ts";
import {
  HYPERVISOR_grant_copy,
  HYPERVISOR_map_grant_ref,
  HYPERVISOR_unmap_grant_ref,
} from "../../xen/hypercall.ts";
import { connect_evtchn, follow_frontend, run_backend } from "./backend.ts";
import { copy_over } from "./copy.ts";
import { ETH_FRAME_LEN, ETH_HLEN } from "./netfront_io.ts";
import {
  NETIF_RSP_ERROR,
  NETIF_RSP_OKAY,
  NETIF_RX_ENTRY_BYTES,
  NETIF_TX_ENTRY_BYTES,
  type NetifTxRequest,
  NETTXF_more_data,
  readRxRequest,
  readTxRequest,
  writeRxResponse,
  writeTxResponse,
} from "./netif.ts";
import {
  BackRing,
  next,
  RING_FINAL_CHECK_FOR_REQUESTS,
  RING_PUSH_RESPONSES_AND_CHECK_NOTIFY,
  RING_UNCONSUMED_REQUESTS,
} from "./ring.ts";
import {
  xenbus_dev_fatal,
  xenbus_switch_state,
  type XenbusDevice,
  type XenbusDriver,
  XenbusStateConnected,
  XenbusStateInitWait,
} from "./xenbus.ts";
import {
  xenbus_map_ring_valloc,
  xenbus_unmap_ring_vfree,
} from "./xenbus_client.ts";
import { xenbus_scan, xenbus_write } from "./xenstore.ts";

const NETBK_THREAD = ksym("netbk_thread");
const NET_TX_ACTION = ksym("net_tx_action");
const NET_RX_ACTION = ksym("net_rx_action");
const NETIF_BE_INT = ksym("netif_be_int");

/** Frames taken out of the ring at a time. */
const BATCH = 16;
/** Frames that wait for the guest's pages at most; more are dropped. */
const RX_QUEUE = 256;

/** A frame in a page of this domain's. */
export interface BackFrame {
  readonly page: Page;
  readonly length: number;
}

/**
 * Whoever is at the other end of the wire: takes `frame`, which is its own from
 * now on, and may give frames back, that one too. Context: netback's thread.
 */
export type NetPeer = (
  t: Thread,
  frame: BackFrame,
) => Steps<readonly BackFrame[]>;

/** One interface's back end. */
export class Netback {
  readonly wq: WaitQueue;
  /** An event has come since the thread looked. */
  kicked = false;
  readonly counts = {
    /** Frames from the guest, and requests answered with an error. */
    tx: 0,
    tx_errors: 0,
    /** Frames to the guest, pages of it that could not be copied into, frames dropped. */
    rx: 0,
    rx_errors: 0,
    dropped: 0,
  };

  // From connect to disconnect.
  tx: BackRing | null = null;
  rx: BackRing | null = null;
  evtchn = 0;
  area: VmStruct | null = null;
  thread: Thread | null = null;
  /** Frames for the guest. The thread's own. */
  readonly rx_queue: BackFrame[] = [];

  constructor(t: Thread, readonly dev: XenbusDevice, readonly peer: NetPeer) {
    this.wq = new WaitQueue(t.k, "netif->wq");
  }
}

/** The driver of back ends of type `vif`; `find` knows who is behind each, by its key `handle`. */
export function netback(
  find: (handle: number) => NetPeer | undefined,
): XenbusDriver {
  return {
    type: "vif",
    *probe(t, dev) {
      const { xs } = dev.bus;
      const handle = yield* xenbus_scan(t, xs, `${dev.nodename}/handle`);
      if (IS_ERR_VALUE(handle)) return handle;
      const peer = find(handle);
      if (peer === undefined) return err(ENODEV);
      dev.driver_data = new Netback(t, dev, peer);
      const key = `${dev.nodename}/feature-rx-copy`;
      yield* xenbus_write(t, dev.bus.xs, key, 1);
      yield* xenbus_switch_state(t, dev, XenbusStateInitWait);
      return 0;
    },
    otherend_changed(t, dev, state) {
      const be = dev.driver_data as Netback;
      return follow_frontend(
        t,
        dev,
        state,
        XenbusStateConnected,
        () => connect(t, be),
        () => netif_disconnect(t, be),
      );
    },
    *remove(t, dev) {
      yield* netif_disconnect(t, dev.driver_data as Netback);
      dev.driver_data = null;
    },
  };
}

function* connect(t: Thread, be: Netback): Steps {
  const { dev } = be;
  const error = yield* connect_rings(t, be);
  if (error === 0) {
    yield* xenbus_switch_state(t, dev, XenbusStateConnected);
    return;
  }
  yield* netif_disconnect(t, be);
  yield* xenbus_dev_fatal(t, dev, error, "mapping shared-frames, port");
}

function* connect_rings(t: Thread, be: Netback): Steps<0 | Errno> {
  const { dev } = be;
  const { xs } = dev.bus;
  const { pageBytes } = t.machine.memory;
  const values: number[] = [];
  const keys = ["tx-ring-ref", "rx-ring-ref", "event-channel"];
  for (const key of [...keys, "request-rx-copy"]) {
    const value = yield* xenbus_scan(t, xs, `${dev.otherend}/${key}`);
    if (IS_ERR_VALUE(value)) return value;
    values.push(value);
  }
  const [tx_ref, rx_ref, port, copies] = values;
  if (copies !== 1) return err(EINVAL);
  be.area = yield* alloc_vm_area(t, BATCH * pageBytes);
  if (be.area === null) return err(ENOMEM);
  const tx = yield* xenbus_map_ring_valloc(t, dev, tx_ref);
  if (IS_ERR_VALUE(tx)) return tx;
  be.tx = new BackRing(tx, pageBytes, NETIF_TX_ENTRY_BYTES);
  const rx = yield* xenbus_map_ring_valloc(t, dev, rx_ref);
  if (IS_ERR_VALUE(rx)) return rx;
  be.rx = new BackRing(rx, pageBytes, NETIF_RX_ENTRY_BYTES);
  be.kicked = true; // there may be something already
  const error = yield* connect_evtchn(
    t,
    dev,
    be,
    port,
    (t) => netif_be_int(t, be),
  );
  if (error !== 0) return error;
  be.thread = yield* run_backend(
    t,
    (p) => netbk_thread(p, be),
    `netback.${dev.otherend_id}`,
  );
  return 0;
}

/** Gives back all that {@linkcode connect_rings} took, as far as it came. */
function* netif_disconnect(t: Thread, be: Netback): Steps {
  if (be.thread !== null) yield* kthread_stop(t, be.thread);
  be.thread = null;
  if (be.evtchn !== 0) yield* unbind_from_irqhandler(t, be.evtchn);
  be.evtchn = 0;
  for (const ring of [be.tx, be.rx]) {
    if (ring !== null) yield* xenbus_unmap_ring_vfree(t, be.dev, ring.sring);
  }
  be.tx = be.rx = null;
  if (be.area !== null) yield* free_vm_area(t, be.area);
  be.area = null;
  const { rx_queue } = be;
  for (let f = rx_queue.shift(); f !== undefined; f = rx_queue.shift()) {
    yield* __free_page(t, f.page);
  }
}

/** The front end has said something. Context: interrupt. */
function* netif_be_int(t: Thread, be: Netback): Steps {
  enter(t, NETIF_BE_INT);
  charge(t, 6);
  be.kicked = true;
  yield* wake_up(t, be.wq);
  leave(t);
}

/** The thread of an interface. */
function* netbk_thread(t: Thread, be: Netback): Steps {
  enter(t, NETBK_THREAD);
  for (;;) {
    yield* wait_event(t, be.wq, () => be.kicked || kthread_should_stop(t));
    if (kthread_should_stop(t)) break;
    be.kicked = false;
    const good = (yield* net_tx_action(t, be)) && (yield* net_rx_action(t, be));
    if (good) continue;
    const what = "the front end's ring has more requests than room";
    yield* xenbus_dev_fatal(t, be.dev, err(EPROTO), what);
    yield* wait_event(t, be.wq, () => kthread_should_stop(t));
    break;
  }
  leave(t);
}

/** What is wrong with a frame to send; `null` = nothing that can be seen. */
export function badFrame(
  { offset, size, flags }: NetifTxRequest,
  pageBytes: number,
): string | null {
  if ((flags & NETTXF_more_data) !== 0) return "frame of several pages";
  if (size < ETH_HLEN) return `Bad packet size: ${size}`;
  if (size > ETH_FRAME_LEN) return `Bad packet size: ${size}`;
  if (offset + size <= pageBytes) return null;
  return `txreq.offset: ${offset}, size: ${size}, crosses a page boundary`;
}

/** Takes frames out of the tx ring until it is empty. @returns Whether its counters can be. */
function* net_tx_action(t: Thread, be: Netback): Steps<boolean> {
  enter(t, NET_TX_ACTION);
  const ring = be.tx!;
  let count = yield* RING_UNCONSUMED_REQUESTS(t, ring);
  while (count !== null && count > 0 && !kthread_should_stop(t)) {
    const batch: NetifTxRequest[] = [];
    for (let i = 0; i < Math.min(count, BATCH); i++) {
      batch.push(yield* readTxRequest(t, ring.entry(ring.req_cons)));
      ring.req_cons = next(ring.req_cons);
    }
    const good = yield* take_frames(t, be, batch);
    for (let i = 0; i < batch.length; i++) {
      const status = good[i] === null ? NETIF_RSP_ERROR : NETIF_RSP_OKAY;
      const at = ring.entry(ring.rsp_prod_pvt);
      yield* writeTxResponse(t, at, { id: batch[i].id, status });
      ring.rsp_prod_pvt = next(ring.rsp_prod_pvt);
    }
    if (yield* RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(t, ring)) {
      yield* notify_remote_via_evtchn(t, be.evtchn);
    }
    for (let i = 0; i < good.length; i++) {
      const frame = good[i];
      if (frame === null) be.counts.tx_errors++;
      else {
        be.counts.tx++;
        yield* to_guest(t, be, yield* be.peer(t, frame));
      }
    }
    const sound = yield* net_rx_action(t, be);
    yield* cond_resched(t);
    count = !sound ? null : yield* RING_FINAL_CHECK_FOR_REQUESTS(t, ring);
  }
  leave(t);
  return count !== null;
}

/** Copies a batch of frames out of the guest's pages. @returns For each, `null` = it cannot be. */
function* take_frames(
  t: Thread,
  be: Netback,
  batch: readonly NetifTxRequest[],
): Steps<(BackFrame | null)[]> {
  const { pageBytes } = t.machine.memory;
  const slot = (i: number) => be.area!.addr + i * pageBytes;
  const maps: (MapGrantRef | null)[] = [];
  for (let i = 0; i < batch.length; i++) {
    const wrong = badFrame(batch[i], pageBytes);
    if (wrong !== null) printk(t, KERN_DEBUG, `netback: ${wrong}`);
    maps.push(
      wrong !== null ? null : {
        host_addr: slot(i),
        flags: GNTMAP_host_map | GNTMAP_readonly,
        ref: batch[i].gref,
        dom: be.dev.otherend_id,
      },
    );
  }
  const ops = maps.filter((op) => op !== null);
  if (ops.length > 0) yield* HYPERVISOR_map_grant_ref(t, ops);
  const frames: (BackFrame | null)[] = [];
  const unmaps: UnmapGrantRef[] = [];
  for (let i = 0; i < batch.length; i++) {
    const op = maps[i];
    let page: Page | null = null;
    if (op !== null && op.status === GNTST_okay) {
      unmaps.push({ host_addr: op.host_addr, handle: op.handle! });
      page = yield* alloc_page(t, GFP_KERNEL);
    }
    const { offset, size } = batch[i];
    if (page === null) frames.push(null);
    else {
      const from = slot(i) + offset;
      yield* copy_over(t, page_address(t.k, page), from, size);
      frames.push({ page, length: size });
    }
  }
  if (unmaps.length > 0) yield* HYPERVISOR_unmap_grant_ref(t, unmaps);
  return frames;
}

/** Queues frames for the guest. */
function* to_guest(
  t: Thread,
  be: Netback,
  frames: readonly BackFrame[],
): Steps {
  for (let i = 0; i < frames.length; i++) {
    if (be.rx_queue.length < RX_QUEUE) be.rx_queue.push(frames[i]);
    else {
      be.counts.dropped++;
      yield* __free_page(t, frames[i].page);
    }
  }
}

/** Gives the guest what is queued, as far as it has pages for it. @returns Whether the rx ring's counters can be. */
function* net_rx_action(t: Thread, be: Netback): Steps<boolean> {
  enter(t, NET_RX_ACTION);
  const ring = be.rx!;
  let done = 0;
  let count: number | null = 0;
  while (be.rx_queue.length > 0) {
    count = yield* RING_FINAL_CHECK_FOR_REQUESTS(t, ring);
    if (count === null || count === 0) break;
    const n = Math.min(count, be.rx_queue.length, BATCH);
    const copies: GrantCopy[] = [];
    const ids: number[] = [];
    for (let i = 0; i < n; i++) {
      const { id, gref } = yield* readRxRequest(t, ring.entry(ring.req_cons));
      ring.req_cons = next(ring.req_cons);
      const { page, length } = be.rx_queue[i];
      copies.push({
        source: { u: page.pfn, domid: DOMID_SELF, offset: 0 },
        dest: { u: gref, domid: be.dev.otherend_id, offset: 0 },
        len: length,
        flags: GNTCOPY_dest_gref,
      });
      ids.push(id);
    }
    yield* HYPERVISOR_grant_copy(t, copies);
    for (let i = 0; i < n; i++) {
      const { page, length } = be.rx_queue.shift()!;
      yield* __free_page(t, page);
      const good = copies[i].status === GNTST_okay;
      if (good) be.counts.rx++;
      else be.counts.rx_errors++;
      const status = good ? length : NETIF_RSP_ERROR;
      const at = ring.entry(ring.rsp_prod_pvt);
      yield* writeRxResponse(t, at, {
        id: ids[i],
        offset: 0,
        flags: 0,
        status,
      });
      ring.rsp_prod_pvt = next(ring.rsp_prod_pvt);
    }
    done += n;
  }
  if (done > 0 && (yield* RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(t, ring))) {
    yield* notify_remote_via_evtchn(t, be.evtchn);
  }
  leave(t);
  return count !== null;
}
