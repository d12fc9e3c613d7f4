/**
 * Event channels as interrupts (drivers/xen/events.c).
 *
 * Xen's upcall is one interrupt; it looks at all pending ports that are bound to
 * the CPU it came to, of both domains, since both are this kernel's, and calls
 * their handlers one by one, interrupts off.
 *
 * Differs from Linux: a port has its handler directly, without a number in the
 * table of interrupts; a port that becomes pending while its handler runs is
 * found by the next turn of the loop, as in Linux.
 */
import {
  charge,
  charge_cycles,
  enter,
  ksym,
  leave,
  type Steps,
} from "../../arch/asm.ts";
import { NR_EVENT_CHANNELS } from "../../arch/xen/abi.ts";
import { BUG_ON } from "../bug.ts";
import { err, type Errno } from "../lib/errno.ts";
import type { Thread } from "../thread.ts";
import { domain_of, HYPERVISOR_event_channel_op } from "./hypercall.ts";
import { xen_state } from "./setup.ts";

const XEN_EVTCHN_DO_UPCALL = ksym("xen_evtchn_do_upcall");
const NOTIFY_REMOTE_VIA_EVTCHN = ksym("notify_remote_via_evtchn");

/** What a port's event is handled by. Context: interrupt. */
export type EvtchnHandler = (t: Thread, port: number) => Steps;

function key(domid: number, port: number): number {
  return domid * NR_EVENT_CHANNELS + port;
}

/** Makes a port that domain `remote` may bind. @returns It, or a negative error. */
export function* xen_alloc_evtchn(
  t: Thread,
  remote: number,
): Steps<number | Errno> {
  const op = { cmd: "alloc_unbound" as const, remote_dom: remote, port: 0 };
  const error = yield* HYPERVISOR_event_channel_op(t, op);
  return error < 0 ? err(-error) : op.port;
}

/** Binds to port `remote_port` of domain `remote`. @returns This end, or a negative error. */
export function* bind_interdomain_evtchn(
  t: Thread,
  remote: number,
  remote_port: number,
): Steps<number | Errno> {
  const op = {
    cmd: "bind_interdomain" as const,
    remote_dom: remote,
    remote_port,
    local_port: 0,
  };
  const error = yield* HYPERVISOR_event_channel_op(t, op);
  return error < 0 ? err(-error) : op.local_port;
}

/**
 * Has `handler` called for events of `port`, of `t`'s domain.
 *
 * @returns `port`, which stands for the interrupt's number too.
 */
export function* bind_evtchn_to_irqhandler(
  t: Thread,
  port: number,
  handler: EvtchnHandler,
): Steps<number> {
  const { handlers } = xen_state(t);
  const at = key(t.domid, port);
  BUG_ON(t, handlers.has(at), `event channel ${port} has a handler already`);
  charge(t, 40);
  handlers.set(at, handler);
  // What came before has waited, masked or not: look at it now.
  yield* HYPERVISOR_event_channel_op(t, { cmd: "unmask", port });
  return port;
}

/** Binds a virtual interrupt of a CPU. @returns Its port, or a negative error. */
export function* bind_virq_to_irqhandler(
  t: Thread,
  virq: number,
  cpu: number,
  handler: EvtchnHandler,
): Steps<number | Errno> {
  const op = { cmd: "bind_virq" as const, virq, vcpu: cpu, port: 0 };
  const error = yield* HYPERVISOR_event_channel_op(t, op);
  if (error < 0) return err(-error);
  return yield* bind_evtchn_to_irqhandler(t, op.port, handler);
}

/** Moves events of `port` to `cpu`. */
export function* rebind_evtchn_to_cpu(
  t: Thread,
  port: number,
  cpu: number,
): Steps<0 | Errno> {
  const op = { cmd: "bind_vcpu" as const, port, vcpu: cpu };
  const error = yield* HYPERVISOR_event_channel_op(t, op);
  return error < 0 ? err(-error) : 0;
}

/** Ends {@linkcode bind_evtchn_to_irqhandler} and closes the port. */
export function* unbind_from_irqhandler(t: Thread, port: number): Steps {
  const { handlers } = xen_state(t);
  handlers.delete(key(t.domid, port));
  yield* HYPERVISOR_event_channel_op(t, { cmd: "close", port });
}

/** Sends an event to the other end of `port`. Context: any. */
export function* notify_remote_via_evtchn(
  t: Thread,
  port: number,
): Steps<0 | Errno> {
  enter(t, NOTIFY_REMOTE_VIA_EVTCHN);
  charge(t, 6);
  const error = yield* HYPERVISOR_event_channel_op(t, { cmd: "send", port });
  leave(t);
  return error < 0 ? err(-error) : 0;
}

/** The upcall: handles all ports pending on this CPU. Context: interrupt, interrupts off. */
export function* xen_evtchn_do_upcall(t: Thread): Steps {
  enter(t, XEN_EVTCHN_DO_UPCALL);
  const x = t.machine.xen!;
  const { handlers } = xen_state(t);
  const cpu = t.cpu.id;
  const { domid } = t;
  do {
    // Cleared first: an event from here on brings another upcall.
    x.upcallPending[cpu] = 0;
    charge(t, 30);
    charge_cycles(t, t.machine.lockedCycles); // xchg of the pending selector
    for (const d of x.domains.values()) {
      for (const port of [...d.pending]) {
        const bound = d.ports[port];
        if (bound === null || bound.vcpu !== cpu || bound.masked) continue;
        const handler = handlers.get(key(d.domid, port));
        if (handler === undefined) continue; // stays pending until it has one
        d.pending.delete(port);
        charge(t, 25);
        charge_cycles(t, t.machine.lockedCycles);
        t.domid = d.domid;
        yield* handler(t, port);
        t.domid = domid;
      }
    }
  } while (x.upcallPending[cpu] !== 0);
  leave(t);
}

/** Ports of `t`'s domain: for tests and reports. */
export function nr_evtchns(t: Thread): number {
  return domain_of(t).ports.filter((port) => port !== null).length;
}
