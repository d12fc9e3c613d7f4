import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Steps } from "../../arch/asm.ts";
import type { Kernel } from "../kernel.ts";
import { ENOENT, ENOMEM, ENOTDIR } from "../lib/errno.ts";
import { __GFP_IO, __GFP_NOWARN, GFP_KERNEL } from "../mm/gfp.ts";
import { __free_page, alloc_page } from "../mm/page_alloc.ts";
import type { Page } from "../mm/page.ts";
import { slab_object_live } from "../mm/slab.ts";
import { Rng } from "../../arch/sim/random.ts";
import { cond_resched } from "../sched/sched.ts";
import { spend } from "../testing.ts";
import type { Thread } from "../thread.ts";
import { checkVfs, onThreads, order, runFs } from "./_rig.ts";
import { bytes, type Node, TestFs, text, type Tree } from "./_testfs.ts";
import { Path, set_fs_root } from "./fs_struct.ts";
import { S_ISDIR } from "./inode_types.ts";
import { LOOKUP_FOLLOW, path_lookup, path_put } from "./namei.ts";
import { read_dir } from "./readdir.ts";
import { shrink_dcache_memory, shrink_icache_memory } from "./shrinker.ts";
import { vfs_stat } from "./stat.ts";
import { mount_fs, register_filesystem, SuperBlock, umount } from "./super.ts";

/** `count` directories of `each` files: /d0/f0 and so on. */
function forest(count: number, each: number): Tree {
  const tree: Tree = {};
  for (let i = 0; i < count; i++) {
    const dir: Tree = tree[`d${i}`] = {};
    for (let j = 0; j < each; j++) dir[`f${j}`] = 1;
  }
  return tree;
}

function* ino(t: Thread, path: string): Steps<number> {
  const stat = yield* vfs_stat(t, bytes(path));
  return typeof stat === "number" ? stat : stat.ino;
}

/** Acquisitions of every lock class that `work` takes, but for the slab's. */
function* acquisitions(
  t: Thread,
  work: () => Steps<unknown>,
): Steps<Record<string, number>> {
  const before = new Map(
    t.k.lockStats.all().map((c) => [c.name, c.acquisitions]),
  );
  yield* work();
  const taken: Record<string, number> = {};
  for (const { name, acquisitions } of t.k.lockStats.all()) {
    const n = acquisitions - (before.get(name) ?? 0);
    if (n > 0 && !/list_lock|zone|alc|runqueue|rq/.test(name)) taken[name] = n;
  }
  return taken;
}

Deno.test("what a stat() of /d/f locks: warm, cold, negative, and its end", () => {
  runFs({}, { d: { f: 1, g: 1, h: 1 } }, function* (t) {
    yield* ino(t, "/d/g"); // /d is in the cache; so are the slabs
    const stat = (path: string) => () => ino(t, path);

    // Cold. i_mutex: real_lookup() of f. inode_lock: iget_locked() looks, and
    // then looks again to insert. dcache_lock: d_alloc() hangs it into its
    // parent; d_add() gives it its inode and hashes it; the last dput() puts it
    // on the LRU list. d_lock: __d_lookup() of d; hashing f; the last dput().
    assertEquals(yield* acquisitions(t, stat("/d/f")), {
      "fs->lock": 1,
      "&dentry->d_lock": 3,
      "&inode->i_mutex": 1,
      "dcache_lock": 4,
      "inode_lock": 2,
    });

    // Warm. d_lock: __d_lookup() of d and of f; dput() of f. dcache_lock: that
    // dput() takes the count to 0, and finds f on the LRU list. (d has a
    // reference from each child, so its own dput() takes nothing.)
    assertEquals(yield* acquisitions(t, stat("/d/f")), {
      "fs->lock": 1,
      "&dentry->d_lock": 3,
      "dcache_lock": 1,
    });

    // Not there, cold: no inode; the dentry is hashed all the same.
    assertEquals(yield* acquisitions(t, stat("/d/x")), {
      "fs->lock": 1,
      "&dentry->d_lock": 3,
      "&inode->i_mutex": 1,
      "dcache_lock": 4,
    });
    assertEquals(yield* acquisitions(t, stat("/d/x")), {
      "fs->lock": 1,
      "&dentry->d_lock": 3,
      "dcache_lock": 1,
    });
  });
});

Deno.test("what freeing a dentry and its inode locks", () => {
  runFs({}, { d: { f: 1, g: 1 } }, function* (t) {
    yield* ino(t, "/d/g");
    yield* ino(t, "/d/f");
    const { dentry_stat, inodes_stat } = t.k.vfs!;
    const prune = () => shrink_dcache_memory(t, 1, GFP_KERNEL);
    // Both have been used since they came onto the list: spared once.
    assertEquals(yield* acquisitions(t, prune), {
      "&dentry->d_lock": 2,
      "dcache_lock": 3, // prune_dcache(), and again after __shrink_dcache_sb()
      "sb_lock": 2,
      "&type->s_umount_key": 1,
    });
    assertEquals(dentry_stat, { nr_dentry: 4, nr_unused: 2 });
    // g: d_lock to take it off the list, and to free it, which gives up both
    // locks; inode_lock as its inode becomes unused. With one wanted of two,
    // prune_dcache() takes a half and one: f goes, too.
    assertEquals(yield* acquisitions(t, prune), {
      "&dentry->d_lock": 4 + 1, // and d, which nobody needs any more
      "dcache_lock": 3 + 2 + 1,
      "sb_lock": 2,
      "&type->s_umount_key": 1,
      "inode_lock": 3,
    });
    assertEquals(dentry_stat, { nr_dentry: 1, nr_unused: 0 });
    assertEquals(inodes_stat, { nr_inodes: 4, nr_unused: 3 });
    const icache = () => shrink_icache_memory(t, 128, GFP_KERNEL);
    assertEquals(yield* acquisitions(t, icache), {
      "iprune_mutex": 1,
      "inode_lock": 3 + 2, // one an inode; to pick them, and to count
    });
    assertEquals(inodes_stat, { nr_inodes: 1, nr_unused: 0 });
  });
});

Deno.test("threads that miss one name have it looked up once", () => {
  runFs({ cpus: 8 }, { d: { f: 1 } }, function* (t, fs) {
    fs.lookupCycles = 200_000;
    const found = yield* onThreads(t, 8, (self) => ino(self, "/d/f"));
    assertEquals(found, new Array(8).fill(fs.find("/d/f").ino));
    assertEquals(fs.lookups.get("f"), 1);
    assertEquals(fs.lookups.get("d"), 1);
    const missing = yield* onThreads(t, 8, (self) => ino(self, "/d/x"));
    assertEquals(missing, new Array(8).fill(-ENOENT));
    assertEquals(fs.lookups.get("x"), 1);
    assert(t.k.lockStats.get("&inode->i_mutex").contentions > 7);
  });
});

Deno.test("i_mutex lets one miss at a time into a directory, and one into each of several", () => {
  for (const dirs of [1, 8]) {
    runFs({ cpus: 8 }, forest(dirs, 80), function* (t, fs) {
      for (let i = 0; i < dirs; i++) yield* ino(t, `/d${i}`);
      fs.lookupCycles = 50_000;
      const start = t.cpu.clock;
      yield* onThreads(t, 8, function* (self, i) {
        for (let j = 0; j < 10; j++) {
          yield* ino(self, `/d${i % dirs}/f${10 * i + j}`);
        }
      });
      assertEquals(fs.maxInLookup, dirs);
      const took = t.cpu.clock - start;
      if (dirs === 1) assert(took > 80 * 50_000, `${took}`);
      else assert(took < 20 * 50_000, `${took}`);
    });
  }
});

/** A slow model of path_lookup() without links. */
function resolve(fs: TestFs, path: string): number {
  const trail: Node[] = [fs.root];
  const parts = path.split("/");
  for (let i = 0; i < parts.length; i++) {
    const name = parts[i];
    const node = trail[trail.length - 1];
    const dir = S_ISDIR(node.mode);
    if (name === "" && i < parts.length - 1) continue;
    if (!dir) return -ENOTDIR;
    if (name === "" || name === ".") continue;
    if (name === "..") {
      if (trail.length > 1) trail.pop();
      continue;
    }
    const next = node.children.get(name);
    if (next === undefined) return -ENOENT;
    trail.push(next);
  }
  return trail[trail.length - 1].ino;
}

/** A tree with names that share hash chains, prefixes, and odd bytes. */
function randomTree(rng: Rng): Tree {
  const names = ["a", "b", "ab", "\xff", "\x01", " ", "n".repeat(40), "x"];
  const grow = (depth: number): Tree => {
    const tree: Tree = {};
    for (const name of names) {
      const kind = rng.nextU32() % 4;
      if (kind === 0) tree[name] = 1;
      else if (kind === 1 && depth > 0) tree[name] = grow(depth - 1);
    }
    return tree;
  };
  return grow(3);
}

function randomPath(rng: Rng): string {
  const names = [
    "a",
    "b",
    "ab",
    "\xff",
    "\x01",
    " ",
    "n".repeat(40),
    "x",
    "none",
    ".",
    "..",
    "",
  ];
  let path = "";
  const length = 1 + rng.nextU32() % 5;
  for (let i = 0; i < length; i++) {
    path += `/${names[rng.nextU32() % names.length]}`;
  }
  return path;
}

/** One thread's random look-ups, checked against the model; some with reclaim in between. */
function* wander(
  t: Thread,
  fs: TestFs,
  rng: Rng,
  rounds: number,
): Steps {
  for (let n = 0; n < rounds; n++) {
    const path = randomPath(rng);
    const want = resolve(fs, path);
    switch (rng.nextU32() % 8) {
      case 0:
        yield* shrink_dcache_memory(t, 1 + rng.nextU32() % 20, GFP_KERNEL);
        break;
      case 1:
        yield* shrink_icache_memory(t, 1 + rng.nextU32() % 20, GFP_KERNEL);
        break;
      case 2: {
        const entries = yield* read_dir(t, bytes(path));
        if (typeof entries === "number") {
          assert(entries === want || entries === -ENOTDIR, path);
        } else assertEquals(entries[0].ino, want);
        break;
      }
      case 3: {
        const held = yield* path_lookup(t, bytes(path), LOOKUP_FOLLOW);
        if (typeof held === "number") {
          assertEquals(held as number, want, path);
          break;
        }
        yield* spend(t, rng.nextU32() % 5000);
        // Whatever others have pruned, not this.
        const { dentry } = held;
        assert(slab_object_live(dentry) && slab_object_live(dentry.d_inode!));
        assertEquals(dentry.d_inode!.i_ino, want, path);
        yield* path_put(t, held);
        break;
      }
      default:
        assertEquals(yield* ino(t, path), want, path);
    }
  }
}

Deno.test("random look-ups and reclaim on several CPUs agree with a slow model", () => {
  fc.assert(
    fc.property(
      fc.nat(),
      fc.integer({ min: 1, max: 8 }),
      fc.constantFrom(0, 5, 40, Infinity),
      fc.boolean(),
      fc.constantFrom(undefined, 0, 2),
      (seed, cpus, limit, jitter, bucketBits) => {
        const rng = new Rng(seed);
        const fs = new TestFs(randomTree(rng));
        fs.lookupCycles = seed % 2 === 0 ? 0 : 3000;
        fs.readCycles = seed % 3 === 0 ? 0 : 2000;
        fs.clearCycles = seed % 5 === 0 ? 0 : 2000;
        const engine = order(jitter ? seed + 1 : 0);
        runFs({ cpus, seed, engine, bucketBits }, fs, function* (t) {
          const v = t.k.vfs!;
          v.dentry_limit = limit;
          yield* onThreads(t, cpus, (self, i) => {
            return wander(self, fs, new Rng(seed + i), 60);
          });
          assert(fs.maxInLookup <= cpus);
        });
      },
    ),
    { numRuns: 60, seed: 20081119 },
  );
});

Deno.test("d_alloc() reclaims above the limit, oldest first, and what is used twice is spared once", () => {
  runFs({}, forest(1, 1000), function* (t, fs) {
    const v = t.k.vfs!;
    v.dentry_limit = 300;
    for (let i = 0; i < 1000; i++) {
      yield* ino(t, `/d0/f${i}`);
      assert(v.dentry_stat.nr_unused <= 301, `${v.dentry_stat.nr_unused}`);
      checkSometimes(t.k, i);
    }
    // At least half of the limit survives a reclaim of 128.
    assert(v.dentry_stat.nr_unused > 150, `${v.dentry_stat.nr_unused}`);
    assert(v.inodes_stat.nr_inodes < 450, `${v.inodes_stat.nr_inodes}`);
    assertEquals(fs.reads, 1002);
    yield* ino(t, "/d0/f999"); // the newest is there
    assertEquals(fs.lookups.get("f999"), 1);
    yield* ino(t, "/d0/f0");
    assertEquals(fs.lookups.get("f0"), 2);
  });
});

function checkSometimes(k: Kernel, i: number): void {
  if (i % 100 === 99) checkVfs(k);
}

Deno.test("reclaim that may not enter file systems does nothing", () => {
  runFs({}, forest(1, 10), function* (t) {
    for (let i = 0; i < 10; i++) yield* ino(t, `/d0/f${i}`);
    assertEquals(yield* shrink_dcache_memory(t, 128, __GFP_IO), -1);
    assertEquals(yield* shrink_icache_memory(t, 128, __GFP_IO), -1);
    assertEquals(yield* shrink_dcache_memory(t, 0, GFP_KERNEL), 10);
    assertEquals(yield* shrink_icache_memory(t, 0, GFP_KERNEL), 0);
  });
});

Deno.test("the same seed gives the same clocks, with reclaim on eight CPUs", () => {
  const run = () =>
    runFs({ cpus: 8, seed: 7 }, forest(8, 200), function* (t, fs) {
      t.k.vfs!.dentry_limit = 400;
      fs.lookupCycles = 2000;
      yield* onThreads(t, 8, function* (self, i) {
        const rng = new Rng(i);
        for (let n = 0; n < 200; n++) {
          const [d, f] = [rng.nextU32() % 8, rng.nextU32() % 200];
          assertEquals(
            yield* ino(self, `/d${d}/f${f}`),
            fs.find(`/d${d}/f${f}`).ino,
          );
        }
      });
      return text(bytes("done"));
    }).clocks;
  assertEquals(run(), run());
});

Deno.test("out of memory: -ENOMEM, nothing lost, and all is well afterwards", () => {
  const params = { mem_bytes: 24 * 2 ** 20 };
  const tree = { d: {} as Record<string, number> };
  const name = (i: number) => `${"long-".repeat(20)}${i}`; // needs kmalloc()
  for (let i = 0; i < 2000; i++) tree.d[name(i)] = i;
  runFs({ params }, tree, function* (t, fs) {
    yield* ino(t, "/d");
    const hog: Page[] = [];
    for (;;) {
      const page = yield* alloc_page(t, GFP_KERNEL | __GFP_NOWARN);
      if (page === null) break;
      hog.push(page);
    }
    const seen = new Map<number, number>();
    for (let i = 0; i < 2000; i++) {
      // A page at a time comes back, so that now this and now that fails.
      if (i % 40 === 39) yield* __free_page(t, hog.pop()!);
      const got = yield* ino(t, `/d/${name(i)}`);
      const kind = Math.min(0, got);
      seen.set(kind, (seen.get(kind) ?? 0) + 1);
      if (kind === 0) assertEquals(got, fs.find(`/d/${name(i)}`).ino);
    }
    assertEquals(new Set(seen.keys()), new Set([0, -ENOMEM]));
    checkVfs(t.k);
    for (const page of hog) yield* __free_page(t, page);
    for (let i = 0; i < 2000; i++) {
      assertEquals(
        yield* ino(t, `/d/${name(i)}`),
        fs.find(`/d/${name(i)}`).ino,
      );
    }
  });
});

Deno.test("reclaim goes past a file system that is being unmounted", () => {
  let frees = 0;
  for (let seed = 0; seed < 12; seed++) {
    runFs({ cpus: 3, engine: order(seed) }, forest(1, 30), function* (t) {
      const other = new TestFs(forest(2, 20));
      other.clearCycles = 3000;
      yield* register_filesystem(t, {
        name: "otherfs",
        requires_dev: false,
        fill_super: other.fill_super,
      });
      let done = false;
      yield* onThreads(t, 3, function* (self, i) {
        if (i > 0) {
          while (!done) {
            yield* shrink_dcache_memory(self, 8, GFP_KERNEL);
            yield* shrink_icache_memory(self, 8, GFP_KERNEL);
            yield* ino(self, `/d0/f${i}`);
            yield* cond_resched(self);
          }
          return;
        }
        for (let n = 0; n < 4; n++) {
          const sb = yield* mount_fs(self, "otherfs", null);
          assert(sb instanceof SuperBlock);
          const mnt = self.k.vfs!.mounts.find((mnt) => mnt.mnt_sb === sb)!;
          yield* set_fs_root(self, self.fs!, new Path(mnt, mnt.mnt_root));
          for (let f = 0; f < 20; f++) yield* ino(self, `/d${f % 2}/f${f}`);
          yield* set_fs_root(self, self.fs!, null);
          assertEquals(yield* umount(self, sb), 0);
          assertEquals(other.frees, other.allocs);
        }
        done = true;
      });
      frees += other.frees;
    });
  }
  assert(frees >= 12 * 4 * 23, `${frees}`);
});
