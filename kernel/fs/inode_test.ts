import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import type { Steps } from "../../arch/asm.ts";
import { EIO, err } from "../lib/errno.ts";
import { GFP_KERNEL } from "../mm/gfp.ts";
import { spend } from "../testing.ts";
import type { Thread } from "../thread.ts";
import { onThreads, order, runFs } from "./_rig.ts";
import { bytes, type TestFs } from "./_testfs.ts";
import { iget_failed, is_bad_inode } from "./bad_inode.ts";
import { iget_locked, igrab, iput, unlock_new_inode } from "./inode.ts";
import { I_FREEING, I_NEW } from "./inode_types.ts";
import { prune_icache } from "./inode_shrink.ts";
import { shrink_dcache_memory } from "./shrinker.ts";
import { vfs_stat } from "./stat.ts";

function* ino(t: Thread, path: string): Steps<number> {
  const stat = yield* vfs_stat(t, bytes(path));
  return typeof stat === "number" ? stat : stat.ino;
}

/** Eight directories, in each a name of one file: its inode is wanted without a common i_mutex. */
const DIRS = Object.fromEntries(
  Array.from({ length: 8 }, (_, i) => [`d${i}`, {}]),
);

function linkEverywhere(fs: TestFs): number {
  const node = fs.add(fs.root, "f");
  for (let i = 0; i < 8; i++) fs.link(fs.find(`d${i}`), "f", node);
  return node.ino;
}

Deno.test("iget_locked(): an inode that several want is read once, and all wait for that", () => {
  let vain = 0;
  for (let seed = 0; seed < 20; seed++) {
    runFs({ cpus: 8, engine: order(seed) }, DIRS, function* (t, fs) {
      const want = linkEverywhere(fs);
      for (let i = 0; i < 8; i++) yield* ino(t, `/d${i}`);
      const { reads } = fs;
      fs.readCycles = 100_000;
      const got = yield* onThreads(t, 8, (self, i) => ino(self, `/d${i}/f`));
      assertEquals(got, new Array(8).fill(want));
      assertEquals(fs.reads - reads, 1);
      assertEquals(t.k.vfs!.inodes_stat.nr_inodes, 10);
      vain += fs.allocs - 10;
    });
  }
  assert(vain > 4, `${vain}`); // made, and then found that another had come first
});

Deno.test("iget_locked(): who wants an inode that is being freed waits, and gets a new one", () => {
  let again = 0;
  for (let seed = 0; seed < 20; seed++) {
    runFs({ cpus: 3, engine: order(seed) }, { f: 1 }, function* (t, fs, sb) {
      const node = fs.find("/f");
      const { reads } = fs;
      fs.clearCycles = 20_000;
      yield* onThreads(t, 3, function* (self, i) {
        for (let n = 0; n < 40; n++) {
          if (i === 0) {
            yield* prune_icache(self, 10);
            yield* spend(self, 1000);
            continue;
          }
          const inode = yield* fs.iget(self, sb, node);
          assert(typeof inode !== "number");
          assertEquals(inode.i_ino, node.ino);
          assertEquals(inode.i_state & (I_FREEING | I_NEW), 0);
          yield* spend(self, 500 * n);
          assertEquals(inode.i_state & (I_FREEING | I_NEW), 0);
          yield* iput(self, inode);
        }
      });
      again += fs.reads - reads;
      assertEquals(fs.allocs - fs.frees, t.k.vfs!.inodes_stat.nr_inodes);
    });
  }
  assert(again > 40, `${again}`);
});

Deno.test("igrab() refuses what is being freed", () => {
  runFs({ cpus: 2 }, { f: 1 }, function* (t, fs, sb) {
    const inode = yield* fs.iget(t, sb, fs.find("/f"));
    assert(typeof inode !== "number");
    assertStrictEquals(yield* igrab(t, inode), inode);
    yield* iput(t, inode);
    yield* iput(t, inode);
    assertEquals(t.k.vfs!.inodes_stat, { nr_inodes: 2, nr_unused: 1 });
    fs.clearCycles = 1_000_000;
    const got = yield* onThreads(t, 2, function* (self, i) {
      if (i === 0) yield* prune_icache(self, 10);
      else {
        yield* spend(self, 200_000);
        return yield* igrab(self, inode);
      }
    });
    assertEquals(got, [undefined, null]);
  });
});

Deno.test("an unused inode is kept, and found again as it was", () => {
  runFs({}, { f: 1 }, function* (t, fs, sb) {
    yield* ino(t, "/f");
    yield* shrink_dcache_memory(t, 128, GFP_KERNEL); // spares it once
    yield* shrink_dcache_memory(t, 128, GFP_KERNEL);
    const { inodes_stat } = t.k.vfs!;
    assertEquals(inodes_stat, { nr_inodes: 2, nr_unused: 1 });
    yield* ino(t, "/f");
    assertEquals(inodes_stat, { nr_inodes: 2, nr_unused: 0 });
    assertEquals([fs.reads, fs.lookups.get("f")], [2, 2]);
    const inode = yield* fs.iget(t, sb, fs.find("/f"));
    assert(typeof inode !== "number");
    inode.i_nlink = 0; // its last name is gone: nothing to keep
    yield* iput(t, inode);
    yield* shrink_dcache_memory(t, 128, GFP_KERNEL);
    yield* shrink_dcache_memory(t, 128, GFP_KERNEL);
    assertEquals(inodes_stat, { nr_inodes: 1, nr_unused: 0 });
  });
});

Deno.test("iget_failed(): who waits gets a bad inode, who comes later a new one", () => {
  runFs({ cpus: 8 }, {}, function* (t, _fs, sb) {
    let fails = 0;
    const got = yield* onThreads(t, 8, function* (self) {
      const inode = (yield* iget_locked(self, sb, 9999))!;
      if ((inode.i_state & I_NEW) !== 0) {
        fails++;
        yield* spend(self, 100_000);
        yield* iget_failed(self, inode);
        return "failed";
      }
      const bad = is_bad_inode(inode);
      const { lookup, getattr } = inode.i_op;
      assertEquals(yield* lookup!(self, inode, sb.s_root!), err(EIO));
      assertEquals(yield* getattr!(self, sb.s_root!), err(EIO));
      yield* iput(self, inode);
      return bad ? "bad" : "good";
    });
    assertEquals(got.filter((r) => r === "failed").length, fails);
    assertEquals(got.filter((r) => r === "bad").length, 8 - fails);
    assert(fails >= 1 && fails < 8, `${fails}`);
    const fresh = (yield* iget_locked(t, sb, 9999))!;
    assertEquals(fresh.i_state & I_NEW, I_NEW);
    yield* unlock_new_inode(t, fresh);
    yield* iput(t, fresh);
    assertEquals(t.k.vfs!.inodes_stat, { nr_inodes: 2, nr_unused: 1 });
  });
});
