/**
 * Grant tables, version 1 (xen/common/grant_table.c): a domain names frames that
 * another may map or copy, in entries of eight bytes that lie in frames of Xen's
 * own which the granter has mapped, bit for bit as the public header has them.
 *
 * A frame that is mapped says so in its entry (GTF_reading, GTF_writing): the
 * granter may not take it back then.
 *
 * Differs from Xen: no transfers, no device maps, no `contains_pte`; handles
 * count up and are never used again, so that a stale one is always found out.
 */
import {
  PROT_ACCESSED,
  PROT_DIRTY,
  PROT_NX,
  PROT_PRESENT,
  PROT_WRITE,
  type PtePair,
} from "../hw/pte.ts";
import type { MachineContext } from "../op.ts";
import {
  GNTCOPY_dest_gref,
  GNTCOPY_source_gref,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_copy_arg,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_handle,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GRANT_ENTRY_BYTES,
  type GrantCopy,
  type GrantCopyEnd,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_type_mask,
  GTF_writing,
  type MapGrantRef,
  type UnmapGrantRef,
} from "./abi.ts";
import type { Domain } from "./domain.ts";
import type { Hypervisor } from "./hypervisor.ts";

/** Most frames of one table, as Xen's default is. */
export const MAX_NR_GRANT_FRAMES = 32;

/** A grant in use. */
interface ActiveGrant {
  readonly frame: number;
  readonly domid: number;
  readers: number;
  writers: number;
}

/** What a domain has mapped. */
interface MapTrack {
  readonly ref: number;
  readonly dom: Domain;
  readonly frame: number;
  readonly readonly: boolean;
  readonly host_addr: number;
}

/** A domain's grants, and what it has mapped of others'. */
export class GrantTable {
  /** Frames that hold the entries, as far as the domain has asked for them. */
  nr_frames = 0;
  /** Grants in use, by reference. */
  readonly active: Map<number, ActiveGrant> = new Map();
  /** By handle. */
  readonly maptrack: Map<number, MapTrack> = new Map();
  next_handle = 0;

  /** @param frames Xen's frames for the entries. */
  constructor(readonly frames: readonly number[]) {}

  /** Entries that there is room for. */
  nr_entries(pageBytes: number): number {
    return this.nr_frames * pageBytes / GRANT_ENTRY_BYTES;
  }
}

/** GNTTABOP_setup_table. @returns The frames; `null` = too many asked for. */
export function setup_table(
  x: Hypervisor,
  t: MachineContext,
  d: Domain,
  nr_frames: number,
): readonly number[] | null {
  t.spend(x.costs.updateCycles);
  if (!(nr_frames >= 0 && nr_frames <= d.grants.frames.length)) {
    x.print(
      t,
      `grant_table.c:888:d${d.domid} Xen only supports up to ${d.grants.frames.length} grant-table frames per domain.`,
    );
    return null;
  }
  if (nr_frames > d.grants.nr_frames) d.grants.nr_frames = nr_frames;
  return d.grants.frames.slice(0, nr_frames);
}

/** Machine address of entry `ref` of `d`. */
function entry_addr(x: Hypervisor, d: Domain, ref: number): number {
  const { pageBytes } = x.machine.memory;
  const byte = ref * GRANT_ENTRY_BYTES;
  const frame = d.grants.frames[Math.floor(byte / pageBytes)];
  return frame * pageBytes + byte % pageBytes;
}

/** Counts another user of a grant and marks its entry. @returns The grant, or `GNTST_*`. */
function acquire(
  x: Hypervisor,
  t: MachineContext,
  d: Domain,
  granter: Domain,
  ref: number,
  readonly: boolean,
): ActiveGrant | number {
  const { memory } = x.machine;
  if (!(ref >= 0 && ref < granter.grants.nr_entries(memory.pageBytes))) {
    x.print(t, `grant_table.c:266:d${d.domid} Bad ref (${ref}).`);
    return GNTST_bad_gntref;
  }
  const at = entry_addr(x, granter, ref);
  t.spend(t.coherence.write(t.cpu, x.machine.lineAt(at)));
  const flags = memory.read16(at);
  const domid = memory.read16(at + 2);
  let grant = granter.grants.active.get(ref);
  const usable = (flags & GTF_type_mask) === GTF_permit_access;
  if (grant === undefined || grant.domid !== d.domid) {
    if (!usable || domid !== d.domid || grant !== undefined) {
      x.print(
        t,
        `grant_table.c:341:d${d.domid} Bad flags (${
          flags.toString(16)
        }) or dom (${domid}). (expected dom ${d.domid})`,
      );
      return GNTST_general_error;
    }
  }
  if (!readonly && (flags & GTF_readonly) !== 0) {
    x.print(
      t,
      `grant_table.c:353:d${d.domid} Attempt to write-pin a r/o grant entry.`,
    );
    return GNTST_general_error;
  }
  const frame = grant === undefined ? memory.read32(at + 4) : grant.frame;
  if (!x.isGuestFrame(frame)) {
    x.print(
      t,
      `grant_table.c:395:d${d.domid} Could not pin the granted frame (${
        frame.toString(16)
      })!`,
    );
    return GNTST_bad_page;
  }
  if (!readonly && !x.frames.getWritable(t, d, frame)) {
    return GNTST_general_error;
  }
  if (grant === undefined) {
    grant = { frame, domid, readers: 0, writers: 0 };
    granter.grants.active.set(ref, grant);
  }
  if (readonly) grant.readers++;
  else grant.writers++;
  memory.write16(at, flags | GTF_reading | (readonly ? 0 : GTF_writing));
  return grant;
}

/** Ends what {@linkcode acquire} began. */
function release(
  x: Hypervisor,
  t: MachineContext,
  granter: Domain,
  ref: number,
  readonly: boolean,
): void {
  const grant = granter.grants.active.get(ref)!;
  if (readonly) grant.readers--;
  else grant.writers--;
  const at = entry_addr(x, granter, ref);
  t.spend(t.coherence.write(t.cpu, x.machine.lineAt(at)));
  const { memory } = x.machine;
  let flags = memory.read16(at);
  if (grant.writers === 0) flags &= ~GTF_writing;
  if (grant.writers === 0 && grant.readers === 0) {
    flags &= ~GTF_reading;
    granter.grants.active.delete(ref);
  }
  memory.write16(at, flags);
}

/** GNTTABOP_map_grant_ref: writes the entry of `host_addr` in the caller's page table. */
export function map_grant_ref(
  x: Hypervisor,
  t: MachineContext,
  d: Domain,
  op: MapGrantRef,
): void {
  op.status = map_one(x, t, d, op);
}

function map_one(
  x: Hypervisor,
  t: MachineContext,
  d: Domain,
  op: MapGrantRef,
): number {
  t.spend(x.costs.updateCycles);
  const granter = x.domainOf(d, op.dom);
  if (granter === null) {
    x.print(
      t,
      `grant_table.c:258:d${d.domid} Could not find domain ${op.dom}`,
    );
    return GNTST_bad_domain;
  }
  if ((op.flags & GNTMAP_host_map) === 0) return GNTST_bad_gntref;
  const readonly = (op.flags & GNTMAP_readonly) !== 0;
  const grant = acquire(x, t, d, granter, op.ref, readonly);
  if (typeof grant === "number") return grant;
  const prot = PROT_PRESENT | PROT_ACCESSED | PROT_NX |
    (readonly ? 0 : PROT_WRITE | PROT_DIRTY);
  const pte: PtePair = { lo: 0, hi: 0 };
  x.machine.mmu.format.encode(grant.frame, prot, pte);
  if (!x.frames.writeLeaf(t, op.host_addr, pte.lo, pte.hi)) {
    x.print(
      t,
      `mm.c:2744:d${d.domid} Could not find L1 PTE for address ${
        x.address(op.host_addr)
      }`,
    );
    release(x, t, granter, op.ref, readonly);
    return GNTST_general_error;
  }
  op.handle = d.grants.next_handle++;
  d.grants.maptrack.set(op.handle, {
    ref: op.ref,
    dom: granter,
    frame: grant.frame,
    readonly,
    host_addr: op.host_addr,
  });
  op.dev_bus_addr = grant.frame * x.machine.memory.pageBytes;
  return GNTST_okay;
}

/** One of GNTTABOP_unmap_grant_ref: clears the entry. Whoever calls flushes every TLB, once for all of them. */
export function unmap_grant_ref(
  x: Hypervisor,
  t: MachineContext,
  d: Domain,
  op: UnmapGrantRef,
): void {
  op.status = unmap_one(x, t, d, op);
}

function unmap_one(
  x: Hypervisor,
  t: MachineContext,
  d: Domain,
  op: UnmapGrantRef,
): number {
  t.spend(x.costs.updateCycles);
  const map = d.grants.maptrack.get(op.handle);
  if (map === undefined) {
    x.print(t, `grant_table.c:542:d${d.domid} Bad handle (${op.handle}).`);
    return GNTST_bad_handle;
  }
  const found = x.frames.leafFrame(op.host_addr);
  if (found !== map.frame) {
    x.print(
      t,
      `mm.c:2807:d${d.domid} PTE entry for address ${
        x.address(op.host_addr)
      } doesn't match frame ${map.frame.toString(16)}`,
    );
    return GNTST_general_error;
  }
  x.frames.writeLeaf(t, op.host_addr, 0, 0);
  d.grants.maptrack.delete(op.handle);
  release(x, t, map.dom, map.ref, map.readonly);
  return GNTST_okay;
}

/** GNTTABOP_copy: bytes from page to page, either end granted or the caller's own. */
export function grant_copy(
  x: Hypervisor,
  t: MachineContext,
  d: Domain,
  op: GrantCopy,
): void {
  op.status = copy_one(x, t, d, op);
}

function copy_one(
  x: Hypervisor,
  t: MachineContext,
  d: Domain,
  op: GrantCopy,
): number {
  t.spend(x.costs.updateCycles);
  const { pageBytes } = x.machine.memory;
  const fits = (end: GrantCopyEnd) =>
    end.offset >= 0 && op.len >= 0 && end.offset + op.len <= pageBytes;
  if (!fits(op.source) || !fits(op.dest)) {
    x.print(t, `grant_table.c:1520:d${d.domid} copy beyond page area.`);
    return GNTST_bad_copy_arg;
  }
  const source = open_end(
    x,
    t,
    d,
    op.source,
    op.flags & GNTCOPY_source_gref,
    true,
  );
  if (source < 0) return source;
  const dest = open_end(x, t, d, op.dest, op.flags & GNTCOPY_dest_gref, false);
  if (dest >= 0) copy_bytes(x, t, op, source, dest);
  if (dest >= 0) {
    close_end(x, t, d, op.dest, op.flags & GNTCOPY_dest_gref, false);
  }
  close_end(x, t, d, op.source, op.flags & GNTCOPY_source_gref, true);
  return dest < 0 ? dest : GNTST_okay;
}

/** @returns The frame, or `GNTST_*`. */
function open_end(
  x: Hypervisor,
  t: MachineContext,
  d: Domain,
  end: GrantCopyEnd,
  granted: number,
  readonly: boolean,
): number {
  const owner = x.domainOf(d, end.domid);
  if (owner === null) return GNTST_bad_domain;
  if (granted !== 0) {
    const grant = acquire(x, t, d, owner, end.u, readonly);
    return typeof grant === "number" ? grant : grant.frame;
  }
  if (!x.isGuestFrame(end.u)) return GNTST_bad_page;
  if (!readonly && !x.frames.getWritable(t, d, end.u)) {
    return GNTST_general_error;
  }
  return end.u;
}

function close_end(
  x: Hypervisor,
  t: MachineContext,
  d: Domain,
  end: GrantCopyEnd,
  granted: number,
  readonly: boolean,
): void {
  if (granted !== 0) release(x, t, x.domainOf(d, end.domid)!, end.u, readonly);
}

function copy_bytes(
  x: Hypervisor,
  t: MachineContext,
  op: GrantCopy,
  source: number,
  dest: number,
): void {
  const { machine } = x;
  const { memory, spec } = machine;
  const from = source * memory.pageBytes + op.source.offset;
  const to = dest * memory.pageBytes + op.dest.offset;
  for (let i = 0; i < op.len; i += spec.memory.lineBytes) {
    t.spend(t.coherence.read(t.cpu, machine.lineAt(from + i)));
    t.spend(t.coherence.write(t.cpu, machine.lineAt(to + i)));
  }
  const bytes = new Uint8Array(op.len);
  memory.readBytes(from, bytes);
  memory.writeBytes(to, bytes);
}
