/**
 * Makes the XFS image that `boot --workload=xfs-large-dir` mounts by default,
 * with mkfs.xfs, and the inode numbers that its check needs, with xfs_db:
 *
 *     deno run -A tests/xfs/make_image.ts
 *
 * writes `boot/images/_xfs_large_dir_data.ts`. Directory blocks are of 64 KiB,
 * as in the measurement of 2008, and the format is version 4, the only one of
 * that time. The uuid is fixed, and times are set by xfs_db, so the same
 * xfsprogs makes the same bytes; another version may lay them out otherwise.
 */
import { packImage } from "../../boot/images/packed_image.ts";
import { type NamedDirectory, xfsNames } from "../../boot/images/xfs_names.ts";
import { type DbEntry, mkfs, xfsDbList, xfsDbWrite } from "./xfsprogs.ts";

/** What mkfs.xfs is asked for. */
export const MKFS_OPTIONS: readonly string[] = [
  "-m",
  "crc=0,uuid=d864fe02-258f-4150-9fe5-212a98992232",
  "-n",
  "size=65536",
];
/** 18 October 2008, when the rewrite was merged, seconds since 1970. */
const MADE_AT = Date.UTC(2008, 9, 18) / 1000;
/** Characters on a line of the module. */
const LINE_CHARS = 96;

const OUT = new URL(
  "../../boot/images/_xfs_large_dir_data.ts",
  import.meta.url,
);

/** A new image in the file `path`. @returns What xfs_db finds in each directory. */
async function makeImage(
  path: string,
  directories: readonly NamedDirectory[],
): Promise<DbEntry[][]> {
  await mkfs(path, directories, MKFS_OPTIONS);
  const lists = await xfsDbList(path, directories.map((dir) => dir.path));
  const root = lists[0][0].ino;
  const realtime = [root + 1, root + 2]; // no name leads to these two
  const inodes = new Set([...realtime, ...lists.flat().map(({ ino }) => ino)]);
  await xfsDbWrite(path, [...inodes].flatMap(setTimes));
  return lists;
}

function setTimes(ino: number): string[] {
  const times = ["atime", "mtime", "ctime"].flatMap((name) => [
    `write core.${name}.sec ${MADE_AT}`,
    `write core.${name}.nsec 0`,
  ]);
  return [`inode ${ino}`, ...times];
}

/**
 * Inode numbers of a directory in the order of `names`, runs of successive ones
 * as `first*count`.
 *
 * @throws {Error} If the directory holds other names than these.
 */
export function inodeRuns(
  dir: NamedDirectory,
  found: readonly DbEntry[],
): string {
  const inos = new Map(found.map(({ name, ino }) => [name.toHex(), ino]));
  inos.delete(new TextEncoder().encode(".").toHex());
  inos.delete(new TextEncoder().encode("..").toHex());
  const runs: { first: number; count: number }[] = [];
  for (const { name } of dir.entries) {
    const ino = inos.get(name.toHex());
    if (ino === undefined) {
      throw new Error(`Cannot list ${dir.path}: xfs_db misses ${name.toHex()}`);
    }
    const last = runs.at(-1);
    if (last !== undefined && ino === last.first + last.count) last.count++;
    else runs.push({ first: ino, count: 1 });
  }
  if (inos.size !== dir.entries.length) {
    throw new Error(`Cannot list ${dir.path}: it has ${inos.size} names`);
  }
  return runs.map(({ first, count }) => `${first}*${count}`).join(" ");
}

async function gzipBase64(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const packed = new Blob([bytes]).stream()
    .pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(packed).arrayBuffer()).toBase64();
}

async function main(): Promise<void> {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/image`;
  const directories = xfsNames();
  const lists = await makeImage(path, directories);
  const base64 = await gzipBase64(packImage(await Deno.readFile(path)));
  await Deno.remove(folder, { recursive: true });
  const inodes = directories.map((dir, i) =>
    `${dir.path} ${inodeRuns(dir, lists[i])}`
  );
  await Deno.writeTextFile(
    OUT,
    `/** The embedded XFS image. Written by tests/xfs/make_image.ts. */

/** Each directory's path and the inode numbers of its names, according to xfs_db. */
export const INODES = \`
${inodes.join("\n")}
\`;

/** The image: packImage(), gzip, base64. */
export const IMAGE = \`
${base64.match(new RegExp(`.{1,${LINE_CHARS}}`, "g"))!.join("\n")}
\`;
`,
  );
}

if (import.meta.main) await main();
