/** Interrupt vectors of the emulated machine, as the engine numbers them. */
import { TIMER_VECTOR } from "../arch/sim/cpu.ts";

/** The local APIC's timer. */
export const LOCAL_TIMER_VECTOR = TIMER_VECTOR;
/** "Look at need_resched." */
export const RESCHEDULE_VECTOR = 1;
/** A function for several CPUs is on call_function_queue. */
export const CALL_FUNCTION_VECTOR = 2;
/** A function for this CPU is on its call_single_queue. */
export const CALL_FUNCTION_SINGLE_VECTOR = 3;
/** "Flush user translations." Only counted: nothing here has user memory. */
export const INVALIDATE_TLB_VECTOR = 4;
/** "Look at the event channels": Xen's upcall. */
export const XEN_EVTCHN_VECTOR = 5;
/** How many there are. */
export const NR_VECTORS = 6;
