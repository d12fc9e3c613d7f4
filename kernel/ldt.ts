/**
 * Local descriptor tables (arch/x86/kernel/ldt.c, 2.6.28): a table of up to a
 * page is a page of the direct map, a larger one comes from vmalloc().
 *
 * Under Xen a table must not be writable by anybody while it is in use: the
 * hooks of {@linkcode LdtOps} change every alias that they know of, and one that
 * lazy unmapping has left makes the hypervisor refuse.
 *
 * Lock order: context.lock, then what vmalloc() takes: it is a mutex.
 *
 * Left out: what a descriptor means, and reading tables; no processes load one,
 * so a table that changes is not reloaded on other CPUs.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  type Steps,
  vload,
  vstore,
} from "../arch/asm.ts";
import { EINVAL, ENOMEM, err, type Errno } from "./lib/errno.ts";
import { Mutex, mutex_lock, mutex_unlock } from "./locking/mutex.ts";
import { GFP_KERNEL } from "./mm/gfp.ts";
import { __get_free_page, free_page } from "./mm/get_free_pages.ts";
import { vfree, vmalloc } from "./mm/vmalloc.ts";
import type { Kernel } from "./kernel.ts";
import type { Thread } from "./thread.ts";

const ALLOC_LDT = ksym("alloc_ldt");
const WRITE_LDT = ksym("write_ldt");
const DESTROY_CONTEXT = ksym("destroy_context");

/** Bytes of a descriptor. */
export const LDT_ENTRY_SIZE = 8;
/** Descriptors of a table at most. */
export const LDT_ENTRIES = 8192;

/** What paravirtualisation changes about tables: pv_cpu_ops. */
export interface LdtOps {
  /** A table of `entries` at `addr` is about to be used. */
  alloc_ldt(t: Thread, addr: number, entries: number): Steps;
  /** It is no longer. */
  free_ldt(t: Thread, addr: number, entries: number): Steps;
  /** Writes one descriptor of a table in use. */
  write_ldt_entry(t: Thread, addr: number, lo: number, hi: number): Steps;
}

/** Bare hardware: tables are memory. */
export const NATIVE_LDT: LdtOps = {
  *alloc_ldt() {},
  *free_ldt() {},
  *write_ldt_entry(t, addr, lo, hi) {
    yield* vstore(t, addr, 4, lo);
    yield* vstore(t, addr + 4, 4, hi);
  },
};

/** A process's table: mm_context_t. */
export class LdtContext {
  // Guarded by `lock`.
  readonly lock: Mutex;
  /** Address; 0 = none. */
  ldt = 0;
  /** Descriptors there is room for. */
  size = 0;

  constructor(k: Kernel, readonly ops: LdtOps = NATIVE_LDT) {
    this.lock = new Mutex(k, "&mm->context.lock");
  }
}

/**
 * Writes descriptor `entry`, in a larger table if need be.
 *
 * Context: process; may sleep.
 *
 * @returns 0; -EINVAL if there can be no such descriptor, -ENOMEM.
 */
export function* write_ldt(
  t: Thread,
  context: LdtContext,
  entry: number,
  lo: number,
  hi: number,
): Steps<0 | Errno> {
  if (!(entry >= 0 && entry < LDT_ENTRIES)) return err(EINVAL);
  enter(t, WRITE_LDT);
  charge(t, 40);
  yield* mutex_lock(t, context.lock);
  let error: 0 | Errno = 0;
  if (entry >= context.size) error = yield* alloc_ldt(t, context, entry + 1);
  if (error === 0) {
    const addr = context.ldt + entry * LDT_ENTRY_SIZE;
    yield* context.ops.write_ldt_entry(t, addr, lo, hi);
  }
  yield* mutex_unlock(t, context.lock);
  leave(t);
  return error;
}

/** Makes room for `mincount` descriptors, rounded up to pages. Locks: context.lock held. */
function* alloc_ldt(
  t: Thread,
  context: LdtContext,
  mincount: number,
): Steps<0 | Errno> {
  enter(t, ALLOC_LDT);
  const { pageBytes } = t.machine.memory;
  const perPage = pageBytes / LDT_ENTRY_SIZE;
  const count = Math.ceil(mincount / perPage) * perPage;
  const bytes = count * LDT_ENTRY_SIZE;
  const table = bytes > pageBytes
    ? yield* vmalloc(t, bytes)
    : yield* __get_free_page(t, GFP_KERNEL);
  if (table === 0) {
    leave(t);
    return err(ENOMEM);
  }
  const { ldt, size, ops } = context;
  const old = size * LDT_ENTRY_SIZE;
  for (let at = 0; at < bytes; at += 4) {
    const word = at < old ? yield* vload(t, ldt + at, 4) : 0;
    yield* vstore(t, table + at, 4, word);
  }
  yield* ops.alloc_ldt(t, table, count);
  context.ldt = table;
  context.size = count;
  if (size > 0) yield* release(t, ops, ldt, size);
  leave(t);
  return 0;
}

function* release(
  t: Thread,
  ops: LdtOps,
  ldt: number,
  size: number,
): Steps {
  yield* ops.free_ldt(t, ldt, size);
  const { pageBytes } = t.machine.memory;
  if (size * LDT_ENTRY_SIZE > pageBytes) yield* vfree(t, ldt);
  else yield* free_page(t, ldt);
}

/** Gives the table back. Nobody uses `context` any more. */
export function* destroy_context(t: Thread, context: LdtContext): Steps {
  if (context.size === 0) return;
  enter(t, DESTROY_CONTEXT);
  yield* release(t, context.ops, context.ldt, context.size);
  context.ldt = 0;
  context.size = 0;
  leave(t);
}
