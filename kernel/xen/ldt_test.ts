import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import type { Steps } from "../../arch/asm.ts";
import { vload } from "../../arch/asm.ts";
import { KernelBug } from "../bug.ts";
import { destroy_context, LdtContext, write_ldt } from "../ldt.ts";
import type { Thread } from "../thread.ts";
import { XEN_LDT } from "./ldt.ts";
import { bootGuest, map_churn } from "./testing.ts";

function* use_ldt(t: Thread): Steps<number> {
  yield* map_churn(t, 20);
  const context = new LdtContext(t.k, XEN_LDT);
  yield* write_ldt(t, context, 1, 0x11, 0x22); // one page
  yield* map_churn(t, 20);
  yield* write_ldt(t, context, 1500, 0x33, 0x44); // three, vmalloced
  const [old, last] = [
    yield* vload(t, context.ldt + 8, 4),
    yield* vload(t, context.ldt + 12000, 4),
  ];
  yield* destroy_context(t, context);
  return old * 256 + last;
}

Deno.test("descriptor tables are read-only while Xen uses them, and ordinary pages after", () => {
  const booted = bootGuest();
  const x = booted.machine.xen!;
  assertEquals(booted.run(use_ldt), 0x1133);
  assertEquals(x.log, []);
  booted.run((t) => map_churn(t, 20)); // nothing is read-only that should not be
});

Deno.test("xen.quirk=no-unmap-aliases-on-ldt: a third alias of a table's page is refused and named", () => {
  const booted = bootGuest(["no-unmap-aliases-on-ldt"]);
  const bug = assertThrows(() => booted.run(use_ldt), KernelBug);
  assertMatch(
    bug.message,
    /a descriptor table is refused: alias ffffc2\w+ of frame \w+, writable write-back, in the page table: mapped by .*, unmapped by /,
  );
});
