import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { PAGE_KERNEL } from "../../../arch/hw/pte.ts";
import { VM_MAP } from "../../mm/vm_struct.ts";
import { vmap } from "../../mm/vmap.ts";
import { PAGE_SIZE, runVm, take_pages } from "../../mm/vm_testing.ts";
import { kthread_join, kthread_run } from "../../kthread.ts";
import type { Thread } from "../../thread.ts";
import {
  copy_out,
  get_be16,
  get_be32,
  get_be64,
  get_u8,
  memcmp_at,
} from "./xfs_access.ts";

/** Three mapped pages of pseudo-random bytes. */
function* mapped(t: Thread) {
  const pages = yield* take_pages(t, 3);
  const bytes = new Uint8Array(3 * PAGE_SIZE);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 2654435761) >>> 13;
  pages.forEach((page, i) => {
    const piece = bytes.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE);
    t.machine.memory.writeBytes(page.pfn * PAGE_SIZE, piece);
  });
  const addr = yield* vmap(t, pages, 3, VM_MAP, PAGE_KERNEL);
  return { addr, bytes, view: new DataView(bytes.buffer) };
}

const offsets = fc.oneof(
  fc.nat(3 * PAGE_SIZE - 64),
  fc.constantFrom(4096, 8192).chain((page) =>
    fc.nat(16).map((back) => page - back)
  ),
);

Deno.test("fields are read big endian, at any alignment and across pages, alone or among others", () => {
  fc.assert(
    fc.property(
      fc.array(offsets, { maxLength: 20 }),
      fc.boolean(),
      (ats, busy) => {
        runVm({ cpus: 2 }, function* (t) {
          const { addr, view } = yield* mapped(t);
          let done = false;
          // Another CPU in the way: operations must wait for their turn.
          const other = yield* kthread_run(t, function* (p) {
            while (busy && !done) yield* get_u8(p, addr);
          }, "other");
          for (const at of ats) {
            assertEquals(yield* get_u8(t, addr + at), view.getUint8(at));
            assertEquals(yield* get_be16(t, addr + at), view.getUint16(at));
            assertEquals(yield* get_be32(t, addr + at), view.getUint32(at));
            const got = yield* get_be64(t, addr + at);
            const want = view.getBigUint64(at);
            if (want <= BigInt(Number.MAX_SAFE_INTEGER)) {
              assertEquals(got, Number(want));
            } else {
              assert(got > Number.MAX_SAFE_INTEGER);
            }
          }
          done = true;
          yield* kthread_join(t, other);
        });
      },
    ),
    { seed: 1, numRuns: 40 },
  );
});

Deno.test("copy_out() and memcmp_at() see the bytes that are there", () => {
  fc.assert(
    fc.property(
      offsets,
      fc.nat(60),
      fc.option(fc.nat(59)),
      (at, length, wrong) => {
        runVm({}, function* (t) {
          const { addr, bytes } = yield* mapped(t);
          const out = new Uint8Array(length + 2).fill(0xee);
          yield* copy_out(t, addr + at, length, out);
          const want = bytes.slice(at, at + length);
          assertEquals(out.slice(0, length), want);
          assertEquals([...out.slice(length)], [0xee, 0xee]);
          assertEquals(yield* memcmp_at(t, addr + at, want), true);
          if (wrong !== null && wrong < length) {
            want[wrong] ^= 0x80;
            assertEquals(yield* memcmp_at(t, addr + at, want), false);
          }
        });
      },
    ),
    { seed: 2, numRuns: 100 },
  );
});

Deno.test("small numbers in 64 bits are exact, and the largest is refused by any range", () => {
  runVm({}, function* (t) {
    const { addr } = yield* mapped(t);
    const [page] = yield* take_pages(t, 1);
    const where = yield* vmap(t, [page], 1, VM_MAP, PAGE_KERNEL);
    for (const n of [0n, 1n, 2n ** 32n, 2n ** 53n - 1n]) {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, n);
      t.machine.memory.writeBytes(page.pfn * PAGE_SIZE, bytes);
      assertEquals(yield* get_be64(t, where), Number(n));
    }
    t.machine.memory.writeBytes(
      page.pfn * PAGE_SIZE,
      new Uint8Array(8).fill(255),
    );
    assert((yield* get_be64(t, where)) > Number.MAX_SAFE_INTEGER);
    assert(addr !== where);
  });
});
