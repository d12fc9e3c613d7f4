/** File systems that mkfs.xfs has made, listed and looked up as xfs_db does. Ignored without xfsprogs. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { NamedDirectory } from "../../../boot/images/xfs_names.ts";
import {
  type DbEntry,
  haveXfsprogs,
  mkfs,
  protofile,
  xfsDbList,
} from "../../../tests/xfs/xfsprogs.ts";
import { Rng } from "../../../arch/sim/random.ts";
import { EINVAL, ENOENT, err } from "../../lib/errno.ts";
import { S_IFDIR, S_IFREG } from "../inode_types.ts";
import { vfs_stat } from "../stat.ts";
import {
  bytes,
  check_dir,
  FileImage,
  ino_of,
  latin1,
  list,
  withXfs,
} from "./_xfs_rig.ts";

const XFSPROGS = await haveXfsprogs();

/** Names in each directory: short form, one block, one leaf, several. */
const COUNTS = [0, 2, 40, 300, 2000];

function names(count: number): string[] {
  const rng = new Rng(count + 1);
  return Array.from({ length: count }, (_, i) => {
    const length = rng.below(i % 40 === 0 ? 200 : 20);
    const tail = Array.from(
      { length },
      () => String.fromCharCode(0x61 + rng.below(26)),
    );
    return `${i}-${tail.join("")}`;
  });
}

const DIRECTORIES: NamedDirectory[] = [
  {
    path: "/",
    entries: COUNTS.map((count) => ({
      name: bytes(`d${count}`),
      mode: S_IFDIR | 0o755,
    })),
  },
  ...COUNTS.map((count) => ({
    path: `/d${count}`,
    entries: names(count).map((name) => ({
      name: bytes(name),
      mode: S_IFREG | 0o640,
    })),
  })),
];

function isDot({ name }: DbEntry): boolean {
  const text = latin1(name);
  return text === "." || text === "..";
}

async function withImage(
  options: readonly string[],
  directories: readonly NamedDirectory[],
  fn: (path: string, image: FileImage) => unknown,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/image`;
  await mkfs(path, directories, options);
  const image = new FileImage(path);
  await fn(path, image);
  image.close();
  await Deno.remove(folder, { recursive: true });
}

async function compare(options: readonly string[]): Promise<void> {
  await withImage(options, DIRECTORIES, compareImage);
}

async function compareImage(file: string, image: FileImage): Promise<void> {
  const paths = COUNTS.map((count) => `/d${count}`);
  const expected = (await xfsDbList(file, paths)).map((entries) =>
    entries.filter((e) => !isDot(e)).map((
      { name, ino },
    ): [string, number] => [latin1(name), ino])
  );
  const { result, log } = withXfs(image, function* (t, { mp }) {
    for (const [i, path] of paths.entries()) {
      const found = yield* list(t, path);
      assert(typeof found !== "number", `${path}: ${found}`);
      assertEquals(found, expected[i]);
      for (const [name, ino] of expected[i]) {
        const stat = yield* vfs_stat(t, bytes(`${path}/${name}`));
        assert(typeof stat !== "number", `${name}: ${stat}`);
        const got = [stat.ino, stat.mode, stat.size, stat.nlink];
        assertEquals(got, [ino, S_IFREG | 0o640, 0, 1]);
      }
      assertEquals(yield* ino_of(t, bytes(`${path}/none`)), err(ENOENT));
      assertEquals(yield* check_dir(t, path), 0);
    }
    return mp.m_corruptions;
  });
  assertEquals(result, 0, log.join("\n"));
  assertEquals(log.length, 3, log.join("\n"));
}

for (
  const options of [
    "",
    "-n size=8192",
    "-n size=16384",
    "-n size=65536",
    "-b size=1024 -n size=4096",
    "-b size=1024 -n size=32768 -i size=512",
    "-i size=2048",
    "-i nrext64=1 -m rmapbt=1",
    "-i sparse=0 -m bigtime=0,finobt=0,reflink=0,inobtcount=0",
    "-s size=4096",
    "-d agcount=3",
    "-m crc=0",
    "-m crc=0 -n size=65536",
    "-m crc=0 -n ftype=1,size=16384 -i size=512",
    "-m crc=0 -b size=512",
  ]
) {
  Deno.test({
    name: `a file system of mkfs.xfs ${options} is what xfs_db finds in it`,
    ignore: !XFSPROGS,
    fn: () => compare(options.split(" ").filter((s) => s !== "")),
  });
}

Deno.test({
  name: "inode numbers of more than 32 bits, in a file system of 8 TiB",
  ignore: !XFSPROGS,
  async fn() {
    const folder = await Deno.makeTempDir();
    const path = `${folder}/image`;
    await Deno.writeFile(`${path}.proto`, protofile(DIRECTORIES));
    await Deno.writeFile(path, new Uint8Array(0));
    await Deno.truncate(path, 8 * 2 ** 40);
    const { success } = await new Deno.Command("mkfs.xfs", {
      args: ["-q", "-f", "-l", "size=64m", "-p", `${path}.proto`, path],
    }).output();
    assert(success);
    const image = new FileImage(path);
    const last = `/d${COUNTS.at(-1)}`;
    const [entries] = await xfsDbList(path, [last]);
    assert(entries[0].ino > 2 ** 32);
    await compareImage(path, image);
    image.close();
    await Deno.remove(folder, { recursive: true });
  },
});

Deno.test({
  name: "times of version 5 are nanoseconds since 1901, and exact",
  ignore: !XFSPROGS,
  fn: () =>
    withImage(
      [],
      DIRECTORIES.slice(0, 1).map((d) => ({ ...d, entries: [] })),
      async (file, image) => {
        const { stdout } = await new Deno.Command("xfs_db", {
          args: ["-r", "-c", "inode 128", "-c", "p core.mtime.nsec", file],
        }).output();
        const nsec = Number(new TextDecoder().decode(stdout).split("=")[1]);
        const { mtime } = await Deno.stat(file);
        const { result } = withXfs(image, function* (t) {
          const stat = yield* vfs_stat(t, bytes("/"));
          assert(typeof stat !== "number");
          return stat.mtime;
        });
        assert(typeof result !== "number");
        assertEquals(result.tv_nsec, nsec);
        assert(Math.abs(result.tv_sec - mtime!.getTime() / 1000) < 60);
      },
    ),
});

Deno.test({
  name: "a file system whose names ignore case is refused",
  ignore: !XFSPROGS,
  fn: () =>
    withImage(
      ["-n", "version=ci"],
      DIRECTORIES.slice(0, 1).map((d) => ({ ...d, entries: [] })),
      (_file, image) => {
        const { result, log } = withXfs(image, () => {
          throw new Error("mounted");
        });
        assertEquals(result, err(EINVAL));
        assertStringIncludes(
          log.join("\n"),
          "XFS (ram0): Case-insensitive names are not supported by this kernel.",
        );
      },
    ),
});
