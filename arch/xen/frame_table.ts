/**
 * What Xen knows of frames: whether one is a page table, of which level, and how
 * often it is used as such (xen/arch/x86/mm.c).
 *
 * The rule that everything rests on: while a frame is a page table, nobody may
 * write it but Xen. A frame therefore has one type at a time. To become a page
 * table it must not be mapped writable anywhere, and everything it refers to
 * must be fit for the level below; as long as it is one, no entry that maps it
 * writable is accepted.
 *
 * How writable mappings are found. Xen counts them, one by one, as entries are
 * written. Here the guest writes most entries of its vmalloc space itself (its
 * page-table code charges what the hypercall would have cost, and asks {@linkcode
 * FrameTable.isTable} first), so nothing is counted: when a frame is to become a
 * page table, all page tables that Xen has validated are searched for writable
 * mappings of it. That is the direct map, whose one entry for a frame stands at
 * a known address, the rest of the kernel's half, and the user halves of pinned
 * trees; not trees that are not pinned, which Xen does not count either. The
 * result is the count that Xen would have had; the search costs no virtual time,
 * as Xen makes none. A whole tree that is pinned is searched for once.
 *
 * TLBs are counted apart. Xen does not look into them: when a frame changes its
 * type it flushes the CPUs that may still have a translation from before. Here
 * that is done, and charged, for translations whose entry still maps the frame,
 * read-only by now: the direct map's as a rule. A writable translation without
 * such an entry is the mark of a guest that has cleared the entry and not
 * flushed; it is refused, so that it is found.
 *
 * Differs from Xen: frame numbers of guest and machine are the same; frames are
 * not shared out among domains, since all of them live in one kernel; large
 * pages are not refused, as the guest makes none.
 */
import { printVaddr, PROT_PRESENT, PROT_WRITE } from "../hw/pte.ts";
import type { MachineContext } from "../op.ts";
import { XEN_EINVAL } from "./abi.ts";
import type { Domain } from "./domain.ts";
import type { Hypervisor } from "./hypervisor.ts";

/** What a frame is used as. `seg_desc`: a descriptor table. */
export type FrameType =
  | "none"
  | "writable"
  | "l1"
  | "l2"
  | "l3"
  | "l4"
  | "seg_desc";

/** What {@linkcode Hypervisor.frameInfo} says. */
export interface FrameInfo {
  /** Domain, or DOMID_XEN; -1 = nobody's: given back. */
  readonly owner: number;
  readonly type: FrameType;
  /** Uses as that type: of a writable frame, the entries that map it writable. */
  readonly typeCount: number;
  /** Writable translations in TLBs. */
  readonly tlbCount: number;
  readonly pinned: boolean;
}

/** Why the last type change was refused, for whoever wants to name the alias. */
export interface Refusal {
  readonly mfn: number;
  /** Type that was asked for. */
  readonly wanted: FrameType;
  /** Writable mappings in page tables. */
  readonly mappings: number;
  /** Writable translations in TLBs without such a mapping. */
  readonly translations: number;
}

/** A frame with a type other than writable. */
interface TypedFrame {
  /** 1 to 4, or {@linkcode SEG_DESC}. */
  readonly level: number;
  count: number;
  pinned: boolean;
}

/** Page size bit of an upper entry. */
const PS = 0x80;
const SEG_DESC = 5;
const WRITABLE = 7;
const TYPE_NAMES: readonly FrameType[] = [
  "none",
  "l1",
  "l2",
  "l3",
  "l4",
  "seg_desc",
];
/** First entry of a root table that belongs to the kernel. */
const KERNEL_SLOT = 256;

/** Writable uses of a frame. */
interface Uses {
  mappings: number;
  translations: number;
  /** Where one of the latter is: CPU and page. */
  cpu: number;
  vpn: number;
  /** CPU and page, in turn, of translations whose entry has been made read-only. */
  readonly outdated: number[];
}

const NO_USES: Uses = {
  mappings: 0,
  translations: 0,
  cpu: -1,
  vpn: 0,
  outdated: [],
};

/** Types and counts of all frames. Plain: whoever changes it holds the domain's lock. */
export class FrameTable {
  readonly #typed: Map<number, TypedFrame> = new Map();
  /** Pinned root tables. */
  readonly roots: Set<number> = new Set();
  /** The kernel's own root table, pinned first; -1 = none yet. */
  kernelRoot = -1;
  /** Of the last type change that was refused. */
  refusal: Refusal | null = null;
  /** Type changes that were refused. */
  refusals = 0;
  readonly #directMap: number;
  readonly #pageBytes: number;

  constructor(readonly x: Hypervisor, directMapStart: number) {
    this.#directMap = directMapStart;
    this.#pageBytes = x.machine.memory.pageBytes;
  }

  /** Whether `mfn` may not be mapped writable now. */
  isTable(mfn: number): boolean {
    return this.#typed.has(mfn);
  }

  /** Frames that are page tables or descriptor tables now. */
  get nrTyped(): number {
    return this.#typed.size;
  }

  /** Type, count and whether it is pinned. */
  info(mfn: number): Omit<FrameInfo, "owner"> {
    const uses = this.#writableUses(new Set([mfn])).get(mfn);
    const tlbCount = uses?.translations ?? 0;
    const typed = this.#typed.get(mfn);
    if (typed !== undefined) {
      const { level, count, pinned } = typed;
      return { type: TYPE_NAMES[level], typeCount: count, tlbCount, pinned };
    }
    const typeCount = uses?.mappings ?? 0;
    const type = typeCount > 0 ? "writable" : "none";
    return { type, typeCount, tlbCount, pinned: false };
  }

  /**
   * Checks the rule that the file's head begins with, and counts all uses anew.
   *
   * @param held Uses beside pins and entries, by frame: descriptor tables that are loaded.
   * @returns A sentence for each violation.
   */
  check(held: ReadonlyMap<number, number> = new Map()): string[] {
    const found: string[] = [];
    const uses = this.#writableUses(new Set(this.#typed.keys()));
    const counts = new Map(held);
    for (const [mfn, { level, pinned }] of this.#typed) {
      if (pinned) counts.set(mfn, (counts.get(mfn) ?? 0) + 1);
      if (level < 2 || level === SEG_DESC) continue;
      this.#eachEntry(mfn, (lo, hi) => {
        const below = this.#frameOf(lo, hi);
        counts.set(below, (counts.get(below) ?? 0) + 1);
        const { level: got } = this.#typed.get(below) ?? { level: 0 };
        if (got !== level - 1) {
          found.push(`an entry of l${level} ${mfn} is ${TYPE_NAMES[got]}`);
        }
        return true;
      });
    }
    for (const [mfn, { level, count }] of this.#typed) {
      const name = `${TYPE_NAMES[level]} ${mfn}`;
      const { mappings, translations } = uses.get(mfn) ?? NO_USES;
      if (mappings > 0) found.push(`${name} is mapped writable`);
      if (translations > 0) found.push(`${name} is writable in a TLB`);
      const counted = counts.get(mfn) ?? 0;
      if (counted !== count) {
        found.push(`${name} is used ${counted} times, ${count} are counted`);
      }
    }
    return found;
  }

  /** Whether `mfn` may be mapped writable: says why not. */
  getWritable(t: MachineContext, d: Domain, mfn: number): boolean {
    const typed = this.#typed.get(mfn);
    if (typed === undefined) return true;
    this.#badType(t, d, mfn, typeInfo(typed), WRITABLE);
    this.#refuse({ mfn, wanted: "writable", mappings: 0, translations: 0 });
    return false;
  }

  /** MMUEXT_PIN_Ln_TABLE. @returns 0 or -EINVAL. */
  pin(t: MachineContext, d: Domain, mfn: number, level: number): number {
    if (!(level >= 1 && level <= 4)) return -XEN_EINVAL;
    const typed = this.#typed.get(mfn);
    if (typed !== undefined && typed.pinned) {
      this.x.print(
        t,
        `mm.c:2050:d${d.domid} Mfn ${mfn.toString(16)} already pinned`,
      );
      return -XEN_EINVAL;
    }
    // The first tree is searched itself for what maps its own tables.
    const first = level === 4 && this.kernelRoot < 0;
    if (first) this.kernelRoot = mfn;
    this.#search = typed === undefined ? this.#searchTree(mfn, level) : null;
    const got = this.#get(t, d, mfn, level);
    this.#search = null;
    if (!got) {
      if (first) this.kernelRoot = -1;
      this.x.print(
        t,
        `mm.c:2043:d${d.domid} Error while pinning mfn ${mfn.toString(16)}`,
      );
      return -XEN_EINVAL;
    }
    this.#typed.get(mfn)!.pinned = true;
    if (level === 4) this.roots.add(mfn);
    return 0;
  }

  /** MMUEXT_UNPIN_TABLE. @returns 0 or -EINVAL. */
  unpin(t: MachineContext, d: Domain, mfn: number): number {
    const typed = this.#typed.get(mfn);
    if (typed === undefined || !typed.pinned) {
      this.x.print(
        t,
        `mm.c:2071:d${d.domid} Mfn ${mfn.toString(16)} not pinned`,
      );
      return -XEN_EINVAL;
    }
    typed.pinned = false;
    this.roots.delete(mfn);
    this.put(t, mfn);
    return 0;
  }

  /** Makes `frames` a descriptor table. @returns 0 or -EINVAL, nothing changed. */
  getDescriptors(
    t: MachineContext,
    d: Domain,
    frames: readonly number[],
  ): number {
    for (let i = 0; i < frames.length; i++) {
      if (this.#get(t, d, frames[i], SEG_DESC)) continue;
      while (i-- > 0) this.put(t, frames[i]);
      return -XEN_EINVAL;
    }
    return 0;
  }

  /** One use less of `mfn` as what it is. With the last it is an ordinary frame again. */
  put(t: MachineContext, mfn: number): void {
    const typed = this.#typed.get(mfn);
    if (typed === undefined) {
      throw new RangeError(
        `Cannot put a frame as it must have a type: current value is ${mfn}`,
      );
    }
    if (--typed.count > 0) return;
    this.#typed.delete(mfn);
    if (typed.level < 2 || typed.level === SEG_DESC) return;
    t.spend(this.x.costs.validateCycles);
    this.#eachEntry(mfn, (lo, hi) => {
      this.put(t, this.#frameOf(lo, hi));
      return true;
    });
  }

  /** do_mmu_update() of one entry. @returns 0 or -EINVAL. */
  update(
    t: MachineContext,
    d: Domain,
    table: number,
    index: number,
    lo: number,
    hi: number,
    keepAccessed: boolean,
  ): number {
    if (!this.x.isGuestFrame(table)) return this.#badFrame(t, d, table);
    const typed = this.#typed.get(table);
    const words = this.x.machine.memory.frame(table).back();
    const w = index * 2;
    const oldLo = words[w];
    const oldHi = words[w + 1];
    const old = (oldLo & PROT_PRESENT) !== 0 ? this.#frameOf(oldLo, oldHi) : -1;
    const present = (lo & PROT_PRESENT) !== 0;
    if (typed !== undefined && typed.level <= 4) {
      if (typed.level === 1) {
        if (!this.#checkLeaf(t, d, lo, hi)) return -XEN_EINVAL;
      } else {
        const next = present ? this.#frameOf(lo, hi) : -1;
        if (!this.#checkFlags(t, d, lo, typed.level)) return -XEN_EINVAL;
        if (present && !this.#get(t, d, next, typed.level - 1)) {
          return -XEN_EINVAL;
        }
        if (old >= 0) this.put(t, old);
      }
    }
    const kept = keepAccessed ? oldLo & 0x60 : 0;
    words[w] = lo | kept;
    words[w + 1] = hi;
    t.spend(
      t.coherence.write(
        t.cpu,
        this.x.machine.lineAt(table * this.#pageBytes + index * 8),
      ),
    );
    return 0;
  }

  /** update_va_mapping() of one entry. @returns 0 or -EINVAL. */
  updateLeaf(
    t: MachineContext,
    d: Domain,
    vaddr: number,
    lo: number,
    hi: number,
  ): number {
    if (!this.#checkLeaf(t, d, lo, hi)) return -XEN_EINVAL;
    if (this.writeLeaf(t, vaddr, lo, hi)) return 0;
    this.x.print(
      t,
      `mm.c:2744:d${d.domid} Could not find L1 PTE for address ${
        this.x.address(vaddr)
      }`,
    );
    return -XEN_EINVAL;
  }

  /** Writes the last-level entry of `vaddr`, unchecked. @returns Whether there is a table for it. */
  writeLeaf(t: MachineContext, vaddr: number, lo: number, hi: number): boolean {
    const table = this.#leafTable(vaddr);
    if (table < 0) return false;
    const { machine } = this.x;
    const { format } = machine.mmu;
    const index = format.index(vaddr, format.levels.length - 1);
    const words = machine.memory.frame(table).back();
    words[index * 2] = lo;
    words[index * 2 + 1] = hi;
    const line = machine.lineAt(table * this.#pageBytes + index * 8);
    t.spend(t.coherence.write(t.cpu, line));
    return true;
  }

  /** Frame that the entry of `vaddr` maps, or -1. */
  leafFrame(vaddr: number): number {
    return this.x.machine.mmu.peek(this.kernelRoot, vaddr);
  }

  #leafTable(vaddr: number): number {
    const { memory, mmu } = this.x.machine;
    const { format } = mmu;
    const last = format.levels.length - 1;
    let table = this.kernelRoot;
    if (table < 0) return -1;
    for (let level = 0; level < last; level++) {
      const words = memory.frame(table).words;
      if (words === null) return -1;
      const w = format.index(vaddr, level) * 2;
      if (!format.isPresent(words[w], words[w + 1], level)) return -1;
      if (format.isLeaf(words[w], words[w + 1], level)) return -1;
      table = format.pfn(words[w], words[w + 1], 0);
    }
    return table;
  }

  #frameOf(lo: number, hi: number): number {
    return this.x.machine.mmu.format.pfn(lo, hi, 0);
  }

  /** Calls `visit` for the present entries of `table` until it returns false. @returns How many it was called for with success. */
  #eachEntry(
    table: number,
    visit: (lo: number, hi: number) => boolean,
  ): number {
    const words = this.x.machine.memory.frame(table).words;
    let done = 0;
    for (let w = 0; words !== null && w < words.length; w += 2) {
      if ((words[w] & PROT_PRESENT) === 0) continue;
      if (!visit(words[w], words[w + 1])) return done;
      done++;
    }
    return done;
  }

  /** get_page_type(): one more use of `mfn` as `level`. @returns Whether that may be. */
  #get(t: MachineContext, d: Domain, mfn: number, level: number): boolean {
    const typed = this.#typed.get(mfn);
    if (typed !== undefined) {
      if (typed.level === level) {
        typed.count++;
        return true;
      }
      this.#badType(t, d, mfn, typeInfo(typed), level);
      this.#refuse({
        mfn,
        wanted: TYPE_NAMES[level],
        mappings: 0,
        translations: 0,
      });
      return false;
    }
    if (!this.x.isGuestFrame(mfn)) {
      this.#badFrame(t, d, mfn);
      return false;
    }
    if (!this.#unused(t, d, mfn, level)) return false;
    t.spend(this.x.costs.validateCycles);
    this.#typed.set(mfn, { level, count: 1, pinned: false });
    if (level === SEG_DESC || this.#validate(t, d, mfn, level)) return true;
    this.#typed.delete(mfn);
    return false;
  }

  /** Whether all entries of `mfn` are fit for a table of `level`; if so they are counted. */
  #validate(
    t: MachineContext,
    d: Domain,
    mfn: number,
    level: number,
  ): boolean {
    let good = true;
    const got = this.#eachEntry(mfn, (lo, hi) => {
      good = level === 1
        ? this.#checkLeaf(t, d, lo, hi)
        : this.#checkFlags(t, d, lo, level) &&
          this.#get(t, d, this.#frameOf(lo, hi), level - 1);
      return good;
    });
    if (good) return true;
    if (level > 1) {
      let left = got;
      this.#eachEntry(mfn, (lo, hi) => {
        if (left-- <= 0) return false;
        this.put(t, this.#frameOf(lo, hi));
        return true;
      });
    }
    return false;
  }

  /** Whether an upper entry has none of the flags that a guest may not use: it is no large page. */
  #checkFlags(
    t: MachineContext,
    d: Domain,
    lo: number,
    level: number,
  ): boolean {
    if ((lo & PROT_PRESENT) === 0 || (lo & PS) === 0) return true;
    this.x.print(t, `mm.c:692:d${d.domid} Bad L${level} flags 80`);
    this.#refuse({ mfn: -1, wanted: "none", mappings: 0, translations: 0 });
    return false;
  }

  /** Whether a last-level entry may be written. */
  #checkLeaf(t: MachineContext, d: Domain, lo: number, hi: number): boolean {
    if ((lo & PROT_PRESENT) === 0) return true;
    const mfn = this.#frameOf(lo, hi);
    if (!this.x.machine.memory.has(mfn)) return true; // a device's
    const good = this.x.isGuestFrame(mfn)
      ? (lo & PROT_WRITE) === 0 || this.getWritable(t, d, mfn)
      : this.x.isShown(d, mfn) || this.#badFrame(t, d, mfn) === 0;
    if (good) return true;
    const entry = hi.toString(16).padStart(8, "0") +
      lo.toString(16).padStart(8, "0");
    const hex = mfn.toString(16);
    this.x.print(
      t,
      `mm.c:649:d${d.domid} Error getting mfn ${hex} (pfn ${hex}) from L1 entry ${entry} for dom${d.domid}`,
    );
    return false;
  }

  #badFrame(t: MachineContext, d: Domain, mfn: number): number {
    const hex = mfn.toString(16);
    this.x.print(
      t,
      `mm.c:600:d${d.domid} Could not get page ref for pfn ${hex}`,
    );
    this.#refuse({ mfn, wanted: "none", mappings: 0, translations: 0 });
    return -XEN_EINVAL;
  }

  /** Whether nothing maps `mfn` writable, in page tables and in TLBs. */
  #unused(t: MachineContext, d: Domain, mfn: number, level: number): boolean {
    const found = this.#search ?? this.#writableUses(new Set([mfn]));
    const uses = found.get(mfn);
    if (uses === undefined) return true;
    this.#flush(t, uses.outdated);
    const { mappings, translations } = uses;
    if (mappings === 0 && translations === 0) return true;
    const count = mappings > 0 ? mappings : translations;
    const saw = `74${count.toString(16).padStart(14, "0")}`;
    this.#badType(t, d, mfn, saw, level);
    if (mappings === 0) {
      const { format } = this.x.machine.mmu;
      const at = printVaddr(format, uses.vpn * this.#pageBytes);
      this.x.print(
        t,
        `mm.c:1850:d${d.domid} mfn ${
          mfn.toString(16)
        } has no writable entry but ${translations} in TLBs, at ${at} on CPU ${uses.cpu}`,
      );
    }
    this.#refuse({ mfn, wanted: TYPE_NAMES[level], mappings, translations });
    return false;
  }

  #refuse(refusal: Refusal): void {
    this.refusal = refusal;
    this.refusals++;
  }

  #badType(
    t: MachineContext,
    d: Domain,
    mfn: number,
    saw: string,
    level: number,
  ): void {
    const hex = mfn.toString(16);
    const wanted = level.toString(16).padEnd(16, "0");
    this.x.print(
      t,
      `mm.c:1833:d${d.domid} Bad type (saw ${saw} != exp ${wanted}) for mfn ${hex} (pfn ${hex})`,
    );
  }

  /** What is known of all frames of the tree that is being pinned; `null` = no tree is. */
  #search: Map<number, Uses> | null = null;

  /** {@linkcode #writableUses} of all frames of a tree that have no type yet. */
  #searchTree(root: number, level: number): Map<number, Uses> {
    const frames = new Set<number>();
    const visit = (table: number, at: number) => {
      if (this.#typed.has(table) || frames.has(table)) return;
      if (!this.x.isGuestFrame(table)) return;
      frames.add(table);
      if (at === 1) return;
      this.#eachEntry(table, (lo, hi) => {
        visit(this.#frameOf(lo, hi), at - 1);
        return true;
      });
    };
    visit(root, level);
    return this.#writableUses(frames);
  }

  /** Writable mappings and translations of `frames`. */
  #writableUses(frames: ReadonlySet<number>): Map<number, Uses> {
    const found = new Map<number, Uses>();
    if (this.kernelRoot < 0) return found; // nothing is validated yet
    const of = (mfn: number) => {
      let uses = found.get(mfn);
      if (uses === undefined) {
        uses = {
          mappings: 0,
          translations: 0,
          cpu: -1,
          vpn: 0,
          outdated: [],
        };
        found.set(mfn, uses);
      }
      return uses;
    };
    for (const mfn of frames) {
      if (this.#directMapWritable(mfn)) of(mfn).mappings++;
    }
    const leaf = (vaddr: number, mfn: number) => {
      if (!frames.has(mfn) || this.#inDirectMap(vaddr)) return;
      of(mfn).mappings++;
    };
    this.#walk(this.kernelRoot, 0, 0, KERNEL_SLOT, leaf);
    for (const root of this.roots) this.#walk(root, 0, 0, -KERNEL_SLOT, leaf);
    this.x.machine.mmu.tlbs.forEach((tlb, cpu) =>
      tlb.forEach((vpn, mfn, prot) => {
        if ((prot & PROT_WRITE) === 0 || !frames.has(mfn)) return;
        const uses = of(mfn);
        if (this.leafFrame(vpn * this.#pageBytes) === mfn) {
          uses.outdated.push(cpu, vpn);
          return;
        }
        uses.translations++;
        uses.cpu = cpu;
        uses.vpn = vpn;
      })
    );
    return found;
  }

  /**
   * Calls `visit` for the writable pages below `table`, but for those of the
   * direct map.
   *
   * @param from Of the root: entries from here on; negative: up to there.
   */
  #walk(
    table: number,
    level: number,
    base: number,
    from: number,
    visit: (vaddr: number, mfn: number) => void,
  ): void {
    const { memory, mmu } = this.x.machine;
    const { format } = mmu;
    const words = memory.frame(table).words;
    if (words === null) return;
    const last = level === format.levels.length - 1;
    const span = format.spanBytes(level);
    const first = Math.max(from, 0);
    const end = from < 0 ? -from : words.length / 2;
    for (let i = first; i < end; i++) {
      const lo = words[i * 2];
      if ((lo & PROT_PRESENT) === 0) continue;
      const mfn = format.pfn(lo, words[i * 2 + 1], 0);
      const vaddr = base + i * span;
      if (last) {
        if ((lo & PROT_WRITE) !== 0) visit(vaddr, mfn);
      } else if (
        !this.#inDirectMap(vaddr) || !this.#inDirectMap(vaddr + span - 1)
      ) this.#walk(mfn, level + 1, vaddr, 0, visit);
    }
  }

  #inDirectMap(vaddr: number): boolean {
    const offset = vaddr - this.#directMap;
    return offset >= 0 &&
      offset < this.x.machine.memory.nrFrames * this.#pageBytes;
  }

  #directMapWritable(mfn: number): boolean {
    const vaddr = this.#directMap + mfn * this.#pageBytes;
    const table = this.#leafTable(vaddr);
    if (table < 0) return false;
    const { format } = this.x.machine.mmu;
    const words = this.x.machine.memory.frame(table).words;
    if (words === null) return false;
    const lo = words[format.index(vaddr, format.levels.length - 1) * 2];
    return (lo & PROT_PRESENT) !== 0 && (lo & PROT_WRITE) !== 0;
  }

  /** Has CPUs forget translations whose entry has been made read-only. */
  #flush(t: MachineContext, outdated: readonly number[]): void {
    const { mmu, spec } = this.x.machine;
    let others = false;
    for (let i = 0; i < outdated.length; i += 2) {
      const cpu = outdated[i];
      mmu.forgetPage(cpu, outdated[i + 1] * this.#pageBytes);
      if (cpu === t.cpu.id) t.spend(spec.tlb.invlpgCycles);
      else others = true;
    }
    if (others) this.x.chargeShootdown(t);
  }
}

/** Type, flags and count as Xen prints them: 58 is "validated", 59 "pinned". */
function typeInfo({ level, count, pinned }: TypedFrame): string {
  const flags = pinned ? "c" : "4";
  return `${level.toString(16)}${flags}${count.toString(16).padStart(14, "0")}`;
}
