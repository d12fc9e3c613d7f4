/**
 * Granting pages to another domain (drivers/xen/grant-table.c,
 * arch/x86/xen/grant-table.c).
 *
 * The entries lie in frames of Xen's, which each domain maps into its vmalloc
 * space at the first use. They are written and read there, through the TLB.
 *
 * Lock order: gnttab_list_lock guards the list of free references; nothing is
 * taken inside.
 *
 * Differs from Linux: the list of free references is an array on one cache
 * line, not pages; the table has all its frames from the start instead of
 * growing; callbacks for whoever waits for a reference are left out.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  pte_run,
  type PteRun,
  type Steps,
  touch_write,
  vload,
  vstore,
} from "../../arch/asm.ts";
import type { MachineContext } from "../../arch/asm.ts";
import {
  GRANT_ENTRY_BYTES,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_writing,
} from "../../arch/xen/abi.ts";
import { PAGE_KERNEL } from "../../arch/hw/pte.ts";
import { BUG, BUG_ON } from "../bug.ts";
import { ENOMEM, ENOSPC, err, type Errno } from "../lib/errno.ts";
import {
  spin_lock_irqsave,
  spin_unlock_irqrestore,
  Spinlock,
} from "../locking/spinlock.ts";
import { insert_pte } from "../mm/pgtable.ts";
import { alloc_vm_area, free_vm_area } from "../mm/vm_area.ts";
import { KERN_ALERT, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import { HYPERVISOR_setup_table } from "./hypercall.ts";
import { xen_state } from "./setup.ts";

const GNTTAB_INIT = ksym("gnttab_init");
const GET_FREE_ENTRIES = ksym("get_free_entries");
const GNTTAB_GRANT_FOREIGN_ACCESS_REF = ksym("gnttab_grant_foreign_access_ref");
const GNTTAB_END_FOREIGN_ACCESS_REF = ksym("gnttab_end_foreign_access_ref");

/** Entries at the start that are kept for uses agreed on in advance. */
export const NR_RESERVED_ENTRIES = 8;
/** Frames that a table has here. */
const NR_GRANT_FRAMES = 8;

/** One domain's table. */
export class GnttabState {
  readonly lock: Spinlock;
  /** Free references; guarded by the lock. */
  readonly free: number[] = [];

  constructor(
    t: Thread,
    /** Where the entries are mapped. */
    readonly shared: number,
    /** Xen's frames below. */
    readonly frames: readonly number[],
  ) {
    this.lock = new Spinlock(t.k, "gnttab_list_lock");
    const entries = frames.length * t.machine.memory.pageBytes /
      GRANT_ENTRY_BYTES;
    for (let ref = entries - 1; ref >= NR_RESERVED_ENTRIES; ref--) {
      this.free.push(ref);
    }
  }
}

/** Every domain's table, by number, and what only one of them may be doing: setting its table up. */
export class GrantTables {
  readonly tables: Map<number, GnttabState> = new Map();
}

/** The table of `t`'s domain, set up at the first call. Context: process; may sleep then. @returns -ENOMEM if there is no room to map it. */
export function* gnttab_init(t: Thread): Steps<GnttabState | Errno> {
  const { domid } = t;
  const xen = xen_state(t);
  const known = (xen.grants ??= new GrantTables()).tables.get(domid);
  if (known !== undefined) return known;
  enter(t, GNTTAB_INIT);
  const frames = yield* HYPERVISOR_setup_table(t, NR_GRANT_FRAMES);
  if (frames === null) BUG(t, "no grant table");
  const { pageBytes } = t.machine.memory;
  const area = yield* alloc_vm_area(t, frames.length * pageBytes);
  if (area === null) {
    leave(t);
    return err(ENOMEM);
  }
  for (let i = 0; i < frames.length; i++) {
    const at = area.addr + i * pageBytes;
    const set = yield* insert_pte(t, t.k.init_mm, at, frames[i], PAGE_KERNEL);
    BUG_ON(t, set !== 1, "grant table is mapped already");
  }
  const state = new GnttabState(t, area.addr, frames);
  const other = xen.grants.tables.get(domid);
  if (other === undefined) xen.grants.tables.set(domid, state);
  else yield* free_vm_area(t, area); // somebody else was faster
  leave(t);
  return other ?? state;
}

/** The table of `t`'s domain, which has been set up: the caller has a reference. */
function table_of(t: Thread): GnttabState {
  const state = xen_state(t).grants?.tables.get(t.domid);
  if (state === undefined) BUG(t, "a grant reference without a grant table");
  return state;
}

/** Takes a free reference. @returns It, -ENOSPC, or -ENOMEM: see {@linkcode gnttab_init}. */
export function* gnttab_alloc_grant_reference(
  t: Thread,
): Steps<number | Errno> {
  const state = yield* gnttab_init(t);
  if (typeof state === "number") return state;
  enter(t, GET_FREE_ENTRIES);
  const flags = yield* spin_lock_irqsave(t, state.lock);
  charge(t, 14);
  const ref = state.free.pop();
  yield* spin_unlock_irqrestore(t, state.lock, flags);
  leave(t);
  return ref ?? err(ENOSPC);
}

/** Gives a reference back whose access has ended. */
export function* gnttab_free_grant_reference(
  t: Thread,
  ref: number,
): Steps {
  const state = table_of(t);
  const flags = yield* spin_lock_irqsave(t, state.lock);
  charge(t, 8);
  state.free.push(ref);
  yield* spin_unlock_irqrestore(t, state.lock, flags);
}

/** References that nobody has; of `t`'s domain. */
export function* gnttab_free_count(t: Thread): Steps<number> {
  const state = yield* gnttab_init(t);
  return typeof state === "number" ? 0 : state.free.length;
}

/** Writes entry `ref`: domain `domid` may use `frame`. The flags come last, as Xen may look at any time. */
export function* gnttab_grant_access_ref(
  t: Thread,
  ref: number,
  domid: number,
  frame: number,
  readonly: boolean,
): Steps {
  const state = table_of(t);
  enter(t, GNTTAB_GRANT_FOREIGN_ACCESS_REF);
  charge(t, 12);
  const at = state.shared + ref * GRANT_ENTRY_BYTES;
  yield* vstore(t, at + 4, 4, frame);
  yield* vstore(t, at + 2, 2, domid);
  const flags = GTF_permit_access | (readonly ? GTF_readonly : 0);
  yield* vstore(t, at, 2, flags);
  leave(t);
}

/**
 * Lets domain `domid` map or copy `frame`.
 *
 * @returns The reference to tell it, -ENOSPC or -ENOMEM.
 */
export function* gnttab_grant_foreign_access_ref(
  t: Thread,
  domid: number,
  frame: number,
  readonly: boolean,
): Steps<number | Errno> {
  const ref = yield* gnttab_alloc_grant_reference(t);
  if (ref < 0) return ref as Errno;
  yield* gnttab_grant_access_ref(t, ref, domid, frame, readonly);
  return ref;
}

/** Whether `ref` is in use by the domain it was granted to. */
export function* gnttab_query_foreign_access(
  t: Thread,
  ref: number,
): Steps<boolean> {
  const state = table_of(t);
  charge(t, 6);
  const at = state.shared + ref * GRANT_ENTRY_BYTES;
  const flags = yield* vload(t, at, 2);
  return (flags & (GTF_reading | GTF_writing)) !== 0;
}

/** `cmpxchg` of an entry's flags to nothing, unless it is in use. */
class RevokeRun implements PteRun {
  /** @returns Whether the entry is free now. */
  run(t: MachineContext, pfn: number, index: number): boolean {
    const { machine } = t;
    const { memory } = machine;
    const at = pfn * memory.pageBytes + index * GRANT_ENTRY_BYTES;
    touch_write(t, machine.lineAt(at));
    t.spend(machine.lockedCycles);
    if ((memory.read16(at) & (GTF_reading | GTF_writing)) !== 0) return false;
    memory.write16(at, 0);
    return true;
  }
}

const REVOKE = new RevokeRun();

/**
 * Takes back what {@linkcode gnttab_grant_foreign_access_ref} gave; the
 * reference stays allocated.
 *
 * @returns Whether it could: false, after a warning, while it is in use.
 */
export function* gnttab_end_foreign_access_ref(
  t: Thread,
  ref: number,
): Steps<boolean> {
  const state = table_of(t);
  enter(t, GNTTAB_END_FOREIGN_ACCESS_REF);
  charge(t, 14);
  const perFrame = t.machine.memory.pageBytes / GRANT_ENTRY_BYTES;
  const frame = state.frames[Math.floor(ref / perFrame)];
  const free = yield* pte_run<boolean>(t, REVOKE, frame, ref % perFrame);
  if (!free) printk(t, KERN_ALERT, "WARNING: g.e. still in use!");
  leave(t);
  return free;
}

/**
 * Takes a grant back and frees its reference.
 *
 * @returns Whether it could; if not, the grant and the page must be left alone.
 */
export function* gnttab_end_foreign_access(
  t: Thread,
  ref: number,
): Steps<boolean> {
  if (yield* gnttab_end_foreign_access_ref(t, ref)) {
    yield* gnttab_free_grant_reference(t, ref);
    return true;
  }
  printk(t, KERN_ALERT, "WARNING: leaking g.e. and page still in use!");
  return false;
}
