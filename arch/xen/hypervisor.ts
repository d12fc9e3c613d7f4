/**
 * Xen, as far as a guest's memory goes: frames and their types, page tables,
 * grants, event channels, and memory given back (xen/arch/x86/mm.c,
 * xen/common/{grant_table,event_channel,memory,multicall}.c of Xen 3.3).
 *
 * Two domains live on the machine: 0, whose back ends drive devices, and 1, the
 * guest proper. The threads of both belong to one kernel and run on the same
 * CPUs and page tables: what tells them apart is the domain in whose name they
 * make a hypercall. So frames do not belong to one of them, and a grant that is
 * mapped shows in the page tables of both. What is real is the path: entries of
 * the grant table, page-table entries that Xen writes, flushes, events.
 *
 * The methods are plain, that is, atomic, and charge time. Whoever calls them
 * pays for the trap and holds the locks, in this order:
 *
 *     domain.big_lock
 *     domain.grant_lock
 *     domain.evtchn_lock
 *
 * Knows nothing of Linux. Differs from Xen: see frame_table.ts for how writable
 * mappings are counted; a flush of other CPUs' TLBs happens at once, and its
 * time is charged to who asks for it, not to the interrupted.
 */
import type { Machine } from "../hw/machine.ts";
import { parseVaddr, printVaddr } from "../hw/pte.ts";
import type { MachineSpec } from "../hw/spec.ts";
import type { MachineContext } from "../op.ts";
import {
  DOMID_SELF,
  DOMID_XEN,
  type GrantCopy,
  type MapGrantRef,
  MMU_PT_UPDATE_PRESERVE_AD,
  type MmuextOp,
  type MmuUpdate,
  type MulticallEntry,
  type UnmapGrantRef,
  UVMF_ALL,
  UVMF_INVLPG,
  UVMF_TLB_FLUSH,
  XEN_EINVAL,
} from "./abi.ts";
import { Domain } from "./domain.ts";
import {
  event_channel_op,
  type EventChannelOp,
  send_virq,
} from "./event_channel.ts";
import { type FrameInfo, FrameTable } from "./frame_table.ts";
import {
  grant_copy,
  GrantTable,
  map_grant_ref,
  MAX_NR_GRANT_FRAMES,
  setup_table,
  unmap_grant_ref,
} from "./grant_table.ts";

/** Frames at the end of memory that Xen keeps: each domain's grant table. */
const DOMAINS = [0, 1] as const;
/** Frames at the end of memory that Xen keeps. */
export const XEN_FRAMES: number = DOMAINS.length * MAX_NR_GRANT_FRAMES;

/** What Xen has counted. */
export interface XenCounters {
  /** Traps into Xen. */
  hypercalls: number;
  /** Calls inside multicalls. */
  multicalls: number;
  /** Last-level entries written for the guest, of its kernel's space. */
  pteWrites: number;
  pins: number;
  unpins: number;
  /** Grants mapped. */
  grantMaps: number;
  grantUnmaps: number;
  grantCopies: number;
  /** Events sent. */
  events: number;
  /** Upcalls to guests. */
  upcalls: number;
}

/** Xen on one machine. */
export class Hypervisor {
  /** By number. */
  readonly domains: ReadonlyMap<number, Domain>;
  /** Types of frames. */
  readonly frames: FrameTable;
  readonly costs: NonNullable<MachineSpec["xen"]>;
  /** First frame of Xen's own: end of what guests may use. */
  readonly firstFrame: number;
  readonly counters: XenCounters = {
    hypercalls: 0,
    multicalls: 0,
    pteWrites: 0,
    pins: 0,
    unpins: 0,
    grantMaps: 0,
    grantUnmaps: 0,
    grantCopies: 0,
    events: 0,
    upcalls: 0,
  };
  /** Xen's console: every line it has printed. */
  readonly log: string[] = [];
  /** Called with each of these lines. */
  onLine: ((t: MachineContext, line: string) => void) | null = null;
  /** Vector of the upcall, set by the guest; -1 = none, events wait. */
  callbackVector = -1;
  /** Whether an upcall is on its way or unanswered, by CPU. */
  readonly upcallPending: Uint8Array;
  readonly #all: readonly Domain[];
  /** Frames of each CPU's local descriptor table. */
  readonly #ldts: (readonly number[])[];

  /** @throws {RangeError} If the machine has no `xen` in its description. */
  constructor(readonly machine: Machine) {
    const { xen, layout } = machine.spec;
    if (xen === undefined) {
      throw new RangeError(
        `Cannot start Xen as the machine must have "xen": current value is ${machine.spec.name}`,
      );
    }
    this.costs = xen;
    this.firstFrame = machine.memory.nrFrames - XEN_FRAMES;
    const start = parseVaddr(machine.mmu.format, layout.directMapStart);
    this.frames = new FrameTable(this, start);
    this.domains = new Map(
      DOMAINS.map((domid, i) => {
        const first = this.firstFrame + i * MAX_NR_GRANT_FRAMES;
        const own = Array.from(
          { length: MAX_NR_GRANT_FRAMES },
          (_, n) => first + n,
        );
        return [domid, new Domain(domid, new GrantTable(own))];
      }),
    );
    this.#all = [...this.domains.values()];
    this.upcallPending = new Uint8Array(machine.nrCpus);
    this.#ldts = new Array(machine.nrCpus).fill([]);
  }

  /** What is known of a frame. */
  frameInfo(mfn: number): FrameInfo {
    if (mfn >= this.firstFrame) {
      const info = this.frames.info(mfn);
      return { ...info, owner: DOMID_XEN };
    }
    const info = this.frames.info(mfn);
    return { ...info, owner: this.isGuestFrame(mfn) ? 1 : -1 };
  }

  /** Whether guests have `mfn`: it is theirs and not given back. */
  isGuestFrame(mfn: number): boolean {
    if (!(mfn >= 0 && mfn < this.firstFrame)) return false;
    for (let i = 0; i < this.#all.length; i++) {
      if (this.#all[i].ballooned.has(mfn)) return false;
    }
    return true;
  }

  /** Whether `mfn` is Xen's own, but `d` may map it: its grant table. */
  isShown(d: Domain, mfn: number): boolean {
    return d.grants.frames.includes(mfn);
  }

  /** The domain called `domid`, as `d` names it; `null` = none. */
  domainOf(d: Domain, domid: number): Domain | null {
    return domid === DOMID_SELF ? d : this.domains.get(domid) ?? null;
  }

  /** Prints a line on Xen's console. */
  print(t: MachineContext, line: string): void {
    const text = `(XEN) ${line}`;
    this.log.push(text);
    this.onLine?.(t, text);
  }

  /** `vaddr` as Xen prints it. */
  address(vaddr: number): string {
    return printVaddr(this.machine.mmu.format, vaddr);
  }

  /** do_mmu_update(): writes entries of page tables. Stops at the first that is refused. */
  mmu_update(
    t: MachineContext,
    d: Domain,
    updates: readonly MmuUpdate[],
  ): number {
    const { pageBytes } = this.machine.memory;
    for (const { ptr, lo, hi } of updates) {
      t.spend(this.costs.updateCycles);
      const cmd = ptr % 8;
      if (cmd !== 0 && cmd !== MMU_PT_UPDATE_PRESERVE_AD) return -XEN_EINVAL;
      const table = Math.floor(ptr / pageBytes);
      const index = Math.floor((ptr - table * pageBytes) / 8);
      const keep = cmd === MMU_PT_UPDATE_PRESERVE_AD;
      const error = this.frames.update(t, d, table, index, lo, hi, keep);
      if (error !== 0) return error;
    }
    return 0;
  }

  /** do_update_va_mapping(): writes the last-level entry of one address. */
  update_va_mapping(
    t: MachineContext,
    d: Domain,
    vaddr: number,
    lo: number,
    hi: number,
    flags: number,
  ): number {
    t.spend(this.costs.updateCycles);
    const error = this.frames.updateLeaf(t, d, vaddr, lo, hi);
    if (error !== 0) return error;
    const all = (flags & UVMF_ALL) !== 0;
    if ((flags & UVMF_INVLPG) !== 0) {
      if (all) this.#forgetPage(t, vaddr);
      else this.machine.mmu.flushPage(t, vaddr);
    } else if ((flags & UVMF_TLB_FLUSH) !== 0) {
      if (all) this.flushAll(t);
      else this.machine.mmu.flush(t, true);
    }
    return 0;
  }

  /** do_mmuext_op(). Stops at the first operation that is refused. */
  mmuext_op(t: MachineContext, d: Domain, ops: readonly MmuextOp[]): number {
    for (const op of ops) {
      t.spend(this.costs.updateCycles);
      const error = this.#mmuext(t, d, op);
      if (error !== 0) return error;
    }
    return 0;
  }

  #mmuext(t: MachineContext, d: Domain, op: MmuextOp): number {
    switch (op.cmd) {
      case "pin_table": {
        const error = this.frames.pin(t, d, op.mfn, op.level);
        if (error === 0) this.counters.pins++;
        return error;
      }
      case "unpin_table": {
        const error = this.frames.unpin(t, d, op.mfn);
        if (error === 0) this.counters.unpins++;
        return error;
      }
      case "tlb_flush_local":
        this.machine.mmu.flush(t, true);
        return 0;
      case "tlb_flush_all":
        this.flushAll(t);
        return 0;
      case "invlpg_all":
        this.#forgetPage(t, op.vaddr);
        return 0;
      case "set_ldt": {
        const error = this.frames.getDescriptors(t, d, op.frames);
        if (error !== 0) return error;
        for (const mfn of this.#ldts[t.cpu.id]) this.frames.put(t, mfn);
        this.#ldts[t.cpu.id] = [...op.frames];
        return 0;
      }
    }
  }

  /** do_update_descriptor(): writes a descriptor at a machine address. */
  update_descriptor(
    t: MachineContext,
    d: Domain,
    maddr: number,
    lo: number,
    hi: number,
  ): number {
    t.spend(this.costs.updateCycles);
    const mfn = Math.floor(maddr / this.machine.memory.pageBytes);
    const { type } = this.frames.info(mfn);
    const table = type !== "seg_desc" && this.frames.isTable(mfn);
    if (!this.isGuestFrame(mfn) || table || maddr % 8 !== 0) {
      this.print(
        t,
        `mm.c:3164:d${d.domid} Bad descriptor address ${maddr.toString(16)}`,
      );
      return -XEN_EINVAL;
    }
    t.spend(t.coherence.write(t.cpu, this.machine.lineAt(maddr)));
    this.machine.memory.writePair(maddr, lo, hi);
    return 0;
  }

  /** do_multicall(): several calls for one trap. @returns 0; each call's result is in it. */
  multicall(
    t: MachineContext,
    d: Domain,
    calls: readonly MulticallEntry[],
  ): number {
    for (const call of calls) {
      this.counters.multicalls++;
      switch (call.op) {
        case "update_va_mapping": {
          const { vaddr, lo, hi, flags } = call;
          call.result = this.update_va_mapping(t, d, vaddr, lo, hi, flags);
          break;
        }
        case "mmu_update":
          call.result = this.mmu_update(t, d, call.updates);
          break;
        case "mmuext_op":
          call.result = this.mmuext_op(t, d, call.ops);
          break;
      }
    }
    return 0;
  }

  /** GNTTABOP_setup_table. @returns Frames of the table; `null` = too many. */
  setup_table(
    t: MachineContext,
    d: Domain,
    nr_frames: number,
  ): readonly number[] | null {
    return setup_table(this, t, d, nr_frames);
  }

  /** GNTTABOP_map_grant_ref. */
  map_grant_ref(
    t: MachineContext,
    d: Domain,
    ops: readonly MapGrantRef[],
  ): number {
    for (const op of ops) {
      map_grant_ref(this, t, d, op);
      if (op.status === 0) this.counters.grantMaps++;
    }
    return 0;
  }

  /** GNTTABOP_unmap_grant_ref. */
  unmap_grant_ref(
    t: MachineContext,
    d: Domain,
    ops: readonly UnmapGrantRef[],
  ): number {
    let unmapped = 0;
    for (const op of ops) {
      unmap_grant_ref(this, t, d, op);
      if (op.status === 0) unmapped++;
    }
    this.counters.grantUnmaps += unmapped;
    if (unmapped > 0) this.flushAll(t);
    return 0;
  }

  /** GNTTABOP_copy. */
  grant_copy(t: MachineContext, d: Domain, ops: readonly GrantCopy[]): number {
    for (const op of ops) {
      grant_copy(this, t, d, op);
      if (op.status === 0) this.counters.grantCopies++;
    }
    return 0;
  }

  /** do_event_channel_op(). */
  event_channel_op(t: MachineContext, d: Domain, op: EventChannelOp): number {
    if (op.cmd === "send") this.counters.events++;
    return event_channel_op(this, t, d, op);
  }

  /** Raises a virtual interrupt, as Xen's own devices do. @returns Whether somebody has bound it. */
  send_virq(
    t: MachineContext,
    d: Domain,
    vcpu: number,
    virq: number,
  ): boolean {
    return send_virq(this, t, d, vcpu, virq);
  }

  /** XENMEM_decrease_reservation. @returns Frames given back. Stops at one that cannot be. */
  decrease_reservation(
    t: MachineContext,
    d: Domain,
    frames: readonly number[],
  ): number {
    let done = 0;
    for (const mfn of frames) {
      t.spend(this.costs.updateCycles);
      if (!this.isGuestFrame(mfn) || this.frames.isTable(mfn)) {
        this.print(
          t,
          `memory.c:187:d${d.domid} Bad page free for domain ${d.domid}, mfn ${
            mfn.toString(16)
          }`,
        );
        break;
      }
      d.ballooned.add(mfn);
      done++;
    }
    return done;
  }

  /** XENMEM_increase_reservation, XENMEM_populate_physmap: `frames` again. @returns Frames handed out. */
  populate_physmap(
    t: MachineContext,
    d: Domain,
    frames: readonly number[],
  ): number {
    let done = 0;
    for (const mfn of frames) {
      t.spend(this.costs.updateCycles);
      if (!d.ballooned.delete(mfn)) break;
      this.machine.memory.zero(mfn); // scrubbed: what was in it is nobody's business
      done++;
    }
    return done;
  }

  /** Has virtual CPU `vcpu` look at its events. */
  upcall(t: MachineContext, vcpu: number): void {
    if (this.callbackVector < 0 || this.upcallPending[vcpu] !== 0) return;
    this.upcallPending[vcpu] = 1;
    this.counters.upcalls++;
    const { engine, ipiDelay } = this.machine;
    const cpu = engine.cpus[vcpu];
    const late = ipiDelay === null || cpu === t.cpu ? 0 : ipiDelay();
    const at = t.cpu.clock + this.costs.eventCycles + late;
    engine.sendInterrupt(cpu, this.callbackVector, at);
  }

  /** Flushes every CPU's TLB, global entries too. */
  flushAll(t: MachineContext): void {
    const { mmu } = this.machine;
    for (let cpu = 0; cpu < mmu.tlbs.length; cpu++) {
      if (cpu === t.cpu.id) mmu.flush(t, true);
      else mmu.forgetAll(cpu);
    }
    if (mmu.tlbs.length > 1) this.chargeShootdown(t);
  }

  #forgetPage(t: MachineContext, vaddr: number): void {
    const { mmu } = this.machine;
    for (let cpu = 0; cpu < mmu.tlbs.length; cpu++) {
      if (cpu === t.cpu.id) mmu.flushPage(t, vaddr);
      else mmu.forgetPage(cpu, vaddr);
    }
    if (mmu.tlbs.length > 1) this.chargeShootdown(t);
  }

  /** Time of an interrupt to all CPUs that is waited for. */
  chargeShootdown(t: MachineContext): void {
    const { ipi, irq, tlb } = this.machine.spec;
    t.spend(
      ipi.sendCycles + ipi.deliverCycles + irq.entryCycles +
        tlb.flushGlobalCycles,
    );
  }

  /**
   * Charges `count` last-level entries that the guest's kernel writes in its own
   * space: a hypercall each where it asks Xen, a fault and its emulation each
   * where it writes the read-only table.
   */
  chargePteWrites(t: MachineContext, count: number, emulated: boolean): void {
    this.counters.pteWrites += count;
    const { trapCycles, updateCycles, emulateCycles } = this.costs;
    t.spend(count * (emulated ? emulateCycles : trapCycles + updateCycles));
  }
}
