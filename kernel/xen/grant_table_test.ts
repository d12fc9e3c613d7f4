import { assert, assertEquals } from "@std/assert";
import { type Steps, vload, vstore } from "../../arch/asm.ts";
import {
  DOMID_SELF,
  GNTCOPY_source_gref,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_copy_arg,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_handle,
  GNTST_general_error,
  type GrantCopy,
  type MapGrantRef,
  type UnmapGrantRef,
} from "../../arch/xen/abi.ts";
import { ENOSPC, err } from "../lib/errno.ts";
import { kthread_create, kthread_join } from "../kthread.ts";
import { GFP_KERNEL } from "../mm/gfp.ts";
import { type Page, page_address } from "../mm/page.ts";
import { __free_page, alloc_page } from "../mm/page_alloc.ts";
import { alloc_vm_area, free_vm_area } from "../mm/vm_area.ts";
import { wake_up_process } from "../sched/wakeup.ts";
import type { Thread } from "../thread.ts";
import {
  gnttab_alloc_grant_reference,
  gnttab_end_foreign_access,
  gnttab_end_foreign_access_ref,
  gnttab_free_count,
  gnttab_grant_foreign_access_ref,
  gnttab_init,
  gnttab_query_foreign_access,
  type GnttabState,
} from "./grant_table.ts";
import {
  HYPERVISOR_grant_copy,
  HYPERVISOR_map_grant_ref,
  HYPERVISOR_unmap_grant_ref,
} from "./hypercall.ts";
import { bootGuest } from "./testing.ts";

/** Runs `fn` as a thread of domain 0. */
function* in_dom0<T>(t: Thread, fn: (t: Thread) => Steps<T>): Steps<T> {
  const p = yield* kthread_create(t, fn, "backend");
  p.domid = 0;
  yield* wake_up_process(t, p);
  return (yield* kthread_join(t, p)) as T;
}

function* a_page(t: Thread): Steps<Page> {
  return (yield* alloc_page(t, GFP_KERNEL))!;
}

/** The eight bytes of entry `ref` of domain 1, as they lie in memory. */
function entry_bytes(t: Thread, ref: number): number[] {
  const { grants } = t.machine.xen!.domains.get(1)!;
  const bytes = new Uint8Array(8);
  t.machine.memory.readBytes(grants.frames[0] * 4096 + ref * 8, bytes);
  return [...bytes];
}

function* map(
  t: Thread,
  ref: number,
  host_addr: number,
  flags = GNTMAP_host_map,
  dom = 1,
): Steps<MapGrantRef> {
  const op: MapGrantRef = { host_addr, flags, ref, dom };
  yield* HYPERVISOR_map_grant_ref(t, [op]);
  return op;
}

function* unmap(t: Thread, handle: number, host_addr: number): Steps<number> {
  const op: UnmapGrantRef = { handle, host_addr };
  yield* HYPERVISOR_unmap_grant_ref(t, [op]);
  return op.status!;
}

Deno.test("a grant is eight bytes as in the public header, and Xen marks its use in them", () => {
  bootGuest().run(function* (t) {
    const page = yield* a_page(t);
    const f = [page.pfn & 255, page.pfn >> 8 & 255, page.pfn >> 16 & 255, 0];
    const ref = yield* gnttab_grant_foreign_access_ref(t, 0, page.pfn, false);
    assert(ref >= 8);
    assertEquals(entry_bytes(t, ref), [1, 0, 0, 0, ...f]);
    const readonly = yield* gnttab_grant_foreign_access_ref(
      t,
      0x1234,
      page.pfn,
      true,
    );
    assertEquals(entry_bytes(t, readonly), [5, 0, 0x34, 0x12, ...f]);
    yield* in_dom0(t, function* (self) {
      const area = (yield* alloc_vm_area(self, 4096))!;
      const op = yield* map(self, ref, area.addr);
      assertEquals([op.status, op.dev_bus_addr], [0, page.pfn * 4096]);
      assertEquals(entry_bytes(self, ref), [25, 0, 0, 0, ...f]);
      assertEquals(yield* unmap(self, op.handle!, area.addr), 0);
      assertEquals(entry_bytes(self, ref), [1, 0, 0, 0, ...f]);
      const reading = yield* map(
        self,
        ref,
        area.addr,
        GNTMAP_host_map | GNTMAP_readonly,
      );
      assertEquals(entry_bytes(self, ref), [9, 0, 0, 0, ...f]);
      yield* unmap(self, reading.handle!, area.addr);
      yield* free_vm_area(self, area);
    });
    assert(yield* gnttab_end_foreign_access(t, ref));
    assertEquals(entry_bytes(t, ref), [0, 0, 0, 0, ...f]);
    yield* __free_page(t, page);
  });
});

Deno.test("what one domain writes to a granted page the other reads, and access is revoked only when nobody maps it", () => {
  const booted = bootGuest();
  const free = booted.run(function* (t) {
    const page = yield* a_page(t);
    const addr = page_address(t.k, page);
    yield* vstore(t, addr, 8, 41);
    const before = yield* gnttab_free_count(t);
    const ref = yield* gnttab_grant_foreign_access_ref(t, 0, page.pfn, false);
    yield* in_dom0(t, function* (self) {
      const area = (yield* alloc_vm_area(self, 4096))!;
      const { handle } = yield* map(self, ref, area.addr);
      const seen = yield* vload(self, area.addr, 8);
      yield* vstore(self, area.addr, 8, seen + 1);
      self.domid = 1; // the granter's own question
      assert(yield* gnttab_query_foreign_access(self, ref));
      assert(!(yield* gnttab_end_foreign_access_ref(self, ref)));
      self.domid = 0;
      yield* unmap(self, handle!, area.addr);
      assertEquals(t.machine.mmu.peek(t.k.init_mm.pgd, area.addr), -1);
      for (const tlb of t.machine.mmu.tlbs) {
        assert(!tlb.holds(area.addr / 4096));
      }
      yield* free_vm_area(self, area);
    });
    assert(!(yield* gnttab_query_foreign_access(t, ref)));
    assert(yield* gnttab_end_foreign_access(t, ref));
    assertEquals(yield* vload(t, addr, 8), 42);
    yield* __free_page(t, page);
    return (yield* gnttab_free_count(t)) - before;
  });
  assertEquals(free, 0);
  assert(booted.dmesg().some((l) => l.endsWith("WARNING: g.e. still in use!")));
});

Deno.test("maps are refused: no such grant, domain or table, not granted to it, not for writing, a page table", () => {
  const booted = bootGuest();
  booted.run(function* (t) {
    const page = yield* a_page(t);
    const good = yield* gnttab_grant_foreign_access_ref(t, 0, page.pfn, true);
    const other = yield* gnttab_grant_foreign_access_ref(t, 7, page.pfn, false);
    const { pgd } = t.k.init_mm;
    const table = yield* gnttab_grant_foreign_access_ref(t, 0, pgd, false);
    yield* in_dom0(t, function* (self) {
      const { addr } = (yield* alloc_vm_area(self, 4096))!;
      const status = function* (ref: number, at = addr, dom = 1) {
        return (yield* map(self, ref, at, GNTMAP_host_map, dom)).status;
      };
      assertEquals(yield* status(good), GNTST_general_error);
      assertEquals(yield* status(other), GNTST_general_error);
      assertEquals(yield* status(table), GNTST_general_error);
      assertEquals(yield* status(3), GNTST_general_error); // says nothing
      assertEquals(yield* status(1e6), GNTST_bad_gntref);
      assertEquals(yield* status(good, addr, 9), GNTST_bad_domain);
      const far = addr + 2 ** 40;
      const op = yield* map(
        self,
        good,
        far,
        GNTMAP_host_map | GNTMAP_readonly,
      );
      assertEquals(op.status, GNTST_general_error);
      assertEquals(yield* unmap(self, 77, addr), GNTST_bad_handle);
    });
    assertEquals(entry_bytes(t, good)[0], 5); // no use is left marked
    assertEquals(entry_bytes(t, table)[0], 1);
  });
  const log = booted.machine.xen!.log;
  assertEquals(log.map((line) => line.replace(/^\(XEN\) \S+ /, "")), [
    "Attempt to write-pin a r/o grant entry.",
    "Bad flags (1) or dom (7). (expected dom 0)",
    log[2].slice(log[2].indexOf("Bad type")),
    "Bad flags (0) or dom (0). (expected dom 0)",
    "Bad ref (1000000).",
    "Could not find domain 9",
    log[6].slice(log[6].indexOf("Could not find L1")),
    "Bad handle (77).",
  ]);
});

Deno.test("GNTTABOP_copy copies bytes from a granted page, within pages alone", () => {
  bootGuest().run(function* (t) {
    const [from, to] = [yield* a_page(t), yield* a_page(t)];
    yield* vstore(t, page_address(t.k, from) + 100, 4, 0x44332211);
    const ref = yield* gnttab_grant_foreign_access_ref(t, 0, from.pfn, true);
    yield* in_dom0(t, function* (self) {
      const copy = (len: number): GrantCopy => ({
        source: { u: ref, domid: 1, offset: 100 },
        dest: { u: to.pfn, domid: DOMID_SELF, offset: 4094 },
        len,
        flags: GNTCOPY_source_gref,
      });
      const ops = [copy(3), copy(2)];
      yield* HYPERVISOR_grant_copy(self, ops);
      assertEquals(ops.map((op) => op.status), [GNTST_bad_copy_arg, 0]);
    });
    const got = yield* vload(t, page_address(t.k, to) + 4094, 2);
    assertEquals(got, 0x2211);
    assert(yield* gnttab_end_foreign_access(t, ref));
  });
});

Deno.test("gnttab_alloc_grant_reference() runs out, and reserved entries stay", () => {
  bootGuest().run(function* (t) {
    const { free } = (yield* gnttab_init(t)) as GnttabState;
    assertEquals(free.length, 8 * 512 - 8);
    free.length = 1;
    assert((yield* gnttab_alloc_grant_reference(t)) >= 8);
    assertEquals(yield* gnttab_alloc_grant_reference(t), err(ENOSPC));
  });
});
