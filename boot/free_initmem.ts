/** free_initmem() (arch/x86/mm/init.c): the memory of code that runs once. */
import { charge, type Steps } from "../arch/asm.ts";
import { KERN_INFO, printk } from "../kernel/printk.ts";
import type { Thread } from "../kernel/thread.ts";

/** Size of a 2.6.28 x86-64 kernel's init sections, as `Freeing unused kernel memory` states it, KiB. */
const INIT_KIB = 512;

/**
 * Gives the init sections back. The kernel image is not in emulated memory, so
 * there are no pages to free: time and message only.
 */
// deno-lint-ignore require-yield -- a boot step like the others
export function* free_initmem(t: Thread): Steps {
  charge(t, 40 * INIT_KIB / 4);
  printk(t, KERN_INFO, `Freeing unused kernel memory: ${INIT_KIB}k freed`);
}
