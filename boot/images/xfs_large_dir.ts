/**
 * The embedded XFS image: unpacks it, and puts the list together of what must
 * be found in it.
 */
import type { SparseImage } from "../../kernel/drivers/block/image.ts";
import { IMAGE, INODES } from "./_xfs_large_dir_data.ts";
import type { ListedDirectory } from "./listed.ts";
import { unpackImage } from "./packed_image.ts";
import { xfsNames } from "./xfs_names.ts";

/** A file system on a disk, and what is known to be in it. */
export interface ListedImage {
  readonly disk: SparseImage;
  /** Every directory. */
  readonly directories: readonly ListedDirectory[];
}

/** The embedded image. The list is by mkfs.xfs's protofile and xfs_db. */
export async function xfsLargeDirImage(): Promise<ListedImage> {
  const packed = new Blob([Uint8Array.fromBase64(IMAGE)]).stream()
    .pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(packed).arrayBuffer());
  return { disk: unpackImage(bytes), directories: listedDirectories() };
}

/** What is in the image. */
export function listedDirectories(): ListedDirectory[] {
  const lines = INODES.trim().split("\n");
  return xfsNames().map(({ path, entries }, i) => {
    const [listed, ...runs] = lines[i].split(" ");
    const inos = runs.flatMap(inodesOf);
    if (listed !== path || inos.length !== entries.length) {
      throw new RangeError(
        `Cannot list ${path}: the embedded image is of other names, run tests/xfs/make_image.ts`,
      );
    }
    return {
      path: new TextEncoder().encode(path),
      entries: entries.map(({ name, mode }, j) => ({
        name,
        mode,
        ino: inos[j],
      })),
    };
  });
}

/** The inode numbers of a run such as `524417*63`. */
function inodesOf(run: string): number[] {
  const [first, count] = run.split("*").map(Number);
  return Array.from({ length: count }, (_, i) => first + i);
}
