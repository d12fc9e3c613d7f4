/**
 * netfront's frames on their way out and in (drivers/net/xen-netfront.c of
 * 2.6.28). See netfront.ts for how the two ends come together.
 *
 * Frames to send are granted for reading, a page each, until their response.
 * Pages for frames to come are granted beforehand; the other domain copies into
 * them (`request-rx-copy`).
 *
 * Lock order; both with interrupts off, neither inside the other:
 *
 *     np.tx_lock       tx ring, pages under way
 *     np.rx_lock       rx ring, pages that wait, frames that came
 *
 * Differs from Linux: there is no network stack above. netfront_send() and
 * netfront_receive() stand where it would be, and a frame is a page with a
 * length. What came is taken in by the interrupt itself, not by a poll after
 * it; pages that wait are as many all the time. A back end that writes nonsense
 * loses the device. Left out: frames of several pages (sg, gso), checksum
 * offload.
 */
import { charge, enter, ksym, leave, type Steps } from "../../../arch/asm.ts";
import {
  EINVAL,
  ENODEV,
  ENOMEM,
  EPROTO,
  err,
  type Errno,
} from "../../lib/errno.ts";
import {
  spin_lock_irqsave,
  spin_unlock_irqrestore,
  Spinlock,
} from "../../locking/spinlock.ts";
import { GFP_ATOMIC, GFP_KERNEL } from "../../mm/gfp.ts";
import { type Page, page_address } from "../../mm/page.ts";
import { __free_page, alloc_page } from "../../mm/page_alloc.ts";
import { KERN_WARNING, printk } from "../../printk.ts";
import {
  wait_event,
  wait_event_timeout,
  WaitQueue,
  wake_up_all,
} from "../../sched/wait.ts";
import type { Thread } from "../../thread.ts";
import { notify_remote_via_evtchn } from "../../xen/events.ts";
import {
  gnttab_end_foreign_access,
  gnttab_grant_foreign_access_ref,
} from "../../xen/grant_table.ts";
import { copy_in } from "./copy.ts";
import {
  NETIF_RSP_OKAY,
  readRxResponse,
  readTxResponse,
  writeRxRequest,
  writeTxRequest,
} from "./netif.ts";
import {
  type FrontRing,
  next,
  RING_FINAL_CHECK_FOR_RESPONSES,
  RING_PUSH_REQUESTS_AND_CHECK_NOTIFY,
} from "./ring.ts";
import { xenbus_dev_fatal, type XenbusDevice } from "./xenbus.ts";
import { xs_defer } from "./xenstore.ts";

const XENNET_INTERRUPT = ksym("xennet_interrupt");
const XENNET_GET_RESPONSES = ksym("xennet_get_responses");
const XENNET_ALLOC_RX_BUFFERS = ksym("xennet_alloc_rx_buffers");
const XENNET_TX_BUF_GC = ksym("xennet_tx_buf_gc");
const XENNET_START_XMIT = ksym("xennet_start_xmit");

/** Shortest and longest frame: the header, and the header with an MTU of 1500. */
export const ETH_HLEN = 14;
export const ETH_FRAME_LEN = 1514;
/** Pages that wait for frames (RX_DFL_MIN_TARGET). */
const RX_TARGET = 64;

/** A page at the other domain's disposal. */
interface Slot {
  page: Page | null;
  gref: number;
}

/** A frame that has come: the receiver's page. */
export interface NetFrame {
  readonly page: Page;
  readonly offset: number;
  readonly length: number;
}

/** One direction of the interface. */
class Direction {
  ring_page: Page | null = null;
  ring_ref = 0;
  ring!: FrontRing;
  readonly slots: Slot[] = [];
  readonly free_ids: number[] = [];
}

/** One interface's front end. */
export class Netfront {
  readonly tx_lock: Spinlock;
  readonly rx_lock: Spinlock;
  /** Waiting for room in the tx ring, or for frames. */
  readonly tx_wait: WaitQueue;
  readonly rx_wait: WaitQueue;
  readonly tx: Direction = new Direction();
  readonly rx: Direction = new Direction();
  evtchn = 0;
  /** Guarded by either lock to read, both to write. */
  carrier = false;
  /** Frames that nobody has taken yet. Guarded by rx_lock. */
  readonly received: NetFrame[] = [];
  /** Frames answered with success and with an error; frames and errors that came. */
  readonly counts = { sent: 0, tx_errors: 0, received: 0, rx_errors: 0 };
  /** Slots whose grants the back end had mapped when it went. */
  readonly stuck: Slot[] = [];

  constructor(t: Thread, readonly dev: XenbusDevice) {
    this.tx_lock = new Spinlock(t.k, "np->tx_lock");
    this.rx_lock = new Spinlock(t.k, "np->rx_lock");
    this.tx_wait = new WaitQueue(t.k, "netif tx");
    this.rx_wait = new WaitQueue(t.k, "netif rx");
  }
}

/**
 * Sends a frame of {@linkcode ETH_HLEN} to {@linkcode ETH_FRAME_LEN} bytes;
 * waits for room in the ring.
 *
 * Context: process.
 *
 * @returns -EINVAL for another length; -ENOMEM; -ENODEV if the other
 *   end has gone.
 */
export function* netfront_send(
  t: Thread,
  np: Netfront,
  frame: Uint8Array,
): Steps<0 | Errno> {
  const { length } = frame;
  if (length < ETH_HLEN || length > ETH_FRAME_LEN) return err(EINVAL);
  const page = yield* alloc_page(t, GFP_KERNEL);
  if (page === null) return err(ENOMEM);
  yield* copy_in(t, page_address(t.k, page), frame);
  let error: 0 | Errno | null = null;
  while (error === null) {
    yield* wait_event(
      t,
      np.tx_wait,
      () => np.tx.free_ids.length > 0 || !np.carrier,
    );
    error = yield* xennet_start_xmit(t, np, page, length);
  }
  if (error !== 0) yield* __free_page(t, page);
  return error;
}

/** @returns `null` = there is no room after all; 0 = the page is the ring's. */
function* xennet_start_xmit(
  t: Thread,
  np: Netfront,
  page: Page,
  size: number,
): Steps<0 | Errno | null> {
  enter(t, XENNET_START_XMIT);
  charge(t, 50);
  const { tx } = np;
  const flags = yield* spin_lock_irqsave(t, np.tx_lock);
  let result: 0 | Errno | null = null;
  if (!np.carrier) result = err(ENODEV);
  else if (tx.free_ids.length > 0) {
    const { otherend_id } = np.dev;
    const gref = yield* gnttab_grant_foreign_access_ref(
      t,
      otherend_id,
      page.pfn,
      true,
    );
    if (gref < 0) result = err(ENOMEM);
    else {
      const id = tx.free_ids.pop()!;
      tx.slots[id].page = page;
      tx.slots[id].gref = gref;
      const at = tx.ring.entry(tx.ring.req_prod_pvt);
      yield* writeTxRequest(t, at, { gref, offset: 0, flags: 0, id, size });
      tx.ring.req_prod_pvt = next(tx.ring.req_prod_pvt);
      if (yield* RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(t, tx.ring)) {
        yield* notify_remote_via_evtchn(t, np.evtchn);
      }
      result = 0;
    }
  }
  yield* spin_unlock_irqrestore(t, np.tx_lock, flags);
  leave(t);
  return result;
}

/**
 * The next frame that came; waits for it up to `timeout` jiffies.
 *
 * Context: process.
 *
 * @returns `null` if none did.
 */
export function* netfront_receive(
  t: Thread,
  np: Netfront,
  timeout: number,
): Steps<NetFrame | null> {
  yield* wait_event_timeout(
    t,
    np.rx_wait,
    () => np.received.length > 0 || !np.carrier,
    timeout,
  );
  const flags = yield* spin_lock_irqsave(t, np.rx_lock);
  const frame = np.received.shift() ?? null;
  yield* spin_unlock_irqrestore(t, np.rx_lock, flags);
  return frame;
}

/** The back end has said something. Context: interrupt. */
export function* xennet_interrupt(t: Thread, np: Netfront): Steps {
  enter(t, XENNET_INTERRUPT);
  if (np.carrier) {
    let flags = yield* spin_lock_irqsave(t, np.tx_lock);
    let wrong = yield* xennet_tx_buf_gc(t, np);
    yield* spin_unlock_irqrestore(t, np.tx_lock, flags);
    flags = yield* spin_lock_irqsave(t, np.rx_lock);
    wrong ??= yield* xennet_get_responses(t, np);
    if (wrong === null) yield* xennet_alloc_rx_buffers(t, np);
    yield* spin_unlock_irqrestore(t, np.rx_lock, flags);
    if (wrong !== null) yield* distrust(t, np, wrong);
  }
  leave(t);
}

/** Takes back the pages of frames that were sent. Locks: tx_lock held. @returns What is wrong with the ring. */
function* xennet_tx_buf_gc(t: Thread, np: Netfront): Steps<string | null> {
  enter(t, XENNET_TX_BUF_GC);
  const { tx } = np;
  let wrong: string | null = null;
  for (;;) {
    const count = yield* RING_FINAL_CHECK_FOR_RESPONSES(t, tx.ring);
    if (count === null) wrong = "more tx responses than requests";
    if (count === null || count === 0 || wrong !== null) break;
    for (let i = 0; i < count && wrong === null; i++) {
      const rsp = yield* readTxResponse(t, tx.ring.entry(tx.ring.rsp_cons));
      tx.ring.rsp_cons = next(tx.ring.rsp_cons);
      const page = yield* take_slot(t, np, tx, rsp.id);
      if (page === null) wrong = "a tx response that nobody waits for";
      else {
        yield* __free_page(t, page);
        if (rsp.status === NETIF_RSP_OKAY) np.counts.sent++;
        else np.counts.tx_errors++;
      }
    }
    yield* wake_up_all(t, np.tx_wait);
  }
  leave(t);
  return wrong;
}

/** Takes in the frames that came. Locks: rx_lock held. @returns What is wrong with the ring. */
function* xennet_get_responses(t: Thread, np: Netfront): Steps<string | null> {
  enter(t, XENNET_GET_RESPONSES);
  const { rx } = np;
  const { pageBytes } = t.machine.memory;
  let wrong: string | null = null;
  for (;;) {
    const count = yield* RING_FINAL_CHECK_FOR_RESPONSES(t, rx.ring);
    if (count === null) wrong = "more rx responses than requests";
    if (count === null || count === 0 || wrong !== null) break;
    for (let i = 0; i < count && wrong === null; i++) {
      const rsp = yield* readRxResponse(t, rx.ring.entry(rx.ring.rsp_cons));
      rx.ring.rsp_cons = next(rx.ring.rsp_cons);
      charge(t, 30);
      const page = yield* take_slot(t, np, rx, rsp.id);
      const { offset, status } = rsp;
      if (page === null) wrong = "an rx response that nobody waits for";
      else if (status < ETH_HLEN || offset + status > pageBytes) {
        np.counts.rx_errors++;
        yield* __free_page(t, page);
      } else {
        np.counts.received++;
        np.received.push({ page, offset, length: status });
      }
    }
    yield* wake_up_all(t, np.rx_wait);
  }
  leave(t);
  return wrong;
}

/** Has {@linkcode RX_TARGET} pages wait for frames, if there is memory. Locks: rx_lock held. */
export function* xennet_alloc_rx_buffers(t: Thread, np: Netfront): Steps {
  enter(t, XENNET_ALLOC_RX_BUFFERS);
  const { rx } = np;
  const { ring } = rx;
  const before = ring.req_prod_pvt;
  while (ring.nr_ents - ring.free < RX_TARGET) {
    const page = yield* alloc_page(t, GFP_ATOMIC);
    if (page === null) break;
    const gref = yield* gnttab_grant_foreign_access_ref(
      t,
      np.dev.otherend_id,
      page.pfn,
      false,
    );
    if (gref < 0) {
      yield* __free_page(t, page);
      break;
    }
    const id = rx.free_ids.pop()!;
    rx.slots[id].page = page;
    rx.slots[id].gref = gref;
    yield* writeRxRequest(t, ring.entry(ring.req_prod_pvt), { id, gref });
    ring.req_prod_pvt = next(ring.req_prod_pvt);
  }
  if (ring.req_prod_pvt !== before) {
    if (yield* RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(t, ring)) {
      yield* notify_remote_via_evtchn(t, np.evtchn);
    }
  }
  leave(t);
}

/** Takes the page of slot `id` back, and its grant. @returns `null` if there is none, or it cannot be. */
export function* take_slot(
  t: Thread,
  np: Netfront,
  side: Direction,
  id: number,
): Steps<Page | null> {
  const slot = side.slots[id];
  if (slot === undefined || slot.page === null) return null;
  const { page, gref } = slot;
  slot.page = null;
  side.free_ids.push(id);
  if (yield* gnttab_end_foreign_access(t, gref)) return page;
  np.stuck.push({ page, gref });
  return null;
}

/** The back end writes nonsense: it gets nothing any more. */
function* distrust(t: Thread, np: Netfront, why: string): Steps {
  const { dev } = np;
  printk(t, KERN_WARNING, `netfront: ${dev.nodename}: ${why}`);
  np.carrier = false;
  yield* xs_defer(
    t,
    dev.bus.xs,
    (t) => xenbus_dev_fatal(t, dev, err(EPROTO), `bad ring: ${why}`),
  );
  yield* wake_up_all(t, np.tx_wait);
  yield* wake_up_all(t, np.rx_wait);
}

/** No frame comes or goes any more; whoever waits hears of it. */
export function* carrier_off(t: Thread, np: Netfront): Steps {
  const flags = yield* spin_lock_irqsave(t, np.tx_lock);
  np.carrier = false;
  yield* spin_unlock_irqrestore(t, np.tx_lock, flags);
  yield* wake_up_all(t, np.tx_wait);
  yield* wake_up_all(t, np.rx_wait);
}
