import { assert, assertEquals } from "@std/assert";
import type { Steps } from "../../../arch/asm.ts";
import { vload } from "../../../arch/asm.ts";
import { findPreset } from "../../../arch/hw/presets/index.ts";
import { withCpus } from "../../../arch/hw/validate.ts";
import { boot } from "../../../boot/boot.ts";
import {
  bio_add_page,
  bio_alloc,
  bio_put,
  READ,
  WRITE,
} from "../../block/bio.ts";
import { submit_bio } from "../../block/blk_core.ts";
import type { BlockDevice } from "../../block/block_device.ts";
import {
  complete,
  Completion,
  wait_for_completion,
} from "../../locking/completion.ts";
import { GFP_NOIO } from "../../mm/gfp.ts";
import { type Page, page_address } from "../../mm/page.ts";
import { PAGE_SIZE, take_pages } from "../../mm/vm_testing.ts";
import type { Thread } from "../../thread.ts";
import { brd_alloc, brd_free } from "../block/brd.ts";
import { parseImage } from "../block/image.ts";
import { type Vbd, vbd_attach, vbd_detach } from "./xen_devices.ts";

const SECTORS = 4096;

function pattern(sector: number): number {
  return (sector * 7 + 1) & 0xff;
}

function disk(sectors = SECTORS) {
  const bytes = new Uint8Array(sectors * 512);
  for (let i = 0; i < sectors; i++) {
    bytes.fill(pattern(i), i * 512, (i + 1) * 512);
  }
  return parseImage([bytes]);
}

function run<T>(fn: (t: Thread) => Steps<T>, cpus = 4) {
  const booted = boot({ spec: withCpus(findPreset("xen-pv"), cpus) });
  return { result: booted.run(fn), booted };
}

/** A transfer of `pieces` from `sector` on. @returns 0 or -errno. */
export function* transfer(
  t: Thread,
  bdev: BlockDevice,
  rw: number,
  sector: number,
  pieces: readonly (readonly [Page, number, number])[],
): Steps<number> {
  const bio = (yield* bio_alloc(t, GFP_NOIO, pieces.length))!;
  const done = new Completion(t.k, "bio");
  let result = 1;
  bio.bi_bdev = bdev;
  bio.bi_sector = sector;
  for (const [page, offset, len] of pieces) {
    bio_add_page(t, bio, page, len, offset);
  }
  bio.bi_end_io = function* (t, bio, error) {
    result = error;
    yield* bio_put(t, bio);
    yield* complete(t, done);
  };
  yield* submit_bio(t, rw, bio);
  yield* wait_for_completion(t, done);
  return result;
}

Deno.test("a disk of another domain reads as the RAM disk behind it", () => {
  run(function* (t) {
    const brd = brd_alloc(t, "ram0", disk());
    const vbd = (yield* vbd_attach(t, brd)) as Vbd;
    assert(typeof vbd === "object");
    assertEquals(vbd.bdev.name, "xvda");
    assertEquals(vbd.bdev.sectors, SECTORS);
    const pages = yield* take_pages(t, 40);
    // One piece; many, in parts of eleven; odd offsets.
    for (const count of [1, 11, 12, 40]) {
      const pieces = pages.slice(0, count).map((page) =>
        [page, 0, PAGE_SIZE] as const
      );
      assertEquals(yield* transfer(t, vbd.bdev, READ, count, pieces), 0);
      for (let i = 0; i < count * 8; i++) {
        const at = page_address(t.k, pages[i >> 3]) + (i & 7) * 512;
        const byte = pattern(count + i);
        assertEquals(yield* vload(t, at, 1), byte);
        assertEquals(yield* vload(t, at + 511, 1), byte);
      }
    }
    assertEquals(
      yield* transfer(t, vbd.bdev, READ, 77, [
        [pages[0], 1024, 512],
        [pages[1], 512, 3584],
      ]),
      0,
    );
    const at = page_address(t.k, pages[0]) + 1024;
    assertEquals(yield* vload(t, at, 1), pattern(77));
    assertEquals(
      yield* vload(t, page_address(t.k, pages[1]) + 4095, 1),
      pattern(84),
    );
    assert((yield* transfer(t, vbd.bdev, WRITE, 0, [[pages[0], 0, 512]])) < 0);
    yield* vbd_detach(t, vbd);
    yield* brd_free(t, brd);
  });
});
