/**
 * Historic bugs of the vmap layer that can be put back by name:
 * `vmap.quirk=NAME[,NAME]` on the command line.
 *
 * The default kernel has none of them. Each name switches one `if` beside the
 * fix it lifts, marked there with the catalogue's id (A1, B2, ...) of
 * `docs/LINUX.md`. Code on hot paths reads {@linkcode VmapQuirks}, booleans
 * that are computed once.
 */
import { nearest } from "../../arch/sim/nearest.ts";

/** One named quirk. */
export interface Quirk {
  /** What `vmap.quirk=` takes. */
  readonly name: string;
  /** Id in the bug catalogue. */
  readonly id: string;
  /** Upstream commit that the quirk takes back out; `"-"` if it never had one of its own. */
  readonly fixedBy: string;
  /** First release that had it; `"-"` = none: as posted for review, or ours. */
  readonly since: "2.6.28" | "-";
  /** First release without it; `"-"` = none so far, as far as is known. */
  readonly fixedIn: string;
  /** What goes wrong, in a line. */
  readonly summary: string;
  /** Whether it takes two CPUs, or a grace period at the wrong moment, to show. */
  readonly needsRace: boolean;
}

/** Every quirk there is, in the order of the catalogue; at the end two of vmaplab's own. */
export const QUIRKS: readonly Quirk[] = [
  {
    name: "posted-search",
    id: "A1",
    fixedBy: "db64fe02258f",
    since: "-",
    fixedIn: "2.6.28",
    summary:
      "the lowest address is taken without a look at what follows, so areas overlap",
    needsRace: false,
  },
  {
    name: "insert-overlap",
    id: "A2",
    fixedBy: "68ad4a330433",
    since: "2.6.28",
    fixedIn: "5.2",
    summary: "linking an area that overlaps another one goes unnoticed",
    needsRace: false,
  },
  {
    name: "trylock-purge-on-failure",
    id: "A4",
    fixedBy: "496850e5f5a3",
    since: "2.6.28",
    fixedIn: "2.6.28",
    summary:
      "an allocation that does not fit does not wait for a purge under way",
    needsRace: true,
  },
  {
    name: "retry-from-failure",
    id: "A5",
    fixedBy: "0ae15132a4f5",
    since: "2.6.28",
    fixedIn: "2.6.28",
    summary: "after a purge the search goes on where it had given up",
    needsRace: false,
  },
  {
    name: "no-overflow-check",
    id: "A6",
    fixedBy: "7766970cc13e",
    since: "2.6.28",
    fixedIn: "2.6.29",
    summary: "address plus size wraps, and a huge request lands on others",
    needsRace: false,
  },
  {
    name: "purge-iterator",
    id: "A7",
    fixedBy: "cbb766766f3f",
    since: "2.6.28",
    fixedIn: "2.6.29",
    summary: "the purge reads the link of an area it has just given to RCU",
    needsRace: true,
  },
  {
    name: "lazy-counter-after-flag",
    id: "A8",
    fixedBy: "88f500443040",
    since: "2.6.28",
    fixedIn: "2.6.33",
    summary:
      "an area is flagged before it is counted, and the purge traps on the sum",
    needsRace: true,
  },
  {
    name: "purge-lock-irqs-off",
    id: "A9",
    fixedBy: "f9e09977671b",
    since: "2.6.28",
    fixedIn: "4.10",
    summary:
      "a CPU waits with interrupts off for the purge lock, whose holder waits for that CPU's flush",
    needsRace: true,
  },
  {
    name: "leak-on-failure",
    id: "A10",
    fixedBy: "2498ce42d3a4",
    since: "2.6.28",
    fixedIn: "2.6.30",
    summary: "a failed allocation leaks its descriptor",
    needsRace: false,
  },
  {
    name: "free-before-unlink",
    id: "A11",
    fixedBy: "dd32c279983b",
    since: "2.6.28",
    fixedIn: "2.6.32",
    summary: "the address is given back while its vm_struct is still listed",
    needsRace: true,
  },
  {
    name: "double-free-accepted",
    id: "A12",
    fixedBy: "c69480adeea1",
    since: "2.6.28",
    fixedIn: "3.10",
    summary: "a second vfree() before the purge finds the area again",
    needsRace: false,
  },
  {
    name: "static-vmap-area",
    id: "A13",
    fixedBy: "0006526d78e9",
    since: "2.6.28",
    fixedIn: "3.3",
    summary: "__get_vm_area_node() keeps its area in a function-static pointer",
    needsRace: true,
  },
  {
    name: "no-vmlist-import",
    id: "A14",
    fixedBy: "822c18f2e38c",
    since: "2.6.28",
    fixedIn: "2.6.29",
    summary: "areas set up before vmalloc_init() are handed out again",
    needsRace: false,
  },
  {
    name: "no-init-check",
    id: "A15",
    fixedBy: "9b46333406b9",
    since: "2.6.28",
    fixedIn: "2.6.28",
    summary: "vm_unmap_aliases() before vmalloc_init() follows a null list",
    needsRace: false,
  },
  {
    name: "clear-after-dirty",
    id: "A18",
    fixedBy: "64141da58724",
    since: "-",
    fixedIn: "2.6.37",
    summary:
      "vm_unmap_ram() clears page-table entries after it has given the pages up",
    needsRace: true,
  },
  {
    name: "full-blocks-skipped",
    id: "B1",
    fixedBy: "fc1e0d980037",
    since: "2.6.28",
    fixedIn: "6.5",
    summary: "vm_unmap_aliases() does not see blocks that are all handed out",
    needsRace: false,
  },
  {
    name: "block-list-rcu-union",
    id: "B2",
    fixedBy: "de5604231ce4",
    since: "2.6.28",
    fixedIn: "2.6.33",
    summary:
      "a block's list link is where its RCU head is: call_rcu() overwrites it under readers",
    needsRace: true,
  },
  {
    name: "block-list-del-init",
    id: "B2",
    fixedBy: "de5604231ce4",
    since: "2.6.28",
    fixedIn: "2.6.33",
    summary:
      "a block taken off its queue is made to point to itself: a reader on it never gets off",
    needsRace: true,
  },
  {
    name: "rescan-after-new-block",
    id: "B5",
    fixedBy: "cf725ce274ef",
    since: "2.6.28",
    fixedIn: "4.1",
    summary:
      "a new block is published before its creator has its share, then searched for again",
    needsRace: true,
  },
  {
    name: "odd-block-size",
    id: "B6",
    fixedBy: "f982f91516fa",
    since: "2.6.28",
    fixedIn: "3.1",
    summary:
      "the block size is divided by NR_CPUS and need not be a power of 2",
    needsRace: false,
  },
  {
    name: "size-in-32-bits",
    id: "B13",
    fixedBy: "-",
    since: "2.6.28",
    fixedIn: "-",
    summary: "vm_map_ram() computes its byte count in 32 bits and takes 0",
    needsRace: false,
  },
  {
    name: "unchecked-dirty",
    id: "B15",
    fixedBy: "de5604231ce4",
    since: "2.6.28",
    fixedIn: "2.6.33",
    summary: "a second vm_unmap_ram() of the same pages goes unnoticed",
    needsRace: false,
  },
  {
    name: "purge-without-flush",
    id: "V1",
    fixedBy: "-",
    since: "-",
    fixedIn: "-",
    summary:
      "ours, never Linux's: a purge gives addresses back that TLBs still translate",
    needsRace: false,
  },
  {
    name: "retire-before-flag",
    id: "V2",
    fixedBy: "-",
    since: "-",
    fixedIn: "-",
    summary:
      "ours, found by the explorer: vm_unmap_aliases() sees a block that is being retired neither as a block nor as a freed area",
    needsRace: true,
  },
];

/** Month of each release that a quirk was fixed in, and of the one that brought them. */
const RELEASED: Readonly<
  Record<string, readonly [year: number, month: number]>
> = {
  "2.6.28": [2008, 12],
  "2.6.29": [2009, 3],
  "2.6.30": [2009, 6],
  "2.6.32": [2009, 12],
  "2.6.33": [2010, 2],
  "2.6.37": [2011, 1],
  "3.1": [2011, 10],
  "3.3": [2012, 3],
  "3.10": [2013, 6],
  "4.1": [2015, 6],
  "4.10": [2017, 2],
  "5.2": [2019, 7],
  "6.5": [2023, 8],
};

/**
 * Years that releases had `quirk`, from the one that brought it to the one
 * without it.
 *
 * @returns 0 = fixed before the first release; `null` = in no release, or never
 * fixed.
 */
export function quirkYears({ since, fixedIn }: Quirk): number | null {
  if (since === "-" || fixedIn === "-") return null;
  const [from, fromMonth] = RELEASED[since];
  const [to, toMonth] = RELEASED[fixedIn];
  return to - from + (toMonth - fromMonth) / 12;
}

/** The quirks of one kernel as booleans, for code that cannot ask a set. */
export class VmapQuirks {
  readonly postedSearch: boolean;
  /** Also on with whatever makes areas overlap: the trap came years later. */
  readonly insertOverlap: boolean;
  readonly trylockPurge: boolean;
  readonly retryFromFailure: boolean;
  readonly noOverflowCheck: boolean;
  readonly purgeIterator: boolean;
  readonly counterAfterFlag: boolean;
  readonly purgeLockIrqsOff: boolean;
  readonly leakOnFailure: boolean;
  readonly freeBeforeUnlink: boolean;
  readonly doubleFree: boolean;
  readonly staticArea: boolean;
  readonly noImport: boolean;
  readonly clearAfterDirty: boolean;
  readonly fullBlocksSkipped: boolean;
  readonly rcuUnion: boolean;
  readonly delInit: boolean;
  /** vm_unmap_aliases() walks the CPUs' queues, whatever else it does. */
  readonly queuesWalked: boolean;
  readonly rescanNewBlock: boolean;
  readonly oddBlockSize: boolean;
  readonly shortSize: boolean;
  readonly uncheckedDirty: boolean;
  readonly purgeWithoutFlush: boolean;
  readonly retireBeforeFlag: boolean;

  /**
   * Reads the set once.
   *
   * @throws {RangeError} If it has a name that is no quirk.
   */
  constructor(names: ReadonlySet<string>) {
    const [unknown] = unknownQuirks(names);
    if (unknown !== undefined) throw new RangeError(unknown);
    this.postedSearch = names.has("posted-search");
    this.noOverflowCheck = names.has("no-overflow-check");
    this.insertOverlap = names.has("insert-overlap") || this.postedSearch ||
      this.noOverflowCheck;
    this.trylockPurge = names.has("trylock-purge-on-failure");
    this.retryFromFailure = names.has("retry-from-failure");
    this.purgeIterator = names.has("purge-iterator");
    this.counterAfterFlag = names.has("lazy-counter-after-flag");
    this.purgeLockIrqsOff = names.has("purge-lock-irqs-off");
    this.leakOnFailure = names.has("leak-on-failure");
    this.freeBeforeUnlink = names.has("free-before-unlink");
    this.doubleFree = names.has("double-free-accepted");
    this.staticArea = names.has("static-vmap-area");
    this.noImport = names.has("no-vmlist-import");
    this.clearAfterDirty = names.has("clear-after-dirty");
    this.fullBlocksSkipped = names.has("full-blocks-skipped");
    this.rcuUnion = names.has("block-list-rcu-union");
    this.delInit = names.has("block-list-del-init");
    this.queuesWalked = this.fullBlocksSkipped || this.rcuUnion || this.delInit;
    this.rescanNewBlock = names.has("rescan-after-new-block");
    this.oddBlockSize = names.has("odd-block-size");
    this.shortSize = names.has("size-in-32-bits");
    this.uncheckedDirty = names.has("unchecked-dirty");
    this.purgeWithoutFlush = names.has("purge-without-flush");
    this.retireBeforeFlag = names.has("retire-before-flag");
  }
}

/**
 * Checks names given by the user.
 *
 * @returns A sentence for each name that is no quirk, with the nearest that is.
 */
function unknownQuirks(names: Iterable<string>): string[] {
  const known = QUIRKS.map(({ name }) => name);
  const messages: string[] = [];
  for (const name of names) {
    if (known.includes(name)) continue;
    messages.push(
      `Cannot switch on the quirk "${name}" as there is no such quirk: did you mean "${
        nearest(name, known)
      }"?`,
    );
  }
  return messages;
}
