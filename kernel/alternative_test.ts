import { assert, assertEquals, assertThrows } from "@std/assert";
import { vload, vstore } from "../arch/asm.ts";
import { PROT_NX, PROT_WRITE } from "../arch/hw/pte.ts";
import {
  alternatives_smp_switch,
  mark_rodata_ro,
  text_poke,
} from "./alternative.ts";
import { KernelBug } from "./bug.ts";
import {
  DS_PREFIX,
  free_kernel_text,
  kernel_text,
  type KernelText,
  LOCK_PREFIX,
} from "./kernel_text.ts";
import { keep_alias_log } from "./mm/alias_log.ts";
import { find_aliases } from "./mm/alias_report.ts";
import { nr_unused_pages } from "./mm/page_alloc.ts";
import { prot_of } from "./mm/pageattr.ts";
import { set_memory_ro } from "./mm/set_memory.ts";
import { runVm } from "./mm/vm_testing.ts";
import { vfree, vmalloc } from "./mm/vmalloc.ts";
import { vm_unmap_aliases } from "./mm/vmap.ts";

Deno.test("text_poke() changes code that is read-only, over the end of a page too", () => {
  runVm({ cpus: 2 }, function* (t) {
    const addr = yield* vmalloc(t, 8192);
    yield* vstore(t, addr, 4, 0);
    yield* set_memory_ro(t, addr, 2);
    yield* text_poke(t, addr + 4094, new Uint8Array([1, 2, 3, 4]));
    assertEquals(yield* vload(t, addr + 4096, 2), 0x0403);
    yield* vfree(t, addr);
  });
});

Deno.test("text_poke() leaves a writable alias of read-only code until the next purge", () => {
  runVm({ cpus: 2 }, function* (t) {
    keep_alias_log(t.k);
    yield* mark_rodata_ro(t);
    const text = (yield* kernel_text(t)) as KernelText;
    yield* text_poke(t, text.start, new Uint8Array([0x90]));
    const pfn = t.machine.mmu.peek(t.k.init_mm.pgd, text.start);
    const ways = () =>
      find_aliases(t.k, new Set([pfn]))
        .filter((a) => (a.prot & PROT_WRITE) !== 0);
    assert(ways().length > 0);
    assert(ways().every((a) => a.record?.unmapped != null));
    yield* vm_unmap_aliases(t);
    assertEquals(ways(), []);
  });
});

Deno.test("text_poke() of an address without code is a bug", () => {
  assertThrows(
    () =>
      runVm(
        { cpus: 1 },
        (t) => text_poke(t, t.k.vmalloc.start, new Uint8Array([1])),
      ),
    KernelBug,
    "no such code",
  );
});

Deno.test("alternatives_smp_switch() takes the lock prefixes out and puts them in", () => {
  runVm({ cpus: 2 }, function* (t) {
    const text = (yield* kernel_text(t)) as KernelText;
    const [site] = text.lock_sites;
    assertEquals(yield* vload(t, site, 1), LOCK_PREFIX);
    assertEquals(yield* alternatives_smp_switch(t, false), 48);
    assertEquals(yield* vload(t, site, 1), DS_PREFIX);
    yield* alternatives_smp_switch(t, true);
    assertEquals(yield* vload(t, site, 1), LOCK_PREFIX);
  });
});

Deno.test("mark_rodata_ro() makes text and constants read-only; free_kernel_text() undoes it", () => {
  runVm({ cpus: 2 }, function* (t) {
    yield* vm_unmap_aliases(t);
    const { start } = (yield* kernel_text(t)) as KernelText;
    const pages = nr_unused_pages(t.k) + t.k.init_mm.nr_tables;
    assertEquals(yield* mark_rodata_ro(t), 0);
    assertEquals(prot_of(t.k, start) & PROT_WRITE, 0);
    yield* free_kernel_text(t);
    assertEquals(prot_of(t.k, start) & PROT_WRITE, PROT_WRITE);
    assertEquals(prot_of(t.k, start) & PROT_NX, PROT_NX);
    const after = nr_unused_pages(t.k) + t.k.init_mm.nr_tables;
    assertEquals(after, pages + 16);
  });
});

Deno.test("without vm_unmap_aliases() mark_rodata_ro() leaves text_poke()'s way in open, and is found out", () => {
  const error = assertThrows(() =>
    runVm({
      cpus: 2,
      params: { pageattr_quirk: new Set(["no-unmap-aliases"]) },
    }, function* (t) {
      keep_alias_log(t.k);
      yield* alternatives_smp_switch(t, false);
      yield* mark_rodata_ro(t);
    }), KernelBug);
  assert(error.headline.includes("mapped by text_poke"), error.headline);
  assert(error.headline.includes("unmapped by text_poke"), error.headline);
});
