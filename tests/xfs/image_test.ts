/** The embedded XFS image is what its list says, according to xfsprogs, and can be made again. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { Rng } from "../../arch/sim/random.ts";
import { packImage, unpackImage } from "../../boot/images/packed_image.ts";
import {
  listedDirectories,
  xfsLargeDirImage,
} from "../../boot/images/xfs_large_dir.ts";
import { xfsNames } from "../../boot/images/xfs_names.ts";
import { inodeRuns, MKFS_OPTIONS } from "./make_image.ts";
import { type DbEntry, haveXfsprogs, mkfs, xfsDbList } from "./xfsprogs.ts";

const XFSPROGS = await haveXfsprogs();
const MODULE = new URL(
  "../../boot/images/_xfs_large_dir_data.ts",
  import.meta.url,
);
const canRead =
  (await Deno.permissions.query({ name: "read" })).state === "granted";

/** Runs `fn` with the path of a file that is removed afterwards. */
async function withFile(fn: (path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  await fn(`${folder}/image`);
  await Deno.remove(folder, { recursive: true });
}

/** In any order; `.` and `..` left out. */
function named(entries: readonly DbEntry[]): Map<string, number> {
  const dots = ["2e", "2e2e"];
  return new Map(
    entries.map(({ name, ino }) => [name.toHex(), ino] as const)
      .filter(([name]) => !dots.includes(name)),
  );
}

Deno.test({
  name: "the embedded image takes less than 400 KB",
  ignore: !canRead,
  async fn() {
    assert((await Deno.stat(MODULE)).size < 400_000);
  },
});

Deno.test("listedDirectories() has every directory, and no inode twice", () => {
  const directories = listedDirectories();
  const names = xfsNames();
  assertEquals(
    directories.map(({ path }) => new TextDecoder().decode(path)),
    names.map(({ path }) => path),
  );
  const inos = directories.flatMap(({ entries }) => entries.map((e) => e.ino));
  assertEquals(new Set(inos).size, inos.length);
  const sizes = directories.map(({ entries }) => entries.length);
  assertEquals(sizes, [3, 3000, 10, 96, ...Array(96).fill(560)]);
});

Deno.test("the embedded image is a file system with blocks of 4 KiB, directory blocks of 64 KiB, version 4", async () => {
  const { disk } = await xfsLargeDirImage();
  assertEquals(disk.sizeBytes, 300 * 2 ** 20);
  const superblock = new Uint8Array(512);
  disk.read(0, superblock);
  const view = new DataView(superblock.buffer);
  assertEquals(new TextDecoder().decode(superblock.subarray(0, 4)), "XFSB");
  const blockBytes = view.getUint32(4);
  assertEquals([blockBytes, blockBytes << view.getUint8(192)], [4096, 65536]);
  assertEquals(view.getUint16(100) & 15, 4);
});

Deno.test({
  name: "xfs_db lists the embedded image as the list does",
  ignore: !XFSPROGS,
  fn: () =>
    withFile(async (path) => {
      const { disk, directories } = await xfsLargeDirImage();
      await unpack(disk, path);
      const paths = xfsNames().map((dir) => dir.path);
      const lists = await xfsDbList(path, paths);
      directories.forEach(({ entries }, i) => {
        assertEquals(named(lists[i]), named(entries), paths[i]);
      });
    }),
});

Deno.test({
  name: "mkfs.xfs makes the embedded image again: the same directories",
  ignore: !XFSPROGS,
  fn: () =>
    withFile(async (path) => {
      const names = xfsNames();
      await mkfs(path, names, MKFS_OPTIONS);
      const lists = await xfsDbList(path, names.map((dir) => dir.path));
      // Inode numbers hang on the version of xfsprogs, names do not.
      listedDirectories().forEach(({ entries }, i) => {
        assertEquals(
          [...named(lists[i]).keys()].sort(),
          [...named(entries).keys()].sort(),
          names[i].path,
        );
      });
    }),
});

Deno.test("inodeRuns() shortens runs, and notices a name that is not there or not known", () => {
  const [a, b, c] = ["a", "b", "c"].map((name) =>
    new TextEncoder().encode(name)
  );
  const entry = (name: Uint8Array) => ({ name, mode: 0o100644 });
  const dir = { path: "/d", entries: [entry(a), entry(b), entry(c)] };
  const found = (...inos: number[]) =>
    [a, b, c].map((name, i) => ({ name, ino: inos[i] }));
  assertEquals(inodeRuns(dir, found(131, 132, 133)), "131*3");
  assertEquals(inodeRuns(dir, found(131, 132, 7)), "131*2 7*1");
  assertThrows(() => inodeRuns(dir, found(1, 2, 3).slice(1)), Error, "misses");
  const fewer = { ...dir, entries: dir.entries.slice(1) };
  assertThrows(() => inodeRuns(fewer, found(1, 2, 3)), Error, "3 names");
});

Deno.test("packImage() keeps what is in a disk, whatever lies side by side", () => {
  const rng = new Rng(1);
  for (const strides of [[8], [272], [8, 256, 24, 280]]) {
    const raw = new Uint8Array(512 * 400);
    strides.forEach((stride, n) => {
      const first = 512 * 50 * (n + 1);
      for (let at = 0; at < 512 * 20; at++) {
        raw[first + at] = at % stride + rng.below(2);
      }
    });
    raw[raw.length - 1] = 255;
    const packed = packImage(raw);
    assert(packed.length < 100 * 518, `${packed.length} bytes`);
    const disk = unpackImage(packed);
    assertEquals(disk.sizeBytes, raw.length);
    const out = new Uint8Array(raw.length);
    disk.read(0, out);
    assertEquals(out, raw);
  }
  assertEquals(unpackImage(packImage(new Uint8Array(1024))).sizeBytes, 1024);
});

/** Writes `disk` as a raw, sparse file. */
async function unpack(
  disk: { sizeBytes: number; read(offset: number, out: Uint8Array): void },
  path: string,
): Promise<void> {
  const file = await Deno.open(path, { write: true, create: true });
  await file.truncate(disk.sizeBytes);
  const chunk = new Uint8Array(2 ** 16);
  for (let at = 0; at < disk.sizeBytes; at += chunk.length) {
    disk.read(at, chunk);
    if (chunk.every((byte) => byte === 0)) continue;
    await file.seek(at, Deno.SeekMode.Start);
    await file.write(chunk);
  }
  file.close();
}
