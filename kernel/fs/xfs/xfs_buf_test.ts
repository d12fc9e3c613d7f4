import { assert, assertEquals, assertNotStrictEquals } from "@std/assert";
import type { Steps } from "../../../arch/asm.ts";
import type { MachineSpec } from "../../../arch/hw/spec.ts";
import type { BlockDevice } from "../../block/block_device.ts";
import { SlowDisk } from "../../block/testing.ts";
import { brd_alloc, brd_free, BrdDevice } from "../../drivers/block/brd.ts";
import { parseImage, type SparseImage } from "../../drivers/block/image.ts";
import type { Kernel } from "../../kernel.ts";
import { kthread_join, kthread_run } from "../../kthread.ts";
import { EAGAIN, EIO, ENOMEM, err, EUCLEAN } from "../../lib/errno.ts";
import { list_empty } from "../../lib/list.ts";
import { check_mapping, find_get_page } from "../../mm/filemap.ts";
import { count_ptes } from "../../mm/pgtable.ts";
import { page_cache_release } from "../../mm/filemap.ts";
import { vm_unmap_aliases } from "../../mm/vmap.ts";
import { runVm, usage, type VmOptions } from "../../mm/vm_testing.ts";
import { rcu_barrier } from "../../rcu.ts";
import { spend, testSpec } from "../../testing.ts";
import type { Thread } from "../../thread.ts";
import { msleep } from "../../timer.ts";
import { copy_out, get_be32, get_u8, memcmp_at } from "./xfs_access.ts";
import {
  type BufMap,
  XBF_DONE,
  XBF_LOCK,
  XBF_MAPPED,
  XBF_TRYLOCK,
  xfs_alloc_buftarg,
  xfs_buf_hold,
  xfs_buf_read,
  xfs_buf_readahead,
  xfs_buf_rele,
  xfs_buf_relse,
  xfs_free_buftarg,
  xfs_setsize_buftarg,
  XfsBuf,
  XfsBuftarg,
} from "./xfs_buf.ts";

const SECTOR = 512;
const FLAGS = XBF_LOCK | XBF_MAPPED;
/** 64 KiB, sectors. */
const DIR_BLOCK = 128;
const MiB = 2 ** 20;

/** 4 MiB whose every word says where it is. */
function numbered(bytes = 4 * MiB): { image: SparseImage; bytes: Uint8Array } {
  const data = new Uint8Array(bytes);
  const view = new DataView(data.buffer);
  for (let i = 0; i < bytes; i += 4) view.setUint32(i, i * 2654435761);
  return { image: parseImage([data]), bytes: data };
}
const { image, bytes } = numbered();

/** What is in use once everything lazy is done: for comparing. */
function* inUse(t: Thread): Steps<Record<string, number>> {
  yield* vm_unmap_aliases(t);
  yield* rcu_barrier(t);
  yield* msleep(t, 40);
  const { k } = t;
  const use = usage(k);
  use.pages += k.slab.slabinfo().reduce(
    (sum, { slabs, pagesPerSlab }) => sum + slabs * pagesPerSlab,
    0,
  );
  const { areas, blocks } = k.vmap.counters();
  use.areas = areas - blocks;
  delete use.vmap_area;
  delete use.vmap_block;
  return use;
}

interface Rig {
  readonly btp: XfsBuftarg;
  readonly brd: BrdDevice;
}

interface RigOptions extends VmOptions {
  readonly buf_map?: BufMap;
  readonly blocksize?: number;
}

/** Runs `body` on a target of a RAM disk, and checks that nothing is left of it. */
function withTarget(
  options: RigOptions,
  body: (t: Thread, rig: Rig) => Steps<unknown>,
): Kernel {
  const { buf_map, blocksize = 4096, ...rest } = options;
  return runVm({ cpus: 2, ...rest }, function* (t) {
    const brd = brd_alloc(t, "ram0", image);
    yield* warm_up(t, brd);
    const start = yield* inUse(t);
    const btp = yield* xfs_alloc_buftarg(t, brd, "ram0", buf_map);
    assert(typeof btp !== "number");
    assertEquals(xfs_setsize_buftarg(t, btp, blocksize, 512), 0);
    yield* body(t, { btp, brd });
    yield* xfs_free_buftarg(t, btp);
    assertEquals(check_mapping(brd.mapping), []);
    assertEquals(t.k.vmap.check(), []);
    assertEquals(yield* inUse(t), start);
    yield* brd_free(t, brd);
  }).k;
}

/** Makes the slabs that stay. */
function* warm_up(t: Thread, brd: BlockDevice): Steps {
  const btp = yield* xfs_alloc_buftarg(t, brd, "warm");
  assert(typeof btp !== "number");
  const bp = yield* read(t, btp, 0, 64);
  yield* xfs_buf_relse(t, bp);
  yield* xfs_free_buftarg(t, btp);
}

function* read(
  t: Thread,
  btp: XfsBuftarg,
  blkno: number,
  len: number,
): Steps<XfsBuf> {
  const bp = yield* xfs_buf_read(t, btp, blkno, len, FLAGS);
  assert(typeof bp !== "number", `error ${bp}`);
  return bp;
}

/** Compares all of `bp`, as it reads through its address, with the image. */
function* check(t: Thread, bp: XfsBuf): Steps {
  const from = bp.b_bn * SECTOR;
  const want = bytes.subarray(from, from + bp.b_count_desired);
  assertEquals(yield* memcmp_at(t, bp.b_addr, want), true, `block ${bp.b_bn}`);
}

Deno.test("a buffer's contents are the image's, through its address", () => {
  withTarget({}, function* (t, { btp }) {
    const bp = yield* read(t, btp, 256, DIR_BLOCK);
    yield* check(t, bp);
    yield* xfs_buf_relse(t, bp);
  });
});
