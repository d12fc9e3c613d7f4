/**
 * Hypercalls as the kernel makes them (arch/x86/include/asm/xen/hypercall.h).
 *
 * Each is one trap, made in the name of the domain that the thread belongs to.
 * Interrupts are off while Xen runs: it is not interrupted for the guest's sake.
 *
 * Locks: what head of arch/xen/hypervisor.ts names, inside whatever is held.
 */
import {
  charge_cycles,
  enter,
  ksym,
  leave,
  local_irq_restore,
  local_irq_save,
  type Steps,
  type Sym,
} from "../../arch/asm.ts";
import { ticket_lock, ticket_unlock } from "../../arch/asm.ts";
import type {
  GrantCopy,
  MapGrantRef,
  MmuextOp,
  MmuUpdate,
  MulticallEntry,
  UnmapGrantRef,
} from "../../arch/xen/abi.ts";
import type { Domain, XenLock } from "../../arch/xen/domain.ts";
import type { EventChannelOp } from "../../arch/xen/event_channel.ts";
import type { Hypervisor } from "../../arch/xen/hypervisor.ts";
import { BUG } from "../bug.ts";
import type { Thread } from "../thread.ts";

const MMU_UPDATE = ksym("do_mmu_update");
const UPDATE_VA_MAPPING = ksym("do_update_va_mapping");
const MMUEXT_OP = ksym("do_mmuext_op");
const UPDATE_DESCRIPTOR = ksym("do_update_descriptor");
const MULTICALL = ksym("do_multicall");
const GRANT_TABLE_OP = ksym("do_grant_table_op");
const EVENT_CHANNEL_OP = ksym("do_event_channel_op");
const MEMORY_OP = ksym("do_memory_op");

/** The hypervisor below `t`. */
export function hypervisor_of(t: Thread): Hypervisor {
  return t.machine.xen ?? BUG(t, "a hypercall without a hypervisor");
}

/** The domain in whose name `t` makes hypercalls. */
export function domain_of(t: Thread): Domain {
  return hypervisor_of(t).domains.get(t.domid)!;
}

/** One trap: `call` runs in Xen under `lock`. */
function* trap(
  t: Thread,
  sym: Sym,
  pick: (d: Domain) => XenLock,
  call: (x: Hypervisor, d: Domain) => number,
): Steps<number> {
  const x = hypervisor_of(t);
  const d = domain_of(t);
  const lock = pick(d);
  enter(t, sym);
  const flags = local_irq_save(t);
  charge_cycles(t, x.costs.trapCycles);
  x.counters.hypercalls++;
  yield* ticket_lock(t, lock);
  const result = call(x, d);
  yield* ticket_unlock(t, lock);
  local_irq_restore(t, flags);
  leave(t);
  return result;
}

const big_lock = (d: Domain) => d.big_lock;
const grant_lock = (d: Domain) => d.grant_lock;
const evtchn_lock = (d: Domain) => d.evtchn_lock;

/** Writes page-table entries. @returns 0 or a negative error. */
export function HYPERVISOR_mmu_update(
  t: Thread,
  updates: readonly MmuUpdate[],
): Steps<number> {
  return trap(
    t,
    MMU_UPDATE,
    big_lock,
    (x, d) => x.mmu_update(t, d, updates),
  );
}

/** Writes the last-level entry of one address. @returns 0 or a negative error. */
export function HYPERVISOR_update_va_mapping(
  t: Thread,
  vaddr: number,
  lo: number,
  hi: number,
  flags: number,
): Steps<number> {
  return trap(
    t,
    UPDATE_VA_MAPPING,
    big_lock,
    (x, d) => x.update_va_mapping(t, d, vaddr, lo, hi, flags),
  );
}

/** Pins, unpins, flushes. @returns 0 or a negative error. */
export function HYPERVISOR_mmuext_op(
  t: Thread,
  ops: readonly MmuextOp[],
): Steps<number> {
  return trap(t, MMUEXT_OP, big_lock, (x, d) => x.mmuext_op(t, d, ops));
}

/** Writes a descriptor at a machine address. @returns 0 or a negative error. */
export function HYPERVISOR_update_descriptor(
  t: Thread,
  maddr: number,
  lo: number,
  hi: number,
): Steps<number> {
  return trap(
    t,
    UPDATE_DESCRIPTOR,
    big_lock,
    (x, d) => x.update_descriptor(t, d, maddr, lo, hi),
  );
}

/** Several calls for one trap. @returns 0; each call's result is in it. */
export function HYPERVISOR_multicall(
  t: Thread,
  calls: readonly MulticallEntry[],
): Steps<number> {
  return trap(t, MULTICALL, big_lock, (x, d) => x.multicall(t, d, calls));
}

/** GNTTABOP_setup_table. @returns The frames of this domain's table; `null` = too many. */
export function* HYPERVISOR_setup_table(
  t: Thread,
  nr_frames: number,
): Steps<readonly number[] | null> {
  let frames: readonly number[] | null = null;
  yield* trap(t, GRANT_TABLE_OP, grant_lock, (x, d) => {
    frames = x.setup_table(t, d, nr_frames);
    return 0;
  });
  return frames;
}

/** GNTTABOP_map_grant_ref. @returns 0; each operation's status and handle are in it. */
export function HYPERVISOR_map_grant_ref(
  t: Thread,
  ops: readonly MapGrantRef[],
): Steps<number> {
  return trap(
    t,
    GRANT_TABLE_OP,
    grant_lock,
    (x, d) => x.map_grant_ref(t, d, ops),
  );
}

/** GNTTABOP_unmap_grant_ref. @returns 0; each operation's status is in it. */
export function HYPERVISOR_unmap_grant_ref(
  t: Thread,
  ops: readonly UnmapGrantRef[],
): Steps<number> {
  return trap(
    t,
    GRANT_TABLE_OP,
    grant_lock,
    (x, d) => x.unmap_grant_ref(t, d, ops),
  );
}

/** GNTTABOP_copy. @returns 0; each operation's status is in it. */
export function HYPERVISOR_grant_copy(
  t: Thread,
  ops: readonly GrantCopy[],
): Steps<number> {
  return trap(
    t,
    GRANT_TABLE_OP,
    grant_lock,
    (x, d) => x.grant_copy(t, d, ops),
  );
}

/** Event channels. @returns 0 or a negative error. */
export function HYPERVISOR_event_channel_op(
  t: Thread,
  op: EventChannelOp,
): Steps<number> {
  return trap(
    t,
    EVENT_CHANNEL_OP,
    evtchn_lock,
    (x, d) => x.event_channel_op(t, d, op),
  );
}

/** Gives frames back, or takes the same again. @returns How many. */
export function HYPERVISOR_memory_op(
  t: Thread,
  cmd: "decrease_reservation" | "populate_physmap",
  frames: readonly number[],
): Steps<number> {
  return trap(
    t,
    MEMORY_OP,
    big_lock,
    (x, d) => x[cmd](t, d, frames),
  );
}
