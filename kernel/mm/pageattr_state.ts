/** What change_page_attr() keeps: its lock, what is not write-back, counts. */
import type { Kernel } from "../kernel.ts";
import { Spinlock } from "../locking/spinlock.ts";
import { keep_alias_log } from "./alias_log.ts";

/** State of one kernel's page attributes, `k.pageattr`; made at first use. */
export class PageattrState {
  /** Guards entries while they are looked at and changed. */
  readonly cpa_lock: Spinlock;
  /** Guards `non_wb`. */
  readonly memtype_lock: Spinlock;
  /** Frames of memory that are not write-back: PageNonWB. */
  readonly non_wb: Set<number> = new Set();

  // Fixed after init: quirks.
  /** Lazily unmapped aliases are left alone. */
  readonly noUnmapAliases: boolean;
  /** TLBs are left alone. */
  readonly noFlush: boolean;

  // Counters, for reports.
  /** Calls of change_page_attr_set_clr(). */
  calls = 0;
  /** Large pages split. */
  splits = 0;
  /** Entries changed, aliases in the direct map included. */
  changes = 0;

  constructor(k: Kernel) {
    this.cpa_lock = new Spinlock(k, "cpa_lock");
    this.memtype_lock = new Spinlock(k, "memtype_lock");
    this.noUnmapAliases = k.params.pageattr_quirk.has("no-unmap-aliases");
    this.noFlush = k.params.pageattr_quirk.has("no-flush");
  }
}

/** The state of `k`. From its first use on, the alias log is kept. */
export function pageattr_state(k: Kernel): PageattrState {
  if (k.pageattr === null) {
    keep_alias_log(k);
    k.pageattr = new PageattrState(k);
  }
  return k.pageattr;
}
