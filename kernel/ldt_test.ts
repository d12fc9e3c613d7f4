import { assert, assertEquals } from "@std/assert";
import { vload } from "../arch/asm.ts";
import { EINVAL, ENOMEM } from "./lib/errno.ts";
import { destroy_context, LdtContext, NATIVE_LDT, write_ldt } from "./ldt.ts";
import { vm_unmap_aliases } from "./mm/vmap.ts";
import { synchronize_rcu } from "./rcu.ts";
import { runVm, usage, VMALLOC_START } from "./mm/vm_testing.ts";

Deno.test("write_ldt() grows the table: a page of the direct map, then vmalloc() of whole pages", () => {
  runVm({ cpus: 2 }, function* (t) {
    const warm = new LdtContext(t.k);
    yield* write_ldt(t, warm, 600, 1, 1);
    yield* destroy_context(t, warm);
    yield* vm_unmap_aliases(t);
    yield* synchronize_rcu(t);
    const before = usage(t.k);
    const context = new LdtContext(t.k);
    assertEquals(yield* write_ldt(t, context, 3, 0x11, 0x22), 0);
    assertEquals(context.size, 512);
    assert(context.ldt < VMALLOC_START);
    assertEquals(yield* write_ldt(t, context, 512, 0x33, 0x44), 0);
    assertEquals(context.size, 1024);
    assert(context.ldt >= VMALLOC_START);
    assertEquals(yield* vload(t, context.ldt + 3 * 8, 4), 0x11);
    assertEquals(yield* vload(t, context.ldt + 3 * 8 + 4, 4), 0x22);
    assertEquals(yield* vload(t, context.ldt + 512 * 8 + 4, 4), 0x44);
    assertEquals(yield* vload(t, context.ldt + 1023 * 8, 4), 0);
    yield* destroy_context(t, context);
    yield* vm_unmap_aliases(t);
    yield* synchronize_rcu(t);
    assertEquals(usage(t.k), before);
  });
});

Deno.test("write_ldt() refuses what no table has, and survives that there is no room", () => {
  runVm({ cpus: 1, pages: 2 }, function* (t) {
    const context = new LdtContext(t.k);
    assertEquals(yield* write_ldt(t, context, -1, 0, 0), -EINVAL);
    assertEquals(yield* write_ldt(t, context, 8192, 0, 0), -EINVAL);
    assertEquals(yield* write_ldt(t, context, 8191, 0, 0), -ENOMEM);
    assertEquals([context.ldt, context.size], [0, 0]);
  });
});

Deno.test("write_ldt() tells paravirtualisation of each table in use, and of its end", () => {
  const calls: string[] = [];
  runVm({ cpus: 1 }, function* (t) {
    const context = new LdtContext(t.k, {
      ...NATIVE_LDT,
      // deno-lint-ignore require-yield -- it only notes the call
      *alloc_ldt(_t, addr, entries) {
        calls.push(`alloc ${entries} ${addr >= VMALLOC_START}`);
      },
      // deno-lint-ignore require-yield -- it only notes the call
      *free_ldt(_t, addr, entries) {
        calls.push(`free ${entries} ${addr >= VMALLOC_START}`);
      },
    });
    yield* write_ldt(t, context, 0, 1, 1);
    yield* write_ldt(t, context, 1000, 1, 1);
    yield* destroy_context(t, context);
  });
  assertEquals(calls, [
    "alloc 512 false",
    "alloc 1024 true",
    "free 512 false",
    "free 1024 true",
  ]);
});
