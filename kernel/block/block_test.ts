import { assert, assertEquals } from "@std/assert";
import type { Steps } from "../../arch/asm.ts";
import { brd_alloc, brd_free, copyCycles } from "../drivers/block/brd.ts";
import { parseImage, type SparseImage } from "../drivers/block/image.ts";
import { kthread_join, kthread_run } from "../kthread.ts";
import { EIO, ENOMEM, EROFS, err, type Errno } from "../lib/errno.ts";
import {
  complete,
  Completion,
  wait_for_completion,
} from "../locking/completion.ts";
import { GFP_NOIO } from "../mm/gfp.ts";
import type { Page } from "../mm/page.ts";
import { PAGE_SIZE, runVm, take_pages, usage } from "../mm/vm_testing.ts";
import type { Thread } from "../thread.ts";
import {
  type Bio,
  bio_add_page,
  bio_alloc,
  bio_endio,
  BIO_MAX_PAGES,
  bio_put,
  READ,
  WRITE,
} from "./bio.ts";
import { submit_bio } from "./blk_core.ts";
import type { BlockDevice } from "./block_device.ts";
import { SlowDisk } from "./testing.ts";
import { failPages } from "../testing.ts";

const SECTOR = 512;

/** 64 sectors, each with its number in every byte. */
function numbered(): SparseImage {
  const bytes = new Uint8Array(64 * SECTOR);
  for (let i = 0; i < 64; i++) bytes.fill(i + 1, i * SECTOR, (i + 1) * SECTOR);
  return parseImage([bytes]);
}

/** Reads `pieces` of pages from `sector` on and waits. */
function* transfer(
  t: Thread,
  bdev: BlockDevice,
  rw: number,
  sector: number,
  pieces: readonly (readonly [Page, number, number])[],
): Steps<number> {
  const bio = (yield* bio_alloc(t, GFP_NOIO, pieces.length))!;
  const done = new Completion(t.k, "bio");
  let result: number = 1;
  bio.bi_bdev = bdev;
  bio.bi_sector = sector;
  for (const [page, offset, len] of pieces) {
    assertEquals(bio_add_page(t, bio, page, len, offset), len);
  }
  bio.bi_private = done;
  bio.bi_end_io = function* (t: Thread, bio: Bio, error: 0 | Errno) {
    result = error;
    yield* bio_put(t, bio);
    yield* complete(t, done);
  };
  yield* submit_bio(t, rw, bio);
  yield* wait_for_completion(t, done);
  return result;
}

function bytesOf(t: Thread, page: Page, offset: number, length: number) {
  const out = new Uint8Array(length);
  t.machine.memory.readBytes(page.pfn * PAGE_SIZE + offset, out);
  return out;
}

Deno.test("a RAM disk copies its image into pieces of pages", () => {
  runVm({}, function* (t) {
    const brd = brd_alloc(t, "ram0", numbered());
    assertEquals([brd.sectors, brd.hardsect_size], [64, 512]);
    const [a, b] = yield* take_pages(t, 2);
    const before = t.cpu.clock;
    const error = yield* transfer(t, brd, READ, 10, [
      [a, 1024, 3072],
      [b, 0, 512],
    ]);
    assertEquals(error, 0);
    assert(t.cpu.clock - before > copyCycles(t.machine.spec, 3584));
    assertEquals(bytesOf(t, a, 1024, 1)[0], 11);
    assertEquals(bytesOf(t, a, 4095, 1)[0], 16);
    assertEquals(bytesOf(t, b, 511, 1)[0], 17);
    assertEquals(brd.bytes_read, 3584);
    yield* brd_free(t, brd);
  });
});

Deno.test("reads beyond the end, injected errors and writes fail, and say so", () => {
  const { k } = runVm({}, function* (t) {
    const brd = brd_alloc(t, "ram0", numbered());
    const [page] = yield* take_pages(t, 1);
    const at = (sector: number, rw = READ) =>
      transfer(t, brd, rw, sector, [[page, 0, PAGE_SIZE]]);
    assertEquals(yield* at(56), 0);
    assertEquals(yield* at(57), err(EIO));
    assertEquals(yield* at(2 ** 50), err(EIO));
    assertEquals(yield* at(-1), err(EIO));
    assertEquals(yield* at(0, WRITE), err(EROFS));
    brd.should_fail = (sector) => sector === 30;
    assertEquals(yield* at(22), 0);
    assertEquals(yield* at(23), err(EIO));
    assertEquals(yield* at(30), err(EIO));
    assertEquals(yield* at(31), 0);
  });
  const log = k.printk.lines().map(({ text }) => text);
  assertEquals(log.slice(-6, -4), [
    "attempt to access beyond end of device",
    "ram0: rw=0, want=65, limit=64",
  ]);
});

Deno.test("bios are done in the order in which they were submitted", () => {
  runVm({ cpus: 4 }, function* (t) {
    const disk = yield* SlowDisk.create(t, "slow0", numbered());
    const start = usage(t.k);
    const order: number[] = [];
    const submitted: number[] = [];
    const threads: Thread[] = [];
    const pages = yield* take_pages(t, 3);
    for (let i = 0; i < 3; i++) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          for (let n = 0; n < 5; n++) {
            const sector = i * 10 + n;
            const bio = (yield* bio_alloc(p, GFP_NOIO, 1))!;
            bio.bi_bdev = disk;
            bio.bi_sector = sector;
            bio_add_page(p, bio, pages[i], SECTOR, n * SECTOR);
            bio.bi_end_io = function* (t, bio, error) {
              order.push(bio.bi_sector);
              assertEquals(error, bio.bi_sector === 12 ? err(EIO) : 0);
              yield* bio_put(t, bio);
            };
            disk.onQueued = (sector) => submitted.push(sector);
            yield* submit_bio(p, READ, bio);
          }
        }, `w/${i}`),
      );
    }
    disk.should_fail = (sector) => sector === 12;
    for (const p of threads) yield* kthread_join(t, p);
    yield* disk.drain(t);
    assertEquals(order.length, 15);
    assertEquals(order, submitted);
    for (let i = 0; i < 3; i++) {
      for (let n = 0; n < 5; n++) {
        const [byte] = bytesOf(t, pages[i], n * SECTOR, 1);
        if (i * 10 + n !== 12) assertEquals(byte, i * 10 + n + 1);
      }
    }
    const end = usage(t.k);
    for (const name of ["bio", "biovec-1", "blkdev_requests"]) {
      assertEquals(end[name], start[name]);
    }
    yield* disk.destroy(t);
  });
});

Deno.test("bio_alloc() has room for as many pieces as asked for, up to 256, or fails whole", () => {
  runVm({}, function* (t) {
    const [page] = yield* take_pages(t, 1);
    for (const nr of [1, 2, 5, BIO_MAX_PAGES]) {
      const bio = (yield* bio_alloc(t, GFP_NOIO, nr))!;
      for (let i = 0; i < nr; i++) {
        assertEquals(bio_add_page(t, bio, page, 512, 0), 512);
      }
      assertEquals(bio_add_page(t, bio, page, 512, 0), 0);
      assertEquals([bio.bi_vcnt, bio.bi_size], [nr, nr * 512]);
      yield* bio_endio(t, bio, 0); // nobody cares
      yield* bio_put(t, bio);
    }
    const inUse = t.k.slab.inUse();
    failPages(t.k, () => true);
    let failed = 0;
    const bios: Bio[] = [];
    for (let i = 0; i < 400 && failed === 0; i++) {
      const bio = yield* bio_alloc(t, GFP_NOIO, 200);
      if (bio === null) failed++;
      else bios.push(bio);
    }
    assertEquals(failed, 1);
    assertEquals(t.k.slab.inUse().get("bio"), bios.length);
    for (const bio of bios) yield* bio_put(t, bio);
    assertEquals(t.k.slab.inUse(), inUse);
    // A request without memory fails its bio.
    failPages(t.k, null);
    const disk = yield* SlowDisk.create(t, "slow0", numbered());
    failPages(t.k, () => true);
    let got: number = 0;
    const bio = (yield* bio_alloc(t, GFP_NOIO, 1))!;
    bio.bi_bdev = disk;
    bio_add_page(t, bio, page, 512, 0);
    bio.bi_end_io = function* (t, bio, error) {
      got = error;
      yield* bio_put(t, bio);
    };
    yield* submit_bio(t, READ, bio);
    failPages(t.k, null);
    assertEquals(got, err(ENOMEM));
    yield* disk.destroy(t);
  });
});
