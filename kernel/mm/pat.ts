/**
 * Memory types of RAM (arch/x86/mm/pat.c, 2.6.28: reserve_ram_pages_type()): a
 * page has one type at a time, and must be write-back again before it gets
 * another.
 *
 * Differs from Linux: PageNonWB is a set of frames beside the pages. Left out:
 * types of device memory, which ioremap() here does not ask for.
 */
import { charge, enter, ksym, leave, type Steps } from "../../arch/asm.ts";
import { EINVAL, err, type Errno } from "../lib/errno.ts";
import { spin_lock, spin_unlock } from "../locking/spinlock.ts";
import type { Thread } from "../thread.ts";
import { pageattr_state } from "./pageattr_state.ts";

const RESERVE_MEMTYPE = ksym("reserve_memtype");
const FREE_MEMTYPE = ksym("free_memtype");

/** Claims `count` frames from `pfn` on for a type other than write-back. @returns 0; -EINVAL if one has such a type. */
export function* reserve_memtype(
  t: Thread,
  pfn: number,
  count: number,
): Steps<0 | Errno> {
  enter(t, RESERVE_MEMTYPE);
  const state = pageattr_state(t.k);
  yield* spin_lock(t, state.memtype_lock);
  charge(t, 20 + 8 * count);
  let error: 0 | Errno = 0;
  for (let i = 0; i < count; i++) {
    if (state.non_wb.has(pfn + i)) error = err(EINVAL);
  }
  for (let i = 0; error === 0 && i < count; i++) state.non_wb.add(pfn + i);
  yield* spin_unlock(t, state.memtype_lock);
  leave(t);
  return error;
}

/** Makes `count` frames from `pfn` on write-back again, in the books: all, or none. @returns 0; -EINVAL if one was. */
export function* free_memtype(
  t: Thread,
  pfn: number,
  count: number,
): Steps<0 | Errno> {
  enter(t, FREE_MEMTYPE);
  const state = pageattr_state(t.k);
  yield* spin_lock(t, state.memtype_lock);
  charge(t, 20 + 8 * count);
  let error: 0 | Errno = 0;
  for (let i = 0; i < count; i++) {
    if (!state.non_wb.has(pfn + i)) error = err(EINVAL);
  }
  for (let i = 0; error === 0 && i < count; i++) state.non_wb.delete(pfn + i);
  yield* spin_unlock(t, state.memtype_lock);
  leave(t);
  return error;
}
