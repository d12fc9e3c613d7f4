/** What Xen knows of one guest, and the locks of Xen itself. */
import { Cell } from "../hw/cell.ts";
import type { MachineContext, TicketLock } from "../op.ts";
import type { EventPort } from "./event_channel.ts";
import type { GrantTable } from "./grant_table.ts";

/** A ticket lock inside the hypervisor; whoever makes the hypercall takes it. */
export class XenLock implements TicketLock {
  readonly slock: Cell<number>;
  readonly local = false;
  /** Who has it; `null` = nobody. */
  owner: MachineContext | null = null;

  /** A free lock. */
  constructor(name: string) {
    this.slock = new Cell(name, 0);
    this.slock.holder = this;
  }

  taken(t: MachineContext, _contended: boolean): void {
    this.owner = t;
  }

  given(_t: MachineContext): void {
    this.owner = null;
  }

  describeHolder(): string | null {
    const owner = this.owner;
    return owner === null ? null : `held by ${owner.name} on ${owner.cpu.id}`;
  }
}

/** One guest. */
export class Domain {
  /** Guards its page tables: d->big_lock. */
  readonly big_lock: XenLock;
  /** Guards its event channels. */
  readonly evtchn_lock: XenLock;
  /** Guards its grant table. */
  readonly grant_lock: XenLock;
  /** By port; index 0 is not used. */
  readonly ports: (EventPort | null)[] = [null];
  /** Ports that are pending: for whoever looks. */
  readonly pending: Set<number> = new Set();
  /** Port of each virtual interrupt, by `vcpu * NR_VIRQS + virq`. */
  readonly virqs: Map<number, number> = new Map();
  /** Frames that it has given back. */
  readonly ballooned: Set<number> = new Set();

  constructor(
    readonly domid: number,
    /** Its grants, and what it has mapped of others'. */
    readonly grants: GrantTable,
  ) {
    this.big_lock = new XenLock(`d${domid}->big_lock`);
    this.evtchn_lock = new XenLock(`d${domid}->event_lock`);
    this.grant_lock = new XenLock(`d${domid}->grant_table->lock`);
  }
}
