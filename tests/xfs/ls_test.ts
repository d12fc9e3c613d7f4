/** `--workload=xfs-ls` lists file systems that mkfs.xfs has made as xfs_db does. Ignored without xfsprogs. */
import { assert, assertEquals } from "@std/assert";
import { Rng } from "../../arch/sim/random.ts";
import { FakeIo } from "../../boot/cli/_fake_io.ts";
import { run } from "../../boot/cli/command.ts";
import { host } from "../../boot/cli/host.ts";
import { RUNNERS } from "../../boot/cli/workloads.ts";
import type { NamedDirectory } from "../../boot/images/xfs_names.ts";
import type { XfsLsRun } from "../../boot/results.ts";
import { isDot } from "../../boot/workloads/paths.ts";
import { S_IFDIR, S_IFREG } from "../../kernel/fs/inode_types.ts";
import { haveXfsprogs, mkfs, xfsDbList } from "./xfsprogs.ts";

const XFSPROGS = await haveXfsprogs();

/** Where it is harder: every so many names is long, or of any bytes. */
const LONG_EVERY = 50;
const ODD_EVERY = 20;

/** Reads real files, and keeps what is printed. */
class DiskIo extends FakeIo {
  override open(path: string): Promise<ReadableStream<Uint8Array>> {
    return host.open(path);
  }
}

/** `count` different names of every length, in no order. Blanks, which a protofile cannot hold, are not in them. */
function names(count: number): Uint8Array[] {
  const rng = new Rng(count);
  const all = new Map<string, Uint8Array>();
  while (all.size < count) {
    const length = all.size % LONG_EVERY === 0
      ? 1 + rng.below(255)
      : 4 + rng.below(20);
    const odd = all.size % ODD_EVERY === 0;
    const name = Uint8Array.from({ length }, () => byte(rng, odd));
    if (!isDot(name) && name[0] !== 0x3a && name[0] !== 0x24) { // : and $
      all.set(name.toHex(), name);
    }
  }
  return [...all.values()];
}

function byte(rng: Rng, odd: boolean): number {
  if (!odd) return 0x61 + rng.below(26);
  for (;;) {
    const any = 1 + rng.below(255);
    if (![0x09, 0x0a, 0x20, 0x2f].includes(any)) return any;
  }
}

function withNames(count: number): NamedDirectory[] {
  const bigdir = new TextEncoder().encode("bigdir");
  return [
    { path: "/", entries: [{ name: bigdir, mode: S_IFDIR | 0o755 }] },
    {
      path: "/bigdir",
      entries: names(count).map((name) => ({ name, mode: S_IFREG | 0o644 })),
    },
  ];
}

/** Runs the command line. @returns The one run of its result. */
async function ls(disk: string, path: string): Promise<XfsLsRun> {
  const io = new DiskIo();
  const args = ["--workload=xfs-ls", `--disk=${disk}`, `--path=${path}`];
  assertEquals(
    await run([...args, "--format=json"], io, RUNNERS),
    0,
    io.stderr,
  );
  return JSON.parse(io.stdout).runs[0];
}

/** Name in hexadecimal, a space, inode; by the bytes of the names. */
function lines({ entries }: XfsLsRun): string[] {
  return entries.map(({ name, name_hex, ino }) =>
    `${name_hex ?? new TextEncoder().encode(name).toHex()} ${ino}`
  );
}

async function compare(
  count: number,
  options: readonly string[],
): Promise<void> {
  const folder = await Deno.makeTempDir();
  const disk = `${folder}/image`;
  await mkfs(disk, withNames(count), options);
  const [found] = await xfsDbList(disk, ["/bigdir"]);
  const expected = found.filter(({ name }) => !isDot(name))
    .map(({ name, ino }) => `${name.toHex()} ${ino}`).sort();
  const listed = await ls(disk, "/bigdir");
  await Deno.remove(folder, { recursive: true });
  assertEquals([listed.workload, listed.path], ["xfs-ls", "/bigdir"]);
  assertEquals(expected.length, count);
  assert(listed.entries.some(({ name_hex }) => name_hex !== undefined));
  assertEquals(lines(listed), expected); // hexadecimal sorts as bytes do
}

const COUNT = 20_000;
for (
  const options of [
    ["-n", "size=65536"],
    ["-n", "size=16384"],
    ["-n", "size=4096"],
    ["-m", "crc=0", "-n", "size=65536"],
    ["-m", "crc=0", "-n", "size=4096"],
  ]
) {
  Deno.test({
    name: `xfs-ls lists ${COUNT} names of mkfs.xfs ${
      options.join(" ")
    } as xfs_db does`,
    ignore: !XFSPROGS,
    fn: () => compare(COUNT, options),
  });
}

Deno.test({
  name: "xfs-ls lists directories of any size as xfs_db does",
  ignore: !XFSPROGS,
  async fn() {
    for (const count of [1, 5, 60, 150, 1500]) {
      await compare(count, ["-n", "size=4096"]);
    }
  },
});
