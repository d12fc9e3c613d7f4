/**
 * Reads through blkfront: tasks read random stretches of a disk that another
 * domain serves, into pieces of pages, several requests at a time in the ring,
 * and compare every byte.
 */
import { enter, ksym, leave, type Steps, vstore } from "../../arch/asm.ts";
import { Rng } from "../../arch/sim/random.ts";
import {
  type Bio,
  bio_add_page,
  bio_alloc,
  bio_put,
  READ,
} from "../../kernel/block/bio.ts";
import { submit_bio } from "../../kernel/block/blk_core.ts";
import { SECTOR_BYTES } from "../../kernel/block/block_device.ts";
import { BUG, BUG_ON } from "../../kernel/bug.ts";
import {
  brd_alloc,
  brd_free,
  type BrdDevice,
} from "../../kernel/drivers/block/brd.ts";
import { parseImage } from "../../kernel/drivers/block/image.ts";
import { mismatch } from "../../kernel/drivers/xen/copy.ts";
import {
  type Vbd,
  vbd_attach,
  vbd_detach,
} from "../../kernel/drivers/xen/xen_devices.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import { errname, type Errno } from "../../kernel/lib/errno.ts";
import {
  complete,
  Completion,
  wait_for_completion,
} from "../../kernel/locking/completion.ts";
import { GFP_KERNEL, GFP_NOIO } from "../../kernel/mm/gfp.ts";
import { type Page, page_address } from "../../kernel/mm/page.ts";
import { __free_page, alloc_page } from "../../kernel/mm/page_alloc.ts";
import type { Thread } from "../../kernel/thread.ts";
import { failedOp, faultsInjected } from "../injected.ts";
import type { Part, PartMaker } from "./part.ts";
import { run_exercise, XENBUS_INITCALL } from "./xen_exercise.ts";

const TASK = ksym("xen_blk_exercise");

/** Size of the disk, sectors: 2 MiB, more than any read. */
const SECTORS = 4096;
/** Most pieces of a read: two requests and a bit of the ring. */
const MAX_PIECES = 24;
/** What a page has before it is read into, so that a piece that is left out shows. */
const POISON = 0xdeadbeef;

/** What has been done and found right. */
export interface XenBlkCounts {
  /** Reads, each compared with the disk's contents. */
  reads: number;
  /** Bytes compared. */
  bytes: number;
  /** Requests in the ring, their pieces, and grants that the back end mapped. */
  requests: number;
  segments: number;
  maps: number;
}

/** Every word of the disk is another one. */
function contents(): Uint8Array {
  const words = new Uint32Array(SECTORS * SECTOR_BYTES / 4);
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i, 0x9e3779b1);
  return new Uint8Array(words.buffer);
}

/** See the file's head. */
export class XenBlkPart implements Part {
  readonly name = "xen-blk";
  readonly unit = "reads";
  readonly counts: XenBlkCounts = {
    reads: 0,
    bytes: 0,
    requests: 0,
    segments: 0,
    maps: 0,
  };
  readonly #contents = contents();
  readonly #rngs: Rng[] = [];
  readonly #pages: Page[][] = [];
  #brd: BrdDevice | null = null;
  #vbd: Vbd | null = null;

  constructor(k: Kernel, readonly tasks: number) {
    for (let i = 0; i < tasks; i++) {
      this.#rngs.push(new Rng(k.params.seed + 13 * i));
    }
  }

  *prepare(t: Thread): Steps<string | null> {
    if (t.k.xen === null) return "the machine has no Xen";
    for (let id = 0; id < this.tasks; id++) {
      const pages: Page[] = [];
      for (let i = 0; i < MAX_PIECES; i++) {
        const page = yield* alloc_page(t, GFP_KERNEL);
        if (page === null) BUG(t, "no memory for a read");
        pages.push(page);
      }
      this.#pages.push(pages);
    }
    const image = parseImage([this.#contents]);
    this.#brd = brd_alloc(t, "ram_xen", image);
    const vbd = yield* vbd_attach(t, this.#brd);
    if (typeof vbd === "number") BUG(t, `no disk: ${errname(vbd)}`);
    this.#vbd = vbd;
    return null;
  }

  *step(t: Thread, id: number): Steps {
    enter(t, TASK);
    const { memory } = t.machine;
    const rng = this.#rngs[id];
    const pages = this.#pages[id];
    const nr = 1 + rng.below(MAX_PIECES);
    const bio = yield* bio_alloc(t, GFP_NOIO, nr);
    if (bio === null) {
      failedOp(t, "no memory for a bio");
      leave(t);
      return;
    }
    const perPage = memory.pageBytes / SECTOR_BYTES;
    for (let i = 0; i < nr; i++) {
      const first = rng.below(perPage);
      const count = 1 + rng.below(perPage - first);
      const offset = first * SECTOR_BYTES;
      bio_add_page(t, bio, pages[i], count * SECTOR_BYTES, offset);
      yield* vstore(t, page_address(t.k, pages[i]) + offset, 4, POISON);
    }
    const sectors = bio.bi_size / SECTOR_BYTES;
    bio.bi_sector = rng.below(SECTORS - sectors + 1);
    const error = yield* this.#read(t, bio);
    if (error === 0) yield* this.#compare(t, bio);
    else failedOp(t, `a read of the disk fails: ${errname(error)}`);
    yield* bio_put(t, bio);
    leave(t);
  }

  *#read(t: Thread, bio: Bio): Steps<0 | Errno> {
    const done = new Completion(t.k, "xen_blk_exercise");
    let result = 0 as 0 | Errno;
    bio.bi_bdev = this.#vbd!.bdev;
    bio.bi_end_io = function* (t: Thread, _bio: Bio, error: 0 | Errno) {
      result = error;
      yield* complete(t, done);
    };
    yield* submit_bio(t, READ, bio);
    yield* wait_for_completion(t, done);
    return result;
  }

  *#compare(t: Thread, bio: Bio): Steps {
    let from = bio.bi_sector * SECTOR_BYTES;
    for (let i = 0; i < bio.bi_vcnt; i++) {
      const { bv_page, bv_offset, bv_len } = bio.bi_io_vec[i];
      const want = this.#contents.subarray(from, from + bv_len);
      const at = page_address(t.k, bv_page) + bv_offset;
      const wrong = yield* mismatch(t, at, want);
      BUG_ON(t, wrong >= 0, `byte ${from + wrong} of the disk reads wrong`);
      from += bv_len;
    }
    this.counts.reads++;
    this.counts.bytes += bio.bi_size;
  }

  *finish(t: Thread): Steps {
    const { front, back } = this.#vbd!;
    this.counts.requests += front.requests;
    this.counts.segments += front.segments;
    this.counts.maps += back.counts.maps;
    const wrong = back.counts.errors > 0 && !faultsInjected(t.k);
    BUG_ON(t, wrong, "a request had an error");
    yield* vbd_detach(t, this.#vbd!);
    yield* brd_free(t, this.#brd!);
    for (let i = 0; i < this.#pages.length; i++) {
      for (let j = 0; j < MAX_PIECES; j++) {
        yield* __free_page(t, this.#pages[i][j]);
      }
    }
    this.#pages.length = 0;
  }
}

/** The part for a mixed run, with `tasks` readers of one disk. */
export function xenBlkPart(tasks: number): PartMaker {
  return {
    initcalls: [XENBUS_INITCALL],
    make: (k) => new XenBlkPart(k, tasks),
  };
}

/**
 * Attaches a disk, has `tasks` threads make `ops` reads each, detaches it.
 *
 * Context: process; the machine has Xen.
 *
 * @returns What was done and found right. A difference is a BUG.
 */
export function* xen_blk_exercise(
  t: Thread,
  { tasks, ops }: { readonly tasks: number; readonly ops: number },
): Steps<XenBlkCounts> {
  const part = new XenBlkPart(t.k, tasks);
  yield* run_exercise(t, part, ops);
  return part.counts;
}
