/**
 * Hypercalls saved up and made together (arch/x86/xen/multicalls.c): up to 32 of
 * them for one trap. None has happened before the batch is issued.
 *
 * Between xen_mc_batch() and xen_mc_issue() interrupts are off.
 *
 * Differs from Linux: a batch is an object of its function, not the CPU's
 * buffer, which nobody else could use meanwhile anyway.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  local_irq_restore,
  local_irq_save,
  type Steps,
} from "../../arch/asm.ts";
import type { MulticallEntry } from "../../arch/xen/abi.ts";
import { BUG } from "../bug.ts";
import { alias_line, find_aliases, is_lazy_alias } from "../mm/alias_report.ts";
import { KERN_DEBUG, KERN_ERR, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import { HYPERVISOR_multicall } from "./hypercall.ts";

const XEN_MC_FLUSH = ksym("xen_mc_flush");
/** Aliases that a report names at most. */
const ALIAS_LINES = 8;
/** Calls in a batch at most. */
const MC_BATCH = 32;

/** Calls that wait. */
export class Batch {
  calls: MulticallEntry[] = [];

  /** @param flags Whether interrupts were on. */
  constructor(readonly flags: boolean) {}
}

/** Begins a batch: interrupts off until {@linkcode xen_mc_issue}. */
export function xen_mc_batch(t: Thread): Batch {
  return new Batch(local_irq_save(t));
}

/** Adds a call; makes those that wait if there is no room. */
export function* xen_mc_entry(
  t: Thread,
  batch: Batch,
  call: MulticallEntry,
): Steps {
  charge(t, 12);
  if (batch.calls.length === MC_BATCH) yield* xen_mc_flush(t, batch);
  batch.calls.push(call);
}

/** Makes the calls that wait, and ends the batch. */
export function* xen_mc_issue(t: Thread, batch: Batch): Steps {
  yield* xen_mc_flush(t, batch);
  local_irq_restore(t, batch.flags);
}

/** Makes the calls that wait. One that fails is the kernel's BUG. */
function* xen_mc_flush(t: Thread, batch: Batch): Steps {
  const { calls } = batch;
  batch.calls = [];
  if (calls.length === 0) return;
  enter(t, XEN_MC_FLUSH);
  charge(t, 20 + 4 * calls.length);
  yield* HYPERVISOR_multicall(t, calls);
  const failed = calls.filter(({ result }) => result !== 0);
  if (failed.length > 0) {
    printk(
      t,
      KERN_DEBUG,
      `${failed.length} multicall(s) failed: cpu ${t.cpu.id}`,
    );
    calls.forEach(({ op, result }, i) => {
      if (result === 0) return;
      const nr = String(i + 1).padStart(2);
      printk(
        t,
        KERN_DEBUG,
        `  call ${nr}/${calls.length}: op=${op} result=${result}`,
      );
    });
    xen_refused(t, `${failed.length} multicall(s) failed`);
  }
  leave(t);
}

/**
 * The end of a kernel whose request the hypervisor has refused: names every
 * alias of the frame, and in the headline one that was left by a lazy unmap.
 */
export function xen_refused(t: Thread, what: string): never {
  const { k } = t;
  const refusal = k.machine.xen!.frames.refusal;
  if (refusal === null) BUG(t, what);
  const aliases = find_aliases(k, new Set([refusal.mfn]));
  const lines = aliases.map((alias) => alias_line(k, alias));
  for (const line of lines.slice(0, ALIAS_LINES)) {
    printk(t, KERN_ERR, `xen: ${line}`);
  }
  if (lines.length > ALIAS_LINES) {
    printk(t, KERN_ERR, `xen: and ${lines.length - ALIAS_LINES} more`);
  }
  const named = Math.max(0, aliases.findIndex(is_lazy_alias));
  const why = lines.length === 0
    ? `no alias of frame ${refusal.mfn.toString(16)} found`
    : lines[named];
  BUG(t, `${what}: ${why}`);
}
