import { assert, assertEquals, assertNotStrictEquals } from "@std/assert";
import fc from "fast-check";
import type { Steps } from "../../../arch/asm.ts";
import { findPreset } from "../../../arch/hw/presets/index.ts";
import { withCpus } from "../../../arch/hw/validate.ts";
import type { MachineSpec } from "../../../arch/hw/spec.ts";
import type { BlockDevice } from "../../block/block_device.ts";
import { SlowDisk } from "../../block/testing.ts";
import {
  brd_alloc,
  brd_free,
  type BrdDevice,
} from "../../drivers/block/brd.ts";
import { parseImage, type SparseImage } from "../../drivers/block/image.ts";
import type { Kernel } from "../../kernel.ts";
import { kthread_join, kthread_run } from "../../kthread.ts";
import { EAGAIN, EINVAL, EIO, ENOMEM, err, EUCLEAN } from "../../lib/errno.ts";
import { list_empty } from "../../lib/list.ts";
import {
  complete,
  Completion,
  wait_for_completion,
} from "../../locking/completion.ts";
import { __GFP_NOWARN } from "../../mm/gfp.ts";
import {
  check_mapping,
  find_get_page,
  page_cache_release,
  PageLocked,
  PageUptodate,
} from "../../mm/filemap.ts";
import { page_address } from "../../mm/page.ts";
import { count_ptes } from "../../mm/pgtable.ts";
import {
  kfree,
  kmem_cache_alloc,
  type KmemCache,
  type SlabObject,
} from "../../mm/slab.ts";
import { vm_unmap_aliases } from "../../mm/vmap.ts";
import { runVm, usage, type VmOptions } from "../../mm/vm_testing.ts";
import { rcu_barrier } from "../../rcu.ts";
import { spend, testSpec } from "../../testing.ts";
import type { Thread } from "../../thread.ts";
import { msleep } from "../../timer.ts";
import { get_be32, memcmp_at } from "./xfs_access.ts";
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
  type XfsBuf,
  type XfsBuftarg,
} from "./xfs_buf.ts";
import { failPages } from "../../testing.ts";

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

/** Page tables in use for mapped buffers: entries in vmalloc space. */
function entries(t: Thread): number {
  const { start, end } = t.k.vmalloc;
  return count_ptes(t.k, start, end);
}

const ALTIX = withCpus(findPreset("altix-64"), 2);
const MACHINES: readonly (readonly [string, MachineSpec | undefined])[] = [
  ["4 KiB pages", undefined],
  ["16 KiB pages", ALTIX],
];
const MAPS = [["vmlist", "vmap"], ["rewrite", "vmap"], [
  "rewrite",
  "vm_map_ram",
]] as const;

for (const [what, spec] of MACHINES) {
  for (const [vmap, buf_map] of MAPS) {
    Deno.test(`${what}, ${vmap}, ${buf_map}: buffers of any place and size read as the image, twice`, () => {
      const stretch = fc.tuple(
        fc.integer({ min: 0, max: 8000 }),
        fc.oneof(
          fc.constantFrom(1, 8, 16, 32, 128),
          fc.integer({ min: 1, max: 150 }),
        ),
      );
      fc.assert(
        fc.property(
          fc.array(stretch, { maxLength: 12 }),
          fc.constantFrom(512, 4096, 65536),
          (stretches, blocksize) => {
            withTarget(
              { spec, params: { vmap }, buf_map, blocksize },
              function* (t, { btp, brd }) {
                let held: XfsBuf | null = null;
                for (let round = 0; round < 2; round++) {
                  const before = brd.bytes_read;
                  const seen = new Set<string>();
                  for (const [blkno, len] of stretches) {
                    if (held !== null && seen.has(`${blkno},${len}`)) continue;
                    seen.add(`${blkno},${len}`);
                    const bp = yield* read(t, btp, blkno, len);
                    yield* check(t, bp);
                    if (held !== null) yield* xfs_buf_relse(t, held);
                    held = bp;
                  }
                  if (held !== null) yield* xfs_buf_relse(t, held);
                  held = null;
                  // What is cached is not read again, to a sector.
                  if (round === 1) assertEquals(brd.bytes_read, before);
                }
              },
            );
          },
        ),
        { seed: 1, numRuns: 12 },
      );
    });
  }
}

Deno.test("the address goes with the last reference, and the pages stay", () => {
  for (const buf_map of ["vmap", "vm_map_ram"] as const) {
    withTarget({ buf_map }, function* (t, { btp, brd }) {
      const before = entries(t);
      const bp = yield* read(t, btp, 256, DIR_BLOCK);
      assertEquals(entries(t) - before, 16);
      assertEquals(brd.bytes_read, 65536 + 32768); // and warm_up()'s
      yield* xfs_buf_hold(t, bp);
      yield* xfs_buf_relse(t, bp);
      assertEquals(entries(t) - before, 16); // somebody holds it
      assertNotStrictEquals(bp.b_addr, 0);
      yield* xfs_buf_rele(t, bp);
      assertEquals(bp.b_addr, 0);
      yield* msleep(t, 2100); // xfsbufd has been here
      yield* vm_unmap_aliases(t);
      assertEquals(entries(t) - before, 0);
      assertEquals(brd.mapping.nrpages, 16);
      const again = yield* read(t, btp, 256, DIR_BLOCK);
      assertEquals(brd.bytes_read, 65536 + 32768);
      yield* check(t, again);
      yield* xfs_buf_relse(t, again);
    });
  }
});

Deno.test("a buffer of one page has the direct map's address, and no other", () => {
  withTarget({}, function* (t, { btp, brd }) {
    const before = entries(t);
    const bp = yield* read(t, btp, 3, 2);
    const page = (yield* find_get_page(t, brd.mapping, 0))!;
    assertEquals(bp.b_addr, page_address(t.k, page) + 3 * SECTOR);
    assertEquals(entries(t), before);
    yield* page_cache_release(t, page);
    yield* xfs_buf_relse(t, bp);
  });
});

Deno.test("blocks of a page read the page whole; smaller ones what was asked for", () => {
  withTarget({}, function* (t, { btp, brd }) {
    const before = brd.bytes_read;
    const sb = yield* read(t, btp, 0, 1);
    const agf = yield* read(t, btp, 1, 1); // of the same page
    assertEquals(brd.bytes_read - before, 4096);
    yield* check(t, sb);
    yield* check(t, agf);
    yield* xfs_buf_relse(t, sb);
    yield* xfs_buf_relse(t, agf);
  });
  withTarget({ spec: ALTIX }, function* (t, { btp, brd }) {
    const before = brd.bytes_read;
    const first = yield* read(t, btp, 8, 8);
    assertEquals(brd.bytes_read - before, 4096);
    const page = (yield* find_get_page(t, brd.mapping, 0))!;
    assertEquals(PageUptodate(page), false);
    const second = yield* read(t, btp, 0, 8);
    assertEquals(brd.bytes_read - before, 8192);
    yield* check(t, first);
    yield* check(t, second);
    yield* xfs_buf_relse(t, first);
    yield* xfs_buf_relse(t, second);
    // Both are there, so a larger one needs the other half alone, but reads all.
    const larger = yield* read(t, btp, 0, 32);
    yield* check(t, larger);
    assertEquals(PageUptodate(page), true);
    yield* xfs_buf_relse(t, larger);
    yield* page_cache_release(t, page);
  });
});

Deno.test("the last page of a device that ends within it is read as far as it goes", () => {
  const small = parseImage([bytes.slice(0, 9 * SECTOR)]);
  runVm({}, function* (t) {
    const brd = brd_alloc(t, "ram0", small);
    const btp = yield* xfs_alloc_buftarg(t, brd, "ram0");
    assert(typeof btp !== "number");
    const bp = yield* read(t, btp, 8, 1);
    yield* check(t, bp);
    yield* xfs_buf_relse(t, bp);
    yield* xfs_free_buftarg(t, btp);
  });
});

Deno.test("two tasks that ask for one buffer get the same, one after the other", () => {
  withTarget({ cpus: 4 }, function* (t, { btp }) {
    const bp = yield* read(t, btp, 256, DIR_BLOCK);
    const got: XfsBuf[] = [];
    const threads: Thread[] = [];
    let inside = 0;
    for (let i = 0; i < 3; i++) {
      threads.push(
        yield* kthread_run(t, function* (p) {
          const mine = yield* read(p, btp, 256, DIR_BLOCK);
          assertEquals(++inside, 1);
          got.push(mine);
          yield* check(p, mine);
          yield* msleep(p, 2);
          inside--;
          yield* xfs_buf_relse(p, mine);
        }, `w/${i}`),
      );
    }
    yield* msleep(t, 20);
    assertEquals(got, []);
    assertEquals(bp.b_hold.value, 4);
    assertEquals(
      yield* xfs_buf_read(t, btp, 256, DIR_BLOCK, FLAGS | XBF_TRYLOCK),
      err(EAGAIN),
    );
    // Another length is another buffer.
    const other = yield* read(t, btp, 256, 8);
    assertNotStrictEquals(other, bp);
    yield* xfs_buf_relse(t, other);
    yield* xfs_buf_relse(t, bp);
    for (const p of threads) yield* kthread_join(t, p);
    assert(got.every((b) => b === bp));
    assertEquals(bp.b_hold.value, 0);
  });
});

Deno.test("vmap: addresses wait until there are more than 64 at the next mapping, or xfsbufd comes", () => {
  withTarget({ params: { vmap: "vmlist" } }, function* (t, { btp }) {
    const state = t.k.xfs_buf!;
    const areas = () => t.k.vmap.counters().areas;
    const before = areas();
    const purges = state.stats.purges;
    const once = function* (i: number): Steps {
      yield* xfs_buf_relse(t, yield* read(t, btp, i * 16, 16));
    };
    for (let i = 0; i < 65; i++) yield* once(i);
    assertEquals([state.as_list_len, areas() - before], [65, 65]);
    assertEquals(state.stats.purges, purges);
    yield* once(65); // finds 65 waiting
    assertEquals(state.stats.purges, purges + 1);
    assertEquals([state.as_list_len, areas() - before], [1, 1]);
    yield* msleep(t, 1100);
    assertEquals([state.as_list_len, areas() - before], [0, 0]);
    assertEquals(state.stats.purges, purges + 2);
    // Buffers of one page have nothing to unmap.
    yield* xfs_buf_relse(t, yield* read(t, btp, 0, 8));
    assertEquals(state.as_list_len, 0);
    // Without memory to remember the address: at once.
    const bp = yield* read(t, btp, 0, 16);
    const { general } = t.k.slab;
    const hoard = yield* empty_cache(t, general.find(16)!);
    failPages(t.k, () => true);
    yield* xfs_buf_relse(t, bp);
    failPages(t.k, null);
    assertEquals([state.as_list_len, areas() - before], [0, 0]);
    for (const obj of hoard) yield* kfree(t, obj);
    // Under Xen: at once.
    state.unmap_at_once = true;
    yield* once(0);
    assertEquals([state.as_list_len, areas() - before], [0, 0]);
  });
});

/** Takes what `cache` can give without a new page. */
function* empty_cache(t: Thread, cache: KmemCache<SlabObject>) {
  const got: SlabObject[] = [];
  failPages(t.k, () => true);
  for (;;) {
    const obj = yield* kmem_cache_alloc(t, cache, __GFP_NOWARN);
    if (obj === null) break;
    got.push(obj);
  }
  failPages(t.k, null);
  return got;
}

Deno.test("what maps buffers follows from the layer, and from xfs.buf_map=", () => {
  const cases = [
    ["vmlist", null, "vmap"],
    ["rewrite", null, "vm_map_ram"],
    ["rewrite", "vmap", "vmap"],
    ["vmlist", "vm_map_ram", "vm_map_ram"],
  ] as const;
  for (const [vmap, xfs_buf_map, want] of cases) {
    withTarget({ params: { vmap, xfs_buf_map } }, function* (t, { btp }) {
      assertEquals(btp.bt_buf_map, want);
      const bp = yield* read(t, btp, 0, 16);
      yield* check(t, bp);
      yield* xfs_buf_relse(t, bp);
      assertEquals(t.k.xfs_buf!.as_list_len, want === "vmap" ? 1 : 0);
    });
  }
});

Deno.test("a read error goes to the caller, leaves no buffer, and the next read tries again", () => {
  withTarget({}, function* (t, { btp, brd }) {
    brd.should_fail = (sector) => sector === 300;
    for (let i = 0; i < 2; i++) {
      const error = yield* xfs_buf_read(t, btp, 256, DIR_BLOCK, FLAGS);
      assertEquals(error, err(EIO));
    }
    assert(btp.bt_hash.every(({ bh_list }) => list_empty(bh_list)));
    const page = (yield* find_get_page(t, brd.mapping, 37))!;
    assertEquals([PageUptodate(page), PageLocked(page)], [false, false]);
    yield* page_cache_release(t, page);
    brd.should_fail = null;
    const bp = yield* read(t, btp, 256, DIR_BLOCK);
    yield* check(t, bp);
    yield* xfs_buf_relse(t, bp);
  });
});

Deno.test("outside of the device, and of what a buffer can be: -EUCLEAN, a message, no memory", () => {
  const k = withTarget({}, function* (t, { btp, brd }) {
    const { sectors } = brd;
    const cases: readonly (readonly [number, number])[] = [
      [sectors, 1],
      [sectors - 7, 8],
      [-8, 8],
      [2 ** 60, 8],
      [Infinity, 8],
      [NaN, 8],
      [1.5, 8],
      [0, 0],
      [0, 2 ** 30],
    ];
    for (const [blkno, len] of cases) {
      const error = yield* xfs_buf_read(t, btp, blkno, len, FLAGS);
      assertEquals(error, err(EUCLEAN), `${blkno}, ${len}`);
      yield* xfs_buf_readahead(t, btp, blkno, len, FLAGS);
    }
    assertEquals(brd.mapping.nrpages, 0);
    yield* xfs_buf_relse(t, yield* read(t, btp, sectors - 8, 8));
  });
  const log = k.printk.lines().map(({ text }) => text);
  assert(
    log.includes(
      "XFS (ram0): _xfs_buf_find: Block out of range: block 0x2000, length 1, EOFS 0x2000",
    ),
    log.join("\n"),
  );
});

Deno.test("on a disk that takes time, reading sleeps, and its users wait for one I/O", () => {
  for (const spec of [undefined, ALTIX]) {
    runVm({ cpus: 4, spec }, function* (t) {
      const disk = yield* SlowDisk.create(t, "slow0", image);
      yield* warm_up(t, disk);
      const start = yield* inUse(t);
      const served = disk.served;
      const btp = yield* xfs_alloc_buftarg(t, disk, "slow0");
      assert(typeof btp !== "number");
      xfs_setsize_buftarg(t, btp, 4096, 512);
      const threads: Thread[] = [];
      for (let i = 0; i < 4; i++) {
        threads.push(
          yield* kthread_run(t, function* (p) {
            const bp = yield* read(p, btp, 512, DIR_BLOCK);
            yield* check(p, bp);
            yield* xfs_buf_relse(p, bp);
          }, `w/${i}`),
        );
      }
      for (const p of threads) yield* kthread_join(t, p);
      assertEquals(disk.served - served, 1);
      // One sector of a page, and the page's rest at the same time.
      const two = [0, 1].map((i) =>
        function* (p: Thread): Steps {
          const bp = yield* read(p, btp, 2048 + i, 1);
          yield* check(p, bp);
          yield* xfs_buf_relse(p, bp);
        }
      );
      const readers: Thread[] = [];
      for (const f of two) readers.push(yield* kthread_run(t, f, "reader"));
      for (const p of readers) yield* kthread_join(t, p);
      assertEquals(disk.served - served, 3);
      yield* xfs_free_buftarg(t, btp);
      assertEquals(yield* inUse(t), start);
      yield* disk.destroy(t);
    });
  }
});

Deno.test("read-ahead ends in a worker, and is in nobody's way", () => {
  runVm({ cpus: 4 }, function* (t) {
    const disk = yield* SlowDisk.create(t, "slow0", image);
    yield* warm_up(t, disk);
    // The worker and its slabs stay.
    const warm = yield* xfs_alloc_buftarg(t, disk, "warm");
    assert(typeof warm !== "number");
    yield* xfs_buf_readahead(t, warm, 0, 16, FLAGS);
    yield* xfs_free_buftarg(t, warm);
    const start = yield* inUse(t);
    const btp = yield* xfs_alloc_buftarg(t, disk, "slow0");
    assert(typeof btp !== "number");
    const served = disk.served;
    const clock = t.cpu.clock;
    yield* xfs_buf_readahead(t, btp, 0, DIR_BLOCK, FLAGS);
    assert(t.machine.toNs(t.cpu.clock - clock) < 1e6); // did not wait
    const bp = yield* read(t, btp, 0, DIR_BLOCK); // waits for it
    yield* check(t, bp);
    yield* xfs_buf_readahead(t, btp, 0, DIR_BLOCK, FLAGS); // somebody has it
    yield* xfs_buf_relse(t, bp);
    yield* xfs_buf_readahead(t, btp, 0, DIR_BLOCK, FLAGS); // it is there
    assertEquals(disk.served - served, 1);
    assert(
      [...t.k.sched.threads].some(({ name }) => name.startsWith("xfslogd/")),
    );
    // What fails is told to nobody, and read again when it is asked for.
    disk.should_fail = () => true;
    yield* xfs_buf_readahead(t, btp, 512, DIR_BLOCK, FLAGS);
    yield* disk.drain(t);
    const error = yield* xfs_buf_read(t, btp, 512, DIR_BLOCK, FLAGS);
    assertEquals(error, err(EIO));
    disk.should_fail = null;
    const good = yield* read(t, btp, 512, DIR_BLOCK);
    yield* check(t, good);
    yield* xfs_buf_relse(t, good);
    yield* xfs_buf_readahead(t, btp, 1024, DIR_BLOCK, FLAGS);
    yield* xfs_free_buftarg(t, btp); // waits for the last
    assertEquals(yield* inUse(t), start);
    yield* disk.destroy(t);
  });
});

Deno.test("whichever allocation fails, a read fails whole or not at all", () => {
  for (const [vmap, buf_map] of MAPS) {
    let failed = 0;
    for (let failing = 0; failing < 40; failing++) {
      withTarget({ params: { vmap }, buf_map }, function* (t, { btp }) {
        // Slabs of the things that are counted, empty.
        const hoards: [KmemCache<SlabObject>, SlabObject[]][] = [];
        for (const cache of t.k.slab.caches) {
          if (
            /^(bio|xfs_buf|vmap|vm_str|radix|size-(32|64|128|256)$)/.test(
              cache.name,
            )
          ) {
            hoards.push([cache, yield* empty_cache(t, cache)]);
          }
        }
        let asked = 0;
        failPages(t.k, () => asked++ >= failing);
        const bp = yield* xfs_buf_read(t, btp, 256, DIR_BLOCK, FLAGS);
        failPages(t.k, null);
        if (typeof bp === "number") {
          assertEquals(bp, err(ENOMEM));
          failed++;
        } else {
          yield* check(t, bp);
          yield* xfs_buf_relse(t, bp);
        }
        for (const [, hoard] of hoards) {
          for (const obj of hoard) yield* kfree(t, obj);
        }
        const good = yield* read(t, btp, 256, DIR_BLOCK);
        yield* check(t, good);
        yield* xfs_buf_relse(t, good);
      });
    }
    assert(failed > 15 && failed < 40, `${failed}`);
  }
});

Deno.test("no room for an address: -ENOMEM, a message, and the pages stay cached", () => {
  const k = runVm({ pages: 12, params: { vmap: "vmlist" } }, function* (t) {
    const brd = brd_alloc(t, "ram0", image);
    const btp = yield* xfs_alloc_buftarg(t, brd, "ram0");
    assert(typeof btp !== "number");
    const error = yield* xfs_buf_read(t, btp, 0, DIR_BLOCK, FLAGS);
    assertEquals(error, err(ENOMEM));
    assertEquals(brd.mapping.nrpages, 16);
    const small = yield* read(t, btp, 0, 64);
    yield* check(t, small);
    yield* xfs_buf_relse(t, small);
    yield* xfs_free_buftarg(t, btp);
    yield* brd_free(t, brd);
  }).k;
  const log = k.printk.lines().map(({ text }) => text);
  assert(log.includes("xfs_buf_get_flags: failed to map pages"));
});

Deno.test("many tasks, few blocks, on every layer: right contents, nothing left", () => {
  for (const [vmap, buf_map] of MAPS) {
    for (const spec of [testSpec(8), withCpus(findPreset("altix-64"), 8)]) {
      fc.assert(
        fc.property(fc.nat(2 ** 30), (seed) => {
          withTarget(
            { spec, seed, params: { vmap }, buf_map },
            function* (t, { btp }) {
              const threads: Thread[] = [];
              for (let i = 0; i < 8; i++) {
                threads.push(
                  yield* kthread_run(t, function* (p) {
                    let r = seed + i * 7919;
                    for (let n = 0; n < 25; n++) {
                      r = (Math.imul(r, 1103515245) + 12345) >>> 0;
                      const len = [128, 64, 8, 1][(r >>> 8) % 4];
                      const blkno = ((r >>> 16) % 6) * 128 +
                        ((r >>> 12) % 3) * 4;
                      if ((r >>> 5) % 9 === 0) {
                        yield* xfs_buf_readahead(p, btp, blkno, len, FLAGS);
                        continue;
                      }
                      const bp = yield* read(p, btp, blkno, len);
                      assertEquals((bp.b_flags & XBF_DONE) !== 0, true);
                      const at = (r >>> 3) % (len * 16) * 32;
                      const got = yield* get_be32(p, bp.b_addr + at);
                      assertEquals(
                        got,
                        Math.imul(blkno * SECTOR + at, 2654435761) >>> 0,
                      );
                      if (n % 4 === 0) yield* spend(p, 2000);
                      if (n % 10 === 0) yield* check(p, bp);
                      yield* xfs_buf_relse(p, bp);
                    }
                  }, `w/${i}`),
                );
              }
              for (const p of threads) yield* kthread_join(t, p);
            },
          );
        }),
        { seed: 3, numRuns: 3 },
      );
    }
  }
});

Deno.test("xfs_free_buftarg() waits for who still has a buffer", () => {
  withTarget({ cpus: 2 }, function* (t, { btp }) {
    let released = false;
    const taken = new Completion(t.k, "taken");
    yield* kthread_run(t, function* (p) {
      const bp = yield* read(p, btp, 256, DIR_BLOCK);
      yield* complete(p, taken);
      yield* msleep(p, 700);
      yield* check(p, bp);
      released = true;
      yield* xfs_buf_relse(p, bp);
    }, "late");
    yield* wait_for_completion(t, taken);
    assertEquals(released, false);
  });
});

Deno.test("sizes that the device does not have are refused", () => {
  withTarget({}, function* (t, { btp }) {
    assertEquals(xfs_setsize_buftarg(t, btp, 4096, 256), err(EINVAL));
    assertEquals(xfs_setsize_buftarg(t, btp, 512, 4096), err(EINVAL));
    assertEquals(btp.bt_bsize, 4096);
    yield* msleep(t, 1);
  });
});
