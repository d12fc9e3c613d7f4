/** What a kernel that runs as a guest of Xen keeps about it: `k.xen`. */
import type { Hypervisor } from "../../arch/xen/hypervisor.ts";
import { nearest } from "../../arch/sim/nearest.ts";
import type { Kernel } from "../kernel.ts";
import type { EvtchnHandler } from "./events.ts";
import type { GrantTables } from "./grant_table.ts";
import type { Balloon } from "./balloon.ts";

/** One named omission. */
export interface XenQuirk {
  /** What `xen.quirk=` takes. */
  readonly name: string;
  /** Id in the bug catalogue; `"-"` if no kernel was ever without. */
  readonly id: string;
  /** What is left out, in a line. */
  readonly summary: string;
}

/** Calls of vm_unmap_aliases(), each of which can be left out. */
export const XEN_QUIRKS: readonly XenQuirk[] = [
  {
    name: "no-unmap-aliases-on-pin",
    id: "A28",
    summary: "xen_pgd_pin() leaves lazily unmapped aliases of the tree",
  },
  {
    name: "no-unmap-aliases-on-alloc-ptpage",
    id: "A28",
    summary: "so does xen_alloc_ptpage(), of a table added to a pinned tree",
  },
  {
    name: "late-unmap-aliases",
    id: "A28",
    summary: "xen_pgd_pin() unmaps aliases once the tree has been pinned",
  },
  {
    name: "no-unmap-aliases-on-ldt",
    id: "-",
    summary:
      "xen_alloc_ldt() leaves aliases of a descriptor table's pages, as 2.6.28 did",
  },
];

/** The quirks as booleans, for code that asks often. */
export class XenQuirks {
  readonly pinWithAliases: boolean;
  readonly allocWithAliases: boolean;
  readonly lateUnmapAliases: boolean;
  readonly ldtWithAliases: boolean;

  /** @throws {RangeError} If a name is none of {@linkcode XEN_QUIRKS}. */
  constructor(names: ReadonlySet<string>) {
    const known = XEN_QUIRKS.map(({ name }) => name);
    for (const name of names) {
      if (known.includes(name)) continue;
      throw new RangeError(
        `Cannot use xen.quirk as it must be one of ${
          known.join(", ")
        } (nearest is "${nearest(name, known)}"): current value is "${name}"`,
      );
    }
    this.pinWithAliases = names.has("no-unmap-aliases-on-pin");
    this.allocWithAliases = names.has("no-unmap-aliases-on-alloc-ptpage");
    this.ldtWithAliases = names.has("no-unmap-aliases-on-ldt");
    this.lateUnmapAliases = names.has("late-unmap-aliases");
  }
}

/** State of one guest kernel. */
export class XenState {
  readonly quirks: XenQuirks;
  /** Handlers of event channels, by `domid * NR_EVENT_CHANNELS + port`. */
  readonly handlers: Map<number, EvtchnHandler> = new Map();
  /** Each domain's grant table, once it has been asked for. */
  grants: GrantTables | null = null;
  balloon: Balloon | null = null;

  constructor(readonly k: Kernel, readonly hypervisor: Hypervisor) {
    this.quirks = new XenQuirks(k.params.xen_quirk);
  }
}
