/** Directories of every form, made by hand: no tool is needed. */
import { assert, assertEquals } from "@std/assert";
import type { Steps } from "../../../arch/asm.ts";
import { findPreset } from "../../../arch/hw/presets/index.ts";
import type { SparseImage } from "../../drivers/block/sparse_image.ts";
import { ENOENT, err, type Errno } from "../../lib/errno.ts";
import type { VmOptions } from "../../mm/vm_testing.ts";
import type { Thread } from "../../thread.ts";
import type { Kstat } from "../inode_types.ts";
import { path_lookup, path_put } from "../namei.ts";
import { vfs_readdir } from "../readdir.ts";
import { vfs_stat } from "../stat.ts";
import {
  Builder,
  type BuildOptions,
  type DirLayout,
  type Entry,
  text,
} from "./_builder.ts";
import { check_dir, ino_of, latin1, list, withXfs } from "./_xfs_rig.ts";
import { xfs_dir2_form } from "./xfs_dir2.ts";
import { XFS_I } from "./xfs_iops.ts";

/** A file system with `/d`, which has `names`, and what inode each of them leads to. */
function withDir(
  options: BuildOptions,
  names: readonly (string | Uint8Array)[],
  layout: DirLayout = {},
): { image: SparseImage; inos: Map<string, number> } {
  const b = new Builder(options);
  const slot = b.newSlot();
  const files = Array.from({ length: 20 }, () => b.file());
  const entries = names.map((name, i): Entry => ({
    name: typeof name === "string" ? text(name) : name,
    ino: files[i % files.length],
  }));
  b.dir(slot, b.ino(0), entries, layout);
  b.dir(0, b.ino(0), [{ name: text("d"), ino: b.ino(slot), ftype: 2 }]);
  const inos = new Map(entries.map((e) => [latin1(e.name), e.ino]));
  return { image: b.finish(), inos };
}

function names(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `name-${i * 7919 % 100_003}`);
}

function* stat_in(t: Thread, name: Uint8Array): Steps<Kstat | Errno> {
  const path = new Uint8Array(3 + name.length);
  path.set(text("/d/"));
  path.set(name, 3);
  return yield* vfs_stat(t, path);
}

/** Looks every name up, some that are not there, and lists the directory. */
function check(
  options: BuildOptions,
  wanted: readonly (string | Uint8Array)[],
  layout: DirLayout,
  form: string,
  vm: VmOptions = {},
): void {
  const { image, inos } = withDir(options, wanted, layout);
  const { result, log } = withXfs(image, function* (t, { mp }) {
    for (const [name, ino] of inos) {
      const bytes = Uint8Array.from(name, (c) => c.charCodeAt(0));
      const stat = yield* stat_in(t, bytes);
      if (typeof stat === "number") {
        throw new Error(`${name}: ${stat}\n${t.k.printk.dmesg()}`);
      }
      assertEquals(stat.ino, ino);
    }
    for (const name of ["no", "name-", "name-0000", "\xff", "x".repeat(255)]) {
      assertEquals(yield* stat_in(t, text(name)), err(ENOENT));
    }
    const listed = yield* list(t, "/d");
    assert(typeof listed !== "number");
    assertEquals(new Map(listed), inos);
    assertEquals(listed.length, inos.size);
    assertEquals(yield* check_dir(t, "/d"), 0);
    const path = yield* path_lookup(t, text("/d"), 0);
    assert(typeof path !== "number");
    const found = yield* xfs_dir2_form(t, XFS_I(path.dentry.d_inode!));
    yield* path_put(t, path);
    return [found, mp.m_corruptions];
  }, vm);
  assertEquals<unknown>(result, [form, 0], log.join("\n"));
}

for (const crc of [0, 1] as const) {
  const v = crc === 1 ? "version 5" : "version 4";

  Deno.test(`a short directory, ${v}`, () => {
    check({ crc }, ["a", "bb", "ccc", "name", "nane"], {}, "short");
    check({ crc }, [], {}, "short");
  });

  Deno.test(`a directory of one block, ${v}`, () => {
    check({ crc }, names(60), {}, "block");
    check({ crc, dirblklog: 4 }, names(1200), {}, "block");
    check({ crc, dirblklog: 2 }, names(200), { scatter: true }, "block");
  });

  Deno.test(`a directory with one leaf, ${v}`, () => {
    check({ crc }, names(400), {}, "leaf");
    check({ crc }, names(200), { stale: true }, "leaf");
    check({ crc, dirblklog: 2 }, names(900), { scatter: true }, "leaf");
  });

  Deno.test(`a directory with several leaves, ${v}`, () => {
    check({ crc }, names(400), { form: "node" }, "node");
    const small = { form: "node", perLeaf: 7, perNode: 4, btree: 20 } as const;
    check({ crc }, names(300), small, "node"); // four levels
    check({ crc }, names(300), { ...small, stale: true }, "node");
    const scattered = { ...small, scatter: true, btree: 30 };
    check({ crc, dirblklog: 2 }, names(200), scattered, "node");
  });

  Deno.test(`a directory of a leaf without a node above, ${v}`, () => {
    const layout = { form: "node" } as const;
    check({ crc }, names(200), layout, "node");
  });

  Deno.test(`blocks of 1 KiB and inodes of 1 KiB, ${v}`, () => {
    const options = { crc, blocklog: 10, inodelog: 10 };
    check(options, names(20), {}, "short");
    check({ ...options, dirblklog: 2 }, names(100), {}, "block");
    check({ ...options, dirblklog: 6 }, names(1000), {}, "block");
  });

  Deno.test(`pages of 16 KiB, ${v}`, () => {
    const altix = findPreset("altix-64");
    const spec = { ...altix, topology: { ...altix.topology, cpus: 2 } };
    const options = { crc, dirblklog: 4 };
    check(options, names(600), {}, "block", { spec });
    check(options, names(300), { form: "leaf" }, "leaf", { spec });
    check({ crc, blocklog: 14 }, names(300), { form: "node" }, "node", {
      spec,
    });
    const scattered = { form: "node", scatter: true } as const;
    check(options, names(100), scattered, "node", { spec });
  });

  Deno.test(`names of any bytes and lengths, ${v}`, () => {
    const any = Array.from({ length: 255 }, (_, i) => i)
      .filter((c) => c > 0 && c !== 0x2f && c !== 0x2e)
      .map((c) => Uint8Array.of(c));
    check({ crc }, any, { form: "leaf" }, "leaf");
    const long = Array.from(
      { length: 255 },
      (_, i) => new Uint8Array(i + 1).fill(0x61 + i % 26),
    );
    check({ crc, dirblklog: 4 }, long, {}, "block");
  });

  Deno.test(`names with one hash value, over several leaves, ${v}`, () => {
    // Each pair of bytes can be exchanged for another without a change.
    const twins = collisions(64);
    check({ crc }, twins, { form: "block" }, "block");
    const layout = { form: "node", perLeaf: 5, perNode: 3, btree: 10 } as const;
    check({ crc }, [...twins, ...names(50)], layout, "node");
  });
}

/** Different names with one hash value. */
function collisions(count: number): Uint8Array[] {
  // The hash of four bytes is n0<<21 ^ n1<<14 ^ n2<<7 ^ n3: bit 7 of one is bit 0 of the one before.
  const flip = [[0, 0], [1, 0x80]];
  return Array.from({ length: count }, (_, i) => {
    const name = text("aaaaaaaaaaaaaaaaaaaaaaaa");
    for (let bit = 0; bit < 6; bit++) {
      const [high, low] = flip[i >> bit & 1];
      name[4 * bit] ^= high;
      name[4 * bit + 1] ^= low;
    }
    return name;
  });
}

Deno.test("the names of the test above do have one hash value", async () => {
  const { da_hash } = await import("./xfs_da_hash.ts");
  const hashes = new Set(collisions(64).map(da_hash));
  assertEquals(hashes.size, 1);
  assertEquals(new Set(collisions(64).map(latin1)).size, 64);
});

Deno.test("inodes that are not aligned are found through the inode btree", () => {
  // Version 4 alone: version 5 aligns.
  check({ crc: 0, align: false }, names(60), {}, "block");
});

Deno.test("a directory is read on from where it was left", () => {
  for (const layout of [{}, { form: "leaf" }] as DirLayout[]) {
    const { image } = withDir({}, names(60), layout);
    const { result } = withXfs(image, function* (t) {
      const path = yield* path_lookup(t, text("/d"), 0);
      assert(typeof path !== "number");
      const all: string[] = [];
      let left = 0;
      const ctx = {
        pos: 0,
        actor(name: Uint8Array): boolean {
          if (left-- === 0) return false;
          all.push(latin1(name));
          return true;
        },
      };
      for (let size = -1; size < all.length;) {
        size = all.length;
        left = 7;
        assertEquals(yield* vfs_readdir(t, path.dentry.d_inode!, ctx), 0);
      }
      yield* path_put(t, path);
      return all;
    });
    assertEquals(result, [".", "..", ...names(60)]);
  }
});

Deno.test("entries have their type where the file system has it", () => {
  const b = new Builder({ ftype: true });
  b.dir(0, b.ino(0), [
    { name: text("file"), ino: b.file(), ftype: 1 },
    { name: text("link"), ino: b.symlink(text("file")), ftype: 7 },
    { name: text("pipe"), ino: b.file(), ftype: 5 },
  ]);
  const { result } = withXfs(b.finish(), function* (t) {
    const path = yield* path_lookup(t, text("/"), 0);
    assert(typeof path !== "number");
    const types: number[] = [];
    const actor = (_name: Uint8Array, _ino: number, type: number) =>
      types.push(type) > 0;
    yield* vfs_readdir(t, path.dentry.d_inode!, { pos: 0, actor });
    yield* path_put(t, path);
    return types;
  });
  assertEquals(result, [4, 4, 8, 10, 1]); // DT_DIR, DT_REG, DT_LNK, DT_FIFO
});

Deno.test("symbolic links lead where they say, from the inode and from blocks", () => {
  for (const crc of [0, 1] as const) {
    const b = new Builder({ crc });
    const file = b.file();
    const far = text(`${"./".repeat(450)}file`);
    b.dir(0, b.ino(0), [
      { name: text("file"), ino: file },
      { name: text("near"), ino: b.symlink(text("file")) },
      { name: text("far"), ino: b.remoteSymlink(far) },
    ]);
    const { result } = withXfs(b.finish(), function* (t) {
      return [
        yield* ino_of(t, text("/near")),
        yield* ino_of(t, text("/far")),
      ];
    });
    assertEquals(result, [file, file]);
  }
});
