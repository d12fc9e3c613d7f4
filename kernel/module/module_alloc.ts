/**
 * Where modules live (arch/x86/kernel/module_64.c, module_32.c;
 * arch/ia64/kernel/module.c): on x86-64 a range of their own, within reach of
 * the kernel's text by a signed 32-bit displacement; elsewhere vmalloc space.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { PAGE_KERNEL_EXEC } from "../../arch/hw/pte.ts";
import { ALIGN } from "../lib/bitops.ts";
import { __GFP_HIGHMEM, GFP_KERNEL } from "../mm/gfp.ts";
import { VM_ALLOC } from "../mm/vm_struct.ts";
import {
  __get_vm_area,
  __vmalloc,
  __vmalloc_area,
  caller_of,
  vfree,
} from "../mm/vmalloc.ts";
import type { Thread } from "../thread.ts";
import { module_state } from "./module.ts";

const MODULE_ALLOC = ksym("module_alloc");
const MODULE_FREE = ksym("module_free");

/**
 * Executable memory of `size` bytes for a module, rounded up to pages.
 *
 * Context: process.
 *
 * Linux: arch/x86/kernel/module_64.c.
 *
 * @returns The address; 0 if `size` is 0 or too much, or there is no room or memory.
 *
 * @example
 * ```ts
 * import { boot, module_alloc, module_free } from "@vmaplab/vmaplab";
 * import { assert } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const { start, end } = t.k.vmalloc.modules;
 *   const region = yield* module_alloc(t, 8192);
 *   assert(region >= start && region + 8192 <= end);
 *   yield* module_free(t, region);
 * });
 * ```
 */
export function* module_alloc(t: Thread, size: number): Steps<number> {
  enter(t, MODULE_ALLOC);
  const addr = yield* alloc(t, size);
  leave(t);
  return addr;
}

function* alloc(t: Thread, size: number): Steps<number> {
  charge(t, 10);
  if (size === 0) return 0;
  const { start, end } = t.k.vmalloc.modules;
  if (start === t.k.vmalloc.start) {
    // vmalloc_exec(); on ia64 all kernel memory is executable.
    return yield* __vmalloc(
      t,
      size,
      GFP_KERNEL | __GFP_HIGHMEM,
      PAGE_KERNEL_EXEC,
    );
  }
  const bytes = ALIGN(size, t.k.vmalloc.page_size);
  if (!(bytes <= end - start)) return 0;
  const caller = caller_of(t);
  const area = yield* __get_vm_area(t, bytes, VM_ALLOC, start, end, caller);
  if (area === null) return 0;
  return yield* __vmalloc_area(t, area, GFP_KERNEL, PAGE_KERNEL_EXEC);
}

/** {@linkcode module_alloc}, and the bounds of all modules widen. Locks: module_mutex held. */
export function* module_alloc_update_bounds(
  t: Thread,
  size: number,
): Steps<number> {
  const addr = yield* module_alloc(t, size);
  if (addr !== 0) {
    const state = module_state(t.k);
    state.module_addr_min = Math.min(state.module_addr_min, addr);
    state.module_addr_max = Math.max(state.module_addr_max, addr + size);
  }
  return addr;
}

/**
 * Frees what {@linkcode module_alloc} gave; 0 is fine.
 *
 * Context: process.
 *
 * Linux: arch/x86/kernel/module_64.c.
 *
 * @example
 * ```ts
 * import { boot, module_alloc, module_free } from "@vmaplab/vmaplab";
 *
 * boot().run(function* (t) {
 *   yield* module_free(t, yield* module_alloc(t, 4096));
 *   yield* module_free(t, 0); // fine
 * });
 * ```
 */
export function* module_free(t: Thread, region: number): Steps {
  enter(t, MODULE_FREE);
  yield* vfree(t, region);
  leave(t);
}
