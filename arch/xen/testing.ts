/** A machine with Xen and hand-made page tables, for this folder's tests. */
import { xenPv } from "../hw/presets/xen_pv.ts";
import { Machine } from "../hw/machine.ts";
import {
  PAGE_KERNEL,
  PAGE_KERNEL_RO,
  PROT_TABLE,
  type PtePair,
} from "../hw/pte.ts";
import { MachineContext } from "../op.ts";
import type { Domain } from "./domain.ts";
import { Hypervisor } from "./hypervisor.ts";

/** Address of the direct map. */
export const DIRECT = 0x880000000000;
/** Address of a page of vmalloc space that has tables. */
export const VMALLOC = 0xc20000000000;
/** Frames of the kernel's tables: root, and below it those of the direct map and of vmalloc space. */
export const ROOT = 100;
export const [D3, D2, D1, V3, V2, V1] = [101, 102, 103, 104, 105, 106];

/** Xen, a context to charge, and a kernel whose first 512 frames are mapped. */
export class XenRig {
  readonly machine: Machine = new Machine(xenPv, 1);
  readonly x: Hypervisor = new Hypervisor(this.machine);
  readonly t: MachineContext;
  readonly d0: Domain;
  readonly d1: Domain;

  /** @param pin Whether the kernel's tree is pinned. */
  constructor(pin = true) {
    const { machine, x } = this;
    machine.xen = x;
    this.t = new MachineContext(machine, "test", false);
    this.t.cpu = machine.engine.cpus[0];
    this.d0 = x.domains.get(0)!;
    this.d1 = x.domains.get(1)!;
    const slot = (vaddr: number) => machine.mmu.format.index(vaddr, 0);
    this.set(ROOT, slot(DIRECT), D3, PROT_TABLE);
    this.set(D3, 0, D2, PROT_TABLE);
    this.set(D2, 0, D1, PROT_TABLE);
    this.set(ROOT, slot(VMALLOC), V3, PROT_TABLE);
    this.set(V3, 0, V2, PROT_TABLE);
    this.set(V2, 0, V1, PROT_TABLE);
    for (let mfn = 0; mfn < 512; mfn++) {
      const table = mfn >= ROOT && mfn <= V1;
      this.set(D1, mfn, mfn, table ? PAGE_KERNEL_RO : PAGE_KERNEL);
    }
    if (!pin) return;
    const error = x.mmuext_op(this.t, this.d1, [
      { cmd: "pin_table", level: 4, mfn: ROOT },
    ]);
    if (error !== 0) throw new Error(x.log.join("\n"));
  }

  /** An entry that maps `mfn`. */
  entry(mfn: number, prot: number): PtePair {
    const pte: PtePair = { lo: 0, hi: 0 };
    this.machine.mmu.format.encode(mfn, prot, pte);
    return pte;
  }

  /** Writes an entry as hardware would see it, past Xen. */
  set(table: number, index: number, mfn: number, prot: number): void {
    const { lo, hi } = this.entry(mfn, prot);
    this.machine.memory.writePair(table * 4096 + index * 8, lo, hi);
  }

  /** update_va_mapping() of the direct map's entry of `mfn`. */
  direct(mfn: number, prot: number): number {
    const { lo, hi } = this.entry(mfn, prot);
    return this.x.update_va_mapping(
      this.t,
      this.d1,
      DIRECT + mfn * 4096,
      lo,
      hi,
      0,
    );
  }

  /** Pins `mfn` as a table of `level`. */
  pin(mfn: number, level: number): number {
    return this.x.mmuext_op(this.t, this.d1, [{
      cmd: "pin_table",
      level,
      mfn,
    }]);
  }

  /** Unpins `mfn`. */
  unpin(mfn: number): number {
    return this.x.mmuext_op(this.t, this.d1, [{ cmd: "unpin_table", mfn }]);
  }

  /** mmu_update() of one entry. */
  update(table: number, index: number, mfn: number, prot: number): number {
    const ptr = table * 4096 + index * 8;
    return this.x.mmu_update(this.t, this.d1, [
      { ptr, ...this.entry(mfn, prot) },
    ]);
  }

  /** What Xen has printed since the last call. */
  log(): string[] {
    return this.x.log.splice(0);
  }
}
