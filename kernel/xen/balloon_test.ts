import { assert, assertEquals, assertThrows } from "@std/assert";
import { vload } from "../../arch/asm.ts";
import { KernelBug } from "../bug.ts";
import { page_address } from "../mm/page.ts";
import { nr_unused_pages } from "../mm/page_alloc.ts";
import {
  balloon_of,
  decrease_reservation,
  increase_reservation,
} from "./balloon.ts";
import { bootGuest, map_churn } from "./testing.ts";

Deno.test("the balloon gives pages to Xen, which nobody can reach then, and takes them again", () => {
  const booted = bootGuest();
  const x = booted.machine.xen!;
  booted.run(function* (t) {
    // Once, so that slabs of the calls between CPUs are there.
    yield* decrease_reservation(t, 1);
    yield* increase_reservation(t, 1);
    const before = nr_unused_pages(t.k);
    assertEquals(yield* decrease_reservation(t, 40), 40);
    assertEquals(before - nr_unused_pages(t.k), 40);
    const [page] = balloon_of(t).ballooned_pages;
    assertEquals(x.frameInfo(page.pfn).owner, -1);
    assertEquals(x.frameInfo(page.pfn).type, "none");
    assertEquals(yield* increase_reservation(t, 100), 40);
    assertEquals(nr_unused_pages(t.k), before);
    assertEquals(yield* vload(t, page_address(t.k, page), 8), 0);
  });
  assertEquals(x.log, []);
});

Deno.test("a touch of a page in the balloon is a fault", () => {
  const booted = bootGuest();
  assertThrows(
    () =>
      booted.run(function* (t) {
        yield* decrease_reservation(t, 1);
        const [page] = balloon_of(t).ballooned_pages;
        yield* vload(t, page_address(t.k, page), 8);
      }),
    KernelBug,
    "unable to handle kernel paging request",
  );
});

Deno.test("as in 2.6.28 pages go into the balloon with their lazy aliases: counted", () => {
  bootGuest().run(function* (t) {
    yield* map_churn(t, 10);
    yield* decrease_reservation(t, 20);
    assert(balloon_of(t).aliased > 0);
  });
});
