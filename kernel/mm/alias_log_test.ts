import { assertEquals } from "@std/assert";
import { enter, ksym, leave } from "../../arch/asm.ts";
import { PAGE_KERNEL } from "../../arch/hw/pte.ts";
import { symName } from "../../arch/sim/symbol.ts";
import { keep_alias_log } from "./alias_log.ts";
import { runVm, take_pages } from "./vm_testing.ts";
import { vfree, vmalloc } from "./vmalloc.ts";
import { vm_map_ram, vm_unmap_ram } from "./vmap.ts";

Deno.test("the alias log names who called the layer, not the layer's own functions", () => {
  runVm({ cpus: 1 }, function* (t) {
    const log = keep_alias_log(t.k);
    enter(t, ksym("my_driver_open"));
    const addr = yield* vmalloc(t, 8192);
    leave(t);
    enter(t, ksym("my_driver_close"));
    yield* vfree(t, addr);
    leave(t);
    const { start, end, mapped, unmapped } = log.find(addr + 4096)!;
    assertEquals([start, end], [addr, addr + 8192]);
    assertEquals(symName(mapped.caller), "my_driver_open");
    assertEquals(symName(unmapped!.caller), "my_driver_close");
    assertEquals([mapped.comm, mapped.cpu], ["init", 0]);
    assertEquals(log.find(addr + 8192), null); // the guard page
  });
});

Deno.test("the alias log has the last mapping of an address, and nothing from before it was kept", () => {
  runVm({ cpus: 1 }, function* (t) {
    const pages = yield* take_pages(t, 2);
    const before = yield* vm_map_ram(t, pages, 2, -1, PAGE_KERNEL);
    const log = keep_alias_log(t.k);
    assertEquals(log.find(before), null);
    yield* vm_unmap_ram(t, before, 2);
    const addr = yield* vm_map_ram(t, pages, 2, -1, PAGE_KERNEL);
    assertEquals(log.find(addr)!.unmapped, null);
    log.mapped(t, addr + 4096, addr + 8192);
    assertEquals(log.find(addr + 4096)!.start, addr + 4096);
    assertEquals(keep_alias_log(t.k), log);
  });
});

Deno.test("the alias log costs no virtual time", () => {
  const clocks = [false, true].map((kept) =>
    runVm({ cpus: 2 }, function* (t) {
      if (kept) keep_alias_log(t.k);
      const pages = yield* take_pages(t, 4);
      for (let i = 0; i < 50; i++) {
        const addr = yield* vm_map_ram(t, pages, 4, -1, PAGE_KERNEL);
        yield* vm_unmap_ram(t, addr, 4);
        yield* vfree(t, yield* vmalloc(t, 4096));
      }
    }).clocks
  );
  assertEquals(clocks[1], clocks[0]);
});
