/**
 * Event channels: interrupts between domains (xen/common/event_channel.c).
 *
 * A port that is sent on becomes pending at its other end; unless that one is
 * masked, the virtual CPU it is bound to gets an upcall, which is an interrupt
 * on the CPU of the same number. One upcall serves all ports that are pending by
 * the time it runs.
 *
 * Differs from Xen: pending and mask bits stand here, not in a page that the
 * guest shares. Left out: physical interrupts, virtual interprocessor ones.
 */
import type { MachineContext } from "../op.ts";
import {
  NR_EVENT_CHANNELS,
  NR_VIRQS,
  XEN_EEXIST,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSPC,
  XEN_ESRCH,
} from "./abi.ts";
import type { Domain } from "./domain.ts";
import type { Hypervisor } from "./hypervisor.ts";

/** One end of a channel. */
export interface EventPort {
  state: "unbound" | "interdomain" | "virq";
  /** Who may bind, or has bound, the other end. */
  remoteDom: number;
  /** The other end; 0 = none. */
  remotePort: number;
  /** CPU that gets the upcall. */
  vcpu: number;
  virq: number;
  masked: boolean;
}

/** An operation of event_channel_op(); what it returns is in the last field. */
export type EventChannelOp =
  | {
    readonly cmd: "alloc_unbound";
    readonly remote_dom: number;
    port?: number;
  }
  | {
    readonly cmd: "bind_interdomain";
    readonly remote_dom: number;
    readonly remote_port: number;
    local_port?: number;
  }
  | {
    readonly cmd: "bind_virq";
    readonly virq: number;
    readonly vcpu: number;
    port?: number;
  }
  | { readonly cmd: "bind_vcpu"; readonly port: number; readonly vcpu: number }
  | { readonly cmd: "send"; readonly port: number }
  | { readonly cmd: "unmask"; readonly port: number }
  | { readonly cmd: "close"; readonly port: number };

/** Makes a port. @returns Its number, or -ENOSPC. */
function get_port(d: Domain, port: EventPort): number {
  for (let i = 1; i < NR_EVENT_CHANNELS; i++) {
    if (i < d.ports.length && d.ports[i] !== null) continue;
    d.ports[i] = port;
    return i;
  }
  return -XEN_ENOSPC;
}

function new_port(
  state: EventPort["state"],
  remoteDom: number,
  remotePort: number,
): EventPort {
  return { state, remoteDom, remotePort, vcpu: 0, virq: -1, masked: false };
}

/** Plain: whoever calls holds the event locks. @returns 0 or a negative error. */
export function event_channel_op(
  x: Hypervisor,
  t: MachineContext,
  d: Domain,
  op: EventChannelOp,
): number {
  t.spend(x.costs.updateCycles);
  switch (op.cmd) {
    case "alloc_unbound": {
      const remote = x.domainOf(d, op.remote_dom);
      if (remote === null) return -XEN_ESRCH;
      const port = get_port(d, new_port("unbound", remote.domid, 0));
      if (port < 0) return port;
      op.port = port;
      return 0;
    }
    case "bind_interdomain":
      return bind_interdomain(x, t, d, op);
    case "bind_virq":
      return bind_virq(x, d, op);
    case "bind_vcpu": {
      const port = d.ports[op.port] ?? null;
      if (port === null) return -XEN_EINVAL;
      if (!(op.vcpu >= 0 && op.vcpu < x.machine.nrCpus)) return -XEN_ENOENT;
      port.vcpu = op.vcpu;
      // The old one's upcall would pass it by.
      if (d.pending.has(op.port) && !port.masked) x.upcall(t, op.vcpu);
      return 0;
    }
    case "send":
      return send(x, t, d, op.port);
    case "unmask": {
      const port = d.ports[op.port] ?? null;
      if (port === null) return -XEN_EINVAL;
      port.masked = false;
      if (d.pending.has(op.port)) x.upcall(t, port.vcpu);
      return 0;
    }
    case "close":
      return close(x, d, op.port);
  }
}

function bind_interdomain(
  x: Hypervisor,
  t: MachineContext,
  d: Domain,
  op: EventChannelOp & { cmd: "bind_interdomain" },
): number {
  const remote = x.domainOf(d, op.remote_dom);
  if (remote === null) return -XEN_ESRCH;
  const theirs = remote.ports[op.remote_port] ?? null;
  if (
    theirs === null || theirs.state !== "unbound" ||
    theirs.remoteDom !== d.domid
  ) return -XEN_EINVAL;
  const port = get_port(
    d,
    new_port("interdomain", remote.domid, op.remote_port),
  );
  if (port < 0) return port;
  theirs.state = "interdomain";
  theirs.remotePort = port;
  op.local_port = port;
  // What was sent before there was anybody is not lost.
  set_pending(x, t, d, port);
  return 0;
}

function bind_virq(
  x: Hypervisor,
  d: Domain,
  op: EventChannelOp & { cmd: "bind_virq" },
): number {
  if (!(op.virq >= 0 && op.virq < NR_VIRQS)) return -XEN_EINVAL;
  if (!(op.vcpu >= 0 && op.vcpu < x.machine.nrCpus)) return -XEN_ENOENT;
  const key = op.vcpu * NR_VIRQS + op.virq;
  if (d.virqs.has(key)) return -XEN_EEXIST;
  const made = new_port("virq", d.domid, 0);
  made.virq = op.virq;
  made.vcpu = op.vcpu;
  const port = get_port(d, made);
  if (port < 0) return port;
  d.virqs.set(key, port);
  op.port = port;
  return 0;
}

function send(
  x: Hypervisor,
  t: MachineContext,
  d: Domain,
  number: number,
): number {
  const port = d.ports[number] ?? null;
  if (port === null) return -XEN_EINVAL;
  if (port.state === "unbound") return 0; // nobody there: silently dropped
  if (port.state === "virq") return -XEN_EINVAL;
  set_pending(x, t, x.domains.get(port.remoteDom)!, port.remotePort);
  return 0;
}

/** Raises `virq` of a virtual CPU, as Xen's own devices do. @returns Whether somebody has bound it. */
export function send_virq(
  x: Hypervisor,
  t: MachineContext,
  d: Domain,
  vcpu: number,
  virq: number,
): boolean {
  const port = d.virqs.get(vcpu * NR_VIRQS + virq);
  if (port === undefined) return false;
  set_pending(x, t, d, port);
  return true;
}

function set_pending(
  x: Hypervisor,
  t: MachineContext,
  d: Domain,
  number: number,
): void {
  const port = d.ports[number]!;
  if (d.pending.has(number)) return;
  d.pending.add(number);
  if (!port.masked) x.upcall(t, port.vcpu);
}

/** The other end is there to be bound again. */
function close(x: Hypervisor, d: Domain, number: number): number {
  const port = d.ports[number] ?? null;
  if (port === null) return -XEN_EINVAL;
  if (port.state === "interdomain") {
    const theirs = x.domains.get(port.remoteDom)!.ports[port.remotePort]!;
    theirs.state = "unbound";
    theirs.remotePort = 0;
  }
  if (port.state === "virq") {
    for (const [key, n] of d.virqs) if (n === number) d.virqs.delete(key);
  }
  d.pending.delete(number);
  d.ports[number] = null;
  return 0;
}
