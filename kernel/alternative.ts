/**
 * Changing code that is mapped read-only: text_poke(), who calls it, and
 * mark_rodata_ro() (arch/x86/kernel/alternative.c, arch/x86/mm/init_64.c,
 * 2.6.28).
 *
 * text_poke() maps the page of the code once more, writable, and unmaps that
 * lazily: until the next purge there is a way to write to read-only code.
 *
 * Differs from Linux: text_poke() returns -ENOMEM where 2.6.28 has a BUG_ON()
 * (2.6.30 maps by fixmap instead, which cannot fail); mark_rodata_ro() is not a step of the boot here, whose
 * virtual time would change, but is called by the workloads that change page
 * attributes. Left out: text_poke_early(), as boot has no code to change.
 */
import {
  charge,
  enter,
  ksym,
  leave,
  local_irq_disable,
  local_irq_enable,
  type Steps,
  vload,
  vstore,
} from "../arch/asm.ts";
import { PAGE_KERNEL } from "../arch/hw/pte.ts";
import { BUG_ON } from "./bug.ts";
import { DS_PREFIX, kernel_text, LOCK_PREFIX } from "./kernel_text.ts";
import { ENOMEM, err, type Errno } from "./lib/errno.ts";
import { type Page, pfn_to_page } from "./mm/page.ts";
import { set_memory_nx, set_memory_ro } from "./mm/set_memory.ts";
import { pfn_at } from "./mm/pgtable.ts";
import { VM_MAP } from "./mm/vm_struct.ts";
import { vmap, vunmap } from "./mm/vmap.ts";
import { KERN_INFO, printk } from "./printk.ts";
import type { Thread } from "./thread.ts";

const TEXT_POKE = ksym("text_poke");
const ALTERNATIVES_SMP_SWITCH = ksym("alternatives_smp_switch");
const MARK_RODATA_RO = ksym("mark_rodata_ro");

/** sync_core(): cpuid. */
const SYNC_CORE_INSTRUCTIONS = 60;

/**
 * Writes `opcode` to code at `addr`, of the kernel or of a module, whose mapping
 * may be read-only. Callers do not race for the same bytes.
 *
 * Context: process; may sleep. Interrupts are off while it copies.
 *
 * Linux: arch/x86/kernel/alternative.c.
 *
 * @returns 0, or -ENOMEM, nothing written.
 *
 * @example
 * ```ts
 * import {
 *   boot,
 *   set_memory_ro,
 *   text_poke,
 *   vload,
 *   vmalloc_exec,
 * } from "@vmaplab/vmaplab";
 * import { assertEquals } from "@std/assert";
 *
 * const byte = boot().run(function* (t) {
 *   const code = yield* vmalloc_exec(t, 4096);
 *   yield* set_memory_ro(t, code, 1);
 *   yield* text_poke(t, code + 5, new Uint8Array([0x90]));
 *   return yield* vload(t, code + 5, 1);
 * });
 * assertEquals(byte, 0x90);
 * ```
 */
export function* text_poke(
  t: Thread,
  addr: number,
  opcode: Uint8Array,
): Steps<0 | Errno> {
  enter(t, TEXT_POKE);
  charge(t, 40);
  const { pageBytes } = t.machine.memory;
  const offset = addr % pageBytes;
  BUG_ON(t, offset + opcode.length > 2 * pageBytes, "more than two pages");
  const first = page_of(t, addr);
  BUG_ON(t, first === null, "no such code");
  const second = page_of(t, addr + pageBytes);
  const pages = second === null ? [first!] : [first!, second];
  const alias = yield* vmap(t, pages, pages.length, VM_MAP, PAGE_KERNEL);
  if (alias === 0) {
    leave(t);
    return err(ENOMEM);
  }
  local_irq_disable(t);
  for (let i = 0; i < opcode.length; i++) {
    yield* vstore(t, alias + offset + i, 1, opcode[i]);
  }
  local_irq_enable(t);
  yield* vunmap(t, alias);
  charge(t, SYNC_CORE_INSTRUCTIONS);
  for (let i = 0; i < opcode.length; i++) {
    const byte = yield* vload(t, addr + i, 1);
    BUG_ON(t, byte !== opcode[i], "code is not what was written");
  }
  leave(t);
  return 0;
}

/** Page that backs `addr`, in the direct map or in an area; `null` = none. */
function page_of(t: Thread, addr: number): Page | null {
  const pfn = pfn_at(t.k, addr);
  return pfn < 0 ? null : pfn_to_page(t.k, pfn);
}

/**
 * Puts the lock prefixes of the kernel's text in, or takes them out: what
 * happens when the second CPU comes, or the last but one goes.
 *
 * @returns Sites changed, or -ENOMEM.
 */
export function* alternatives_smp_switch(
  t: Thread,
  smp: boolean,
): Steps<number | Errno> {
  const text = yield* kernel_text(t);
  if (typeof text === "number") return text;
  enter(t, ALTERNATIVES_SMP_SWITCH);
  const prefix = new Uint8Array([smp ? LOCK_PREFIX : DS_PREFIX]);
  let error: 0 | Errno = 0;
  for (const site of text.lock_sites) {
    error = yield* text_poke(t, site, prefix);
    if (error !== 0) break;
  }
  leave(t);
  return error !== 0 ? error : text.lock_sites.length;
}

/** Makes the kernel's text and constants read-only. @returns 0 or a negative errno. */
export function* mark_rodata_ro(t: Thread): Steps<0 | Errno> {
  const text = yield* kernel_text(t);
  if (typeof text === "number") return text;
  enter(t, MARK_RODATA_RO);
  const kib = text.nr_pages * t.machine.memory.pageBytes / 1024;
  printk(
    t,
    KERN_INFO,
    `Write protecting the kernel read-only data: ${kib}k`,
  );
  let error = yield* set_memory_ro(t, text.start, text.nr_pages);
  if (error === 0) {
    const { rodata_start, nr_rodata_pages } = text;
    error = yield* set_memory_nx(t, rodata_start, nr_rodata_pages);
  }
  text.read_only = error === 0;
  leave(t);
  return error;
}
