/**
 * set_memory_uc(), set_memory_ro() and their kin (arch/x86/mm/pageattr.c,
 * 2.6.28): change_page_attr() by the names that callers know.
 *
 * x86 alone has them; elsewhere they return -EINVAL.
 */
import { enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { PROT_NX, PROT_PCD, PROT_PWT, PROT_WRITE } from "../../arch/hw/pte.ts";
import { EINVAL, err, type Errno } from "../lib/errno.ts";
import type { Thread } from "../thread.ts";
import {
  change_page_attr_set_clr,
  direct_pfn,
  PROT_CACHE,
} from "./pageattr.ts";
import { free_memtype, reserve_memtype } from "./pat.ts";

/** The type that set_memory_uc() asks for. */
const PROT_CACHE_UC_MINUS = PROT_PCD;

/** Refuses what is no number of pages, before anything is claimed or changed. */
function check_numpages(name: string, numpages: number): void {
  if (Number.isInteger(numpages) && numpages >= 0) return;
  throw new RangeError(
    `Cannot call ${name} as numpages must be an integer >= 0: current value is ${numpages}`,
  );
}

/** change_page_attr_set_clr() under the name that the caller knows. */
function* change(
  t: Thread,
  name: string,
  addr: number,
  numpages: number,
  set: number,
  clear: number,
): Steps<0 | Errno> {
  check_numpages(name, numpages);
  enter(t, ksym(name));
  const error = yield* change_page_attr_set_clr(t, addr, numpages, set, clear);
  leave(t);
  return error;
}

/** Claims pages of the direct map for a type, then sets it. */
function* change_type(
  t: Thread,
  name: string,
  addr: number,
  numpages: number,
  type: number,
): Steps<0 | Errno> {
  check_numpages(name, numpages);
  const pfn = direct_pfn(t.k, addr);
  if (t.k.arch !== "x86" || pfn < 0) return err(EINVAL);
  const claimed = yield* reserve_memtype(t, pfn, numpages);
  if (claimed !== 0) return claimed;
  const error = yield* change(t, name, addr, numpages, type, 0);
  if (error !== 0) yield* free_memtype(t, pfn, numpages); // 2.6.28 keeps the claim
  return error;
}

/**
 * Makes pages of the direct map uncached.
 *
 * Linux: arch/x86/mm/pageattr.c.
 *
 * @returns 0; -EINVAL if they are not write-back or not of the direct map.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   free_page,
 *   get_zeroed_page,
 *   GFP_KERNEL,
 *   set_memory_uc,
 *   set_memory_wb,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const addr = yield* get_zeroed_page(t, GFP_KERNEL);
 *   assertEquals(yield* set_memory_uc(t, addr, 1), 0);
 *   assertEquals(yield* set_memory_uc(t, addr, 1), -22); // it is no longer write-back
 *   yield* set_memory_wb(t, addr, 1);
 *   yield* free_page(t, addr);
 * });
 * ```
 */
export function set_memory_uc(
  t: Thread,
  addr: number,
  numpages: number,
): Steps<0 | Errno> {
  return change_type(t, "set_memory_uc", addr, numpages, PROT_CACHE_UC_MINUS);
}

/**
 * Makes pages of the direct map write-combining; see {@linkcode set_memory_uc}.
 *
 * Linux: arch/x86/mm/pageattr.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   free_page,
 *   get_zeroed_page,
 *   GFP_KERNEL,
 *   set_memory_wb,
 *   set_memory_wc,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const addr = yield* get_zeroed_page(t, GFP_KERNEL);
 *   assertEquals(yield* set_memory_wc(t, addr, 1), 0);
 *   yield* set_memory_wb(t, addr, 1);
 *   yield* free_page(t, addr);
 * });
 * ```
 */
export function set_memory_wc(
  t: Thread,
  addr: number,
  numpages: number,
): Steps<0 | Errno> {
  return change_type(t, "set_memory_wc", addr, numpages, PROT_PWT);
}

/**
 * Makes pages of the direct map write-back again, as all memory is to begin with.
 *
 * Linux: arch/x86/mm/pageattr.c.
 *
 * @returns 0; -EINVAL if they are, or are not of the direct map.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   free_page,
 *   get_zeroed_page,
 *   GFP_KERNEL,
 *   set_memory_wb,
 *   set_memory_wc,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * boot().run(function* (t) {
 *   const addr = yield* get_zeroed_page(t, GFP_KERNEL);
 *   assertEquals(yield* set_memory_wb(t, addr, 1), -22); // it is already
 *   yield* set_memory_wc(t, addr, 1);
 *   assertEquals(yield* set_memory_wb(t, addr, 1), 0);
 *   yield* free_page(t, addr);
 * });
 * ```
 */
export function* set_memory_wb(
  t: Thread,
  addr: number,
  numpages: number,
): Steps<0 | Errno> {
  check_numpages("set_memory_wb", numpages);
  const pfn = direct_pfn(t.k, addr);
  if (t.k.arch !== "x86" || pfn < 0) return err(EINVAL);
  const error = yield* free_memtype(t, pfn, numpages);
  if (error !== 0) return error;
  return yield* change(t, "set_memory_wb", addr, numpages, 0, PROT_CACHE);
}

/**
 * Allows instruction fetch.
 *
 * Linux: arch/x86/mm/pageattr.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   set_memory_x,
 *   vmalloc,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const error = boot().run(function* (t) {
 *   const addr = yield* vmalloc(t, 8192);
 *   return yield* set_memory_x(t, addr, 2);
 * });
 * assertEquals(error, 0);
 * ```
 */
export function set_memory_x(
  t: Thread,
  addr: number,
  numpages: number,
): Steps<0 | Errno> {
  return change(t, "set_memory_x", addr, numpages, 0, PROT_NX);
}

/**
 * Forbids instruction fetch.
 *
 * Linux: arch/x86/mm/pageattr.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   set_memory_nx,
 *   vmalloc_exec,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const errors = boot().run(function* (t) {
 *   const addr = yield* vmalloc_exec(t, 4096);
 *   const there = yield* set_memory_nx(t, addr, 1);
 *   const guard = yield* set_memory_nx(t, addr + 4096, 1);
 *   return [there, guard];
 * });
 * assertEquals(errors, [0, -14]); // -EFAULT: nothing is mapped there
 * ```
 */
export function set_memory_nx(
  t: Thread,
  addr: number,
  numpages: number,
): Steps<0 | Errno> {
  return change(t, "set_memory_nx", addr, numpages, PROT_NX, 0);
}

/**
 * Forbids stores, through the direct map too.
 *
 * Linux: arch/x86/mm/pageattr.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   KernelBug,
 *   set_memory_ro,
 *   vmalloc,
 *   vstore,
 * } from "@vmaplab/vmaplab";
 * import { assertThrows } from "@std/assert";
 *
 * const machine = boot();
 * const addr = machine.run(function* (t) {
 *   const addr = yield* vmalloc(t, 4096);
 *   yield* set_memory_ro(t, addr, 1);
 *   return addr;
 * });
 * assertThrows(
 *   () => machine.run((t) => vstore(t, addr, 8, 1)),
 *   KernelBug,
 *   "write to read-only",
 * );
 * ```
 */
export function set_memory_ro(
  t: Thread,
  addr: number,
  numpages: number,
): Steps<0 | Errno> {
  return change(t, "set_memory_ro", addr, numpages, 0, PROT_WRITE);
}

/**
 * Allows stores, through the direct map too.
 *
 * Linux: arch/x86/mm/pageattr.c.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   set_memory_ro,
 *   set_memory_rw,
 *   vload,
 *   vmalloc,
 *   vstore,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const value = boot().run(function* (t) {
 *   const addr = yield* vmalloc(t, 4096);
 *   yield* set_memory_ro(t, addr, 1);
 *   yield* set_memory_rw(t, addr, 1);
 *   yield* vstore(t, addr, 8, 7);
 *   return yield* vload(t, addr, 8);
 * });
 * assertEquals(value, 7);
 * ```
 */
export function set_memory_rw(
  t: Thread,
  addr: number,
  numpages: number,
): Steps<0 | Errno> {
  return change(t, "set_memory_rw", addr, numpages, PROT_WRITE, 0);
}
