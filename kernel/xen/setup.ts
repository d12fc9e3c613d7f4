/**
 * The kernel finds itself a guest of Xen (arch/x86/xen/enlighten.c,
 * xen_start_kernel()).
 */
import { charge } from "../../arch/asm.ts";
import { BUG } from "../bug.ts";
import { XEN_EVTCHN_VECTOR } from "../irq_vectors.ts";
import { keep_alias_log } from "../mm/alias_log.ts";
import { KERN_ERR, KERN_INFO, printk } from "../printk.ts";
import type { Thread } from "../thread.ts";
import { XenState } from "./xen_state.ts";

/** The state of `t`'s kernel, which must be a guest. */
export function xen_state(t: Thread): XenState {
  return t.k.xen ?? BUG(t, "not a guest of Xen");
}

/** Takes up with the hypervisor, if there is one. Boot, one CPU. Plain. */
export function xen_start_kernel(t: Thread): void {
  const { k } = t;
  const { xen } = k.machine;
  if (xen === null) return;
  charge(t, 2000);
  k.xen = new XenState(k, xen);
  xen.callbackVector = XEN_EVTCHN_VECTOR;
  xen.onLine = (context, line) => printk(context as Thread, KERN_ERR, line);
  keep_alias_log(k);
  printk(t, KERN_INFO, "Booting paravirtualized kernel on Xen");
  printk(t, KERN_INFO, "Xen version: 3.3 (vmaplab)");
}
