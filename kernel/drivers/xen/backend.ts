/**
 * What every back end does alike: follows its front end's states, binds the event
 * channel that the front end has made, and has a thread of its own.
 */
import type { Steps } from "../../../arch/asm.ts";
import { kthread_run, type ThreadFunction } from "../../kthread.ts";
import { type Errno, IS_ERR_VALUE } from "../../lib/errno.ts";
import type { Thread } from "../../thread.ts";
import { bind_evtchn_to_irqhandler } from "../../xen/events.ts";
import type { PortOwner } from "./frontend.ts";
import {
  xenbus_switch_state,
  type XenbusDevice,
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateInitWait,
} from "./xenbus.ts";
import { xenbus_bind_evtchn } from "./xenbus_client.ts";

/**
 * The front end of `dev` has gone to `state`.
 *
 * @param ready State in which it can be connected to.
 */
export function* follow_frontend(
  t: Thread,
  dev: XenbusDevice,
  state: number,
  ready: number,
  connect: () => Steps,
  disconnect: () => Steps,
): Steps {
  switch (state) {
    case ready:
      if (dev.state === XenbusStateInitWait) yield* connect();
      break;
    case XenbusStateClosing:
    case XenbusStateClosed:
      yield* disconnect();
      yield* xenbus_switch_state(t, dev, state);
      break;
    default:
      break;
  }
}

/** Binds the front end's `port` for `owner`; `handler` takes its events. Context: process. */
export function* connect_evtchn(
  t: Thread,
  dev: XenbusDevice,
  owner: PortOwner,
  port: number,
  handler: (t: Thread) => Steps,
): Steps<0 | Errno> {
  const local = yield* xenbus_bind_evtchn(t, dev, port);
  if (IS_ERR_VALUE(local)) return local;
  owner.evtchn = local;
  yield* bind_evtchn_to_irqhandler(t, local, handler);
  return 0;
}

/** Runs `fn` as a thread that makes hypercalls in this domain's name. */
export function run_backend(
  t: Thread,
  fn: ThreadFunction,
  name: string,
): Steps<Thread> {
  const { domid } = t;
  return kthread_run(
    t,
    (p) => {
      p.domid = domid;
      return fn(p);
    },
    name,
  );
}
