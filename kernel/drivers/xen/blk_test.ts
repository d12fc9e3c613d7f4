import { assert, assertEquals } from "@std/assert";
import type { Steps } from "../../../arch/asm.ts";
import { vload, vstore } from "../../../arch/asm.ts";
import { findPreset } from "../../../arch/hw/presets/index.ts";
import { withCpus } from "../../../arch/hw/validate.ts";
import { boot } from "../../../boot/boot.ts";
import {
  bio_add_page,
  bio_alloc,
  bio_endio,
  bio_put,
  READ,
  WRITE,
} from "../../block/bio.ts";
import { blk_queue_make_request, submit_bio } from "../../block/blk_core.ts";
import { AddressSpace } from "../../mm/filemap.ts";
import { msleep } from "../../timer.ts";
import type { BlockDevice } from "../../block/block_device.ts";
import { kthread_join, kthread_run } from "../../kthread.ts";
import { EBUSY, EIO, ENOMEM, err } from "../../lib/errno.ts";
import {
  complete,
  Completion,
  wait_for_completion,
} from "../../locking/completion.ts";
import { GFP_NOIO } from "../../mm/gfp.ts";
import { type Page, page_address } from "../../mm/page.ts";
import { PAGE_SIZE, take_pages } from "../../mm/vm_testing.ts";
import type { Thread } from "../../thread.ts";
import { SlowDisk } from "../../block/testing.ts";
import { brd_alloc, brd_free } from "../block/brd.ts";
import { parseImage } from "../block/image.ts";
import {
  gnttab_alloc_grant_reference,
  gnttab_free_count,
  gnttab_free_grant_reference,
} from "../../xen/grant_table.ts";
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

/** Requests that a back end has slots for. */
const SLOTS = 8;

for (const reads of [SLOTS, 2 * SLOTS]) {
  Deno.test(`a disk that goes away waits for its slow back end, which has ${reads} reads to do`, () => {
    run(function* (t) {
      const disk = yield* SlowDisk.create(
        t,
        "slow0",
        parseImage([new Uint8Array(SECTORS * 512)]),
      );
      disk.delayMs = 20;
      const vbd = (yield* vbd_attach(t, disk)) as Vbd;
      const pages = yield* take_pages(t, reads);
      let ended = 0;
      for (let i = 0; i < reads; i++) {
        const bio = (yield* bio_alloc(t, GFP_NOIO, 1))!;
        bio.bi_bdev = vbd.bdev;
        bio.bi_sector = i * 8;
        bio_add_page(t, bio, pages[i], PAGE_SIZE, 0);
        bio.bi_end_io = function* (t, bio) {
          ended++;
          yield* bio_put(t, bio);
        };
        yield* submit_bio(t, READ, bio);
      }
      yield* msleep(t, 4);
      assertEquals(vbd.back.free.length, 0, "all slots are under way");
      yield* vbd_detach(t, vbd);
      yield* msleep(t, 500);
      assertEquals(ended, reads);
    });
  });
}

Deno.test("without grants a read fails or waits for those of others, and works again after", () => {
  run(function* (t) {
    const brd = brd_alloc(t, "ram0", disk());
    const vbd = (yield* vbd_attach(t, brd)) as Vbd;
    const pages = yield* take_pages(t, 12);
    const pieces = pages.map((page) => [page, 0, PAGE_SIZE] as const);
    const taken: number[] = [];
    while ((yield* gnttab_free_count(t)) > 11) {
      taken.push(yield* gnttab_alloc_grant_reference(t));
    }
    // Eleven grants do for twelve pieces, one part after the other.
    assertEquals(yield* transfer(t, vbd.bdev, READ, 0, pieces), 0);
    for (let i = 0; i < 5; i++) {
      taken.push(yield* gnttab_alloc_grant_reference(t));
    }
    assertEquals(yield* transfer(t, vbd.bdev, READ, 0, pieces), err(ENOMEM));
    assertEquals(yield* gnttab_free_count(t), 6);
    const few = pieces.slice(0, 6);
    const readers: Thread[] = [];
    for (let i = 0; i < 5; i++) {
      readers.push(
        yield* kthread_run(
          t,
          (p) => transfer(p, vbd.bdev, READ, i, few),
          `reader/${i}`,
        ),
      );
    }
    for (const p of readers) assertEquals(yield* kthread_join(t, p), 0);
    for (const ref of taken) yield* gnttab_free_grant_reference(t, ref);
    assertEquals(yield* transfer(t, vbd.bdev, READ, 0, pieces), 0);
    yield* vbd_detach(t, vbd);
    yield* brd_free(t, brd);
  });
});

Deno.test("pieces that are no sectors fail; a sector that the disk cannot read fails its read alone", () => {
  run(function* (t) {
    const brd = brd_alloc(t, "ram0", disk());
    const vbd = (yield* vbd_attach(t, brd)) as Vbd;
    const [page] = yield* take_pages(t, 1);
    const read = (sector: number, offset: number, len: number) =>
      transfer(t, vbd.bdev, READ, sector, [[page, offset, len]]);
    assertEquals(yield* read(0, 100, 512), err(EIO));
    assertEquals(yield* read(0, 0, 100), err(EIO));
    brd.should_fail = (sector) => sector === 9;
    assertEquals(yield* read(8, 0, 1024), err(EIO));
    assertEquals(yield* read(10, 0, 1024), 0);
    assertEquals(yield* read(SECTORS - 1, 0, 1024), err(EIO)); // the block layer's
    yield* vbd_detach(t, vbd);
    yield* brd_free(t, brd);
  });
});

Deno.test("sixteen disks at most, and each has its own ring", () => {
  run(function* (t) {
    const brd = brd_alloc(t, "ram0", disk());
    const vbds: Vbd[] = [];
    for (let i = 0; i < 16; i++) vbds.push((yield* vbd_attach(t, brd)) as Vbd);
    assertEquals(vbds[15].bdev.name, "xvdp");
    assertEquals(yield* vbd_attach(t, brd), err(EBUSY));
    const [page] = yield* take_pages(t, 1);
    for (const [i, vbd] of vbds.entries()) {
      const piece = [page, 0, 512] as const;
      assertEquals(yield* transfer(t, vbd.bdev, READ, i, [piece]), 0);
      const at = page_address(t.k, page);
      assertEquals(yield* vload(t, at, 1), pattern(i));
    }
    for (const vbd of vbds) yield* vbd_detach(t, vbd);
    yield* brd_free(t, brd);
  });
});

/** A disk that can be written: its bytes lie in host memory. */
function writable(t: Thread, sectors: number): BlockDevice {
  const bytes = new Uint8Array(sectors * 512);
  const { memory } = t.machine;
  const queue = blk_queue_make_request(t, function* (t, _q, bio) {
    let at = bio.bi_sector * 512;
    for (
      const { bv_page, bv_offset, bv_len } of bio.bi_io_vec.slice(
        0,
        bio.bi_vcnt,
      )
    ) {
      const piece = bytes.subarray(at, at + bv_len);
      const from = bv_page.pfn * PAGE_SIZE + bv_offset;
      if (bio.bi_rw === WRITE) memory.readBytes(from, piece);
      else memory.writeBytes(from, piece);
      at += bv_len;
    }
    yield* msleep(t, 2);
    yield* bio_endio(t, bio, 0);
  });
  const mapping = new AddressSpace(t.k, "w");
  return { name: "w", sectors, hardsect_size: 512, queue, mapping };
}

Deno.test("what is written through blkfront is on the disk behind it", () => {
  run(function* (t) {
    const vbd = (yield* vbd_attach(t, writable(t, 64))) as Vbd;
    const [a, b] = yield* take_pages(t, 2);
    yield* vstore(t, page_address(t.k, a) + 512, 4, 0xcafe0001);
    yield* vstore(t, page_address(t.k, a) + 1020, 4, 0xcafe0002);
    const bdev = vbd.bdev;
    assertEquals(yield* transfer(t, bdev, WRITE, 63, [[a, 512, 512]]), 0);
    assertEquals(yield* transfer(t, bdev, READ, 63, [[b, 1024, 512]]), 0);
    const at = page_address(t.k, b) + 1024;
    assertEquals(yield* vload(t, at, 4), 0xcafe0001);
    assertEquals(yield* vload(t, at + 508, 4), 0xcafe0002);
    yield* vbd_detach(t, vbd);
  });
});
