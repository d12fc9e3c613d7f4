/**
 * What every front end does on its way up, before it tells its back end: makes a
 * ring in a page of its own, and an event channel.
 *
 * What has been made is in the fields of whoever asks as soon as it is made, so
 * that one clean-up serves however far it came.
 */
import type { Steps } from "../../../arch/asm.ts";
import { ENOMEM, err, type Errno, IS_ERR_VALUE } from "../../lib/errno.ts";
import { __GFP_HIGH, __GFP_ZERO, GFP_NOIO } from "../../mm/gfp.ts";
import { type Page, page_address } from "../../mm/page.ts";
import { alloc_page } from "../../mm/page_alloc.ts";
import type { Thread } from "../../thread.ts";
import { bind_evtchn_to_irqhandler } from "../../xen/events.ts";
import { FrontRing, SHARED_RING_INIT } from "./ring.ts";
import type { XenbusDevice } from "./xenbus.ts";
import { xenbus_alloc_evtchn, xenbus_grant_ring } from "./xenbus_client.ts";

/** A front end's side of one ring. */
export interface RingOwner {
  ring_page: Page | null;
  ring: FrontRing;
  /** Grant of the page; 0 = none yet. */
  ring_ref: number;
}

/** Whoever has an event channel. */
export interface PortOwner {
  /** 0 = none. */
  evtchn: number;
}

/** Makes `owner`'s ring, of entries of so many bytes, and grants it. Context: process. */
export function* setup_ring(
  t: Thread,
  dev: XenbusDevice,
  owner: RingOwner,
  entryBytes: number,
): Steps<0 | Errno> {
  const page = yield* alloc_page(t, GFP_NOIO | __GFP_HIGH | __GFP_ZERO);
  if (page === null) return err(ENOMEM);
  owner.ring_page = page;
  const sring = page_address(t.k, page);
  yield* SHARED_RING_INIT(t, sring);
  owner.ring = new FrontRing(sring, t.machine.memory.pageBytes, entryBytes);
  const ref = yield* xenbus_grant_ring(t, dev, page);
  if (IS_ERR_VALUE(ref)) return ref;
  owner.ring_ref = ref;
  return 0;
}

/** Makes `owner`'s event channel, whose events `handler` takes. Context: process. */
export function* setup_evtchn(
  t: Thread,
  dev: XenbusDevice,
  owner: PortOwner,
  handler: (t: Thread) => Steps,
): Steps<0 | Errno> {
  const port = yield* xenbus_alloc_evtchn(t, dev);
  if (IS_ERR_VALUE(port)) return port;
  owner.evtchn = port;
  yield* bind_evtchn_to_irqhandler(t, port, handler);
  return 0;
}
